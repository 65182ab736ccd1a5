//! Processes that end with this program, however it ends, and what the kernel tells about them.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::run::{answer, command};

/// A program is up or gone within a few hundred milliseconds; on a busy machine within seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a program is looked at that comes up or goes. Nothing is measured meanwhile.
const GLANCE: Duration = Duration::from_millis(5);
/// So much of a program's last words goes into an error.
const LAST_WORDS: u64 = 2000;

/// How a process is started.
pub(super) struct Launch {
    words: Vec<OsString>,
    variables: Vec<(String, String)>,
    core: Option<usize>,
    files: Option<u32>,
    name: &'static str,
}

impl Launch {
    /// `name` names it in errors and its log.
    pub(super) fn new(name: &'static str, program: impl AsRef<OsStr>) -> Self {
        let words = vec![program.as_ref().to_owned()];
        Self { words, variables: Vec::new(), core: None, files: None, name }
    }

    pub(super) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.words.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(super) fn variables(mut self, variables: &[(&str, &str)]) -> Self {
        self.variables.extend(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        self
    }

    /// Runs on this CPU alone.
    pub(super) fn on(mut self, core: Option<usize>) -> Self {
        self.core = core;
        self
    }

    /// May open so many files.
    pub(super) fn files(mut self, files: u32) -> Self {
        self.files = Some(files);
        self
    }

    /// The command, wrapped in those that set what it runs with. Each becomes the next, so that the process
    /// id stays.
    pub(super) fn command(&self) -> Command {
        let mut command = command("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(core) = self.core {
            command.args(["taskset", "--cpu-list", &core.to_string()]);
        }
        if let Some(files) = self.files {
            command.arg("prlimit").arg(format!("--nofile={files}:{files}"));
        }
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
            command.env_remove(name);
        }
        command.args(&self.words).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it. What it says goes to a log file in this folder.
    pub(super) fn start(&self, folder: &Path) -> Result<Process> {
        let log = folder.join(format!("{}.log", self.name));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        Ok(Process { child, name: self.name, log })
    }

    /// Runs it to its end and returns what it printed.
    pub(super) fn output(&self) -> Result<String> {
        let out = self.command().stdin(Stdio::null()).output();
        let out = out.with_context(|| format!("cannot start {}", self.name))?;
        if !out.status.success() {
            bail!("{} ended with {}: {}", self.name, out.status, String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }
}

/// A running process. Dropped, it is killed.
pub(super) struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its log holds a line with this text; returns the line.
    pub(super) fn says(&mut self, text: &str) -> Result<String> {
        let line = |process: &mut Self| {
            let log = fs::read_to_string(&process.log).unwrap_or_default();
            // A line counts when it is whole.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            whole.lines().find(|line| line.contains(text)).map(str::to_owned)
        };
        self.until(&format!("says `{text}`"), line)
    }

    /// Waits until someone listens there.
    pub(super) fn listens(&mut self, port: u16) -> Result<()> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        self.until("listens", |_| TcpStream::connect(address).ok().map(drop))
    }

    /// Asks it to end, and waits for that.
    pub(super) fn stop(mut self) -> Result<ExitStatus> {
        let pid = self.pid().to_string();
        answer(command("kill").args(["-TERM", &pid])).with_context(|| format!("{} is gone", self.name))?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(GLANCE);
        }
        bail!("{} does not end when asked to; it said: {}", self.name, self.last_words())
    }

    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = look(self) {
                return Ok(seen);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it {what}: {}", self.name, self.last_words());
            }
            if Instant::now() >= end {
                bail!("{} did not come so far that it {what}: {}", self.name, self.last_words());
            }
            thread::sleep(GLANCE);
        }
    }

    fn last_words(&self) -> String {
        let read = || {
            let mut file = File::open(&self.log)?;
            let len = file.metadata()?.len();
            file.seek(SeekFrom::Start(len.saturating_sub(LAST_WORDS)))?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&text).trim().to_owned())
        };
        read().unwrap_or_default()
    }

    /// What it used so far.
    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid()).with_context(|| format!("{} is gone: {}", self.name, self.last_words()))
    }

    /// Its memory now.
    pub(super) fn memory(&self) -> Result<Memory> {
        Memory::of(self.pid()).with_context(|| format!("{} is gone: {}", self.name, self.last_words()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Processor time of a process, all its threads together, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// It ran.
    pub(super) cpu: u64,
    /// It could have run, but others had its CPU.
    pub(super) waited: u64,
}

impl Usage {
    fn of(pid: u32) -> Result<Self> {
        let mut usage = Self::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let mut fields = text.split_whitespace().map(|field| field.parse().unwrap_or(0));
            usage.cpu += fields.next().unwrap_or(0);
            usage.waited += fields.next().unwrap_or(0);
        }
        if usage.cpu == 0 {
            bail!("/proc/{pid}/task/*/schedstat tells nothing (CONFIG_SCHED_INFO)");
        }
        Ok(usage)
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), waited: self.waited.saturating_sub(before.waited) }
    }
}

/// Resident memory in megabytes (10^6 bytes).
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) resident: f64,
    /// The part that no file backs: heap and stacks.
    pub(super) anonymous: f64,
    /// The part that are mapped BPF maps. The kernel maps a ring's data twice, one behind the other.
    pub(super) maps: f64,
    /// The most there ever was.
    pub(super) peak: f64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kib.map(|kib| kib * 1024.0 / 1e6).with_context(|| format!("/proc/{pid}/status has no {name}"))
        };
        let maps = bpf_maps(&fs::read_to_string(format!("/proc/{pid}/smaps"))?);
        Ok(Self { resident: field("VmRSS")?, anonymous: field("RssAnon")?, peak: field("VmHWM")?, maps })
    }
}

/// Resident megabytes of the mappings of BPF maps: each mapping has a line with its name, then its numbers.
fn bpf_maps(smaps: &str) -> f64 {
    let mut inside = false;
    let mut kib = 0.0;
    for line in smaps.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !first.ends_with(':') {
            inside = line.ends_with("bpf-map");
        } else if inside && first == "Rss:" {
            kib += line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
        }
    }
    kib * 1024.0 / 1e6
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.resident > 0.0 && memory.peak >= memory.resident && memory.maps == 0.0);
        assert!(Usage::of(std::process::id()).unwrap().cpu > 0);
    }

    #[test]
    fn mapped_maps_are_found() {
        let smaps = "7f00-7f01 r--s 00002000 00:0f 1039    anon_inode:bpf-map\nSize: 9 kB\nRss:     1000 kB\n\
                     7f02-7f03 r-xp 00000000 08:00 1    /bin/a\nRss:     500 kB\n";
        assert!((bpf_maps(smaps) - 1.024).abs() < 1e-9);
    }
}
