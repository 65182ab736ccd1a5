//! The command line, exactly as it was typed. What it means, and whether it can be, is decided in
//! [`super::load`], so that all mistakes come out at once.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

use super::mistake::exit;

const RUN_EXAMPLES: &str = "\
Examples:
  # Show the traces of everything on this machine in the terminal.
  sudo spandrel run

  # Trace what listens on port 8080 and send the spans to a collector.
  sudo spandrel run --port 8080 --otlp-endpoint http://localhost:4318

A process is traced if any one selector matches. Without selectors every process is, except the agent \
itself and known telemetry agents and collectors.
GLOB: as in a shell, but `*` and `?` match `/` too.
The OTEL_* variables of the OpenTelemetry specification set sampler, exporter, batches and limits.";

const REPLAY_HELP: &str = "\
The OTEL_EXPORTER_OTLP_* variables set protocol, headers, TLS and compression, as for `spandrel run`. What is \
sent is marked at once: interrupted, the next replay goes on where this one ended. Files that an agent is \
writing are left to it.
Exit code: 0 if everything was printed or sent, 75 if something is left, 65 if something cannot be read or was rejected.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "spandrel",
    bin_name = "spandrel",
    version,
    about = "Distributed traces of unmodified programs, seen from the Linux kernel.",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start with: sudo spandrel run        What this kernel can do: spandrel doctor"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace the HTTP requests of processes until interrupted.
    #[command(after_help = RUN_EXAMPLES, override_usage = "spandrel run [OPTIONS] [-- COMMAND ARGS...]")]
    Run(Box<Run>),
    /// Print spans that are on disk (dead letters, or a queue that nobody sends) as OTLP/JSON, or send them
    #[command(after_help = REPLAY_HELP)]
    Replay(Replay),
    /// Say what works on this kernel, what does not, and what to do about it.
    Doctor(Doctor),
    /// Check a configuration file, or show what file, variables and flags come to.
    #[command(subcommand)]
    Config(Configuration),
    /// Make a running agent read its configuration file again.
    Reload(Reload),
}

/// `spandrel config`, as typed.
#[derive(Debug, Subcommand)]
pub enum Configuration {
    /// Say everything that is wrong with a file, each with its line; exit code 0 if nothing is.
    Check {
        /// The file
        file: PathBuf,
    },
    /// Show every setting that `run` would have with the same flags, and where it comes from.
    Show(Box<Run>),
    /// Print the JSON Schema of what is this agent's own, under distribution.spandrel.
    Schema,
}

/// `spandrel reload`, as typed.
#[derive(Args, Clone, Copy, Debug)]
pub struct Reload {
    /// The agent; the only one that runs if none is given
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

/// `spandrel run`, as typed.
#[derive(Args, Clone, Debug, Default)]
pub struct Run {
    /// OpenTelemetry declarative configuration file (file_format 1.0 or 1.1); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Trace the process with this id
    #[arg(long, value_name = "PID", help_heading = "Selectors")]
    pub pid: Vec<String>,

    /// Trace processes whose executable matches, by full path or by file name, or by the name that it was started by
    #[arg(long, value_name = "GLOB", help_heading = "Selectors")]
    pub exe: Vec<String>,

    /// Trace processes whose command line matches (arguments joined by spaces)
    #[arg(long, value_name = "GLOB", help_heading = "Selectors")]
    pub cmd: Vec<String>,

    /// Trace processes that listen on this TCP port, now or later
    #[arg(long, value_name = "PORT", help_heading = "Selectors")]
    pub port: Vec<String>,

    /// Trace processes in this control group or below it: those that are there when the agent starts, or when they
    /// execute a program
    #[arg(long, value_name = "PATH", help_heading = "Selectors")]
    pub cgroup: Vec<String>,

    /// Write trace context into the plain HTTP/1 requests that traced programs send: auto, the default, to peers that
    /// have answered in HTTP/1 before; on, from the first request on; off leaves every byte alone
    #[arg(long, value_name = "auto|on|off", help_heading = "Propagation")]
    pub propagation: Option<String>,

    /// Send spans here by OTLP: HTTP, or gRPC if the port is 4317 (OTEL_EXPORTER_OTLP_PROTOCOL decides). The agent's own
    /// metrics go here, too, if OTEL_METRICS_EXPORTER=otlp and no OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is set
    #[arg(long, value_name = "URL", help_heading = "Output")]
    pub otlp_endpoint: Option<String>,

