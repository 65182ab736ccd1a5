//! Durations count every request, whatever the sampler does with it, and rules that are tried count what they would do.

use std::collections::BTreeMap;

use spandrel_test_support::{Agent, Lab, Options, http, require};

use crate::common::{PYTHON, echo, profiles, script};

profiles!(all, of_ends, tried);

/// Rounds of the requests below.
const ROUNDS: usize = 40;

/// Asks a server on kept connections; prints what it asked and was answered.
const ASK: &str = r#"
import http.client, sys
port, rounds = int(sys.argv[1]), int(sys.argv[2])
kinds = [("GET", "/bytes/70000"), ("GET", "/status/500"), ("POST", "/status/404"), ("PUT", "/"), ("DELETE", "/status/204"),
         ("HEAD", "/bytes/10"), ("GET", "/chunked/5000"), ("PURGE", "/status/304"), ("PATCH", "/moved")]
connection = http.client.HTTPConnection("127.0.0.1", port)
for round in range(rounds):
    for method, path in kinds:
        connection.request(method, path, body=b"x" * 3000 if method in ("POST", "PUT", "PATCH") else None)
        answer = connection.getresponse()
        answer.read()
        print(method if method != "PURGE" else "_OTHER", answer.status)
"#;

/// What was measured, by method and status.
fn counts(metrics: &str, role: &str) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    let name = format!("http_{role}_request_duration_seconds_count{{");
    for line in metrics.lines().filter(|line| line.starts_with(&name)) {
        let label = |label: &str| {
            let (_, rest) = line.split_once(&format!("{label}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let method = label("http_request_method").expect("a method");
        let status = label("http_response_status_code").unwrap_or_default();
        let error = label("error_type");
        let bad = if role == "server" { "500" } else { "400" };
        let fails = status.as_str() < "100" || status.as_str() >= bad;
        assert_eq!(error.is_some(), fails, "{line}");
        let (_, value) = line.rsplit_once(' ').expect("a value");
        *counts.entry((method, status)).or_insert(0) += value.parse::<u64>().expect("a number");
    }
    counts
}

/// The metrics, once everything that happened so far is in them: the last request's span is there.
fn metrics(agent: &mut Agent, port: u16) -> String {
    let stream = http::connect(http::local(port));
    let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    http::send(&stream, format!("TRACE /last HTTP/1.1\r\nHost: h\r\n{parent}\r\n\r\n").as_bytes());
    assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
    agent.wait_for("last span", |spans| spans.iter().any(|span| span.path() == "/last"));
    http::get(agent.address().port(), "/metrics")
}

fn total(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Many methods and statuses at a ratio: as many in the metrics as were asked, on both sides, and between them.
fn all(profile: &str) {
    require!(PYTHON);
    for ratio in ["0", "0.3"] {
        let lab = Lab::new();
        let options = Options::of(&lab)
            .profile(profile)
            .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
            .env("OTEL_TRACES_SAMPLER_ARG", ratio);
        let mut agent = Agent::start(&options);
        let (server, port) = echo(&lab);
        let mut client = script(&lab, PYTHON, "asks.py", ASK);
        client.args([port.to_string(), ROUNDS.to_string()]);
        let answered = spandrel_test_support::process::run(&mut client).success();
        let mut expected = BTreeMap::new();
        for line in answered.lines() {
            let (method, status) = line.split_once(' ').expect("two words");
            *expected.entry((method.to_owned(), status.to_owned())).or_insert(0) += 1;
        }
        assert_eq!(expected.values().sum::<u64>(), 9 * ROUNDS as u64);
        let metrics = metrics(&mut agent, port);
        let mut servers = counts(&metrics, "server");
        assert_eq!(servers.remove(&("TRACE".to_owned(), "200".to_owned())), Some(1));
        assert_eq!(servers, expected, "{profile} {ratio}\n{metrics}");
        assert_eq!(counts(&metrics, "client"), expected, "{profile} {ratio}\n{metrics}");
        let named = format!("server_address=\"127.0.0.1\",server_port=\"{port}\"");
        for line in
            metrics.lines().filter(|line| line.starts_with("http_client_request_duration_seconds_count"))
        {
            assert!(line.contains(&named), "{line}");
        }
        let between = total(&metrics, "traces_service_graph_request_total");
        assert_eq!(between, 9 * ROUNDS as u64, "{profile} {ratio}\n{metrics}");
        let buckets =
            metrics.lines().filter(|line| line.contains("le=\"10\"") && line.starts_with("http_server"));
        let within: u64 = buckets.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum();
        assert_eq!(within, 9 * ROUNDS as u64 + 1, "none takes longer than ten seconds");
        server.kill();
        let finished = agent.stop();
        finished.assert_complete();
        let ledger = &finished.report.ledger;
        assert_eq!(ledger.seen, 18 * ROUNDS as u64 + 1);
        assert!(ratio != "0" || ledger.unsampled == 18 * ROUNDS as u64, "{ledger:?}");
        assert_eq!(finished.report.count("unmeasured_requests"), 0);
        assert_eq!(finished.report.count("unknown_connections"), 0);
        if ratio == "0" {
            assert_eq!(finished.report.count("stream_gaps"), 0, "what is withheld is not missing");
        }
    }
}

/// A server that answers in pieces, by closing, or not at all.
const ENDS: &str = r#"
import socket
listener = socket.create_server(("127.0.0.1", 0))
print("PORT", listener.getsockname()[1], flush=True)
while True:
    stream, _ = listener.accept()
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = stream.recv(4096)
            if not more:
                break
            head += more
        if not head:
            break
        path = head.split()[1]
        if path == b"/pieces":
            for piece in (b"HTTP/1.1 503 No\r\n", b"Content-Length: 4\r\n\r\nab", b"cd"):
                stream.sendall(piece)
        elif path == b"/interim":
            stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            stream.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n")
        elif path == b"/last":
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            if path == b"/close":
                stream.sendall(b"HTTP/1.1 202 OK\r\n\r\nuntil the end")
            elif path == b"/broken":
                stream.sendall(b"HTTP/1.1 203 OK\r\nContent-Length: 100\r\n\r\nnot all")
            break
    stream.close()
"#;

/// Ends that no framing tells: the next request, and the connection's.
fn of_ends(profile: &str) {
    require!(PYTHON);
    let lab = Lab::new();
    let options = Options::of(&lab).profile(profile).env("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let mut agent = Agent::start(&options);
    let server = spandrel_test_support::Program::start(&mut script(&lab, PYTHON, "ends.py", ENDS));
    let port = server.port();
    let kept = http::connect(http::local(port));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    for path in ["/pieces", "/interim", "/pieces"] {
        http::send(&kept, &get(path));
        if path == "/interim" {
            assert!(http::receive(&kept).starts_with("HTTP/1.1 100"));
            assert!(http::receive(&kept).starts_with("HTTP/1.1 103"));
        }
        assert!(http::receive(&kept).starts_with(if path == "/interim" {
            "HTTP/1.1 201"
        } else {
            "HTTP/1.1 503"
        }));
    }
    drop(kept);
    for path in ["/close", "/broken", "/nothing"] {
        let mut stream = http::connect(http::local(port));
        http::send(&stream, &get(path));
        std::io::copy(&mut stream, &mut std::io::sink()).expect("all that comes");
    }
    let metrics = metrics(&mut agent, port);
    server.kill();
    agent.stop().assert_complete();
    let mut lines: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_count"))
        .map(|line| {
            let label = |label: &str| {
                line.split_once(&format!("{label}=\""))
                    .map_or("", |(_, rest)| rest.split('"').next().unwrap_or(""))
            };
            let value = line.rsplit(' ').next().unwrap_or_default();
            format!("{} {:?} {value}", label("http_response_status_code"), label("error_type"))
        })
        .collect();
    lines.sort();
    let expected = [
        " \"connection_closed\" 1",
        "200 \"\" 1",
        "201 \"\" 1",
        "202 \"\" 1",
        "203 \"connection_closed\" 1",
        "503 \"503\" 2",
    ];
    assert_eq!(lines, expected, "{profile}\n{metrics}");
}

/// Rules that are tried count as those that are applied, and change nothing.
fn tried(profile: &str) {
    require!(PYTHON);
    let mut counted = Vec::new();
    for (dry_run, ratio) in [(false, "1"), (true, "1"), (true, "0.5"), (true, "0")] {
        let lab = Lab::new();
        let text = format!(
            "file_format: \"1.1\"\ntracer_provider:\n  sampler: {{parent_based: {{root: {{probability/development: \
             {{ratio: {ratio}}}}}}}}}\n  processors: [{{batch: {{schedule_delay: 20, exporter: {{console: }}}}}}]\n\
             distribution:\n  spandrel:\n    sampling:\n      dry_run: {dry_run}\n      rules:\n      \
             - {{name: health, path: \"/health*\", ratio: 0}}\n      - {{name: rest, method: GET, ratio: 1}}\n"
        );
        let path = lab.write("spandrel.yaml", text).display().to_string();
        let mut agent = Agent::start(&Options::of(&lab).profile(profile).args(["--config", &path]));
        let (server, port) = echo(&lab);
        let stream = http::connect(http::local(port));
        for path in ["/health/a", "/other", "/health/b", "/health/c"].iter().cycle().take(100) {
            http::send(&stream, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
        }
        drop(stream);
        let metrics = metrics(&mut agent, port);
        server.kill();
        let finished = agent.stop();
        finished.assert_complete();
        let ledger = &finished.report.ledger;
        assert_eq!(ledger.seen, 101, "{profile} {dry_run} {ratio}: {ledger:?}");
        let kept = match (dry_run, ratio) {
            (false, _) => 26..=26,
            (true, "1") => 101..=101,
            (true, "0") => 1..=1,
            // Five standard deviations of a fair draw.
            _ => 26..=76,
        };
        assert!(kept.contains(&ledger.exported), "{profile} {dry_run} {ratio}: {ledger:?}");
        assert_eq!(total(&metrics, "http_server_request_duration_seconds_count"), 101);
        let rules: Vec<_> = metrics
            .lines()
            .filter(|line| line.starts_with("spandrel_sampling_rule_total"))
            .map(|line| line.replace("dry_run=\"true\"", "").replace("dry_run=\"false\"", ""))
            .collect();
        assert!(rules.iter().any(|line| line.contains("health") && line.ends_with(" 75")), "{rules:?}");
        counted.push(rules);
    }
    assert!(counted.iter().all(|rules| *rules == counted[0]), "{counted:#?}");
}
