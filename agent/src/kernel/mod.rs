//! The only room that names aya: loads the kernel side, attaches it, reads its ring, writes its maps.

pub mod btf;
pub mod features;
pub mod hooks;
pub mod inject;
pub mod layout;
mod loader;
mod object;
mod preempt;
pub mod privilege;
mod ring;
mod undisturbed;
mod uprobe;
mod verifier;

use std::{collections::BTreeMap, path::Path};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapError, PerCpuArray},
    programs::BtfTracePoint,
};
use spandrel_common::{
    event::SELECT_YES,
    go::{Program, WORDS as GO_WORDS},
    runtime::Runtime,
    sample::Policy,
    stats::Counter,
};

/// Why a map of the kernel side could not be read or written.
pub use aya::maps::MapError as MapFailure;

pub use self::{
    hooks::{HOOKS, Hook, Profile},
    inject::Injection,
    loader::{LoadError, Options},
    ring::Ring,
    undisturbed::undisturbed,
    uprobe::ProbeError,
};

/// Where the kernel's type information is.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// The loaded and attached kernel side. Dropping it detaches everything; so does the end of the process,
/// however it ends, because nothing is pinned.
pub struct Kernel {
    ebpf: Ebpf,
    profile: Profile,
    hooks: Vec<&'static Hook>,
    /// What [`Counter::HooksSkipped`] was last.
    skipped: u64,
    /// Where Go programs hand a request to a connection, and where their handlers begin.
    go: [uprobe::Probes; 2],
    injection: Injection,
    again: Option<inject::Again>,
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads the kernel side and attaches every hook of the profile. From here on it captures.
    pub fn load(options: &Options) -> Result<(Self, Ring), LoadError> {
        loader::load(options)
    }

    /// The profile in use.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether trace context is written into requests.
    pub const fn injection(&self) -> &Injection {
        &self.injection
    }

