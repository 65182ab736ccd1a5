//! What an operator sees of delivery: where spans go, what each destination came to, whom rules and policies let through.

use std::{collections::HashSet, fmt::Write as _, process::Stdio, time::Instant};

use spandrel_test_support::{
    Agent, Kind, Lab, http,
    otlp::{Backend, Reply},
    process::{command, run},
    require,
};

use crate::{
    chaos::{COUNT, configured, destination, dropped, requests},
    common::{PYTHON, echo, traced},
};

/// More than the lines that one place of the code may say within ten seconds.
const MANY: usize = 30;

#[test]
fn the_last_words_of_many_destinations() {
    require!(PYTHON, "curl");
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Status(400, vec![]));
    let name = |number| format!("d{number:02}");
    let all: String = (0..MANY).map(|number| destination(&name(number), &backend.url(), "")).collect();
    let config = format!("distribution:\n  spandrel:\n    destinations:\n{all}");
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    let finished = agent.stop();
    finished.report.ledger.assert_closed();
    for number in 0..MANY {
        let (name, url, spans) = (name(number), backend.url(), 2 * COUNT);
        for said in [
            format!("{name} ({url}/v1/traces)"),
            format!("export to {name} ({url}/v1/traces): "),
            format!("{name}: in all 0 spans were sent and {spans} were not: export_refused {spans}"),
        ] {
            assert!(finished.stderr.contains(&said), "no {said:?} in\n{}", finished.stderr);
        }
    }
}

