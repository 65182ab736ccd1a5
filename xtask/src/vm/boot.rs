//! One virtual machine from power on to power off, and what its console says.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    run::{command, shown},
    test::count::{Count, Reader},
};

/// What the kernel says when nothing good can follow. (What it says of stalls is left out: emulation is slow.)
const DEATHS: [&str; 2] = ["Kernel panic", "Out of memory"];

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

/// Boots, shows the console, and tells what it said until the machine was done, died or took too long.
pub(super) fn boot(image: &Path, initramfs: &Path, limit: Duration) -> Result<Console> {
    let mut qemu = command("qemu-system-x86_64");
    qemu.args(MACHINE).arg("-kernel").arg(image).arg("-initrd").arg(initramfs).args(["-append", KERNEL]);
    eprintln!("+ {}", shown(&qemu));
    let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start QEMU")?;
    let output = child.stdout.take().context("QEMU has no console")?;
    let (lines, inbox) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + limit;
    let mut console = Console::default();
    while !console.done {
        match inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => console.line(&line),
            Err(mpsc::RecvTimeoutError::Disconnected) => console.dies("it ended without a word"),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                console.dies(&format!("no end after {} s: a larger --timeout may help", limit.as_secs()));
            }
        }
    }
    child.kill().context("cannot stop QEMU")?;
    child.wait().context("cannot wait for QEMU")?;
    Ok(console)
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) code: String,
    pub(super) count: Count,
}

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// The first line of `spandrel doctor`.
    pub(super) system: String,
    /// The commands that ended, in order.
    pub(super) ends: Vec<End>,
    /// Why it stopped before it was done.
    pub(super) death: Option<String>,
    done: bool,
    reader: Reader,
}

impl Console {
    /// Takes a line, and shows it if it is worth it.
    fn line(&mut self, line: &str) {
        if self.reader.line(line) {
            println!("  {line}");
        }
        if let Some((_, code)) = line.strip_prefix("vm: exit ").and_then(|rest| rest.split_once(": ")) {
            self.end(code);
        } else if self.system.is_empty() && line.starts_with("Linux ") && !line.starts_with("Linux version") {
            line.clone_into(&mut self.system);
        } else if let Some(death) = DEATHS.iter().find(|death| line.contains(**death)) {
            self.dies(death);
        }
        // Which command failed is in `ends`, for the caller to judge.
        self.done |= line.starts_with("init: ");
    }

    fn end(&mut self, code: &str) {
        let count = std::mem::take(&mut self.reader).finish();
        self.ends.push(End { code: code.to_owned(), count });
    }

    fn dies(&mut self, why: &str) {
        self.death = Some(why.to_owned());
        self.done = true;
    }

    /// Runs a command on this machine as if on a console.
    pub(super) fn command(&mut self, number: usize, command: &mut Command) -> Result<()> {
        eprintln!("+ {}", shown(command));
        let line = shown(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let output = child.stdout.take().context("a child without output")?;
        for text in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            self.line(String::from_utf8_lossy(&text).trim_end());
        }
        let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
        let code = status.code().map_or_else(|| status.to_string(), |code| code.to_string());
        self.line(&format!("vm: exit {number}: {code}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Console {
        let mut console = Console::default();
        for line in lines {
            console.line(line);
        }
        console
    }

    #[test]
    fn the_console_is_understood() {
        let console = said(&[
            "[    1.2] something",
            "vm: run 0: /bin/spandrel doctor",
            "Linux 6.1.0-50-amd64, syscall profile",
            "vm: exit 0: 3",
            "test a ... FAILED",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "vm: exit 1: signal: 9 (SIGKILL)",
        ]);
        assert!(!console.done);
        assert_eq!(console.system, "Linux 6.1.0-50-amd64, syscall profile");
        let ends: Vec<_> =
            console.ends.iter().map(|end| (&*end.code, end.count.passed, end.count.failed)).collect();
        assert_eq!(ends, [("3", 0, 0), ("signal: 9 (SIGKILL)", 3, 1)]);
        assert_eq!(console.ends[1].count.failures(), ["a"]);
    }

    #[test]
    fn an_end_is_no_death() {
        let console = said(&["init: failure"]);
        assert!(console.done && console.death.is_none());
        let console = said(&["[ 3.1] Kernel panic - not syncing"]);
        assert!(console.done && console.death.is_some());
    }
}
