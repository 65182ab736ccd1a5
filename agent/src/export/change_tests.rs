//! Reloads while spans wait: nothing is lost by one, and each destination has one account.

use std::{
    future::{pending, ready},
    sync::mpsc,
    time::Duration,
};

use crate::{
    export::{
        config::{Caps, Compression, Config, Destination, Filter, JsonFile, Otlp, Protocol, Store, To},
        counters::Code,
        line::Ending,
        pipeline::Error,
        pipeline::tests::{LONG, Rig, one},
        testing::{Answer, Backend, Folder, Wire},
    },
    stats::Drop as Cause,
};

impl Rig {
    /// As a reload does it: the capture thread has the new sender before the rest changes.
    async fn change(&mut self, config: &Config) {
        let (sender, change) = self.pipeline.prepare(config, pending()).await.unwrap();
        self.sender = sender;
        self.pipeline.commit(change);
    }

    fn exported(&self, name: &str) -> u64 {
        self.pipeline.known(name).map_or(0, |one| one.room.account().exported())
    }

    async fn until_exported(&self, name: &str, spans: u64) {
        while self.exported(name) < spans {
            tokio::task::yield_now().await;
        }
    }
}

fn to(destinations: Vec<Destination>) -> Config {
    Config { destinations, ..Config::default() }
}

fn named(backend: &Backend, name: &str, edit: impl FnOnce(&mut Destination)) -> Destination {
    let mut destination = one(backend, edit);
    destination.name = name.into();
    destination
}

