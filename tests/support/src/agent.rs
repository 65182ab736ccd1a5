//! The agent as a child: started as a person starts it, ready when [`Agent::start`] returns, its spans read from
//! its standard output as they come.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    http,
    lab::Lab,
    patience,
    process::{self, Output, Program},
    report::Report,
    span::{self, Kind, Span},
};

/// How the agent is started. `--console json`, `--report` and `--listen 127.0.0.1:0` are always there.
#[derive(Clone, Debug, Default)]
pub struct Options {
    args: Vec<String>,
    env: Vec<(String, String)>,
    command: Vec<String>,
    console: Option<&'static str>,
    starter: Vec<String>,
}

impl Options {
    /// The agent for everything on this machine: other tests' programs are seen too.
    pub fn new() -> Self {
        Self::default()
    }

    /// The agent for the programs of a test ([`Lab::pattern`]).
    pub fn of(lab: &Lab) -> Self {
        Self::new().arg("--cmd").arg(lab.pattern())
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `--profile`.
    #[must_use]
    pub fn profile(self, profile: &str) -> Self {
        self.arg("--profile").arg(profile)
    }

    /// Another `--console` than `json`; there are no spans to be read then.
    #[must_use]
    pub const fn console(mut self, console: &'static str) -> Self {
        self.console = Some(console);
        self
    }

    /// A program that starts the agent, with its arguments: `setpriv`.
    #[must_use]
    pub fn started_by<A: Into<String>>(mut self, starter: impl IntoIterator<Item = A>) -> Self {
        self.starter = starter.into_iter().map(Into::into).collect();
        self
    }

    /// What comes behind `--`. What this command writes to standard output comes with the spans
    /// ([`Finished::output`]).
    #[must_use]
    pub fn command<A: Into<String>>(mut self, command: impl IntoIterator<Item = A>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// The command line.
    fn line(&self, report: &Path) -> Command {
        let mut command = match self.starter.split_first() {
            None => process::command(binary()),
            Some((starter, args)) => {
                let mut command = process::command(starter);
                command.args(args).arg(binary());
                command
            }
        };
        command.args([
            "run",
            "--console",
            self.console.unwrap_or("json"),
            "--listen",
            "127.0.0.1:0",
            "--report",
        ]);
        command.arg(report).args(&self.args);
        // A test waits for spans: the default of a second would be most of its time.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "20");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if !self.command.is_empty() {
            command.arg("--").args(&self.command);
        }
        command
    }
}

/// The agent under test: `SPANDREL_BIN`, else the release build of this workspace.
pub fn binary() -> PathBuf {
    if let Some(given) = env::var_os("SPANDREL_BIN") {
        return PathBuf::from(given);
    }
    // In a virtual machine there is no build folder: everything lies side by side.
    let beside = env::current_exe().ok().and_then(|test| Some(test.parent()?.join("spandrel")));
    beside
        .filter(|agent| agent.exists())
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/spandrel"))
}

/// A running agent that has attached.
#[derive(Debug)]
pub struct Agent {
    program: Program,
    home: Lab,
    address: SocketAddr,
    /// Lines of standard output that were read.
    read: usize,
    spans: Vec<Span>,
    output: String,
    killed: bool,
}

/// What an agent that ended left.
#[derive(Debug)]
pub struct Finished {
    /// All spans of its life.
    pub spans: Vec<Span>,
    pub report: Report,
    pub stderr: String,
    /// What else came on standard output: what its command wrote.
    pub output: String,
    pub status: ExitStatus,
}

impl Agent {
    /// Starts an agent and waits until it is attached.
    #[track_caller]
    pub fn start(options: &Options) -> Self {
        let home = Lab::new();
        let program = Program::start(&mut options.line(&home.path("report.json")));
        let address = program.wait_stderr("the agent did not start", |line| {
            line.split_once("metrics and health: http://")?.1.split_once("/metrics")?.0.parse().ok()
        });
        program.wait_stderr("the agent did not attach", |line| line.contains("attached by").then_some(()));
        Self { program, home, address, read: 0, spans: Vec::new(), output: String::new(), killed: false }
    }

    /// Starts an agent that is expected to end at once, and waits for that: a mistake in its arguments.
    #[track_caller]
    pub fn fail(options: &Options) -> Output {
        let home = Lab::new();
        process::run(&mut options.line(&home.path("report.json")))
    }

    /// Where it serves `/metrics`, `/healthz` and `/readyz`.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// What it said so far.
    pub fn stderr(&self) -> String {
        self.program.stderr()
    }

    /// Waits for a line on its standard error.
    #[track_caller]
    pub fn wait_stderr<T>(&self, what: &str, ask: impl FnMut(&str) -> Option<T>) -> T {
        self.program.wait_stderr(what, ask)
    }

