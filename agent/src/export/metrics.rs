//! The agent's own numbers: where they come from, and as Prometheus text.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, atomic::Ordering::Relaxed};

use super::{
    VERSION,
    counters::{BOUNDS, State},
    durations, measures,
    pipeline::Watched,
    text::{Format, Text},
};
use crate::{
    sample::Rules,
    span::measure::Measures,
    stats::{Count, Drop as Cause, Redaction, Stats},
};

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
    destinations: RwLock<Arc<[Watched]>>,
    rules: RwLock<Rules>,
    measures: OnceLock<Arc<Measures>>,
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
        Arc::new(Self {
            stats,
            destinations: RwLock::new(destinations.into()),
            rules: RwLock::default(),
            measures: OnceLock::new(),
            snapshot: Box::new(snapshot),
        })
    }

    /// The ledger and the counts.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Where spans go.
    pub fn destinations(&self) -> Arc<[Watched]> {
        Arc::clone(&self.destinations.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The sampling rules in force.
    pub fn rules(&self) -> Rules {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other rules are in force from now on.
    pub fn set_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// What is measured of requests, if anything is.
    pub fn measures(&self) -> Option<&Arc<Measures>> {
        self.measures.get()
    }

    /// Requests are measured there. Once is enough.
    pub fn set_measures(&self, measures: Arc<Measures>) {
        // What is there already stays.
        self.measures.set(measures).ok();
    }

    /// Spans go elsewhere from now on.
    pub fn replace(&self, destinations: Vec<Watched>) {
        *self.destinations.write().unwrap_or_else(PoisonError::into_inner) = destinations.into();
    }

    /// What the rest of the agent knows now.
    pub fn snapshot(&self) -> Snapshot {
        (self.snapshot)()
    }
}

/// All metrics as text.
pub fn prometheus(source: &Source, format: Format) -> String {
    let (stats, snapshot) = (source.stats(), source.snapshot());
    let mut text = Text::new(format);

    text.family("spandrel_build_info", "info", "What is running; the value is always 1.");
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
    text.family("spandrel_redactions_total", "counter", "Values that were not shown in a span, by rule.");
    for rule in Redaction::ALL {
        text.sample("spandrel_redactions_total", &[("rule", rule.label())], stats.redactions(*rule));
    }
    let rules = source.rules();
    text.family("spandrel_sampling_rule_total", "counter", "Roots that a sampling rule decided about.");
    for (rule, counts) in rules.counts() {
        let dry_run = if rules.dry_run { "true" } else { "false" };
        for (decision, count) in
            [("kept", &counts.kept), ("dropped", &counts.dropped), ("limited", &counts.limited)]
        {
            let labels = [("rule", &*rule.name), ("decision", decision), ("dry_run", dry_run)];
            text.sample("spandrel_sampling_rule_total", &labels, count.load(Relaxed));
        }
    }
    text.family("spandrel_kernel_total", "counter", "What the kernel side counted.");
    for (what, n) in kernel {
        text.sample("spandrel_kernel_total", &[("what", what)], n);
    }
    text.family("spandrel_log_lines_lost_total", "counter", "Lines of the log that nobody read in time.");
    text.sample("spandrel_log_lines_lost_total", &[], crate::log::lines_lost());
    destinations(&mut text, &source.destinations());
    process(&mut text);
    if let Some(measures) = source.measures() {
        durations::write(&mut text, &measures.snapshot());
    }
    text.finish()
}

fn destinations(text: &mut Text, all: &[Watched]) {
    for measure in measures::ALL {
        text.family(measure.prometheus, if measure.counter { "counter" } else { "gauge" }, measure.help);
        for one in all {
            if let Some(value) = (measure.read)(one) {
                text.sample(measure.prometheus, &[("destination", &*one.name)], value);
            }
        }
    }
    if let Some(one) = all.first() {
        text.family("spandrel_queues_bytes_limit", "gauge", "How much memory all queues may take together.");
        text.sample("spandrel_queues_bytes_limit", &[], one.room.budget().cap());
    }
    let name = "spandrel_destination_spans_dropped_total";
    text.family(name, "counter", "Spans that a destination did not get, by cause.");
    for one in all {
        for cause in Cause::ALL {
            let labels = [("destination", &*one.name), ("cause", cause.label())];
            text.sample(name, &labels, one.room.account().dropped(*cause));
        }
    }
    let with_requests =
        || all.iter().filter_map(|d| Some((("destination", &*d.name), d.counters.as_deref()?)));
    let name = "spandrel_destination_state";
    text.family(name, "gauge", "What the last request says of a destination: 1 for the state that it is in.");
    for (destination, counters) in with_requests() {
        for state in State::ALL {
            let labels = [destination, ("state", state.label())];
            text.sample(name, &labels, u8::from(counters.state() == *state));
        }
    }
    text.family("spandrel_export_requests_total", "counter", "Requests to a backend, by how they ended.");
    for (destination, counters) in with_requests() {
        for (code, n) in counters.requests() {
            let labels = [destination, ("code", &code.to_string())];
            text.sample("spandrel_export_requests_total", &labels, n);
        }
    }
    let name = "spandrel_export_request_duration_seconds";
    text.family(name, "histogram", "How long a request to a backend took.");
    for (destination, counters) in with_requests() {
        let (cumulative, sum) = counters.latency();
        let mut before = 0;
        let counts = cumulative.map(|total| total - std::mem::replace(&mut before, total));
        text.histogram(name, &[destination], (&BOUNDS, &counts, sum), None);
    }
}

/// The agent as a process, by Prometheus' names for it (writing_clientlibs, "Process metrics").
fn process(text: &mut Text) {
    let Some(usage) = Usage::read() else { return };
    text.family("process_cpu_seconds_total", "counter", "Processor time of the agent.");
    text.sample("process_cpu_seconds_total", &[], usage.cpu_seconds);
    text.family("process_resident_memory_bytes", "gauge", "Resident memory of the agent.");
    text.sample("process_resident_memory_bytes", &[], usage.resident_bytes);
    text.family("process_open_fds", "gauge", "Open file descriptors of the agent.");
    text.sample("process_open_fds", &[], usage.descriptors);
}

/// What the agent takes of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) descriptors: usize,
}

impl Usage {
    /// Now; `None` without `/proc`.
    pub(super) fn read() -> Option<Self> {
        let me = procfs::process::Process::myself().ok()?;
        let stat = me.stat().ok()?;
        Some(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            resident_bytes: stat.rss * procfs::page_size(),
            descriptors: me.fd_count().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::export::{
        counters::{Code, Counters},
        room::Room,
    };

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
        counters.set_state(State::Failing);
        let watched = Watched {
            name: "otlp".into(),
            room,
            counters: Some(counters),
            queue: Some(Arc::default()),
            spill: None,
            dead_letters: None,
        };
        let source = Source::new(stats, vec![watched], || Snapshot {
            ready: true,
            kernel: vec![("events", 7)],
            kernel_release: "6.1 \"odd\\".to_owned(),
            profile: "socket",
            hooks: vec!["sys_enter".to_owned()],
        });
        let text = prometheus(&source, Format::Prometheus);
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
            "spandrel_queue_batches{destination=\"otlp\"} 0",
            "spandrel_destination_state{destination=\"otlp\",state=\"failing\"} 1",
            "spandrel_destination_state{destination=\"otlp\",state=\"working\"} 0",
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

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod page_tests;
