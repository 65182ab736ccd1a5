//! A real Collector that goes and comes back while requests are traced: its file holds exactly the spans that it
//! acknowledged, each once.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use spandrel_test_support::{
    Agent, Lab, Program,
    agent::binary,
    http,
    process::{command, run},
    require, skip, span,
};

use crate::{
    cache::cached,
    chaos::{Small, configured, dropped},
    collector::{VERSION, build},
    common::{PYTHON, curl, echo, text, traced},
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

fn built() -> Result<PathBuf, String> {
    cached(&format!("otelcol-{VERSION}"), build)
}

/// `COUNT` requests, all of them answered.
#[track_caller]
fn requests(lab: &Lab, port: u16) {
    let answers = run(curl(lab).arg(format!("http://127.0.0.1:{port}/bytes/[1-{COUNT}]"))).success();
    assert_eq!(answers.matches("200 ").count(), COUNT, "{answers}");
}

/// Fails the test unless the Collector's file holds so many spans, each once.
#[track_caller]
pub(crate) fn assert_received(lab: &Lab, spans: u64) {
    let received = received(lab);
    let unique: HashSet<_> = received.iter().collect();
    assert_eq!((received.len() as u64, unique.len() as u64), (spans, spans));
}

/// One destination over gRPC, in small batches, and what else is ours.
fn config(port: u16, destination: &str, ours: &str) -> String {
    format!(
        "distribution:\n  spandrel:\n    {ours}\n    destinations:\n      - name: main
        exporter: {{otlp_grpc: {{endpoint: \"http://127.0.0.1:{port}\", timeout: 1000, compression: zstd}}}}
        schedule_delay: 20\n        max_export_batch_size: 16\n        {destination}\n"
    )
}

/// A port for a Collector that comes later.
fn port_for_later() -> u16 {
    http::listener().1
}

/// The Collector is away for longer than a batch may take, then there, then gets the dead letters.
#[test]
fn a_collector_that_comes_too_late_for_some() {
    require!("go", PYTHON, "curl");
    let folder = match built() {
        Ok(folder) => folder,
        Err(why) => skip!("{why}"),
    };
    let (lab, at) = (Lab::new(), port_for_later());
    let dead = lab.text("dead");
    let config = config(at, "export_timeout: 700", &format!("dead_letters: {{path: {dead}}}"));
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.wait_stderr("nothing is given up", |line| line.contains("retries are used up").then_some(()));
    let collector = collector(&lab, &folder, at);
    requests(&lab, port);
    let finished = agent.stop();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    let failed = dropped(&finished, "export_failed");
    assert!(failed > 0 && ledger.exported >= 2 * COUNT as u64, "{ledger:?}");
    assert_eq!(ledger.exported + failed, 4 * COUNT as u64, "{ledger:?}");
    let endpoint = format!("http://127.0.0.1:{at}");
    let mut replay = command(binary());
    replay.args(["replay", &dead, "--otlp-endpoint", &endpoint]).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let replayed = run(&mut replay);
    assert_eq!(replayed.code(), 0, "{replayed:?}");
    collector.terminate();
    assert_received(&lab, 4 * COUNT as u64);
}

/// The disk of the queue is taken away while the Collector is: it gets everything when it is back.
#[test]
fn a_collector_that_comes_back_after_the_disk_went() {
    require!("go", PYTHON, "curl", "mount");
    let folder = match built() {
        Ok(folder) => folder,
        Err(why) => skip!("{why}"),
    };
    let (lab, at) = (Lab::new(), port_for_later());
    let disk = Small::mount(lab.path("disk"), 16 << 20);
    let config = config(at, "", &format!("spill: {{path: {}}}", text(disk.path())));
    let agent = Agent::start(&configured(&lab, &config));
    let (_server, port) = echo(&lab);
    requests(&lab, port);
    agent.wait_stderr("no word of the failure", |line| line.contains(" fails (").then_some(()));
    run(command("umount").arg("--lazy").arg(disk.path())).success();
    requests(&lab, port);
    let collector = collector(&lab, &folder, at);
    agent.wait_stderr("no word of the recovery", |line| line.contains("works again").then_some(()));
    let finished = agent.stop();
    collector.terminate();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    assert_eq!((ledger.exported, ledger.lost()), (4 * COUNT as u64, 0), "{ledger:?}\n{}", finished.stderr);
    assert_received(&lab, ledger.exported);
}

#[test]
fn a_collector_that_is_restarted() {
    require!("go", PYTHON, "curl");
    let folder = match built() {
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
    requests(&lab, port);
    agent.wait_for("spans", |spans| spans.len() >= 2 * COUNT);
    first.terminate();
    requests(&lab, port);
    agent.wait_stderr("no word of the failure", |line| line.contains(" fails (").then_some(()));
    let second = collector(&lab, &folder, at);
    requests(&lab, port);
    agent.wait_stderr("no word of the recovery", |line| line.contains("works again").then_some(()));
    agent.wait_for("all spans", |spans| spans.len() >= 6 * COUNT);
    let finished = agent.stop();
    second.terminate();
    let ledger = &finished.report.ledger;
    ledger.assert_closed();
    assert_eq!((ledger.exported, ledger.lost(), ledger.open), (6 * COUNT as u64, 0, 0), "{ledger:?}");
    assert_received(&lab, ledger.exported);
}
