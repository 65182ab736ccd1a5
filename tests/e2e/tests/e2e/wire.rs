//! HTTP/1 as it is on real wires: what servers and clients send that is not one plain message after the other.
//! The client is this test, which is not traced, so that every byte is chosen; the server is `programs/raw.py`.

use std::{io::Read as _, net::TcpStream};

use spandrel_test_support::{Agent, Finished, Lab, Program, Span, http, require};

use crate::common::{PYTHON, assert_counts, assert_whole, profiles, script, traced};

profiles!(pipelined, odd_heads, interim_responses, bodies, tunnels, not_http);

pub(crate) fn raw(lab: &Lab) -> (Program, u16) {
    let server = Program::start(&mut script(lab, PYTHON, "raw.py", include_str!("../../programs/raw.py")));
    let port = server.port();
    (server, port)
}

/// One traced server, what a test says to it, and what became of that.
#[track_caller]
fn talk(profile: &str, spans: usize, say: impl FnOnce(u16)) -> Finished {
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = raw(&lab);
    say(port);
    agent.wait_for("all spans", |found| found.len() >= spans);
    let finished = agent.stop();
    assert_counts(&finished, spans, 0);
    finished
}

/// Sends this and reads until the other end closes.
#[track_caller]
fn say(port: u16, pieces: &[&[u8]]) -> String {
    let stream = http::connect(http::local(port));
    stream.set_nodelay(true).expect("an option");
    for piece in pieces {
        http::send(&stream, piece);
    }
    rest(stream)
}

#[track_caller]
fn rest(mut stream: TcpStream) -> String {
    stream.shutdown(std::net::Shutdown::Write).expect("an end");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn paths<'a>(spans: &[&'a Span]) -> Vec<(&'a str, Option<i64>)> {
    spans.iter().map(|span| (span.path(), span.status())).collect()
}

