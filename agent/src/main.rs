//! The `spandrel` command: reads the command line, checks everything, runs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

use std::{env, ffi::OsString, process::ExitCode, sync::Arc};

use spandrel::{
    app,
    config::{
        self,
        args::{self, Command, Configuration},
        env::ProcessEnv,
        mistake::Mistakes,
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
            log::init(options.log_level);
            let findings = doctor::examine();
            print!("{}", if options.json { findings.json() } else { findings.text() });
            ExitCode::from(findings.code())
        }
        Ok(Command::Config(Configuration::Check { file })) => match config::check(&file, &ProcessEnv) {
            Err(mistakes) => refuse(&mistakes),
            Ok(notes) => {
                for note in notes {
                    println!("note: {note}");
                }
                println!("{} is correct", file.display());
                ExitCode::SUCCESS
            }
        },
        Ok(Command::Config(Configuration::Show(run))) => match config::load(*run, &ProcessEnv) {
            Err(mistakes) => refuse(&mistakes),
            Ok(config) => {
                print!("{}", config::show::text(&config));
                ExitCode::SUCCESS
            }
        },
        Ok(Command::Config(Configuration::Schema)) => {
            println!("{:#}", config::schema::json_schema());
            ExitCode::SUCCESS
        }
        Ok(Command::Reload(options)) => match app::reload(options.pid) {
            Ok(pid) => {
                println!("agent {pid} reads its configuration again; its log says what came of it");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                eprintln!("spandrel: {}", failure.message);
                ExitCode::from(failure.code)
            }
        },
        Ok(Command::Run(run)) => match app::load((*run).clone(), &ProcessEnv) {
            Err(mistakes) => refuse(&mistakes),
            Ok(config) => {
                log::init(config.log_level);
                for note in &config.notes {
                    ::log::info!("{note}");
                }
                let reread: app::Reread = Arc::new(move || config::load((*run).clone(), &ProcessEnv));
                let code = app::run(&config, &reread).unwrap_or_else(|failure| {
                    log::say(format!("spandrel: {}", failure.message));
                    ExitCode::from(failure.code)
                });
                log::flush();
                code
            }
        },
    }
}

fn refuse(mistakes: &Mistakes) -> ExitCode {
    eprintln!("spandrel: {mistakes}");
    ExitCode::from(mistakes.code())
}
