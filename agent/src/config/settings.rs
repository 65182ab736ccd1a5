//! What variables and the configuration file both set: plain values with their defaults. A file that is
//! given replaces the variables altogether (specification, configuration/sdk.md).

use std::time::Duration;

use log::LevelFilter;

use super::{
    destination::{DestinationConfig, StoreConfig},
    otlp::OtlpConfig,
};
use crate::{export::config::Caps, span::redact};

/// Everything that variables or the file can set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `OTEL_SDK_DISABLED`: run a command, but trace nothing.
    pub disabled: bool,
    pub log_level: Option<LevelFilter>,
    pub sampler: SamplerConfig,
    /// Where spans go; both are possible, none leaves the choice to the flags.
    pub exporters: Exporters,
    pub batch: BatchConfig,
    pub limits: LimitsConfig,
    pub http: HttpConfig,
    pub resource: ResourceConfig,
    /// What the propagators that are listed come down to: W3C Trace Context is the only one that is written.
    pub propagation: Propagation,
    pub redaction: redact::Policy,
    pub sampling: SamplingConfig,
    pub metrics: MetricsConfig,
    /// What only the configuration file says, under `distribution.spandrel`.
    pub distribution: Distribution,
}

/// Into which requests trace context is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    Off,
    /// Into those to peers that have answered in HTTP/1 before: a socket that carries trace context answers a few
    /// questions otherwise (ARCHITECTURE.md, "Injection"), and so no program of another protocol is touched.
    #[default]
    Auto,
    /// From the first request to each peer on.
    On,
}

impl Propagation {
    /// Names that are understood. Baggage belongs to the programs; it passes through them as ever.
    pub(super) const KNOWN: [&'static str; 3] = ["tracecontext", "baggage", "none"];

    /// What a list of names comes down to (specification, configuration/sdk-environment-variables.md).
    pub(super) fn of<'a, I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        if names.into_iter().any(|name| name == "tracecontext") { Self::Auto } else { Self::Off }
    }
}

/// `OTEL_TRACES_EXPORTER`, or the span processors of the file.
#[derive(Clone, Debug, Default)]
pub struct Exporters {
    pub otlp: Option<OtlpConfig>,
    /// `OTEL_METRICS_EXPORTER`, for the agent's own metrics.
    pub metrics: Option<OtlpConfig>,
    pub console: bool,
    /// Nothing shall be exported.
    pub none: bool,
    /// More destinations than `otlp`: only the file has them.
    pub more: Vec<DestinationConfig>,
    /// Where queues are on disk, and what cannot be delivered.
    pub spill: Option<StoreConfig>,
    pub dead_letters: Option<StoreConfig>,
    /// What all destinations together may take.
    pub caps: Caps,
    /// How long spans may take to leave at the end.
    pub shutdown_timeout: Option<Duration>,
}

/// The flags' counterparts in the configuration file, as written.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    /// What stands before these names in mistakes.
    pub place: String,
    pub pid: Vec<String>,
    pub exe: Vec<String>,
    pub cmd: Vec<String>,
    pub port: Vec<String>,
    pub cgroup: Vec<String>,
    pub console: Option<String>,
    pub listen: Option<String>,
    pub report: Option<String>,
    pub profile: Option<String>,
    pub causality: Option<String>,
    /// Rules that are switched off.
    pub causality_without: Vec<String>,
}

/// The decision at the root of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    AlwaysOn,
    AlwaysOff,
    /// The share of traces that is kept, 0 to 1.
    Ratio(f64),
}

/// The sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerConfig {
    pub root: Root,
    /// A parent's decision is honoured; otherwise each request is judged as a root.
    pub parent_based: bool,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self { root: Root::AlwaysOn, parent_based: true }
    }
}

/// Rules for the roots of traces (`distribution.spandrel.sampling`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingConfig {
    /// The rules are counted, and not applied.
    pub dry_run: bool,
    pub rules: Vec<RuleConfig>,
}

impl SamplingConfig {
    /// Rules at most: each request may be compared with all of them.
    pub const MAX_RULES: usize = 64;
}

