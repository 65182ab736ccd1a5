//! Where measurements happen: the CPUs, the agent's binary, the time that is left, and a folder for it all.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Args, aside::Sink};

/// CPUs that processes are bound to, so that the server has one for itself. `None` where there is only one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    pub(super) server: Option<usize>,
    /// The load generator's and the backend's.
    pub(super) load: Option<usize>,
}

/// What every measurement needs.
pub(super) struct Lab {
    /// The agent that is measured: a copy.
    pub(super) agent: PathBuf,
    /// Where it was found.
    pub(super) original: PathBuf,
    /// What the agent says when it is attached.
    pub(super) ready: String,
    /// Bind the agent to the load generator's CPU.
    pub(super) pin_agent: bool,
    /// This program.
    pub(super) this: PathBuf,
    pub(super) cores: Cores,
    /// Slices with the agent, and as many without.
    pub(super) slices: usize,
    /// Length of a slice.
    pub(super) seconds: u64,
    pub(super) quick: bool,
    /// How long the backend is gone.
    pub(super) minutes: f64,
    folder: Folder,
    end: Instant,
    sink: Option<Sink>,
}

impl Lab {
    pub(super) fn new(args: &Args, agent: PathBuf, limit: Duration) -> Result<Self> {
        let slices = args.slices.unwrap_or(if args.quick { 3 } else { 10 }).max(1);
        let folder = Folder::new()?;
        // A build may replace the file meanwhile.
        let copy = folder.0.join("agent");
        fs::copy(&agent, &copy).with_context(|| format!("cannot copy {}", agent.display()))?;
        Ok(Self {
            agent: copy,
            original: agent,
            ready: args.ready.clone(),
            pin_agent: args.pin_agent,
            // By its process: a build may replace the file meanwhile.
            this: format!("/proc/{}/exe", std::process::id()).into(),
            cores: cores(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
            slices,
            seconds: args.seconds.max(1),
            quick: args.quick,
            minutes: args.minutes,
            folder,
            end: Instant::now() + limit,
            sink: None,
        })
    }

    /// For logs, configuration and reports. Removed at the end.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Starts the backend.
    pub(super) fn with_sink(mut self) -> Result<Self> {
        self.sink = Some(Sink::start(&self)?);
        Ok(self)
    }

    pub(super) fn sink(&self) -> Result<&Sink> {
        self.sink.as_ref().context("the backend was not started")
    }

    /// Whether the whole run's time is over.
    pub(super) fn late(&self) -> bool {
        Instant::now() >= self.end
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = env::temp_dir().join(format!("spandrel-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is a temporary folder: what cannot be removed goes with the others.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The first CPU that this process may use for the load, the last one for the server: interrupts mostly go
/// to the first.
fn cores(status: &str) -> Cores {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let numbers = list.split([',', '-']).filter_map(|number| number.trim().parse::<usize>().ok());
    let numbers: Vec<_> = numbers.collect();
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) if first != last => Cores { server: Some(*last), load: Some(*first) },
        _ => Cores { server: None, load: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_the_allowed_cpus() {
        let of = |list: &str| {
            let cores = cores(&format!("Name:\tx\nCpus_allowed_list:\t{list}\n"));
            (cores.load, cores.server)
        };
        assert_eq!(of("0-1"), (Some(0), Some(1)));
        assert_eq!(of("2,4-7"), (Some(2), Some(7)));
        assert_eq!(of("3"), (None, None));
    }
}
