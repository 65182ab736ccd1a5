//! `meter_provider` of the configuration file: where the agent's metrics go.

use std::time::Duration;

use super::{
    file_traces::destination,
    otlp::{self, Protocol},
    settings::{Settings, Temporality},
    walk::{Table, Walk},
};

/// Milliseconds between two readings at least: what is read and sent without a pause takes a core.
pub(super) const SHORTEST_INTERVAL: u64 = 100;

pub(super) fn read(walk: &mut Walk<'_>, table: &mut Table<'_>, settings: &mut Settings) {
    for item in walk.list(table, "readers").unwrap_or_default() {
        let Some(mut reader) = walk.table(item, table.at("readers")) else { continue };
        walk.one_of(&reader, &["periodic", "pull"]);
        if let Some(mut periodic) = walk.sub(&mut reader, "periodic") {
            let kind = format!("a number of milliseconds from {SHORTEST_INTERVAL} on");
            let long_enough =
                |text: &str| text.parse().ok().filter(|interval| *interval >= SHORTEST_INTERVAL);
            if let Some(interval) = walk.value(&mut periodic, "interval", &kind, long_enough) {
                settings.metrics.interval = Some(otlp::delay(interval));
            }
            let timeout = walk.number(&mut periodic, "timeout").map(otlp::limit);
            exporter(walk, &mut periodic, timeout, settings);
            walk.unused(&periodic);
        }
        if let Some(mut pull) = walk.sub(&mut reader, "pull") {
            prometheus(walk, &mut pull, settings);
            walk.unused(&pull);
        }
        walk.unused(&reader);
    }
    let always =
        |text: &str| ["trace_based", "always_on", "always_off"].contains(&text).then(|| text != "always_off");
    if let Some(exemplars) =
        walk.value(table, "exemplar_filter", "trace_based, always_on or always_off", always)
    {
        settings.metrics.exemplars = exemplars;
    }
}

fn exporter(walk: &mut Walk<'_>, reader: &mut Table<'_>, timeout: Option<Duration>, settings: &mut Settings) {
    let Some(mut table) = walk.sub(reader, "exporter") else {
        let advice = "write exporter: with otlp_http or otlp_grpc below it";
        return walk.wrong(&reader.path, reader.line, "has no exporter: nothing is sent", advice);
    };
    walk.one_of(&table, &["otlp_http", "otlp_grpc"]);
    for (key, protocol) in [("otlp_http", Protocol::HttpProtobuf), ("otlp_grpc", Protocol::Grpc)] {
        let Some(mut given) = walk.sub(&mut table, key) else { continue };
        let default = !given.has("endpoint") && protocol == Protocol::HttpProtobuf;
        let temporality =
            walk.value(&mut given, "temporality_preference", "cumulative, delta or low_memory", |text| {
                Some(match text {
                    "cumulative" => Temporality::Cumulative,
                    "delta" => Temporality::Delta,
                    "low_memory" => Temporality::LowMemory,
                    _ => return None,
                })
            });
        settings.metrics.temporality = temporality.unwrap_or(settings.metrics.temporality);
        let kinds = "explicit_bucket_histogram or base2_exponential_bucket_histogram";
        let exponential = walk.value(&mut given, "default_histogram_aggregation", kinds, |text| match text {
            "explicit_bucket_histogram" => Some(false),
            "base2_exponential_bucket_histogram" => Some(true),
            _ => None,
        });
        settings.metrics.exponential = exponential.unwrap_or(settings.metrics.exponential);
        let (path, line) = (given.path.clone(), given.line);
        let found = destination(walk, &mut given, protocol, false);
        walk.unused(&given);
        if settings.exporters.metrics.is_some() {
            walk.wrong(
                &path,
                line,
                "is a second destination for metrics",
                "keep one; a collector can send to several",
            );
            continue;
        }
        settings.exporters.metrics = found.map(|mut found| {
            if default {
                found.endpoint = http::Uri::from_static("http://localhost:4318/v1/metrics");
            }
            found.timeout = timeout.unwrap_or(found.timeout);
            found
        });
    }
    for (key, node) in table.rest() {
        walk.wrong(
            &table.at(key),
            node.line,
            "is no exporter that is known here",
            "use otlp_http or otlp_grpc",
        );
    }
}

/// The address of `/metrics`.
fn prometheus(walk: &mut Walk<'_>, pull: &mut Table<'_>, settings: &mut Settings) {
    let Some(mut exporter) = walk.sub(pull, "exporter") else {
        let advice = "write exporter: with prometheus/development below it";
        return walk.wrong(&pull.path, pull.line, "has no exporter: nothing is served", advice);
    };
    walk.one_of(&exporter, &["prometheus/development", "prometheus"]);
    for key in ["prometheus/development", "prometheus"] {
        let Some(mut given) = walk.sub(&mut exporter, key) else { continue };
        let host = walk.text(&mut given, "host").unwrap_or_else(|| "localhost".to_owned());
        let port = walk.value(&mut given, "port", "a port", |text| text.parse::<u16>().ok()).unwrap_or(9464);
        settings.metrics.prometheus = Some(format!("{host}:{port}"));
        walk.unused(&given);
    }
    for (key, node) in exporter.rest() {
        walk.wrong(
            &exporter.at(key),
            node.line,
            "is no exporter that is known here",
            "use prometheus/development",
        );
    }
}
