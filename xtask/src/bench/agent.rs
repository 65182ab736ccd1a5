//! The agent under measurement: started, awaited, asked for its report.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    lab::Lab,
    process::{Launch, Memory, Process, Usage},
};

/// A running agent.
pub(super) struct Agent {
    process: Process,
    report: PathBuf,
    /// From its start to being attached.
    pub(super) took: Duration,
}

/// What the agent's report says about its requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ledger {
    pub(super) seen: u64,
    pub(super) exported: u64,
    pub(super) unsampled: u64,
    pub(super) dropped: u64,
}

impl Agent {
    /// Starts `run` with these selectors and variables, exporting to the backend, and waits until it is
    /// attached.
    pub(super) fn start(lab: &Lab, selectors: &[String], variables: &[(&str, &str)]) -> Result<Self> {
        let report = lab.folder().join("report.json");
        // Of the agent before this one.
        fs::remove_file(&report).ok();
        let launch = Launch::new("agent", &lab.agent)
            .args(["run", "--otlp-endpoint", &lab.sink()?.endpoint(), "--report"])
            .args([&report])
            .args(selectors)
            .variables(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")])
            .variables(variables)
            .on(lab.cores.load.filter(|_| lab.pin_agent));
        let started = Instant::now();
        let mut process = launch.start(lab.folder())?;
        process.says(&lab.ready)?;
        Ok(Self { process, report, took: started.elapsed() })
    }

    /// One that selects a process by its id.
    pub(super) fn of(lab: &Lab, pid: u32, variables: &[(&str, &str)]) -> Result<Self> {
        Self::start(lab, &["--pid".to_owned(), pid.to_string()], variables)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        self.process.memory()
    }

    /// Stops it and reads its report. An agent of another make may have written none: `None`.
    pub(super) fn stop(self) -> Result<Option<Ledger>> {
        let Self { process, report, took: _ } = self;
        let status = process.stop()?;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        match fs::read_to_string(&report) {
            Ok(text) => Ok(Some(ledger(&text).context("the agent's report has no ledger")?)),
            Err(_) => Ok(None),
        }
    }
}

fn ledger(text: &str) -> Option<Ledger> {
    let report: Value = serde_json::from_str(text).ok()?;
    let ledger = report.get("ledger")?;
    let number = |name: &str| ledger.get(name)?.as_u64();
    let dropped = ledger.get("dropped")?.as_object()?;
    Some(Ledger {
        seen: number("seen")?,
        exported: number("exported")?,
        unsampled: number("unsampled")?,
        dropped: dropped.values().filter_map(Value::as_u64).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let text = r#"{"ledger":{"seen":9,"exported":5,"unsampled":1,"dropped":{"a":1,"b":2},"open":0}}"#;
        let ledger = ledger(text).unwrap();
        assert_eq!((ledger.seen, ledger.exported, ledger.unsampled, ledger.dropped), (9, 5, 1, 3));
        assert!(super::ledger("{}").is_none());
    }
}
