//! Encoded batches that wait for one destination, the oldest first.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
};

use tokio::sync::Notify;

use super::{client::Payload, room::Claim, store::spill::Slot};

/// Where a batch is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Memory(Payload),
    Disk(Slot),
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) body: Body,
    pub(super) claim: Claim,
    /// For parts of a batch that was too large: the size of a single span that was, shared by all parts.
    pub(super) too_large: Option<Arc<AtomicUsize>>,
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
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one at the end.
    pub(super) fn push(&self, job: Job) {
        self.lock().waiting.push_back(job);
        self.changed.notify_one();
    }

    /// Adds the parts of a job before all others: they are the oldest.
    pub(super) fn push_first(&self, parts: impl DoubleEndedIterator<Item = Job>) {
        let mut state = self.lock();
        parts.rev().for_each(|part| state.waiting.push_front(part));
        drop(state);
        self.changed.notify_one();
    }

    /// The oldest. None once the queue is closed and empty.
    pub(super) async fn pop(&self) -> Option<Job> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                if let Some(job) = state.waiting.pop_front() {
                    // A permit is one, however often it was given: pass it on.
                    if !state.waiting.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(job);
                }
                if state.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// The oldest, if one waits.
    pub(super) fn take(&self) -> Option<Job> {
        self.lock().waiting.pop_front()
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }
}
