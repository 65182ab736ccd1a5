//! Where spans go, as `spandrel config show` has it: all that a destination was given, and what holds where nothing was.

use std::{fmt::Write as _, path::Path};

use super::{
    destination::{DestinationConfig, PolicyConfig, ToConfig},
    otlp::{Compression, OtlpConfig, Protocol},
    settings::BatchConfig,
};
use crate::{
    export::config::{Batch, Destination, JsonFile, To},
    span::Kind,
};

/// A key as the file has it, and its value.
type Row = (String, String);

/// Everything of a destination.
pub(super) fn rows(one: &DestinationConfig) -> Vec<Row> {
    let DestinationConfig { name, path, to, batch: sizes, ours } = one;
    let mut all: Vec<Row> = vec![(format!("{path}.name"), name.clone())];
    match to {
        ToConfig::Otlp(otlp) => all.extend(of_otlp(path, otlp)),
        ToConfig::File(file) => {
            let defaults = JsonFile::new(file.path.clone());
            let key = |key| format!("{path}.exporter.file.{key}");
            all.push((key("path"), file.path.display().to_string()));
            all.push((key("max_bytes"), file.max_bytes.unwrap_or(defaults.max_bytes).to_string()));
            all.push((key("max_files"), file.max_files.unwrap_or(defaults.max_files).to_string()));
        }
    }
    all.extend(batch(path, sizes));
    if path.starts_with("tracer_provider") {
        // The standard's exporters have nothing more.
        return all;
    }
    let defaults = Destination::new(name, To::File(JsonFile::new("".into())));
    let mut row = |key: &str, value: String| all.push((format!("{path}.{key}"), value));
    let filter = &ours.filter;
    row(
        "filter.services",
        if filter.service_names.is_empty() { any() } else { filter.service_names.join(",") },
    );
    row(
        "filter.kind",
        match filter.kind {
            None => any(),
            Some(Kind::Server) => "server".to_owned(),
            Some(Kind::Client) => "client".to_owned(),
            Some(Kind::Producer) => "producer".to_owned(),
        },
    );
    row("filter.errors", filter.errors.to_string());
    row("filter.min_duration", format!("{:?}", filter.min_duration));
    let policy = match ours.policy {
        None | Some(PolicyConfig::Newest) => "newest",
        Some(PolicyConfig::Oldest) => "oldest",
        Some(PolicyConfig::Traces) => "traces",
    };
    row("drop", policy.to_owned());
    row("max_queue_bytes", ours.queue_bytes.unwrap_or(defaults.queue.bytes).to_string());
    row("max_export_batch_bytes", ours.batch_bytes.unwrap_or(Batch::default().bytes).to_string());
    let in_flight = match to {
        ToConfig::File(_) => 1,
        ToConfig::Otlp(_) => ours.requests_in_flight.unwrap_or(defaults.requests_in_flight),
    };
    row("requests_in_flight", in_flight.to_string());
    all
}

fn any() -> String {
    "any".to_owned()
}

/// The sizes of batches and queue.
pub(super) fn batch(path: &str, given: &BatchConfig) -> Vec<Row> {
    let defaults = Destination::new("", To::File(JsonFile::new("".into())));
    let queue = given.max_queue_size.unwrap_or(defaults.queue.spans);
    let size = given.max_export_batch_size.unwrap_or(defaults.batch.spans).min(queue);
    let timeout = given.export_timeout.unwrap_or(defaults.export_timeout);
    [
        ("schedule_delay", format!("{:?}", given.schedule_delay.unwrap_or(defaults.batch.delay))),
        ("export_timeout", format!("{timeout:?}")),
        ("max_queue_size", queue.to_string()),
        ("max_export_batch_size", size.to_string()),
    ]
    .map(|(key, value)| (format!("{path}.{key}"), value))
    .into()
}

fn protocol(otlp: &OtlpConfig) -> &'static str {
    match otlp.protocol {
        Protocol::Grpc => "grpc",
        Protocol::HttpProtobuf => "http/protobuf",
    }
}

fn compression(otlp: &OtlpConfig) -> &'static str {
    match otlp.compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

/// An OTLP exporter in one line; of headers only the names.
pub(super) fn otlp(otlp: Option<&OtlpConfig>) -> String {
    let Some(otlp) = otlp else { return "none".to_owned() };
    let (protocol, compression) = (protocol(otlp), compression(otlp));
    let mut text =
        format!("{protocol} {} timeout={:?} compression={compression}", otlp.shown(), otlp.timeout);
    for (name, _) in &otlp.headers {
        // Writing to memory cannot fail.
        write!(text, " {name}=(hidden)").ok();
    }
    if let Some(file) = &otlp.certificate {
        write!(text, " ca_file={}", file.display()).ok();
    }
    if let Some((file, _)) = &otlp.client {
        write!(text, " cert_file={}", file.display()).ok();
    }
    text
}

/// The same, each value by itself.
fn of_otlp(path: &str, otlp: &OtlpConfig) -> Vec<Row> {
    let exporter = match otlp.protocol {
        Protocol::Grpc => "otlp_grpc",
        Protocol::HttpProtobuf => "otlp_http",
    };
    let file =
        |file: Option<&Path>| file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    let headers: Vec<_> = otlp.headers.iter().map(|(name, _)| format!("{name}=(hidden)")).collect();
    let (cert, key) = otlp.client.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path())).unzip();
    let ours = &otlp.ours;
    [
        ("endpoint", otlp.shown()),
        ("timeout", format!("{:?}", otlp.timeout)),
        ("compression", compression(otlp).to_owned()),
        ("headers", if headers.is_empty() { file(None) } else { headers.join(" ") }),
        ("headers_file", file(ours.headers_file.as_deref())),
        ("token_file", file(ours.token_file.as_deref())),
        ("tls.ca_file", file(otlp.certificate.as_deref())),
        ("tls.cert_file", file(cert)),
        ("tls.key_file", file(key)),
        ("tls.server_name", ours.server_name.clone().unwrap_or_else(|| "the endpoint's".to_owned())),
    ]
    .map(|(key, value)| (format!("{path}.exporter.{exporter}.{key}"), value))
    .into()
}
