//! From the checked configuration to what export asks for. What is not said is left as the exporter has it.

use crate::{
    config::{
        self, Config,
        destination::{
            DestinationConfig, DestinationOptions, FileConfig, FilterConfig, PolicyConfig, StoreConfig,
            ToConfig,
        },
        otlp::{OtlpConfig, OtlpOptions},
        settings::BatchConfig,
    },
    export::{
        self,
        config::{
            Batch, Compression, Destination, Filter, JsonFile, Otlp, Policy, Protocol, Queue, Store, Tls, To,
        },
    },
};

/// What the first of the standard's exporters is called; the others have names of their own.
pub(super) const FIRST: &str = "otlp";

/// Where everything goes.
pub(super) fn export(config: &Config) -> export::Config {
    let first = config.otlp.as_ref().map(|one| {
        let ours = DestinationOptions::default();
        destination(FIRST, To::Otlp(Box::new(otlp(one))), &config.batch, &ours)
    });
    let more = config.more.iter().map(|one| {
        let DestinationConfig { name, path: _, to, batch, ours } = one;
        let to = match to {
            ToConfig::Otlp(one) => To::Otlp(Box::new(otlp(one))),
            ToConfig::File(one) => To::File(file(one)),
        };
        destination(name, to, batch, ours)
    });
    export::Config {
        destinations: first.into_iter().chain(more).collect(),
        metrics: config.metrics.as_ref().map(otlp),
        console: match config.console {
            config::Console::Text => export::config::Console::Text,
            config::Console::Json => export::config::Console::Json,
            config::Console::Off => export::config::Console::Off,
        },
        caps: config.caps,
        spill: config.spill.as_ref().map(store),
        dead_letters: config.dead_letters.as_ref().map(store),
    }
}

fn destination(name: &str, to: To, batch: &BatchConfig, ours: &DestinationOptions) -> Destination {
    let DestinationOptions { filter, policy, queue_bytes, batch_bytes, requests_in_flight } = ours;
    let file = matches!(to, To::File(_));
    let defaults = Destination::new(name, to);
    let spans = batch.max_queue_size.unwrap_or(defaults.queue.spans);
    let bytes = queue_bytes.unwrap_or(defaults.queue.bytes);
    let FilterConfig { services, service_names: _, kind, errors, min_duration } = filter.clone();
    Destination {
        filter: Filter { services, kind, errors, min_duration },
        queue: Queue { spans, bytes },
        policy: match policy {
            None => defaults.policy,
            Some(PolicyConfig::Newest) => Policy::Newest,
            Some(PolicyConfig::Oldest) => Policy::Oldest,
            Some(PolicyConfig::Traces) => Policy::Traces,
        },
        batch: Batch {
            delay: batch.schedule_delay.unwrap_or(defaults.batch.delay),
            // A batch that is larger than its queue would never be full.
            spans: batch.max_export_batch_size.unwrap_or(defaults.batch.spans).min(spans),
            bytes: batch_bytes.unwrap_or(defaults.batch.bytes),
        },
        export_timeout: batch.export_timeout.unwrap_or(defaults.export_timeout),
        // Lines are written in their order.
        requests_in_flight: if file { 1 } else { requests_in_flight.unwrap_or(defaults.requests_in_flight) },
        ..defaults
    }
}

pub(super) fn otlp(otlp: &OtlpConfig) -> Otlp {
    let OtlpConfig { endpoint, protocol, headers, timeout, compression, certificate, client, ours } =
        otlp.clone();
    let OtlpOptions { server_name, headers_file, token_file } = ours;
    let protocol = match protocol {
        config::otlp::Protocol::Grpc => Protocol::Grpc,
        config::otlp::Protocol::HttpProtobuf => Protocol::HttpProtobuf,
    };
    Otlp {
        headers,
        headers_file,
        token_file,
        compression: match compression {
            config::otlp::Compression::None => Compression::None,
            config::otlp::Compression::Gzip => Compression::Gzip,
            config::otlp::Compression::Zstd => Compression::Zstd,
        },
        timeout,
        tls: Tls { certificate, client, server_name },
        ..Otlp::new(protocol, endpoint)
    }
}

fn file(file: &FileConfig) -> JsonFile {
    let FileConfig { path, max_bytes, max_files } = file.clone();
    let defaults = JsonFile::new(path);
    JsonFile {
        max_bytes: max_bytes.unwrap_or(defaults.max_bytes),
        max_files: max_files.unwrap_or(defaults.max_files),
        ..defaults
    }
}

fn store(store: &StoreConfig) -> Store {
    let StoreConfig { folder, max_bytes } = store.clone();
    Store { folder, max_bytes }
}
