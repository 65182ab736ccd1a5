//! Metrics as text: Prometheus' exposition format 0.0.4, and OpenMetrics 1.0, which has exemplars.

use std::fmt::{Display, Write as _};

use crate::span::measure::Exemplar;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`.
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Format {
    /// What a scraper takes, by its `Accept` header.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Text being written.
#[derive(Debug)]
pub(super) struct Text {
    out: String,
    format: Format,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self { out: String::with_capacity(16 << 10), format }
    }

    /// Announces a family, whose samples follow. An `info` family is a gauge where there are no such families.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let (name, kind) = match (self.format, kind) {
            (Format::Prometheus, "info") => (name, "gauge"),
            (Format::OpenMetrics, "counter") => (name.strip_suffix("_total").unwrap_or(name), kind),
            (Format::OpenMetrics, "info") => (name.strip_suffix("_info").unwrap_or(name), kind),
            (_, kind) => (name, kind),
        };
        // Writing to memory cannot fail, here and below.
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(name, labels, &value);
        self.out.push('\n');
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: &dyn Display) {
        self.out.push_str(name);
        for (n, (label, value)) in labels.iter().enumerate() {
            self.out.push(if n == 0 { '{' } else { ',' });
            self.out.extend([label, "=\""]);
            for letter in value.chars() {
                match letter {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    letter => self.out.push(letter),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        write!(self.out, " {value}").ok();
    }

    /// A histogram: counts by bound, one more above them all. The exemplar stands at its bucket.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        (bounds, counts, sum): (&[f64], &[u64], f64),
        exemplar: Option<&Exemplar>,
    ) {
        let mut total = 0;
        let bucket = format!("{name}_bucket");
        let uppers = bounds.iter().copied().chain([f64::INFINITY]);
        let mut lower = f64::NEG_INFINITY;
        for (upper, count) in uppers.zip(counts) {
            total += count;
            let le = match self.format {
                _ if upper.is_infinite() => "+Inf".to_owned(),
                Format::Prometheus => upper.to_string(),
                Format::OpenMetrics => format!("{upper:?}"),
            };
            let mut all = labels.to_vec();
            all.push(("le", &le));
            self.line(&bucket, &all, &total);
            let here = |one: &&Exemplar| lower < one.seconds && one.seconds <= upper;
            if self.format == Format::OpenMetrics
                && let Some(one) = exemplar.filter(here)
            {
                let Exemplar { trace_id, span_id, seconds, unix_ns } = one;
                let (trace, span) = (u128::from_be_bytes(*trace_id), u64::from_be_bytes(*span_id));
                let at = *unix_ns as f64 / 1e9;
                write!(
                    self.out,
                    " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {seconds} {at:.3}"
                )
                .ok();
            }
            self.out.push('\n');
            lower = upper;
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, total);
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}
