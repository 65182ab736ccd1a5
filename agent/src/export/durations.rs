//! Durations of the traced services' requests, and the service graph, as Prometheus text.

use super::text::Text;
use crate::span::measure::{Edge, Histogram, Key, Snapshot, histogram::BOUNDS};

/// The names by which Grafana draws a service graph.
const GRAPH: &str = "traces_service_graph_request";

type Count = fn(&Edge) -> u64;
type Side = fn(&Edge) -> &Histogram;

/// Appends the families.
pub(super) fn write(text: &mut Text, measured: &Snapshot) {
    for (server, name, help) in [
        (
            true,
            "http_server_request_duration_seconds",
            "How long requests took that a service answered, sampled or not.",
        ),
        (
            false,
            "http_client_request_duration_seconds",
            "How long requests took that a service made, sampled or not.",
        ),
    ] {
        text.family(name, "histogram", help);
        for (key, histogram) in measured.series.iter().filter(|(key, _)| key.server == server) {
            let (code, port) = (number(key.code), number(key.port));
            let labels = labels(key, measured, &code, &port);
            text.histogram(name, &labels, parts(histogram), histogram.exemplar.as_ref());
        }
    }
    let counters: [(&str, &str, Count); 2] = [
        ("total", "Requests from a service of this node to another.", |edge| edge.requests),
        ("failed_total", "Those of them that failed.", |edge| edge.failed),
    ];
    for (what, help, count) in counters {
        let name = format!("{GRAPH}_{what}");
        text.family(&name, "counter", help);
        for (client, server, edge) in &measured.edges {
            text.sample(&name, &pair(measured, *client, *server), count(edge));
        }
    }
    let sides: [(&str, &str, Side); 2] = [
        ("server_seconds", "How long they took for the server.", |edge| &edge.server),
        ("client_seconds", "How long they took for the client.", |edge| &edge.client),
    ];
    for (what, help, side) in sides {
        let name = format!("{GRAPH}_{what}");
        text.family(&name, "histogram", help);
        for (client, server, edge) in &measured.edges {
            text.histogram(&name, &pair(measured, *client, *server), parts(side(edge)), None);
        }
    }
}

fn pair(measured: &Snapshot, client: u32, server: u32) -> [(&'static str, &str); 2] {
    [("client", measured.name(client)), ("server", measured.name(server))]
}

fn parts(histogram: &Histogram) -> (&[f64], &[u64], f64) {
    (&BOUNDS, &histogram.counts, histogram.sum)
}

/// A number as a label; nothing for 0.
fn number(number: u16) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

/// The labels of a series; attributes without a value are left out.
fn labels<'a>(
    key: &'a Key,
    measured: &'a Snapshot,
    code: &'a str,
    port: &'a str,
) -> Vec<(&'static str, &'a str)> {
    if key.is_overflow() {
        return vec![("otel_metric_overflow", "true")];
    }
    let all = [
        ("service_name", measured.name(key.service)),
        ("http_request_method", &*key.method),
        ("url_scheme", key.scheme),
        ("http_response_status_code", code),
        ("error_type", &*key.error),
        ("network_protocol_version", key.version),
        ("server_address", &*key.address),
        ("server_port", port),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}
