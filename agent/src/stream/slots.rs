//! A bounded map whose oldest entry gives way: "oldest" by second chance, which costs a bit a touch
//! instead of a list operation.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// An entry, and whether it was touched since the hand passed it.
#[derive(Debug)]
struct Entry<T> {
    id: u64,
    touched: bool,
    value: T,
}

/// At most `limit` values by their ids.
#[derive(Debug)]
pub(super) struct Slots<T> {
    index: HashMap<u64, usize, RandomState>,
    entries: Vec<Entry<T>>,
    hand: usize,
    limit: usize,
}

impl<T> Slots<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { index: HashMap::default(), entries: Vec::new(), hand: 0, limit }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value, which is in use now.
    pub(super) fn touch(&mut self, id: u64) -> Option<&mut T> {
        let slot = self.entries.get_mut(*self.index.get(&id)?)?;
        slot.touched = true;
        Some(&mut slot.value)
    }

    /// Adds a value under an id that is not there yet; returns the one that gave way, if any.
    pub(super) fn insert(&mut self, id: u64, value: T) -> Option<T> {
        let evicted = if self.entries.len() < self.limit { None } else { self.evict() };
        self.index.insert(id, self.entries.len());
        self.entries.push(Entry { id, touched: true, value });
        evicted
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let at = self.index.remove(&id)?;
        if at >= self.entries.len() {
            return None;
        }
        let slot = self.entries.swap_remove(at);
        if let Some(moved) = self.entries.get(at) {
            self.index.insert(moved.id, at);
        }
        Some(slot.value)
    }

    fn evict(&mut self) -> Option<T> {
        // Ends in the second round at the latest, when every entry has lost its bit.
        loop {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let slot = self.entries.get_mut(self.hand)?;
            if !std::mem::take(&mut slot.touched) {
                let id = slot.id;
                return self.remove(id);
            }
            self.hand += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.entries.iter().map(|slot| (slot.id, &slot.value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.entries.iter_mut().map(|slot| (slot.id, &mut slot.value))
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.index.clear();
        self.entries.drain(..).map(|slot| slot.value)
    }
}
