//! What was measured where: results without it compare with nothing.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::lab::Lab;
use crate::run::{answer, command};

/// The time that the host took from this machine so far, and all time, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stolen {
    stolen: u64,
    all: u64,
}

impl Stolen {
    pub(super) fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// The first line: `cpu user nice system idle iowait irq softirq steal guest guest_nice`.
    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks = line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0));
        let ticks: Vec<u64> = ticks.take(8).collect();
        Self { stolen: ticks.get(7).copied().unwrap_or(0), all: ticks.iter().sum() }
    }

    /// The share of the time since then.
    pub(super) fn since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        if all == 0 { 0.0 } else { self.stolen.saturating_sub(before.stolen) as f64 / all as f64 }
    }
}

/// Load averages of 1, 5 and 15 minutes.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Everything about this machine, this tree and this agent that a reader of the results may want.
pub(super) fn describe(lab: &Lab, load_before: &str, stolen: f64) -> Value {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    };
    let said = |program: &str, args: &[&str]| answer(command(program).args(args));
    json!({
        "cpu": field("/proc/cpuinfo", "model name"),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "load_before": load_before,
        "stolen_by_the_host": stolen,
        "server_cpu": lab.cores.server,
        "load_cpu": lab.cores.load,
        "agent_bound_to_load_cpu": lab.pin_agent,
        "slices": lab.slices,
        "slice_seconds": lab.seconds,
        "commit": said("git", &["rev-parse", "HEAD"]),
        "uncommitted_changes": said("git", &["status", "--porcelain"]).is_some_and(|text| !text.is_empty()),
        "agent": lab.original,
        "agent_version": version(&lab.agent),
        "time": said("date", &["--utc", "--iso-8601=seconds"]),
    })
}

fn version(agent: &Path) -> Option<String> {
    answer(command(agent).arg("--version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time() {
        let before = Stolen::parse("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1\n");
        let after = Stolen::parse("cpu  20 0 20 135 0 0 0 25 0 0\ncpu0 1\n");
        assert!((after.since(before) - 0.25).abs() < 1e-9);
        assert!(before.since(before).abs() < 1e-9);
    }
}
