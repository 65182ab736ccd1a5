//! HTTP/2 without TLS: every stream of a connection is a span of its own, on both ends.

use std::collections::BTreeSet;

use spandrel_test_support::{
    Agent, Finished, Lab, Program, Span, Value,
    process::{command, run},
    require, slow,
};

use crate::common::{
    PYTHON, assert_counts, assert_enclosed, assert_whole, curl, nginx, profiles, script, text, traced,
};

profiles!(files, load, node, go, joined, frames, upgraded);

/// Requests at once on one connection.
const COUNT: usize = 40;

fn served(lab: &Lab) -> (Program, u16) {
    let config = format!(
        "keepalive_requests 100000; server {{ listen LISTEN http2; root {};
           location /said {{ return 200 said; }} location /bad {{ return 503; }} }}",
        text(&lab.path("www"))
    );
    nginx(lab, &config)
}

/// curl and nginx: what is asked for, what comes back, and how much.
fn files(profile: &str) {
    require!("nginx", "curl");
    let lab = Lab::new();
    for (name, size) in [("www/empty", 0), ("www/small", 1000), ("www/large", 10_000_000)] {
        lab.write(name, vec![b'f'; size]);
    }
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = served(&lab);
    let url = |name: &str| format!("http://127.0.0.1:{port}/{name}");
    // One at a time: curl 7.88 asks for several over prior knowledge as it should not, and gives up.
    for asked in ["empty", "small?a=b", "large", "none", "bad"] {
        run(curl(&lab).arg("--http2-prior-knowledge").arg(url(asked))).success();
    }
    run(curl(&lab).args(["--http2-prior-knowledge", "--head"]).arg(url("large"))).success();
    agent.wait_for("12 spans", |spans| spans.len() >= 12);
    let finished = agent.stop();
    assert_counts(&finished, 6, 6);
    assert_whole(&finished);
    assert_enclosed(&finished);
    let found = |spans: Vec<&Span>| {
        let each = |span: &&Span| (span.path().to_owned(), span.status());
        spans.iter().map(each).collect::<Vec<_>>()
    };
    let expected =
        [("/empty", 200), ("/small", 200), ("/large", 200), ("/none", 404), ("/bad", 503), ("/large", 200)];
    let expected = expected.map(|(path, status)| (path.to_owned(), Some(status)));
    assert_eq!(found(finished.servers()), expected);
    assert_eq!(found(finished.clients()), expected);
    for span in &finished.spans {
        span.assert_has(&[("network.protocol.version", "2".into()), ("server.port", port.into())]);
    }
    let [_, small, large, none, bad, head] = finished.servers()[..] else { panic!("six spans") };
    small.assert_has(&[("url.query", "a=b".into()), ("url.scheme", "http".into())]);
    small.assert_has(&[("server.address", "127.0.0.1".into())]);
    large.assert_has(&[("http.response.body.size", 10_000_000.into())]);
    head.assert_has(&[("http.request.method", "HEAD".into())]);
    assert!(!none.error && bad.error && finished.clients()[3].error);
}

/// Many streams at once: as many spans as requests.
fn load(profile: &str) {
    require!("nginx", "h2load");
    if profile != "socket" {
        slow!();
    }
    let lab = Lab::new();
    lab.write("www/small", vec![b'f'; 100]);
    let mut agent = Agent::start(&traced(&lab, profile));
    let (_server, port) = served(&lab);
    let mut count = 0;
    for (clients, streams) in [("1", "1"), ("1", "16"), ("2", "100")] {
        let mut h2load = command("h2load");
        h2load
            .args(["-n", "600", "-c", clients, "-m", streams])
            .arg(format!("--log-file={}", lab.text("log")));
        run(h2load.arg(format!("http://127.0.0.1:{port}/small"))).success();
        count += 600;
        agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    }
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    assert_whole(&finished);
    for span in &finished.spans {
        assert_eq!((span.path(), span.status()), ("/small", Some(200)));
    }
}

