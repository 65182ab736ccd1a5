//! The agent's own needs: memory, the time until it is attached, and the first request of a program.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    agent::Agent,
    lab::Lab,
    load::{Load, Nginx},
    process::{Launch, Process},
    report::{Goal, Section, Unit},
};

/// After a start or a load, until what is done only once is done.
const SETTLE: Duration = Duration::from_secs(1);
/// Requests after which memory is looked at.
const MILLION: u64 = 1_000_000;

/// Resident memory, and the time until the agent is ready.
pub(super) fn memory(lab: &Lab) -> Result<Section> {
    let mut section = Section::new("memory", "the agent's memory, and its start");
    let nginx = Nginx::start(lab)?;
    let (mut took, mut peaks, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    let starts = if lab.quick { 2 } else { 5 };
    for start in 0..starts {
        let agent = Agent::of(lab, nginx.pid(), &[])?;
        took.push(agent.took.as_secs_f64());
        if start + 1 < starts {
            peaks.push(agent.memory()?.peak);
            agent.stop()?;
            continue;
        }
        thread::sleep(SETTLE);
        let memory = agent.memory()?;
        let before = agent.usage()?;
        thread::sleep(SETTLE);
        let spent = agent.usage()?.since(before).cpu as f64 / SETTLE.as_nanos() as f64;
        section.row("CPU time while nothing happens", Unit::Share, [spent]);
        peaks.push(memory.peak);
        idle.push(memory);
        loaded(lab, &nginx, agent, &mut section)?;
    }
    let (most, steady) = (Goal::AtMost(80.0), Goal::AtMost(60.0));
    section.goal("resident memory at the peak of the start", Unit::Megabytes, peaks, most);
    section.goal("resident memory, idle", Unit::Megabytes, idle.iter().map(|m| m.resident), steady);
    section.row("  of it heap and stacks", Unit::Megabytes, idle.iter().map(|m| m.anonymous));
    section.row(
        "  of it the ring, whose data are mapped twice",
        Unit::Megabytes,
        idle.iter().map(|m| m.maps),
    );
    section.goal("start to ready", Unit::Seconds, took, Goal::AtMost(1.0));
    Ok(section)
}

/// Memory after a million requests, each of them a span.
fn loaded(lab: &Lab, nginx: &Nginx, agent: Agent, section: &mut Section) -> Result<()> {
    let wanted = if lab.quick { MILLION / 10 } else { MILLION };
    let mut requests = 0;
    while requests < wanted && !(lab.late() && requests > 0) {
        requests += nginx.slice(lab, Some(&agent))?.requests;
    }
    thread::sleep(SETTLE);
    let memory = agent.memory()?;
    let ledger = agent.stop()?;
    let what = format!("resident memory, after {:.1} million requests", requests as f64 / 1e6);
    section.goal(&what, Unit::Megabytes, [memory.resident], Goal::AtMost(60.0));
    section.goal("resident memory, peak of all that", Unit::Megabytes, [memory.peak], Goal::AtMost(80.0));
    if let Some(ledger) = ledger {
        section
            .detail("requests", json!({"made": requests, "seen": ledger.seen, "exported": ledger.exported}));
    }
    Ok(())
}

/// Programs that start after the agent, make one request and end: each has to be seen.
pub(super) fn first(lab: &Lab) -> Result<Section> {
    let mut section = Section::new("first", "programs that start under the agent, make one request and end");
    let nginx = Nginx::start(lab)?;
    let programs = if lab.quick { 10 } else { 40 };
    let url = format!("http://127.0.0.1:{}/first", nginx.port);
    // Selected by its command line: no other program of this machine has this address in it.
    let agent = Agent::start(lab, &["--cmd".to_owned(), format!("curl *{url}")], &[])?;
    for _ in 0..programs {
        Launch::new("curl", "curl").args(["--silent", "--max-time", "10", &url]).output()?;
    }
    let ledger = agent.stop()?.context("the agent wrote no report, so what it saw is not known")?;
    let seen = ledger.seen as f64 / f64::from(programs);
    section.goal("first requests seen", Unit::Share, [seen], Goal::AtLeast(1.0));
    section.goal(
        "first requests exported",
        Unit::Share,
        [ledger.exported as f64 / f64::from(programs)],
        Goal::AtLeast(1.0),
    );
    section.row("programs started", Unit::Count, [f64::from(programs)]);
    Ok(section)
}

/// Processes that do nothing. They end with this.
pub(super) fn sleepers(lab: &Lab, count: usize, seconds: &str) -> Result<Vec<Process>> {
    (0..count).map(|_| Launch::new("sleep", "sleep").args([seconds]).start(lab.folder())).collect()
}
