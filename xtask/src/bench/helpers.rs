//! The programs of `tests/bench`, and what those about the pipeline and about redaction say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{
    lab::Lab,
    process::Launch,
    report::{Goal, Section, Unit},
};
use crate::{
    run::{cargo, run as sh, target_dir},
    setup,
};

/// Spans of one round: their records are as much as the ring holds.
const SPANS: usize = 16_000;
/// Where the programs are.
pub(super) struct Helpers {
    pipeline: PathBuf,
    redact: PathBuf,
    pub(super) ring: PathBuf,
    pub(super) export: PathBuf,
}

impl Helpers {
    pub(super) fn build() -> Result<Self> {
        // They contain the agent's library, which contains the kernel object.
        setup::ready()?;
        sh(&mut cargo(["build", "--release", "--locked", "--package", "spandrel-bench"]))?;
        Ok(Self::of(&target_dir().join("release")))
    }

    /// Those in a folder.
    pub(super) fn of(folder: &Path) -> Self {
        let program = |name| folder.join(name);
        Self {
            pipeline: program("pipeline"),
            redact: program("redact"),
            ring: program("ring"),
            export: program("export"),
        }
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
    section.row("instructions a span, all in turn", Unit::Count, [instructions(lab, helpers)?]);
    section.note("where the instructions are: callgrind_annotate on bench.callgrind in the target folder");
    Ok(section)
}

/// A text that was looked through, as the program prints it.
#[derive(Debug, Deserialize)]
struct Looked {
    name: String,
    bytes: usize,
    ns: Vec<f64>,
}

/// Everyday texts that are looked through for what may not be shown.
pub(super) fn redaction(lab: &Lab, helpers: &Helpers) -> Result<Section> {
    let mut section = Section::new("redaction", "looking for secrets in a text, on one core");
    let rounds = if lab.quick { 20 } else { 200 };
    let launch = Launch::new("redact", &helpers.redact).args([rounds.to_string()]);
    for line in launch.on(lab.cores.server).output()?.lines() {
        let Looked { name, bytes, ns } =
            serde_json::from_str(line).with_context(|| format!("not understood: {line}"))?;
        section.row(&format!("{name}, {bytes} bytes"), Unit::Nanoseconds, ns);
    }
    Ok(section)
}

/// By Callgrind, which no other load disturbs. Its file is kept: it tells where the instructions are.
fn instructions(lab: &Lab, helpers: &Helpers) -> Result<f64> {
    let file = target_dir().join("bench.callgrind");
    let launch = Launch::new("valgrind", "valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*Pipeline*run*"])
        .args([format!("--callgrind-out-file={}", file.display())])
        .args([&helpers.pipeline])
        .args([SPANS.to_string(), "1".to_owned(), "mixed".to_owned()]);
    launch.on(lab.cores.server).output()?;
    let text = fs::read_to_string(&file).context("Callgrind wrote no file")?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total: u64 = line.and_then(|total| total.trim().parse().ok()).context("Callgrind wrote no total")?;
    if total == 0 {
        bail!("Callgrind counted nothing: it did not find the pipeline's function");
    }
    Ok(total as f64 / SPANS as f64)
}