/// Twenty requests in one write, and twenty cut anywhere: answers come in order.
fn pipelined(profile: &str) {
    require!(PYTHON);
    let request = |n: usize| {
        let body = "b".repeat(n % 4);
        format!("POST /pipe/{n} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let all: String = (0..20).map(request).collect();
    let finished = talk(profile, 40, |port| {
        assert_eq!(say(port, &[all.as_bytes()]).matches("raw").count(), 20);
        let pieces: Vec<_> = all.as_bytes().chunks(37).collect();
        assert_eq!(say(port, &pieces).matches("raw").count(), 20);
    });
    let expected: Vec<_> = (0..40).map(|n| format!("/pipe/{}", n % 20)).collect();
    let found = finished.servers();
    assert_eq!(found.iter().map(|span| span.path()).collect::<Vec<_>>(), expected);
    assert_whole(&finished);
    for (n, span) in found.iter().enumerate() {
        let size = (n % 20 % 4) as i64;
        span.assert_has(&[("http.request.body.size", size.into()), ("http.response.body.size", 3.into())]);
    }
}

/// Heads in one-byte pieces, above the capture limit, with line feeds alone, with empty lines before, folded,
/// absolute-form, HTTP/1.0 and 0.9-like targets.
fn odd_heads(profile: &str) {
    require!(PYTHON);
    let long = format!("GET /long-request HTTP/1.1\r\nHost: h\r\nX-Long: {}\r\n\r\n", "x".repeat(40_000));
    let requests: [&[u8]; 5] = [
        b"\r\nGET /blank-line HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /line-feeds HTTP/1.1\nHost: h\n\n",
        b"GET http://named:81/absolute?q HTTP/1.1\r\nHost: other\r\n\r\n",
        b"GET /old HTTP/1.0\r\n\r\n",
        b"GET /folded HTTP/1.1\r\nHost: h\r\nUser-Agent: one\r\n two\r\n\tthree\r\n\r\n",
    ];
    let finished = talk(profile, 11, |port| {
        let single: Vec<_> = b"GET /bytes HTTP/1.1\r\nHost: single\r\n\r\n".chunks(1).collect();
        assert!(say(port, &single).ends_with("raw"));
        assert!(say(port, &[long.as_bytes()]).ends_with("raw"));
        for request in requests {
            assert!(say(port, &[request]).ends_with("raw"), "{}", String::from_utf8_lossy(request));
        }
        for path in ["lf", "fold", "long/200", "long/60000"] {
            say(port, &[format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()]);
        }
    });
    let spans = finished.servers();
    let expected = [
        "/bytes",
        "/long-request",
        "/blank-line",
        "/line-feeds",
        "/absolute",
        "/old",
        "/folded",
        "/lf",
        "/fold",
        "/long/200",
        "/long/60000",
    ];
    assert_eq!(paths(&spans), expected.map(|path| (path, Some(200))));
    spans[0].assert_has(&[("server.address", "single".into())]);
    assert_eq!(spans[1].get("spandrel.request.truncated"), Some(&true.into()));
    spans[4].assert_has(&[
        ("server.address", "named".into()),
        ("server.port", 81.into()),
        ("url.query", "q".into()),
    ]);
    // Without a Host, the server is the socket's own address.
    spans[5]
        .assert_has(&[("network.protocol.version", "1.0".into()), ("server.address", "127.0.0.1".into())]);
    assert!(spans[5].int("server.port").is_some_and(|port| port > 1023), "{:?}", spans[5]);
    spans[6].assert_has(&[("user_agent.original", "one two three".into())]);
    assert_eq!(spans[10].get("spandrel.response.truncated"), Some(&true.into()));
    for span in &spans {
        span.assert_lacks(&["spandrel.outcome", "error.type"]);
    }
    for span in &spans[2..10] {
        span.assert_lacks(&["spandrel.gap", "spandrel.request.truncated", "spandrel.response.truncated"]);
    }
}

/// 1xx responses are not the answer.
fn interim_responses(profile: &str) {
    require!(PYTHON);
    let finished = talk(profile, 2, |port| {
        let answer =
            say(port, &[b"GET /hints HTTP/1.1\r\nHost: h\r\n\r\nGET /normal HTTP/1.1\r\nHost: h\r\n\r\n"]);
        assert_eq!(answer.matches("HTTP/1.1 103").count(), 2, "{answer}");
    });
    assert_eq!(paths(&finished.servers()), [("/hints", Some(200)), ("/normal", Some(200))]);
    assert_whole(&finished);
}

/// Ends of bodies: by closing, by trailers after odd chunks; answers before the request is complete; and lengths
/// that contradict each other, where nobody can tell.
fn bodies(profile: &str) {
    require!(PYTHON);
    let finished = talk(profile, 5, |port| {
        assert!(http::get(port, "/until-close").ends_with("ppp"));
        let two = b"GET /trailers HTTP/1.1\r\nHost: h\r\n\r\nGET /normal HTTP/1.1\r\nHost: h\r\n\r\n";
        assert!(say(port, &[two]).ends_with("raw"));
        let mut early = b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n".to_vec();
        early.resize(early.len() + 2_000_000, b'u');
        assert!(say(port, &[&early]).ends_with("much"));
        http::get(port, "/two-lengths");
    });
    let spans = finished.servers();
    let expected = [
        ("/until-close", Some(200)),
        ("/trailers", Some(200)),
        ("/normal", Some(200)),
        ("/early", Some(413)),
        ("/two-lengths", Some(200)),
    ];
    assert_eq!(paths(&spans), expected);
    assert_eq!(spans[0].int("http.response.body.size"), Some(10_000), "{:?}", spans[0]);
    assert!(spans[1].int("http.response.body.size").is_some_and(|size| size >= 14), "{:?}", spans[1]);
    for span in &spans[..4] {
        span.assert_lacks(&["spandrel.gap", "spandrel.outcome"]);
        assert!(!span.error);
    }
    assert_eq!(finished.report.count("conflicting_length"), 1, "{:#}", finished.report.json);
}

/// After 101 and after a CONNECT that succeeded, what looks like requests is none.
fn tunnels(profile: &str) {
    require!(PYTHON);
    let looks = b"GET /not-a-request HTTP/1.1\r\nHost: h\r\n\r\n";
    let finished = talk(profile, 2, |port| {
        let stream = http::connect(http::local(port));
        http::send(
            &stream,
            b"GET /switch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: odd\r\n\r\n",
        );
        assert!(http::receive(&stream).starts_with("HTTP/1.1 101"));
        for _ in 0..3 {
            http::send(&stream, looks);
        }
        rest(stream);
        let stream = http::connect(http::local(port));
        http::send(&stream, b"CONNECT far:443 HTTP/1.1\r\nHost: far:443\r\n\r\n");
        assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
        for _ in 0..3 {
            http::send(&stream, looks);
        }
        rest(stream);
    });
    let spans = finished.servers();
    assert_eq!((spans[0].path(), spans[0].status()), ("/switch", Some(101)));
    assert_eq!((&*spans[1].name, spans[1].status()), ("CONNECT", Some(200)));
    spans[1].assert_has(&[("server.address", "far".into()), ("server.port", 443.into())]);
    assert_whole(&finished);
    assert_eq!(finished.report.count("tunnels") + finished.report.kernel("tunnels"), 2);
}

/// What is not HTTP makes no span, also when a request comes later on the same connection's bytes.
fn not_http(profile: &str) {
    require!(PYTHON);
    let finished = talk(profile, 1, |port| {
        let redis = b"*1\r\n$4\r\nPING\r\n GET / \r\n\r\n";
        say(port, &[redis]);
        say(port, &[b"\x16\x03\x01\x02\x00\x01\x00 / \r\n\r\n"]);
        say(port, &[b"GET /real HTTP/1.1\r\n\r\n"]);
    });
    assert_eq!(paths(&finished.servers()), [("/real", Some(200))]);
}
