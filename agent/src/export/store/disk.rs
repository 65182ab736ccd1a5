//! A thread that does what waits for a disk, one thing after the other, so that nobody waits longer than [`PATIENCE`] for
//! one that hangs: a frozen file system, or one in a network that is gone.
//!
//! Who waits in vain goes on without, and is told so; from then on nobody waits until the disk has caught up. What is done
//! too late is handed to whoever can undo it.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long somebody waits for a disk. Those that are well answer in milliseconds, those in a network in less than this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Work that waits for a disk that hangs. Nothing is added to it then but marks for batches that were sent, of which there
/// are no more than batches on disk (65,536); some 100 bytes each.
const MAX_JOBS: usize = 2 * 65_536;

type Job = Box<dyn FnOnce() + Send>;

/// The disk did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the disk does not answer")]
pub(crate) struct Late;

/// The thread of one folder. It ends with this, once its work is done.
pub(crate) struct Disk {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    came: Condvar,
    /// What is on it, for people: how each line begins.
    what: String,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Since when somebody knows that it hangs.
    late: Option<Instant>,
    ended: bool,
}

/// What became of work that somebody waits for.
enum Stage<T> {
    Waiting,
    /// Nobody waits any more.
    Abandoned,
    Done(T),
}

struct Ticket<T> {
    stage: Mutex<Stage<T>>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread. `woke` is called when a disk that hung has caught up.
    fn run(&self, woke: impl Fn()) {
        let mut state = self.lock();
        loop {
            let Some(job) = state.jobs.pop_front() else {
                if let Some(since) = state.late.take() {
                    log::info!("{} answers again after {:.1?}", self.what, since.elapsed());
                    // Under the lock: who sees that it hangs can rely on hearing of its end.
                    woke();
                }
                if state.ended {
                    return;
                }
                state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            job();
            state = self.lock();
        }
    }
}

impl Disk {
    /// Starts the thread. `what` is on the disk; `woke` is called each time when it has caught up after it hung.
    pub(crate) fn start(what: String, woke: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), came: Condvar::new(), what });
        let own = Arc::clone(&shared);
        thread::Builder::new().name("spandrel-disk".to_owned()).spawn(move || own.run(woke))?;
        Ok(Self { shared })
    }

    /// Whether it hangs, as far as anybody knows.
    pub(crate) fn hangs(&self) -> bool {
        self.shared.lock().late.is_some()
    }

    /// Does something if the disk hangs; its waking comes after it.
    pub(crate) fn while_it_hangs<T>(&self, what: impl FnOnce() -> T) -> Option<T> {
        let state = self.shared.lock();
        state.late.map(|_| what())
    }

    /// Does some work, and waits for its result; not for a disk that is known to hang, for which it does nothing at all.
    /// What is done too late goes to `undo`. Either of them happens, never both: a result, or `undo` or nothing. Blocks.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        undo: impl FnOnce(T) + Send + 'static,
    ) -> Result<T, Late> {
        let ticket = Arc::new(Ticket { stage: Mutex::new(Stage::Waiting), changed: Condvar::new() });
        let own = Arc::clone(&ticket);
        let job = move || {
            if own.is_abandoned() {
                return;
            }
            if let Some(result) = own.finish(work()) {
                undo(result);
            }
        };
        self.push(Box::new(job), false)?;
        ticket.wait().ok_or_else(|| self.late())
    }

    /// Does some work in any case, and waits for its end, but not for a disk that hangs. Blocks.
    pub(crate) fn do_in_any_case(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Late> {
        let ticket = Arc::new(Ticket { stage: Mutex::new(Stage::Waiting), changed: Condvar::new() });
        let own = Arc::clone(&ticket);
        let job = move || {
            work();
            own.finish(());
        };
        self.push(Box::new(job), true)?;
        if self.hangs() {
            return Err(Late);
        }
        ticket.wait().ok_or_else(|| self.late())
    }

    /// Does some work in any case; nobody waits for it.
    pub(crate) fn post(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Late> {
        self.push(Box::new(work), true)
    }

    fn push(&self, job: Job, in_any_case: bool) -> Result<(), Late> {
        let mut state = self.shared.lock();
        if state.late.is_some() && !in_any_case || state.jobs.len() >= MAX_JOBS {
            return Err(Late);
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.came.notify_one();
        Ok(())
    }

    /// Somebody waited in vain.
    fn late(&self) -> Late {
        let mut state = self.shared.lock();
        // It may have caught up in this moment, and be about to wait.
        if state.late.is_none() {
            state.late = Some(Instant::now());
            log::warn!(
                "{} does not answer within {PATIENCE:?}: it is done without until it does; see to the disk",
                self.shared.what
            );
            drop(state);
            self.shared.came.notify_one();
        }
        Late
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.came.notify_one();
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("what", &self.shared.what).finish_non_exhaustive()
    }
}

impl<T> Ticket<T> {
    fn lock(&self) -> MutexGuard<'_, Stage<T>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_abandoned(&self) -> bool {
        matches!(*self.lock(), Stage::Abandoned)
    }

    /// Hands over the result. Gives it back if nobody waits any more.
    fn finish(&self, result: T) -> Option<T> {
        let mut stage = self.lock();
        if let Stage::Abandoned = *stage {
            return Some(result);
        }
        *stage = Stage::Done(result);
        self.changed.notify_one();
        None
    }

    /// Waits for the result as long as patience lasts. Without one, nobody waits any more.
    fn wait(&self) -> Option<T> {
        let waits = |stage: &mut Stage<T>| matches!(stage, Stage::Waiting);
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, waits);
        let (mut stage, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *stage, Stage::Abandoned) {
            Stage::Done(result) => Some(result),
            Stage::Waiting | Stage::Abandoned => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    };

    use super::*;

    /// A disk that hangs until told otherwise, and what tells when it woke.
    fn hanging() -> (Disk, mpsc::Sender<()>, mpsc::Receiver<()>) {
        let (woke, awake) = mpsc::channel();
        let (go, hangs) = mpsc::channel::<()>();
        let disk = Disk::start("a disk".to_owned(), move || woke.send(()).unwrap()).unwrap();
        disk.post(move || hangs.recv().unwrap()).unwrap();
        (disk, go, awake)
    }

    #[test]
    fn what_is_late_is_not_done_and_nobody_waits_again() {
        let (disk, go, awake) = hanging();
        let start = Instant::now();
        let (begun, never) = (Arc::new(AtomicUsize::new(0)), |_| panic!("not begun"));
        let own = Arc::clone(&begun);
        assert!(disk.wait(move || own.fetch_add(1, SeqCst), never).is_err());
        assert!(disk.hangs() && start.elapsed() >= PATIENCE);
        let (start, own) = (Instant::now(), Arc::clone(&begun));
        assert!(disk.wait(move || own.fetch_add(1, SeqCst), never).is_err());
        let own = Arc::clone(&begun);
        assert!(disk.do_in_any_case(move || _ = own.fetch_add(10, SeqCst)).is_err());
        let own = Arc::clone(&begun);
        disk.post(move || _ = own.fetch_add(100, SeqCst)).unwrap();
        assert_eq!(disk.while_it_hangs(|| 7), Some(7));
        assert!(start.elapsed() < PATIENCE);
        go.send(()).unwrap();
        awake.recv().unwrap();
        // What had to be done is, and it is waited for again.
        assert_eq!(disk.wait(|| 7, |_| ()).unwrap(), 7);
        assert_eq!((begun.load(SeqCst), disk.hangs(), disk.while_it_hangs(|| 7)), (110, false, None));
    }

    #[test]
    fn what_is_done_too_late_is_undone() {
        let disk = Disk::start("a disk".to_owned(), || ()).unwrap();
        let (go, hangs) = mpsc::channel::<()>();
        let (undo, undone) = mpsc::channel();
        let work = move || {
            hangs.recv().unwrap();
            "written"
        };
        assert!(disk.wait(work, move |what| undo.send(what).unwrap()).is_err());
        go.send(()).unwrap();
        assert_eq!(undone.recv().unwrap(), "written");
    }

    /// Whoever comes first in the moment in which patience ends: there is a result, or it is undone.
    #[test]
    fn never_both_and_never_neither() {
        for _ in 0..2000 {
            let ticket = Arc::new(Ticket { stage: Mutex::new(Stage::Waiting), changed: Condvar::new() });
            let own = Arc::clone(&ticket);
            let worker = thread::spawn(move || own.finish(()).is_some());
            let got = match std::mem::replace(&mut *ticket.lock(), Stage::Abandoned) {
                Stage::Done(()) => true,
                Stage::Waiting | Stage::Abandoned => false,
            };
            assert_eq!(got, !worker.join().unwrap());
        }
    }

    #[test]
    fn what_was_posted_is_done_before_the_thread_ends() {
        let (disk, go, _awake) = hanging();
        let (done, seen) = mpsc::channel();
        disk.post(move || done.send(()).unwrap()).unwrap();
        drop(disk);
        go.send(()).unwrap();
        seen.recv().unwrap();
    }
}
