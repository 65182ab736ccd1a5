//! How much a destination may hold, and what became of each span that it took.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::stats::{Drop as Cause, Stats};

/// The bounds of one destination and what is in it now.
#[derive(Debug)]
pub struct Room {
    max_spans: usize,
    max_bytes: usize,
    /// None if another destination settles the ledger.
    ledger: Option<Arc<Stats>>,
    held: Mutex<Held>,
}

/// What a destination holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Spans waiting or in flight.
    pub spans: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Nothing more is taken in.
    closed: bool,
    /// What was held has been given up: claims that are still around mean nothing any more.
    abandoned: bool,
}

/// How a claim on a room ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The destination has them.
    Exported,
    /// It has not.
    Dropped(Cause),
}

impl Room {
    /// A room for so many spans and bytes, which settles `ledger`.
    pub fn new(max_spans: usize, max_bytes: usize, ledger: Option<Arc<Stats>>) -> Arc<Self> {
        Arc::new(Self { max_spans, max_bytes, ledger, held: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is held; numbers are right in any case.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in as many of the spans as there is room for, given their sizes in order. The others are
    /// counted as dropped. None if there is room for none.
    pub fn admit(self: &Arc<Self>, sizes: impl ExactSizeIterator<Item = usize>) -> Option<Claim> {
        let offered = sizes.len();
        let mut held = self.lock();
        let cause = if held.closed { Cause::Shutdown } else { Cause::QueueFull };
        let (mut spans, mut bytes) = (0, 0);
        if !held.closed {
            for size in sizes {
                // One span alone always fits, so that no size can be refused for ever.
                let fits = held.bytes + bytes + size <= self.max_bytes || held.spans + spans == 0;
                if held.spans + spans >= self.max_spans || !fits {
                    break;
                }
                spans += 1;
                bytes += size;
            }
        }
        held.spans += spans;
        held.bytes += bytes;
        drop(held);
        self.enter(Fate::Dropped(cause), offered - spans);
        (spans > 0).then(|| Claim { room: Arc::clone(self), spans, bytes })
    }

    /// Takes nothing in any more.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Gives up what is still held: it is counted as dropped at shutdown, and claims that some thread still
    /// has mean nothing from now on. Returns how many spans there were.
    pub fn abandon(&self) -> usize {
        let mut held = self.lock();
        let left = held.spans;
        *held = Held { closed: true, abandoned: true, ..Held::default() };
        self.enter(Fate::Dropped(Cause::Shutdown), left);
        left
    }

    /// What is in it.
    pub fn held(&self) -> Held {
        *self.lock()
    }

    /// The bounds: spans and bytes.
    pub fn limits(&self) -> (usize, usize) {
        (self.max_spans, self.max_bytes)
    }

    fn enter(&self, fate: Fate, spans: usize) {
        let Some(ledger) = self.ledger.as_deref().filter(|_| spans > 0) else { return };
        match fate {
            Fate::Exported => ledger.exported(spans as u64),
            Fate::Dropped(cause) => ledger.drop(cause, spans as u64),
        }
    }

    fn leave(&self, fate: Fate, spans: usize, bytes: usize) {
        let mut held = self.lock();
        if !held.abandoned {
            held.spans = held.spans.saturating_sub(spans);
            held.bytes = held.bytes.saturating_sub(bytes);
            self.enter(fate, spans);
        }
    }
}

/// The right to some spans' place in a room. It is settled exactly once; if it is dropped before, its spans
/// count as dropped at shutdown.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    room: Arc<Room>,
    spans: usize,
    bytes: usize,
}

impl Claim {
    /// How many spans it is for.
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// Takes part of it: so many spans and bytes, at most what there is.
    pub fn split(&mut self, spans: usize, bytes: usize) -> Self {
        let (spans, bytes) = (spans.min(self.spans), bytes.min(self.bytes));
        self.spans -= spans;
        self.bytes -= bytes;
        Self { room: Arc::clone(&self.room), spans, bytes }
    }

    /// Adds another claim on the same room.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.room, &other.room));
        self.spans += std::mem::take(&mut other.spans);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// The spans take another amount of memory now.
    pub fn resize(&mut self, bytes: usize) {
        let mut held = self.room.lock();
        if !held.abandoned {
            held.bytes = held.bytes.saturating_sub(self.bytes) + bytes;
        }
        self.bytes = bytes;
    }

    /// Ends the claim.
    pub fn settle(mut self, fate: Fate) {
        self.finish(fate);
    }

    fn finish(&mut self, fate: Fate) {
        let (spans, bytes) = (std::mem::take(&mut self.spans), std::mem::take(&mut self.bytes));
        if spans > 0 || bytes > 0 {
            self.room.leave(fate, spans, bytes);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.finish(Fate::Dropped(Cause::Shutdown));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(stats: &Stats) -> (u64, u64, i64) {
        use std::sync::atomic::Ordering::Relaxed;
        let dropped = Cause::ALL.iter().map(|cause| stats.dropped(*cause)).sum();
        (stats.exported.load(Relaxed), dropped, stats.open.load(Relaxed))
    }

    fn seen(n: usize) -> Arc<Stats> {
        let stats = Arc::new(Stats::default());
        (0..n).for_each(|_| stats.saw());
        stats
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let stats = seen(16);
        let room = Room::new(5, 100, Some(Arc::clone(&stats)));
        let three = room.admit([10; 3].into_iter()).unwrap();
        let two = room.admit([10; 4].into_iter()).unwrap();
        assert_eq!((three.spans(), two.spans()), (3, 2));
        assert!(room.admit([1].into_iter()).is_none());
        assert_eq!(stats.dropped(Cause::QueueFull), 3);
        three.settle(Fate::Exported);
        let bytes = room.admit([40, 40, 1].into_iter()).unwrap();
        assert_eq!(bytes.spans(), 2);
        assert_eq!(stats.dropped(Cause::QueueFull), 4);
        bytes.settle(Fate::Dropped(Cause::ExportFailed));
        drop(two);
        assert_eq!(stats.dropped(Cause::Shutdown), 2);
        let huge = room.admit([1000, 1].into_iter()).unwrap();
        assert_eq!(huge.spans(), 1);
        huge.settle(Fate::Exported);
        assert_eq!((room.held().spans, room.held().bytes), (0, 0));
        assert_eq!(sums(&stats), (4, 9, 3));
    }

    #[test]
    fn a_closed_room_counts_what_is_offered_as_lost_at_shutdown() {
        let stats = seen(7);
        let room = Room::new(10, 100, Some(Arc::clone(&stats)));
        let mut claim = room.admit([1; 4].into_iter()).unwrap();
        room.close();
        assert!(room.admit([1; 3].into_iter()).is_none());
        claim.split(1, 1).settle(Fate::Exported);
        assert_eq!(room.abandon(), 3);
        claim.settle(Fate::Exported);
        assert_eq!(stats.dropped(Cause::Shutdown), 6);
        assert_eq!(sums(&stats), (1, 6, 0));
    }

    proptest! {
        /// Whatever is done with claims, each span is settled once.
        #[test]
        fn the_ledger_closes(steps in proptest::collection::vec((0..6_u8, 0..9_usize), 0..64)) {
            let stats = Arc::new(Stats::default());
            let room = Room::new(20, 200, Some(Arc::clone(&stats)));
            let mut claims: Vec<Claim> = Vec::new();
            let mut total = 0;
            for (step, n) in steps {
                match step {
                    0 | 1 => {
                        (0..n).for_each(|_| stats.saw());
                        total += n as u64;
                        claims.extend(room.admit(vec![n * 7; n].into_iter()));
                    }
                    2 => {
                        let part = claims.last_mut().map(|claim| claim.split(n, n));
                        claims.extend(part);
                    }
                    3 => if let (Some(a), Some(b)) = (claims.pop(), claims.first_mut()) { b.merge(a) },
                    4 => if let Some(claim) = claims.last_mut() { claim.resize(n) },
                    _ => if let Some(claim) = claims.pop() { claim.settle(Fate::Exported) },
                }
            }
            let held = claims.iter().map(Claim::spans).sum::<usize>();
            prop_assert_eq!(room.held().spans, held);
            drop(claims);
            let (exported, dropped, open) = sums(&stats);
            prop_assert_eq!((exported + dropped, open), (total, 0));
            prop_assert_eq!((room.held().spans, room.held().bytes), (0, 0));
        }
    }
}
