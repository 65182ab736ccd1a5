//! Where spans go by OTLP: endpoint, protocol, headers and the rest of `OTEL_EXPORTER_OTLP_*`
//! (specification, protocol/exporter.md).

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Uri, uri::Scheme};

use super::{
    env::Reader,
    mistake::{Findings, exit},
    pairs,
};

/// The protocol of the exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// Compression of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

/// One OTLP destination.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpConfig {
    /// Scheme, host and port; for HTTP with the path to send to, as it is used.
    pub endpoint: Uri,
    pub protocol: Protocol,
    /// Values are marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For one request; `None` is without limit.
    pub timeout: Option<Duration>,
    pub compression: Compression,
    /// Certificates to trust, instead of the machine's. These three are PEM files that were readable.
    pub certificate: Option<PathBuf>,
    /// Private key and certificate of this client: both or none.
    pub client_key: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
}

/// `OTEL_EXPORTER_OTLP_TIMEOUT`, if it is not set.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const SIGNAL_PATH: &str = "/v1/traces";

/// How an endpoint was given, which decides about its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// Typed by hand: the signal's path is added where it is missing.
    Flag,
    /// For all signals: the signal's path is added.
    Generic,
    /// For traces only: used as it is.
    Verbatim,
}

const PROTOCOLS: [(&str, Option<Protocol>); 3] =
    [("http/protobuf", Some(Protocol::HttpProtobuf)), ("grpc", Some(Protocol::Grpc)), ("http/json", None)];
const COMPRESSIONS: [(&str, Compression); 2] = [("gzip", Compression::Gzip), ("none", Compression::None)];

/// Reads the variables. `None` if neither flag nor variables name an endpoint and `wanted` is false.
pub(super) fn from_variables(flag: Option<&str>, wanted: bool, vars: &mut Reader<'_>) -> Option<OtlpConfig> {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let (place, given, text) = match (flag, vars.first(&names)) {
        (Some(url), _) => ("--otlp-endpoint", Given::Flag, Some(url.trim().to_owned())),
        (None, Some((name, url))) if name == names[0] => (name, Given::Verbatim, Some(url)),
        (None, Some((name, url))) => (name, Given::Generic, Some(url)),
        (None, None) if wanted => (names[1], Given::Generic, None),
        (None, None) => return None,
    };
    let protocol = protocol(vars);
    let insecure = either(vars, "INSECURE").and_then(|name| vars.boolean(name));
    let address = endpoint(place, given, text.as_deref(), protocol, insecure.unwrap_or(false), vars.findings);
    let headers = either(vars, "HEADERS").and_then(|name| Some((name, vars.text(name)?)));
    let headers = headers.map(|(name, list)| header_list(name, &list, vars.findings)).unwrap_or_default();
    let timeout = either(vars, "TIMEOUT").and_then(|name| vars.number(name)).map(Duration::from_millis);
    let compression = either(vars, "COMPRESSION").and_then(|name| vars.word(name, &COMPRESSIONS));
    let path = |what| {
        let name = either(vars, what)?;
        readable(name, &vars.text(name)?, vars.findings)
    };
    let files = ["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"].map(path);
    // All of it has been read by now, so that all its mistakes are known.
    let ((endpoint, protocol), [certificate, client_key, client_certificate]) = (address?, files);
    let config = OtlpConfig {
        endpoint,
        protocol,
        headers,
        timeout: Some(timeout.unwrap_or(DEFAULT_TIMEOUT)).filter(|limit| !limit.is_zero()),
        compression: compression.unwrap_or(Compression::None),
        certificate,
        client_key,
        client_certificate,
    };
    check(place, &config, vars.findings);
    Some(config)
}

/// The variable's name for traces if it is set, else the one for all signals if that is set.
fn either(vars: &Reader<'_>, what: &str) -> Option<&'static str> {
    const NAMES: [(&str, [&str; 2]); 8] = [
        ("PROTOCOL", ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]),
        ("INSECURE", ["OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"]),
        ("HEADERS", ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]),
        ("TIMEOUT", ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]),
        ("COMPRESSION", ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"]),
        ("CERTIFICATE", ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]),
        ("CLIENT_KEY", ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"]),
        (
            "CLIENT_CERTIFICATE",
            ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
        ),
    ];
    let (_, names) = NAMES.iter().find(|(key, _)| *key == what)?;
    names.iter().copied().find(|name| vars.text(name).is_some())
}

fn protocol(vars: &mut Reader<'_>) -> Option<Protocol> {
    let name = either(vars, "PROTOCOL")?;
    let protocol = vars.word(name, &PROTOCOLS)?;
    if protocol.is_none() {
        let advice = "use http/protobuf on the same endpoint";
        vars.wrong(name, "http/json", "is not sent by this agent", advice);
    }
    protocol
}

