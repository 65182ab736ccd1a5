//! Facts about living processes, read from `/proc`. Every read is bounded; a process that ends meanwhile
//! leaves what was read so far.

use std::io::Read as _;

use procfs::process::{Process, StatFlags};

use super::facts::{Facts, arguments, command, variables};

/// Bytes of arguments that are read: as many as a program can be given with the usual limit of the stack (execve(2)).
const MAX_CMDLINE: u64 = 2 * 1024 * 1024;
/// Bytes of environment that are read. Kubernetes adds some hundred bytes for each service of a namespace.
const MAX_ENVIRON: u64 = 512 * 1024;

/// What a look at a process gives.
pub(super) struct Look {
    pub(super) process: Process,
    pub(super) parent: u32,
    pub(super) start_ticks: u64,
    pub(super) kernel_thread: bool,
    /// Where the stack of this program image begins. Processes that were forked without executing anything
    /// share it with their parent, and by address randomisation with nobody else. 0 without privilege.
    pub(super) image: u64,
}

impl Look {
    /// Looks at a process, if it is there. (A process that was just forked is seen as its parent's copy.)
    pub(super) fn at(pid: u32) -> Option<Self> {
        Self::new(Process::new(i32::try_from(pid).ok()?).ok()?)
    }

    pub(super) fn new(process: Process) -> Option<Self> {
        let stat = process.stat().ok()?;
        Some(Self {
            parent: u32::try_from(stat.ppid).unwrap_or(0),
            start_ticks: stat.starttime,
            image: stat.startstack,
            kernel_thread: StatFlags::from_bits_truncate(stat.flags).contains(StatFlags::PF_KTHREAD),
            process,
        })
    }

    /// All living processes.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let processes = procfs::process::all_processes().into_iter().flatten().flatten();
        processes.filter_map(Self::new)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid as u32
    }

    /// The path of the executable; of a deleted one the path that it had.
    pub(super) fn exe(&self) -> String {
        let path = self.process.exe().unwrap_or_default();
        let path = path.to_string_lossy();
        path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned()
    }

    fn area(&self, name: &str, limit: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Ok(file) = self.process.open_relative(name) {
            // What came before an error is as good as it is.
            drop(file.take(limit).read_to_end(&mut bytes));
        }
        bytes
    }

    /// What selectors ask about.
    pub(super) fn outline(&self) -> Facts {
        let area = self.area("cmdline", MAX_CMDLINE);
        Facts {
            pid: self.pid(),
            exe: self.exe(),
            args: arguments(&area),
            command: command(&area),
            cgroups: self.cgroups(),
            start_ticks: Some(self.start_ticks),
            ..Facts::default()
        }
    }

    /// Everything that is kept.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            command: String::new(),
            variables: variables(&self.area("environ", MAX_ENVIRON)),
            cwd: self.cwd(),
            uid: self.uid(),
            ..self.outline()
        }
    }

    pub(super) fn cwd(&self) -> String {
        self.process.cwd().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(super) fn uid(&self) -> Option<u32> {
        self.process.status().ok().map(|status| status.euid)
    }

    pub(super) fn cgroups(&self) -> Vec<String> {
        let groups = self.process.cgroups().map(|groups| groups.0).unwrap_or_default();
        let mut paths: Vec<_> = groups.into_iter().map(|group| group.pathname).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}