    /// The spans so far.
    pub fn spans(&mut self) -> &[Span] {
        self.take();
        &self.spans
    }

    /// Waits until the spans so far are what is asked for.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, ask: impl FnMut(&[Span]) -> bool) {
        let came = self.wait_in(patience(), ask);
        assert!(came, "no {what}:\n{:#?}\n{}\n{}", self.spans, self.stderr(), self.counted());
    }

    /// What it counted so far, but for what is 0.
    fn counted(&self) -> String {
        let metrics = http::get(self.address.port(), "/metrics");
        let lines = metrics.lines().filter(|line| line.starts_with("spandrel_") && !line.ends_with(" 0"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The same with another deadline, and without a failure: whether they came.
    #[track_caller]
    pub fn wait_in(&mut self, patience: Duration, mut ask: impl FnMut(&[Span]) -> bool) -> bool {
        let Self { program, read, spans, output, .. } = self;
        let answer = program.lines().wait(patience, |lines| {
            for line in lines.get(*read..).unwrap_or_default() {
                sort(line, spans, output);
            }
            *read = lines.len();
            ask(spans).then_some(())
        });
        answer.is_some()
    }

    /// Waits for something in what its command writes to standard output; whether it came.
    #[track_caller]
    pub fn wait_output(&mut self, mut ask: impl FnMut(&str) -> bool) -> bool {
        let Self { program, read, spans, output, .. } = self;
        let answer = program.lines().wait(patience(), |lines| {
            for line in lines.get(*read..).unwrap_or_default() {
                sort(line, spans, output);
            }
            *read = lines.len();
            ask(output).then_some(())
        });
        answer.is_some()
    }

    /// Waits for so many spans of a kind.
    #[track_caller]
    pub fn wait_count(&mut self, kind: Kind, count: usize) {
        self.wait_for(&format!("{count} {kind:?} spans"), |spans| {
            spans.iter().filter(|span| span.kind == kind).count() >= count
        });
    }

    fn take(&mut self) {
        let mut lines = self.program.lines().since(self.read);
        // An agent that was killed may have written half a line.
        if self.killed && lines.last().is_some_and(|line| !line.ends_with("]}")) {
            lines.pop();
        }
        self.read += lines.len();
        for line in &lines {
            sort(line, &mut self.spans, &mut self.output);
        }
    }

    /// Ends it by SIGTERM; everything that it had seen by then is in what it leaves.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.program.signal(Signal::TERM);
        self.finish()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Waits for its end: that of its command.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let ended = self.program.finish_in(patience());
        assert!(ended.status.code().is_some(), "the agent died: {}\n{}", ended.status, ended.stderr);
        self.take();
        assert!(self.program.errors().ended(patience()), "the agent's standard error stays open");
        Finished {
            report: Report::read(&self.home.path("report.json")),
            spans: self.spans,
            stderr: ended.stderr,
            output: self.output,
            status: ended.status,
        }
    }

    /// Ends it by SIGKILL. What it had not printed is lost.
    #[track_caller]
    pub fn kill(mut self) -> Vec<Span> {
        self.killed = true;
        self.program.signal(Signal::KILL);
        self.program.finish_in(patience());
        self.take();
        self.spans
    }
}

#[track_caller]
fn sort(line: &str, spans: &mut Vec<Span>, output: &mut String) {
    if line.starts_with("{\"resourceSpans\":") {
        spans.extend(span::parse(line));
    } else {
        output.push_str(line);
        output.push('\n');
    }
}

impl Finished {
    /// The spans of a kind, in the order of their starts.
    pub fn of(&self, kind: Kind) -> Vec<&Span> {
        let mut spans: Vec<_> = self.spans.iter().filter(|span| span.kind == kind).collect();
        spans.sort_by_key(|span| span.start_ns);
        spans
    }

    /// Server spans, in the order of their starts.
    pub fn servers(&self) -> Vec<&Span> {
        self.of(Kind::Server)
    }

    /// Client spans, in the order of their starts.
    pub fn clients(&self) -> Vec<&Span> {
        self.of(Kind::Client)
    }

    /// Fails the test unless the ledger closes with nothing open and nothing dropped, and what it calls exported
    /// is what was read.
    #[track_caller]
    pub fn assert_complete(&self) {
        let ledger = &self.report.ledger;
        ledger.assert_closed();
        assert_eq!((ledger.open, ledger.lost()), (0, 0), "{ledger:?}\n{}", self.stderr);
        assert_eq!(ledger.exported, self.spans.len() as u64, "{ledger:?}");
    }
}