/// The full address and the protocol, by the rules for how it was given.
pub(super) fn endpoint(
    place: &str,
    given: Given,
    text: Option<&str>,
    protocol: Option<Protocol>,
    insecure: bool,
    findings: &mut Findings,
) -> Option<(Uri, Protocol)> {
    let default = match protocol {
        Some(Protocol::Grpc) => "http://localhost:4317",
        _ => "http://localhost:4318",
    };
    let text = text.unwrap_or(default);
    let code = if given == Given::Flag { exit::USAGE } else { exit::CONFIG };
    let example = "write it like http://collector:4318 (HTTP) or http://collector:4317 (gRPC)";
    let Ok(uri) = text.parse::<Uri>() else {
        findings.mistake(code, place, format!("{text:?} is not a URL"), example);
        return None;
    };
    let mut parts = uri.into_parts();
    let Some(authority) = parts.authority.clone().filter(|authority| !authority.host().is_empty()) else {
        findings.mistake(code, place, format!("{text:?} has no host"), example);
        return None;
    };
    if authority.as_str().contains('@') {
        let advice = "put them into OTEL_EXPORTER_OTLP_HEADERS (Authorization=Basic%20...)";
        findings.mistake(code, place, "credentials in the URL are not sent", advice);
        return None;
    }
    if authority.port_u16().is_none() && authority.as_str().len() > authority.host().len() {
        findings.mistake(
            code,
            place,
            format!("{text:?} has no usable port"),
            "give a number from 1 to 65535",
        );
        return None;
    }
    let guessed = protocol.is_none() && authority.port_u16() == Some(4317);
    let protocol = protocol.unwrap_or(if guessed { Protocol::Grpc } else { Protocol::HttpProtobuf });
    if guessed {
        findings.note(format!(
            "{place}: port 4317 is the one for gRPC, so gRPC is used; OTEL_EXPORTER_OTLP_PROTOCOL says otherwise"
        ));
    }
    match (&parts.scheme, protocol) {
        (Some(scheme), _) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {}
        (None, Protocol::Grpc) => {
            parts.scheme = Some(if insecure { Scheme::HTTP } else { Scheme::HTTPS });
            if !insecure {
                findings.note(format!("{place}: no scheme, so TLS is used; write http:// for plaintext"));
            }
        }
        (scheme, _) => {
            let scheme = scheme.as_ref().map_or("no scheme".to_owned(), |other| format!("scheme {other}"));
            findings.mistake(code, place, format!("{text:?} has {scheme}"), example);
            return None;
        }
    }
    let old = parts.path_and_query.as_ref();
    let path = old.map_or("", |path| path.path());
    let query = old.and_then(|path| path.query()).map_or(String::new(), |query| format!("?{query}"));
    let path = match protocol {
        Protocol::Grpc => "/".to_owned(),
        Protocol::HttpProtobuf => http_path(place, given, path, findings) + &query,
    };
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).ok().map(|uri| (uri, protocol))
}

fn http_path(place: &str, given: Given, path: &str, findings: &mut Findings) -> String {
    let ends = path.trim_end_matches('/').ends_with(SIGNAL_PATH);
    match given {
        Given::Flag if ends => path.to_owned(),
        Given::Flag => format!("{}{SIGNAL_PATH}", path.trim_end_matches('/')),
        Given::Generic => {
            if ends {
                findings.note(format!(
                    "{place}: {SIGNAL_PATH} is added to what this variable says, so it will be there twice"
                ));
            }
            format!("{}{SIGNAL_PATH}", path.trim_end_matches('/'))
        }
        Given::Verbatim => {
            if path.is_empty() || path == "/" {
                findings
                    .note(format!("{place}: used as it is; most receivers want {SIGNAL_PATH} at its end"));
            }
            if path.is_empty() { "/".to_owned() } else { path.to_owned() }
        }
    }
}

/// The headers of a list.
pub(super) fn header_list(
    place: &str,
    list: &str,
    findings: &mut Findings,
) -> Vec<(HeaderName, HeaderValue)> {
    match pairs::parse(list) {
        Ok(pairs) => pairs.iter().filter_map(|(k, v)| header(place, k, v, findings)).collect(),
        Err(what) => {
            findings.mistake(
                exit::CONFIG,
                place,
                what,
                "write name=value,name=value, values percent-encoded",
            );
            Vec::new()
        }
    }
}

/// One header; its value is never shown.
pub(super) fn header(
    place: &str,
    name: &str,
    value: &str,
    findings: &mut Findings,
) -> Option<(HeaderName, HeaderValue)> {
    match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        (Ok(name), Ok(mut value)) => {
            value.set_sensitive(true);
            Some((name, value))
        }
        (Err(_), _) => {
            let what = format!("{name:?} cannot be a header's name");
            findings.mistake(exit::CONFIG, place, what, "use letters, digits and '-'");
            None
        }
        (Ok(_), Err(_)) => {
            let what = format!("the value of {name:?} cannot be a header's value");
            findings.mistake(exit::CONFIG, place, what, "take line breaks and control characters out of it");
            None
        }
    }
}

/// A path that can be read.
pub(super) fn readable(place: &str, path: &str, findings: &mut Findings) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    match std::fs::File::open(&path) {
        Ok(_) => Some(path),
        Err(error) => {
            let what = format!("cannot read {}: {error}", path.display());
            findings.mistake(exit::NOINPUT, place, what, "name a file that this user can read");
            None
        }
    }
}

/// What only shows when all is known.
pub(super) fn check(place: &str, config: &OtlpConfig, findings: &mut Findings) {
    if config.client_key.is_some() != config.client_certificate.is_some() {
        let what = "a client key without a client certificate, or the other way round";
        findings.mistake(exit::CONFIG, place, what, "set both or none");
    }
    if config.certificate.is_some() && config.endpoint.scheme() == Some(&Scheme::HTTP) {
        findings.note(format!("{place}: a certificate is set, but {} is plaintext", config.endpoint));
    }
}

/// The timeout where none is written.
pub(super) const fn default_timeout() -> Duration {
    DEFAULT_TIMEOUT
}
