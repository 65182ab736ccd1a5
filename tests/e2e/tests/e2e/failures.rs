//! Requests whose response never comes, or not whole: a span that says so, on both ends.

use std::time::Duration;

use rustix::process::Signal;
use spandrel_test_support::{Agent, Finished, Lab, Program, Span, http, process::run, require};

use crate::{
    common::{PYTHON, assert_counts, curl, profiles, traced},
    wire::raw,
};

profiles!(broken_answers, server_killed, client_gives_up, client_killed, refused);

#[track_caller]
fn assert_end(span: &Span, status: Option<i64>, error: Option<&str>, outcome: &str) {
    assert_eq!(
        (span.status(), span.str("error.type"), span.str("spandrel.outcome"), span.error),
        (status, error, Some(outcome), error.is_some()),
        "{span:?}"
    );
}

#[track_caller]
fn pair(finished: &Finished, path: &str) -> (Span, Span) {
    let of = |spans: Vec<&Span>| {
        let found: Vec<_> = spans.into_iter().filter(|span| span.path() == path).cloned().collect();
        let [one] = &found[..] else { panic!("{path}: {found:#?}") };
        one.clone()
    };
    (of(finished.servers()), of(finished.clients()))
}

fn broken_answers(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = raw(&lab);
    for (path, code) in [("half", 18), ("reset", 56), ("shut", 52), ("cut", 0)] {
        let output = run(curl(&lab).arg(format!("http://127.0.0.1:{port}/{path}")));
        // Of a head that is cut, each version of curl thinks something else.
        assert!(output.code() == code || path == "cut", "{path}: {output:?}");
    }
    agent.wait_for("8 spans", |spans| spans.len() >= 8);
    let finished = agent.stop();
    assert_counts(&finished, 4, 4);
    let (server, client) = pair(&finished, "/half");
    assert_end(&server, Some(200), Some("connection_closed"), "local_closed");
    assert_end(&client, Some(200), Some("connection_closed"), "peer_closed");
    assert_eq!(client.int("http.response.body.size"), Some(500));
    let (server, client) = pair(&finished, "/reset");
    assert_end(&server, Some(200), Some("connection_closed"), "local_closed");
    // What came before a reset is read, or not, as it happens.
    assert_end(&client, client.status(), Some("connection_reset"), "failed");
    let (server, client) = pair(&finished, "/cut");
    assert_end(&server, Some(200), Some("connection_closed"), "local_closed");
    assert_end(&client, Some(200), Some("connection_closed"), "peer_closed");
    let (server, client) = pair(&finished, "/shut");
    assert_end(&server, None, Some("connection_closed"), "local_closed");
    assert_end(&client, None, Some("connection_closed"), "peer_closed");
}

fn server_killed(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (server, port) = raw(&lab);
    let output = run(curl(&lab).arg(format!("http://127.0.0.1:{port}/die")));
    assert!([18, 56].contains(&output.code()), "{output:?}");
    assert_eq!(server.finish().code(), 128 + 9);
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let finished = agent.stop();
    assert_counts(&finished, 1, 1);
    let (server, client) = pair(&finished, "/die");
    assert_end(&server, Some(200), Some("process_exit"), "process_exit");
    assert!(client.error && client.status() == Some(200), "{client:?}");
}

/// curl's own timeout closes the connection: cancelled, on a connection where the server says nothing.
fn client_gives_up(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = raw(&lab);
    let output = run(curl(&lab).args(["--max-time", "0.3"]).arg(format!("http://127.0.0.1:{port}/silent")));
    assert_eq!(output.code(), 28, "{output:?}");
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let finished = agent.stop();
    assert_counts(&finished, 1, 1);
    let (server, client) = pair(&finished, "/silent");
    assert_end(&client, None, Some("cancelled"), "cancelled");
    assert_end(&server, None, Some("client_closed"), "peer_closed");
    assert!(
        Duration::from_nanos(client.end_ns - client.start_ns) >= Duration::from_millis(200),
        "{client:?}"
    );
}

fn client_killed(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = raw(&lab);
    let client = Program::start(curl(&lab).args(["--verbose", &format!("http://127.0.0.1:{port}/silent")]));
    // It says so when the whole request is sent.
    client.wait_stderr("not sent", |line| (line.trim_end() == ">").then_some(()));
    client.signal(Signal::KILL);
    assert_eq!(client.finish().code(), 128 + 9);
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let finished = agent.stop();
    assert_counts(&finished, 1, 1);
    let (server, client) = pair(&finished, "/silent");
    assert_end(&client, None, Some("process_exit"), "process_exit");
    assert_end(&server, None, Some("client_closed"), "peer_closed");
}

/// Where nobody listens there is no request. A reset from the client is one of the connection.
fn refused(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (listener, port) = http::listener();
    drop(listener);
    let output = run(curl(&lab).arg(format!("http://127.0.0.1:{port}/nobody")));
    assert_eq!(output.code(), 7, "{output:?}");
    let (_server, port) = raw(&lab);
    let client = http::connect(http::local(port));
    http::send(&client, b"GET /silent HTTP/1.1\r\nHost: h\r\n\r\n");
    // Bytes that were not read make closing a reset.
    let hints = http::connect(http::local(port));
    http::send(&hints, b"GET /hints HTTP/1.1\r\nHost: h\r\n\r\n");
    hints.peek(&mut [0]).expect("an answer");
    drop(client);
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    drop(hints);
    let finished = agent.stop();
    assert_counts(&finished, 2, 0);
    let of = |path| finished.servers().into_iter().find(|span| span.path() == path).expect("a span");
    assert_end(of("/silent"), None, Some("client_closed"), "peer_closed");
    assert_eq!(of("/hints").status(), Some(200));
}
