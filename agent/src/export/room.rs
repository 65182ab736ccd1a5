//! How much a destination may hold, and what became of each span that it took.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use super::budget::{Budget, Share};
use crate::stats::{Drop as Cause, Stats};

/// The bounds of one destination, what is in it now, and its account.
#[derive(Debug)]
pub struct Room {
    max_spans: AtomicUsize,
    max_bytes: AtomicUsize,
    /// Its place among all queues.
    share: Share,
    ledger: Arc<Stats>,
    state: Mutex<State>,
    account: Arc<Account>,
}

/// Spans by who settles the ledger for them: each span is counted there once, by one destination.
#[derive(Clone, Copy, Debug, Default)]
struct Spans {
    /// This one does.
    own: usize,
    /// Another destination does, or an earlier process has seen them.
    guests: usize,
}

impl Spans {
    fn total(self) -> usize {
        self.own + self.guests
    }

    fn add(&mut self, other: Self) {
        self.own += other.own;
        self.guests += other.guests;
    }

    fn take(&mut self, other: Self) {
        self.own = self.own.saturating_sub(other.own);
        self.guests = self.guests.saturating_sub(other.guests);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    memory: Spans,
    bytes: usize,
    disk: Spans,
    /// Nothing more is taken in.
    closed: bool,
    /// What was held has been given up: claims that are still around mean nothing any more.
    abandoned: bool,
}

/// What a destination holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Spans waiting or in flight in memory.
    pub spans: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Spans waiting or in flight that are on disk.
    pub stored: usize,
}

/// What was still held when a room was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Spans that are lost.
    pub lost: usize,
    /// Spans on disk: the next start sends them.
    pub stored: usize,
}

/// What became of a destination's spans so far. Unlike the ledger it counts every span that this destination wants,
/// those of an earlier process included.
#[derive(Debug, Default)]
pub struct Account {
    exported: AtomicU64,
    dropped: [AtomicU64; Cause::ALL.len()],
    saved: AtomicU64,
    recovered: AtomicU64,
}

impl Account {
    /// Spans that the destination acknowledged.
    pub fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    /// Spans that it did not get, by cause.
    pub fn dropped(&self, cause: Cause) -> u64 {
        self.dropped.get(cause as usize).map_or(0, |slot| slot.load(Relaxed))
    }

    /// How many of the dropped ones are in the dead letters.
    pub fn saved(&self) -> u64 {
        self.saved.load(Relaxed)
    }

    /// Spans that an earlier process left on disk.
    pub fn recovered(&self) -> u64 {
        self.recovered.load(Relaxed)
    }

    fn enter(&self, fate: Fate, spans: usize) {
        let spans = spans as u64;
        match fate {
            Fate::Exported => self.exported.fetch_add(spans, Relaxed),
            Fate::Dropped(cause) | Fate::Saved(cause) => {
                if matches!(fate, Fate::Saved(_)) {
                    self.saved.fetch_add(spans, Relaxed);
                }
                self.dropped.get(cause as usize).map_or(0, |slot| slot.fetch_add(spans, Relaxed))
            }
        };
    }
}

/// How a claim on a room ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The destination has them.
    Exported,
    /// It has not.
    Dropped(Cause),
    /// It has not, but the dead letters have.
    Saved(Cause),
}

impl Room {
    /// A room for so many spans and bytes in memory, which shares them with nobody.
    #[cfg(test)]
    pub fn new(max_spans: usize, max_bytes: usize, ledger: Arc<Stats>) -> Arc<Self> {
        let share = Budget::new(usize::MAX).share();
        Self::continuing(max_spans, max_bytes, share, ledger, Arc::default())
    }

    /// A room for so many spans and bytes in memory, for a destination that may have an account already.
    pub fn continuing(
        max_spans: usize,
        max_bytes: usize,
        share: Share,
        ledger: Arc<Stats>,
        account: Arc<Account>,
    ) -> Arc<Self> {
        let (max_spans, max_bytes) = (AtomicUsize::new(max_spans), AtomicUsize::new(max_bytes));
        Arc::new(Self { max_spans, max_bytes, share, ledger, state: Mutex::default(), account })
    }

