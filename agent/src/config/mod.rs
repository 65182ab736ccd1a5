//! Configuration: what was typed ([`args`]), the `OTEL_*` variables and the declarative file become one
//! validated [`Config`], or all their mistakes at once. Flags win over the file, the file replaces the
//! variables. Nothing here touches the kernel.

pub mod args;
mod causality;
pub mod env;
mod file;
mod file_http;
mod file_traces;
mod headers;
pub mod mistake;
pub mod otlp;
mod otlp_variables;
pub mod pairs;
pub mod settings;
mod targets;
#[cfg(test)]
mod tests;
mod variables;
mod walk;
mod yaml;

use std::{
    ffi::{OsStr, OsString},
    fs::OpenOptions,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use log::LevelFilter;

use self::{
    args::Run,
    env::{Env, Reader},
    mistake::{Findings, Mistakes, exit},
    otlp::{OtlpConfig, Signal},
    settings::{
        BatchConfig, Distribution, HttpConfig, LimitsConfig, ResourceConfig, SamplerConfig, Settings,
    },
};
use crate::discover::select::Selectors;

/// How standard output shows traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// A tree for people; colour only on a terminal.
    Text,
    /// OTLP/JSON, one object a line.
    Json,
    Off,
}

/// Which kernel hooks to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The socket profile where the kernel has it, else the system call profile.
    Auto,
    Socket,
    Syscall,
}

/// What `spandrel run` does. Everything in it has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub selectors: Selectors,
    /// The program to start, and its arguments. Empty if there is none.
    pub command: Vec<OsString>,
    pub profile: Profile,
    /// The rules of causality that are on, as the kernel side takes them: bits numbered by
    /// [`spandrel_common::context::Rule`], and [`spandrel_common::context::STRICT`].
    pub causality: u32,
    /// `OTEL_SDK_DISABLED`: nothing is attached; a command is run all the same.
    pub disabled: bool,
    pub log_level: LevelFilter,
    /// Where to serve metrics and health. Port 0 lets the kernel choose.
    pub listen: Option<SocketAddr>,
    pub report: Option<PathBuf>,
    pub console: Console,
    pub otlp: Option<OtlpConfig>,
    /// Where the agent's own metrics go, if `OTEL_METRICS_EXPORTER` says so; `listen` serves them anyway.
    pub metrics: Option<OtlpConfig>,
    pub sampler: SamplerConfig,
    pub batch: BatchConfig,
    pub limits: LimitsConfig,
    pub http: HttpConfig,
    pub resource: ResourceConfig,
    /// For the log: what has no effect, what was guessed.
    pub notes: Vec<String>,
}

/// Validates a command line together with the variables and the configuration file.
pub fn load(run: Run, env: &dyn Env) -> Result<Config, Mistakes> {
    let mut findings = Findings::default();
    let Run { config: file, pid, exe, cmd, port, cgroup, otlp_endpoint, command, .. } = &run;
    let flags = Distribution {
        place: "--".to_owned(),
        pid: pid.clone(),
        exe: exe.clone(),
        cmd: cmd.clone(),
        port: port.clone(),
        cgroup: cgroup.clone(),
        console: run.console.clone(),
        listen: run.listen.clone(),
        report: None,
        profile: run.profile.clone(),
        causality: run.causality.clone(),
        causality_without: Vec::new(),
    };
    let typed = !(pid.is_empty() && exe.is_empty() && cmd.is_empty() && port.is_empty() && cgroup.is_empty());
    let own = targets::selectors(&flags, !command.is_empty(), &mut findings);
    let typed_console =
        run.console.as_deref().and_then(|text| console("--console", text, exit::USAGE, &mut findings));
    let typed_listen =
        run.listen.as_deref().and_then(|text| listen("--listen", text, exit::USAGE, &mut findings));
    let typed_profile =
        run.profile.as_deref().and_then(|text| profile("--profile", text, exit::USAGE, &mut findings));
    let typed_level = run.log_level.as_deref().and_then(|text| level(text, &mut findings));
    let typed_report = run.report.as_deref().and_then(|path| writable("--report", path, &mut findings));
    check_command(command, env, &mut findings);

    let settings = settings(file.as_deref(), otlp_endpoint.as_deref(), env, &mut findings);
    let Settings { disabled, log_level, sampler, exporters, batch, limits, http, resource, distribution } =
        settings;
    let ours = distribution.place.clone();
    let selectors = if typed {
        own
    } else {
        let select = Distribution { place: format!("{ours}select."), ..distribution.clone() };
        targets::selectors(&select, !command.is_empty(), &mut findings)
    };
    let causality = causality::read(run.causality.as_deref(), &distribution, &mut findings);
    let Distribution { console: text, listen: address, report: path, profile: hooks, .. } = distribution;
    let place = |key: &str| format!("{ours}{key}");
    let text = text.and_then(|text| console(&place("console"), &text, exit::CONFIG, &mut findings));
    let address = address.and_then(|text| listen(&place("listen"), &text, exit::CONFIG, &mut findings));
    let hooks = hooks.and_then(|text| profile(&place("profile"), &text, exit::CONFIG, &mut findings));
    let path = path.filter(|_| run.report.is_none());
    let path = path.and_then(|path| writable(&place("report"), Path::new(&path), &mut findings));

    // Without any destination the console is one, terminal or not: an agent that is started and shows
    // nothing is the one thing that nobody wants. A destination switches it off.
    let silent = exporters.none || exporters.otlp.is_some();
    let default = if exporters.console || !silent { Console::Text } else { Console::Off };
    let console = typed_console.or(text).unwrap_or(default);
    if console == Console::Off && exporters.otlp.is_none() {
        findings.note("spans go nowhere: no OTLP endpoint, and the console is off; they are only counted");
    }
    let Findings { mistakes, notes } = findings;
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    Ok(Config {
        selectors,
        command: run.command,
        profile: typed_profile.or(hooks).unwrap_or(Profile::Auto),
        causality,
        disabled,
        log_level: typed_level.or(log_level).unwrap_or(LevelFilter::Info),
        listen: typed_listen.or(address),
        report: typed_report.or(path),
        console,
        otlp: exporters.otlp,
        metrics: exporters.metrics,
        sampler,
        batch,
        limits,
        http,
        resource,
        notes,
    })
}

