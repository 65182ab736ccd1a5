//! The agent's own numbers: where they come from, and as Prometheus text.

use std::{
    fmt::{Display, Write as _},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    VERSION,
    counters::{BOUNDS, Counters},
    pipeline::Watched,
};
use crate::stats::{Count, Drop as Cause, Stats};

/// What the rest of the agent knows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The agent is attached.
    pub ready: bool,
    /// The kernel side's counters, summed over the CPUs, by [`spandrel_common::stats::Counter::label`].
    pub kernel: Vec<(&'static str, u64)>,
    /// `uname -r`.
    pub kernel_release: String,
    /// The capture profile.
    pub profile: &'static str,
    /// The hooks in use.
    pub hooks: Vec<String>,
}

/// Everything that `/metrics`, the report and the OTLP metrics read.
pub struct Source {
    stats: Arc<Stats>,
    destinations: Vec<Watched>,
    snapshot: Box<dyn Fn() -> Snapshot + Send + Sync>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("destinations", &self.destinations).finish_non_exhaustive()
    }
}

impl Source {
    /// `snapshot` is called for each reading, on any thread; it should not block.
    pub fn new(
        stats: Arc<Stats>,
        destinations: Vec<Watched>,
        snapshot: impl Fn() -> Snapshot + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { stats, destinations, snapshot: Box::new(snapshot) })
    }

    /// The ledger and the counts.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Where spans go.
    pub fn destinations(&self) -> &[Watched] {
        &self.destinations
    }

    /// What the rest of the agent knows now.
    pub fn snapshot(&self) -> Snapshot {
        (self.snapshot)()
    }
}

/// Prometheus text (exposition format 0.0.4).
pub fn prometheus(source: &Source) -> String {
    let (stats, snapshot) = (source.stats(), source.snapshot());
    let mut text = Text(String::with_capacity(8192));

    text.family("spandrel_build_info", "gauge", "What is running; the value is always 1.");
    let Snapshot { ready, kernel, kernel_release, profile, hooks } = &snapshot;
    let build = [("version", VERSION), ("kernel_release", kernel_release), ("profile", profile)];
    text.sample("spandrel_build_info", &build, 1);
    text.family("spandrel_ready", "gauge", "Whether the agent is attached.");
    text.sample("spandrel_ready", &[], u8::from(*ready));
    text.family("spandrel_hook_attached", "gauge", "The kernel hooks in use.");
    for hook in hooks {
        text.sample("spandrel_hook_attached", &[("hook", hook)], 1);
    }

    text.family("spandrel_requests_seen_total", "counter", "Requests whose first byte was seen.");
    text.sample("spandrel_requests_seen_total", &[], stats.seen.load(Relaxed));
    text.family("spandrel_requests_unsampled_total", "counter", "Requests that were not sampled.");
    text.sample("spandrel_requests_unsampled_total", &[], stats.unsampled.load(Relaxed));
    text.family("spandrel_requests_open", "gauge", "Requests in flight and spans waiting to be exported.");
    text.sample("spandrel_requests_open", &[], stats.open.load(Relaxed));
    text.family("spandrel_spans_exported_total", "counter", "Spans that a destination acknowledged.");
    text.sample("spandrel_spans_exported_total", &[], stats.exported.load(Relaxed));
    text.family("spandrel_spans_dropped_total", "counter", "Requests seen and lost, by cause.");
    for cause in Cause::ALL {
        let labels = [("cause", cause.label())];
        text.sample("spandrel_spans_dropped_total", &labels, stats.dropped(*cause));
    }
    text.family("spandrel_capture_total", "counter", "What capture met besides requests.");
    for what in Count::ALL {
        text.sample("spandrel_capture_total", &[("what", what.label())], stats.counted(*what));
    }
    text.family("spandrel_kernel_total", "counter", "What the kernel side counted.");
    for (what, n) in kernel {
        text.sample("spandrel_kernel_total", &[("what", what)], n);
    }
    destinations(&mut text, source.destinations());
    text.0
}

type Gauge = fn(&Watched) -> usize;
type Counter = fn(&Counters) -> u64;