#[test]
fn where_spans_go_is_said_at_the_start() {
    let lab = Lab::new();
    let file = lab.text("spans.json");
    let config = format!(
        "tracer_provider:\n  processors:
    - batch: {{exporter: {{otlp_http: {{endpoint: \"http://127.0.0.1:9/v1/traces?key=canary\"}}}}}}
    - batch: {{exporter: {{otlp_grpc: {{endpoint: \"http://127.0.0.1:10\"}}}}}}
distribution: {{spandrel: {{destinations: [{{name: here, exporter: {{file: {{path: {file}}}}}}}]}}}}\n"
    );
    let finished = Agent::start(&configured(&lab, &config)).stop();
    let said = format!(
        "spans go to otlp (http://127.0.0.1:9/v1/traces?(hidden)), otlp-2 (http://127.0.0.1:10/), here ({file})"
    );
    assert!(finished.stderr.contains(&said) && !finished.stderr.contains("canary"), "{}", finished.stderr);
}

/// Requests a second that a rule lets through.
const LIMIT: f64 = 5.0;

#[test]
fn rules_limits_and_templates() {
    require!(PYTHON);
    let lab = Lab::new();
    let config = format!(
        "file_format: \"1.1\"\ndistribution:\n  spandrel:\n    redaction: {{paths: named}}\n    sampling:\n      rules:
        - {{name: health, path: \"/health*\", ratio: 0}}
        - {{name: checkout, path: \"/checkout*\", ratio: 1, per_second: {LIMIT}}}\n"
    );
    let file = lab.write("spandrel.yaml", config).display().to_string();
    let mut agent = Agent::start(&traced(&lab, "auto").args(["--config", &file]));
    let (server, port) = echo(&lab);
    let stream = http::connect(http::local(port));
    let begun = Instant::now();
    for number in 0..60 {
        for path in ["/health/live".to_owned(), "/checkout".to_owned(), format!("/users/{number}/cart")] {
            http::send(&stream, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            assert!(http::receive(&stream).starts_with("HTTP/1.1 200"));
        }
    }
    let took = begun.elapsed().as_secs_f64();
    agent.wait_for("users", |spans| {
        spans.iter().filter(|span| span.path().starts_with("/users")).count() == 60
    });
    let metrics = http::get(agent.address().port(), "/metrics");
    drop(stream);
    server.kill();
    let finished = agent.stop();
    finished.assert_complete();
    let named = |name: &str| finished.spans.iter().filter(|span| span.name == name).count();
    assert_eq!(named("GET /users/{id}/cart"), 60, "{:#?}", finished.spans.first());
    let template = spandrel_test_support::Value::Str("/users/{id}/cart".to_owned());
    assert!(
        finished
            .spans
            .iter()
            .any(|span| span.get("url.template") == Some(&template)
                || span.get("http.route") == Some(&template))
    );
    let kept = named("GET /checkout");
    // What a second may have at once, and what came in since.
    assert!((5..=(LIMIT * (took + 2.0)) as usize).contains(&kept), "{kept} in {took} s");
    assert_eq!(finished.spans.len(), 60 + kept, "of /health there is nothing");
    for (rule, decision, count) in
        [("health", "dropped", 60), ("checkout", "kept", kept), ("checkout", "limited", 60 - kept)]
    {
        let line = metrics.lines().find(|line| {
            line.starts_with("spandrel_sampling_rule_total")
                && line.contains(&format!("rule=\"{rule}\""))
                && line.contains(&format!("decision=\"{decision}\""))
        });
        assert!(line.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{rule} {decision}: {line:?}");
    }
}

/// Spans from the beginning, and from the end, that are certainly kept by one policy and not by the other.
const ENDS: usize = 8;

/// A queue that is full while the backend hangs: what goes is what came last, or what waits longest.
#[test]
fn who_goes_when_the_queue_is_full() {
    require!(PYTHON, "curl");
    for policy in ["newest", "oldest"] {
        let lab = Lab::new();
        let backend = Backend::start(|_| Reply::Hang);
        let more =
            format!("        drop: {policy}\n        max_queue_size: 64\n        requests_in_flight: 1\n");
        let config = format!(
            "distribution:\n  spandrel:\n    destinations:\n{}",
            destination("main", &backend.url(), &more)
        );
        let mut agent = Agent::start(&configured(&lab, &config).console("json"));
        let (_server, port) = echo(&lab);
        requests(&lab, port);
        agent.wait_for("all spans", |spans| spans.len() == 2 * COUNT);
        // One by one: of many at once that are in no batch yet, the last ones go by either policy.
        for number in 1..=ENDS {
            http::get(port, "/bytes/1");
            agent.wait_for("one more", |spans| spans.len() == 2 * COUNT + number);
        }
        backend.wait_requests(1);
        backend.script(|_| Reply::Ok);
        let finished = agent.stop();
        let ledger = &finished.report.ledger;
        ledger.assert_closed();
        let accepted: HashSet<_> = backend.accepted().into_iter().collect();
        assert_eq!(ledger.exported, accepted.len() as u64);
        assert_eq!(dropped(&finished, "queue_full") as usize, 2 * COUNT + ENDS - accepted.len());
        assert!(accepted.len() <= 64 + 16, "{}", accepted.len());
        let mut spans: Vec<_> = finished.spans.iter().filter(|span| span.kind == Kind::Server).collect();
        spans.sort_by_key(|span| span.end_ns);
        let (first, last) = (&spans[..ENDS], &spans[spans.len() - ENDS..]);
        let has = |spans: &[&spandrel_test_support::Span]| {
            spans.iter().filter(|span| accepted.contains(&span.span_id)).count()
        };
        let expect = if policy == "newest" { (ENDS, 0) } else { (has(first), ENDS) };
        assert_eq!((has(first), has(last)), expect, "{policy}\n{}", finished.stderr);
    }
}

/// What `/metrics` says is what Prometheus reads, without a complaint of its own judge.
#[test]
fn metrics_are_as_prometheus_has_them() {
    require!(PYTHON, "curl", "promtool");
    let lab = Lab::new();
    let backend = Backend::start(|_| Reply::Status(400, vec![]));
    let config = format!(
        "distribution:\n  spandrel:\n    spill: {{path: {}}}\n    dead_letters: {{path: {}}}\n    destinations:\n{}",
        lab.text("queue"),
        lab.text("dead"),
        destination("main", &backend.url(), "")
    );
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    backend.wait_requests(1);
    let page = http::get(agent.address().port(), "/metrics");
    let body = page.split_once("\r\n\r\n").map_or(page.as_str(), |(_, body)| body);
    let mut text = String::new();
    // The last line ends, as all others do.
    writeln!(text, "{}", body.trim_end()).expect("a string takes all");
    let file = std::fs::File::open(lab.write("metrics", text)).expect("it was written");
    let judged = run(command("promtool").args(["check", "metrics"]).stdin(Stdio::from(file)));
    assert_eq!((judged.code(), judged.stderr.trim()), (0, ""), "{judged:?}");
    agent.stop();
}
