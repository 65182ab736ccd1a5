//! The `OTEL_*` variables (specification, configuration/sdk-environment-variables.md). A value that is not
//! known is a mistake here, not a warning: an agent that samples or exports otherwise than it was told
//! shows something false.

use std::time::Duration;

use log::LevelFilter;

use super::{
    env::Reader,
    file_metrics::SHORTEST_INTERVAL,
    headers,
    mistake::exit,
    otlp::{self, OtlpConfig, Signal},
    otlp_variables, pairs,
    settings::{
        BatchConfig, Exporters, HttpConfig, LimitsConfig, MetricsConfig, Propagation, ResourceConfig, Root,
        SamplerConfig, SamplingConfig, Settings, Temporality,
    },
};

use crate::span::redact;

/// Names of log levels, those of OpenTelemetry and those of this agent's flag.
pub(super) const LEVELS: [(&str, LevelFilter); 8] = [
    ("off", LevelFilter::Off),
    ("none", LevelFilter::Off),
    ("fatal", LevelFilter::Error),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

/// The variables that a configuration file replaces, so that it can be said when one is set in vain.
pub(super) const REPLACED: [&str; 22] = [
    "OTEL_SDK_DISABLED",
    "OTEL_LOG_LEVEL",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
    "OTEL_PROPAGATORS",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_METRIC_EXPORT_INTERVAL",
];

/// Whether trace context is written: if the list has it (configuration/sdk-environment-variables.md).
fn propagators(vars: &mut Reader<'_>) -> Propagation {
    const NAME: &str = "OTEL_PROPAGATORS";
    let Some(named) = vars.list(NAME) else { return Propagation::default() };
    for name in &named {
        if !Propagation::KNOWN.contains(&name.as_str()) {
            vars.wrong(NAME, name, "is not supported by this agent", "use tracecontext,baggage, or none");
        }
    }
    Propagation::of(named.iter().map(String::as_str))
}

/// How the agent's metrics are sent (metrics/sdk_exporters/otlp.md and prometheus.md).
fn metrics_of(vars: &mut Reader<'_>) -> MetricsConfig {
    const PREFERENCE: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    const AGGREGATION: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
    const EXEMPLARS: &str = "OTEL_METRICS_EXEMPLAR_FILTER";
    let default = MetricsConfig::default();
    let temporality = [
        ("cumulative", Temporality::Cumulative),
        ("delta", Temporality::Delta),
        ("lowmemory", Temporality::LowMemory),
    ];
    let aggregation = [("explicit_bucket_histogram", false), ("base2_exponential_bucket_histogram", true)];
    let exemplars = [("trace_based", true), ("always_on", true), ("always_off", false)];
    let scraped =
        vars.list("OTEL_METRICS_EXPORTER").unwrap_or_default().iter().any(|name| name == "prometheus");
    let prometheus = scraped.then(|| {
        let host = vars.text("OTEL_EXPORTER_PROMETHEUS_HOST").unwrap_or_else(|| "localhost".to_owned());
        let port = vars.text("OTEL_EXPORTER_PROMETHEUS_PORT").unwrap_or_else(|| "9464".to_owned());
        format!("{host}:{port}")
    });
    MetricsConfig {
        temporality: vars.word(PREFERENCE, &temporality).unwrap_or(default.temporality),
        exponential: vars.word(AGGREGATION, &aggregation).unwrap_or(default.exponential),
        exemplars: vars.word(EXEMPLARS, &exemplars).unwrap_or(default.exemplars),
        interval: interval(vars),
        prometheus,
        ..default
    }
}

fn interval(vars: &mut Reader<'_>) -> Option<Duration> {
    const NAME: &str = "OTEL_METRIC_EXPORT_INTERVAL";
    let interval = vars.number(NAME)?;
    if interval < SHORTEST_INTERVAL {
        let advice = format!("write a number of milliseconds from {SHORTEST_INTERVAL} on");
        vars.wrong(NAME, &interval.to_string(), "leaves no pause between two readings", &advice);
    }
    Some(otlp::delay(interval))
}

/// Reads them all. `endpoint` is `--otlp-endpoint`.
pub(super) fn read(endpoint: Option<&str>, vars: &mut Reader<'_>) -> Settings {
    Settings {
        disabled: vars.boolean("OTEL_SDK_DISABLED").unwrap_or(false),
        log_level: vars.word("OTEL_LOG_LEVEL", &LEVELS),
        sampler: sampler(vars),
        exporters: exporters(endpoint, vars),
        batch: batch(vars),
        limits: limits(vars),
        http: http(vars),
        resource: resource(vars),
        propagation: propagators(vars),
        redaction: redact::Policy::default(),
        sampling: SamplingConfig::default(),
        metrics: metrics_of(vars),
        distribution: super::settings::Distribution::default(),
    }
}

fn sampler(vars: &mut Reader<'_>) -> SamplerConfig {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
    const ON: SamplerConfig = SamplerConfig { root: Root::AlwaysOn, parent_based: false };
    const OFF: SamplerConfig = SamplerConfig { root: Root::AlwaysOff, parent_based: false };
    const RATIO: SamplerConfig = SamplerConfig { root: Root::Ratio(1.0), parent_based: false };
    const SAMPLERS: [(&str, SamplerConfig); 6] = [
        ("always_on", ON),
        ("always_off", OFF),
        ("traceidratio", RATIO),
        ("parentbased_always_on", SamplerConfig { parent_based: true, ..ON }),
        ("parentbased_always_off", SamplerConfig { parent_based: true, ..OFF }),
        ("parentbased_traceidratio", SamplerConfig { parent_based: true, ..RATIO }),
    ];
    let mut sampler = vars.word(NAME, &SAMPLERS).unwrap_or_default();
    let Some(argument) = vars.text(ARG) else { return sampler };
    if !matches!(sampler.root, Root::Ratio(_)) {
        vars.findings.note(format!("{ARG} has no effect unless {NAME} is one of the traceidratio samplers"));
        return sampler;
    }
    match argument.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => sampler.root = Root::Ratio(ratio),
        _ => vars.wrong(ARG, &argument, "is not a share", "write a number from 0 to 1, like 0.01 for 1 %"),
    }
    sampler
}

