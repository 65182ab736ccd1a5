//! A real Collector that goes and comes back while requests are traced: its file holds exactly the spans that it
//! acknowledged, each once.

use std::{collections::HashSet, fs, path::Path};

use spandrel_test_support::{
    Agent, Lab, Program, http,
    process::{command, run},
    require, skip, span,
};

use crate::{
    cache::cached,
    collector::{VERSION, build},
    common::{PYTHON, curl, echo, traced},
};

/// Requests of curl to Python in each life of the Collector, and while there is none: twice as many spans.
const COUNT: usize = 100;

/// A Collector on this port that adds to one file. It has no batches of its own: what it acknowledges it has given
/// to the file.
fn collector(lab: &Lab, folder: &Path, port: u16) -> Program {
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}
exporters: {{file: {{path: {out}, append: true, flush_interval: 50ms}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
",
        out = lab.text("received.jsonl")
    );
    let home = lab.write("collector.yaml", config);
    let mut otelcol = command(folder.join("otelcol"));
    otelcol.current_dir(home.parent().expect("a folder")).args(["--config", "collector.yaml"]);
    let program = Program::start(&mut otelcol);
    program.wait_stderr("not ready", |line| line.contains("Everything is ready").then_some(()));
    program
}

fn received(lab: &Lab) -> Vec<String> {
    let text = fs::read_to_string(lab.path("received.jsonl")).unwrap_or_default();
    text.lines().flat_map(span::parse).map(|span| span.span_id).collect()
}

#[test]
fn a_collector_that_is_restarted() {
    require!("go", PYTHON, "curl");
    let folder = match cached(&format!("otelcol-{VERSION}"), build) {
        Ok(folder) => folder,
        Err(why) => skip!("{why}"),
    };
    let lab = Lab::new();
    let (listener, at) = http::listener();
    drop(listener);
    let first = collector(&lab, &folder, at);
    let options = traced(&lab, "auto")
        .args(["--otlp-endpoint", &format!("http://127.0.0.1:{at}")])
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd");
    let mut agent = Agent::start(&options);
    let (_server, port) = echo(&lab);
    let requests = || {
        let answers = run(curl(&lab).arg(format!("http://127.0.0.1:{port}/bytes/[1-{COUNT}]"))).success();
        assert_eq!(answers.matches("200 ").count(), COUNT, "{answers}");
    };
    requests();
    agent.wait_for("spans", |spans| spans.len() >= 2 * COUNT);
    first.terminate();
    requests();
    agent.wait_stderr("no word of the failure", |line| line.contains(" fails (").then_some(()));
    let second = collector(&lab, &folder, at);
    requests();
    agent.wait_stderr("no word of the recovery", |line| line.contains("works again").then_some(()));
    agent.wait_for("all spans", |spans| spans.len() >= 6 * COUNT);
    let finished = agent.stop();
    second.terminate();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    assert_eq!((ledger.exported, ledger.lost(), ledger.open), (6 * COUNT as u64, 0, 0), "{ledger:?}");
    let received = received(&lab);
    let unique: HashSet<_> = received.iter().collect();
    assert_eq!((received.len(), unique.len()), (6 * COUNT, 6 * COUNT), "{}", finished.stderr);
}
