//! A disk that does not answer while spans come: nobody waits for it, and when it answers nothing is lost or sent twice.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use config::{Policy, Store};

use super::{
    tests::{LONG, Rig, one},
    *,
};
use crate::export::{
    disk_queue::DiskQueue,
    testing::{self, Answer, Backend, Folder, Wire},
};

fn store(folder: &Folder) -> Store {
    Store { folder: folder.path("q"), max_bytes: 1 << 20 }
}

fn disk(rig: &Rig, number: usize) -> DiskQueue {
    let route = rig.pipeline.routes().nth(number).unwrap();
    route.destination.as_ref().unwrap().disk.clone().unwrap()
}

fn assert_once(backend: &Backend, spans: usize) {
    let mut ids = backend.accepted();
    assert_eq!(ids.len(), spans);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), spans);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_meanwhile_is_sent_from_memory() {
    let folder = Folder::new("disk-hangs");
    let backends = [
        Backend::start(Wire::Http, |_| Answer::http(200)).await,
        Backend::start(Wire::Http, |_| Answer::http(200)).await,
    ];
    let rig = Rig::start(&Config {
        destinations: backends
            .iter()
            .zip(["a", "b"])
            .map(|(backend, name)| one(backend, |one| one.name = name.into()))
            .collect(),
        spill: Some(store(&folder)),
        ..Config::default()
    });
    rig.send(10);
    for backend in &backends {
        backend.wait_until(10).await;
    }
    let disks = [disk(&rig, 0), disk(&rig, 1)];
    let hangs = disks.each_ref().map(DiskQueue::hang);
    for n in 1..4 {
        rig.send_from(n * 10, 10);
        for backend in &backends {
            backend.wait_until((n as usize + 1) * 10).await;
        }
    }
    let watched = rig.pipeline.watch();
    let errors = watched.iter().map(|one| one.counters.as_ref().unwrap().spill_errors.load(Relaxed));
    assert_eq!(errors.collect::<Vec<_>>(), [3, 3]);
    // It answers again, and is used again.
    drop(hangs);
    for disk in &disks {
        disk.caught_up().await;
    }
    rig.send_from(40, 10);
    for backend in &backends {
        backend.wait_until(50).await;
    }
    assert_eq!(watched[0].counters.as_ref().unwrap().spill_errors.load(Relaxed), 3);
    assert_eq!(rig.end(LONG).await, (50, vec![]));
    for backend in &backends {
        assert_once(backend, 50);
    }
    drop((watched, disks));
    assert_eq!(folder.names(), Vec::<String>::new());
}

/// Batches on the disk wait for it; those behind them do not.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_it_waits_and_holds_up_nothing() {
    let folder = Folder::new("disk-hangs-with");
    let gone = Arc::new(AtomicBool::new(true));
    let backend = {
        let gone = Arc::clone(&gone);
        Backend::start(
            Wire::Http,
            move |_| if gone.load(Relaxed) { Answer::http(503) } else { Answer::http(200) },
        )
        .await
    };
    let rig = Rig::start(&Config {
        destinations: vec![one(&backend, |destination| {
            destination.batch.spans = 10;
            destination.requests_in_flight = 2;
        })],
        spill: Some(store(&folder)),
        ..Config::default()
    });
    rig.send(100);
    rig.settled().await;
    // Two batches are read from it, eight wait.
    let read = || backend.received().iter().flat_map(testing::Received::ids).collect::<HashSet<_>>();
    while read().len() < 20 {
        tokio::task::yield_now().await;
    }
    let disk = disk(&rig, 0);
    let hangs = disk.hang();
    gone.store(false, Relaxed);
    rig.send_from(100, 50);
    backend.wait_until(70).await;
    rig.settled().await;
    let watched = rig.pipeline.watch().remove(0);
    let queue = watched.queue.as_ref().unwrap();
    while watched.room.held().spans > 0 || queue.glance().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((watched.room.held().stored, queue.glance().waiting), (80, 8));
    drop(hangs);
    backend.wait_until(150).await;
    assert_eq!(rig.end(LONG).await, (150, vec![]));
    assert_once(&backend, 150);
    drop((watched, disk));
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_does_not_wait_for_it() {
    let folder = Folder::new("disk-hangs-end");
    let backend = Backend::start(Wire::Http, |_| Answer::http(503)).await;
    let rig = Rig::start(&Config {
        destinations: vec![one(&backend, |destination| destination.batch.spans = 10)],
        spill: Some(store(&folder)),
        ..Config::default()
    });
    rig.send(50);
    rig.settled().await;
    rig.refused().await;
    let disk = disk(&rig, 0);
    let hangs = disk.hang();
    rig.send_from(50, 10);
    rig.settled().await;
    let begun = Instant::now();
    let (exported, dropped) = rig.end(Duration::from_millis(200)).await;
    assert_eq!((exported, dropped), (0, vec![(Cause::Spilled, 50), (Cause::Shutdown, 10)]));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(disk);
    drop(hangs);
}

/// While it hangs the queue in memory has its own bounds, and the policy is what it is.
#[tokio::test(flavor = "multi_thread")]
async fn memory_has_its_bounds_and_its_policy() {
    for policy in [Policy::Newest, Policy::Oldest] {
        let folder = Folder::new("disk-hangs-full");
        let backend = Backend::start(Wire::Http, |_| Answer::never()).await;
        let rig = Rig::start(&Config {
            destinations: vec![one(&backend, |destination| {
                destination.batch.spans = 10;
                destination.requests_in_flight = 1;
                destination.queue.spans = 40;
                destination.policy = policy;
            })],
            spill: Some(store(&folder)),
            ..Config::default()
        });
        let hangs = disk(&rig, 0).hang();
        for n in 0..10 {
            rig.send_from(n * 10, 10);
            rig.settled().await;
        }
        let held = rig.pipeline.watch().remove(0).room.held();
        assert_eq!((held.spans, held.stored), (40, 0));
        assert_eq!(rig.stats.dropped(Cause::QueueFull), 60);
        let first = rig.pipeline.routes().next().unwrap().destination.clone().unwrap();
        let waiting = first.queue.glance().waiting;
        assert_eq!(waiting, 3, "{policy:?}");
        drop((first, hangs));
        rig.end(Duration::from_millis(50)).await;
    }
}

/// Letters on it are lost, and counted; what can be delivered is.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_hold_up_nothing() {
    let folder = Folder::new("disk-hangs-dead");
    let mut requests = 0;
    let backend = Backend::start(Wire::Http, move |_| {
        requests += 1;
        Answer::http(if requests <= 2 { 400 } else { 200 })
    })
    .await;
    let rig = Rig::start(&Config {
        destinations: vec![one(&backend, |destination| {
            destination.batch.spans = 10;
            destination.requests_in_flight = 1;
        })],
        dead_letters: Some(Store { folder: folder.path("dead"), max_bytes: 1 << 20 }),
        ..Config::default()
    });
    let first = rig.pipeline.routes().next().unwrap().destination.clone().unwrap();
    let hangs = first.letters.as_ref().unwrap().hang();
    rig.send(50);
    backend.wait_until(30).await;
    drop(hangs);
    let dead = Arc::clone(first.dead().unwrap());
    drop(first);
    assert_eq!(rig.end(LONG).await, (30, vec![(Cause::ExportRefused, 20)]));
    assert_eq!(dead.lost(), 20);
}
