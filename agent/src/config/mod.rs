//! Configuration: what was typed ([`args`]), the `OTEL_*` variables and the declarative file become one
//! validated [`Config`], or all their mistakes at once. Flags win over the file, the file replaces the
//! variables. Nothing here touches the kernel.

pub mod args;
mod causality;
pub mod destination;
#[cfg(test)]
mod destination_tests;
pub mod env;
mod file;
mod file_destinations;
mod file_http;
mod file_metrics;
mod file_ours;
mod file_traces;
mod headers;
pub mod mistake;
pub mod otlp;
mod otlp_variables;
pub mod pairs;
mod places;
pub mod schema;
pub mod settings;
pub mod show;
mod show_destinations;
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
    time::Duration,
};

use log::LevelFilter;

use self::{
    args::Run,
    destination::{DestinationConfig, StoreConfig},
    env::{Env, Reader},
    mistake::{Findings, Mistake, Mistakes, exit},
    otlp::{OtlpConfig, Signal},
    settings::{
        BatchConfig, Distribution, HttpConfig, LimitsConfig, MetricsConfig, Propagation, ResourceConfig,
        SamplerConfig, SamplingConfig, Settings,
    },
    show::Sources,
};
use crate::{discover::select::Selectors, export::config::Caps, span::redact};

/// How long spans may take to leave when the agent stops. Kubernetes kills after 30 seconds, systemd after 90.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The same as written, but for the command.
    pub selected: Vec<String>,
    /// The program to start, and its arguments. Empty if there is none.
    pub command: Vec<OsString>,
    pub profile: Profile,
    pub propagation: Propagation,
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
    /// Destinations besides `otlp`.
    pub more: Vec<DestinationConfig>,
    /// Where queues are on disk, and what cannot be delivered; a folder for each destination.
    pub spill: Option<StoreConfig>,
    pub dead_letters: Option<StoreConfig>,
    /// What all destinations together may take.
    pub caps: Caps,
    /// How long spans may take to leave at the end.
    pub shutdown_timeout: Duration,
    /// Where the agent's own metrics go, if `OTEL_METRICS_EXPORTER` says so; `listen` serves them anyway.
    pub metrics: Option<OtlpConfig>,
    pub sampler: SamplerConfig,
    pub batch: BatchConfig,
    pub limits: LimitsConfig,
    pub http: HttpConfig,
    pub resource: ResourceConfig,
    /// What spans may not show, but for [`HttpConfig::sensitive_query_parameters`].
    pub redaction: redact::Policy,
    /// Rules before the sampler.
    pub sampling: SamplingConfig,
    /// What is measured, and how `metrics` gets it.
    pub measures: MetricsConfig,
    /// Where the values came from.
    pub sources: Sources,
    /// For the log: what has no effect, what was guessed.
    pub notes: Vec<String>,
}

impl Config {
    /// Who says that nothing is to be traced, for a log.
    pub fn disabled_by(&self) -> &'static str {
        // A file that is given replaces the variables.
        if self.sources.has_file() {
            "`disabled` is true in the configuration file"
        } else {
            "OTEL_SDK_DISABLED is true"
        }
    }
}

/// Looks whether an address to listen on, which a flag or a place in the file names, can be had now.
pub type Look<'a> = &'a dyn Fn(&str, SocketAddr, &mut Findings);

/// Validates a command line together with the variables and the configuration file.
pub fn load(run: Run, env: &dyn Env) -> Result<Config, Mistakes> {
    load_and_look(run, env, &|_, _, _| ())
}

