//! The `OTEL_EXPORTER_OTLP_*` variables (specification, protocol/exporter.md). Each exists for all signals
//! and for one, which wins.

use super::{
    env::Reader,
    otlp::{self, Compression, DEFAULT_TIMEOUT, Given, OtlpConfig, OtlpOptions, Protocol, Signal},
};

const PROTOCOLS: [(&str, Protocol); 2] =
    [("http/protobuf", Protocol::HttpProtobuf), ("grpc", Protocol::Grpc)];
/// What the specification names besides.
const NOT_SENT: &str = "http/json";
const COMPRESSIONS: [(&str, Compression); 3] =
    [("gzip", Compression::Gzip), ("none", Compression::None), ("zstd", Compression::Zstd)];

/// Reads the destination of a signal. `flag` is `--otlp-endpoint`, which is about spans: metrics follow it unless they
/// have an endpoint of their own, which their headers are for. `None` if neither flag nor variables name an endpoint and
/// `wanted` is false.
pub(super) fn read(
    signal: Signal,
    flag: Option<&str>,
    wanted: bool,
    vars: &mut Reader<'_>,
) -> Option<OtlpConfig> {
    let own = name(signal, "ENDPOINT");
    let flag = flag.filter(|_| signal == Signal::Traces || vars.text(&own).is_none());
    let (place, given, text) = match (flag, either(vars, signal, "ENDPOINT")) {
        (Some(url), _) => ("--otlp-endpoint".to_owned(), Given::Flag, Some(url.trim().to_owned())),
        (None, Some((name, url))) if name == own => (name, Given::Verbatim, Some(url)),
        (None, Some((name, url))) => (name, Given::Generic, Some(url)),
        (None, None) => (ALL.to_owned() + "ENDPOINT", Given::Generic, None),
    };
    // Mistakes in the others are told all the same.
    let wanted = wanted || text.is_some();
    let protocol = protocol(signal, vars);
    let insecure = either(vars, signal, "INSECURE").and_then(|(name, _)| vars.boolean(&name));
    let insecure = insecure.unwrap_or(false);
    let address = otlp::endpoint(&place, (signal, given), text.as_deref(), protocol, insecure, vars.findings);
    let headers = either(vars, signal, "HEADERS");
    let headers = headers.map(|(name, list)| otlp::header_list(&name, &list, vars.findings));
    let timeout = either(vars, signal, "TIMEOUT").and_then(|(name, _)| vars.number(&name));
    let compression = either(vars, signal, "COMPRESSION");
    let compression = compression.and_then(|(name, _)| vars.word(&name, &COMPRESSIONS));
    let mut file = |what| {
        let (name, path) = either(vars, signal, what)?;
        otlp::readable(&name, &path, vars.findings)
    };
    let (certificate, cert, key) = (file("CERTIFICATE"), file("CLIENT_CERTIFICATE"), file("CLIENT_KEY"));
    let client = otlp::client(&name(signal, "CLIENT_CERTIFICATE"), cert, key, vars.findings);
    // All of it has been read by now, so that all its mistakes are known.
    let (endpoint, protocol) = address?;
    let config = OtlpConfig {
        endpoint,
        protocol,
        headers: headers.unwrap_or_default(),
        timeout: timeout.map_or(DEFAULT_TIMEOUT, otlp::limit),
        compression: compression.unwrap_or(Compression::None),
        certificate,
        client,
        ours: OtlpOptions::default(),
    };
    otlp::check(&place, &config, vars.findings);
    wanted.then_some(config)
}

const ALL: &str = "OTEL_EXPORTER_OTLP_";

fn name(signal: Signal, what: &str) -> String {
    let signal = match signal {
        Signal::Traces => "TRACES",
        Signal::Metrics => "METRICS",
    };
    format!("{ALL}{signal}_{what}")
}

/// The variable for one signal if it is set, else the one for all if that is set.
fn either(vars: &Reader<'_>, signal: Signal, what: &str) -> Option<(String, String)> {
    let names = [name(signal, what), format!("{ALL}{what}")];
    names.into_iter().find_map(|name| vars.text(&name).map(|value| (name, value)))
}

fn protocol(signal: Signal, vars: &mut Reader<'_>) -> Option<Protocol> {
    let (name, value) = either(vars, signal, "PROTOCOL")?;
    if value.eq_ignore_ascii_case(NOT_SENT) {
        let advice = "use http/protobuf on the same endpoint";
        vars.wrong(&name, NOT_SENT, "is not sent by this agent", advice);
        return None;
    }
    vars.word(&name, &PROTOCOLS)
}
