//! The agent beside the shop.

use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{
    cleaner::{Cleaner, within},
    shop::{Shop, last_words, without_variables},
};
use crate::run::command;

/// How long the kernel may take to check and attach the agent's programs.
const START: Duration = Duration::from_secs(120);
/// How long the agent may take to show what it has. It gives up by itself before.
const STOP: Duration = Duration::from_secs(60);

/// An agent that is attached.
#[derive(Debug)]
pub(super) struct Agent {
    pid: u32,
    report: PathBuf,
    log: PathBuf,
    /// Where it tells how it is. Held, so that it can tell that it stops.
    _socket: UnixDatagram,
}

/// What the agent says about requests when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Requests that it saw.
    pub(super) seen: u64,
    /// Those that it showed as spans.
    pub(super) shown: u64,
}

impl Ledger {
    fn read(report: &Value) -> Option<Self> {
        let ledger = &report["ledger"];
        Some(Self { seen: ledger["seen"].as_u64()?, shown: ledger["exported"].as_u64()? })
    }
}

/// What selects the shop's programs and nothing else.
pub(super) fn selectors(shop: &Shop) -> Vec<String> {
    shop.programs.iter().flat_map(|program| ["--port".to_owned(), program.port.to_string()]).collect()
}

impl Agent {
    /// Starts an agent for a while and waits until it is attached. It shows traces here.
    pub(super) fn start(cleaner: &Cleaner, binary: &Path, shop: &Shop) -> Result<Self> {
        let report = cleaner.folder().join("report.json");
        let mut run = command(binary);
        run.arg("run").args(selectors(shop)).arg("--report").arg(&report);
        Self::attach(cleaner, run, report)
    }

    /// Starts an agent that stays and waits until it is attached. It shows traces in a file, and writes
    /// nothing when it ends: the folder may be gone by then.
    pub(super) fn stay(cleaner: &Cleaner, binary: &Path, shop: &Shop, traces: File) -> Result<()> {
        let mut run = command(binary);
        run.arg("run").args(selectors(shop)).stdout(traces);
        Self::attach(cleaner, run, PathBuf::new()).map(drop)
    }

    /// It tells that it is ready as it tells systemd.
    fn attach(cleaner: &Cleaner, mut run: Command, report: PathBuf) -> Result<Self> {
        let folder = cleaner.folder();
        let (log, notify) = (folder.join("agent.log"), folder.join("notify"));
        // An agent before this one may have had a socket there.
        fs::remove_file(&notify).ok();
        let socket = UnixDatagram::bind(&notify).context("cannot make a socket")?;
        socket.set_nonblocking(true).context("cannot wait for the agent")?;
        without_variables(&mut run);
        run.args(["--console", "text", "--log-level", "warn"]).env("NOTIFY_SOCKET", &notify);
        run.stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
        let (pid, ()) = cleaner.spawn(&mut run, |_| ())?;
        let attached = within(START, || {
            if let Some(status) = cleaner.ended(pid) {
                return Some(Err(anyhow!("the agent ended ({status}):\n{}", last_words(&log))));
            }
            heard(&socket).unwrap_or_else(|error| Some(Err(error.into())))
        });
        attached.unwrap_or_else(|| bail!("the agent does not get ready:\n{}", last_words(&log)))?;
        Ok(Self { pid, report, log, _socket: socket })
    }

    /// Ends the agent, which shows what it still has, and gives its ledger.
    pub(super) fn stop(&self, cleaner: &Cleaner) -> Result<Ledger> {
        let pid = Pid::from_raw(self.pid as i32).context("the agent has no process id")?;
        kill_process(pid, Signal::TERM).context("cannot stop the agent")?;
        let status = within(STOP, || cleaner.ended(self.pid)).context("the agent does not stop")?;
        if !status.success() {
            bail!("the agent ended with {status}:\n{}", last_words(&self.log));
        }
        let text = fs::read_to_string(&self.report).context("the agent wrote no report")?;
        let report = serde_json::from_str(&text).context("the agent's report is no JSON")?;
        Ledger::read(&report).context("the agent's report has no ledger")
    }

    /// What it warned about.
    pub(super) fn warnings(&self) -> String {
        last_words(&self.log)
    }
}

/// Whether the agent said that it is ready.
fn heard(socket: &UnixDatagram) -> io::Result<Option<Result<()>>> {
    let mut message = [0; 256];
    match socket.recv(&mut message) {
        Ok(length) => {
            let ready = message.get(..length).is_some_and(|text| text.starts_with(b"READY=1"));
            Ok(ready.then_some(Ok(())))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_in_a_report() {
        let report = serde_json::json!({"ledger": {"seen": 3, "exported": 2, "open": 1}});
        assert_eq!(Ledger::read(&report), Some(Ledger { seen: 3, shown: 2 }));
        assert_eq!(Ledger::read(&serde_json::json!({})), None);
    }
}
