//! Programs as children: each leads a process group of its own, which is killed when its value is dropped.

use std::{
    ffi::OsStr,
    io::Write as _,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open},
};

use crate::lines::Lines;

/// What a program that ended left.
#[derive(Clone, Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// What it wrote to standard output, if it ended well; else the test fails with all that it said.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// The exit code, as a shell tells it: 128 and the signal's number for a program that was killed.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }
}

/// A command in the C locale. `OTEL_*` variables of whoever runs the tests are taken away: they would change
/// what is expected.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OTEL_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    Program::start(command).finish()
}

/// The same for what takes long: a build that fetches what it needs.
#[track_caller]
pub fn run_in(command: &mut Command, patience: Duration) -> Output {
    Program::start(command).finish_in(patience)
}

/// A running program whose output is read as it comes.
#[derive(Debug)]
pub struct Program {
    child: Child,
    shown: String,
    stdout: Lines,
    stderr: Lines,
    ended: Option<ExitStatus>,
}

impl Program {
    /// Starts a command; its output is captured, and its input is empty unless the command says otherwise by
    /// [`Program::start_with`].
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// Starts a command whose input comes from the test ([`Program::tell`]).
    #[track_caller]
    pub fn start_told(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::piped())
    }

    /// Writes a line to its standard input ([`Program::start_told`]).
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("a program that is told something");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("a line written");
    }

    /// Starts a command with this input: often a listening socket that the program is to serve.
    #[track_caller]
    pub fn start_with(command: &mut Command, stdin: impl Into<Stdio>) -> Self {
        let shown = format!("{command:?}");
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        // Or else it stays open here, a listening socket for one.
        command.stdin(Stdio::null());
        let stdout = child.stdout.take().map(Lines::of).unwrap_or_default();
        let stderr = child.stderr.take().map(Lines::of).unwrap_or_default();
        Self { child, shown, stdout, stderr, ended: None }
    }

    /// The id of the process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for something in the lines that it wrote to standard output.
    #[track_caller]
    pub fn wait_stdout<T>(&self, what: &str, mut ask: impl FnMut(&str) -> Option<T>) -> T {
        let answer = self.stdout.wait(crate::patience(), |lines| lines.iter().find_map(|line| ask(line)));
        answer.unwrap_or_else(|| self.fail(what))
    }

    /// The same of standard error.
    #[track_caller]
    pub fn wait_stderr<T>(&self, what: &str, mut ask: impl FnMut(&str) -> Option<T>) -> T {
        let answer = self.stderr.wait(crate::patience(), |lines| lines.iter().find_map(|line| ask(line)));
        answer.unwrap_or_else(|| self.fail(what))
    }

    /// Waits for a line `PORT n` on standard output, as the servers of these tests print it.
    #[track_caller]
    pub fn port(&self) -> u16 {
        self.wait_stdout("no PORT", |line| line.strip_prefix("PORT ")?.trim().parse().ok())
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("{what}: {}\n{}\n{}", self.shown, self.stdout.text(), self.stderr.text())
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn lines(&self) -> &Lines {
        &self.stdout
    }

    pub(crate) fn errors(&self) -> &Lines {
        &self.stderr
    }

    /// Sends a signal to the process that was started.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none()
            && let Some(pid) = self.process()
        {
            // It may just have ended, which is for others to find out.
            kill_process(pid, signal).ok();
        }
    }

    /// Kills it and all of its group, and waits for its end.
    #[track_caller]
    pub fn kill(mut self) -> Output {
        self.kill_group();
        self.finish_in(crate::patience())
    }

    /// Ends it by SIGTERM.
    #[track_caller]
    pub fn terminate(mut self) -> Output {
        self.signal(Signal::TERM);
        self.finish_in(crate::patience())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        self.finish_in(crate::patience())
    }

    #[track_caller]
    pub(crate) fn finish_in(&mut self, patience: Duration) -> Output {
        let end = Instant::now() + patience;
        let Some(status) = self.wait(patience) else { self.fail("no end") };
        // Descendants may hold the pipes longer than the program lives.
        let left = end.saturating_duration_since(Instant::now()).min(Duration::from_secs(5));
        if !self.stdout.ended(left) {
            self.kill_group();
            self.stdout.ended(crate::patience());
        }
        self.stderr.ended(left);
        Output { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Waits for its end; `None` if it does not come in time.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.ended.is_none() {
            let pidfd = pidfd_open(self.process()?, PidfdFlags::empty()).expect("a pidfd of a child");
            let timeout =
                Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            if poll(&mut fds, Some(&timeout)).unwrap_or(0) == 0 {
                return None;
            }
            self.ended = self.child.wait().ok();
        }
        self.ended
    }

    fn process(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id() as i32)
    }

    fn kill_group(&mut self) {
        if let Some(group) = self.process() {
            // Nobody may be left in it.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill_group();
        if self.ended.is_none() {
            self.child.wait().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_gone_with_its_value() {
        let program = Program::start(command("sh").args(["-c", "sleep 1000 & echo $!; wait"]));
        let inner = program.wait_stdout("no pid", |line| line.parse::<i32>().ok());
        let pidfd = pidfd_open(Pid::from_raw(inner).expect("a pid"), PidfdFlags::empty()).expect("it runs");
        drop(program);
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)), Ok(1));
    }

    #[test]
    fn codes_and_output() {
        let output = run(command("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        assert_eq!((output.code(), &*output.stdout, &*output.stderr), (3, "out\n", "err\n"));
        assert_eq!(run(command("sh").args(["-c", "kill -9 $$"])).code(), 137);
        let program = Program::start(command("sh").args(["-c", "echo here; exec sleep 1000"]));
        program.wait_stdout("nothing", |line| (line == "here").then_some(()));
        assert_eq!(program.terminate().code(), 128 + 15);
    }
}
