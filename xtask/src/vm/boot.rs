//! One virtual machine from power on to power off.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::run::{command, shown};

/// What the kernel says when nothing good can follow.
const DEATHS: [&str; 3] = ["Kernel panic", "soft lockup", "rcu_sched self-detected stall"];

/// Emulation: works everywhere, also inside other virtual machines, where KVM may hang.
const MACHINE: &[&str] = &[
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "2048",
    "-nic",
    "none",
    "-no-reboot",
    "-display",
    "none",
    "-monitor",
    "none",
    "-serial",
    "stdio",
];

/// `panic=-1` with `-no-reboot` ends QEMU when the kernel panics.
const KERNEL: &str = "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off";

/// Boots, shows the console, and returns each command with its exit code, or what else ended it.
pub(super) fn boot(image: &Path, initramfs: &Path, limit: Duration) -> Result<Vec<(String, String)>> {
    let mut qemu = command("qemu-system-x86_64");
    qemu.args(MACHINE).arg("-kernel").arg(image).arg("-initrd").arg(initramfs).args(["-append", KERNEL]);
    eprintln!("+ {}", shown(&qemu));
    let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start QEMU")?;
    let console = child.stdout.take().context("QEMU has no console")?;
    let (lines, inbox) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + limit;
    let mut seen = Console::default();
    let verdict = loop {
        match inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("  {line}");
                if let Some(verdict) = seen.line(&line) {
                    break verdict;
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break Err("it ended without a word".to_owned()),
            Err(mpsc::RecvTimeoutError::Timeout) => break Err(format!("no end after {} s", limit.as_secs())),
        }
    };
    child.kill().context("cannot stop QEMU")?;
    child.wait().context("cannot wait for QEMU")?;
    match verdict {
        Ok(()) => Ok(seen.ends),
        Err(why) => bail!("the machine failed: {why}"),
    }
}

/// What the console has said.
#[derive(Debug, Default)]
struct Console {
    ends: Vec<(String, String)>,
}

impl Console {
    /// Takes a line. `Some` when the machine is done, or dead.
    fn line(&mut self, line: &str) -> Option<Result<(), String>> {
        if let Some((code, command)) = line.strip_prefix("vm: exit ").and_then(|rest| rest.split_once(": /"))
        {
            self.ends.push((format!("/{command}"), code.to_owned()));
        }
        if let Some(death) = DEATHS.iter().find(|death| line.contains(**death)) {
            return Some(Err((*death).to_owned()));
        }
        // Which command failed is in `ends`, for the caller to judge.
        line.starts_with("init: ").then_some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_understood() {
        let mut console = Console::default();
        assert_eq!(console.line("[    1.2] something"), None);
        assert_eq!(console.line("vm: exit 3: /bin/spandrel doctor"), None);
        assert_eq!(console.line("vm: exit signal: 9 (SIGKILL): /bin/x"), None);
        assert_eq!(console.line("init: failure"), Some(Ok(())));
        let ends = [("/bin/spandrel doctor", "3"), ("/bin/x", "signal: 9 (SIGKILL)")];
        assert!(console.ends.iter().map(|(command, code)| (&**command, &**code)).eq(ends));
        assert!(console.line("Kernel panic - not syncing").is_some_and(|verdict| verdict.is_err()));
    }
}
