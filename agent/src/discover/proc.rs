//! Facts about living processes, read from `/proc`. Every read is bounded; a process that ends meanwhile
//! leaves what was read so far.

use std::{io::Read as _, path::PathBuf};

use procfs::process::{Process, StatFlags};

use super::facts::{Facts, arguments, command, variables};

/// Bytes of arguments that are read: as many as a program can be given with the usual limit of the stack (execve(2)).
const MAX_CMDLINE: u64 = 2 * 1024 * 1024;
/// Bytes of environment that are read. Kubernetes adds some hundred bytes for each service of a namespace.
const MAX_ENVIRON: u64 = 512 * 1024;
/// Threads that are asked for one that lives, when the first one does not.
const MAX_THREADS: usize = 64;

/// What a look at a process gives.
pub(super) struct Look {
    pid: u32,
    /// The process, or where its first thread has ended (`pthread_exit` in `main`) another one of its threads: the first
    /// one's folder tells neither files nor memory any more.
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
        let pid = process.pid as u32;
        let mut image = stat.startstack;
        let process = match stat.state {
            'Z' | 'X' => match other_thread(&process) {
                Some((other, stack)) => {
                    image = stack;
                    other
                }
                None => process,
            },
            _ => process,
        };
        Some(Self {
            pid,
            parent: u32::try_from(stat.ppid).unwrap_or(0),
            start_ticks: stat.starttime,
            image,
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
        self.pid
    }

    /// The thread whose folder below `/proc` tells about the process.
    pub(super) fn thread(&self) -> u32 {
        self.process.pid as u32
    }

    /// One of its folders or links below `/proc`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.thread()))
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
        let outline = self.outline();
        let parent = outline.is_python_worker().then(|| Self::at(self.parent)).flatten();
        Facts {
            command: String::new(),
            parent: parent.map(|parent| parent.outline().args).unwrap_or_default(),
            variables: variables(&self.area("environ", MAX_ENVIRON)),
            cwd: self.cwd(),
            uid: self.uid(),
            ..outline
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

/// A thread of a process that lives, and where the stack of the program begins.
fn other_thread(process: &Process) -> Option<(Process, u64)> {
    let tasks = process.tasks().ok()?.flatten().take(MAX_THREADS);
    tasks.filter(|task| task.tid != process.pid).find_map(|task| {
        let thread = Process::new(task.tid).ok()?;
        let stat = thread.stat().ok()?;
        (!matches!(stat.state, 'Z' | 'X')).then_some((thread, stat.startstack))
    })
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn a_process_is_known_by_a_thread_when_its_first_one_has_ended() {
        let program = "import ctypes, threading, time\n\
                       threading.Thread(target=time.sleep, args=(60,)).start()\n\
                       ctypes.CDLL(None).pthread_exit(None)";
        let mut command = Command::new("python3");
        command.args(["-c", program, "first-thread-gone"]).env("OTEL_SERVICE_NAME", "headless");
        let Ok(mut child) = command.stderr(Stdio::null()).spawn() else {
            eprintln!("SKIPPED: python3 is not here");
            return;
        };
        let patience = Instant::now() + Duration::from_secs(20);
        let gone = || {
            Process::new(child.id() as i32).and_then(|process| process.stat()).is_ok_and(|s| s.state == 'Z')
        };
        while !gone() && Instant::now() < patience {
            std::thread::yield_now();
        }
        let look = Look::at(child.id());
        let facts = look.as_ref().map(Look::facts);
        child.kill().and_then(|()| child.wait()).expect("an end");
        let facts = facts.expect("a living process");
        assert_eq!(facts.pid, child.id());
        assert!(facts.executable_name().starts_with("python3"), "{facts:?}");
        assert_eq!(facts.args.last().map(String::as_str), Some("first-thread-gone"));
        assert_eq!(facts.variable("OTEL_SERVICE_NAME"), Some("headless"));
    }
}