fn destinations(text: &mut Text, all: &[Watched]) {
    let gauges: [(&str, &str, Gauge); 4] = [
        ("spandrel_queue_spans", "Spans waiting or in flight.", |d| d.room.held().spans),
        ("spandrel_queue_spans_limit", "How many may.", |d| d.room.limits().0),
        ("spandrel_queue_bytes", "Memory that they take.", |d| d.room.held().bytes),
        ("spandrel_queue_bytes_limit", "How much they may take.", |d| d.room.limits().1),
    ];
    for (name, help, value) in gauges {
        text.family(name, "gauge", help);
        for destination in all {
            text.sample(name, &[("destination", &*destination.name)], value(destination));
        }
    }
    let with_requests =
        || all.iter().filter_map(|d| Some((("destination", &*d.name), d.counters.as_deref()?)));

    text.family("spandrel_export_requests_total", "counter", "Requests to a backend, by how they ended.");
    for (destination, counters) in with_requests() {
        for (code, n) in counters.requests() {
            let labels = [destination, ("code", &code.to_string())];
            text.sample("spandrel_export_requests_total", &labels, n);
        }
    }
    let counters: [(&str, &str, Counter); 4] = [
        ("spandrel_export_retries_total", "Requests that were sent again.", |c| c.retries.load(Relaxed)),
        ("spandrel_export_sent_bytes_total", "Bytes of request bodies.", |c| c.sent_bytes.load(Relaxed)),
        ("spandrel_export_batches_total", "Batches.", |c| c.batches.load(Relaxed)),
        ("spandrel_export_batch_spans_total", "Spans in batches.", |c| c.batch_spans.load(Relaxed)),
    ];
    for (name, help, value) in counters {
        text.family(name, "counter", help);
        for (destination, counters) in with_requests() {
            text.sample(name, &[destination], value(counters));
        }
    }
    let name = "spandrel_export_request_duration_seconds";
    text.family(name, "histogram", "How long a request to a backend took.");
    for (destination, counters) in with_requests() {
        let (counts, sum) = counters.latency();
        let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, n) in bounds.zip(counts) {
            text.sample(&format!("{name}_bucket"), &[destination, ("le", &bound)], n);
        }
        text.sample(&format!("{name}_sum"), &[destination], sum);
        text.sample(&format!("{name}_count"), &[destination], counts.last().unwrap_or(&0));
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to memory cannot fail, here and below.
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (n, (label, value)) in labels.iter().enumerate() {
            self.0.push(if n == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.0, "{label}=\"{value}\"").ok();
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        writeln!(self.0, " {value}").ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::export::{counters::Code, room::Room};

    #[test]
    fn the_text_in_full_where_it_matters() {
        let stats = Arc::new(Stats::default());
        (0..5).for_each(|_| stats.saw());
        stats.exported(2);
        Stats::drop(&stats, Cause::QueueFull, 1);
        stats.count(Count::NotHttp);
        let room = Room::new(10, 1000, Arc::clone(&stats));
        let counters = Arc::<Counters>::default();
        counters.request(Code::Http(503), Duration::from_millis(20), 100);
        let claim = room.admit(false, [7, 8].into_iter());
        let watched =
            Watched { name: "otlp".into(), room, counters: Some(counters), spill: None, dead_letters: None };
        let source = Source::new(stats, vec![watched], || Snapshot {
            ready: true,
            kernel: vec![("events", 7)],
            kernel_release: "6.1 \"odd\\".to_owned(),
            profile: "socket",
            hooks: vec!["sys_enter".to_owned()],
        });
        let text = prometheus(&source);
        for line in [
            "spandrel_requests_seen_total 5",
            "spandrel_spans_exported_total 2",
            "spandrel_spans_dropped_total{cause=\"queue_full\"} 1",
            "spandrel_spans_dropped_total{cause=\"shutdown\"} 0",
            "spandrel_requests_open 2",
            "spandrel_capture_total{what=\"not_http\"} 1",
            "spandrel_kernel_total{what=\"events\"} 7",
            "spandrel_hook_attached{hook=\"sys_enter\"} 1",
            "spandrel_queue_spans{destination=\"otlp\"} 2",
            "spandrel_queue_bytes{destination=\"otlp\"} 15",
            "spandrel_queue_spans_limit{destination=\"otlp\"} 10",
            "spandrel_export_requests_total{destination=\"otlp\",code=\"503\"} 1",
            "spandrel_export_request_duration_seconds_bucket{destination=\"otlp\",le=\"0.01\"} 0",
            "spandrel_export_request_duration_seconds_bucket{destination=\"otlp\",le=\"0.025\"} 1",
            "spandrel_export_request_duration_seconds_bucket{destination=\"otlp\",le=\"+Inf\"} 1",
            "spandrel_export_request_duration_seconds_sum{destination=\"otlp\"} 0.02",
            "spandrel_export_request_duration_seconds_count{destination=\"otlp\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
        assert!(text.contains(r#"kernel_release="6.1 \"odd\\",profile="socket"} 1"#));
        // Each family is announced once, and before its samples.
        let mut families = std::collections::HashSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(rest.split(' ').next().unwrap()), "{line}");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
                assert!(families.contains(name) || base.is_some_and(|b| families.contains(b)), "{line}");
            }
        }
        drop(claim);
    }
}
