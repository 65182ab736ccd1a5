//! Whether a request costs the same beside many connections and many processes.

use std::{thread, time::Duration};

use anyhow::Result;
use serde_json::json;

use super::{
    agent::Agent,
    aside::Held,
    kernel::{self, Statistics},
    lab::Lab,
    life::sleepers,
    load::{Load, Nginx},
    report::{Goal, Section, Unit},
};

/// Connections that are held open beside the active ones.
const CONNECTIONS: u32 = 10_000;
/// Processes that are selected beside the server.
const PROCESSES: usize = 500;
/// "Flat": two runs of the same differ by as much on a quiet machine.
const FLAT: Goal = Goal::AtMost(1.15);
/// After the crowd came, so that handling its arrival is not counted.
const SETTLE: Duration = Duration::from_millis(500);

/// What a request costs: hooks and agent, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Cost {
    hooks: f64,
    agent: f64,
    server: f64,
}

impl Cost {
    fn all(self) -> f64 {
        self.hooks + self.agent
    }
}

fn cost(lab: &Lab, nginx: &Nginx, agent: &Agent) -> Result<Cost> {
    let before = kernel::programs(agent.pid())?;
    let slice = nginx.slice(lab, Some(agent))?;
    let hooks = kernel::since(&kernel::programs(agent.pid())?, &before);
    let hooks = hooks.iter().map(|program| program.ns).sum::<u64>() as f64 / slice.requests as f64;
    Ok(Cost { hooks, agent: slice.agent_cpu(), server: slice.server_cpu() })
}

/// From few connections to many.
pub(super) fn connections(lab: &Lab) -> Result<Section> {
    let mut section = Section::new("connections", "cost of a request beside idle connections");
    let mut nginx = Nginx::start(lab)?;
    let agent = Agent::of(lab, nginx.pid(), &[])?;
    let statistics = Statistics::on()?;
    let active = nginx.active;
    nginx.active = 1;
    let one = cost(lab, &nginx, &agent)?;
    nginx.active = active;
    let port = nginx.port;
    let (few, many) = compare(lab, &nginx, &agent, || Held::open(lab, port, CONNECTIONS))?;
    drop(statistics);
    section.row("hooks and agent a request, 1 connection", Unit::Nanoseconds, [one.all()]);
    shown(
        &mut section,
        (&format!("{active} connections"), &few),
        (&format!("{active} + {CONNECTIONS} idle"), &many),
    );
    section.note("one connection: a request wakes everyone anew, so its cost includes cold caches");
    agent.stop()?;
    Ok(section)
}

/// From one process to many.
pub(super) fn processes(lab: &Lab) -> Result<Section> {
    let mut section = Section::new("processes", "cost of a request beside idle, selected processes");
    let nginx = Nginx::start(lab)?;
    // Nobody else sleeps for exactly so long.
    let seconds = format!("3600.{}", std::process::id());
    let selectors =
        ["--pid", &nginx.pid().to_string(), "--cmd", &format!("sleep {seconds}")].map(str::to_owned);
    let agent = Agent::start(lab, &selectors, &[])?;
    let statistics = Statistics::on()?;
    let (few, many) = compare(lab, &nginx, &agent, || sleepers(lab, PROCESSES, &seconds))?;
    drop(statistics);
    shown(&mut section, ("1 process", &few), (&format!("1 + {PROCESSES} processes"), &many));
    agent.stop()?;
    Ok(section)
}

/// Costs without and with a crowd, in turn.
fn compare<C>(
    lab: &Lab,
    nginx: &Nginx,
    agent: &Agent,
    crowd: impl Fn() -> Result<C>,
) -> Result<(Vec<Cost>, Vec<Cost>)> {
    let rounds = (lab.slices / 2).max(1);
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        if lab.late() && !many.is_empty() {
            break;
        }
        few.push(cost(lab, nginx, agent)?);
        let present = crowd()?;
        thread::sleep(SETTLE);
        many.push(cost(lab, nginx, agent)?);
        drop(present);
        thread::sleep(SETTLE);
    }
    Ok((few, many))
}

fn shown(section: &mut Section, (small, few): (&str, &[Cost]), (large, many): (&str, &[Cost])) {
    let pairs = || few.iter().zip(many);
    section.goal(
        "hooks and agent, many to few",
        Unit::Times,
        pairs().map(|(few, many)| many.all() / few.all()),
        FLAT,
    );
    for (name, costs) in [(small, few), (large, many)] {
        let ns = Unit::Nanoseconds;
        section.row(&format!("{name}: hooks a request"), ns, costs.iter().map(|cost| cost.hooks));
        section.row(&format!("{name}: agent a request"), ns, costs.iter().map(|cost| cost.agent));
        section.row(&format!("{name}: server a request"), ns, costs.iter().map(|cost| cost.server));
    }
    let all = |costs: &[Cost]| costs.iter().map(|c| json!([c.hooks, c.agent, c.server])).collect::<Vec<_>>();
    section.detail("hooks, agent and server, ns a request", json!({"few": all(few), "many": all(many)}));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_add_up() {
        assert!((Cost { hooks: 1.0, agent: 2.0, server: 9.0 }.all() - 3.0).abs() < 1e-9);
    }
}