    /// Other bounds hold from now on; what is held above them stays.
    pub fn set_limits(&self, max_spans: usize, max_bytes: usize) {
        self.max_spans.store(max_spans, Relaxed);
        self.max_bytes.store(max_bytes, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; numbers are right in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in as many of the spans as there is room for, given their sizes in order. The others are
    /// counted as dropped. None if there is room for none. `own`: this room settles the ledger for them.
    pub fn admit(self: &Arc<Self>, own: bool, sizes: impl ExactSizeIterator<Item = usize>) -> Option<Claim> {
        let offered = sizes.len();
        let mut state = self.lock();
        let (max_spans, max_bytes) = self.limits();
        let (held, held_bytes) = (state.memory.total(), state.bytes);
        let choose = |left| {
            let (mut spans, mut bytes) = (0, 0);
            for size in sizes {
                // One span alone always fits, so that no size can be refused for ever.
                let alone = held + spans == 0;
                if held + spans >= max_spans || held_bytes + bytes + size > max_bytes && !alone {
                    return (bytes, (spans, bytes, Cause::QueueFull));
                }
                if bytes + size > left && !alone {
                    return (bytes, (spans, bytes, Cause::MemoryFull));
                }
                spans += 1;
                bytes += size;
            }
            (bytes, (spans, bytes, Cause::QueueFull))
        };
        let (spans, bytes, cause) =
            if state.closed { (0, 0, Cause::Shutdown) } else { self.share.take(choose) };
        let count =
            |spans| if own { Spans { own: spans, guests: 0 } } else { Spans { own: 0, guests: spans } };
        state.memory.add(count(spans));
        state.bytes += bytes;
        drop(state);
        self.enter(Fate::Dropped(cause), count(offered - spans));
        (spans > 0).then(|| Claim { room: Arc::clone(self), spans: count(spans), bytes, stored: false })
    }

    /// Why these would not all fit now; `None` if they would.
    pub fn lacks(&self, sizes: impl ExactSizeIterator<Item = usize>) -> Option<Cause> {
        let (offered, bytes) = (sizes.len(), sizes.sum::<usize>());
        let (max_spans, max_bytes) = self.limits();
        let state = self.lock();
        if state.memory.total() + offered > max_spans || state.bytes + bytes > max_bytes {
            return Some(Cause::QueueFull);
        }
        (bytes > self.share.left()).then_some(Cause::MemoryFull)
    }

    /// How full it is, 0 to 1, by the bound that is nearer.
    pub fn fill(&self) -> f64 {
        let (max_spans, max_bytes) = self.limits();
        let state = self.lock();
        let share = |held: usize, limit: usize| held as f64 / limit.max(1) as f64;
        // What others hold is not there for this one.
        let max_bytes = max_bytes.min(state.bytes.saturating_add(self.share.left()));
        share(state.memory.total(), max_spans).max(share(state.bytes, max_bytes)).min(1.0)
    }

    /// Counts spans that are dropped before they are taken in.
    pub fn refuse(&self, own: bool, spans: usize, cause: Cause) {
        let (own, guests) = if own { (spans, 0) } else { (0, spans) };
        self.enter(Fate::Dropped(cause), Spans { own, guests });
    }

    /// A claim for spans that an earlier process left on disk.
    pub fn recover(self: &Arc<Self>, spans: usize) -> Claim {
        let spans = Spans { own: 0, guests: spans };
        self.lock().disk.add(spans);
        self.account.recovered.fetch_add(spans.total() as u64, Relaxed);
        Claim { room: Arc::clone(self), spans, bytes: 0, stored: true }
    }

    /// Takes nothing in any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.share.set_open(false);
    }

    /// Takes spans in again, unless what it held was given up.
    pub fn open(&self) {
        let mut state = self.lock();
        state.closed = state.abandoned;
        self.share.set_open(!state.closed);
    }

    /// Gives up what is still held: what is in memory is counted as dropped at shutdown, what is on disk as
    /// spilled, and claims that some thread still has mean nothing from now on.
    pub fn abandon(&self) -> Left {
        let mut state = self.lock();
        let State { memory, disk, .. } = *state;
        *state = State { closed: true, abandoned: true, ..State::default() };
        self.share.set_open(false);
        self.share.set(0);
        self.enter(Fate::Dropped(Cause::Shutdown), memory);
        self.enter(Fate::Dropped(Cause::Spilled), disk);
        Left { lost: memory.total(), stored: disk.total() }
    }

    /// What is in it.
    pub fn held(&self) -> Held {
        let State { memory, bytes, disk, .. } = *self.lock();
        Held { spans: memory.total(), bytes, stored: disk.total() }
    }

    /// The bounds: spans and bytes.
    pub fn limits(&self) -> (usize, usize) {
        (self.max_spans.load(Relaxed), self.max_bytes.load(Relaxed))
    }

    /// What all queues together may hold.
    pub fn budget(&self) -> &Arc<Budget> {
        self.share.budget()
    }

    /// What became of its spans.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    fn enter(&self, fate: Fate, spans: Spans) {
        if spans.total() > 0 {
            self.account.enter(fate, spans.total());
        }
        if spans.own > 0 {
            match fate {
                Fate::Exported => self.ledger.exported(spans.own as u64),
                Fate::Dropped(cause) | Fate::Saved(cause) => {
                    Stats::drop(&self.ledger, cause, spans.own as u64);
                }
            }
        }
    }
}