    /// Print traces to standard output; text if there is no endpoint, else off. A COMMAND writes there, too: a tool that
    /// reads json is better given a file destination, or the COMMAND's output sent elsewhere
    #[arg(long, value_name = "text|json|off", help_heading = "Output")]
    pub console: Option<String>,

    /// Serve /metrics, /healthz and /readyz here; a port alone means loopback
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Output")]
    pub listen: Option<String>,

    /// Write a JSON report with the ledger of requests at exit
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// How long spans may take to leave at the end; what is left is saved, spilled or lost, and said (default 10)
    #[arg(long, value_name = "SECONDS", help_heading = "Output")]
    pub shutdown_timeout: Option<String>,

    /// Which kernel hooks to use; auto takes the socket profile where the kernel has it
    #[arg(long, value_name = "auto|socket|syscall")]
    pub profile: Option<String>,

    /// What counts as the cause of an outbound request: strict takes only evidence that is sound by
    /// itself, off none
    #[arg(long, value_name = "default|strict|off")]
    pub causality: Option<String>,

    /// How much to say on standard error: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Start this program, trace it and its descendants only, and exit with its code
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `spandrel replay`, as typed.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// The folder of dead_letters or spill, or one of those in it
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Send them here by OTLP, and remove what the backend took; without it they are printed and stay
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// `spandrel doctor`, as typed.
#[derive(Args, Clone, Copy, Debug)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// How much more to say on standard error; debug adds all that the verifier said of a program that was refused
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: log::LevelFilter,
}

/// Nothing to run: help, version, or a command line that cannot be read.
#[derive(Debug)]
pub struct Stop {
    /// What to print.
    pub text: String,
    /// Where to: standard error if this is a mistake, else standard output.
    pub mistake: bool,
    /// The exit code.
    pub code: u8,
}

/// Reads a command line, the program's own name first.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Stop> {
    let args: Vec<OsString> = args.into_iter().collect();
    let ended = args.last().is_some_and(|last| last == "--");
    let cli = Cli::try_parse_from(args).map_err(|error| {
        let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        let code = if help { 0 } else { exit::USAGE };
        Stop { text: error.render().to_string(), mistake: !help, code }
    })?;
    match cli.command {
        // `run -- $COMMAND` with an empty variable: tracing the whole node instead is not what was meant.
        Command::Run(run) if ended && run.command.is_empty() => Err(Stop {
            text: "error: no command behind --; name one, or leave out -- to trace running programs\n"
                .to_owned(),
            mistake: true,
            code: exit::USAGE,
        }),
        command => Ok(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Command, Stop> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_name_is_there() {
        let line = "spandrel run --config f --pid 1 --pid 2 --exe a --exe b --cmd c --port 80 --cgroup /x \
                    --otlp-endpoint http://h:1 --propagation off --console json --listen :9 --report r --profile socket \
                    --causality strict \
                    --log-level debug -- curl --pid 7";
        let Ok(Command::Run(run)) = typed(line) else { panic!("not read") };
        assert_eq!(run.pid, ["1", "2"]);
        assert_eq!(run.exe, ["a", "b"]);
        assert_eq!(run.command, ["curl", "--pid", "7"]);
        assert!(matches!(typed("spandrel doctor --json"), Ok(Command::Doctor(Doctor { json: true, .. }))));
    }

    #[test]
    fn help_is_no_mistake_and_a_typo_is_usage() {
        let help = typed("spandrel run --help").unwrap_err();
        assert_eq!((help.code, help.mistake), (0, false));
        assert!(help.text.contains("sudo spandrel run --port 8080"), "{}", help.text);
        let typo = typed("spandrel run --prot 80").unwrap_err();
        assert_eq!((typo.code, typo.mistake), (exit::USAGE, true));
        assert!(typo.text.contains("--port"), "{}", typo.text);
        assert_eq!(typed("spandrel").unwrap_err().code, exit::USAGE);
        let empty = typed("spandrel run --port 80 --").unwrap_err();
        assert_eq!((empty.code, empty.mistake), (exit::USAGE, true));
        assert_eq!(typed("spandrel --version").unwrap_err().code, 0);
    }
}
