//! `spandrel config show`: every setting, and where it comes from. No secret is in it: of headers only the
//! names are shown.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use super::{
    Config, Console, Profile,
    args::Run,
    env::Env,
    named_file,
    settings::{Propagation, Root, RuleConfig},
    show_destinations,
};
use crate::{
    export::telemetry,
    span::redact::{Names, Policy, Redactor, SECRET_NAMES},
    stats::Stats,
};

/// Where values may come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Flags that were typed.
    flags: Vec<&'static str>,
    /// The file's name, and its keys with their lines.
    file: Option<(String, BTreeMap<String, usize>)>,
    /// Variables that are set, if no file replaces them.
    variables: Vec<&'static str>,
}

/// Every variable that a row of [`rows`] names.
const VARIABLES: [&str; 47] = [
    "OTEL_PROPAGATORS",
    "OTEL_SDK_DISABLED",
    "OTEL_LOG_LEVEL",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRICS_EXEMPLAR_FILTER",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS",
    "OTEL_INSTRUMENTATION_HTTP_SERVER_EMIT_EXPERIMENTAL_TELEMETRY",
    "OTEL_INSTRUMENTATION_SANITIZATION_URL_EXPERIMENTAL_SENSITIVE_QUERY_PARAMETERS",
    "OTEL_SEMCONV_STABILITY_OPT_IN",
];

/// What is said of the agent's own metrics alone.
const OWN_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";

impl Sources {
    pub(super) fn of(run: &Run, file: Option<&Path>, env: &dyn Env, given: BTreeMap<String, usize>) -> Self {
        let list = |name, values: &[String]| (name, !values.is_empty());
        let one = |name, value: bool| (name, value);
        let typed = [
            list("--pid", &run.pid),
            list("--exe", &run.exe),
            list("--cmd", &run.cmd),
            list("--port", &run.port),
            list("--cgroup", &run.cgroup),
            one("--otlp-endpoint", run.otlp_endpoint.is_some()),
            one("--console", run.console.is_some()),
            one("--listen", run.listen.is_some()),
            one("--report", run.report.is_some()),
            one("--profile", run.profile.is_some()),
            one("--causality", run.causality.is_some()),
            one("--propagation", run.propagation.is_some()),
            one("--log-level", run.log_level.is_some()),
            one("--shutdown-timeout", run.shutdown_timeout.is_some()),
        ];
        let flags = typed.into_iter().filter_map(|(name, given)| given.then_some(name)).collect();
        let file = file.map(Path::to_owned).or_else(|| named_file(env));
        let variables =
            VARIABLES.into_iter().filter(|name| env.get(name).is_some_and(|v| !v.trim().is_empty()));
        let variables = if file.is_some() { Vec::new() } else { variables.collect() };
        Self { flags, file: file.map(|file| (file.display().to_string(), given)), variables }
    }

    /// Whether there is a file, which can change.
    pub const fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Where a setting comes from that has these names: flags, keys of the file, variables.
    fn origin(&self, names: &[&str]) -> String {
        if let Some(flag) = names.iter().find(|name| self.flags.contains(name)) {
            return (*flag).to_owned();
        }
        if let Some((file, keys)) = &self.file {
            let line = names.iter().find_map(|name| keys.get(*name));
            return line.map_or_else(|| "default".to_owned(), |line| format!("{file}:{line}"));
        }
        let variable = names.iter().find(|name| self.variables.contains(name));
        variable.map_or_else(|| "default".to_owned(), |name| (*name).to_owned())
    }
}

/// The settings as text: the key as the file has it, the value, and where it comes from.
pub fn text(config: &Config) -> String {
    let rows: Vec<_> = rows(config)
        .into_iter()
        .map(|(key, value, names)| {
            let origin = config.sources.origin(&[&[key.as_str()], &names[..]].concat());
            (key, on_one_line(&value), origin)
        })
        .collect();
    let key_width = rows.iter().map(|(key, ..)| key.len()).max().unwrap_or(0);
    let value_width =
        rows.iter().map(|(_, value, _)| value.len()).filter(|len| *len <= 40).max().unwrap_or(0);
    let mut out = String::new();
    for (key, value, origin) in rows {
        // Writing to memory cannot fail.
        writeln!(out, "{key:key_width$}  {value:value_width$}  # {origin}").ok();
    }
    for note in &config.notes {
        writeln!(out, "# note: {}", on_one_line(note)).ok();
    }
    out
}

