//! `ktest`: moves HTTP bytes through stream sockets in every way there is, and writes down what it did.
//!
//! `ktest SCENARIO TRUTH [ARGUMENT...]` runs one scenario. What happened goes to the file TRUTH, one line
//! for each end of each exchange ([`truth`]), which the tests compare with what the agent saw. A scenario
//! that has to wait for its test says `ready` on standard output and reads a line from standard input.
#![expect(clippy::print_stderr, reason = "a program that talks to its test")]

mod compat;
mod http;
mod scenario;
mod sock;
mod sys;
mod talk;
mod truth;
mod uring;
mod way;

use std::{
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
};

use truth::Truth;

/// What a scenario is given.
pub(crate) struct Stage {
    pub(crate) truth: Truth,
    pub(crate) args: Vec<String>,
}

impl Stage {
    /// Argument `index`, as a number if that is what is asked for.
    pub(crate) fn arg<T: std::str::FromStr>(&self, index: usize) -> io::Result<T> {
        self.args.get(index).and_then(|text| text.parse().ok()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("argument {index} is missing or wrong"))
        })
    }

    /// Whether a part of the scenario is asked for: all of them, unless the first argument names one.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.args.first().is_none_or(|only| only == part)
    }

    /// Tells the test a word and waits for its answer.
    pub(crate) fn cue(word: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{word}")?;
        out.flush()?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the test is gone"));
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(path)) = (args.next(), args.next()) else {
        eprintln!("ktest SCENARIO TRUTH [ARGUMENT...]; scenarios:");
        for (name, _) in scenario::ALL {
            eprintln!("  {name}");
        }
        return ExitCode::from(64);
    };
    let Some((_, run)) = scenario::ALL.iter().find(|(known, _)| *known == name) else {
        eprintln!("ktest: no scenario `{name}`");
        return ExitCode::from(64);
    };
    let ran = Truth::at(&path).and_then(|truth| run(&mut Stage { truth, args: args.collect() }));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ktest {name}: {error}");
            ExitCode::FAILURE
        }
    }
}
