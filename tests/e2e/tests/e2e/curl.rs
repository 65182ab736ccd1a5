//! curl: non-blocking sockets and poll. Python's own server answers.

use std::{fs::File, path::Path};

use spandrel_test_support::{Agent, Lab, Program, Span, Value, process::run, require};

use crate::common::{PYTHON, assert_counts, assert_enclosed, assert_whole, curl, echo, profiles, traced};

profiles!(methods, keep_alive, bodies, chunked, old_and_empty);

fn methods(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = echo(&lab);
    let url = format!("http://127.0.0.1:{port}/way?q=1&sig=secret#not-sent");
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"];
    for method in methods {
        run(curl(&lab).args(["--user-agent", "me/1.0", "--request", method, &url])).success();
    }
    run(curl(&lab).args(["--user-agent", "me/1.0", "--head", &url])).success();
    agent.wait_for("16 spans", |spans| spans.len() >= 16);
    let finished = agent.stop();
    assert_counts(&finished, 8, 8);
    assert_enclosed(&finished);
    for (n, method) in methods.into_iter().chain(["HEAD"]).enumerate() {
        let (server, client) = (finished.servers()[n], finished.clients()[n]);
        let known = if method == "BREW" { "_OTHER" } else { method };
        // Nothing caused the client's; the server's continues it, if its request was written into.
        assert_eq!(client.parent_id, None);
        let parent = server.parent_id.as_deref();
        assert!(parent.is_none_or(|parent| parent == client.span_id), "{server:#?}");
        for span in [server, client] {
            assert_eq!(span.name, if method == "BREW" { "HTTP" } else { method });
            assert!(!span.error);
            span.assert_has(&[
                ("http.request.method", known.into()),
                ("http.response.status_code", 200.into()),
                ("network.protocol.version", "1.1".into()),
                ("server.address", "127.0.0.1".into()),
                ("server.port", port.into()),
                ("network.peer.address", "127.0.0.1".into()),
                ("http.request.body.size", 0.into()),
                ("http.response.body.size", (if method == "HEAD" { 0 } else { 2 }).into()),
            ]);
            let original = span.str("http.request.method_original");
            assert_eq!(original, (method == "BREW").then_some("BREW"));
            span.assert_lacks(&["error.type", "spandrel.outcome"]);
        }
        server.assert_has(&[
            ("url.path", "/way".into()),
            ("url.query", "q=1&sig=REDACTED".into()),
            ("url.scheme", "http".into()),
            ("client.address", "127.0.0.1".into()),
            ("user_agent.original", "me/1.0".into()),
        ]);
        client.assert_has(&[
            ("url.full", format!("http://127.0.0.1:{port}/way?q=1&sig=REDACTED").into()),
            ("network.peer.port", port.into()),
        ]);
        assert_eq!((server.service(), client.service()), ("echo", "curl"));
    }
}

fn keep_alive(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = echo(&lab);
    run(curl(&lab).arg(format!("http://127.0.0.1:{port}/bytes/[1-50]"))).success();
    agent.wait_for("100 spans", |spans| spans.len() >= 100);
    let finished = agent.stop();
    assert_counts(&finished, 50, 50);
    assert_enclosed(&finished);
    assert_whole(&finished);
    let port = finished.servers()[0].int("network.peer.port");
    for (n, span) in finished.servers().iter().enumerate() {
        assert_eq!(span.path(), format!("/bytes/{}", n + 1));
        assert_eq!(span.int("network.peer.port"), port, "one connection");
        assert_eq!(span.int("http.response.body.size"), Some(n as i64 + 1));
    }
}

/// Bytes of a large body.
const SIZE: usize = 10_000_000;

fn bodies(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let file = lab.write("upload", vec![b'u'; SIZE]);
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = echo(&lab);
    let base = format!("http://127.0.0.1:{port}");
    run(curl(&lab).arg(format!("{base}/bytes/{SIZE}"))).success();
    run(curl(&lab).arg("--upload-file").arg(&file).arg(format!("{base}/up"))).success();
    let expect = ["--header", "Expect: 100-continue", "--data-binary", "@-"];
    Program::start_with(curl(&lab).args(expect).arg(format!("{base}/continued")), open(&file))
        .finish()
        .success();
    agent.wait_for("6 spans", |spans| spans.len() >= 6);
    let finished = agent.stop();
    assert_counts(&finished, 3, 3);
    assert_enclosed(&finished);
    let size = SIZE as i64;
    let expected = [("/bytes/10000000", 0, size), ("/up", size, 9), ("/continued", size, 9)];
    let expected = expected.map(|(path, up, down)| (path.to_owned(), Some(up), Some(down)));
    assert_eq!(sizes(&finished.servers()), expected);
    assert_eq!(sizes(&finished.clients()), expected);
    assert_whole(&finished);
}

