//! Probes at functions of programs. One for each process that is traced, so that others that run the same
//! executable do not stop at it; it ends with the agent, however that ends.

use std::{collections::HashMap, fs::File, num::NonZeroU32, os::unix::fs::FileExt as _, path::Path};

use aya::{
    Ebpf,
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeLink, UProbeScope},
    },
};
use spandrel_common::limits::GO_PROGRAMS;

use super::verifier;

/// Processes that have a probe at once: as many as the kernel side knows.
const MAX_PROBES: usize = GO_PROGRAMS as usize;

/// Why a process has no probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("the kernel side has no program {0}: build with `cargo xtask build`")]
    Missing(&'static str),
    #[error("the kernel refused program {program}: {}", verifier::reason(source))]
    Program {
        program: &'static str,
        #[source]
        source: Box<ProgramError>,
    },
    #[error("there are {MAX_PROBES} others already")]
    Full,
}

impl ProbeError {
    /// All that the verifier said of the program, if that was refused.
    pub(super) fn verifier_log(&self) -> Option<String> {
        match self {
            Self::Program { source, .. } => verifier::log(source),
            Self::Missing(_) | Self::Full => None,
        }
    }
}

/// Has the page that a probe changes in memory before the kernel looks for it. Else it reads the page itself, in a way
/// that makes ext4 write a warning with a stack into the kernel's log (seen on 6.18: `ext4_check_map_extents_env` below
/// `install_breakpoint`), and a machine with `panic_on_warn` would stop. What cannot be read fails with the probe.
fn bring_in(path: &Path, offset: u64) {
    if let Ok(file) = File::open(path) {
        file.read_at(&mut [0], offset).ok();
    }
}

/// The probes of one program of the kernel side.
#[derive(Debug)]
pub(super) struct Probes {
    program: &'static str,
    loaded: bool,
    links: HashMap<u32, UProbeLink>,
}

impl Probes {
    /// None yet. The program is loaded with the first.
    pub(super) fn new(program: &'static str) -> Self {
        Self { program, loaded: false, links: HashMap::new() }
    }

    /// Loads the program, if it is not. Says how many instructions the verifier walked.
    pub(super) fn load(&mut self, ebpf: &mut Ebpf) -> Result<u32, ProbeError> {
        let program = self.program(ebpf)?;
        if !self.loaded {
            program.load().map_err(|error| {
                verifier::tell(self.program, &error);
                self.refused(error)
            })?;
            self.loaded = true;
        }
        // What is not told is 0.
        Ok(program.info().ok().and_then(|info| info.verified_instruction_count()).unwrap_or(0))
    }

    /// Name of the program.
    pub(super) const fn name(&self) -> &'static str {
        self.program
    }

    /// Puts a probe at an offset of the executable at `path`, for the process `pid`, in place of a former one.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        pid: u32,
        path: &Path,
        offset: u64,
    ) -> Result<(), ProbeError> {
        self.detach(pid);
        if self.links.len() >= MAX_PROBES {
            // An end that was not told leaves one behind.
            self.links.retain(|pid, _| Path::new(&format!("/proc/{pid}")).exists());
        }
        let Some(process) = NonZeroU32::new(pid).filter(|_| self.links.len() < MAX_PROBES) else {
            return Err(ProbeError::Full);
        };
        self.load(ebpf)?;
        bring_in(path, offset);
        let program = self.program(ebpf)?;
        let link = program
            .attach(offset, path, UProbeScope::OneProcess(process))
            .and_then(|link| program.take_link(link))
            .map_err(|error| self.refused(error))?;
        self.links.insert(pid, link);
        Ok(())
    }

    fn program<'e>(&self, ebpf: &'e mut Ebpf) -> Result<&'e mut UProbe, ProbeError> {
        let program = ebpf.program_mut(self.program).ok_or(ProbeError::Missing(self.program))?;
        program.try_into().map_err(|error| self.refused(error))
    }

    fn refused(&self, error: ProgramError) -> ProbeError {
        ProbeError::Program { program: self.program, source: Box::new(error) }
    }

    /// Takes the probe of a process away, if it has one.
    pub(super) fn detach(&mut self, pid: u32) {
        self.links.remove(&pid);
    }
}