/// The same for one that is to be used now: what stands in the way of its address is told beside all other mistakes.
pub fn load_and_look(run: Run, env: &dyn Env, look: Look<'_>) -> Result<Config, Mistakes> {
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
    let typed_propagation = run.propagation.as_deref().and_then(|text| propagation_of(text, &mut findings));
    let typed_level = run.log_level.as_deref().and_then(|text| level(text, &mut findings));
    let typed_timeout = run.shutdown_timeout.as_deref().and_then(|text| seconds(text, &mut findings));
    let typed_report = run.report.as_deref().and_then(|path| writable("--report", path, &mut findings));
    check_command(command, env, &mut findings);

    let settings = settings(file.as_deref(), otlp_endpoint.as_deref(), env, &mut findings);
    let Settings {
        disabled,
        log_level,
        sampler,
        exporters,
        batch,
        limits,
        http,
        resource,
        propagation,
        redaction,
        sampling,
        metrics: measures,
        distribution,
    } = settings;
    let ours = distribution.place.clone();
    let (selectors, selected) = if typed {
        (own, targets::written(&flags))
    } else {
        let select = Distribution { place: format!("{ours}select."), ..distribution.clone() };
        (targets::selectors(&select, !command.is_empty(), &mut findings), targets::written(&select))
    };
    let causality = causality::read(run.causality.as_deref(), &distribution, &mut findings);
    let Distribution { console: text, listen: address, report: path, profile: hooks, .. } = distribution;
    let place = |key: &str| format!("{ours}{key}");
    let text = text.and_then(|text| console(&place("console"), &text, exit::CONFIG, &mut findings));
    let address = address.or_else(|| measures.prometheus.clone());
    let address = address.and_then(|text| listen(&place("listen"), &text, exit::CONFIG, &mut findings));
    let hooks = hooks.and_then(|text| profile(&place("profile"), &text, exit::CONFIG, &mut findings));
    let path = path.filter(|_| run.report.is_none());
    let path = path.and_then(|path| writable(&place("report"), Path::new(&path), &mut findings));

    // Without any destination the console is one, terminal or not: an agent that is started and shows
    // nothing is the one thing that nobody wants. A destination switches it off.
    let silent = exporters.none || exporters.otlp.is_some() || !exporters.more.is_empty();
    let default = if exporters.console || !silent { Console::Text } else { Console::Off };
    let console = typed_console.or(text).unwrap_or(default);
    if console == Console::Off && exporters.otlp.is_none() && exporters.more.is_empty() {
        findings.note("spans go nowhere: no OTLP endpoint, and the console is off; they are only counted");
    }
    let address = typed_listen.or(address);
    if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
        findings.note(format!(
            "listening on {address}, which others can reach: metrics name services, hosts and paths; a port \
             alone is on loopback"
        ));
    }
    if let Some(address) = address.filter(|_| !disabled) {
        let place = if typed_listen.is_some() { "--listen".to_owned() } else { place("listen") };
        look(&place, address, &mut findings);
    }
    findings.locate();
    let sources = Sources::of(&run, file.as_deref(), env, std::mem::take(&mut findings.given));
    let Findings { mistakes, notes, .. } = findings;
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    Ok(Config {
        selectors,
        selected,
        command: run.command,
        profile: typed_profile.or(hooks).unwrap_or(Profile::Auto),
        propagation: typed_propagation.unwrap_or(propagation),
        causality,
        disabled,
        log_level: typed_level.or(log_level).unwrap_or(LevelFilter::Info),
        listen: address,
        report: typed_report.or(path),
        console,
        otlp: exporters.otlp,
        more: exporters.more,
        spill: exporters.spill,
        dead_letters: exporters.dead_letters,
        caps: exporters.caps,
        shutdown_timeout: typed_timeout.or(exporters.shutdown_timeout).unwrap_or(SHUTDOWN_TIMEOUT),
        metrics: exporters.metrics,
        sampler,
        batch,
        limits,
        http,
        resource,
        redaction,
        sampling,
        measures,
        sources,
        notes,
    })
}

/// The variable that names the file.
const CONFIG_FILE: &str = "OTEL_CONFIG_FILE";

/// The file that the variable names.
fn named_file(env: &dyn Env) -> Option<PathBuf> {
    env.get(CONFIG_FILE).filter(|path| !path.trim().is_empty()).map(PathBuf::from)
}

/// Judges a file alone, as `spandrel config check` does: gives its notes.
pub fn check(path: &Path, env: &dyn Env) -> Result<Vec<String>, Mistakes> {
    let run = Run { config: Some(path.to_owned()), ..Run::default() };
    load(run, env).map(|config| config.notes)
}

/// Judges the text of a file: gives all that is wrong in it.
pub fn judge(text: &str, env: &dyn Env) -> Vec<Mistake> {
    let mut findings = Findings::default();
    // What it says does not matter here.
    drop(file::parse(text, "file", env, &mut findings));
    findings.mistakes
}

/// The destination of a command that sends something by hand: the flag and the variables, without a file.
pub fn otlp_of(flag: &str, env: &dyn Env) -> Result<OtlpConfig, Mistakes> {
    let mut findings = Findings::default();
    let reader = &mut Reader { env, findings: &mut findings };
    let otlp = otlp_variables::read(Signal::Traces, Some(flag), true, reader);
    match otlp {
        Some(otlp) if findings.mistakes.is_empty() => Ok(otlp),
        _ => Err(Mistakes(findings.mistakes)),
    }
}

/// The file if one is named, else the variables.
fn settings(file: Option<&Path>, endpoint: Option<&str>, env: &dyn Env, findings: &mut Findings) -> Settings {
    let (place, path) = match (file, named_file(env)) {
        (Some(path), _) => ("--config", path.to_owned()),
        (None, Some(path)) => (CONFIG_FILE, path),
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

fn propagation_of(text: &str, findings: &mut Findings) -> Option<Propagation> {
    match text {
        "auto" => Some(Propagation::Auto),
        "on" => Some(Propagation::On),
        "off" => Some(Propagation::Off),
        _ => {
            let advice = "use auto, on or off";
            findings.mistake(exit::USAGE, "--propagation", format!("{text:?} is not known"), advice);
            None
        }
    }
}

/// A number of seconds, with a fraction or not.
fn seconds(text: &str, findings: &mut Findings) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if seconds.is_none() {
        let advice = "write seconds, like 10 or 0.5";
        findings.mistake(exit::USAGE, "--shutdown-timeout", format!("{text:?} is no time"), advice);
    }
    seconds.map(|seconds| seconds.min(otlp::NO_LIMIT))
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
    // Whether a pipe or a device takes it shows at the end: to open one can wait, or do something.
    if path.metadata().is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        return Some(path.to_owned());
    }
    let new = path.symlink_metadata().is_err();
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
