//! The whole pipeline against a scripted backend: whatever happens, the ledger closes and every span is in the
//! right column.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use config::Destination;
use tokio::net::TcpListener;

use super::*;
use crate::export::{
    report::Ledger,
    testing::{self, Answer, Backend, Wire},
};

pub(in crate::export) const SOON: Duration = Duration::from_millis(20);
pub(in crate::export) const LONG: Duration = Duration::from_secs(20);

pub(in crate::export) fn one(backend: &Backend, edit: impl FnOnce(&mut Destination)) -> Destination {
    let mut destination = backend.destination();
    destination.batch.delay = SOON;
    edit(&mut destination);
    destination
}

pub(in crate::export) struct Rig {
    pub(in crate::export) stats: Arc<Stats>,
    pub(in crate::export) sender: Sender,
    pub(in crate::export) pipeline: Pipeline,
}

impl Rig {
    pub(in crate::export) fn start(config: &Config) -> Self {
        let stats = Arc::<Stats>::default();
        let (sender, pipeline) = start(config, Arc::clone(&stats), &Handle::current()).unwrap();
        Self { stats, sender, pipeline }
    }

    pub(in crate::export) fn to(backend: &Backend, edit: impl FnOnce(&mut Destination)) -> Self {
        Self::start(&Config { destinations: vec![one(backend, edit)], ..Config::default() })
    }

    pub(in crate::export) fn send(&self, spans: u64) {
        self.send_from(0, spans);
    }

    /// Spans with the ids that follow `first`.
    pub(in crate::export) fn send_from(&self, first: u64, spans: u64) {
        (0..spans).for_each(|_| self.stats.saw());
        self.sender.try_send(testing::spans(first + spans).split_off(first as usize));
    }

    /// Waits until every span that was sent is in a batch, or settled.
    pub(in crate::export) async fn settled(&self) {
        for route in self.pipeline.routes() {
            let (done, waits) = oneshot::channel();
            route.to.send(Message::Flush(done)).unwrap();
            waits.await.unwrap();
        }
    }

    /// The same for one destination.
    async fn settled_at(&self, number: usize) {
        let (done, waits) = oneshot::channel();
        self.pipeline.routes().nth(number).unwrap().to.send(Message::Flush(done)).unwrap();
        waits.await.unwrap();
        tokio::task::yield_now().await;
    }

