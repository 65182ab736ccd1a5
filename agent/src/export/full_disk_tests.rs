//! What is dropped when the queue on disk is full.

use std::fs;

use config::{Policy, Store};

use super::{
    tests::{Rig, one},
    *,
};
use crate::export::testing::{Answer, Backend, Folder, Wire};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_on_disk_drops_by_the_policy() {
    let folder = Folder::new("disk-full");
    let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    for policy in [Policy::Newest, Policy::Oldest] {
        let rig = Rig::start(&Config {
            destinations: vec![one(&backend, |destination| {
                destination.policy = policy;
                destination.batch.spans = 50;
                destination.requests_in_flight = 1;
            })],
            spill: Some(Store { folder: folder.path(format!("{policy:?}")), max_bytes: 200_000 }),
            ..Config::default()
        });
        for n in 0..20 {
            rig.send_from(n * 50, 50);
            rig.settled().await;
        }
        let watched = rig.pipeline.watch().remove(0);
        let spill = watched.spill.clone().unwrap();
        let full = rig.stats.dropped(Cause::QueueFull);
        assert!(spill.bytes() <= 200_000 && (300..900).contains(&full), "{policy:?} {full}");
        rig.end(Duration::from_millis(100)).await;
        drop((spill, watched));
        // What is left on disk: the beginning, or the end.
        let names = folder.names().into_iter().filter(|name| name.starts_with(&format!("{policy:?}")));
        let bytes: Vec<u8> = names.flat_map(|name| fs::read(folder.path(name)).unwrap()).collect();
        let last = 999_u64.to_be_bytes();
        let has_last = bytes.windows(8).any(|window| window == (999_u64 + 1).to_be_bytes());
        assert_eq!(has_last, policy == Policy::Oldest, "{policy:?} {last:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_on_disk_that_fills_keeps_whole_traces() {
    let folder = Folder::new("disk-traces");
    let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    let rig = Rig::start(&Config {
        destinations: vec![one(&backend, |destination| {
            destination.policy = Policy::Traces;
            destination.batch.spans = 50;
            destination.requests_in_flight = 1;
        })],
        spill: Some(Store { folder: folder.path("spill"), max_bytes: 200_000 }),
        ..Config::default()
    });
    let mut kept = Vec::new();
    for n in 0..20 {
        let before = rig.stats.dropped(Cause::QueueFull);
        rig.send_from(n * 50, 50);
        rig.settled().await;
        kept.push(50 - (rig.stats.dropped(Cause::QueueFull) - before));
    }
    // All up to half of it, then fewer and fewer, and never none at once.
    let [first @ .., last] = &kept[..] else { panic!("{kept:?}") };
    assert!(first.first() == Some(&50) && *last < 25, "{kept:?}");
    let spill = rig.pipeline.watch().remove(0).spill.unwrap();
    assert!((150_000..200_000).contains(&spill.bytes()), "{} {kept:?}", spill.bytes());
    assert!(kept.iter().filter(|kept| (1..50).contains(*kept)).count() > 5, "{kept:?}");
    rig.end(Duration::from_millis(100)).await;
}
