//! A batch on disk that is sent in parts, because it was too large for the backend.
//!
//! It stays where it is until all its parts are settled: so they need no room on a disk that may be full, and keep their
//! place in the order of the queue. What is settled from its beginning on is noted in its header, so that the next
//! process does not send that again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::store::spill::{Slot, Spill};

/// The whole, shared by its parts.
#[derive(Debug)]
pub(super) struct Whole {
    slot: Slot,
    /// All spans that it has.
    spans: usize,
    settled: Mutex<Settled>,
}

/// What is settled of it.
#[derive(Debug)]
struct Settled {
    /// So many spans from the beginning on.
    first: usize,
    /// Parts behind them: where they begin and end. No more than requests in flight.
    others: BTreeMap<usize, usize>,
}

impl Whole {
    /// A batch of which so many spans wait.
    pub(super) fn new(slot: Slot, waiting: usize) -> Self {
        let first = slot.settled as usize;
        let settled = Mutex::new(Settled { first, others: BTreeMap::new() });
        Self { slot, spans: first + waiting, settled }
    }

    /// Where the first of its spans stands that waited at the beginning.
    pub(super) fn first(&self) -> usize {
        self.slot.settled as usize
    }

    /// So many spans from one on need nothing any more. May wait for the disk.
    pub(super) fn settle(&self, from: usize, spans: usize, spill: &Spill) {
        // Held until it is noted, so that the numbers only grow.
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.others.insert(from, from + spans);
        let before = settled.first;
        while let Some(end) = {
            let first = settled.first;
            settled.others.remove(&first)
        } {
            settled.first = end;
        }
        if settled.first >= self.spans {
            spill.done(self.slot, false);
        } else if settled.first > before {
            spill.settle(self.slot, settled.first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{client::Encoding, testing::Folder};

    /// What a process that comes now would find, without the lock of the one that is there.
    fn found(folder: &Folder) -> Vec<(usize, u32)> {
        let copy = Folder::new("parts-copy");
        std::fs::create_dir_all(copy.path("q")).unwrap();
        for name in folder.names() {
            std::fs::copy(folder.path(&name), copy.path(&name)).unwrap();
        }
        let (_, found) = Spill::open(&copy.path("q"), 1 << 20).unwrap();
        found.batches.iter().map(|batch| (batch.spans, batch.slot.settled)).collect()
    }

    #[test]
    fn it_stays_until_all_its_parts_are_settled() {
        let folder = Folder::new("parts");
        let (spill, _) = Spill::open(&folder.path("q"), 1 << 20).unwrap();
        let whole = Whole::new(spill.append(Encoding::Protobuf, 10, b"whole").unwrap(), 10);
        spill.append(Encoding::Protobuf, 1, b"next").unwrap();
        whole.settle(5, 2, &spill);
        assert_eq!(found(&folder), [(10, 0), (1, 0)]);
        whole.settle(0, 2, &spill);
        assert_eq!(found(&folder), [(8, 2), (1, 0)]);
        whole.settle(2, 3, &spill);
        assert_eq!(found(&folder), [(3, 7), (1, 0)]);
        whole.settle(7, 3, &spill);
        assert_eq!(found(&folder), [(1, 0)]);
    }

    #[test]
    fn what_an_earlier_process_began_goes_on() {
        let folder = Folder::new("parts-on");
        let (spill, _) = Spill::open(&folder.path("q"), 1 << 20).unwrap();
        let mut slot = spill.append(Encoding::Protobuf, 10, b"whole").unwrap();
        slot.settled = 4;
        let whole = Whole::new(slot, 6);
        assert_eq!(whole.first(), 4);
        whole.settle(7, 3, &spill);
        assert_eq!(found(&folder), [(10, 0)]);
        whole.settle(4, 3, &spill);
        assert_eq!(found(&folder), []);
    }
}