/// Node as both ends, with gRPC's form of answers, contexts that are carried, and streams that are broken off.
fn node(profile: &str) {
    require!("node");
    if profile != "socket" {
        slow!();
    }
    let lab = Lab::new();
    let streams = || script(&lab, "node", "streams.js", include_str!("../../programs/streams.js"));
    let mut agent = Agent::start(&traced(&lab, profile));
    let server = Program::start(&mut streams());
    run(streams().args([server.port().to_string(), COUNT.to_string()])).success();
    let count = 2 * COUNT + 5;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    let finished = agent.stop();
    finished.assert_complete();
    assert_eq!((finished.servers().len(), finished.clients().len()), (count, count));
    assert_at_once(&finished, 100);
    for span in finished.spans.iter().filter(|span| span.path().starts_with("/agent/")) {
        assert_eq!((&*span.trace_id, span.parent_id.as_deref()), (&*"ab".repeat(16), Some(&*"cd".repeat(8))));
    }
    let calls = |spans: Vec<&Span>| {
        let calls = spans.into_iter().filter(|span| span.str("rpc.system.name") == Some("grpc"));
        let word = |span: &Span, key: &str| span.str(key).unwrap_or("-").to_owned();
        calls
            .map(|span| [span.name.clone(), word(span, "rpc.status_code"), word(span, "error.type")])
            .collect::<Vec<_>>()
    };
    let row = |name: &str, status: &str, error: &str| {
        [format!("rpc/shop.Cart/{name}"), status.to_owned(), error.to_owned()]
    };
    let (late, gone) = ("DEADLINE_EXCEEDED", "CANCELLED");
    assert_eq!(
        calls(finished.servers()),
        [
            row("Add", "OK", "-"),
            row("Missing", "NOT_FOUND", "-"),
            row("Never", late, late),
            row("Never", gone, "-")
        ]
    );
    assert_eq!(
        calls(finished.clients()),
        [
            row("Add", "OK", "-"),
            row("Missing", "NOT_FOUND", "NOT_FOUND"),
            row("Never", late, late),
            row("Never", gone, gone)
        ]
    );
    for span in finished.spans.iter().filter(|span| span.path() == "/reset") {
        span.assert_has(&[("spandrel.outcome", "reset".into()), ("error.type", "internal_error".into())]);
    }
}

/// The requests that were sent at once: each once on either end, with the size of its body.
#[track_caller]
fn assert_at_once(finished: &Finished, each: i64) {
    for spans in [finished.servers(), finished.clients()] {
        let found: BTreeSet<_> = spans
            .iter()
            .filter_map(|span| {
                let number: i64 = span.path().strip_prefix("/at-once/")?.parse().ok()?;
                assert_eq!(span.int("http.request.body.size"), Some(number * each), "{span:#?}");
                assert_eq!(span.status(), Some(200));
                Some(number)
            })
            .collect();
        assert!(found.into_iter().eq(0..COUNT as i64));
    }
}