/// One rule. What is not said matches anything.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleConfig {
    /// For metrics.
    pub name: String,
    /// Glob over `service.name`.
    pub service: Option<String>,
    pub method: Option<String>,
    /// Glob over the path.
    pub path: Option<String>,
    /// Name in lower case, and a glob over the value.
    pub header: Option<(String, String)>,
    /// The share of traces that is kept, 0 to 1.
    pub ratio: f64,
    /// Traces kept a second at most, for each service.
    pub per_second: Option<u32>,
}

/// How OTLP metrics are summed (metrics/sdk_exporters/otlp.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    #[default]
    Cumulative,
    Delta,
    LowMemory,
}

/// What is measured and how it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Durations of requests and the service graph.
    pub requests: bool,
    /// Series of each metric at most, the overflow series not counted.
    pub max_series: usize,
    /// Durations as exponential histograms over OTLP.
    pub exponential: bool,
    pub temporality: Temporality,
    /// Ids of traces beside buckets.
    pub exemplars: bool,
    /// Between two exports over OTLP.
    pub interval: Option<Duration>,
    /// Where Prometheus asks, if `listen` does not say it.
    pub prometheus: Option<String>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            requests: true,
            max_series: 2000,
            exponential: false,
            temporality: Temporality::default(),
            exemplars: true,
            interval: None,
            prometheus: None,
        }
    }
}

/// The batch span processor (`OTEL_BSP_*`): what was said; `None` leaves the choice to the exporter, which
/// knows what one queue for a whole machine needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchConfig {
    /// How long the first span of a batch waits for others.
    pub schedule_delay: Option<Duration>,
    /// How long one export may take, retries included.
    pub export_timeout: Option<Duration>,
    /// Spans, at least 1.
    pub max_queue_size: Option<usize>,
    /// Spans, at least 1 and not more than the queue if that is said too.
    pub max_export_batch_size: Option<usize>,
}

impl BatchConfig {
    /// A batch that is larger than the queue, which would never fill.
    pub(super) fn oversize(&self) -> Option<(usize, usize)> {
        self.max_export_batch_size.zip(self.max_queue_size).filter(|(batch, queue)| batch > queue)
    }
}

/// Limits of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    pub attribute_count: usize,
    /// In characters; `None` is without limit.
    pub attribute_value_length: Option<usize>,
    pub event_count: usize,
    pub link_count: usize,
    /// Attributes of one event, and of one link.
    pub event_attribute_count: usize,
    pub link_attribute_count: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            attribute_count: 128,
            attribute_value_length: None,
            event_count: 128,
            link_count: 128,
            event_attribute_count: 128,
            link_attribute_count: 128,
        }
    }
}

/// What HTTP spans show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Methods that keep their name, case-sensitive; `None` is the default list of the conventions.
    pub known_methods: Option<Vec<String>>,
    /// Headers to show, in lower case.
    pub server_request_headers: Vec<String>,
    pub server_response_headers: Vec<String>,
    pub client_request_headers: Vec<String>,
    pub client_response_headers: Vec<String>,
    /// Which of the headers above show `REDACTED` instead of their value, in lower case.
    pub redacted_headers: Vec<String>,
    /// `http.request.body.size` and `http.response.body.size` on server, and on client spans.
    pub server_body_sizes: bool,
    pub client_body_sizes: bool,
    /// Query parameters whose values are hidden; `None` is the default list of the conventions.
    pub sensitive_query_parameters: Option<Vec<String>>,
    /// Calls have the names from before the RPC conventions were stable, too.
    pub older_rpc: bool,
}

/// The agent's own `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
///
/// The name and every `service.*` attribute describe the agent's own telemetry only. The other attributes
/// (`deployment.environment.name`, `k8s.cluster.name`, ...) also go to the resource of every traced
/// service that does not set them itself: they say where both run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceConfig {
    pub service_name: Option<String>,
    pub attributes: Vec<(String, String)>,
    /// `process.command_args` on every resource. Off by default: arguments can hold secrets.
    pub command_args: bool,
}
