//! The export pipeline alone: to a real Collector beside the OpenTelemetry SDK, and with the backend gone.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{
    helpers::Helpers,
    lab::Lab,
    process::{Launch, Process, free_port},
    report::{Goal, Section, Unit},
};

/// Spans of one slice: 300 full batches. A last one that is not full would wait for its time.
const SPANS: u64 = 300 * 512;
/// Spans a second while the backend is gone.
const RATE: u64 = 50_000;
/// All ways, in the order in which a slice has them: who sends, with which compression, and a name for people. The SDK is
/// built without any, as its own default is.
const WAYS: [(&str, &str, &str); 4] = [
    ("ours", "none", "ours"),
    ("sdk", "none", "SDK"),
    ("ours", "gzip", "ours, gzip"),
    ("ours", "zstd", "ours, zstd"),
];
/// How requests are compressed, the default first.
const COMPRESSIONS: [&str; 3] = ["none", "gzip", "zstd"];

/// What the program prints of one way.
#[derive(Debug, Deserialize)]
struct Sent {
    spans: f64,
    wall_ns: f64,
    cpu_ns: f64,
}

/// What it prints while a backend is gone.
#[derive(Debug, Deserialize)]
struct Gone {
    spans: f64,
    wall_ns: f64,
    held_spans: f64,
    held_bytes: f64,
    resident: Vec<f64>,
}

/// A Collector that takes spans and throws them away.
struct Collector {
    _process: Process,
    url: String,
}

impl Collector {
    fn start(lab: &Lab) -> Result<Self> {
        let port = free_port()?;
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}
exporters: {{debug: {{}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}
"
        );
        let file = lab.folder().join("collector.yaml");
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let launch = Launch::new("collector", built()?).args(["--config"]).args([&file]).on(lab.cores.load);
        let mut process = launch.start(lab.folder())?;
        process.listens(port)?;
        Ok(Self { _process: process, url: format!("http://127.0.0.1:{port}/v1/traces") })
    }
}

/// The Collector that the tests built.
fn built() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let cache =
        env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).context("no HOME for a cache")?;
    let entries = fs::read_dir(cache.join("spandrel")).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.map(|entry| entry.path().join("otelcol")).filter(|path| path.is_file()).collect();
    found.sort();
    found.pop().context("there is no Collector yet: `cargo xtask test e2e --filter collector` builds one")
}

/// The same finished spans through our pipeline and through the SDK's batch processor and exporter, in turns.
pub(super) fn beside_the_sdk(lab: &Lab, helpers: &Helpers) -> Result<Section> {
    let mut section = Section::new(
        "export",
        "finished spans to a Collector over OTLP/HTTP, and the OpenTelemetry SDK beside it",
    );
    let collector = Collector::start(lab)?;
    let sink = lab.sink()?;
    let send = |way: &str, packed: &str, url: &str| -> Result<Sent> {
        let launch = Launch::new("export", &helpers.export).args([way, packed, url, &SPANS.to_string()]);
        let text = launch.on(lab.cores.server).output()?;
        serde_json::from_str(&text).with_context(|| format!("not understood: {text}"))
    };
    let mut cpu: [Vec<f64>; WAYS.len()] = Default::default();
    let mut wall: [Vec<f64>; WAYS.len()] = Default::default();
    for _ in 0..lab.slices {
        for (((way, packed, _), cpu), wall) in WAYS.iter().zip(&mut cpu).zip(&mut wall) {
            let sent = send(way, packed, &collector.url)?;
            cpu.push(sent.cpu_ns / sent.spans);
            wall.push(sent.spans / sent.wall_ns * 1e9);
        }
    }
    let [ours, sdk, ..] = &cpu;
    section.goal(
        "CPU time a span, ours to the SDK's",
        Unit::Times,
        ours.iter().zip(sdk).map(|(ours, sdk)| ours / sdk),
        Goal::AtMost(1.0),
    );
    for (((_, _, name), cpu), wall) in WAYS.iter().zip(&cpu).zip(&wall) {
        section.row(&format!("spans a core, {name}"), Unit::PerSecond, cpu.iter().map(|ns| 1e9 / ns));
        section.row(&format!("  CPU time a span, {name}"), Unit::Nanoseconds, cpu.iter().copied());
        section.row(&format!("  spans by the clock, {name}"), Unit::PerSecond, wall.iter().copied());
    }
    for (way, packed, name) in WAYS {
        let [_, before] = sink.received()?;
        let sent = send(way, packed, &format!("{}/v1/traces", sink.endpoint()))?;
        let [_, after] = sink.received()?;
        let bytes = after.saturating_sub(before) as f64;
        section.row(&format!("OTLP bytes a span, {name}"), Unit::Bytes, [bytes / sent.spans]);
    }
    section.note("512 spans a request, one service, without compression unless it is named");
    section.note("the Collector has the other CPU");
    section.note("by the clock counts what the Collector and everybody else left of the CPUs");
    Ok(section)
}

/// The pipeline's memory while nobody takes what it has.
pub(super) fn backend_gone(lab: &Lab, helpers: &Helpers) -> Result<Section> {
    let mut section = Section::new("gone", "memory of the export pipeline with the backend gone");
    let seconds = (lab.minutes * 60.0).ceil().max(1.0) as u64;
    for packed in COMPRESSIONS {
        let with = if packed == "none" { String::new() } else { format!(", {packed}") };
        let (rate, time) = (RATE.to_string(), seconds.to_string());
        let launch = Launch::new("export", &helpers.export).args(["gone", packed, &rate, &time]);
        let text = launch.on(lab.cores.server).output()?;
        let gone: Gone = serde_json::from_str(&text).with_context(|| format!("not understood: {text}"))?;
        memory(&mut section, &with, &gone)?;
    }
    section.note("every span that went was counted; this is the pipeline without capture");
    Ok(section)
}

/// What it came to with one compression.
fn memory(section: &mut Section, with: &str, gone: &Gone) -> Result<()> {
    let Gone { spans, wall_ns, held_spans, held_bytes, resident } = gone;
    let Some(first) = resident.first().copied() else { bail!("it looked at its memory not once") };
    // The queue is full within seconds: a leak shows between the middle and the end.
    let (middle, last) = (resident.get(resident.len() / 2), resident.last());
    let megabytes = |bytes: f64| bytes / 1e6;
    let peak = resident.iter().copied().fold(first, f64::max);
    let named = |what: &str| format!("{what}{with}");
    section.goal(&named("resident memory, peak"), Unit::Megabytes, [megabytes(peak)], Goal::AtMost(60.0));
    let end = last.map(|bytes| megabytes(*bytes));
    section.row(&named("resident memory, at the end"), Unit::Megabytes, end);
    let growth = middle.zip(last).map(|(middle, last)| megabytes(last - middle));
    section.goal(&named("growth in the second half"), Unit::Megabytes, growth, Goal::AtMost(1.0));
    section.row(&named("resident memory before the first span"), Unit::Megabytes, [megabytes(first)]);
    section.row(&named("held at the end"), Unit::Megabytes, [megabytes(*held_bytes)]);
    section.row(&named("spans held at the end"), Unit::Count, [*held_spans]);
    section.row(&named("spans"), Unit::PerSecond, [spans / wall_ns * 1e9]);
    section.row(&named("for"), Unit::Seconds, [wall_ns / 1e9]);
    Ok(())
}
