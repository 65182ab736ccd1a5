//! A changed configuration for a running agent: SIGHUP, or `spandrel reload`, which sends it.
//!
//! The file is read and judged as a whole before anything is changed, so that a bad one changes nothing. The
//! capture thread takes the change between two events: no request is lost. Destinations that changed are
//! started anew; the old ones send what they hold.

use std::{fs, sync::mpsc};

use http::{HeaderName, HeaderValue};
use rustix::process::{Pid, Signal, kill_process};
use spandrel_common::sample::Policy;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{Failure, destinations, farewell, rooms, scope::Scope};
use crate::{
    config::{
        Config,
        destination::ToConfig,
        mistake::{Mistakes, exit},
    },
    discover::select::Selectors,
    export::{self, Pipeline, Sender, metrics::Source},
    sample::Rules,
    span::SpanPolicy,
    stats::Stats,
};

/// What the capture thread is to do otherwise from now on.
pub(super) struct Change {
    pub(super) policy: SpanPolicy,
    pub(super) sampler: Policy,
    pub(super) kernel_sampler: Policy,
    pub(super) rules: Rules,
    /// None if they are as they were.
    pub(super) selectors: Option<Selectors>,
    /// None if the destinations are as they were.
    pub(super) sender: Option<Sender>,
    /// Told when it is done.
    pub(super) done: oneshot::Sender<()>,
}

/// Reads the configuration again, as the agent was started.
pub type Reread = Box<dyn Fn() -> Result<Config, Mistakes> + Send + Sync>;

/// What is needed to apply a changed configuration.
pub(super) struct Reloader<'a> {
    pub(super) reread: &'a Reread,
    pub(super) current: Config,
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) source: &'a Source,
    pub(super) stats: std::sync::Arc<Stats>,
    /// Destinations that were replaced, until they have sent what they hold, or counted it as lost.
    pub(super) ending: Vec<JoinHandle<()>>,
}

impl Reloader<'_> {
    /// Applies the configuration as it is now. What goes wrong is logged, and nothing is changed.
    pub(super) async fn reload(&mut self, pipeline: Pipeline) -> Pipeline {
        let new = match (self.reread)() {
            Ok(new) => new,
            Err(mistakes) => {
                for mistake in &mistakes.0 {
                    log::error!("reload: {mistake}");
                }
                log::error!("reload: the configuration is as it was");
                return pipeline;
            }
        };
        if Scope::of(&new.selectors) != Scope::of(&self.current.selectors) {
            log::error!(
                "reload: selectors can be changed, but not be added where there were none or the other way \
                 round: restart the agent for that; the configuration is as it was"
            );
            return pipeline;
        }
        let (sender, started) = if self.same_destinations(&new) {
            (None, None)
        } else if stores(&new) || stores(&self.current) {
            log::warn!(
                "reload: destinations with queues on disk change at the next start; the rest is applied"
            );
            (None, None)
        } else {
            let exporter = destinations::export(&new);
            match export::start(&exporter, self.stats.clone(), &tokio::runtime::Handle::current()) {
                Ok((sender, started)) => (Some(sender), Some(started)),
                Err(error) => {
                    log::error!("reload: {error}; the configuration is as it was");
                    return pipeline;
                }
            }
        };
        let rules = rooms::rules(&new);
        let (done, applied) = oneshot::channel();
        let change = Change {
            policy: rooms::span_policy(&new),
            sampler: rooms::sampler(&new.sampler),
            kernel_sampler: rooms::kernel_sampler(&new),
            rules: rules.clone(),
            selectors: (!same(&new.selectors, &self.current.selectors)).then(|| new.selectors.clone()),
            sender,
            done,
        };
        if self.changes.send(change).is_err() || applied.await.is_err() {
            log::error!("reload: the capture thread has ended");
            return pipeline;
        }
        self.source.set_rules(rules);
        self.say_what_waits(&new);
        for note in &new.notes {
            log::info!("{note}");
        }
        self.current = new;
        log::info!("reload: the new configuration is in force");
        let Some(started) = started else { return pipeline };
        self.source.replace(started.watch());
        self.ending.retain(|task| !task.is_finished());
        let deadline = self.current.shutdown_timeout;
        self.ending.push(tokio::spawn(async move { farewell(&pipeline.shutdown(deadline).await) }));
        started
    }

    fn same_destinations(&self, new: &Config) -> bool {
        let old = &self.current;
        // Values of headers are not in the text, so that they cannot get into a log; they are compared apart.
        let text = |config: &Config| format!("{:?}", destinations::export(config));
        text(old) == text(new) && headers(old).eq(headers(new))
    }

    /// Names what only a restart changes.
    fn say_what_waits(&self, new: &Config) {
        let old = &self.current;
        for (name, same) in [
            ("the profile", old.profile == new.profile),
            ("listen", old.listen == new.listen),
            ("the resource", old.resource == new.resource),
            ("meter_provider", old.metrics == new.metrics && old.measures == new.measures),
            ("disabled", old.disabled == new.disabled),
        ] {
            if !same {
                log::warn!("reload: {name} changed; that takes effect at the next start");
            }
        }
        log::set_max_level(new.log_level);
    }
}

/// Whether anything of the destinations is on disk: two pipelines cannot share that.
fn stores(config: &Config) -> bool {
    config.spill.is_some() || config.dead_letters.is_some()
}

/// The headers for all destinations.
fn headers(config: &Config) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
    let more = config.more.iter().filter_map(|one| match &one.to {
        ToConfig::Otlp(otlp) => Some(&**otlp),
        ToConfig::File(_) => None,
    });
    config.otlp.iter().chain(more).flat_map(|otlp| &otlp.headers)
}

/// Whether selectors are the same. Globs are compared by what was written.
fn same(a: &Selectors, b: &Selectors) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

/// Sends SIGHUP to an agent: to `pid`, or to the only one that runs.
pub fn reload(pid: Option<u32>) -> Result<u32, Failure> {
    let running = agents();
    let agent = match (pid, &running[..]) {
        (Some(pid), running) => running.iter().find(|agent| agent.pid == pid).ok_or_else(|| {
            Failure::new(exit::DATAERR, format!("process {pid} is no running agent; see `ps -C spandrel`"))
        })?,
        (None, [one]) => one,
        (None, []) => {
            return Err(Failure::new(
                exit::UNAVAILABLE,
                "no agent is running; start one with `spandrel run`",
            ));
        }
        (None, several) => {
            let pids: Vec<_> = several.iter().map(|agent| agent.pid.to_string()).collect();
            let message = format!("several agents are running: name one by --pid ({})", pids.join(", "));
            return Err(Failure::new(exit::USAGE, message));
        }
    };
    if agent.command {
        let message = "this agent runs a command, to which the signal would go: restart it instead";
        return Err(Failure::new(exit::UNAVAILABLE, message));
    }
    let signal = Pid::from_raw(agent.pid as i32).map(|pid| kill_process(pid, Signal::HUP));
    match signal {
        Some(Ok(())) => Ok(agent.pid),
        _ => Err(Failure::new(exit::NOPERM, format!("process {} cannot be told: be root", agent.pid))),
    }
}

/// A running agent.
struct Agent {
    pid: u32,
    /// It was started with a command to trace.
    command: bool,
}

/// Processes with the name of this program that were started as `run`.
fn agents() -> Vec<Agent> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut words = line.split(|byte| *byte == 0);
        let name = words.next()?.rsplit(|byte| *byte == b'/').next()?;
        let runs = name == b"spandrel" && words.next()? == b"run";
        runs.then(|| Agent { pid, command: words.any(|word| word == b"--") })
    });
    found.collect()
}
