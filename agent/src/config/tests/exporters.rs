//! Where spans and metrics go by the variables and the flag.

use super::*;
use crate::export::testing::Authority;

#[test]
fn endpoints_follow_the_specification() {
    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    let http = Protocol::HttpProtobuf;
    for (variables, url, protocol) in [
        (&[(ALL, "http://h:4318")][..], "http://h:4318/v1/traces", http),
        (&[(ALL, "http://h:4318/")], "http://h:4318/v1/traces", http),
        (&[(ALL, "https://h/otlp/")], "https://h/otlp/v1/traces", http),
        (&[(ALL, "https://h/otlp?key=1")], "https://h/otlp/v1/traces?key=1", http),
        (&[(TRACES, "http://h:4318")], "http://h:4318/", http),
        (&[(TRACES, "http://h:4318/x"), (ALL, "http://other")], "http://h:4318/x", http),
        (&[(ALL, "http://h:4317")], "http://h:4317/", Protocol::Grpc),
        (&[(ALL, "http://h:4317"), (PROTOCOL, "http/protobuf")], "http://h:4317/v1/traces", http),
        (&[(ALL, "http://h:9999"), (PROTOCOL, "grpc")], "http://h:9999/", Protocol::Grpc),
        (&[(ALL, "h:4317")], "https://h:4317/", Protocol::Grpc),
        (&[(ALL, "h:4317"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")], "http://h:4317/", Protocol::Grpc),
        (&[("OTEL_TRACES_EXPORTER", "otlp")], "http://localhost:4318/v1/traces", http),
        (&[("OTEL_TRACES_EXPORTER", "otlp"), (PROTOCOL, "grpc")], "http://localhost:4317/", Protocol::Grpc),
        (
            &[
                (ALL, "http://h:1"),
                (PROTOCOL, "http/protobuf"),
                ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "GRPC"),
            ],
            "http://h:1/",
            Protocol::Grpc,
        ),
    ] {
        let otlp = good("", variables).otlp.unwrap();
        assert_eq!((otlp.endpoint.to_string().as_str(), otlp.protocol), (url, protocol), "{variables:?}");
    }
    for (typed, url) in [
        ("http://h:4318", "http://h:4318/v1/traces"),
        ("http://h:4318/v1/traces", "http://h:4318/v1/traces"),
        ("http://h/otlp", "http://h/otlp/v1/traces"),
        ("http://h:4317", "http://h:4317/"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ] {
        let config = good(&format!("--otlp-endpoint {typed}"), &[(TRACES, "http://other:1/x")]);
        assert_eq!(config.otlp.unwrap().endpoint.to_string(), url, "{typed}");
    }
    for url in ["h:4318", "ftp://h", "http://", "/v1/traces", "http://user:pw@h:4318", "http://h:99999999"] {
        let mistakes = bad("", &[(ALL, url)]);
        assert_eq!(mistakes.0.len(), 1, "{url}: {mistakes}");
        assert!(!mistakes.to_string().contains("pw"), "{mistakes}");
    }
    assert!(bad("", &[(ALL, "http://h"), (PROTOCOL, "http/json")]).to_string().contains("http/protobuf"));
}

#[test]
fn guesses_are_said() {
    for (variables, word) in [
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4317")][..], "gRPC"),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h/v1/traces")], "twice"),
        (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h:4318")], "/v1/traces"),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4317/some/path")], "/some/path"),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4317/?key=value")], "query"),
        (&[("OTEL_TRACES_SAMPLER_ARG", "0.1")], "no effect"),
    ] {
        let notes = good("", variables).notes.join("\n");
        assert!(notes.contains(word), "{variables:?}: {notes:?}");
    }
}

#[test]
fn the_rest_of_the_exporter() {
    let authority = Authority::new();
    let ca = authority.certificate();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://h:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,Authorization=Basic%20hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.to_str().unwrap()),
    ];
    let config = good("", &variables);
    assert!(!format!("{config:?}").contains("hunter2"));
    let otlp = config.otlp.unwrap();
    assert_eq!(otlp.headers[1].0, "authorization");
    assert_eq!(otlp.headers[1].1, "Basic hunter2");
    assert_eq!((otlp.timeout, otlp.compression), (Duration::from_millis(2500), Compression::Gzip));
    assert_eq!(otlp.certificate.as_deref(), Some(ca.as_path()));
    let half = [variables[0], ("OTEL_EXPORTER_OTLP_CLIENT_KEY", ca.to_str().unwrap())];
    assert_eq!(bad("", &half).0.len(), 1);
    let hidden = bad("", &[variables[0], ("OTEL_EXPORTER_OTLP_HEADERS", "key=secret%zz")]);
    assert!(!hidden.to_string().contains("secret"), "{hidden}");
}

#[test]
fn own_metrics_are_sent_on_request() {
    let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318");
    let metrics = ("OTEL_METRICS_EXPORTER", "otlp");
    assert_eq!(good("", &[all]).metrics, None);
    let url = |line: &str, variables: &[_]| good(line, variables).metrics.unwrap().endpoint.to_string();
    assert_eq!(url("", &[all, metrics]), "http://h:4318/v1/metrics");
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/x");
    assert_eq!(url("", &[all, metrics, own]), "http://m/x");
    assert_eq!(url("--otlp-endpoint http://f/v1/traces", &[all, metrics]), "http://f/v1/metrics");
    // The flag is about spans: what is said of metrics alone holds, and their credentials go to no other host.
    let key = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "authorization=Bearer%20m");
    let config = good("--otlp-endpoint http://f:4318", &[all, metrics, own, key]);
    let (spans, metrics_to) = (config.otlp.as_ref().unwrap(), config.metrics.as_ref().unwrap());
    assert_eq!(spans.endpoint.to_string(), "http://f:4318/v1/traces");
    assert_eq!(metrics_to.endpoint.to_string(), "http://m/x");
    assert_eq!((spans.headers.len(), metrics_to.headers.len()), (0, 1));
    let shown = show::text(&config);
    let line = shown.lines().find(|line| line.contains("meter_provider exporter")).unwrap();
    assert!(line.contains("http://m/x") && line.contains("# OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"), "{line}");
    assert_eq!(bad("", &[("OTEL_METRICS_EXPORTER", "statsd")]).code(), exit::CONFIG);
}

#[test]
fn mistakes_in_variables_are_told_without_an_endpoint() {
    let variables = [
        ("OTEL_TRACES_SAMPLER", "foo"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "abc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "lz4"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/at/all"),
    ];
    let told = bad("--pid 1", &variables).to_string();
    for (name, _) in variables {
        assert!(told.contains(name), "{name}: {told}");
    }
    assert!(good("", &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]).otlp.is_none());
}
