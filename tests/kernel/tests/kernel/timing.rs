//! Times: a client span encloses the server span that it caused, and a request that waits is seen to wait.

use std::collections::BTreeMap;

use spandrel_test_support::{Kind, Span};

use crate::stage::{agree, both, by_both, options, play};

#[track_caller]
fn enclosed(body: &str) {
    by_both(|profile| {
        let played = play(options(profile), "enclosed", &[body]);
        agree(profile, &played.truth, &played.finished);
        let mut clients: BTreeMap<&str, &Span> = BTreeMap::new();
        let spans = &played.finished.spans;
        clients.extend(spans.iter().filter(|s| s.kind == Kind::Client).map(|span| (span.path(), span)));
        let mut broken = Vec::new();
        for server in spans.iter().filter(|span| span.kind == Kind::Server) {
            let client = clients.get(server.path()).expect("its client");
            let (before, after) = (
                server.start_ns as i64 - client.start_ns as i64,
                client.end_ns as i64 - server.end_ns as i64,
            );
            if before < 0 || after < 0 {
                broken.push((before, after, server.path()));
            }
        }
        let first: Vec<_> = broken.iter().take(10).collect();
        let all = clients.len();
        assert!(
            broken.is_empty(),
            "{profile}: {} of {all} stick out (start, end, ns): {first:?}",
            broken.len()
        );
    });
}

#[test]
fn a_client_span_encloses_its_server_span() {
    enclosed("0");
}

#[test]
fn also_with_bodies() {
    enclosed("20000");
}

#[test]
fn a_response_before_the_request_has_left() {
    both("answered-early");
}

#[test]
fn a_client_of_two_threads() {
    both("apart-threads");
}

/// What a short wait may be off: a clock that ticks.
const SHORT_OFF_NS: i64 = 1_000_000;
/// Three ticks of the fastest clock: longer waits are told in whole ticks, because TCP's own time stamps may be those of
/// a late acknowledgement then.
const LONG_NS: i64 = 3_000_000;
/// Two ticks of the slowest clock.
const LONG_OFF_NS: i64 = 20_000_000;

#[test]
fn a_request_that_waits_is_seen_to_wait() {
    by_both(|profile| {
        let played = play(options(profile), "waiting", &[]);
        agree(profile, &played.truth, &played.finished);
        for server in played.finished.servers() {
            let real: i64 = played.truth.note(server.path()).parse().expect("a number");
            let told = server.int("spandrel.request.wait_ns");
            if told.is_none() && real > SHORT_OFF_NS {
                println!("SKIPPED: waiting {}: this kernel does not tell how long", server.path());
                continue;
            }
            let told = told.unwrap_or(0);
            let whole = (server.end_ns - server.start_ns) as i64;
            let client = played.finished.clients().into_iter().find(|span| span.path() == server.path());
            let client = client.map_or(0, |span| (span.end_ns - span.start_ns) as i64);
            // The program looked after the data had come, and read after it had looked.
            let off = if real > LONG_NS { LONG_OFF_NS } else { SHORT_OFF_NS };
            assert!(told + off >= real, "{profile}: waited {real} ns at least, told {told}: {server:?}");
            assert!(
                told + whole <= client + SHORT_OFF_NS,
                "{profile}: {told} + {whole} > {client}: {server:?}"
            );
        }
    });
}