    /// Waits until a request has failed.
    pub(in crate::export) async fn refused(&self) {
        let counters = self.pipeline.watch().remove(0).counters.unwrap();
        while counters.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    /// Exported and dropped by cause, after a flush.
    pub(in crate::export) async fn end(self, limit: Duration) -> (u64, Vec<(Cause, u64)>) {
        let folder = |one: &Watched| one.spill.as_ref().map(|spill| spill.folder().to_owned());
        let folders: Vec<_> = self.pipeline.watch().iter().filter_map(folder).collect();
        self.pipeline.shutdown(limit).await;
        drop(self.sender);
        // A process that ends lets go of its files; threads of this one may need a moment, or hang by intention.
        for _ in 0..500 {
            if !folders.iter().any(|folder| in_use(folder)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ledger = Ledger::read(&self.stats);
        assert!(ledger.closes(), "{ledger:?}");
        assert_eq!(ledger.open, 0, "{ledger:?}");
        let dropped = Cause::ALL.iter().map(|cause| (*cause, self.stats.dropped(*cause)));
        (ledger.exported, dropped.filter(|(_, n)| *n > 0).collect())
    }
}

/// Whether somebody holds a file of a queue on disk.
fn in_use(folder: &Path) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| File::open(file.path()).ok())
        .any(|file| rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_sent_arrives_once() {
    for wire in [Wire::Http, Wire::Grpc] {
        let backend = Backend::start(wire, move |_| Answer::ok(wire)).await;
        let rig = Rig::to(&backend, |_| ());
        for n in [1, 511, 512, 513, 2000] {
            rig.send(n);
        }
        assert_eq!(rig.end(LONG).await, (3537, vec![]));
        assert_eq!(backend.spans(), 3537);
        let sizes: Vec<usize> = backend.received().iter().map(testing::Received::spans).collect();
        assert!(sizes.iter().all(|spans| *spans <= 512), "{sizes:?}");
        assert!(sizes.len() <= 8, "{sizes:?}");
        if wire == Wire::Grpc {
            assert_eq!(backend.connections(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_sent_when_its_time_has_come() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
    let rig = Rig::to(&backend, |_| ());
    rig.send(3);
    backend.wait_for(1).await;
    rig.send(4);
    backend.wait_for(2).await;
    assert_eq!(backend.spans(), 7);
    assert_eq!(rig.end(LONG).await, (7, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_bounded_in_bytes() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
    let rig = Rig::to(&backend, |config| config.batch.bytes = 4_000);
    rig.send(40);
    assert_eq!(rig.end(LONG).await, (40, vec![]));
    let received = backend.received();
    assert!(received.iter().all(|request| request.message.len() <= 4_000));
    assert_eq!(received.iter().map(testing::Received::spans).max(), Some(6));
    // A span that is larger alone is still sent.
    let rig = Rig::to(&backend, |config| config.batch.bytes = 1);
    rig.send(3);
    assert_eq!(rig.end(LONG).await, (3, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_backend_gets_it_again() {
    for wire in [Wire::Http, Wire::Grpc] {
        let mut tries = 0;
        let backend = Backend::start(wire, move |_| {
            tries += 1;
            if tries < 3 { Answer::busy(wire) } else { Answer::ok(wire) }
        })
        .await;
        let rig = Rig::to(&backend, |_| ());
        rig.send(5);
        let counters = rig.pipeline.watch().remove(0).counters.unwrap();
        assert_eq!(rig.end(LONG).await, (5, vec![]));
        let received = backend.received();
        assert_eq!(received.len(), 3);
        assert!(received.windows(2).all(|pair| pair[0].message == pair[1].message));
        assert_eq!(counters.retries.load(Relaxed), 2);
        assert_eq!(counters.requests().iter().map(|(_, n)| n).sum::<u64>(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_sent_again() {
    for wire in [Wire::Http, Wire::Grpc] {
        let mut tries = 0;
        let backend = Backend::start(wire, move |_| {
            tries += 1;
            if tries == 1 { Answer::bad(wire) } else { Answer::ok(wire) }
        })
        .await;
        let rig = Rig::to(&backend, |_| ());
        rig.send(5);
        backend.wait_for(1).await;
        rig.send(2);
        assert_eq!(rig.end(LONG).await, (2, vec![(Cause::ExportRefused, 5)]));
        assert_eq!(backend.received().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_success_is_counted_and_not_sent_again() {
    for wire in [Wire::Http, Wire::Grpc] {
        for (said, rejected) in [(2, 2), (0, 0), (-1, 0), (99, 5)] {
            let backend = Backend::start(wire, move |_| Answer::ok(wire).with_rejected(said, "no")).await;
            let rig = Rig::to(&backend, |_| ());
            rig.send(5);
            let dropped = if rejected > 0 { vec![(Cause::Rejected, rejected)] } else { vec![] };
            assert_eq!(rig.end(LONG).await, (5 - rejected, dropped));
            assert_eq!(backend.received().len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_used_up() {
    let backend = Backend::start(Wire::Http, |_| Answer::http(503)).await;
    let rig = Rig::to(&backend, |config| config.export_timeout = Duration::from_millis(700));
    rig.send(5);
    assert_eq!(rig.end(LONG).await, (0, vec![(Cause::ExportFailed, 5)]));
    assert!(backend.received().len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_does_not_count_against_the_limit() {
    let mut first = true;
    let backend = Backend::start(Wire::Http, move |_| {
        let busy = std::mem::take(&mut first);
        if busy { Answer::http(429).with("retry-after", "1") } else { Answer::http(200) }
    })
    .await;
    let rig = Rig::to(&backend, |config| {
        config.export_timeout = Duration::from_millis(700);
        config.batch.spans = 2;
        config.requests_in_flight = 1;
    });
    rig.send(2);
    backend.wait_for(1).await;
    let start = Instant::now();
    rig.send_from(2, 2);
    assert_eq!(rig.end(LONG).await, (4, vec![]));
    assert!(start.elapsed() >= Duration::from_millis(990), "{:?}", start.elapsed());
    assert_eq!(backend.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_backend_demands_silence_spans_wait_in_the_queue() {
    let busy = |_: &_| Answer::http(429).with("retry-after", "3600");
    let backend = Backend::start(Wire::Http, busy).await;
    let rig = Rig::to(&backend, |config| {
        config.export_timeout = Duration::from_millis(700);
        config.batch.spans = 2;
        config.requests_in_flight = 2;
    });
    rig.send(2);
    backend.wait_for(1).await;
    rig.refused().await;
    rig.send_from(2, 10);
    rig.settled().await;
    let watched = rig.pipeline.watch().remove(0);
    assert_eq!(watched.room.held().spans, 12);
    assert_eq!(watched.counters.unwrap().state(), crate::export::counters::State::Silenced);
    // A silence that was demanded is kept in a shutdown, too.
    assert_eq!(rig.end(Duration::from_millis(200)).await, (0, vec![(Cause::Shutdown, 12)]));
    assert_eq!(backend.received().len(), 1);
}

/// A batch that has waited long enough for its next wait to be 2 seconds or more.
async fn one_that_waits(up: &Arc<AtomicBool>) -> (Backend, Rig) {
    let works = Arc::clone(up);
    let backend =
        Backend::start(
            Wire::Http,
            move |_| {
                if works.load(Relaxed) { Answer::http(200) } else { Answer::http(503) }
            },
        )
        .await;
    let rig = Rig::to(&backend, |_| ());
    rig.send(5);
    backend.wait_for(4).await;
    let counters = rig.pipeline.watch().remove(0).counters.unwrap();
    while counters.requests().iter().map(|(_, n)| n).sum::<u64>() < 4 {
        tokio::task::yield_now().await;
    }
    up.store(true, Relaxed);
    (backend, rig)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_waits_that_nobody_demanded() {
    let (_backend, rig) = one_that_waits(&Arc::default()).await;
    assert_eq!(rig.end(Duration::from_millis(1500)).await, (5, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_batch_s_success_ends_waits_that_nobody_demanded() {
    let (backend, rig) = one_that_waits(&Arc::default()).await;
    rig.send_from(5, 3);
    tokio::time::timeout(Duration::from_millis(1500), backend.wait_until(8)).await.unwrap();
    assert_eq!(rig.end(LONG).await, (8, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_is_kept() {
    let mut first = true;
    let backend = Backend::start(Wire::Grpc, move |_| {
        if std::mem::take(&mut first) { Answer::grpc(8).with_retry_info(1, 0) } else { Answer::grpc(0) }
    })
    .await;
    let rig = Rig::to(&backend, |_| ());
    rig.send(5);
    backend.wait_for(1).await;
    let start = Instant::now();
    backend.wait_for(2).await;
    assert!(start.elapsed() >= Duration::from_millis(990), "{:?}", start.elapsed());
    assert_eq!(rig.end(LONG).await, (5, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_goes_and_comes_back() {
    for wire in [Wire::Http, Wire::Grpc] {
        let backend = Backend::start(wire, move |_| Answer::ok(wire)).await;
        let rig = Rig::to(&backend, |_| ());
        rig.send(3);
        backend.wait_for(1).await;
        let address = backend.stop().await;
        rig.send(4);
        // One attempt fails for sure: somebody answers the call and hangs up.
        let nobody = TcpListener::bind(address).await.unwrap();
        drop(nobody.accept().await.unwrap());
        drop(nobody);
        let backend = Backend::start_at(address, wire, move |_| Answer::ok(wire)).await;
        assert_eq!(rig.end(LONG).await, (7, vec![]));
        // The first batch may have come to an end before it was answered.
        assert!(matches!(backend.spans(), 4 | 7), "{}", backend.spans());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_drops_exactly_what_does_not_fit() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    let rig = Rig::to(&backend, |config| config.queue.spans = 100);
    rig.send(60);
    rig.send(60);
    assert_eq!(rig.stats.dropped(Cause::QueueFull), 20);
    backend.wait_for(1).await;
    rig.send(10);
    assert_eq!(rig.stats.dropped(Cause::QueueFull), 30);
    let watched = rig.pipeline.watch();
    assert_eq!(watched[0].room.held().spans, 100);
    let start = Instant::now();
    let dropped = vec![(Cause::QueueFull, 30), (Cause::Shutdown, 100)];
    assert_eq!(rig.end(Duration::from_millis(100)).await, (0, dropped));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_too() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    let span = footprint(&testing::spans(1)[0]);
    let rig = Rig::to(&backend, |config| {
        config.queue.bytes = span * 10;
        config.batch.delay = LONG;
    });
    rig.send(25);
    assert_eq!(rig.stats.dropped(Cause::QueueFull), 15);
    // Encoded and compressed they take less, and there is room again.
    let room = Arc::clone(&rig.pipeline.watch()[0].room);
    let (_, dropped) = rig.end(Duration::from_millis(100)).await;
    assert_eq!(dropped, [(Cause::QueueFull, 15), (Cause::Shutdown, 10)]);
    assert_eq!(room.held().bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_bounded() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    let rig = Rig::to(&backend, |config| {
        config.batch.spans = 1;
        config.requests_in_flight = 3;
    });
    rig.send(10);
    backend.wait_for(3).await;
    let (exported, dropped) = rig.end(Duration::from_millis(100)).await;
    assert_eq!((exported, dropped), (0, vec![(Cause::Shutdown, 10)]));
    assert_eq!(backend.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_shutdown_nothing_is_taken() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
    let Rig { stats, sender, pipeline } = Rig::to(&backend, |_| ());
    (0..7).for_each(|_| stats.saw());
    sender.try_send(testing::spans(3));
    assert_eq!(pipeline.shutdown(LONG).await[0].lost, 0);
    sender.try_send(testing::spans(4));
    assert_eq!((stats.exported.load(Relaxed), stats.dropped(Cause::Shutdown)), (3, 4));
    assert!(Ledger::read(&stats).closes());
}

#[tokio::test(flavor = "multi_thread")]
async fn nowhere_to_send_is_a_cause_too() {
    let rig = Rig::start(&Config::default());
    rig.send(4);
    assert_eq!(rig.end(LONG).await, (0, vec![(Cause::NoDestination, 4)]));
}

#[test]
fn a_runtime_that_ends_loses_nothing_from_the_ledger() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
    let (rig, backend) = runtime.block_on(async {
        let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
        let rig = Rig::to(&backend, |config| config.batch.spans = 2);
        rig.send(6);
        backend.wait_for(3).await;
        (rig, backend)
    });
    drop(runtime);
    assert_eq!(rig.stats.dropped(Cause::Shutdown), 6);
    assert!(Ledger::read(&rig.stats).closes());
    drop(backend);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_backends_that_are_gone_take_no_more_memory_than_they_may_and_hold_up_no_other() {
    let gone = Backend::start(Wire::Http, |_| Answer::busy(Wire::Http)).await;
    let works = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let caps = config::Caps { queue_bytes: 1 << 20 };
    let mut destinations: Vec<_> = (0..5)
        .map(|n| {
            let mut one = one(&gone, |one| one.batch.spans = 100_000);
            one.batch.delay = LONG;
            one.name = format!("gone-{n}").into();
            one
        })
        .collect();
    destinations.push(one(&works, |one| one.batch.spans = 100));
    let rig = Rig::start(&Config { destinations, caps, ..Config::default() });
    let all = rig.pipeline.watch();
    let mut sent = 0;
    for _ in 0..60 {
        rig.send_from(sent, 50);
        sent += 50;
        let held: usize = all.iter().map(|one| one.room.held().bytes).sum();
        assert!(held <= caps.queue_bytes, "{held}");
        while all[5].room.held().spans > 0 {
            rig.settled_at(5).await;
        }
    }
    assert_eq!((works.spans(), all[5].room.account().exported()), (sent as usize, sent));
    for gone in &all[..5] {
        assert!(gone.room.account().dropped(Cause::MemoryFull) > 0);
        assert_eq!(gone.room.account().dropped(Cause::QueueFull), 0);
    }
    rig.pipeline.shutdown(Duration::ZERO).await;
}
