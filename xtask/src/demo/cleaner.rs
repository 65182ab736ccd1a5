//! What the demo starts and makes, and its end: whether it is done, fails, or is interrupted.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::run::shown;

/// How long programs may take to end when asked to. They have nothing to save.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at something that gives no sign of its own.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The demo's folder and its processes, which are one process group.
#[derive(Clone, Debug)]
pub(super) struct Cleaner(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    folder: PathBuf,
    group: Option<Pid>,
    children: Vec<Child>,
}

impl Cleaner {
    /// Makes the folder. From here on a signal that ends this process cleans up first.
    pub(super) fn start() -> Result<Self> {
        let folder = env::temp_dir().join(format!("spandrel-demo-{}", process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let cleaner = Self(Arc::new(Mutex::new(State { folder, ..State::default() })));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
        let on_signal = cleaner.clone();
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // Held until the end, so that nothing is started any more.
                let mut state = on_signal.state();
                state.clean();
                process::exit(128 + signal);
            }
        });
        Ok(cleaner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder for everything that the demo writes.
    pub(super) fn folder(&self) -> PathBuf {
        self.state().folder.clone()
    }

    /// The process group of everything that was started.
    pub(super) fn group(&self) -> Option<i32> {
        self.state().group.map(|pid| pid.as_raw_nonzero().get())
    }

    /// Starts a program, gives its process id, and lets `own` take the streams that are its to take.
    pub(super) fn spawn<T>(
        &self,
        command: &mut Command,
        own: impl FnOnce(&mut Child) -> T,
    ) -> Result<(u32, T)> {
        let mut state = self.state();
        command.stdin(Stdio::null()).process_group(state.group.map_or(0, |pid| pid.as_raw_nonzero().get()));
        let mut child = command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))?;
        let pid = child.id();
        state.group = state.group.or_else(|| Pid::from_raw(pid as i32));
        let own = own(&mut child);
        state.children.push(child);
        Ok((pid, own))
    }

    /// How a child ended, if it has.
    pub(super) fn ended(&self, pid: u32) -> Option<process::ExitStatus> {
        let mut state = self.state();
        state.children.iter_mut().find(|child| child.id() == pid)?.try_wait().ok().flatten()
    }

    /// Ends all processes and removes the folder.
    pub(super) fn clean(&self) {
        self.state().clean();
    }
}

impl State {
    fn clean(&mut self) {
        if let Some(group) = self.group.take() {
            // It fails if nobody is left, which is as well.
            kill_process_group(group, Signal::TERM).ok();
            let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
            within(PATIENCE, || self.children.iter_mut().all(ended).then_some(()));
            kill_process_group(group, Signal::KILL).ok();
        }
        for mut child in self.children.drain(..) {
            child.wait().ok();
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Looks until there is an answer, or until the time is over.
pub(super) fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(LOOK_AGAIN);
    }
}