/// The right to some spans' place in a room. It is settled exactly once; if it is dropped before, its spans
/// count as dropped at shutdown, or as spilled if they are on disk.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    room: Arc<Room>,
    spans: Spans,
    bytes: usize,
    stored: bool,
}

impl Claim {
    /// How many spans it is for.
    pub fn spans(&self) -> usize {
        self.spans.total()
    }

    /// Takes part of it: so many spans and bytes, at most what there is.
    pub fn split(&mut self, spans: usize, bytes: usize) -> Self {
        let own = spans.min(self.spans.own);
        let part = Spans { own, guests: (spans - own).min(self.spans.guests) };
        let bytes = bytes.min(self.bytes);
        self.spans.take(part);
        self.bytes -= bytes;
        Self { room: Arc::clone(&self.room), spans: part, bytes, stored: self.stored }
    }

    /// Adds another claim on the same room, which is in the same place.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.room, &other.room) && self.stored == other.stored);
        self.spans.add(std::mem::take(&mut other.spans));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// The spans take another amount of memory now.
    pub fn resize(&mut self, bytes: usize) {
        let mut state = self.room.lock();
        if !state.abandoned {
            state.bytes = state.bytes.saturating_sub(self.bytes) + bytes;
            self.room.share.set(state.bytes);
        }
        self.bytes = bytes;
    }

    /// The spans are on disk now, and take no memory.
    pub fn store(&mut self) {
        self.resize(0);
        if !std::mem::replace(&mut self.stored, true) {
            let mut state = self.room.lock();
            if !state.abandoned {
                state.memory.take(self.spans);
                state.disk.add(self.spans);
            }
        }
    }

    /// The spans are not on disk any more, but take so many bytes of memory.
    pub fn load(&mut self, bytes: usize) {
        if std::mem::replace(&mut self.stored, false) {
            let mut state = self.room.lock();
            if !state.abandoned {
                state.disk.take(self.spans);
                state.memory.add(self.spans);
            }
        }
        self.resize(bytes);
    }

    /// Whether they are.
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Ends the claim.
    pub fn settle(mut self, fate: Fate) {
        self.finish(fate);
    }

    fn finish(&mut self, fate: Fate) {
        let (spans, bytes) = (std::mem::take(&mut self.spans), std::mem::take(&mut self.bytes));
        if spans.total() == 0 && bytes == 0 {
            return;
        }
        let mut state = self.room.lock();
        if !state.abandoned {
            if self.stored { &mut state.disk } else { &mut state.memory }.take(spans);
            state.bytes = state.bytes.saturating_sub(bytes);
            self.room.share.set(state.bytes);
            self.room.enter(fate, spans);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.finish(Fate::Dropped(if self.stored { Cause::Spilled } else { Cause::Shutdown }));
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
