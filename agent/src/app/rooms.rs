//! From the checked configuration to what each room asks for.

use std::{
    iter,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use spandrel_common::{
    inject,
    sample::{Policy, threshold},
};

use crate::{
    config::{
        self, Config,
        settings::{self, HttpConfig, MetricsConfig, Propagation, Root, SamplerConfig},
    },
    export::telemetry,
    kernel::Profile,
    sample::{Rule, Rules},
    span::{
        Builder, ClockAnchor,
        measure::{self, Measures},
        policy::{Field, Limits, OptIn, SpanPolicy},
        redact, semconv,
    },
    stats::Stats,
};

pub(super) const fn profile(profile: config::Profile) -> Option<Profile> {
    match profile {
        config::Profile::Auto => None,
        config::Profile::Socket => Some(Profile::Socket),
        config::Profile::Syscall => Some(Profile::Syscall),
    }
}

/// Into which requests the kernel side writes trace context.
pub(super) const fn injection(propagation: Propagation) -> u32 {
    match propagation {
        Propagation::Off => inject::OFF,
        Propagation::Auto => inject::KNOWN_PEERS,
        Propagation::On => inject::ALL,
    }
}

pub(super) fn sampler(sampler: &SamplerConfig) -> Policy {
    let policy = match sampler.root {
        Root::AlwaysOn => Policy::ALWAYS_ON,
        Root::AlwaysOff => Policy::ALWAYS_OFF,
        // Checked to be a share; all is the answer that loses nothing.
        Root::Ratio(ratio) => Policy::from_ratio(ratio).unwrap_or(Policy::ALWAYS_ON),
    };
    if sampler.parent_based { policy.parent_based() } else { policy }
}

/// The sampler as the kernel side has it: with rules, it leaves roots to userspace; if they are only tried, it tells of
/// all.
pub(super) fn kernel_sampler(config: &Config) -> Policy {
    let policy = sampler(&config.sampler);
    match (config.sampling.rules.is_empty(), config.sampling.dry_run) {
        (true, _) => policy,
        (false, true) => policy.dry_run(),
        (false, false) => policy.open(),
    }
}

/// Whether requests are measured.
pub(super) fn measured(config: &Config) -> bool {
    config.measures.requests && (config.listen.is_some() || config.metrics.is_some())
}

/// What is measured of requests. Who neither serves nor sends metrics pays for none.
pub(super) fn measures(config: &Config) -> Option<Arc<Measures>> {
    let MetricsConfig { max_series, exponential, exemplars, .. } = config.measures;
    measured(config).then(|| Measures::new(measure::Limits { max_series, exponential, exemplars }))
}

/// How metrics are sent.
pub(super) fn telemetry(config: &MetricsConfig) -> telemetry::Options {
    let defaults = telemetry::Options::default();
    telemetry::Options {
        interval: config.interval.unwrap_or(defaults.interval),
        temporality: match config.temporality {
            settings::Temporality::Cumulative => telemetry::Temporality::Cumulative,
            settings::Temporality::Delta => telemetry::Temporality::Delta,
            settings::Temporality::LowMemory => telemetry::Temporality::LowMemory,
        },
    }
}

/// The rules before the sampler.
pub(super) fn rules(config: &Config) -> Rules {
    let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
    let rules = config.sampling.rules.iter().map(|rule| Rule {
        name: rule.name.as_str().into(),
        service: boxed(&rule.service),
        method: boxed(&rule.method),
        path: boxed(&rule.path),
        header: rule.header.as_ref().map(|(name, value)| (name.as_str().into(), value.as_str().into())),
        // Checked to be a share; all is the answer that loses nothing.
        threshold: threshold(rule.ratio).unwrap_or(0),
        per_second: rule.per_second,
    });
    Rules::new(rules.collect(), config.sampling.dry_run)
}

pub(super) fn spans(config: &Config, stats: Arc<Stats>, rules: Rules) -> Builder {
    let mut builder = Builder::new(span_policy(config), sampler(&config.sampler), clock(), stats);
    builder.set_policy(span_policy(config), sampler(&config.sampler), rules);
    builder
}

pub(super) fn span_policy(config: &Config) -> SpanPolicy {
    let HttpConfig {
        known_methods,
        server_request_headers,
        server_response_headers,
        client_request_headers,
        client_response_headers,
        redacted_headers,
        server_body_sizes,
        client_body_sizes,
        sensitive_query_parameters,
        older_rpc,
    } = &config.http;
    let fields = |names: &[String], prefix: &str| {
        names
            .iter()
            .map(|name| Field {
                name: name.as_str().into(),
                key: format!("{prefix}{name}").into(),
                sanitize: redacted_headers.contains(name),
            })
            .collect()
    };
    let opt_in = |request: &[String], response: &[String], body_sizes: bool| OptIn {
        request_fields: fields(request, semconv::HTTP_REQUEST_HEADER),
        response_fields: fields(response, semconv::HTTP_RESPONSE_HEADER),
        body_sizes,
    };
    let boxed = |names: &Vec<String>| names.iter().map(|name| name.as_str().into()).collect();
    let defaults = SpanPolicy::default();
    SpanPolicy {
        known_methods: known_methods.as_ref().map(boxed),
        redaction: redact::Policy {
            sensitive_query: sensitive_query_parameters
                .as_ref()
                .map_or(defaults.redaction.sensitive_query, boxed),
            ..config.redaction.clone()
        },
        server: opt_in(server_request_headers, server_response_headers, *server_body_sizes),
        client: opt_in(client_request_headers, client_response_headers, *client_body_sizes),
        limits: Limits {
            count: config.limits.attribute_count,
            value_length: config.limits.attribute_value_length,
        },
        older_rpc: *older_rpc,
    }
}

/// Readings of the clocks of which the best is taken.
const READINGS: usize = 4;

/// This moment on both clocks.
pub(super) fn clock() -> ClockAnchor {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
    };
    let read = || {
        // The wall clock is read between two looks at the other, so that being interrupted costs half at most.
        let before = now();
        // The same source as everybody else's: a test steps it for the agent alone.
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let took = now() - before;
        (took, ClockAnchor { mono_ns: before + took / 2, unix_ns })
    };
    let best = iter::repeat_with(read).take(READINGS).min_by_key(|(took, _)| *took);
    best.map_or_else(ClockAnchor::default, |(_, anchor)| anchor)
}