fn exporters(endpoint: Option<&str>, vars: &mut Reader<'_>) -> Exporters {
    const NAME: &str = "OTEL_TRACES_EXPORTER";
    let chosen = vars.list(NAME);
    let mut exporters = Exporters::default();
    let (mut wanted, mut unknown) = (false, false);
    for word in chosen.as_deref().unwrap_or_default() {
        match word.to_ascii_lowercase().as_str() {
            "otlp" => wanted = true,
            "console" => exporters.console = true,
            "none" => exporters.none = true,
            _ => {
                unknown = true;
                vars.wrong(NAME, word, "is not known here", "use otlp, console or none");
            }
        }
    }
    // Behind a name that is wrong the rest may be wrong too, and all of it is told at once.
    if chosen.as_ref().is_none_or(Vec::is_empty) || wanted || unknown || endpoint.is_some() {
        exporters.otlp = otlp_variables::read(Signal::Traces, endpoint, wanted, vars);
    }
    if exporters.none && (wanted || exporters.console) {
        vars.wrong(NAME, "none", "stands beside other exporters", "write none alone, or leave it out");
    }
    exporters.metrics = metrics(endpoint, vars);
    exporters
}

/// The agent's own metrics are only sent on request: a backend for traces alone would refuse them.
fn metrics(endpoint: Option<&str>, vars: &mut Reader<'_>) -> Option<OtlpConfig> {
    const NAME: &str = "OTEL_METRICS_EXPORTER";
    let mut wanted = false;
    for word in vars.list(NAME).unwrap_or_default() {
        match word.to_ascii_lowercase().as_str() {
            "otlp" => wanted = true,
            "none" | "prometheus" => {}
            _ => vars.wrong(NAME, &word, "is not known here", "use otlp, prometheus (with --listen) or none"),
        }
    }
    if wanted { otlp_variables::read(Signal::Metrics, endpoint, true, vars) } else { None }
}

fn batch(vars: &mut Reader<'_>) -> BatchConfig {
    const BATCH: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
    let mut size = |name: &str| {
        let number = vars.number(name)?;
        if number == 0 {
            vars.wrong(name, "0", "leaves no room for any span", "write a number from 1 on");
        }
        usize::try_from(number).ok().filter(|number| *number > 0)
    };
    let (max_queue_size, max_export_batch_size) = (size("OTEL_BSP_MAX_QUEUE_SIZE"), size(BATCH));
    let batch = BatchConfig {
        schedule_delay: vars.number("OTEL_BSP_SCHEDULE_DELAY").map(otlp::delay),
        export_timeout: vars.number("OTEL_BSP_EXPORT_TIMEOUT").map(otlp::limit),
        max_queue_size,
        max_export_batch_size,
    };
    if let Some((size, queue)) = batch.oversize() {
        let what = format!("{size} is more than the queue's {queue}");
        vars.findings.mistake(exit::CONFIG, BATCH, what, "lower it, or raise OTEL_BSP_MAX_QUEUE_SIZE");
    }
    batch
}

