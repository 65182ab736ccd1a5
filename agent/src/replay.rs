//! `spandrel replay`: the command around [`crate::export::replay`].
#![expect(clippy::print_stderr, reason = "a command speaks to its user")]

use std::{io, process::ExitCode};

use crate::{
    app,
    config::{self, args::Replay, env::Env, mistake::exit},
    export::replay::{self, Outcome},
};

/// Prints or sends, says what came of it, and gives the exit code.
pub fn run(options: &Replay, env: &dyn Env) -> ExitCode {
    let result = match &options.otlp_endpoint {
        None => replay::print(&options.folder, &mut io::stdout().lock()).map_err(|error| error.to_string()),
        Some(endpoint) => match config::otlp_of(endpoint, env) {
            Ok(otlp) => app::replay(&options.folder, &otlp),
            Err(mistakes) => {
                eprintln!("spandrel: {mistakes}");
                return ExitCode::from(mistakes.code());
            }
        },
    };
    // What the log says comes first.
    crate::log::flush();
    match result {
        Ok(outcome) => {
            let sent = options.otlp_endpoint.is_some();
            eprintln!("spandrel: {}", said(&outcome, sent));
            ExitCode::from(code(&outcome))
        }
        Err(error) => {
            eprintln!("spandrel: {error}");
            ExitCode::from(exit::NOINPUT)
        }
    }
}

fn said(outcome: &Outcome, sent: bool) -> String {
    let Outcome { files, spans, left, reason, rejected, objection, damaged, in_use } = outcome;
    let mut parts = vec![format!("{spans} spans of {files} files {}", if sent { "sent" } else { "printed" })];
    if *left > 0 {
        parts.push(format!("{left} stay: {reason}"));
    } else if !reason.is_empty() {
        parts.push(reason.clone());
    }
    if *rejected > 0 {
        let said = if objection.is_empty() { "it does not say why" } else { objection };
        parts.push(format!("{rejected} were rejected by the backend and are gone: {said}"));
    }
    if *damaged > 0 {
        parts.push(format!("{damaged} batches cannot be read"));
    }
    if *in_use > 0 {
        parts.push(format!("{in_use} files are in use by an agent"));
    }
    parts.join("; ")
}

fn code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome { left, in_use, .. } if left + in_use > 0 => exit::TEMPFAIL,
        Outcome { damaged, rejected, .. } if *damaged > 0 || *rejected > 0 => exit::DATAERR,
        _ => 0,
    }
}
