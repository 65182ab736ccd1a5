//! The agent as a whole: builds the rooms, joins them, and takes them down in order.
//!
//! Two worlds, joined by the exporter's queue: one plain thread reads the kernel's ring and turns events into
//! spans ([`capture`]); a small tokio runtime sends them, serves metrics and waits for signals.

mod capture;
mod command;
mod destinations;
mod goroutines;
mod reload;
mod reread;
mod rooms;
mod scope;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use self::{
    capture::{Capture, Stop},
    command::Command,
    reload::Reloader,
    reread::Rereader,
    scope::Scope,
};
use crate::{
    config::{
        self, Config,
        mistake::{Mistake, Mistakes, exit},
        otlp::OtlpConfig,
        settings::Propagation,
    },
    discover::registry::Registry,
    export::{
        self, listen,
        metrics::{Snapshot, Source},
        notify,
        pipeline::Farewell,
        replay,
        report::Report,
        telemetry,
    },
    kernel::{self, Kernel, Options},
    stats::Stats,
};

pub use self::{
    command::{TRAMPOLINE, trampoline},
    reload::reload,
    reread::Reread,
};

/// Threads of the runtime: one sends, one answers who asks for metrics meanwhile.
const WORKERS: usize = 2;

/// Why the agent stopped, with the exit code for it.
#[derive(Debug)]
pub struct Failure {
    /// What happened and what to do, for a person.
    pub message: String,
    /// One of [`exit`].
    pub code: u8,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }
}

/// Validates a command line, and looks whether this machine and its user allow what it asks for, so that all that is in
/// the way is told at once.
pub fn load(run: config::args::Run, env: &dyn config::env::Env) -> Result<Config, Mistakes> {
    let loaded = config::load_and_look(run, env, &listening);
    if loaded.as_ref().is_ok_and(|config| config.disabled) {
        return loaded;
    }
    let mut unmet = kernel::features::unmet().into_iter().map(|feature| Mistake {
        code: if feature.name.starts_with("capability") { exit::NOPERM } else { exit::UNAVAILABLE },
        what: format!("missing, and needed for {}", feature.purpose),
        place: feature.name,
        advice: format!("{}; `spandrel doctor` tells more", feature.advice),
    });
    match loaded {
        Ok(config) => match unmet.next() {
            None => Ok(config),
            Some(first) => Err(Mistakes([first].into_iter().chain(unmet).collect())),
        },
        Err(Mistakes(mut mistakes)) => {
            mistakes.extend(unmet);
            Err(Mistakes(mistakes))
        }
    }
}

/// Looks whether an address can be listened on. Who takes it until it is needed is told of then.
fn listening(place: &str, address: std::net::SocketAddr, findings: &mut config::mistake::Findings) {
    if let Err(error) = std::net::TcpListener::bind(address) {
        let what = format!("cannot listen on {address}: {error}");
        findings.mistake(exit::UNAVAILABLE, place, what, "choose another address or port, or end who has it");
    }
}

/// Runs the agent until a signal comes or its command ends. `reread` gives the configuration anew.
pub fn run(config: &Config, reread: &Reread) -> Result<ExitCode, Failure> {
    if config.disabled {
        log::warn!("{}: nothing is traced", config.disabled_by());
        return match command::alone(&config.command) {
            Some(result) => result
                .map_err(|error| Failure::new(exit::NOINPUT, format!("cannot run the command: {error}"))),
            None => Ok(ExitCode::SUCCESS),
        };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("spandrel-export")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::UNAVAILABLE, format!("cannot start threads: {error}")))?;
    let code = runtime.block_on(serve(config, reread))?;
    // Requests that did not end by the deadline are not waited for.
    runtime.shutdown_background();
    Ok(code)
}

/// Sends what is in a folder of batches.
pub fn replay(folder: &Path, otlp: &OtlpConfig) -> Result<replay::Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
    let sent = runtime.block_on(replay::send(folder, &destinations::otlp(otlp)));
    sent.map_err(|error| error.to_string())
}