fn otlp(destination: &mut Destination) -> &mut Otlp {
    let To::Otlp(otlp) = &mut destination.to else { panic!("not OTLP") };
    otlp
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_backend_that_is_gone_goes_to_the_one_that_replaces_it() {
    for (old, new) in [(Wire::Http, Wire::Http), (Wire::Http, Wire::Grpc), (Wire::Grpc, Wire::Http)] {
        let gone = Backend::start(old, move |_| Answer::busy(old)).await;
        let mended = Backend::start(new, move |_| Answer::ok(new)).await;
        let mut rig = Rig::to(&gone, |one| one.batch.spans = 10);
        rig.send(500);
        rig.settled().await;
        gone.wait_for(1).await;
        let replaced = one(&mended, |one| otlp(one).compression = Compression::Gzip);
        rig.change(&to(vec![replaced])).await;
        rig.send_from(500, 50);
        rig.settled().await;
        // Not at the end of a wait, but now.
        rig.until_exported("otlp", 550).await;
        assert_eq!(mended.spans(), 550);
        assert_eq!(rig.end(Duration::ZERO).await, (550, vec![]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_loses_nothing_by_a_reload() {
    let mut answered = 0;
    let backend = Backend::start(Wire::Http, move |_| {
        answered += 1;
        if answered <= 4 { Answer::never() } else { Answer::http(200) }
    })
    .await;
    let edit = |delay| {
        move |one: &mut Destination| {
            one.batch.delay = Duration::from_millis(delay);
            one.batch.spans = 10;
            otlp(one).timeout = Duration::from_millis(300);
        }
    };
    let mut rig = Rig::to(&backend, edit(20));
    rig.send(400);
    rig.settled().await;
    backend.wait_for(4).await;
    for delay in [21, 22, 23] {
        rig.change(&to(vec![one(&backend, edit(delay))])).await;
    }
    assert_eq!(rig.end(LONG).await, (400, vec![]));
    assert_eq!(backend.received().len(), 44);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_removed_sends_what_it_has_and_keeps_its_account() {
    let (mut tries, wire) = (0, Wire::Http);
    let slow = Backend::start(wire, move |_| {
        tries += 1;
        if tries == 1 { Answer::busy(wire) } else { Answer::ok(wire) }
    })
    .await;
    let other = Backend::start(wire, move |_| Answer::ok(wire)).await;
    let mut rig = Rig::start(&to(vec![named(&slow, "first", |_| ())]));
    rig.send(7);
    rig.settled().await;
    slow.wait_for(1).await;
    rig.change(&to(vec![named(&other, "second", |_| ())])).await;
    rig.send_from(7, 3);
    rig.settled().await;
    rig.until_exported("first", 7).await;
    rig.until_exported("second", 3).await;
    let names: Vec<_> = rig.pipeline.watch().iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["second", "first"]);
    assert_eq!((slow.spans(), other.spans()), (14, 3));
    assert_eq!(rig.end(LONG).await, (10, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_comes_back_has_its_queue_and_its_account() {
    let wire = Wire::Grpc;
    let gone = Backend::start(wire, move |_| Answer::busy(wire)).await;
    let well = Backend::start(wire, move |_| Answer::ok(wire)).await;
    let mut rig = Rig::start(&to(vec![named(&gone, "d", |_| ())]));
    for round in 0..4 {
        rig.send_from(round * 20, 10);
        rig.settled().await;
        rig.change(&to(vec![named(&well, "d1", |_| ())])).await;
        rig.send_from(round * 20 + 10, 10);
        rig.change(&to(vec![named(&gone, "d", |_| ())])).await;
    }
    rig.until_exported("d1", 40).await;
    assert_eq!(rig.exported("d"), 0);
    rig.change(&to(vec![named(&well, "d", |_| ())])).await;
    rig.until_exported("d", 40).await;
    rig.send_from(80, 5);
    rig.settled().await;
    rig.until_exported("d", 45).await;
    let requests = rig.pipeline.known("d").unwrap().counters.unwrap().requests();
    assert!(requests.iter().any(|(code, _)| *code == Code::Grpc(14)), "{requests:?}");
    // One that had ended altogether goes on counting, too.
    rig.change(&to(vec![named(&well, "d1", |_| ())])).await;
    rig.send_from(85, 5);
    rig.settled().await;
    rig.until_exported("d1", 45).await;
    assert_eq!(rig.end(LONG).await, (90, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_goes_on() {
    let folder = Folder::new("change-spill");
    let wire = Wire::Http;
    let gone = Backend::start(wire, move |_| Answer::busy(wire)).await;
    let well = Backend::start(wire, move |_| Answer::ok(wire)).await;
    let stored = |destinations| Config {
        spill: Some(Store { folder: folder.path("q"), max_bytes: 1 << 20 }),
        ..to(destinations)
    };
    let brief = |one: &mut Destination| one.export_timeout = Duration::from_millis(50);
    let mut rig = Rig::start(&stored(vec![named(&gone, "d", brief), named(&gone, "e", |_| ())]));
    rig.send(30);
    rig.settled().await;
    // One changes, the other is removed, and its time is short.
    rig.change(&stored(vec![named(&well, "e", |_| ())])).await;
    rig.until_exported("e", 30).await;
    while !rig.pipeline.ending.iter().all(Ending::is_over) {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.pipeline.known("d").unwrap().room.account().dropped(Cause::Spilled), 30);
    // When it comes back, what it left on disk is there.
    rig.change(&stored(vec![named(&well, "e", |_| ()), named(&well, "d", brief)])).await;
    rig.until_exported("d", 30).await;
    assert_eq!(rig.pipeline.known("d").unwrap().room.account().recovered(), 30);
    assert_eq!(rig.end(LONG).await, (0, vec![(Cause::Spilled, 30)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_kind_of_the_same_name_begins_with_the_same_account() {
    let folder = Folder::new("change-kind");
    let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let mut rig = Rig::to(&backend, |_| ());
    rig.send(3);
    rig.settled().await;
    let file = JsonFile::new(folder.path("traces.json"));
    let mut destination = Destination::new("otlp", To::File(file));
    destination.batch.delay = Duration::from_millis(1);
    rig.change(&to(vec![destination])).await;
    rig.send_from(3, 4);
    rig.settled().await;
    rig.until_exported("otlp", 7).await;
    assert_eq!(rig.pipeline.watch().len(), 1);
    assert_eq!(rig.end(LONG).await, (7, vec![]));
    assert_eq!(backend.spans(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_limits_and_workers_follow() {
    let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let mut rig = Rig::to(&backend, |one| one.requests_in_flight = 1);
    let filter = Filter { min_duration: Duration::from_secs(1), ..Filter::default() };
    rig.change(&to(vec![one(&backend, |one| {
        one.filter = filter;
        one.requests_in_flight = 8;
        one.queue.spans = 77;
    })]))
    .await;
    assert_eq!(rig.pipeline.known("otlp").unwrap().room.limits().0, 77);
    rig.send(5);
    rig.change(&to(vec![one(&backend, |one| {
        one.requests_in_flight = 2;
        one.batch.spans = 1;
    })]))
    .await;
    rig.send_from(5, 20);
    assert_eq!(rig.end(LONG).await, (20, vec![(Cause::Filtered, 5)]));
    assert_eq!(backend.received().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_prepared_changes_nothing() {
    let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let mut rig = Rig::to(&backend, |_| ());
    let bad = named(&backend, "bad", |one| {
        otlp(one).tls.certificate = Some("/nowhere/ca.pem".into());
        otlp(one).endpoint = "https://localhost:1".parse().unwrap();
        otlp(one).protocol = Protocol::HttpProtobuf;
    });
    let new = named(&backend, "new", |_| ());
    assert!(rig.pipeline.prepare(&to(vec![new, bad]), pending()).await.is_err());
    rig.send(5);
    assert_eq!(rig.end(LONG).await, (5, vec![]));
}

/// One thread is all that the main task and everything that exports have: if it waited for the disk, nothing would be sent.
#[tokio::test]
async fn a_disk_that_hangs_in_a_reload_holds_up_nobody() {
    let folder = Folder::new("reload-hangs");
    let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let stored = |destinations| Config {
        spill: Some(Store { folder: folder.path("q"), max_bytes: 1 << 20 }),
        ..to(destinations)
    };
    let old = || named(&backend, "old", |one| one.batch.delay = Duration::ZERO);
    let new = stored(vec![old(), named(&backend, "new", |_| ())]);
    let changed = stored(vec![named(&backend, "old", |one| one.export_timeout *= 2)]);
    let mut rig = Rig::start(&stored(vec![old()]));
    for (number, config) in [&new, &changed].into_iter().enumerate() {
        let (go, hangs) = mpsc::channel();
        rig.pipeline.aside.hangs = Some(hangs);
        rig.send_from(number as u64 * 5, 5);
        // What exports goes on; then the agent is to end, and that is heard.
        let account = rig.pipeline.known("old").unwrap().room;
        let ends = async {
            while account.account().exported() < (number as u64 + 1) * 5 {
                tokio::task::yield_now().await;
            }
        };
        assert!(matches!(rig.pipeline.prepare(config, ends).await, Err(Error::Ends)));
        // It still hangs: another reload changes nothing and says why.
        let again = rig.pipeline.prepare(config, pending()).await.unwrap_err().to_string();
        assert!(again.contains("still waits"), "{again}");
        go.send(()).unwrap();
        rig.pipeline.aside.join();
    }
    rig.change(&new).await;
    rig.send_from(10, 5);
    // Both get them; one of them is in the ledger.
    assert_eq!(rig.end(LONG).await, (15, vec![]));
    assert_eq!(backend.accepted().len(), 20);
}

/// A queue on disk that was opened too late is closed again: the next reload finds what is in it.
#[tokio::test]
async fn what_is_opened_too_late_is_left_to_the_next_reload() {
    let folder = Folder::new("reload-late");
    let gone = Backend::start(Wire::Http, |_| Answer::http(503)).await;
    let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let stored = |destinations| Config {
        spill: Some(Store { folder: folder.path("q"), max_bytes: 1 << 20 }),
        ..to(destinations)
    };
    let rig = Rig::start(&stored(vec![named(&gone, "d", |_| ())]));
    rig.send(7);
    assert_eq!(rig.end(Duration::from_millis(50)).await.1, [(Cause::Spilled, 7)]);
    let mut rig = Rig::start(&stored(vec![]));
    let new = stored(vec![named(&backend, "d", |_| ())]);
    let (go, hangs) = mpsc::channel();
    rig.pipeline.aside.hangs = Some(hangs);
    assert!(rig.pipeline.prepare(&new, ready(())).await.is_err());
    drop(go);
    rig.pipeline.aside.join();
    rig.change(&new).await;
    rig.until_exported("d", 7).await;
    assert_eq!(backend.accepted().len(), 7);
    rig.end(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_those_that_are_ending_have_the_same_time() {
    let gone = Backend::start(Wire::Http, |_| Answer::http(503)).await;
    let well = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let mut rig = Rig::start(&to(vec![named(&gone, "d", |_| ())]));
    rig.send(30);
    rig.settled().await;
    rig.change(&to(vec![named(&well, "e", |_| ())])).await;
    rig.send_from(30, 5);
    assert_eq!(rig.end(Duration::from_millis(100)).await, (5, vec![(Cause::Shutdown, 30)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_of_all_queues_is_changed() {
    let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let capped = |queue_bytes| Config { caps: Caps { queue_bytes }, ..to(vec![one(&backend, |_| ())]) };
    let mut rig = Rig::start(&capped(1 << 20));
    let room = rig.pipeline.watch().remove(0).room;
    assert!(room.lacks([2 << 20].into_iter()).is_some());
    rig.change(&capped(3 << 20)).await;
    assert_eq!(room.lacks([2 << 20].into_iter()), None);
    rig.end(LONG).await;
}
