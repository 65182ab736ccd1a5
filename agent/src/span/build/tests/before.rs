//! What counts before sampling: rules that are tried, and durations of what is withheld.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::{
    exchange::Withheld,
    sample::Rule,
    span::measure::{self, Measures},
};

fn rules(dry_run: bool) -> Rules {
    Rules::new(vec![Rule { threshold: spandrel_common::sample::NEVER, ..Rule::default() }], dry_run)
}

/// Whether it is kept, and how many the rule would have dropped.
fn ruled(dry_run: bool, sampled: Option<bool>, parent: bool) -> (bool, u64) {
    let mut builder = builder(SpanPolicy::default(), Policy::DEFAULT);
    let rules = rules(dry_run);
    builder.set_policy(SpanPolicy::default(), Policy::DEFAULT, rules.clone());
    let lines = ["GET / HTTP/1.1", PARENT];
    let mut exchange = server(if parent { &lines } else { &lines[..1] });
    exchange.sampled = sampled;
    let kept = builder.build(&exchange, Arc::default()).is_some();
    assert_eq!(builder.stats.unsampled.load(Relaxed), u64::from(!kept));
    (kept, rules.counts().map(|(_, counts)| counts.dropped.load(Relaxed)).sum())
}

#[test]
fn rules_that_are_tried_count_what_the_kernel_has_decided() {
    for (sampled, kept) in [(None, true), (Some(true), true), (Some(false), false)] {
        assert_eq!(ruled(true, sampled, false), (kept, 1), "{sampled:?}");
    }
    assert_eq!(ruled(true, Some(true), true), (true, 0), "its parent decides");
    // Decided before the rules came.
    assert_eq!(ruled(false, Some(true), false), (true, 0));
    assert_eq!(ruled(false, None, false), (false, 1));
}

#[test]
fn a_rule_s_path_is_that_of_the_target_in_any_form() {
    for (line, dropped) in [
        ("GET /checkout?a HTTP/1.1", true),
        ("GET http://shop.example/checkout HTTP/1.1", true),
        ("GET http://shop.example/checkout/1?a=/x HTTP/1.1", true),
        ("GET http://checkout/ HTTP/1.1", false),
        ("GET http://shop.example HTTP/1.1", false),
        ("GET /check%6fut HTTP/1.1", false),
        ("CONNECT shop.example:443 HTTP/1.1", false),
    ] {
        let mut builder = builder(SpanPolicy::default(), Policy::DEFAULT);
        let path = Some("/checkout*".into());
        let rule = Rule { path, threshold: spandrel_common::sample::NEVER, ..Rule::default() };
        builder.set_policy(SpanPolicy::default(), Policy::DEFAULT, Rules::new(vec![rule], false));
        assert_eq!(builder.build(&server(&[line]), Arc::default()).is_none(), dropped, "{line}");
    }
}

fn withheld(role: Role, first: &[u8], host: &[u8], response: Option<u16>, outcome: Outcome) -> Withheld {
    let exchange = exchange(role, request(&["GET / HTTP/1.1"]));
    let mut withheld = Withheld {
        connection: exchange.connection,
        tgid: 7,
        start_ns: 2_000,
        end_ns: 5_000,
        method: [0; 16],
        host: [0; 64],
        version: b'1',
        response,
        outcome,
    };
    withheld.method.iter_mut().zip(first).for_each(|(to, from)| *to = *from);
    withheld.host.iter_mut().zip(host).for_each(|(to, from)| *to = *from);
    withheld
}

/// The labels of its series.
fn labels(withheld: &Withheld) -> String {
    let mut builder = builder(SpanPolicy::default(), Policy::DEFAULT);
    let measures = Measures::new(measure::Limits { max_series: 9, exponential: false, exemplars: true });
    builder.measure(Some(Arc::clone(&measures)));
    builder.withheld(withheld, &Arc::default());
    let snapshot = measures.snapshot();
    let series = snapshot.series.iter().map(|(key, histogram)| {
        assert_eq!((histogram.count(), histogram.exemplar), (1, None));
        let Key { method, scheme, code, error, version, address, port, .. } = key;
        format!("{method} [{scheme}] {code} [{error}] {version} [{address}] {port}")
    });
    series.collect()
}

#[test]
fn what_is_withheld_is_measured() {
    use Outcome::{Complete, Failed, LocalClosed, Unseen};
    let get = b"GET /a HTTP/1.1\r";
    let host = b" shop:8080\r\nAuthorization: secret";
    for (role, first, host, response, outcome, expected) in [
        (Role::Server, &get[..], &b""[..], Some(200), Complete, "GET [] 200 [] 1.1 [] 0"),
        (Role::Server, b"PROPFIND /a HTTP", b"", Some(503), Complete, "_OTHER [] 503 [503] 1.1 [] 0"),
        (
            Role::Server,
            b"VERSION-CONTROLS",
            b"",
            None,
            LocalClosed,
            "_OTHER [] 0 [connection_closed] 1.1 [] 0",
        ),
        (Role::Client, get, host, Some(404), Complete, "GET [] 404 [404] 1.1 [shop] 8080"),
        (Role::Client, get, b"shop\n", None, Failed(104), "GET [] 0 [connection_reset] 1.1 [shop] 80"),
        (Role::Client, get, &[b'a'; 64], Some(200), Complete, "GET [] 200 [] 1.1 [] 0"),
        (Role::Client, get, b" \r\n", Some(200), Complete, "GET [] 200 [] 1.1 [] 0"),
        (Role::Client, get, host, None, Unseen, ""),
    ] {
        assert_eq!(labels(&withheld(role, first, host, response, outcome)), expected);
    }
}

proptest! {
    #[test]
    fn nothing_withheld_makes_it_panic(first: [u8; 16], host: [[u8; 32]; 2], code: u16, version: u8) {
        let host = host.concat();
        let mut withheld = withheld(Role::Client, &first, &host, Some(code), Outcome::Complete);
        withheld.version = version;
        labels(&withheld);
    }
}
