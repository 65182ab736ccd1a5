//! A changed configuration for a running agent: SIGHUP, or `spandrel reload`, which sends it.
//!
//! The file is read and judged as a whole before anything is changed, so that a bad one changes nothing. The
//! capture thread takes the change between two events: no request is lost. A destination that goes on under its name
//! keeps its queue, and those that are gone send what they hold.

use std::{fs, ops::ControlFlow, pin::pin, sync::mpsc};

use rustix::process::{Pid, Signal, kill_process};
use spandrel_common::sample::Policy;
use tokio::sync::oneshot;

use super::{Failure, destinations, reread::Rereader, rooms, scope::Scope};
use crate::{
    config::{Config, mistake::exit},
    discover::select::Selectors,
    export::{Error, Pipeline, Sender, metrics::Source},
    sample::Rules,
    span::SpanPolicy,
};

/// What the capture thread is to do otherwise from now on.
pub(super) struct Change {
    pub(super) policy: SpanPolicy,
    pub(super) sampler: Policy,
    pub(super) kernel_sampler: Policy,
    pub(super) rules: Rules,
    /// None if they are as they were.
    pub(super) selectors: Option<Selectors>,
    pub(super) sender: Sender,
    /// Told when it is done.
    pub(super) done: oneshot::Sender<()>,
}

/// What is needed to apply a changed configuration.
pub(super) struct Reloader<'a> {
    pub(super) reread: Rereader,
    pub(super) current: Config,
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) source: &'a Source,
}

impl Reloader<'_> {
    /// Applies the configuration as it is now. What goes wrong is logged, and nothing is changed. It breaks off, without
    /// any change, if the agent is to end while files are waited for.
    pub(super) async fn reload(
        &mut self,
        pipeline: &mut Pipeline,
        ends: impl Future<Output = ()>,
    ) -> ControlFlow<()> {
        let mut ends = pin!(ends);
        let new = tokio::select! {
            () = &mut ends => return ControlFlow::Break(()),
            new = self.reread.read() => new,
        };
        match new {
            Ok(new) => return self.apply(new, pipeline, ends).await,
            Err(mistakes) => {
                for mistake in &mistakes {
                    log::error!("reload: {mistake}");
                }
                log::error!("reload: the configuration is as it was");
            }
        }
        ControlFlow::Continue(())
    }

    async fn apply(
        &mut self,
        new: Config,
        pipeline: &mut Pipeline,
        ends: impl Future<Output = ()>,
    ) -> ControlFlow<()> {
        const GO_ON: ControlFlow<()> = ControlFlow::Continue(());
        if Scope::of(&new.selectors) != Scope::of(&self.current.selectors) {
            log::error!(
                "reload: selectors can be changed, but not be added where there were none or the other way \
                 round: restart the agent for that; the configuration is as it was"
            );
            return GO_ON;
        }
        let (sender, destinations) = match pipeline.prepare(&destinations::export(&new), ends).await {
            Ok(prepared) => prepared,
            Err(Error::Ends) => return ControlFlow::Break(()),
            Err(error) => {
                log::error!("reload: {error}; the configuration is as it was");
                return GO_ON;
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
        let applied = self.changes.send(change).is_ok() && applied.await.is_ok();
        pipeline.commit(destinations);
        self.source.replace(pipeline.watch());
        if !applied {
            log::error!("reload: the capture thread has ended");
            return GO_ON;
        }
        self.source.set_rules(rules);
        self.say_what_waits(&new);
        for note in &new.notes {
            log::info!("{note}");
        }
        self.current = new;
        log::info!("reload: the new configuration is in force");
        GO_ON
    }

    /// Names what only a restart changes.
    fn say_what_waits(&self, new: &Config) {
        let old = &self.current;
        for (name, same) in [
            ("the profile", old.profile == new.profile),
            ("the propagator", old.propagation == new.propagation),
            ("causality", old.causality == new.causality),
            ("listen", old.listen == new.listen),
            ("the resource", old.resource == new.resource),
            ("meter_provider", old.metrics == new.metrics && old.measures == new.measures),
            ("spill", old.spill == new.spill),
            ("dead_letters", old.dead_letters == new.dead_letters),
            ("disabled", old.disabled == new.disabled),
        ] {
            if !same {
                log::warn!("reload: {name} changed; that takes effect at the next start");
            }
        }
        log::set_max_level(new.log_level);
    }
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
