//! What is claimed is settled, once, and the ledger closes.

use proptest::prelude::*;

use super::*;

fn sums(stats: &Stats) -> (u64, u64, i64) {
    use std::sync::atomic::Ordering::Relaxed;
    let dropped = Cause::ALL.iter().map(|cause| stats.dropped(*cause)).sum();
    (stats.exported.load(Relaxed), dropped, stats.open.load(Relaxed))
}

#[test]
fn what_is_on_disk_takes_no_room_and_is_spilled_at_the_end() {
    let stats = seen(8);
    let room = Room::new(5, 100, Arc::clone(&stats));
    let mut first = room.admit(true, [10; 5].into_iter()).unwrap();
    first.store();
    assert_eq!(room.held(), Held { spans: 0, bytes: 0, stored: 5 });
    let second = room.admit(true, [10; 3].into_iter()).unwrap();
    first.split(2, 0).settle(Fate::Exported);
    let earlier = room.recover(4);
    earlier.settle(Fate::Exported);
    assert_eq!(room.abandon(), Left { lost: 3, stored: 3 });
    drop((first, second));
    assert_eq!((stats.dropped(Cause::Shutdown), stats.dropped(Cause::Spilled)), (3, 3));
    assert_eq!(sums(&stats), (2, 6, 0));
    assert_eq!((room.account().exported(), room.account().recovered()), (6, 4));
}

#[test]
fn guests_are_in_the_account_but_not_in_the_ledger() {
    let stats = seen(3);
    let room = Room::new(50, 1000, Arc::clone(&stats));
    let mut claim = room.admit(true, [1; 3].into_iter()).unwrap();
    claim.merge(room.admit(false, [1; 2].into_iter()).unwrap());
    claim.split(4, 4).settle(Fate::Saved(Cause::ExportRefused));
    claim.settle(Fate::Exported);
    assert_eq!(sums(&stats), (0, 3, 0));
    let account = room.account();
    assert_eq!((account.exported(), account.dropped(Cause::ExportRefused), account.saved()), (1, 4, 4));
}

fn seen(n: usize) -> Arc<Stats> {
    let stats = Arc::new(Stats::default());
    (0..n).for_each(|_| stats.saw());
    stats
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let stats = seen(16);
    let room = Room::new(5, 100, Arc::clone(&stats));
    let three = room.admit(true, [10; 3].into_iter()).unwrap();
    let two = room.admit(true, [10; 4].into_iter()).unwrap();
    assert_eq!((three.spans(), two.spans()), (3, 2));
    assert!(room.admit(true, [1].into_iter()).is_none());
    assert_eq!(stats.dropped(Cause::QueueFull), 3);
    three.settle(Fate::Exported);
    let bytes = room.admit(true, [40, 40, 1].into_iter()).unwrap();
    assert_eq!(bytes.spans(), 2);
    assert_eq!(stats.dropped(Cause::QueueFull), 4);
    bytes.settle(Fate::Dropped(Cause::ExportFailed));
    drop(two);
    assert_eq!(stats.dropped(Cause::Shutdown), 2);
    let huge = room.admit(true, [1000, 1].into_iter()).unwrap();
    assert_eq!(huge.spans(), 1);
    huge.settle(Fate::Exported);
    assert_eq!((room.held().spans, room.held().bytes), (0, 0));
    assert_eq!(sums(&stats), (4, 9, 3));
}

#[test]
fn a_closed_room_counts_what_is_offered_as_lost_at_shutdown() {
    let stats = seen(7);
    let room = Room::new(10, 100, Arc::clone(&stats));
    let mut claim = room.admit(true, [1; 4].into_iter()).unwrap();
    room.close();
    assert!(room.admit(true, [1; 3].into_iter()).is_none());
    claim.split(1, 1).settle(Fate::Exported);
    assert_eq!(room.abandon(), Left { lost: 3, stored: 0 });
    claim.settle(Fate::Exported);
    assert_eq!(stats.dropped(Cause::Shutdown), 6);
    assert_eq!(sums(&stats), (1, 6, 0));
}

proptest! {
    /// Whatever is done with claims, each span is settled once.
    #[test]
    fn the_ledger_closes(steps in proptest::collection::vec((0..7_u8, 0..9_usize), 0..64)) {
        let stats = Arc::new(Stats::default());
        let room = Room::new(20, 200, Arc::clone(&stats));
        let mut claims: Vec<Claim> = Vec::new();
        let mut total = 0;
        for (step, n) in steps {
            match step {
                0 | 1 => {
                    let own = n % 2 == 0;
                    (0..n).filter(|_| own).for_each(|_| stats.saw());
                    total += if own { n as u64 } else { 0 };
                    claims.extend(room.admit(own, vec![n * 7; n].into_iter()));
                }
                2 => {
                    let part = claims.last_mut().map(|claim| claim.split(n, n));
                    claims.extend(part);
                }
                3 => if let (Some(a), Some(b)) = (claims.pop(), claims.first_mut())
                    && a.is_stored() == b.is_stored()
                {
                    b.merge(a);
                },
                4 => if let Some(claim) = claims.last_mut() { claim.resize(n) },
                5 => if let Some(claim) = claims.last_mut() { claim.store() },
                _ => if let Some(claim) = claims.pop() { claim.settle(Fate::Exported) },
            }
        }
        let held = claims.iter().map(Claim::spans).sum::<usize>();
        prop_assert_eq!(room.held().spans + room.held().stored, held);
        drop(claims);
        let (exported, dropped, open) = sums(&stats);
        prop_assert_eq!((exported + dropped, open), (total, 0));
        prop_assert_eq!(room.held(), Held::default());
    }
}

#[test]
fn rooms_together_hold_no_more_than_they_may() {
    let (stats, budget) = (seen(40), Budget::new(1000));
    let room = || Room::continuing(50, 900, budget.share(), Arc::clone(&stats), Arc::default());
    let (full, healthy) = (room(), room());
    // 250 bytes are kept for the other.
    let first = full.admit(true, [100; 20].into_iter()).unwrap();
    assert_eq!((first.spans(), stats.dropped(Cause::MemoryFull)), (7, 13));
    assert_eq!(full.lacks([100].into_iter()), Some(Cause::MemoryFull));
    assert!(full.fill() > 0.9);
    let second = healthy.admit(true, [100; 4].into_iter()).unwrap();
    assert_eq!((second.spans(), stats.dropped(Cause::MemoryFull)), (3, 14));
    // Its own bound is another cause.
    drop(second);
    first.settle(Fate::Exported);
    let third = full.admit(true, [100; 10].into_iter());
    assert_eq!(full.held().bytes, 700);
    drop(third);
    drop(healthy);
    let fourth = full.admit(true, [100; 6].into_iter());
    assert_eq!((full.held().bytes, full.lacks([400].into_iter())), (600, Some(Cause::QueueFull)));
    // What was given up is there for others, whoever still has a claim on it.
    full.abandon();
    assert_eq!(room().lacks([900].into_iter()), None);
    drop(fourth);
}
