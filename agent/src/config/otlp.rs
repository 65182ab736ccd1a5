//! An OTLP destination, and the rules for what people write as its endpoint and headers (specification,
//! protocol/exporter.md).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Uri, uri::Scheme};

use super::{
    file,
    mistake::{Findings, exit},
    pairs,
};
use crate::export::{client, config::Tls};

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
    /// Not in the specification's list; the Collector takes it.
    Zstd,
}

/// One OTLP destination.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpConfig {
    /// Scheme, host and port; for HTTP with the path to send to, as it is used.
    pub endpoint: Uri,
    pub protocol: Protocol,
    /// Values are marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For one request.
    pub timeout: Duration,
    pub compression: Compression,
    /// Certificates to trust, instead of the machine's. These three are PEM files that were readable.
    pub certificate: Option<PathBuf>,
    /// Certificate and private key of this client.
    pub client: Option<(PathBuf, PathBuf)>,
    /// What only this agent has; only the configuration file says it.
    pub ours: OtlpOptions,
}

/// What the specification has no name for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpOptions {
    /// The name that the server's certificate is for, if it is not the endpoint's host.
    pub server_name: Option<String>,
    /// A file with one header a line, and one with a bearer token. Both are read again when they change.
    pub headers_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
}

impl OtlpConfig {
    /// The endpoint for people: a query may hold a key, so it is not shown.
    pub fn shown(&self) -> String {
        let text = self.endpoint.to_string();
        text.split_once('?').map_or(text.clone(), |(shown, _)| format!("{shown}?(hidden)"))
    }
}

/// The timeout where none is written (protocol/exporter.md).
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A duration of 0 in the configuration means no limit. A year is as good, and can be added to a clock.
pub const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    /// The agent's own.
    Metrics,
}

impl Signal {
    /// The path of the receiver (protocol/otlp.md, "OTLP/HTTP Request").
    const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }
}

/// How an endpoint was given, which decides about its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// Typed by hand: the signal's path is added where it is missing.
    Flag,
    /// For all signals: the signal's path is added.
    Generic,
    /// For one signal only: used as it is.
    Verbatim,
}

/// The full address and the protocol, by the rules for how it was given.
pub(super) fn endpoint(
    place: &str,
    (signal, given): (Signal, Given),
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
    // What stands before an @ may be a password.
    let shown = if text.contains('@') { "the URL" } else { text };
    let code = if given == Given::Flag { exit::USAGE } else { exit::CONFIG };
    let example = "write it like http://collector:4318 (HTTP) or http://collector:4317 (gRPC)";
    let Ok(uri) = text.parse::<Uri>() else {
        findings.mistake(code, place, format!("{shown:?} is not a URL"), example);
        return None;
    };
    let mut parts = uri.into_parts();
    let Some(authority) = parts.authority.clone().filter(|authority| !authority.host().is_empty()) else {
        findings.mistake(code, place, format!("{shown:?} has no host"), example);
        return None;
    };
    if authority.as_str().contains('@') {
        let advice = "put them into a header: the file's `headers`, or OTEL_EXPORTER_OTLP_HEADERS (Authorization=Basic%20...)";
        findings.mistake(code, place, "credentials in the URL are not sent", advice);
        return None;
    }
    if authority.port_u16().is_none() && authority.as_str().len() > authority.host().len() {
        findings.mistake(
            code,
            place,
            format!("{shown:?} has no usable port"),
            "give a number from 1 to 65535",
        );
        return None;
    }
    let guessed = protocol.is_none() && authority.port_u16() == Some(4317);
    let protocol = protocol.unwrap_or(if guessed { Protocol::Grpc } else { Protocol::HttpProtobuf });
    if guessed {
        findings.note(format!(
            "{place}: port 4317 is the one for gRPC, so gRPC is used; set OTEL_EXPORTER_OTLP_PROTOCOL if it is \
             http/protobuf"
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
            findings.mistake(code, place, format!("{shown:?} has {scheme}"), example);
            return None;
        }
    }
    let old = parts.path_and_query.as_ref();
    let path = old.map_or("", |path| path.path());
    let query = old.and_then(|path| path.query()).map_or(String::new(), |query| format!("?{query}"));
    let path = match protocol {
        Protocol::Grpc => {
            if !matches!(path, "" | "/") || !query.is_empty() {
                // A query may hold a key.
                let what = if query.is_empty() { "" } else { " with its query" };
                findings.note(format!(
                    "{place}: {path:?}{what} is not used: gRPC has a path of its own; leave it out, or use \
                     http/protobuf if the receiver wants it"
                ));
            }
            "/".to_owned()
        }
        Protocol::HttpProtobuf => http_path(place, (signal, given), path, findings) + &query,
    };
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).ok().map(|uri| (uri, protocol))
}