/// A value on its line, whatever it holds: what would end the line, or move a terminal, is escaped as in YAML's texts.
fn on_one_line(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to memory cannot fail.
            '\u{2028}' | '\u{2029}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

type Row = (String, String, Vec<&'static str>);

fn rows(config: &Config) -> Vec<Row> {
    let Config {
        selectors,
        selected: _,
        command,
        profile,
        propagation,
        causality,
        disabled,
        log_level,
        listen,
        report,
        console,
        otlp,
        metrics,
        sampler,
        batch,
        limits,
        http,
        resource,
        redaction,
        sampling,
        measures,
        more,
        spill,
        dead_letters,
        caps,
        shutdown_timeout,
        sources: _,
        notes: _,
    } = config;
    let mut all: Vec<Row> = Vec::new();
    let mut row =
        |key: &str, value: String, names: &[&'static str]| all.push((key.to_owned(), value, names.to_vec()));
    row("disabled", disabled.to_string(), &["OTEL_SDK_DISABLED"]);
    row("log_level", log_level.as_str().to_ascii_lowercase(), &["--log-level", "OTEL_LOG_LEVEL"]);
    row(
        "resource.attributes",
        resource_of(resource),
        &["resource.attributes_list", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"],
    );
    let root = match sampler.root {
        Root::AlwaysOn => "always_on".to_owned(),
        Root::AlwaysOff => "always_off".to_owned(),
        Root::Ratio(ratio) => format!("probability {ratio}"),
    };
    let root = if sampler.parent_based { format!("parent_based, root {root}") } else { root };
    // The other samplers take no notice of an argument.
    let ratio = matches!(sampler.root, Root::Ratio(_));
    let from: &[_] =
        if ratio { &["OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"] } else { &["OTEL_TRACES_SAMPLER"] };
    row("tracer_provider.sampler", root, from);
    let written = if *propagation == Propagation::Off { "none" } else { "tracecontext" };
    row(
        "propagator.composite_list",
        written.to_owned(),
        &["--propagation", "OTEL_PROPAGATORS", "propagator"],
    );
    let limit = |limit: Option<usize>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    for (key, value, names) in [
        (
            "attribute_count_limit",
            Some(limits.attribute_count),
            &[
                "attribute_limits.attribute_count_limit",
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_ATTRIBUTE_COUNT_LIMIT",
            ][..],
        ),
        (
            "attribute_value_length_limit",
            limits.attribute_value_length,
            &[
                "attribute_limits.attribute_value_length_limit",
                "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            ],
        ),
        ("event_count_limit", Some(limits.event_count), &["OTEL_SPAN_EVENT_COUNT_LIMIT"]),
        ("link_count_limit", Some(limits.link_count), &["OTEL_SPAN_LINK_COUNT_LIMIT"]),
        (
            "event_attribute_count_limit",
            Some(limits.event_attribute_count),
            &["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"],
        ),
        (
            "link_attribute_count_limit",
            Some(limits.link_attribute_count),
            &["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"],
        ),
    ] {
        row(&format!("tracer_provider.limits.{key}"), limit(value), names);
    }
    for (key, value) in show_destinations::batch("tracer_provider.processors.batch", batch) {
        let name = match key.rsplit('.').next() {
            Some("schedule_delay") => "OTEL_BSP_SCHEDULE_DELAY",
            Some("export_timeout") => "OTEL_BSP_EXPORT_TIMEOUT",
            Some("max_queue_size") => "OTEL_BSP_MAX_QUEUE_SIZE",
            _ => "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        };
        row(&key, value, &[name]);
    }
    let traces = [
        "--otlp-endpoint",
        "tracer_provider.processors.batch.exporter.otlp_http",
        "tracer_provider.processors.batch.exporter.otlp_grpc",
        "tracer_provider.processors.simple.exporter.otlp_http",
        "tracer_provider.processors.simple.exporter.otlp_grpc",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_TRACES_EXPORTER",
    ];
    row("tracer_provider exporter", show_destinations::otlp(otlp.as_ref()), &traces);
    let own = [
        "--otlp-endpoint",
        OWN_ENDPOINT,
        "meter_provider.readers.periodic.exporter.otlp_http",
        "meter_provider.readers.periodic.exporter.otlp_grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_METRICS_EXPORTER",
    ];
    // They follow the flag only where nothing is said of them.
    let told = config.sources.has_file() || config.sources.variables.contains(&OWN_ENDPOINT);
    let own = own.get(usize::from(told)..).unwrap_or_default();
    row("meter_provider exporter", show_destinations::otlp(metrics.as_ref()), own);
    row(
        "meter_provider.readers.periodic.interval",
        format!("{:?}", measures.interval.unwrap_or(telemetry::Options::default().interval)),
        &["OTEL_METRIC_EXPORT_INTERVAL"],
    );
    row(
        "meter_provider temporality",
        format!("{:?}", measures.temporality).to_ascii_lowercase(),
        &[
            "meter_provider.readers.periodic.exporter.otlp_http.temporality_preference",
            "meter_provider.readers.periodic.exporter.otlp_grpc.temporality_preference",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        ],
    );
    row(
        "meter_provider histograms",
        if measures.exponential { "exponential" } else { "explicit" }.to_owned(),
        &[
            "meter_provider.readers.periodic.exporter.otlp_http.default_histogram_aggregation",
            "meter_provider.readers.periodic.exporter.otlp_grpc.default_histogram_aggregation",
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        ],
    );
    row(
        "meter_provider.exemplar_filter",
        if measures.exemplars { "trace_based" } else { "always_off" }.to_owned(),
        &["OTEL_METRICS_EXEMPLAR_FILTER"],
    );
    let general = "instrumentation/development.general";
    for (key, list, name) in [
        (
            "http.server.request_captured_headers",
            &http.server_request_headers,
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST",
        ),
        (
            "http.server.response_captured_headers",
            &http.server_response_headers,
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE",
        ),
        (
            "http.client.request_captured_headers",
            &http.client_request_headers,
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST",
        ),
        (
            "http.client.response_captured_headers",
            &http.client_response_headers,
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE",
        ),
    ] {
        row(&format!("{general}.{key}"), names(list), &[name]);
    }
    let standard = || "the conventions' list".to_owned();
    row(
        &format!("{general}.http.server.known_methods"),
        http.known_methods.as_ref().map_or_else(standard, |list| names(list)),
        &["OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"],
    );
    row(
        &format!("{general}.sanitization.url.sensitive_query_parameters"),
        http.sensitive_query_parameters.as_ref().map_or_else(standard, |list| names(list)),
        &["OTEL_INSTRUMENTATION_SANITIZATION_URL_EXPERIMENTAL_SENSITIVE_QUERY_PARAMETERS"],
    );
    let ours = "distribution.spandrel";
    row(
        &format!("{ours}.select"),
        if selectors.is_empty() { "every process".to_owned() } else { selection(config) },
        &["--pid", "--exe", "--cmd", "--port", "--cgroup"],
    );
    if !command.is_empty() {
        row(
            "command",
            command.iter().map(|word| word.display().to_string()).collect::<Vec<_>>().join(" "),
            &["--"],
        );
    }
    let profile = match profile {
        Profile::Auto => "auto",
        Profile::Socket => "socket",
        Profile::Syscall => "syscall",
    };
    row(&format!("{ours}.profile"), profile.to_owned(), &["--profile"]);
    row(
        &format!("{ours}.causality"),
        super::causality::show(*causality),
        &["--causality", "distribution.spandrel.causality_without"],
    );
    let console = match console {
        Console::Text => "text",
        Console::Json => "json",
        Console::Off => "off",
    };
    row(&format!("{ours}.console"), console.to_owned(), &["--console"]);
    let none = || "none".to_owned();
    row(
        &format!("{ours}.listen"),
        listen.map_or_else(none, |address| address.to_string()),
        &["--listen", "meter_provider.readers.pull.exporter", "OTEL_METRICS_EXPORTER"],
    );
    row(
        &format!("{ours}.report"),
        report.as_ref().map_or_else(none, |path| path.display().to_string()),
        &["--report"],
    );
    row(
        &format!("{ours}.body_sizes"),
        format!("server {}, client {}", http.server_body_sizes, http.client_body_sizes),
        &["OTEL_INSTRUMENTATION_HTTP_SERVER_EMIT_EXPERIMENTAL_TELEMETRY"],
    );
    row("older_rpc_names", http.older_rpc.to_string(), &["OTEL_SEMCONV_STABILITY_OPT_IN"]);
    row(
        &format!("{ours}.redacted_headers"),
        names(&http.redacted_headers),
        &["OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"],
    );
    row(&format!("{ours}.command_args"), resource.command_args.to_string(), &[]);
    let boxes =
        |list: &Option<Vec<Box<str>>>| list.as_ref().map_or_else(|| "any".to_owned(), |list| list.join(","));
    row(
        &format!("{ours}.redaction.names"),
        format!("{} names", redaction.names.len()),
        &["distribution.spandrel.redaction.also_names", "distribution.spandrel.redaction.enabled"],
    );
    row(
        &format!("{ours}.redaction.headers"),
        format!("{} names", redaction.headers.len()),
        &["distribution.spandrel.redaction.also_headers", "distribution.spandrel.redaction.enabled"],
    );
    row(
        &format!("{ours}.redaction.values"),
        format!("{:?}", redaction.values),
        &["distribution.spandrel.redaction.enabled"],
    );
    row(&format!("{ours}.redaction.allowed_query"), boxes(&redaction.allowed_query), &[]);
    row(&format!("{ours}.redaction.allowed_attributes"), boxes(&redaction.allowed_attributes), &[]);
    row(
        &format!("{ours}.redaction.paths"),
        format!("{:?}, {} templates at most", redaction.paths, redaction.max_templates),
        &[],
    );
    row(&format!("{ours}.sampling.dry_run"), sampling.dry_run.to_string(), &[]);
    for rule in &sampling.rules {
        row(&format!("{ours}.sampling.rules"), rule_of(rule), &[]);
    }
    row(&format!("{ours}.metrics.requests"), measures.requests.to_string(), &[]);
    row(&format!("{ours}.metrics.max_series"), measures.max_series.to_string(), &[]);
    for one in more {
        for (key, value) in show_destinations::rows(one) {
            row(&key, value, &[]);
        }
    }
    for (key, store) in [("spill", spill), ("dead_letters", dead_letters)] {
        let shown = store.as_ref().map_or_else(none, |store| {
            format!("{}, {} bytes at most", store.folder.display(), store.max_bytes)
        });
        row(&format!("{ours}.{key}"), shown, &[]);
    }
    row(&format!("{ours}.resource_caps.queue_bytes"), caps.queue_bytes.to_string(), &[]);
    row(&format!("{ours}.shutdown_timeout"), format!("{shutdown_timeout:?}"), &["--shutdown-timeout"]);
    all
}

fn names(list: &[String]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(",") }
}

fn resource_of(resource: &super::settings::ResourceConfig) -> String {
    let (secrets, redactor) = (Names::new(SECRET_NAMES), Redactor::new(Policy::default()));
    let uncounted = Stats::default();
    let name = resource.service_name.iter().map(|name| format!("service.name={name}"));
    let others = resource.attributes.iter().map(|(key, value)| {
        let value = redactor.text(value, &uncounted);
        let value = if secrets.has(key.as_bytes()) { "(hidden)" } else { &value };
        format!("{key}={value}")
    });
    names(&name.chain(others).collect::<Vec<_>>())
}

fn selection(config: &Config) -> String {
    let command = config.selectors.command.then(|| "the command".to_owned());
    names(&config.selected.iter().cloned().chain(command).collect::<Vec<_>>())
}

fn rule_of(rule: &RuleConfig) -> String {
    let RuleConfig { name, service, method, path, header, ratio, per_second } = rule;
    let mut text = format!("{name}:");
    // Writing to memory cannot fail.
    for (what, value) in [("service", service), ("method", method), ("path", path)] {
        if let Some(value) = value {
            write!(text, " {what}={value}").ok();
        }
    }
    if let Some((name, _)) = header {
        write!(text, " header {name}").ok();
    }
    write!(text, " ratio={ratio}").ok();
    if let Some(rate) = per_second {
        write!(text, " per_second={rate}").ok();
    }
    text
}
