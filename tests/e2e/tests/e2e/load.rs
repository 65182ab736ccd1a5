//! Load: one worker of nginx under ab and wrk, 1 to 64 connections, kept and not. nginx's own log says how many
//! requests there were.

use std::collections::{BTreeMap, HashSet};

use rustix::process::Signal;
use spandrel_test_support::{
    Agent, Finished, Kind, Lab, Program, patience,
    process::{command, run},
    require,
};

use crate::common::{nginx, nginx_log, profiles, traced};

profiles!(ab_kept, ab_closed, wrk_kept, wrk_closed);

/// Requests of one run of ab.
const COUNT: usize = 1500;
const CONCURRENCY: [usize; 4] = [1, 4, 16, 64];

const SERVER: &str = "keepalive_requests 1000000; server { listen LISTEN; return 200 load; }";

fn ab_kept(profile: &str) {
    require!("nginx", "ab");
    ab(profile, &["-k"]);
}

fn ab_closed(profile: &str) {
    require!("nginx", "ab");
    ab(profile, &[]);
}

#[track_caller]
fn ab(profile: &str, options: &[&str]) {
    let lab = Lab::new();
    let agent = Agent::start(&traced(&lab, profile));
    let (server, port) = nginx(&lab, SERVER);
    for concurrency in CONCURRENCY {
        let mut ab = command("ab");
        ab.args(["-q", "-n", &COUNT.to_string(), "-c", &concurrency.to_string()]).args(options);
        ab.args([
            "-H",
            &format!("X-Test: {}", lab.tag()),
            &format!("http://127.0.0.1:{port}/c{concurrency}"),
        ]);
        let said = run(&mut ab).success();
        assert!(said.contains(&format!("Complete requests:      {COUNT}")), "{said}");
        assert!(said.contains("Failed requests:        0"), "{said}");
    }
    let finished = finish(&lab, server, CONCURRENCY.iter().sum(), agent);
    let mut found = BTreeMap::new();
    for span in finished.servers() {
        *found.entry(span.path()).or_insert(0) += 1;
    }
    // ab may have sent one more on each connection by the time it had enough.
    for concurrency in CONCURRENCY {
        let path = format!("/c{concurrency}");
        assert!((COUNT..=COUNT + concurrency).contains(&found[&*path]), "{found:?}");
    }
}

fn wrk_kept(profile: &str) {
    require!("nginx", "wrk");
    wrk(profile, &[]);
}

fn wrk_closed(profile: &str) {
    require!("nginx", "wrk");
    wrk(profile, &["-H", "Connection: close"]);
}

/// wrk sends as fast as it can, so this is also a test of the way to the console.
#[track_caller]
fn wrk(profile: &str, options: &[&str]) {
    let lab = Lab::new();
    let agent = Agent::start(&traced(&lab, profile).env("OTEL_BSP_MAX_QUEUE_SIZE", "500000"));
    let (server, port) = nginx(&lab, SERVER);
    for concurrency in [1, 64] {
        let mut wrk = command("wrk");
        wrk.args(["-t", "1", "-d", "1s", "-c", &concurrency.to_string()]).args(options);
        wrk.args([
            "-H",
            &format!("X-Test: {}", lab.tag()),
            &format!("http://127.0.0.1:{port}/c{concurrency}"),
        ]);
        let said = run(&mut wrk).success();
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    }
    finish(&lab, server, 65, agent);
}

/// Every request of nginx's log has its server span and its client span. What was in flight on the connections when
/// the tool had enough may have reached nginx or not, and its answer may have found nobody.
#[track_caller]
fn finish(lab: &Lab, server: Program, in_flight: usize, mut agent: Agent) -> Finished {
    // It ends when it has written down what it does.
    server.signal(Signal::QUIT);
    server.finish();
    let count = nginx_log(lab);
    agent.wait_in(patience(), |spans| {
        spans.len() >= 2 * count && spans.iter().filter(|span| span.kind == Kind::Server).count() >= count
    });
    let finished = agent.stop();
    finished.assert_complete();
    let (servers, clients) = (finished.servers(), finished.clients());
    let found = (servers.len(), clients.len());
    let report = &finished.report.json;
    assert!((count..=count + in_flight).contains(&found.0), "{count}: {found:?} {report:#}");
    assert!((found.0..=count + in_flight).contains(&found.1), "{count}: {found:?} {report:#}");
    let ids: HashSet<_> = finished.spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), finished.spans.len());
    assert!(servers.iter().all(|span| span.service() == "nginx"));
    for spans in [servers, clients] {
        let unanswered = spans.iter().filter(|span| span.status() != Some(200)).count();
        assert!(unanswered <= in_flight, "{unanswered}");
    }
    finished
}
