//! Who caused this request? Services whose outbound URL names the inbound request behind it (`tests/truth`), so that the
//! spans themselves prove every parent right, wrong or absent.

mod go;

use std::{
    collections::HashMap,
    net::TcpListener,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use spandrel_test_support::{Agent, Finished, Kind, Lab, Program, Span, http, require};

use crate::common::{PYTHON, nginx, script, traced};

/// Requests of a run.
const REQUESTS: usize = 240;

/// How a run's parents were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Score {
    right: usize,
    wrong: usize,
    absent: usize,
}

impl Score {
    /// By the names in the URLs: `from=ID` in what was sent, `id=ID` in what was received.
    fn of(finished: &Finished) -> Self {
        let servers: HashMap<&str, &Span> =
            finished.servers().into_iter().map(|span| (span.span_id.as_str(), span)).collect();
        let mut score = Self::default();
        for client in finished.clients() {
            let cause = named(client, "from=").or_else(|| named(client, "id="));
            match client.parent_id.as_deref() {
                None => score.absent += 1,
                Some(parent) => match servers.get(parent) {
                    Some(server) if cause.is_some() && named(server, "id=") == cause => {
                        assert_eq!(server.trace_id, client.trace_id, "{client:#?}");
                        score.right += 1;
                    }
                    server => {
                        println!("wrong: {client:#?}\nfor its parent: {server:#?}");
                        score.wrong += 1;
                    }
                },
            }
        }
        score
    }

    fn share(&self) -> f64 {
        self.right as f64 / (self.right + self.wrong + self.absent).max(1) as f64
    }
}

/// What stands behind a word in a span's URL, up to the next parameter.
fn named<'a>(span: &'a Span, word: &str) -> Option<&'a str> {
    let url = span.str("url.full").or_else(|| span.str("url.query"))?;
    let (_, value) = url.split_once(word)?;
    value.split('&').next()
}

/// A server that answers everything, on as many connections as come. It is not traced, and ends with the test.
fn leaf() -> u16 {
    let (listener, port) = http::listener();
    thread::spawn(move || answer(&listener));
    port
}

fn answer(listener: &TcpListener) {
    while let Ok((stream, _)) = listener.accept() {
        thread::spawn(move || {
            use std::io::{BufRead as _, BufReader, Write as _};
            stream.set_nodelay(true).ok();
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                if line == "\r\n"
                    && (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err()
                {
                    break;
                }
                line.clear();
            }
        });
    }
}

/// How a service is loaded.
#[derive(Clone, Copy)]
struct Load {
    /// Connections at once.
    at_once: usize,
    /// Outbound calls that each request causes.
    calls: usize,
    mode: &'static str,
}

impl Load {
    /// All requests, from as many threads as connections, each with an id of its own.
    fn run(self, port: u16) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..self.at_once {
                scope.spawn(|| {
                    let stream = http::connect(http::local(port));
                    stream.set_nodelay(true).expect("no delay");
                    loop {
                        let id = next.fetch_add(1, Ordering::Relaxed);
                        if id >= REQUESTS {
                            return;
                        }
                        let Self { calls, mode, .. } = self;
                        let request = format!(
                            "GET /w?id={id}&calls={calls}&mode={mode} HTTP/1.1\r\nHost: service\r\n\r\n"
                        );
                        http::send(&stream, request.as_bytes());
                        http::receive(&stream);
                    }
                });
            }
        });
    }
}

/// Runs a service under load, and reads the parents of what it sent. `causality` is the agent's mode.
fn score(profile: &str, causality: &str, lab: &Lab, service: &mut Command, load: Load) -> Score {
    let mut agent = Agent::start(&traced(lab, profile).arg("--causality").arg(causality));
    let service = Program::start(service);
    let port = service.port();
    finish(&mut agent, load, port);
    let score = end(agent, load, causality);
    drop(service);
    score
}

fn finish(agent: &mut Agent, load: Load, port: u16) {
    load.run(port);
    agent.wait_for("all spans", |spans| {
        let named = |span: &&Span| named(span, "from=").or_else(|| named(span, "id=")) != Some("nobody");
        let clients = spans.iter().filter(|span| span.kind == Kind::Client).filter(named).count();
        spans.iter().filter(|span| span.kind == Kind::Server).count() >= REQUESTS
            && clients >= REQUESTS * load.calls
    });
}

fn end(agent: Agent, load: Load, causality: &str) -> Score {
    let finished = agent.stop();
    let score = Score::of(&finished);
    println!("{causality} {} at once, {} ({} calls): {score:?}", load.at_once, load.mode, load.calls);
    score
}

fn load(at_once: usize, calls: usize, mode: &'static str) -> Load {
    Load { at_once, calls, mode }
}

fn threads(profile: &str, causality: &str, load: Load, more: &[&str]) -> Score {
    let lab = Lab::new();
    let mut service = script(&lab, PYTHON, "threads.py", include_str!("../../../truth/threads.py"));
    score(profile, causality, &lab, service.arg(leaf().to_string()).args(more), load)
}

fn asyncio(causality: &str, load: Load, more: &[&str]) -> Score {
    let lab = Lab::new();
    let mut service = script(&lab, PYTHON, "loop.py", include_str!("../../../truth/loop.py"));
    score("socket", causality, &lab, service.arg(leaf().to_string()).args(more), load)
}

