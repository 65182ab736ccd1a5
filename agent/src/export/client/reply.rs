//! What a backend's answer means.

use std::time::{Duration, SystemTime};

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::Failure;
use crate::export::{
    counters::Code,
    retry::{self, MAX_DEMAND},
};

/// What is kept of a backend's words for the log.
const MAX_MESSAGE: usize = 300;
/// What is kept of them until the secrets in them are taken out: a part of one would not be found.
const MAX_READ: usize = 8192;

/// A part of a header's value that is shorter keeps no secret; replacing it would only make words unreadable.
const SHORTEST_SECRET: usize = 4;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The backend has the batch, but for so many spans. A message without rejected spans is a warning.
    Accepted { code: Code, rejected: u64, message: String },
    /// It may be sent again, `after` a time if the backend named one.
    Retry { after: Option<Duration>, failure: Failure },
    /// The message is larger than what the backend takes: its parts may be sent.
    TooLarge(Failure),
    /// The backend does not accept the credentials: it may be sent again with others.
    Unauthorized(Failure),
    /// It must not be sent again.
    Refused(Failure),
}

impl Verdict {
    /// How the request ended.
    pub fn code(&self) -> Code {
        match self {
            Self::Accepted { code, .. } => *code,
            Self::Retry { failure, .. }
            | Self::TooLarge(failure)
            | Self::Unauthorized(failure)
            | Self::Refused(failure) => failure.code,
        }
    }

    /// Why the request did not do what it was to do. None if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Accepted { .. } => None,
            Self::Retry { failure, .. }
            | Self::TooLarge(failure)
            | Self::Unauthorized(failure)
            | Self::Refused(failure) => Some(failure),
        }
    }

    /// The same without the secrets of a request: some backends repeat a token that they do not accept, or the URL
    /// that they were asked for, whose `query` may hold a key.
    pub(super) fn without(mut self, headers: &HeaderMap, query: Option<&str>) -> Self {
        let message = match &mut self {
            Self::Accepted { message, .. } => message,
            Self::Retry { failure, .. }
            | Self::TooLarge(failure)
            | Self::Unauthorized(failure)
            | Self::Refused(failure) => &mut failure.message,
        };
        let secrets = headers.values().filter(|value| value.is_sensitive());
        let words = secrets.filter_map(|value| value.to_str().ok()).flat_map(str::split_whitespace);
        let values =
            query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, v)| v));
        let decoded: Vec<_> = values.clone().map(percent_decode).collect();
        let words = words.chain(values).chain(decoded.iter().map(String::as_str));
        for word in words.filter(|word| word.len() >= SHORTEST_SECRET) {
            if message.contains(word) {
                *message = message.replace(word, "REDACTED");
            }
        }
        // Now that nothing has to be found in it any more.
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
        }
        self
    }
}

/// `net/http`'s `MaxBytesError`.
const GO_TOO_LARGE: &str = "http: request body too large";

/// An answer without its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// An OTLP/HTTP answer.
pub(super) fn http(answer: &Answer, body: &Bytes, now: SystemTime) -> Verdict {
    let code = Code::Http(answer.status.as_u16());
    let refused = |message: String| Verdict::Refused(Failure { code, message });
    if answer.status.is_success() {
        if !body.is_empty() && content_type(answer).starts_with("text/html") {
            let what = "answered with a web page: this is not an OTLP endpoint (its path is /v1/traces)";
            return refused(what.to_owned());
        }
        return accepted(code, body);
    }
    if answer.status.is_redirection() {
        let to = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
        return refused(clip(&format!("redirects to {to}: name that as the endpoint")));
    }
    let message = clip(&match Status::decode(body.clone()) {
        Ok(status) if !status.message.is_empty() && content_type(answer).contains("protobuf") => {
            status.message
        }
        _ => String::from_utf8_lossy(body).into_owned(),
    });
    if retry::http_retryable(answer.status.as_u16()) {
        let after = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|value| retry::retry_after(value, now));
        return Verdict::Retry { after, failure: Failure { code, message } };
    }
    match answer.status {
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge(Failure { code, message }),
        // The Collector's word for its `max_request_body_size`: Go's error for it, under another status.
        StatusCode::BAD_REQUEST if message.contains(GO_TOO_LARGE) => {
            Verdict::TooLarge(Failure { code, message })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Verdict::Unauthorized(Failure { code, message }),
        _ => refused(message),
    }
}

/// An OTLP/gRPC answer (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md).
pub(super) fn grpc(answer: &Answer, body: &Bytes) -> Verdict {
    let fields = if answer.trailers.contains_key("grpc-status") { &answer.trailers } else { &answer.headers };
    let field = |name| fields.get(name).and_then(|value| value.to_str().ok());
    let (code, message) = match field("grpc-status").map(str::parse::<u8>) {
        Some(status) => {
            let status = status.ok().filter(|code| *code <= 16).unwrap_or(2);
            (status, percent_decode(field("grpc-message").unwrap_or_default()))
        }
        None => (from_http(answer.status), format!("HTTP {} without a gRPC status", answer.status)),
    };
    if code == 0 {
        return match message_of(body) {
            Some(message) => accepted(Code::Grpc(0), &message),
            None => accepted(Code::Grpc(0), &Bytes::new()),
        };
    }
    let after = field("grpc-status-details-bin").and_then(retry_info);
    let failure = Failure { code: Code::Grpc(code), message: clip(&message) };
    if retry::grpc_retryable(code, after.is_some()) {
        return Verdict::Retry { after, failure };
    }
    match code {
        // Without a RetryInfo it says that this message cannot be taken, which is most often its size.
        8 => Verdict::TooLarge(failure),
        7 | 16 => Verdict::Unauthorized(failure),
        _ => Verdict::Refused(failure),
    }
}

/// The gRPC status that stands for an answer without one (doc/http-grpc-status-mapping.md).
fn from_http(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The message in a gRPC body, if there is one and it is not compressed (nothing was said to be accepted).
pub(super) fn message_of(body: &Bytes) -> Option<Bytes> {
    let (prefix, _) = body.split_at_checked(5)?;
    let [0, a, b, c, d] = prefix else { return None };
    let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
    (body.len() - 5 >= len).then(|| body.slice(5..5 + len))
}

/// A success. What cannot be decoded says nothing of rejected spans.
fn accepted(code: Code, message: &Bytes) -> Verdict {
    let partial = ExportTraceServiceResponse::decode(message.clone()).ok().and_then(|r| r.partial_success);
    let partial = partial.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    Verdict::Accepted { code, rejected, message: clip(&partial.error_message) }
}

/// The delay in a `RetryInfo` among the details of a status, base64 with or without padding.
fn retry_info(details: &str) -> Option<Duration> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
    let status = Status::decode(BASE64.decode(details).ok()?.as_slice()).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let Delay { seconds, nanos } =
        RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let delay = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let delay = delay.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
    Some(delay.min(MAX_DEMAND))
}

fn content_type(answer: &Answer) -> &str {
    answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Percent-decoding of `grpc-message`; what is not well-formed stays as it is.
fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// A backend's words for one line of a log: short, and nothing that moves a cursor.
fn clip(text: &str) -> String {
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_READ).collect()
}
