//! From the checked configuration to what each room asks for.

use std::sync::Arc;

use spandrel_common::sample::Policy;

use crate::{
    config::{
        self, Config,
        settings::{HttpConfig, Root, SamplerConfig},
    },
    kernel::Profile,
    span::{
        build::{Builder, ClockAnchor},
        policy::{Field, Limits, OptIn, SpanPolicy},
        semconv,
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

pub(super) fn sampler(sampler: &SamplerConfig) -> Policy {
    let policy = match sampler.root {
        Root::AlwaysOn => Policy::ALWAYS_ON,
        Root::AlwaysOff => Policy::ALWAYS_OFF,
        // Checked to be a share; all is the answer that loses nothing.
        Root::Ratio(ratio) => Policy::from_ratio(ratio).unwrap_or(Policy::ALWAYS_ON),
    };
    if sampler.parent_based { policy.parent_based() } else { policy }
}

pub(super) fn spans(config: &Config, stats: Arc<Stats>) -> Builder {
    Builder::new(span_policy(config), sampler(&config.sampler), clock(), stats)
}

fn span_policy(config: &Config) -> SpanPolicy {
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
        sensitive_query: sensitive_query_parameters.as_ref().map_or(defaults.sensitive_query, boxed),
        server: opt_in(server_request_headers, server_response_headers, *server_body_sizes),
        client: opt_in(client_request_headers, client_response_headers, *client_body_sizes),
        limits: Limits {
            count: config.limits.attribute_count,
            value_length: config.limits.attribute_value_length,
        },
    }
}

/// This moment on both clocks.
pub(super) fn clock() -> ClockAnchor {
    let now = |id| {
        let time = rustix::time::clock_gettime(id);
        (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
    };
    // The wall clock is read between two looks at the other, so that being interrupted costs half at most.
    let before = now(rustix::time::ClockId::Monotonic);
    let unix_ns = now(rustix::time::ClockId::Realtime);
    let after = now(rustix::time::ClockId::Monotonic);
    ClockAnchor { mono_ns: before + (after - before) / 2, unix_ns }
}
