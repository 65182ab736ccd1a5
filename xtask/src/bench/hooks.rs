//! What one run of each hook costs, by the kernel's own run-time statistics, and what a request puts into
//! the ring.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use super::{
    agent::Agent,
    helpers::Helpers,
    kernel::{self, Program, Statistics},
    lab::Lab,
    load::{Load, Nginx},
    process::Launch,
    report::{Section, Unit},
};

/// Programs that ran less often tell nothing.
const RUNS: u64 = 1000;

/// Who is selected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Selected {
    /// Neither end.
    None,
    /// nginx.
    Server,
    /// nginx and wrk.
    Both,
}

impl Selected {
    const fn label(self) -> &'static str {
        match self {
            Self::None => "nobody selected",
            Self::Server => "server selected",
            Self::Both => "both ends selected",
        }
    }
}

/// One profile's hooks.
pub(super) fn hooks(lab: &Lab, helpers: &Helpers, profile: &'static str) -> Result<Section> {
    let name = if profile == "socket" { "hooks-socket" } else { "hooks-syscall" };
    let mut section =
        Section::new(name, format!("hooks of the {profile} profile, under load by wrk on nginx"));
    let nginx = Nginx::start(lab)?;
    let mut instructions = BTreeMap::new();
    for selected in [Selected::None, Selected::Server, Selected::Both] {
        let run = run(lab, &nginx, profile, selected)?;
        let per_request = |what: fn(&Program) -> u64| {
            run.programs.iter().map(what).sum::<u64>() as f64 / run.requests as f64
        };
        let label = selected.label();
        section.row(&format!("{label}: hooks a request, time"), Unit::Nanoseconds, [per_request(|p| p.ns)]);
        section.detail(&format!("{label}: hooks a request, runs"), json!(per_request(|p| p.runs)));
        // With one end selected a run is of either kind.
        if selected != Selected::Server {
            for program in run.programs.iter().filter(|program| program.runs >= RUNS) {
                let what = format!("  {}, a run", program.place);
                section.row(&what, Unit::Nanoseconds, [program.ns as f64 / program.runs as f64]);
            }
        }
        let runs: BTreeMap<_, _> = run.programs.iter().map(|p| (&p.place, json!([p.runs, p.ns]))).collect();
        section.detail(&format!("{label}: runs and ns by hook, of {} requests", run.requests), json!(runs));
        instructions.extend(run.instructions);
    }
    for (place, (verified, kept)) in &instructions {
        section.row(&format!("{place}, instructions verified"), Unit::Count, [*verified as f64]);
        section.row(&format!("{place}, instructions loaded"), Unit::Count, kept.map(|kept| kept as f64));
    }
    section.row("ring bytes a request, server selected", Unit::Bytes, ring(lab, helpers, &nginx, profile)?);
    section.note("a run includes about 40 ns of the kernel's own measuring");
    Ok(section)
}

struct Run {
    requests: u64,
    programs: Vec<Program>,
    /// By place: verified, and as loaded.
    instructions: BTreeMap<String, (u64, Option<u64>)>,
}

fn agent(lab: &Lab, nginx: &Nginx, profile: &str, selected: Selected) -> Result<Agent> {
    let mut selectors = vec!["--profile".to_owned(), profile.to_owned()];
    let mut select = |flag: &str, value: String| selectors.extend([flag.to_owned(), value]);
    match selected {
        // This program makes no requests of its own while wrk runs.
        Selected::None => select("--pid", std::process::id().to_string()),
        Selected::Server => select("--pid", nginx.pid().to_string()),
        Selected::Both => {
            select("--pid", nginx.pid().to_string());
            select("--cmd", format!("wrk *127.0.0.1:{}/", nginx.port));
        }
    }
    Agent::start(lab, &selectors, &[])
}

fn run(lab: &Lab, nginx: &Nginx, profile: &str, selected: Selected) -> Result<Run> {
    let agent = agent(lab, nginx, profile, selected)?;
    let statistics = Statistics::on()?;
    let before = kernel::programs(agent.pid())?;
    let slice = nginx.slice(lab, Some(&agent))?;
    let after = kernel::programs(agent.pid())?;
    drop(statistics);
    let instructions = after
        .iter()
        .map(|(id, program)| (program.place.clone(), (program.verified, kernel::instructions(*id))))
        .collect();
    agent.stop()?;
    Ok(Run { requests: slice.requests, programs: kernel::since(&after, &before), instructions })
}

/// Ring bytes a request, record headers and padding included. Without the statistics: they change the pace.
fn ring(lab: &Lab, helpers: &Helpers, nginx: &Nginx, profile: &str) -> Result<Option<f64>> {
    let agent = agent(lab, nginx, profile, Selected::Server)?;
    let Some(id) = kernel::ring(agent.pid())? else { return Ok(None) };
    let position = || -> Result<u64> {
        let text = Launch::new("ring", &helpers.ring).args([id.to_string()]).output()?;
        Ok(text.trim().parse()?)
    };
    let before = position()?;
    let slice = nginx.slice(lab, Some(&agent))?;
    let bytes = position()?.saturating_sub(before);
    agent.stop()?;
    Ok(Some(bytes as f64 / slice.requests as f64))
}
