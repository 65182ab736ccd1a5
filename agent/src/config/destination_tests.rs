//! Destinations as the configuration file has them.

use std::time::Duration;

use super::{
    Config, Console, Mistakes,
    destination::{FileConfig, PolicyConfig, StoreConfig, ToConfig},
    otlp::{Compression, Protocol},
    tests::from_file,
};
use crate::span::Kind;

fn read(text: &str) -> Result<Config, Mistakes> {
    from_file(&format!("file_format: \"1.1\"\n{text}"), "", &[])
}

#[test]
fn everything_that_can_be_said_of_a_destination() {
    let config = read(
        "distribution:
  spandrel:
    spill: {path: /var/lib/spandrel/queue, max_bytes: 8388608}
    dead_letters: {path: /var/lib/spandrel/dead}
    shutdown_timeout: 2500
    destinations:
      - name: backup
        exporter:
          otlp_grpc:
            endpoint: https://backup:4317
            compression: zstd
            headers_file: /etc/hostname
            token_file: /etc/hostname
            tls: {server_name: otlp.example.com}
        filter: {services: [shop, 'cart-*'], kind: server, errors: true, min_duration: 250}
        drop: traces
        schedule_delay: 100
        export_timeout: 7000
        max_queue_size: 1000
        max_export_batch_size: 100
        max_queue_bytes: 1000000
        max_export_batch_bytes: 500000
        requests_in_flight: 2
      - name: file
        exporter: {file: {path: /tmp/traces.json, max_bytes: 1048576, max_files: 3}}
",
    )
    .unwrap();
    assert!(config.otlp.is_none());
    // They are destinations as good as any: the console need not be one.
    assert_eq!(config.console, Console::Off);
    let queue = StoreConfig { folder: "/var/lib/spandrel/queue".into(), max_bytes: 8 << 20 };
    assert_eq!(config.spill, Some(queue));
    assert_eq!(config.dead_letters.unwrap().max_bytes, 256 << 20);
    assert_eq!(config.shutdown_timeout, Duration::from_millis(2500));
    let [backup, file] = &config.more[..] else { panic!("{:?}", config.more) };
    assert_eq!((backup.name.as_str(), file.name.as_str()), ("backup", "file"));
    let ToConfig::Otlp(otlp) = &backup.to else { panic!("{backup:?}") };
    assert_eq!((otlp.protocol, otlp.compression), (Protocol::Grpc, Compression::Zstd));
    assert_eq!(otlp.ours.server_name.as_deref(), Some("otlp.example.com"));
    assert!(otlp.ours.headers_file.is_some() && otlp.ours.token_file.is_some());
    let filter = &backup.ours.filter;
    assert!(filter.services.as_ref().unwrap().is_match("cart-eu"));
    assert_eq!((filter.kind, filter.errors), (Some(Kind::Server), true));
    assert_eq!(filter.min_duration, Duration::from_millis(250));
    assert_eq!(backup.ours.policy, Some(PolicyConfig::Traces));
    assert_eq!((backup.ours.queue_bytes, backup.ours.batch_bytes), (Some(1_000_000), Some(500_000)));
    assert_eq!(backup.ours.requests_in_flight, Some(2));
    assert_eq!((backup.batch.max_queue_size, backup.batch.max_export_batch_size), (Some(1000), Some(100)));
    assert_eq!(backup.batch.export_timeout, Some(Duration::from_secs(7)));
    let ToConfig::File(file) = &file.to else { panic!("{file:?}") };
    let expected =
        FileConfig { path: "/tmp/traces.json".into(), max_bytes: Some(1 << 20), max_files: Some(3) };
    assert_eq!(*file, expected);
}

#[test]
fn each_exporter_of_the_standard_is_a_destination() {
    let config = read(
        "tracer_provider:
  processors:
    - batch: {schedule_delay: 10, exporter: {otlp_grpc: {endpoint: 'http://one:4317'}}}
    - batch: {schedule_delay: 20, exporter: {otlp_http: {endpoint: 'http://two:4318/v1/traces'}}}
",
    )
    .unwrap();
    assert_eq!(config.otlp.unwrap().endpoint.host(), Some("one"));
    assert_eq!(config.batch.schedule_delay, Some(Duration::from_millis(10)));
    assert_eq!(config.more[0].name, "otlp-2");
    assert_eq!(config.more[0].batch.schedule_delay, Some(Duration::from_millis(20)));
}

#[test]
fn mistakes_in_destinations_have_their_places() {
    let mistakes = read(
        "distribution:
  spandrel:
    spill: {path: relative, max_bytes: 5}
    destinations:
      - exporter: {file: {path: /tmp/x, rotate: 1}}
      - name: otlp
        exporter: {otlp_grpc: {endpoint: 'http://h:4317', compression: lz4}}
        drop: all
      - name: none
",
    )
    .unwrap_err();
    let text = mistakes.to_string();
    for said in [
        "spill.path",
        "spill.max_bytes",
        "no name",
        "file.rotate",
        "name of another",
        "lz4",
        "newest, oldest",
        "no exporter",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(mistakes.0.len(), 8, "{text}");
}
