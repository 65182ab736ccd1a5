//! One OTLP backend: a request out, a verdict back. No retries here.

mod connect;
mod reply;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

use std::{
    error::Error as StdError,
    io::{self, Write as _},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, TE, USER_AGENT},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Full, Limited};

pub use self::{connect::Error, reply::Verdict};
use super::{
    VERSION,
    config::{Compression, Otlp, Protocol},
    counters::Code,
};

/// The path of the trace service over gRPC.
pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The path of the metrics service over gRPC.
pub const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// The specification's bound of an answer; what is longer is an error that is not retried.
const MAX_RESPONSE: usize = 4 << 20;

/// Speed before size: level 1 already leaves a tenth of spans' bytes, at a fifth of the default level's time.
const GZIP_LEVEL: Level = Level::new(1);

/// Why a request did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    /// For people: what the backend or the system said.
    pub message: String,
}

/// A request body, compressed and framed once, sent as often as needed.
#[derive(Clone, Debug)]
pub struct Payload(Bytes);

impl Payload {
    /// Its size.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A connection to one backend, made when it is first needed and made again when it is lost.
#[derive(Debug)]
pub struct Client {
    http: connect::Http,
    uri: Uri,
    headers: HeaderMap,
    protocol: Protocol,
    compression: Compression,
    timeout: Duration,
}

impl Client {
    /// Prepares the connection; nothing is sent. `service` is [`TRACES`] or [`METRICS`], used over gRPC. Must
    /// be called inside a tokio runtime.
    pub fn new(config: &Otlp, service: &'static str) -> Result<Self, Error> {
        let Otlp { protocol, endpoint, headers: own, compression, timeout, tls } = config;
        let http = connect::client(*protocol, endpoint, tls, *timeout)?;
        let uri = match protocol {
            Protocol::HttpProtobuf => endpoint.clone(),
            Protocol::Grpc => {
                let mut parts = endpoint.clone().into_parts();
                parts.path_and_query = Some(PathAndQuery::from_static(service));
                Uri::from_parts(parts).map_err(|error| Error::Endpoint(error.to_string()))?
            }
        };
        let agent = format!("Spandrel/{VERSION} OTel-OTLP-Exporter-Rust/{VERSION}");
        let agent = HeaderValue::try_from(agent).map_err(|error| Error::Endpoint(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, agent);
        // The configured ones may replace the agent's name, but not what the protocol needs.
        for (name, value) in own {
            headers.insert(name.clone(), value.clone());
        }
        let gzip = *compression == Compression::Gzip;
        match protocol {
            Protocol::Grpc => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(TE, HeaderValue::from_static("trailers"));
                if gzip {
                    headers
                        .insert(HeaderName::from_static("grpc-encoding"), HeaderValue::from_static("gzip"));
                }
                // A deadline of at most eight digits, by the gRPC protocol.
                let deadline = format!("{}m", timeout.as_millis().clamp(1, 99_999_999));
                let deadline =
                    HeaderValue::try_from(deadline).map_err(|error| Error::Endpoint(error.to_string()))?;
                headers.insert(HeaderName::from_static("grpc-timeout"), deadline);
            }
            Protocol::HttpProtobuf => {
                let protobuf = HeaderValue::from_static("application/x-protobuf");
                headers.insert(CONTENT_TYPE, protobuf.clone());
                headers.insert(ACCEPT, protobuf);
                if gzip {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
            }
        }
        let (protocol, compression, timeout) = (*protocol, *compression, *timeout);
        Ok(Self { http, uri, headers, protocol, compression, timeout })
    }

    /// Where requests go.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Compresses and frames an encoded message.
    pub fn prepare(&self, message: Vec<u8>) -> io::Result<Payload> {
        let gzip = self.compression == Compression::Gzip;
        if self.protocol == Protocol::HttpProtobuf && !gzip {
            return Ok(Payload(message.into()));
        }
        let mut out = Vec::with_capacity(if gzip { message.len() / 4 } else { message.len() } + 5);
        if self.protocol == Protocol::Grpc {
            out.extend_from_slice(&[u8::from(gzip), 0, 0, 0, 0]);
        }
        let prefix = out.len();
        if gzip {
            let mut encoder = GzEncoder::new(out, GZIP_LEVEL);
            encoder.write_all(&message)?;
            out = encoder.finish()?;
        } else {
            out.extend_from_slice(&message);
        }
        if self.protocol == Protocol::Grpc {
            let len = u32::try_from(out.len() - prefix).map_err(io::Error::other)?;
            if let Some(field) = out.get_mut(1..5) {
                field.copy_from_slice(&len.to_be_bytes());
            }
        }
        Ok(Payload(out.into()))
    }

    /// Sends it once and says what came of it.
    pub async fn send(&self, payload: &Payload) -> Verdict {
        match self.exchange(payload).await {
            Ok((answer, body)) => match self.protocol {
                Protocol::Grpc => reply::grpc(&answer, &body),
                Protocol::HttpProtobuf => reply::http(&answer, &body, SystemTime::now()),
            },
            Err(verdict) => verdict,
        }
    }

    /// Sends it once; the answer and, for gRPC, the message in it without its frame.
    pub(super) async fn exchange(&self, payload: &Payload) -> Result<(reply::Answer, Bytes), Verdict> {
        match tokio::time::timeout(self.timeout, self.round_trip(payload)).await {
            Ok(result) => result,
            Err(_) => Err(Verdict::Retry {
                after: None,
                failure: Failure {
                    code: Code::Timeout,
                    message: format!("no answer within {:?}", self.timeout),
                },
            }),
        }
    }

    async fn round_trip(&self, payload: &Payload) -> Result<(reply::Answer, Bytes), Verdict> {
        let mut request = Request::new(Full::new(payload.0.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if self.protocol == Protocol::Grpc {
            *request.version_mut() = http::Version::HTTP_2;
        }
        let response = self.http.request(request).await.map_err(|error| {
            let code = if error.is_connect() { Code::Connect } else { Code::Broken };
            Verdict::Retry { after: None, failure: Failure { code, message: chain(&error) } }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect().await.map_err(|error| {
            let failure = Failure { code: Code::Broken, message: chain(&*error) };
            if error.is::<http_body_util::LengthLimitError>() {
                Verdict::Refused(failure)
            } else {
                Verdict::Retry { after: None, failure }
            }
        })?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok((reply::Answer { status: head.status, headers: head.headers, trailers }, body.to_bytes()))
    }
}

/// An error and its causes in one line, each said once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