/// Go as both ends.
fn go(profile: &str) {
    require!("go");
    if profile != "socket" {
        slow!();
    }
    let lab = Lab::new();
    lab.write("go/go.mod", "module gostreams\n\ngo 1.24\n");
    lab.write("go/gostreams.go", include_str!("../../programs/gostreams.go"));
    let binary = lab.path("gostreams");
    let mut build = command("go");
    build.args(["build", "-o"]).arg(&binary).current_dir(lab.path("go"));
    let built = run(build.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod -buildvcs=false"));
    if built.code() != 0 {
        spandrel_test_support::skip!("this Go has no HTTP/2 without TLS: {}", built.stderr);
    }
    let mut agent = Agent::start(&traced(&lab, profile));
    let server = Program::start(&mut command(&binary));
    run(command(&binary).args([server.port().to_string(), COUNT.to_string()])).success();
    let count = COUNT + 2;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    assert_whole(&finished);
    assert_at_once(&finished, 1000);
}

/// A connection that is older than the agent: soon every request is a span, and what is not known is left out.
fn joined(profile: &str) {
    require!("nginx", "node");
    let lab = Lab::new();
    lab.write("www/small", vec![b'f'; 100]);
    let (_server, port) = served(&lab);
    let source = include_str!("../../programs/steady.js");
    let mut steady = script(&lab, "node", "steady.js", source);
    let asking = Program::start_told(steady.arg(port.to_string()));
    asking.wait_stdout("it did not ask", |line| (line == "asked 20").then_some(()));
    let mut agent = Agent::start(&traced(&lab, profile));
    let mut asking = asking;
    asking.tell("go on");
    asking.wait_stdout("it did not end", |line| (line == "asked 220").then_some(()));
    agent.wait_for("spans", |spans| spans.len() >= 380);
    drop(asking);
    let finished = agent.stop();
    for spans in [finished.servers(), finished.clients()] {
        assert!((190..=200).contains(&spans.len()), "{} spans of 200 requests", spans.len());
        for span in &spans {
            assert_eq!(span.status(), Some(200), "{span:#?}");
        }
        // What changes with every request is known in each; what was said before the agent came is not.
        let known = spans.iter().filter(|span| span.path().starts_with("/small")).count();
        assert!(known * 10 >= spans.len() * 9, "{known} of {}", spans.len());
    }
}

/// Frames of every form, cut by calls in every way.
fn frames(profile: &str) {
    const REQUESTS: usize = 150;
    require!(PYTHON);
    let lab = Lab::new();
    let mut options = traced(&lab, profile);
    for kind in ["SERVER", "CLIENT"] {
        for (what, names) in [("REQUEST", "x-n"), ("RESPONSE", "content-length")] {
            let name = format!("OTEL_INSTRUMENTATION_HTTP_{kind}_CAPTURE_{what}_HEADERS");
            options = options.env(&name, names);
        }
    }
    let mut agent = Agent::start(&options);
    let seeds = 4;
    for seed in 1..=seeds {
        let mut frames = script(&lab, PYTHON, "frames.py", include_str!("../../programs/frames.py"));
        run(frames.args([REQUESTS.to_string(), seed.to_string()])).success();
    }
    let count = REQUESTS * seeds;
    agent.wait_for("all spans", |spans| spans.len() >= 2 * count);
    let finished = agent.stop();
    assert_counts(&finished, count, count);
    assert_whole(&finished);
    for spans in [finished.servers(), finished.clients()] {
        let mut numbers = vec![0; REQUESTS];
        for span in spans {
            let (_, rest) = span.path().split_once('/').expect("a path");
            let (number, size) = rest.split_once('/').expect("two parts");
            numbers[number.parse::<usize>().expect("a number")] += 1;
            let list = |value: &str| Value::List(vec![Value::from(value)]);
            assert_eq!(span.get("http.request.header.x-n"), Some(&list(number)), "{span:#?}");
            assert_eq!(span.int("http.request.body.size"), size.parse().ok(), "{span:#?}");
            let body = span.int("http.response.body.size").expect("a size").to_string();
            assert_eq!(span.get("http.response.header.content-length"), Some(&list(&body)), "{span:#?}");
        }
        assert!(numbers.into_iter().all(|times| times == seeds));
    }
}

/// A connection that turns to HTTP/2 by an upgrade: the first stream answers what was asked before.
fn upgraded(profile: &str) {
    require!(PYTHON, "curl");
    if profile != "socket" {
        slow!();
    }
    let lab = Lab::new();
    let mut agent = Agent::start(&traced(&lab, profile));
    let source = include_str!("../../programs/upgrade.py");
    let server = Program::start(&mut script(&lab, PYTHON, "upgrade.py", source));
    for path in ["whole", "pieces?a=b"] {
        let url = format!("http://127.0.0.1:{}/{path}", server.port());
        run(curl(&lab).arg("--http2").arg(url)).success();
    }
    agent.wait_for("4 spans", |spans| spans.len() >= 4);
    let finished = agent.stop();
    assert_counts(&finished, 2, 2);
    assert_whole(&finished);
    assert_enclosed(&finished);
    for spans in [finished.servers(), finished.clients()] {
        let paths: Vec<_> = spans.iter().map(|span| span.path()).collect();
        assert_eq!(paths, ["/whole", "/pieces"]);
        for span in spans {
            assert_eq!(span.status(), Some(404));
            span.assert_has(&[
                ("http.response.body.size", 8.into()),
                ("network.protocol.version", "2".into()),
            ]);
        }
    }
}
