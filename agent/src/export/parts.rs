//! A batch on disk that is sent in parts, because it was too large for the backend.
//!
//! It stays where it is until all its parts are settled: so they need no room on a disk that may be full, and keep their
//! place in the order of the queue. Each span that is settled is noted beside the batch at once, in whatever order that
//! happens, so that the next process does not send it again.

use std::sync::{Mutex, PoisonError};

use super::store::{
    settled::Settled,
    spill::{Slot, Spill},
};

/// The whole, shared by its parts.
#[derive(Debug)]
pub(super) struct Whole {
    slot: Slot,
    /// The spans that waited at the beginning, as numbers in the batch on disk.
    waited: Box<[usize]>,
    settled: Mutex<Settled>,
}

impl Whole {
    /// A batch of which these spans need nothing any more.
    pub(super) fn new(slot: Slot, settled: Settled) -> Self {
        Self { slot, waited: settled.waiting().collect(), settled: Mutex::new(settled) }
    }

    /// Where it is.
    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// So many spans from one on need nothing any more, counted among those that waited at the beginning. May wait for the
    /// disk.
    pub(super) fn settle(&self, from: usize, spans: usize, spill: &Spill) {
        // Held until it is noted, so that nothing is noted that was true before.
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = settled.settle(self.waited.iter().copied().skip(from).take(spans));
        if settled.waiting().next().is_none() {
            spill.done(self.slot, false);
        } else if !changed.is_empty() {
            spill.settle(self.slot, &settled, changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{client::Encoding, testing::Folder};

    const LIMIT: u64 = 1 << 20;

    /// What a process finds that comes now, without the lock of the one that is there: of each batch the spans that wait.
    fn found(folder: &Folder) -> Vec<Vec<usize>> {
        let copy = Folder::new("parts-copy");
        std::fs::create_dir_all(copy.path("q")).unwrap();
        for name in folder.names() {
            std::fs::copy(folder.path(&name), copy.path(&name)).unwrap();
        }
        let (spill, found) = Spill::open(&copy.path("q"), LIMIT).unwrap();
        assert_eq!(found.damaged, 0);
        let waiting = |slot| spill.read(slot).unwrap().settled.waiting().collect::<Vec<_>>();
        let found = found.batches.iter().map(|batch| (batch.spans, waiting(batch.slot)));
        found.map(|(spans, waiting)| (spans == waiting.len()).then_some(waiting).unwrap()).collect()
    }

    /// All orders of so many parts.
    fn orders(parts: usize) -> Vec<Vec<usize>> {
        if parts == 0 {
            return vec![Vec::new()];
        }
        let with_last = |order: Vec<usize>| {
            (0..parts).map(move |at| {
                let mut order = order.clone();
                order.insert(at, parts - 1);
                order
            })
        };
        orders(parts - 1).into_iter().flat_map(with_last).collect()
    }

    /// Parts of a batch of 20 spans: where they begin, and how many spans they have.
    const PARTS: [(usize, usize); 4] = [(0, 3), (3, 6), (9, 1), (10, 10)];

    #[test]
    fn in_every_order_exactly_what_is_not_settled_is_found() {
        for order in orders(PARTS.len()) {
            let folder = Folder::new("parts");
            let (spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
            spill.append(Encoding::Protobuf, 9, b"before").unwrap();
            let slot = spill.append(Encoding::Protobuf, 20, b"whole").unwrap();
            spill.append(Encoding::Protobuf, 1, b"next").unwrap();
            let whole = Whole::new(slot, Settled::none(20));
            let mut waiting: Vec<_> = (0..20).collect();
            for part in &order {
                let (from, spans) = PARTS[*part];
                whole.settle(from, spans, &spill);
                waiting.retain(|span| !(from..from + spans).contains(span));
                let mut all = vec![(0..9).collect(), waiting.clone(), vec![0]];
                all.retain(|waiting: &Vec<_>| !waiting.is_empty());
                assert_eq!(found(&folder), all, "{order:?}");
            }
        }
    }

    /// Killed behind any write: the next process goes on with what is left, cuts it in other places, and is killed, too.
    #[test]
    fn who_is_killed_between_any_two_writes_sends_nothing_twice() {
        for order in orders(PARTS.len()) {
            for kills in 0..1 << order.len() {
                let folder = Folder::new("parts-kill");
                let (mut spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
                let slot = spill.append(Encoding::Protobuf, 20, b"whole").unwrap();
                let mut whole = Whole::new(slot, Settled::none(20));
                // Of the process that runs: the spans that it found, by their numbers in the batch.
                let (mut here, mut sent): (Vec<_>, Vec<_>) = ((0..20).collect(), Vec::new());
                for (step, part) in order.iter().enumerate() {
                    let (from, spans) = PARTS[*part];
                    // What waits of this part stands side by side in what was found.
                    let mine: Vec<_> =
                        (0..here.len()).filter(|at| (from..from + spans).contains(&here[*at])).collect();
                    assert_eq!(mine.len(), spans);
                    sent.extend(mine.iter().map(|at| here[*at]));
                    whole.settle(mine[0], spans, &spill);
                    if kills >> step & 1 == 0 || step + 1 == order.len() {
                        continue;
                    }
                    spill.kill();
                    let (opened, found) = Spill::open(&folder.path("q"), LIMIT).unwrap();
                    let [batch] = found.batches[..] else { panic!("{:?}", found.batches) };
                    let settled = opened.read(batch.slot).unwrap().settled;
                    here = settled.waiting().collect();
                    whole = Whole::new(batch.slot, settled);
                    spill = opened;
                }
                spill.kill();
                sent.sort_unstable();
                assert_eq!(sent, (0..20).collect::<Vec<_>>());
                assert!(Spill::open(&folder.path("q"), LIMIT).unwrap().1.batches.is_empty());
            }
        }
    }

    #[test]
    fn what_comes_twice_or_is_too_much_changes_nothing() {
        let folder = Folder::new("parts-twice");
        let (spill, _) = Spill::open(&folder.path("q"), LIMIT).unwrap();
        let whole = Whole::new(spill.append(Encoding::Protobuf, 10, b"whole").unwrap(), Settled::none(10));
        whole.settle(8, 7, &spill);
        whole.settle(8, 2, &spill);
        whole.settle(20, 2, &spill);
        whole.settle(3, 0, &spill);
        assert_eq!(found(&folder), [(0..8).collect::<Vec<_>>()]);
    }
}