fn http_path(place: &str, (signal, given): (Signal, Given), path: &str, findings: &mut Findings) -> String {
    let base = path.trim_end_matches('/');
    let signal = signal.path();
    match given {
        Given::Flag => format!("{}{signal}", base.strip_suffix(Signal::Traces.path()).unwrap_or(base)),
        Given::Generic => {
            if base.ends_with(signal) {
                findings.note(format!(
                    "{place}: {signal} is added to what this variable says, so it will be there twice"
                ));
            }
            format!("{base}{signal}")
        }
        Given::Verbatim => {
            if base.is_empty() {
                findings.note(format!("{place}: used as it is; most receivers want {signal} at its end"));
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
    match file::open(&path) {
        Ok(_) => Some(path),
        Err(error) => {
            let what = format!("cannot read {}: {error}", path.display());
            findings.mistake(exit::NOINPUT, place, what, "name a file that this user can read");
            None
        }
    }
}

/// The client's certificate and key, which are of use only together.
pub(super) fn client(
    place: &str,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    findings: &mut Findings,
) -> Option<(PathBuf, PathBuf)> {
    if certificate.is_some() != key.is_some() {
        let what = "a client key without a client certificate, or the other way round";
        findings.mistake(exit::CONFIG, place, what, "set both to files that can be read, or none");
    }
    certificate.zip(key)
}

/// A time to wait, in milliseconds.
pub(super) fn delay(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds).min(NO_LIMIT)
}

/// A limit in milliseconds; 0 is none.
pub(super) fn limit(milliseconds: u64) -> Duration {
    if milliseconds == 0 { NO_LIMIT } else { delay(milliseconds) }
}

/// What only shows when all is known.
pub(super) fn check(place: &str, config: &OtlpConfig, findings: &mut Findings) {
    if config.certificate.is_some() && config.endpoint.scheme() == Some(&Scheme::HTTP) {
        findings.note(format!("{place}: a certificate is set, but {} is plaintext", config.shown()));
    }
    // What the files hold, so that nothing of it ends the agent only when it starts.
    let OtlpOptions { server_name, headers_file, token_file } = config.ours.clone();
    let tls = Tls { certificate: config.certificate.clone(), client: config.client.clone(), server_name };
    let https = config.endpoint.scheme() == Some(&Scheme::HTTPS);
    for error in client::mistakes(https, &tls, headers_file.as_deref(), token_file.as_deref()) {
        let (what, advice) = error.in_two();
        findings.mistake(exit::CONFIG, place, what, advice);
    }
}

/// A folder that can be made, if it is not there. Nothing is made.
pub(super) fn can_be_made(folder: &Path) -> Result<(), String> {
    let Some((there, meta)) = folder.ancestors().find_map(|at| Some((at, at.metadata().ok()?))) else {
        return Err(format!("{} cannot be reached", folder.display()));
    };
    if !meta.is_dir() {
        return Err(format!("{} is no folder", there.display()));
    }
    // What is a link to nothing cannot be made either.
    let below = folder.ancestors().take_while(|at| *at != there);
    if let Some(link) = below.filter(|at| at.symlink_metadata().is_ok()).last() {
        return Err(format!("{} leads nowhere", link.display()));
    }
    // Whether it is allowed depends on who runs the agent: that may be another user than the one who checks the file.
    match rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
        Err(rustix::io::Errno::ROFS) => {
            Err(format!("{} is on a disk that can only be read", there.display()))
        }
        _ => Ok(()),
    }
}