async fn serve(config: &Config, reread: &Reread) -> Result<ExitCode, Failure> {
    let fail = |code| move |error: &dyn std::fmt::Display| Failure::new(code, error.to_string());
    // From here on a signal is an orderly end, also while programs are being loaded.
    let mut stop = Signals::new().map_err(|error| fail(exit::UNAVAILABLE)(&error))?;
    let listener = match config.listen {
        None => None,
        Some(address) => Some(listen::bind(address).await.map_err(|error| {
            Failure::new(
                exit::UNAVAILABLE,
                format!("cannot listen on {address}: {error}; choose another --listen"),
            )
        })?),
    };
    let stats = Arc::new(Stats::default());
    let exporter = destinations::export(config);
    let (sender, mut pipeline) =
        export::start(&exporter, Arc::clone(&stats), &tokio::runtime::Handle::current())
            .map_err(|error| fail(exit::UNAVAILABLE)(&error))?;

    let redaction = rooms::span_policy(config).redaction;
    let mut registry =
        Registry::new(config.selectors.clone(), &config.resource, redaction, Arc::clone(&stats));
    let scope = Scope::of(&config.selectors);
    let sampler = rooms::kernel_sampler(config);
    let options = Options {
        profile: rooms::profile(config.profile),
        scope: scope.constant(),
        policy: if rooms::measured(config) { sampler.measured() } else { sampler },
        inject: rooms::injection(config.propagation),
        rules: config.causality,
    };
    let (mut kernel, ring) = kernel::undisturbed(|| Kernel::load(&options)).map_err(|error| {
        let code = if error.is_privilege() { exit::NOPERM } else { exit::UNAVAILABLE };
        Failure::new(code, error.to_string())
    })?;
    if let kernel::Injection::Refused(why) = kernel.injection() {
        log::warn!("trace context is not written into requests here, so traces end with each service: {why}");
    } else if config.propagation != Propagation::Off
        && !config.sampling.rules.is_empty()
        && !config.sampling.dry_run
    {
        log::warn!(
            "sampling rules decide about new traces after their requests were sent: no trace context is written into \
             those (counter aside_open), only into what continues a trace"
        );
    }
    let command = match Command::prepare(&config.command) {
        None => None,
        Some(Ok(command)) => Some(command),
        Some(Err(error)) => {
            return Err(Failure::new(exit::NOINPUT, format!("cannot start the command: {error}")));
        }
    };
    scope::apply(&mut kernel, &mut registry, &config.selectors, scope, command.as_ref().map(Command::pid))
        .map_err(|error| Failure::new(exit::UNAVAILABLE, format!("cannot select processes: {error}")))?;

    let shared = Arc::new(Mutex::new(snapshot(&kernel)));
    let source = Source::new(Arc::clone(&stats), pipeline.watch(), {
        let shared = Arc::clone(&shared);
        move || shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    });
    if let Some(measures) = rooms::measures(config) {
        source.set_measures(measures);
    }
    let own = match &exporter.metrics {
        None => None,
        Some(otlp) => Some(
            telemetry::start(
                otlp,
                rooms::telemetry(&config.measures),
                &source,
                &tokio::runtime::Handle::current(),
            )
            .map_err(|error| fail(exit::CONFIG)(&error))?,
        ),
    };
    let server = listener.map(|listener| {
        if let Ok(address) = listener.local_addr() {
            log::info!("metrics and health: http://{address}/metrics");
        }
        tokio::spawn(listen::serve(listener, Arc::clone(&source)))
    });
    let rules = rooms::rules(config);
    source.set_rules(rules.clone());
    let mut builder = rooms::spans(config, Arc::clone(&stats), rules);
    builder.measure(source.measures().cloned());
    let (stopper, stopped) = Stop::new().map_err(|error| fail(exit::UNAVAILABLE)(&error))?;
    let (changes, changed) = std::sync::mpsc::channel();
    let capture = Capture::new(
        kernel,
        ring,
        registry,
        scope,
        builder,
        Arc::clone(&stats),
        sender,
        Arc::clone(&shared),
        changed,
    );
    let thread = std::thread::Builder::new()
        .name("spandrel-capture".to_owned())
        .spawn(move || capture.run(&stopped))
        .map_err(|error| fail(exit::UNAVAILABLE)(&error))?;
    greet(config, &shared);
    tell(notify::READY);

    let (mut shutdown_timeout, mut report) = (config.shutdown_timeout, config.report.clone());
    let code = match command {
        None => {
            let reread = Rereader::new(reread);
            let mut reloader = Reloader { reread, current: config.clone(), changes, source: &source };
            // A terminal that is closed sends the same signal: then there is nobody left to reload for.
            let terminal = has_terminal();
            let reloads = config.sources.has_file();
            while stop.wait().await == SignalKind::hangup() && terminal == has_terminal() {
                if !reloads {
                    log::warn!("SIGHUP: there is no file to read again; start with --config to have one");
                } else if reloader.reload(&mut pipeline, stop.ends()).await.is_break() {
                    break;
                }
            }
            (shutdown_timeout, report) = (reloader.current.shutdown_timeout, reloader.current.report);
            ExitCode::SUCCESS
        }
        Some(command) => command.run(&mut stop).await.map_err(|error| {
            Failure::new(exit::UNAVAILABLE, format!("the command could not be waited for: {error}"))
        })?,
    };

    tell(notify::STOPPING);
    stopper.stop();
    // Who signals once more wants the end now.
    let mut again = Box::pin(again(async || stop.ends().await));
    let mut hasty = false;
    // The thread only ends early by a panic, which has spoken for itself.
    let mut thread = tokio::task::spawn_blocking(move || thread.join());
    let joined = tokio::select! {
        joined = &mut thread => joined,
        () = &mut again => {
            hasty = true;
            thread.await
        }
    };
    if !matches!(joined, Ok(Ok(()))) {
        log::error!("the capture thread ended badly: please report this");
    }
    let over = async {
        let signalled = async {
            if !hasty {
                again.await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(shutdown_timeout) => {}
            () = signalled => log::warn!("signalled again: what is not sent yet is left"),
        }
    };
    pipeline.shutdown_before(over).await.iter().for_each(Farewell::say);
    if let Some(server) = server {
        server.abort();
    }
    if let Some(own) = own {
        // It flushes on threads of its own and may wait for them.
        tokio::task::spawn_blocking(move || own.shutdown()).await.ok();
    }
    if let Some(path) = &report
        && let Err(error) = Report::read(&source).write(path)
    {
        log::error!("cannot write the report {}: {error}", path.display());
    }
    // Standard output is not touched any more: the console's thread may wait for a reader there, for ever.
    Ok(code)
}

/// Signals that are nearer to each other are one order: `timeout` and some supervisors signal a process, and then its
/// group.
const SAME_ORDER: Duration = Duration::from_millis(500);

/// Waits for an order to end that is another than the one just given.
async fn again(mut signal: impl AsyncFnMut()) {
    let ordered = Instant::now();
    loop {
        signal().await;
        if ordered.elapsed() >= SAME_ORDER {
            return;
        }
    }
}

/// What metrics and report show of the kernel side.
fn snapshot(kernel: &Kernel) -> Snapshot {
    Snapshot {
        ready: false,
        kernel: Vec::new(),
        kernel_release: kernel::features::release(),
        profile: kernel.profile().label(),
        hooks: kernel.hooks().map(|hook| hook.program.to_owned()).collect(),
    }
}

fn greet(config: &Config, shared: &Mutex<Snapshot>) {
    let profile = shared.lock().unwrap_or_else(PoisonError::into_inner).profile;
    let to = match (&config.otlp, config.console) {
        (otlp, _) if otlp.is_some() || !config.more.is_empty() => {
            let first = otlp.iter().map(|otlp| format!("{} ({})", destinations::FIRST, otlp.shown()));
            let more = config.more.iter().map(|one| format!("{} ({})", one.name, one.to.shown()));
            format!("spans go to {}", first.chain(more).collect::<Vec<_>>().join(", "))
        }
        (_, config::Console::Off) => "spans are only counted".to_owned(),
        _ => "spans go to the terminal; --otlp-endpoint sends them to a backend".to_owned(),
    };
    log::info!("attached by the {profile} profile; {to}");
    let missing = kernel::privilege::missing();
    if !missing.is_empty() {
        log::warn!(
            "without {} running programs may not be found, and services go without their names: run as root, or \
             grant what is missing; `spandrel doctor` tells more",
            missing.join(" and ")
        );
    }
}

fn tell(state: &str) {
    if let Err(error) = notify::notify(state) {
        log::warn!("the service manager was not told {state}: {error}");
    }
}

/// Whether the agent belongs to a terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// The signals that end the agent.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for one that is an order to end in any case. A hangup stays to be waited for.
    async fn ends(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }

    /// Waits for one of them.
    async fn wait(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.hangup.recv() => SignalKind::hangup(),
            _ = self.quit.recv() => SignalKind::quit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it takes until signals at these times, in milliseconds, are a second order.
    async fn second_order(times: &[u64]) -> Duration {
        let begun = Instant::now();
        let mut times = times.iter().map(|ms| begun + Duration::from_millis(*ms));
        again(async || match times.next() {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        })
        .await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn signals_side_by_side_are_one_order() {
        assert_eq!(second_order(&[0, 1, 499, 700, 900]).await.as_millis(), 700);
        assert_eq!(second_order(&[500]).await.as_millis(), 500);
        let never = tokio::time::timeout(Duration::from_secs(3600), second_order(&[0, 0, 200])).await;
        assert!(never.is_err());
    }
}