fn limits(vars: &mut Reader<'_>) -> LimitsConfig {
    let default = LimitsConfig::default();
    let mut limit = |names: &[&str]| {
        let (name, _) = vars.first(names)?;
        vars.number(name).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    };
    LimitsConfig {
        attribute_count: limit(&["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"])
            .unwrap_or(default.attribute_count),
        attribute_value_length: limit(&[
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        ]),
        event_count: limit(&["OTEL_SPAN_EVENT_COUNT_LIMIT"]).unwrap_or(default.event_count),
        link_count: limit(&["OTEL_SPAN_LINK_COUNT_LIMIT"]).unwrap_or(default.link_count),
        event_attribute_count: limit(&["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"])
            .unwrap_or(default.event_attribute_count),
        link_attribute_count: limit(&["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"])
            .unwrap_or(default.link_attribute_count),
    }
}

/// The header variables have two spellings in the languages' documentation; both work, together too.
fn http(vars: &mut Reader<'_>) -> HttpConfig {
    const METHODS: &str = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS";
    let [server_request_headers, server_response_headers, client_request_headers, client_response_headers] =
        [
            [
                "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST",
                "OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS",
            ],
            [
                "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE",
                "OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_RESPONSE_HEADERS",
            ],
            [
                "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST",
                "OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_REQUEST_HEADERS",
            ],
            [
                "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE",
                "OTEL_INSTRUMENTATION_HTTP_CLIENT_CAPTURE_RESPONSE_HEADERS",
            ],
        ]
        .map(|names| {
            let mut all = Vec::new();
            for name in names {
                headers::add(name, &vars.list(name).unwrap_or_default(), &mut all, vars.findings);
            }
            all
        });
    let known_methods = vars.list(METHODS).filter(|methods| !methods.is_empty());
    headers::methods(METHODS, known_methods.as_deref().unwrap_or_default(), vars.findings);
    let mut http = HttpConfig {
        known_methods,
        server_request_headers,
        server_response_headers,
        client_request_headers,
        client_response_headers,
        server_body_sizes: vars
            .boolean("OTEL_INSTRUMENTATION_HTTP_SERVER_EMIT_EXPERIMENTAL_TELEMETRY")
            .unwrap_or(false),
        client_body_sizes: vars
            .boolean("OTEL_INSTRUMENTATION_HTTP_CLIENT_EMIT_EXPERIMENTAL_TELEMETRY")
            .unwrap_or(false),
        sensitive_query_parameters: vars
            .list("OTEL_INSTRUMENTATION_SANITIZATION_URL_EXPERIMENTAL_SENSITIVE_QUERY_PARAMETERS"),
        redacted_headers: Vec::new(),
        // What it may say of others is the same as not saying it: their stable names are the only ones here.
        older_rpc: vars
            .list("OTEL_SEMCONV_STABILITY_OPT_IN")
            .is_some_and(|named| named.iter().any(|name| name == "rpc/dup")),
    };
    let name = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS";
    headers::redact(name, &vars.list(name).unwrap_or_default(), &mut http, vars.findings);
    http
}

fn resource(vars: &mut Reader<'_>) -> ResourceConfig {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let mut attributes = Vec::new();
    match vars.text(NAME).map(|list| pairs::parse(&list)) {
        Some(Ok(pairs)) => attributes = pairs,
        Some(Err(what)) => {
            let advice = "write key=value,key=value with ',' as %2C and '=' as %3D in values";
            vars.findings.mistake(exit::CONFIG, NAME, what, advice);
        }
        None => {}
    }
    let named =
        attributes.iter().rposition(|(key, _)| key == "service.name").map(|at| attributes.remove(at).1);
    attributes.retain(|(key, _)| key != "service.name");
    let service_name = vars.text("OTEL_SERVICE_NAME").or(named);
    ResourceConfig { service_name, attributes, command_args: false }
}
