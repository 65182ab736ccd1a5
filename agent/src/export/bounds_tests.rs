//! The whole pipeline with any bounds, any policy and a backend that answers anyhow: it never holds more than it may,
//! and every span is exported or counted by its cause, once.

use std::collections::HashSet;

use config::{Policy, Store};
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::runtime::Runtime;

use super::{
    tests::{LONG, Rig, one},
    *,
};
use crate::export::testing::{Answer, Backend, Folder, Wire};

/// An answer that needs no waiting: those that do are tested each by itself.
fn answer(number: u8) -> Answer {
    match number {
        0..4 => Answer::http(200),
        4 => Answer::http(200).with_rejected(1, "one is odd"),
        5 => Answer::http(413),
        6 => Answer::http(400),
        _ => Answer::http(401),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn never_above_the_bounds_and_nothing_lost_unseen(
        sends in vec(1..60_u64, 1..16),
        answers in vec(0..8_u8, 0..24),
        (max_spans, max_bytes) in (1..400_usize, 1..200_000_usize),
        (batch_spans, in_flight) in (1..40_usize, 1..5_usize),
        policy in select(&[Policy::Newest, Policy::Oldest, Policy::Traces][..]),
        on_disk in any::<bool>(),
    ) {
        let folder = Folder::new("bounds");
        let runtime = Runtime::new().unwrap();
        let (accepted, exported, total, dropped) = runtime.block_on(async {
            let mut script = answers.into_iter();
            let backend = Backend::start(Wire::Http, move |_| answer(script.next().unwrap_or(0))).await;
            let destination = one(&backend, |destination| {
                destination.queue = config::Queue { spans: max_spans, bytes: max_bytes };
                destination.batch.spans = batch_spans;
                destination.requests_in_flight = in_flight;
                destination.policy = policy;
            });
            let spill = on_disk.then(|| Store { folder: folder.path("q"), max_bytes: 1 << 16 });
            let rig = Rig::start(&Config { destinations: vec![destination], spill, ..Config::default() });
            let room = Arc::clone(&rig.pipeline.watch()[0].room);
            let mut total = 0;
            for spans in sends {
                rig.send_from(total, spans);
                total += spans;
                let held = room.held();
                assert!(held.spans <= max_spans, "{held:?} of {max_spans}");
                // One span alone is always taken, and what is read from disk to be sent takes memory again.
                let on_its_way = if on_disk { in_flight * (1 << 16) } else { 0 };
                assert!(held.spans == 1 || held.bytes <= max_bytes + on_its_way, "{held:?} of {max_bytes}");
            }
            let (exported, dropped) = rig.end(LONG).await;
            (backend.accepted(), exported, total, dropped)
        });
        let lost: u64 = dropped.iter().map(|(_, spans)| *spans).sum();
        prop_assert_eq!(exported + lost, total);
        let unique: HashSet<_> = accepted.iter().collect();
        prop_assert_eq!(unique.len(), accepted.len());
        let rejected = dropped.iter().find(|(cause, _)| *cause == Cause::Rejected).map_or(0, |(_, n)| *n);
        prop_assert_eq!(exported + rejected, accepted.len() as u64);
        prop_assert!(dropped.iter().all(|(cause, _)| *cause != Cause::Shutdown), "{:?}", dropped);
    }
}
