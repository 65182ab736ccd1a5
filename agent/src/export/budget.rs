//! What the queues of all destinations may hold in memory together.
//!
//! Half of it is shared out evenly and kept for each, so that a destination whose backend is gone leaves room for the
//! others; the other half is for whoever needs more than that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The bytes of all queues.
#[derive(Debug)]
pub struct Budget(Mutex<State>);

#[derive(Debug)]
struct State {
    cap: usize,
    parts: BTreeMap<u64, Part>,
    next: u64,
}

/// What one queue holds.
#[derive(Clone, Copy, Debug)]
struct Part {
    used: usize,
    /// It takes spans in.
    open: bool,
}

impl Budget {
    /// So many bytes for all.
    pub fn new(cap: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { cap, parts: BTreeMap::new(), next: 0 })))
    }

    /// From now on so many. What is held above them stays.
    pub fn set_cap(&self, cap: usize) {
        self.lock().cap = cap;
    }

    /// How many they are.
    pub fn cap(&self) -> usize {
        self.lock().cap
    }

    /// The place of one more queue.
    pub fn share(self: &Arc<Self>) -> Share {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.parts.insert(id, Part { used: 0, open: true });
        Share { budget: Arc::clone(self), id }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; numbers are right in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn left_for(&self, id: u64) -> usize {
        let used = self.parts.get(&id).map_or(0, |part| part.used);
        // Who takes nothing in needs nothing kept.
        let others =
            || self.parts.iter().filter(move |(other, part)| **other != id && (part.open || part.used > 0));
        let kept = self.cap / 2 / (1 + others().count());
        let taken = others().map(|(_, part)| part.used.max(kept)).sum();
        self.cap.saturating_sub(taken).max(kept).saturating_sub(used)
    }
}

/// The place of one queue in a [`Budget`].
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    id: u64,
}

impl Share {
    /// Whose it is.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// How many bytes more this queue may hold now.
    pub fn left(&self) -> usize {
        self.budget.lock().left_for(self.id)
    }

    /// Takes what `choose` makes of the bytes that are left. Two queues cannot be given the same bytes.
    pub fn take<T>(&self, choose: impl FnOnce(usize) -> (usize, T)) -> T {
        let mut state = self.budget.lock();
        let (bytes, chosen) = choose(state.left_for(self.id));
        if let Some(part) = state.parts.get_mut(&self.id) {
            part.used += bytes;
        }
        chosen
    }

    /// The queue holds so much now, more than is left for it or not.
    pub fn set(&self, used: usize) {
        if let Some(part) = self.budget.lock().parts.get_mut(&self.id) {
            part.used = used;
        }
    }

    /// The queue takes spans in, or does not any more.
    pub fn set_open(&self, open: bool) {
        if let Some(part) = self.budget.lock().parts.get_mut(&self.id) {
            part.open = open;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.lock().parts.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes as much of `wanted` as there is.
    fn grab(share: &Share, wanted: usize) -> usize {
        share.take(|left| (wanted.min(left), wanted.min(left)))
    }

    #[test]
    fn one_queue_has_all_of_it_and_many_have_their_parts() {
        let budget = Budget::new(800);
        let first = budget.share();
        assert_eq!(first.left(), 800);
        let others = [budget.share(), budget.share(), budget.share()];
        // 100 each are kept.
        assert_eq!(grab(&first, 1000), 500);
        assert_eq!(others.each_ref().map(|one| grab(one, 1000)), [100; 3]);
        assert_eq!((first.left(), others[0].left()), (0, 0));
        first.set(50);
        assert_eq!((first.left(), others[0].left()), (450, 400));
        // Who is gone keeps nothing from others.
        others[1].set_open(false);
        others[1].set(0);
        drop(first);
        assert_eq!(others[0].left(), 500);
        budget.set_cap(100);
        assert_eq!((others[0].left(), budget.cap()), (0, 100));
    }

    proptest! {
        #[test]
        fn all_together_stay_below_the_cap_and_each_gets_its_part(
            cap in 1..10_000_usize,
            queues in 1..8_usize,
            steps in proptest::collection::vec((0..8_usize, 0..5_000_usize, any::<bool>()), 0..60),
        ) {
            let budget = Budget::new(cap);
            let shares: Vec<_> = (0..queues).map(|_| budget.share()).collect();
            let mut used = vec![0; queues];
            for (at, bytes, gives_back) in steps {
                let at = at % queues;
                if gives_back {
                    used[at] -= bytes.min(used[at]);
                    shares[at].set(used[at]);
                } else {
                    used[at] += grab(&shares[at], bytes);
                }
                prop_assert!(used.iter().sum::<usize>() <= cap);
                for (share, used) in shares.iter().zip(&used) {
                    prop_assert!(share.left() + used >= cap / 2 / queues);
                }
            }
        }
    }
}