/// The file if one is named, else the variables.
fn settings(file: Option<&Path>, endpoint: Option<&str>, env: &dyn Env, findings: &mut Findings) -> Settings {
    const VARIABLE: &str = "OTEL_CONFIG_FILE";
    let named = env.get(VARIABLE).filter(|path| !path.trim().is_empty()).map(PathBuf::from);
    let (place, path) = match (file, named) {
        (Some(path), _) => ("--config", path.to_owned()),
        (None, Some(path)) => (VARIABLE, path),
        (None, None) => return variables::read(endpoint, &mut Reader { env, findings }),
    };
    let vain: Vec<_> = variables::REPLACED
        .into_iter()
        .filter(|name| env.get(name).is_some_and(|value| !value.is_empty()))
        .collect();
    if !vain.is_empty() {
        let file = path.display();
        findings.note(format!("{file} replaces the variables, so these have no effect: {}", vain.join(", ")));
    }
    let mut settings = file::read(&path, place, env, findings).unwrap_or_default();
    if let Some(url) = endpoint {
        let empty = std::collections::HashMap::<String, String>::new();
        let flag =
            otlp_variables::read(Signal::Traces, Some(url), true, &mut Reader { env: &empty, findings });
        settings.exporters.otlp = match (flag, settings.exporters.otlp.take()) {
            // Only the address is typed; headers and the rest stay as written.
            (Some(flag), Some(written)) => {
                Some(OtlpConfig { endpoint: flag.endpoint, protocol: flag.protocol, ..written })
            }
            (flag, _) => flag,
        };
    }
    settings
}

fn console(place: &str, text: &str, code: u8, findings: &mut Findings) -> Option<Console> {
    match text {
        "text" => Some(Console::Text),
        "json" => Some(Console::Json),
        "off" => Some(Console::Off),
        _ => {
            findings.mistake(code, place, format!("{text:?} is not known"), "use text, json or off");
            None
        }
    }
}

fn profile(place: &str, text: &str, code: u8, findings: &mut Findings) -> Option<Profile> {
    match text {
        "auto" => Some(Profile::Auto),
        "socket" => Some(Profile::Socket),
        "syscall" => Some(Profile::Syscall),
        _ => {
            findings.mistake(code, place, format!("{text:?} is not known"), "use auto, socket or syscall");
            None
        }
    }
}

fn level(text: &str, findings: &mut Findings) -> Option<LevelFilter> {
    let found = variables::LEVELS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    if found.is_none() {
        let advice = "use off, error, warn, info, debug or trace";
        findings.mistake(exit::USAGE, "--log-level", format!("{text:?} is not known"), advice);
    }
    found.map(|(_, level)| *level)
}

/// An address to listen on. A port alone, or `:PORT`, is on loopback.
fn listen(place: &str, text: &str, code: u8, findings: &mut Findings) -> Option<SocketAddr> {
    let text = text.trim();
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let port = text.strip_prefix(':').or_else(|| text.strip_prefix("localhost:")).unwrap_or(text);
    let address = port.parse().map(|port| SocketAddr::new(loopback, port)).or_else(|_| text.parse());
    if address.is_err() {
        let advice = "write 127.0.0.1:9464, [::1]:9464, or a port alone for loopback";
        findings.mistake(code, place, format!("{text:?} is not an address with a port"), advice);
    }
    address.ok()
}

/// A path that can be written at exit. Leaves nothing behind that was not there.
fn writable(place: &str, path: &Path, findings: &mut Findings) -> Option<PathBuf> {
    let new = !path.exists();
    match OpenOptions::new().append(true).create(true).open(path) {
        Ok(_) => {
            if new && let Err(error) = std::fs::remove_file(path) {
                findings.note(format!("{place}: cannot remove {}: {error}", path.display()));
            }
            Some(path.to_owned())
        }
        Err(error) => {
            let what = format!("cannot write {}: {error}", path.display());
            findings.mistake(
                exit::CANTCREAT,
                place,
                what,
                "name a file in a folder that this user can write",
            );
            None
        }
    }
}

/// That the command can be found the way that `execvp` finds it.
fn check_command(command: &[OsString], env: &dyn Env, findings: &mut Findings) {
    let Some(program) = command.first() else { return };
    let place = format!("-- {}", program.display());
    let runs = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let given = Path::new(program);
    if program.as_encoded_bytes().contains(&b'/') {
        if !given.exists() {
            findings.mistake(exit::NOINPUT, place, "there is no such program", "check the path");
        } else if !runs(given) {
            findings.mistake(exit::NOPERM, place, "this is not executable", "make it so with chmod +x");
        }
        return;
    }
    let path = env.get("PATH").unwrap_or_else(|| "/bin:/usr/bin".to_owned());
    let mut folders = std::env::split_paths(OsStr::new(&path));
    if !folders.any(|folder| runs(&folder.join(given))) {
        findings.mistake(exit::NOINPUT, place, "there is no such program in PATH", "give its full path");
    }
}
