//! What may happen between a destination and its backend, with queues on disk, dead letters and several
//! destinations.

use std::{
    fs, iter,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use config::{Destination, Filter, JsonFile, Policy, Store, To};

use super::{
    tests::{LONG, Rig, one},
    *,
};
use crate::{
    export::{
        client::count,
        counters::State,
        store::{record, segment::Segment},
        testing::{self, Answer, Authority, Backend, Folder, Wire},
    },
    span::Kind,
};

fn store(folder: &Folder, name: &str) -> Store {
    Store { folder: folder.path(name), max_bytes: 1 << 20 }
}

/// Spans in all records of a folder that are not done.
fn kept(folder: &Folder, name: &str) -> usize {
    let names =
        folder.names().into_iter().filter(|path| path.starts_with(name) && path.ends_with(".spandrel"));
    let spans = |path: String| {
        let scan = || record::scan(&fs::read(folder.path(&path)).unwrap());
        // A batch may be half written at this moment.
        let whole = iter::repeat_with(scan).take(1000).find(|scan| scan.damaged == 0);
        let scan = whole.expect("no damage");
        let waiting = scan.records.iter().filter(|record| !record.done);
        waiting.map(record::Record::waiting).sum::<usize>()
    };
    names.map(spans).sum()
}

/// Refuses messages above a size.
fn limited(wire: Wire, limit: usize) -> impl FnMut(&testing::Received) -> Answer {
    move |request| match (request.message.len() > limit, wire) {
        (false, _) => Answer::ok(wire),
        (true, Wire::Http) => Answer::http(413),
        (true, Wire::Grpc) => Answer::grpc(8),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_batches_are_cut_until_they_fit() {
    for wire in [Wire::Http, Wire::Grpc] {
        let backend = Backend::start(wire, limited(wire, 3_000)).await;
        let rig = Rig::to(&backend, |_| ());
        rig.send(64);
        assert_eq!(rig.end(LONG).await, (64, vec![]));
        let mut ids = backend.accepted();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), backend.accepted().len()), (64, 64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_is_too_large_alone_is_a_dead_letter_and_the_others_are_sent() {
    let folder = Folder::new("too-large");
    let backend = Backend::start(Wire::Http, limited(Wire::Http, 3_000)).await;
    let rig = Rig::start(&Config {
        destinations: vec![one(&backend, |_| ())],
        dead_letters: Some(store(&folder, "dead")),
        ..Config::default()
    });
    let mut spans = testing::spans(20);
    spans[7].name = "x".repeat(5_000).into();
    (0..20).for_each(|_| rig.stats.saw());
    rig.sender.try_send(spans);
    assert_eq!(rig.end(LONG).await, (19, vec![(Cause::TooLarge, 1)]));
    assert_eq!(backend.accepted().len(), 19);
    assert_eq!(kept(&folder, "dead/"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_not_asked_for_each_span() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(8)).await;
    let rig = Rig::to(&backend, |destination| destination.requests_in_flight = 1);
    rig.send(512);
    assert_eq!(rig.end(LONG).await, (0, vec![(Cause::TooLarge, 512)]));
    assert!(backend.received().len() < 40, "{}", backend.received().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_because_all_is_too_large_refuses() {
    let small = Arc::new(AtomicBool::new(false));
    let fits = Arc::clone(&small);
    let backend =
        Backend::start(
            Wire::Http,
            move |_| {
                if fits.load(Relaxed) { Answer::http(200) } else { Answer::http(413) }
            },
        )
        .await;
    let rig = Rig::to(&backend, |_| ());
    let watched = rig.pipeline.watch().remove(0);
    rig.send(4);
    while rig.stats.dropped(Cause::TooLarge) < 4 {
        tokio::task::yield_now().await;
    }
    let counters = watched.counters.unwrap();
    assert_eq!(counters.state(), State::Refusing);
    small.store(true, Relaxed);
    rig.send_from(4, 1);
    assert_eq!(rig.end(LONG).await, (1, vec![(Cause::TooLarge, 4)]));
    assert_eq!(counters.state(), State::Working);
}

/// The parts of a batch need no room on disk, and nothing of it is forgotten before it is settled: a process that is
/// killed then loses nothing, and the next one begins where it ended, in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_cut_is_on_disk_until_its_parts_are_settled() {
    let folder = Folder::new("cut");
    let gone = Arc::new(AtomicBool::new(true));
    let taken = Arc::new(AtomicUsize::new(0));
    let backend = {
        let (gone, taken) = (Arc::clone(&gone), Arc::clone(&taken));
        Backend::start(Wire::Http, move |request| {
            if gone.load(Relaxed) {
                return Answer::never();
            }
            if request.spans() > 2 {
                return Answer::http(413);
            }
            // After the first three parts it answers no more.
            if taken.fetch_add(1, Relaxed) == 3 { Answer::never() } else { Answer::http(200) }
        })
        .await
    };
    let config = Config {
        destinations: vec![one(&backend, |destination| {
            destination.batch.spans = 16;
            destination.batch.delay = LONG;
            destination.requests_in_flight = 1;
        })],
        // Room for both batches, and not for a part more.
        spill: Some(Store { folder: folder.path("spill"), max_bytes: 18_500 }),
        ..Config::default()
    };
    let rig = Rig::start(&config);
    rig.send(32);
    rig.settled().await;
    let spill = rig.pipeline.watch().remove(0).spill.unwrap();
    assert!((18_000..=18_500).contains(&spill.bytes()), "{}", spill.bytes());
    drop(spill);
    assert_eq!(rig.end(Duration::from_millis(50)).await, (0, vec![(Cause::Spilled, 32)]));
    gone.store(false, Relaxed);
    let rig = Rig::start(&config);
    backend.wait_until(6).await;
    // As a process would find it that comes after a `kill -9`.
    while kept(&folder, "spill") != 32 - 6 {
        tokio::task::yield_now().await;
    }
    // A shutdown leaves it just so. What an earlier process took in is in the account alone.
    let account = Arc::clone(rig.pipeline.watch()[0].room.account());
    assert_eq!(rig.end(Duration::from_millis(50)).await, (0, vec![]));
    assert_eq!((account.exported(), account.dropped(Cause::Spilled)), (6, 26));
    assert_eq!(kept(&folder, "spill"), 26);
    let rig = Rig::start(&config);
    let account = Arc::clone(rig.pipeline.watch()[0].room.account());
    assert_eq!(rig.end(LONG).await, (0, vec![]));
    assert_eq!((account.recovered(), account.exported()), (26, 26));
    let ids = backend.accepted();
    let order: Vec<_> = ids.iter().map(|id| u64::from_be_bytes(id.as_slice().try_into().unwrap())).collect();
    assert_eq!(order, (1..=32).collect::<Vec<_>>());
    assert_eq!(folder.names(), Vec::<String>::new());
}

/// Parts behind one that is never answered are taken, and of others that were cut again only some: the next process sends
/// exactly the rest.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_taken_out_of_order_are_not_sent_again() {
    let folder = Folder::new("cut-order");
    let stuck = Arc::new(AtomicBool::new(true));
    // Spans 1, 7 and 8 are in parts that get no answer.
    let backend = {
        let stuck = Arc::clone(&stuck);
        Backend::start(Wire::Http, move |request| {
            let ids = request.ids();
            if ids.len() > 2 {
                Answer::http(413)
            } else if stuck.load(Relaxed) && ids.iter().any(|id| matches!(id.last(), Some(1 | 7 | 8))) {
                Answer::never()
            } else {
                Answer::http(200)
            }
        })
        .await
    };
    let config = Config {
        destinations: vec![one(&backend, |destination| destination.requests_in_flight = 4)],
        spill: Some(store(&folder, "spill")),
        ..Config::default()
    };
    let rig = Rig::start(&config);
    rig.send(16);
    while kept(&folder, "spill") != 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.end(Duration::from_millis(50)).await, (12, vec![(Cause::Spilled, 4)]));
    stuck.store(false, Relaxed);
    let rig = Rig::start(&config);
    let account = Arc::clone(rig.pipeline.watch()[0].room.account());
    assert_eq!(rig.end(LONG).await, (0, vec![]));
    assert_eq!((account.recovered(), account.exported()), (4, 4));
    let mut ids: Vec<_> = backend.accepted().iter().map(|id| id[7]).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=16).collect::<Vec<_>>());
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_not_accepted_have_a_cause_of_their_own() {
    for (wire, answer) in [
        (Wire::Http, Answer::http(401)),
        (Wire::Http, Answer::http(403)),
        (Wire::Grpc, Answer::grpc(16)),
        (Wire::Grpc, Answer::grpc(7)),
    ] {
        let backend = Backend::start(wire, move |_| answer.clone()).await;
        let rig = Rig::to(&backend, |_| ());
        rig.send(3);
        assert_eq!(rig.end(LONG).await, (0, vec![(Cause::Unauthorized, 3)]));
        assert_eq!(backend.received().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_renewed_costs_no_batch() {
    let folder = Folder::new("token");
    let token = folder.file("token", "old\n");
    let backend = Backend::start(Wire::Http, |request| {
        if request.header("authorization") == "Bearer new" { Answer::http(200) } else { Answer::http(401) }
    })
    .await;
    let rig = Rig::to(&backend, |destination| {
        let To::Otlp(otlp) = &mut destination.to else { panic!("not OTLP") };
        otlp.token_file = Some(token.clone());
    });
    rig.send(5);
    backend.wait_for(1).await;
    assert_eq!(backend.last().header("authorization"), "Bearer old");
    // As Kubernetes does it: a new file takes the place of the old one.
    fs::rename(folder.file("token.new", "new\n"), &token).unwrap();
    assert_eq!(rig.end(LONG).await, (5, vec![]));
    // Nothing was sent again with the old one.
    assert_eq!(backend.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_becomes_a_pipe_holds_up_nothing() {
    let folder = Folder::new("token-pipe");
    let token = folder.file("token", "old\n");
    let mut requests = 0;
    let backend = Backend::start(Wire::Http, move |_| {
        requests += 1;
        Answer::http(if requests == 2 { 401 } else { 200 })
    })
    .await;
    let rig = Rig::to(&backend, |destination| {
        let To::Otlp(otlp) = &mut destination.to else { panic!("not OTLP") };
        otlp.token_file = Some(token.clone());
        destination.export_timeout = Duration::from_millis(300);
    });
    rig.send(5);
    backend.wait_for(1).await;
    fs::rename(folder.pipe("pipe"), &token).unwrap();
    rig.send_from(5, 3);
    assert_eq!(rig.end(LONG).await, (5, vec![(Cause::Unauthorized, 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_s_own_word_for_too_large_is_understood() {
    let backend = Backend::start(Wire::Http, |request| {
        if request.message.len() > 3_000 {
            Answer::http(400).with_body(b"http: request body too large\n".to_vec())
        } else {
            Answer::http(200)
        }
    })
    .await;
    let rig = Rig::to(&backend, |_| ());
    rig.send(64);
    assert_eq!(rig.end(LONG).await, (64, vec![]));
    assert_eq!(backend.accepted().len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_expire_and_are_renewed_under_load_cost_no_batch() {
    let authority = Authority::new();
    let backend = authority.backend(Wire::Grpc, true).await;
    let ours = authority.issue_for("client", "client", false);
    let rig = Rig::to(&backend, |destination| {
        destination.batch.spans = 10;
        let To::Otlp(otlp) = &mut destination.to else { panic!("not OTLP") };
        otlp.tls.certificate = Some(authority.certificate());
        otlp.tls.client = Some(ours.clone());
    });
    rig.send(100);
    rig.refused().await;
    let (certificate, key) = authority.issue_for("renewed", "client", true);
    fs::rename(key, &ours.1).unwrap();
    rig.send_from(100, 100);
    fs::rename(certificate, &ours.0).unwrap();
    assert_eq!(rig.end(LONG).await, (200, vec![]));
    let mut ids = backend.accepted();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), backend.accepted().len()), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_destination_holds_up_no_other() {
    let bad = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    let good = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    let folder = Folder::new("several");
    let file = To::File(JsonFile::new(folder.path("traces.json")));
    let rig = Rig::start(&Config {
        destinations: vec![
            one(&bad, |destination| {
                destination.name = "bad".into();
                destination.queue.spans = 50;
            }),
            one(&good, |destination| destination.name = "good".into()),
            Destination { name: "file".into(), ..one(&good, |destination| destination.to = file) },
        ],
        ..Config::default()
    });
    for _ in 0..10 {
        rig.send(20);
    }
    good.wait_until(200).await;
    let watched = rig.pipeline.watch();
    let dropped = vec![(Cause::QueueFull, 150), (Cause::Shutdown, 50)];
    assert_eq!(rig.end(Duration::from_secs(1)).await, (0, dropped));
    // Each has its own account.
    assert_eq!(watched.iter().map(|one| one.room.account().exported()).collect::<Vec<_>>(), [0, 200, 200]);
    let lines = fs::read_to_string(folder.path("traces.json")).unwrap();
    assert_eq!(lines.matches("\"traceId\"").count(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_is_in_the_ledger_once_by_the_first_who_wants_it() {
    let servers = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
    let errors = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
    let rig = Rig::start(&Config {
        destinations: vec![
            one(&servers, |destination| {
                destination.name = "servers".into();
                destination.filter = Filter { kind: Some(Kind::Server), ..Filter::default() };
            }),
            one(&errors, |destination| {
                destination.name = "errors".into();
                destination.filter = Filter { errors: true, ..Filter::default() };
            }),
        ],
        ..Config::default()
    });
    let mut spans = testing::spans(10);
    for span in &mut spans[..4] {
        span.kind = Kind::Client;
    }
    for span in &mut spans[3..6] {
        span.status = crate::span::Status::Error;
    }
    (0..10).for_each(|_| rig.stats.saw());
    rig.sender.try_send(spans);
    // Six servers, one client with an error, three clients that nobody wants.
    assert_eq!(rig.end(LONG).await, (7, vec![(Cause::Filtered, 3)]));
    assert_eq!((servers.spans(), errors.spans()), (6, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_go_if_that_is_the_policy() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    let rig = Rig::to(&backend, |destination| {
        destination.policy = Policy::Oldest;
        destination.batch.spans = 10;
        destination.queue.spans = 50;
        destination.requests_in_flight = 1;
    });
    for n in 0..20 {
        rig.send(10);
        if n == 0 {
            backend.wait_for(1).await;
        }
        // Batches are made on another thread.
        rig.settled().await;
    }
    let watched = rig.pipeline.watch().remove(0);
    assert_eq!(watched.room.held().spans, 50);
    assert_eq!(rig.stats.dropped(Cause::QueueFull), 150);
    rig.end(Duration::from_millis(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_traces_go_if_that_is_the_policy() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    let rig = Rig::to(&backend, |destination| {
        destination.policy = Policy::Traces;
        destination.queue.spans = 1000;
        destination.batch.delay = LONG;
    });
    // Two spans of each of 1000 traces, apart from each other.
    for half in 0..2 {
        for chunk in testing::spans(1000).chunks(10) {
            (0..10).for_each(|_| rig.stats.saw());
            let mut spans = chunk.to_vec();
            for span in &mut spans {
                span.span_id[0] = half;
            }
            rig.sender.try_send(spans);
        }
    }
    let held = rig.pipeline.watch()[0].room.held().spans;
    assert!((700..=1000).contains(&held), "{held}");
    rig.end(Duration::from_millis(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_batches_are_kept_and_can_be_read() {
    let folder = Folder::new("dead");
    let backend = Backend::start(Wire::Http, |_| Answer::http(400)).await;
    let rig = Rig::start(&Config {
        destinations: vec![one(&backend, |_| ())],
        dead_letters: Some(store(&folder, "dead")),
        ..Config::default()
    });
    rig.send(600);
    let watched = rig.pipeline.watch().remove(0);
    assert_eq!(rig.end(LONG).await, (0, vec![(Cause::ExportRefused, 600)]));
    assert_eq!(watched.room.account().saved(), 600);
    drop(watched);
    assert_eq!(kept(&folder, "dead/to-otlp/"), 600);
    for name in folder.names() {
        let (segment, scan) = Segment::take_over(&folder.path(name)).unwrap().unwrap();
        for record in scan.records {
            let stored = segment.read(record.offset, record.end()).unwrap();
            assert_eq!(count(&stored.encoding.unpack(&stored.message).unwrap()), Some(record.spans as usize));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_have_a_limit() {
    let folder = Folder::new("dead-full");
    let backend = Backend::start(Wire::Http, |_| Answer::http(400)).await;
    let rig = Rig::start(&Config {
        destinations: vec![one(&backend, |_| ())],
        dead_letters: Some(Store { folder: folder.path("dead"), max_bytes: 30_000 }),
        ..Config::default()
    });
    for _ in 0..10 {
        rig.send(10);
        rig.settled().await;
        backend.wait_for(1).await;
    }
    let watched = rig.pipeline.watch().remove(0);
    rig.end(LONG).await;
    let dead = watched.dead_letters.as_ref().unwrap();
    assert_eq!(watched.room.account().saved() + dead.lost(), 100);
    assert!(dead.lost() > 0 && dead.bytes() <= 30_000, "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_shutdown_saves_what_it_can() {
    let folder = Folder::new("deadline");
    let backend = Backend::start(Wire::Grpc, |_| Answer::never()).await;
    for (dead, spill, expected) in [
        (false, false, (0, 0, 100)),
        (true, false, (100, 0, 0)),
        (false, true, (0, 100, 0)),
        (true, true, (0, 100, 0)),
    ] {
        let name = format!("{dead}-{spill}");
        let rig = Rig::start(&Config {
            destinations: vec![one(&backend, |destination| {
                destination.batch.spans = 10;
                destination.requests_in_flight = 2;
            })],
            dead_letters: dead.then(|| store(&folder, &format!("dead-{name}"))),
            spill: spill.then(|| store(&folder, &format!("spill-{name}"))),
            ..Config::default()
        });
        rig.send(100);
        let stats = Arc::clone(&rig.stats);
        let mut all = rig.pipeline.shutdown(Duration::from_millis(200)).await;
        let Farewell { saved, spilled, lost, sent, total, .. } = all.remove(0);
        assert_eq!((saved, spilled, lost, sent), (expected.0, expected.1, expected.2, 0), "{name}");
        assert_eq!((total.sent, total.saved), (0, saved), "{name}");
        let dropped: u64 = total.dropped.iter().map(|(_, spans)| spans).sum();
        assert_eq!(dropped, 100 - spilled, "{total}");
        assert_eq!(stats.dropped(Cause::Spilled), expected.1);
        drop(rig.sender);
        assert_eq!(kept(&folder, &format!("dead-{name}")) as u64, expected.0);
        assert_eq!(kept(&folder, &format!("spill-{name}")) as u64, expected.1);
    }
}

#[test]
fn what_a_whole_life_came_to_is_told_by_cause() {
    let dropped = vec![(Cause::QueueFull, 3), (Cause::Unauthorized, 1000)];
    let mut total = Total { sent: 7, dropped, saved: 500, gone: 0 };
    let begin = "in all 7 spans were sent and 1003 were not: queue_full 3, unauthorized 1000; 500 of them ";
    assert_eq!(total.to_string(), format!("{begin}are among the dead letters"));
    total.gone = 200;
    let end = "were put among the dead letters, where 300 are: others were replayed or removed";
    assert_eq!(total.to_string(), format!("{begin}{end}"));
}

/// A backend that is gone, a restart, and the backend again: every span arrives, none that was acknowledged comes
/// again, and the ledgers of both lives close.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_on_disk_survives_a_restart() {
    let folder = Folder::new("restart");
    let gone = Arc::new(AtomicBool::new(false));
    let backend = {
        let gone = Arc::clone(&gone);
        Backend::start(
            Wire::Grpc,
            move |_| {
                if gone.load(Relaxed) { Answer::never() } else { Answer::grpc(0) }
            },
        )
        .await
    };
    let config = Config {
        destinations: vec![one(&backend, |destination| destination.batch.spans = 10)],
        spill: Some(store(&folder, "spill")),
        ..Config::default()
    };
    let rig = Rig::start(&config);
    rig.send(30);
    backend.wait_until(30).await;
    rig.settled().await;
    gone.store(true, Relaxed);
    rig.send_from(30, 70);
    assert_eq!(rig.end(Duration::from_millis(200)).await, (30, vec![(Cause::Spilled, 70)]));
    gone.store(false, Relaxed);
    let rig = Rig::start(&config);
    rig.send_from(100, 5);
    let watched = rig.pipeline.watch().remove(0);
    assert_eq!(rig.end(LONG).await, (5, vec![]));
    let account = watched.room.account();
    assert_eq!((account.recovered(), account.exported()), (70, 75));
    let mut ids = backend.accepted();
    assert_eq!(ids.len(), 105);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 105);
    drop(watched);
    assert_eq!(folder.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_leaves_the_queue_in_memory() {
    let folder = Folder::new("disk-gone");
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
    let rig = Rig::start(&Config {
        destinations: vec![one(&backend, |_| ())],
        spill: Some(store(&folder, "spill")),
        ..Config::default()
    });
    // Where the folder was there is a file now: nothing can be made in it, not even by root.
    fs::remove_dir_all(folder.path("spill")).unwrap();
    folder.file("spill", "");
    rig.send(5);
    let watched = rig.pipeline.watch().remove(0);
    assert_eq!(rig.end(LONG).await, (5, vec![]));
    assert_eq!(watched.counters.unwrap().spill_errors.load(Relaxed), 1);
}
