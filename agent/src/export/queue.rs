//! Encoded batches that wait for one destination, the oldest first.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{client::Payload, parts::Whole, room::Claim, store::spill::Slot};

/// Where a batch is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Memory(Payload),
    Disk(Slot),
    /// A part of a batch that was too large: it waits in memory, and the whole is still on disk. Its first span is the one
    /// with this number of those that waited when it was cut.
    Part(Payload, Arc<Whole>, usize),
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) body: Body,
    pub(super) claim: Claim,
    /// When it began to wait. Its parts, if it is cut, wait as long as it does.
    pub(super) since: Instant,
    /// For parts of a batch that was too large: the size of a single span that was, shared by all parts.
    pub(super) too_large: Option<Arc<AtomicUsize>>,
}

impl Job {
    /// Whether it is there and nowhere else.
    fn is_in_memory(&self) -> bool {
        matches!(self.body, Body::Memory(_))
    }
}

impl State {
    fn pop(&mut self) -> Option<Job> {
        let job = self.waiting.pop_front()?;
        self.in_memory -= usize::from(job.is_in_memory());
        Some(job)
    }
}

/// The jobs. Bounded by the room that each of them has a claim on.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// How many of those are in memory and nowhere else.
    in_memory: usize,
    /// Those on a disk that hangs.
    parked: Vec<Job>,
    /// Since when each of those waits that are being sent. As long as there are workers.
    in_flight: Vec<Instant>,
    /// Those who take jobs out, and how many there should be.
    workers: usize,
    wanted: usize,
    closed: bool,
}

/// What waits at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance {
    /// Batches whose turn has not come.
    pub(super) waiting: usize,
    /// Batches that are being sent, or wait to be sent again.
    pub(super) in_flight: usize,
    /// How long the oldest of both has waited; zero if there is none.
    pub(super) oldest: Duration,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one at the end.
    pub(super) fn push(&self, job: Job) {
        let mut state = self.lock();
        state.in_memory += usize::from(job.is_in_memory());
        state.waiting.push_back(job);
        drop(state);
        self.changed.notify_one();
    }

    /// Adds jobs before all others: they are the oldest.
    pub(super) fn push_first(&self, parts: impl DoubleEndedIterator<Item = Job>) {
        let mut state = self.lock();
        for part in parts.rev() {
            state.in_memory += usize::from(part.is_in_memory());
            state.waiting.push_front(part);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// So many are to take jobs out. Gives how many of them are missing; they count as there from now on.
    pub(super) fn staff(&self, wanted: usize) -> usize {
        let mut state = self.lock();
        let missing = wanted.saturating_sub(state.workers);
        state.workers += missing;
        state.wanted = wanted;
        drop(state);
        self.changed.notify_waiters();
        missing
    }

    /// The oldest, which is in flight from now on. None for a worker that is not needed any more: once the queue is
    /// closed and empty, or if there are more than [`Self::staff`] wants.
    pub(super) async fn pop(&self) -> Option<Job> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                if state.workers > state.wanted {
                    state.workers -= 1;
                    // The permit that woke this one is for another.
                    if !state.waiting.is_empty() {
                        self.changed.notify_one();
                    }
                    return None;
                }
                if let Some(job) = state.pop() {
                    state.in_flight.push(job.since);
                    // A permit is one, however often it was given: pass it on.
                    if !state.waiting.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(job);
                }
                if state.closed {
                    state.workers = state.workers.saturating_sub(1);
                    return None;
                }
            }
            changed.await;
        }
    }

    /// One that [`Self::pop`] gave is not in flight any more.
    pub(super) fn landed(&self, since: Instant) {
        let mut state = self.lock();
        if let Some(at) = state.in_flight.iter().position(|other| *other == since) {
            state.in_flight.swap_remove(at);
        }
    }

    /// What waits now.
    pub(super) fn glance(&self) -> Glance {
        let state = self.lock();
        // Parts of a batch are put first, so the first has waited longest.
        let oldest =
            state.waiting.front().map(|job| job.since).into_iter().chain(state.in_flight.iter().copied());
        let oldest = oldest.chain(state.parked.iter().map(|job| job.since));
        Glance {
            waiting: state.waiting.len() + state.parked.len(),
            in_flight: state.in_flight.len(),
            oldest: oldest.min().map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    /// The oldest, if one waits.
    pub(super) fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        state.pop().or_else(|| state.parked.pop())
    }

    /// The oldest of those that are in memory and nowhere else.
    pub(super) fn take_from_memory(&self) -> Option<Job> {
        let mut state = self.lock();
        if state.in_memory == 0 {
            return None;
        }
        let at = state.waiting.iter().position(Job::is_in_memory)?;
        state.in_memory -= 1;
        state.waiting.remove(at)
    }

    /// Puts a job aside until [`Self::unpark`].
    pub(super) fn park(&self, job: Option<Job>) {
        self.lock().parked.extend(job);
    }

    /// Those that were put aside come before all others.
    pub(super) fn unpark(&self) {
        let parked = std::mem::take(&mut self.lock().parked);
        self.push_first(parked.into_iter());
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Jobs are added again.
    pub(super) fn open(&self) {
        self.lock().closed = false;
    }
}
