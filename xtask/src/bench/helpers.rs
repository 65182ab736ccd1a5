//! The programs of `tests/bench`, and what the one about the pipeline says.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{
    lab::Lab,
    process::Launch,
    report::{Goal, Section, Unit},
};
use crate::run::{cargo, run as sh, target_dir};

/// Spans of one round: their records are as much as the ring holds.
const SPANS: usize = 16_000;
/// The same under Callgrind, which takes fifty times as long.
const COUNTED_SPANS: u64 = 4000;
/// Rounds by which its two runs differ: each is the same, so a few will do.
const MORE_ROUNDS: u64 = 4;

/// Where the programs are.
pub(super) struct Helpers {
    pipeline: PathBuf,
    pub(super) ring: PathBuf,
}

impl Helpers {
    pub(super) fn build() -> Result<Self> {
        sh(&mut cargo(["build", "--release", "--locked", "--package", "spandrel-bench"]))?;
        let folder = target_dir().join("release");
        Ok(Self { pipeline: folder.join("pipeline"), ring: folder.join("ring") })
    }
}

/// One kind of exchange, as the program prints it.
#[derive(Debug, Deserialize)]
struct Measured {
    name: String,
    spans: f64,
    ring_bytes: f64,
    otlp_bytes: f64,
    ns_per_span: Vec<f64>,
}

/// Recorded events to OTLP bytes on one core.
pub(super) fn pipeline(lab: &Lab, helpers: &Helpers) -> Result<Section> {
    let mut section = Section::new("pipeline", "userspace half on one core: recorded events to OTLP bytes");
    let rounds = if lab.quick { 20 } else { 100 };
    let args = [SPANS.to_string(), rounds.to_string()];
    let text = Launch::new("pipeline", &helpers.pipeline).args(args).on(lab.cores.server).output()?;
    for line in text.lines() {
        let measured: Measured =
            serde_json::from_str(line).with_context(|| format!("not understood: {line}"))?;
        let Measured { name, spans, ring_bytes, otlp_bytes, ns_per_span } = measured;
        let rates = ns_per_span.iter().map(|ns| 1e9 / ns);
        if section.is_empty() {
            section.goal(&format!("spans, {name}"), Unit::PerSecond, rates, Goal::AtLeast(600_000.0));
            section.row("time a span", Unit::Nanoseconds, ns_per_span);
            section.row("ring bytes read a span", Unit::Bytes, [ring_bytes / spans]);
            section.row("OTLP bytes written a span", Unit::Bytes, [otlp_bytes / spans]);
        } else {
            section.row(&format!("spans, {name}"), Unit::PerSecond, rates);
        }
    }
    section.row("instructions a span", Unit::Count, [instructions(lab, helpers)?]);
    Ok(section)
}

/// By Callgrind, which no other load disturbs: two runs that differ only in their rounds.
fn instructions(lab: &Lab, helpers: &Helpers) -> Result<f64> {
    let count = |rounds: u64| -> Result<u64> {
        let file = lab.folder().join(format!("callgrind.{rounds}"));
        let args = ["--tool=callgrind".to_owned(), format!("--callgrind-out-file={}", file.display())];
        let launch = Launch::new("valgrind", "valgrind").args(args).args([&helpers.pipeline]);
        launch.args([COUNTED_SPANS.to_string(), rounds.to_string(), "mixed".to_owned()]).output()?;
        let text = std::fs::read_to_string(&file).context("Callgrind wrote no file")?;
        let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
        line.and_then(|count| count.trim().parse().ok()).context("Callgrind wrote no total")
    };
    Ok((count(1 + MORE_ROUNDS)?.saturating_sub(count(1)?)) as f64 / (MORE_ROUNDS * COUNTED_SPANS) as f64)
}