    /// The hooks in use.
    pub fn hooks(&self) -> impl Iterator<Item = &'static Hook> {
        self.hooks.iter().copied()
    }

    /// Sets what the kernel side knows of a process: a `SELECT_*` of [`spandrel_common::event`].
    pub fn select(&mut self, tgid: u32, state: u8) -> Result<(), MapError> {
        let mut map: HashMap<_, u32, u8> = HashMap::try_from(self.map_mut("PROCESSES")?)?;
        map.insert(tgid, state, 0)?;
        self.changed()
    }

    /// Refuses a process that is pending: it is set to `state`, or forgotten, so that the scope's default holds.
    /// A process that the kernel side has selected meanwhile, because it listens on a wanted port, stays so.
    pub fn refuse(&mut self, tgid: u32, state: Option<u8>) -> Result<(), MapError> {
        let mut map: HashMap<_, u32, u8> = HashMap::try_from(self.map_mut("PROCESSES")?)?;
        if map.get(&tgid, 0).is_ok_and(|known| known == SELECT_YES) {
            return Ok(());
        }
        match state {
            Some(state) => map.insert(tgid, state, 0)?,
            // It may have ended in between, and the kernel side has removed it.
            None => absent(map.remove(&tgid))?,
        }
        self.changed()
    }

    /// Says that what was decided about processes has changed, after it has.
    fn changed(&mut self) -> Result<(), MapError> {
        let mut map: Array<_, u64> = Array::try_from(self.map_mut("CHANGES")?)?;
        let changes = map.get(&1, 0)?;
        map.set(1, changes.wrapping_add(1), 0)
    }

    /// Sets what a process runs on.
    pub fn recognise(&mut self, tgid: u32, runtime: Runtime) -> Result<(), MapError> {
        let mut map: HashMap<_, u32, u8> = HashMap::try_from(self.map_mut("RUNTIMES")?)?;
        map.insert(tgid, runtime as u8, 0)
    }

    /// Sets what programs of these names run on; of each, 15 bytes count.
    pub fn recognise_names(&mut self, names: &[(&str, Runtime)]) -> Result<(), MapError> {
        let mut map: HashMap<_, [u8; 16], u8> = HashMap::try_from(self.map_mut("NAMES")?)?;
        for (name, runtime) in names {
            let mut comm = [0; 16];
            for (to, from) in comm.iter_mut().zip(name.bytes().take(15)) {
                *to = from;
            }
            map.insert(comm, *runtime as u8, 0)?;
        }
        Ok(())
    }

    /// Selects whoever begins to listen on a port.
    pub fn watch_port(&mut self, port: u16) -> Result<(), MapError> {
        let mut map: HashMap<_, u16, u8> = HashMap::try_from(self.map_mut("PORTS")?)?;
        map.insert(port, 1, 0)
    }

    /// Says that a process is a Go program, and where its goroutines are.
    pub fn set_go(&mut self, tgid: u32, program: &Program) -> Result<(), MapError> {
        let mut map: HashMap<_, u32, [u64; GO_WORDS]> = HashMap::try_from(self.map_mut("GO_PROGRAMS")?)?;
        map.insert(tgid, program.words(), 0)
    }

    /// Puts probes at two functions of a Go process: that which hands requests to connections, and that in which
    /// handlers begin, if it has one. `executable` is the file; the functions are named by their places in it.
    pub fn probe_go(
        &mut self,
        tgid: u32,
        executable: &Path,
        round_trip: u64,
        serve: Option<u64>,
    ) -> Result<(), ProbeError> {
        let [client, server] = &mut self.go;
        client.attach(&mut self.ebpf, tgid, executable, round_trip)?;
        match serve {
            Some(offset) => server.attach(&mut self.ebpf, tgid, executable, offset),
            None => Ok(()),
        }
    }

    /// Loads the programs of [`Self::probe_go`] before there is a Go process. Names, and instructions that the verifier
    /// walked.
    pub fn prepare_go(&mut self) -> Result<Vec<(&'static str, u32)>, ProbeError> {
        self.go.iter_mut().map(|probes| Ok((probes.name(), probes.load(&mut self.ebpf)?))).collect()
    }

    /// Forgets a Go process that ended or executed another program, if it was one.
    pub fn forget_go(&mut self, tgid: u32) {
        for probes in &mut self.go {
            probes.detach(tgid);
        }
        if let Ok(map) = self.map_mut("GO_PROGRAMS")
            && let Ok(mut map) = HashMap::<_, u32, [u64; GO_WORDS]>::try_from(map)
        {
            // What is not there is the wished-for state, too.
            map.remove(&tgid).ok();
        }
    }

    /// No longer selects who listens on a port.
    pub fn forget_port(&mut self, port: u16) -> Result<(), MapError> {
        let mut map: HashMap<_, u16, u8> = HashMap::try_from(self.map_mut("PORTS")?)?;
        absent(map.remove(&port))
    }

    /// Forgets what was decided about a process, so that the scope's default holds.
    pub fn forget(&mut self, tgid: u32) -> Result<(), MapError> {
        let mut map: HashMap<_, u32, u8> = HashMap::try_from(self.map_mut("PROCESSES")?)?;
        absent(map.remove(&tgid))?;
        self.changed()
    }

    /// Sets the sampling policy.
    pub fn set_policy(&mut self, policy: Policy) -> Result<(), MapError> {
        let mut map: Array<_, [u64; 2]> = Array::try_from(self.map_mut("POLICY")?)?;
        map.set(0, [policy.threshold, policy.parent_based], 0)
    }

    /// Arms connections for injection whose last response was read, if there are any.
    pub fn arm_again(&mut self) -> Result<(), MapError> {
        let Self { ebpf, again: Some(again), .. } = self else { return Ok(()) };
        let map =
            ebpf.map_mut("INJECT_WANTED").ok_or(MapError::InvalidName { name: "INJECT_WANTED".into() })?;
        again.run(&mut Array::try_from(map)?)
    }

    /// The kernel side's counters, summed over the CPUs.
    pub fn counters(&mut self) -> Result<Counters, MapError> {
        let map = self.ebpf.map("COUNTERS").ok_or(MapError::InvalidName { name: "COUNTERS".into() })?;
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        let mut values = BTreeMap::new();
        for counter in Counter::ALL {
            values.insert(counter.label(), map.get(&(*counter as u32), 0)?.iter().sum());
        }
        // The parts are not read at one time: a later sum may be a little smaller, and counters do not shrink.
        let repeated = values.get(Counter::HooksRepeated.label()).copied().unwrap_or(0);
        self.skipped = self.skipped.max(self.skipped(repeated));
        values.insert(Counter::HooksSkipped.label(), self.skipped);
        Ok(Counters(values))
    }

    /// How many runs of hooks the kernel left out at most that no second program stood in for. `repeated`: how many one
    /// stood in for.
    ///
    /// A call that is not seen is one for which the first was left out, and either the second, too, or the second once
    /// before (see the kernel side's `preempt`): it is in both counts.
    fn skipped(&self, repeated: u64) -> u64 {
        let of = |name| {
            let program: &BtfTracePoint = self.ebpf.program(name)?.try_into().ok()?;
            // One that is not loaded has no descriptor.
            preempt::skipped(program.fd().ok()?)
        };
        let (mut alone, mut first, mut second) = (0_u64, 0_u64, 0_u64);
        for hook in &self.hooks {
            let skipped = of(hook.program).unwrap_or(0);
            match hook.second.and_then(of) {
                None => alone += skipped,
                Some(again) => {
                    first += skipped;
                    second += again;
                }
            }
        }
        alone + first.saturating_sub(repeated).min(second)
    }

    /// What the kernel says about our programs.
    pub fn run_time(&self) -> Vec<RunTime> {
        self.hooks
            .iter()
            .filter_map(|hook| {
                let program: &BtfTracePoint = self.ebpf.program(hook.program)?.try_into().ok()?;
                let info = program.info().ok()?;
                Some(RunTime {
                    program: hook.program,
                    runs: info.run_count(),
                    ns: info.run_time().as_nanos() as u64,
                    instructions: info.verified_instruction_count().unwrap_or(0),
                })
            })
            .collect()
    }

    fn map_mut(&mut self, name: &'static str) -> Result<&mut aya::maps::Map, MapError> {
        self.ebpf.map_mut(name).ok_or(MapError::InvalidName { name: name.into() })
    }

    /// Writes the kernel side's own messages to the log.
    pub fn log_messages(&mut self) {
        if self.log.is_none() {
            match aya_log::EbpfLogger::init(&mut self.ebpf) {
                Ok(logger) => self.log = Some(logger),
                Err(error) => log::debug!("the kernel side's own messages are not to be had: {error}"),
            }
        }
        if let Some(logger) = &mut self.log {
            logger.flush();
        }
    }
}

/// What was not there need not be removed.
fn absent(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Counters of the kernel side, by [`Counter::label`].
#[derive(Clone, Debug, Default)]
pub struct Counters(pub BTreeMap<&'static str, u64>);

impl Counters {
    /// One of them.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter.label()).copied().unwrap_or(0)
    }
}

/// What the kernel says about one of our programs. Runs and time are counted only while
/// `kernel.bpf_stats_enabled` is set.
#[derive(Clone, Copy, Debug)]
pub struct RunTime {
    pub program: &'static str,
    pub runs: u64,
    pub ns: u64,
    /// Instructions that the verifier walked.
    pub instructions: u32,
}
