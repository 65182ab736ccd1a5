//! `spandrel run -- COMMAND`: the command is traced from its first instruction.
//!
//! The child starts as this very program, stops itself, is selected while it stands still, and executes the
//! command when it is told to go on.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{self, ExitCode, Stdio},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, getpid, kill_process, waitid};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::Signals;

/// The signals that a command may be sent through the agent, besides those that end an agent: reopening logs,
/// replacing workers and the like.
struct Passed {
    user1: Stream,
    user2: Stream,
    window: Stream,
    goes_on: Stream,
}

/// tokio has no name for it.
fn goes_on() -> SignalKind {
    SignalKind::from_raw(libc::SIGCONT)
}

impl Passed {
    fn new() -> io::Result<Self> {
        Ok(Self {
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            window: signal(SignalKind::window_change())?,
            goes_on: signal(goes_on())?,
        })
    }

    async fn wait(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.user1.recv() => SignalKind::user_defined1(),
            _ = self.user2.recv() => SignalKind::user_defined2(),
            _ = self.window.recv() => SignalKind::window_change(),
            _ = self.goes_on.recv() => goes_on(),
        }
    }
}

/// The hidden first argument of the waiting child.
pub const TRAMPOLINE: &str = "__exec";

/// What the child does: stop, and become the command when continued. Returns only if that failed.
pub fn trampoline(command: &[OsString]) -> io::Error {
    let Some((program, args)) = command.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no command");
    };
    if let Err(error) = kill_process(getpid(), Signal::STOP) {
        return error.into();
    }
    process::Command::new(program).args(args).exec()
}

/// Runs a command without tracing it. `None` if there is none.
pub(super) fn alone(command: &[OsString]) -> Option<io::Result<ExitCode>> {
    let (program, args) = command.split_first()?;
    Some(Err(process::Command::new(program).args(args).exec()))
}

/// A command that stands still before its first instruction.
pub(super) struct Command {
    child: tokio::process::Child,
    pid: Pid,
    passed: Passed,
}

impl Command {
    /// Starts the child and waits until it stands still. `None` if there is no command.
    pub(super) fn prepare(command: &[OsString]) -> Option<io::Result<Self>> {
        (!command.is_empty()).then(|| Self::start(command))
    }

    fn start(command: &[OsString]) -> io::Result<Self> {
        let passed = Passed::new()?;
        let child = tokio::process::Command::new("/proc/self/exe")
            .arg0("spandrel")
            .arg(TRAMPOLINE)
            .args(command)
            .stdin(Stdio::inherit())
            .spawn()?;
        let raw = child.id().and_then(|id| Pid::from_raw(id as i32));
        let pid = raw.ok_or_else(|| io::Error::other("it ended at once"))?;
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::EXITED)?;
        Ok(Self { child, pid, passed })
    }

    /// The process that becomes the command.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Lets it go, hands signals on, and returns its exit code when it ends.
    pub(super) async fn run(mut self, signals: &mut Signals) -> io::Result<ExitCode> {
        kill_process(self.pid, Signal::CONT)?;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status?,
                signal = signals.wait() => self.hand_on(signal),
                signal = self.passed.wait() => self.hand_on(signal),
            }
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(ExitCode::from(code as u8))
    }

    fn hand_on(&self, kind: SignalKind) {
        let keyboard = [SignalKind::interrupt(), SignalKind::quit(), SignalKind::window_change(), goes_on()];
        let keyboard = keyboard.contains(&kind);
        // What is typed at a terminal, a change of its size and a shell's `fg` go to the whole foreground group, the
        // command included.
        if keyboard && rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp()) {
            return;
        }
        let signal = match kind.as_raw_value() {
            libc::SIGINT => Signal::INT,
            libc::SIGQUIT => Signal::QUIT,
            libc::SIGHUP => Signal::HUP,
            libc::SIGUSR1 => Signal::USR1,
            libc::SIGUSR2 => Signal::USR2,
            libc::SIGWINCH => Signal::WINCH,
            libc::SIGCONT => Signal::CONT,
            _ => Signal::TERM,
        };
        // It may have ended in between; its status says so.
        kill_process(self.pid, signal).ok();
    }
}
