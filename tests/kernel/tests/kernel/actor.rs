//! A `ktest` of the test's own, which waits for its cues.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use spandrel_test_support::Lab;

use crate::{
    stage::ktest,
    truth::{self, Truth},
};

/// A running scenario. Killed if the test ends before it.
pub(crate) struct Actor {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    file: String,
}

impl Actor {
    /// Starts a scenario. Its truth is a file of the lab's, named after its arguments.
    #[track_caller]
    pub(crate) fn start(lab: &Lab, scenario: &str, args: &[&str]) -> Self {
        Self::start_by(Command::new(ktest()), lab, scenario, args)
    }

    /// The same by another command, which has to end with running `ktest`.
    #[track_caller]
    pub(crate) fn start_by(mut command: Command, lab: &Lab, scenario: &str, args: &[&str]) -> Self {
        let file = format!("truth-{scenario}-{}", args.join("-"));
        command.arg(scenario).arg(lab.path(&file)).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("ktest starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, input, output, file }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its next line, which has to start with this word, and returns the rest.
    #[track_caller]
    pub(crate) fn says(&mut self, word: &str) -> String {
        let line = self.output.next().expect("it says something").expect("a line");
        line.strip_prefix(word).unwrap_or_else(|| panic!("`{word}` expected, not `{line}`")).trim().to_owned()
    }

    /// Lets it go on.
    #[track_caller]
    pub(crate) fn go(&mut self) {
        self.input.as_mut().expect("its input").write_all(b"go\n").expect("it reads its cue");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        let status = self.child.wait().expect("its end");
        assert!(status.success(), "ktest: {status}");
    }

    /// What it did so far.
    #[track_caller]
    pub(crate) fn truth(&self, lab: &Lab) -> Truth {
        truth::read(&lab.read(&self.file))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may have ended already, which is just as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