fn node(causality: &str, load: Load, more: &[&str]) -> Score {
    let lab = Lab::new();
    let mut service = script(&lab, "node", "loop.js", include_str!("../../../truth/loop.js"));
    score("socket", causality, &lab, service.arg(leaf().to_string()).args(more), load)
}

fn java(causality: &str, load: Load) -> Score {
    let lab = Lab::new();
    let mut service = script(&lab, "java", "Workers.java", include_str!("../../../truth/Workers.java"));
    score("socket", causality, &lab, service.arg(leaf().to_string()), load)
}

/// Fails the test unless no parent is wrong and enough are right.
#[track_caller]
fn assert_right(score: &Score, share: f64) {
    assert_eq!(score.wrong, 0, "{score:?}");
    assert!(score.share() >= share, "{score:?}: less than {share}");
}

#[test]
fn python_threads() {
    for profile in ["socket", "syscall"] {
        for at_once in [1, 8, 64] {
            assert_right(&threads(profile, "strict", load(at_once, 2, "kept"), &[]), 1.0);
        }
    }
    assert_right(&threads("socket", "default", load(64, 2, "pool"), &[]), 1.0);
    assert_right(&threads("socket", "default", load(8, 3, "new"), &[]), 1.0);
}

#[test]
fn python_threads_with_work_that_belongs_to_nobody() {
    for at_once in [1, 8] {
        assert_right(&threads("socket", "strict", load(at_once, 2, "kept"), &["poll"]), 0.0);
        assert_right(&threads("socket", "strict", load(at_once, 1, "late"), &[]), 0.0);
    }
}

#[test]
fn java_threads() {
    require!("java");
    for at_once in [1, 8, 64] {
        assert_right(&java("default", load(at_once, 2, "kept")), 0.9);
    }
    assert_right(&java("strict", load(8, 2, "kept")), 0.0);
    for mode in ["client", "late"] {
        assert_right(&java("strict", load(8, 1, mode)), 0.0);
    }
}

#[test]
fn asyncio_loops() {
    assert_right(&asyncio("default", load(1, 2, "kept"), &[]), 1.0);
    assert_right(&asyncio("default", load(1, 3, "gather"), &[]), 1.0);
    assert_right(&asyncio("default", load(8, 2, "kept"), &[]), 0.0);
    for at_once in [1, 8, 64] {
        for mode in ["kept", "gather", "late"] {
            assert_right(&asyncio("strict", load(at_once, 2, mode), &["poll"]), 0.0);
        }
    }
}

#[test]
fn node_loops() {
    require!("node");
    assert_right(&node("default", load(1, 2, "kept"), &[]), 1.0);
    assert_right(&node("default", load(8, 2, "kept"), &[]), 0.0);
    for at_once in [1, 8, 64] {
        for mode in ["kept", "gather", "late"] {
            assert_right(&node("strict", load(at_once, 2, mode), &["poll"]), 0.0);
        }
    }
}

#[test]
fn nginx_upstreams() {
    require!("nginx");
    for (causality, at_once, keep, share) in [
        ("default", 1, 4, 1.0),
        ("default", 8, 4, 0.9),
        ("default", 64, 4, 0.9),
        ("default", 8, 0, 0.9),
        ("strict", 8, 4, 0.0),
    ] {
        let lab = Lab::new();
        let mut agent = Agent::start(&traced(&lab, "socket").arg("--causality").arg(causality));
        let keepalive = if keep > 0 { format!("keepalive {keep};") } else { String::new() };
        let (server, port) = nginx(
            &lab,
            &format!(
                "upstream leaf {{ server 127.0.0.1:{}; {keepalive} }}\nserver {{ listen LISTEN; location / {{ \
                 proxy_pass http://leaf; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}",
                leaf()
            ),
        );
        let load = load(at_once, 1, "proxied");
        finish(&mut agent, load, port);
        let score = end(agent, load, causality);
        drop(server);
        assert_right(&score, share);
    }
}

/// A head that comes in many pieces counts when it is whole: also its `traceparent`.
#[test]
fn heads_in_pieces() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    for profile in ["socket", "syscall"] {
        let lab = Lab::new();
        let mut agent = Agent::start(&traced(&lab, profile).arg("--causality").arg("strict"));
        let mut service = script(&lab, PYTHON, "threads.py", include_str!("../../../truth/threads.py"));
        let service = Program::start(service.arg(leaf().to_string()));
        let stream = http::connect(http::local(service.port()));
        stream.set_nodelay(true).expect("no delay");
        for (id, length) in [(0, 1), (1, 7), (2, 40), (3, 500)] {
            let request = format!(
                "GET /w?id={id}&calls=2&mode=kept HTTP/1.1\r\nHost: service\r\nX-Long: {}\r\n\
                 Traceparent: 00-{TRACE}-b7ad6b716920333{id}-01\r\nX-End: end\r\n\r\n",
                "x".repeat(100)
            );
            for piece in request.as_bytes().chunks(length) {
                http::send(&stream, piece);
            }
            http::receive(&stream);
        }
        agent.wait_for("all spans", |spans| spans.len() >= 4 * 3);
        let finished = agent.stop();
        let score = Score::of(&finished);
        println!("{profile}: {score:?}");
        assert_eq!(score, Score { right: 8, wrong: 0, absent: 0 });
        assert!(finished.spans.iter().all(|span| span.trace_id == TRACE), "{:#?}", finished.spans);
    }
}
