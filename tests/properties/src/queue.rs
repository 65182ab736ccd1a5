//! A destination's bounds: whatever is taken in, cut, stored and settled in whatever order, the queue stays below its
//! caps, and every span is counted once.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use spandrel::{
    export::{
        budget::Budget,
        room::{Claim, Fate, Held, Room},
    },
    stats::{Drop as Cause, Stats},
};

/// Steps of one run: enough to fill and empty the largest room several times.
const STEPS: usize = 96;

/// Any bytes as what happens to a queue: the first two are its bounds, then two a step.
pub fn queue(data: &[u8]) {
    let [spans, bytes, steps @ ..] = data else { return };
    let (max_spans, max_bytes) = (usize::from(*spans) % 24 + 1, usize::from(*bytes) * 4 + 1);
    let stats = Arc::<Stats>::default();
    let share = Budget::new(usize::MAX).share();
    let room = Room::continuing(max_spans, max_bytes, share, Arc::clone(&stats), Arc::default());
    let mut claims: Vec<Claim> = Vec::new();
    let (mut own, mut wanted) = (0, 0);
    for step in steps.chunks_exact(2).take(STEPS) {
        let [what, n] = *step else { return };
        let (n, at) = (usize::from(n), usize::from(what >> 4));
        match what & 15 {
            0..=4 => {
                let (spans, mine) = (n % 9, n & 1 == 0);
                let before = room.held();
                (0..spans).filter(|_| mine).for_each(|_| stats.saw());
                own += if mine { spans as u64 } else { 0 };
                wanted += spans as u64;
                let claim = room.admit(mine, vec![n * 3; spans].into_iter());
                let now = room.held();
                assert!(now.spans <= max_spans.max(before.spans), "{now:?} in a room for {max_spans}");
                // One span alone is taken whatever its size is, or it could never be sent.
                let alone = before.spans == 0 && now.spans == 1;
                assert!(alone || now.bytes <= max_bytes.max(before.bytes), "{now:?} of {max_bytes}");
                claims.extend(claim);
            }
            5 => {
                let part = claims.get_mut(at).map(|claim| claim.split(n % 5, n));
                claims.extend(part);
            }
            6 => {
                if let (Some(other), Some(first)) = (claims.pop(), claims.first_mut()) {
                    if other.is_stored() == first.is_stored() {
                        first.merge(other);
                    } else {
                        other.settle(Fate::Dropped(Cause::ExportFailed));
                    }
                }
            }
            // What is encoded and compressed is smaller than it was.
            7 => claims.iter_mut().filter(|claim| !claim.is_stored()).for_each(|claim| claim.resize(n % 8)),
            8 => claims.iter_mut().skip(at).for_each(Claim::store),
            9 => claims
                .iter_mut()
                .take(at)
                .filter(|claim| claim.is_stored())
                .for_each(|claim| claim.load(n % 8)),
            10 => claims.extend((n < 64).then(|| {
                wanted += 3;
                room.recover(3)
            })),
            11 => {
                room.refuse(n & 1 == 0, n % 3, Cause::QueueFull);
                (0..n % 3).filter(|_| n & 1 == 0).for_each(|_| stats.saw());
                own += if n & 1 == 0 { (n % 3) as u64 } else { 0 };
                wanted += (n % 3) as u64;
            }
            12 => drop(claims.pop()),
            13 if n < 8 => room.close(),
            _ => {
                if at < claims.len() {
                    let fates =
                        [Fate::Exported, Fate::Saved(Cause::TooLarge), Fate::Dropped(Cause::Rejected)];
                    if let Some(fate) = fates.get(n % 3) {
                        claims.swap_remove(at).settle(*fate);
                    }
                }
            }
        }
        let held: usize = claims.iter().map(Claim::spans).sum();
        assert_eq!(room.held().spans + room.held().stored, held, "spans without a claim, or twice");
    }
    // The end, with or without a deadline that was missed.
    if data.len().is_multiple_of(2) {
        let held = room.held();
        let left = room.abandon();
        assert_eq!((left.lost, left.stored), (held.spans, held.stored));
    }
    drop(claims);
    assert_eq!(room.held(), Held::default());
    let all = |count: &dyn Fn(Cause) -> u64| Cause::ALL.iter().map(|cause| count(*cause)).sum::<u64>();
    let ledger = stats.exported.load(Relaxed) + all(&|cause| stats.dropped(cause));
    assert_eq!((ledger, stats.open.load(Relaxed)), (own, 0), "the ledger does not close");
    let account = room.account();
    assert_eq!(account.exported() + all(&|cause| account.dropped(cause)), wanted, "the account does not");
}