fn chunked(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let file = lab.write("upload", vec![b'u'; SIZE]);
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = echo(&lab);
    let base = format!("http://127.0.0.1:{port}");
    let upload = format!("{base}/chunked-up");
    Program::start_with(curl(&lab).args(["--upload-file", "-", &upload]), open(&file)).finish().success();
    run(curl(&lab).args([format!("{base}/chunked/{SIZE}"), format!("{base}/chunked/5")])).success();
    agent.wait_for("6 spans", |spans| spans.len() >= 6);
    let finished = agent.stop();
    assert_counts(&finished, 3, 3);
    assert_enclosed(&finished);
    // What is counted is what is on the wire: the size lines too.
    let expected = [(Some(10), Some(0), None), (Some(0), Some(10), None), (Some(0), Some(0), None)];
    assert_eq!(megabytes(&finished.servers()), expected, "{:#?}", finished.spans);
    assert_eq!(megabytes(&finished.clients()), expected, "{:#?}", finished.spans);
    assert_eq!(finished.clients()[1].int("network.peer.port"), Some(port.into()));
    assert_whole(&finished);
}

fn old_and_empty(profile: &str) {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = echo(&lab);
    let base = format!("http://localhost:{port}");
    for path in ["/a", "/b"] {
        // One by one: it would try the connection again that the server closes.
        run(curl(&lab).arg("--http1.0").arg(format!("{base}{path}"))).success();
    }
    let codes = [204, 304, 400, 404, 418, 500, 503, 999];
    run(curl(&lab).args(codes.map(|code| format!("{base}/status/{code}")))).success();
    run(curl(&lab).args(["--location", &format!("{base}/moved")])).success();
    let count = 2 + codes.len() + 2;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    for spans in [finished.servers(), finished.clients()] {
        for span in &spans {
            span.assert_has(&[("server.address", "localhost".into()), ("server.port", port.into())]);
        }
        let versions: Vec<_> = spans.iter().map(|span| span.str("network.protocol.version")).collect();
        assert_eq!(versions[..3], [Some("1.0"), Some("1.0"), Some("1.1")]);
        let found: Vec<_> = spans[2..].iter().map(|span| span.status().unwrap_or(0)).collect();
        assert_eq!(found, [&codes[..], &[302, 200]].concat());
    }
    let wrong = |spans: Vec<&Span>| -> Vec<String> {
        let each = |span: &&Span| span.error.then(|| span.str("error.type").unwrap_or("").to_owned());
        spans.iter().filter_map(each).collect()
    };
    assert_eq!(wrong(finished.servers()), ["500", "503", "999"]);
    assert_eq!(wrong(finished.clients()), ["400", "404", "418", "500", "503", "999"]);
}

/// What proxies say about the client, headers that were asked for, and a trace that goes on.
#[test]
fn fields() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let options = traced(&lab, "auto")
        .env("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "X-Asked, X-Secret, X-Absent")
        .env("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE", "Content-Length")
        .env("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", "x-asked")
        .env("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS", "x-secret");
    let mut agent = Agent::start(&options);
    let (_server, port) = echo(&lab);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let fields = [
        "Host: shop.example:8443",
        "X-Forwarded-For: 203.0.113.7, 198.51.100.1",
        "X-Forwarded-Proto: https",
        "X-Asked: one",
        "X-Asked: two",
        "X-Secret: word",
        "tracestate: vendor=1,other=2",
        &format!("traceparent: 00-{trace}-00f067aa0ba902b7-01"),
    ];
    let headers = fields.iter().flat_map(|field| ["--header", field]);
    run(curl(&lab).args(headers).arg(format!("http://127.0.0.1:{port}/fields"))).success();
    agent.wait_for("2 spans", |spans| spans.len() >= 2);
    let finished = agent.stop();
    assert_counts(&finished, 1, 1);
    let (server, client) = (finished.servers()[0], finished.clients()[0]);
    let list = |values: &[&str]| Value::List(values.iter().map(|value| (*value).into()).collect());
    server.assert_has(&[
        ("server.address", "shop.example".into()),
        ("server.port", 8443.into()),
        ("url.scheme", "https".into()),
        ("client.address", "203.0.113.7".into()),
        ("network.peer.address", "127.0.0.1".into()),
        ("http.request.header.x-asked", list(&["one", "two"])),
        ("http.request.header.x-secret", list(&["[REDACTED]"])),
        ("http.response.header.content-length", list(&["2"])),
    ]);
    server.assert_lacks(&["http.request.header.x-absent", "http.request.header.traceparent"]);
    client.assert_has(&[("http.request.header.x-asked", list(&["one", "two"]))]);
    client.assert_lacks(&["http.request.header.x-secret"]);
    assert_eq!((&*server.trace_id, server.parent_id.as_deref()), (trace, Some("00f067aa0ba902b7")));
    assert_eq!((&*server.trace_state, server.flags), ("vendor=1,other=2", 0x301));
}

fn open(file: &Path) -> File {
    File::open(file).expect("a file")
}

fn sizes(spans: &[&Span]) -> Vec<(String, Option<i64>, Option<i64>)> {
    let size = |span: &&Span| {
        let [up, down] = ["request", "response"].map(|part| span.int(&format!("http.{part}.body.size")));
        (span.path().to_owned(), up, down)
    };
    spans.iter().map(size).collect()
}

/// Sizes in full megabytes, and how it ended: without what is around the chunks.
fn megabytes<'a>(spans: &[&'a Span]) -> Vec<(Option<i64>, Option<i64>, Option<&'a str>)> {
    let each = |span: &&'a Span| {
        let [up, down] = ["request", "response"].map(|part| span.int(&format!("http.{part}.body.size")));
        (up.map(|size| size / 1_000_000), down.map(|size| size / 1_000_000), span.str("spandrel.outcome"))
    };
    spans.iter().map(each).collect()
}
