//! What is dropped when the queue on disk is full.

use std::fs;

use config::{Policy, Store};

use super::{
    tests::{Rig, one},
    *,
};
use crate::export::testing::{Answer, Backend, Folder, Wire};

/// Somebody removes the files of the queue while the backend is gone, and puts something in the way: what would be on disk
/// for the next start is not, and is counted so; the dead letters have it if there are any.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_on_disk_is_not_said_to_be_there() {
    for letters in [false, true] {
        let folder = Folder::new("disk-removed");
        let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
        let dead = || Store { folder: folder.path("dead"), max_bytes: 1 << 20 };
        let rig = Rig::start(&Config {
            destinations: vec![one(&backend, |destination| {
                destination.batch.spans = 10;
                destination.requests_in_flight = 2;
            })],
            spill: Some(Store { folder: folder.path("q"), max_bytes: 1 << 20 }),
            dead_letters: letters.then(dead),
            ..Config::default()
        });
        rig.send(50);
        rig.settled().await;
        backend.wait_for(2).await;
        fs::remove_dir_all(folder.path("q")).unwrap();
        folder.file("q", "in the way");
        let Farewell { spilled, lost, saved, total, .. } =
            rig.pipeline.shutdown(Duration::from_millis(100)).await.remove(0);
        assert_eq!((spilled, lost, saved), if letters { (0, 0, 50) } else { (0, 50, 0) });
        assert_eq!(total.dropped, [(Cause::SpillDamaged, 50)]);
    }
}

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
