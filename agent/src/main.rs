//! The `spandrel` command: reads the command line, checks everything, runs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

use std::{env, ffi::OsString, process::ExitCode};

use spandrel::{
    app,
    config::{
        self,
        args::{self, Command},
        env::ProcessEnv,
    },
    doctor, log, replay,
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == app::TRAMPOLINE) {
        let error = app::trampoline(arguments.get(2..).unwrap_or_default());
        eprintln!("spandrel: cannot run the command: {error}");
        // As shells have it: found but not executable, or not found.
        return ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
    }
    match args::parse(arguments) {
        Err(stop) => {
            if stop.mistake {
                eprint!("{}", stop.text);
            } else {
                print!("{}", stop.text);
            }
            ExitCode::from(stop.code)
        }
        Ok(Command::Replay(options)) => {
            log::init(::log::LevelFilter::Info);
            replay::run(&options, &ProcessEnv)
        }
        Ok(Command::Doctor(options)) => {
            let findings = doctor::examine();
            print!("{}", if options.json { findings.json() } else { findings.text() });
            ExitCode::from(findings.code())
        }
        Ok(Command::Run(run)) => match config::load(*run, &ProcessEnv) {
            Err(mistakes) => {
                eprintln!("spandrel: {mistakes}");
                ExitCode::from(mistakes.code())
            }
            Ok(config) => {
                log::init(config.log_level);
                for note in &config.notes {
                    ::log::info!("{note}");
                }
                app::run(&config).unwrap_or_else(|failure| {
                    eprintln!("spandrel: {}", failure.message);
                    ExitCode::from(failure.code)
                })
            }
        },
    }
}
