//! What runs on a kernel, and how it has to end there.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    run::{answer, cargo, command, root, shown},
    setup, test,
};

const TARGET: &str = "x86_64-unknown-linux-musl";

/// What tests wait for may take this long, in seconds: emulation is about twenty times slower.
const PATIENCE: &str = "SPANDREL_TEST_PATIENCE=300";

/// An executable with its environment and arguments.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) file: PathBuf,
    args: Vec<String>,
    variables: Vec<&'static str>,
    pub(super) place: Place,
    /// What its tests are called in the line that sums a kernel up; nothing for what is no test.
    pub(super) title: Option<&'static str>,
}

/// Where a job runs and how it has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On every kernel, with 0.
    Any,
    /// On supported kernels, with 0.
    Supported,
    /// On the others, where it has to refuse: neither 0 nor a panic nor killed.
    Unsupported,
    /// On every kernel: with 0 where it is supported, or nothing else runs; with a refusal where it is not.
    Judging,
    /// Never: it lies beside the others for them to start.
    Beside,
}

impl Place {
    pub(super) fn runs(self, supported: bool) -> bool {
        self != Self::Beside && self != if supported { Self::Unsupported } else { Self::Supported }
    }

    fn refuses(self, supported: bool) -> bool {
        !supported && matches!(self, Self::Unsupported | Self::Judging)
    }
}

impl Job {
    /// The name of its file.
    pub(super) fn name(&self) -> Result<String> {
        let name = self.file.file_name().context("an executable without a name")?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// As the init of the virtual machine reads it.
    pub(super) fn line(&self, supported: bool) -> Result<String> {
        let mark = if supported && self.place == Place::Judging { "!" } else { "" };
        let program = format!("/bin/{}", self.name()?);
        let words =
            self.variables.iter().copied().chain([&*program]).chain(self.args.iter().map(String::as_str));
        Ok(mark.to_owned() + &words.collect::<Vec<_>>().join(" "))
    }

    /// On this machine.
    pub(super) fn command(&self) -> Command {
        let mut command = command(&self.file);
        command.args(&self.args).envs(self.variables.iter().filter_map(|word| word.split_once('=')));
        command
    }

    /// What is wrong with how it ended.
    pub(super) fn complaint(&self, code: &str, supported: bool) -> Option<String> {
        let name = self.name().unwrap_or_default();
        let line =
            [&*name].into_iter().chain(self.args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        // 101 is a Rust panic.
        let refused = code.parse::<u8>().is_ok_and(|code| code != 0 && code != 101);
        if self.place.refuses(supported) {
            return (!refused).then(|| format!("`{line}` has to refuse this kernel, and ended with {code}"));
        }
        (code != "0").then(|| format!("`{line}` ended with {code}"))
    }
}

/// `spandrel doctor`, and each test binary of tests/kernel with its tests one after another.
pub(super) fn tests(filter: Option<&str>) -> Result<Vec<Job>> {
    setup::ready()?;
    let job = |file: &Path, args: &[&str], place| Job {
        file: file.to_owned(),
        args: args.iter().map(ToString::to_string).collect(),
        variables: Vec::new(),
        place,
        title: None,
    };
    let agent = executables(&["build", "--release", "--package", "spandrel", "--bin", "spandrel"])?;
    let (agent, _) = agent.first().context("cargo built no agent")?;
    let mut jobs = vec![
        job(agent, &["doctor"], Place::Judging),
        job(agent, &["run", "--", "/bin/spandrel", "--version"], Place::Unsupported),
    ];
    let arguments: Vec<_> = ["--test-threads=1", "--show-output"].into_iter().chain(filter).collect();
    for (_, package) in test::packages()?.iter().filter(|(group, _)| group == "kernel") {
        for (file, is_test) in executables(&["test", "--no-run", "--package", package])? {
            if !is_test {
                // A program that the tests start: it only has to be there.
                jobs.push(job(&file, &[], Place::Beside));
                continue;
            }
            jobs.push(Job {
                variables: vec![PATIENCE],
                title: Some("tests"),
                ..job(&file, &arguments, Place::Supported)
            });
        }
    }
    Ok(jobs)
}

/// What the command line asks for.
pub(super) fn given(lines: &[String]) -> Result<Vec<Job>> {
    let job = |line: &String| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let file = root().join(words.next().context("--exec needs a file")?);
        Ok(Job { file, args: words.collect(), variables: Vec::new(), place: Place::Any, title: None })
    };
    lines.iter().map(job).collect()
}

/// Builds for musl and returns the executables that came of it, and whether each is a test.
pub(super) fn executables(args: &[&str]) -> Result<Vec<(PathBuf, bool)>> {
    let (verb, rest) = args.split_first().context("no cargo command")?;
    let mut command = cargo([*verb]);
    command.args(["--locked", "--target", TARGET, "--message-format", "json-render-diagnostics"]).args(rest);
    eprintln!("+ {}", shown(&command));
    let text = answer(command.stderr(Stdio::inherit())).context("the build failed; see above")?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let made = |message: Value| {
        let file = message["executable"].as_str().map(PathBuf::from)?;
        Some((file, message["profile"]["test"].as_bool().unwrap_or(false)))
    };
    Ok(messages.filter_map(made).collect())
}
