//! One OTLP backend: a request out, a verdict back. No retries here.

mod connect;
mod payload;
mod reload;
mod reply;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

use std::{
    error::Error as StdError,
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, TE, USER_AGENT},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Full, Limited};

#[cfg(test)]
pub(crate) use self::payload::count;
pub(crate) use self::payload::{halves, keep, left};
pub use self::{
    connect::Error,
    payload::{Encoding, Payload},
    reply::Verdict,
};
use super::{
    VERSION,
    config::{Compression, Otlp, Protocol, Tls},
    counters::Code,
};

/// The path of the trace service over gRPC.
pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The path of the metrics service over gRPC.
pub const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// How long a request waits for files that changed. Disks answer in milliseconds.
const READ: Duration = Duration::from_secs(1);

/// The specification's bound of an answer; what is longer is an error that is not retried.
const MAX_RESPONSE: usize = 4 << 20;

/// Why a request did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    /// For people: what the backend or the system said.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, message } = self;
        if message.is_empty() { write!(f, "{code}") } else { write!(f, "{code}: {message}") }
    }
}

/// What is made anew when a file of the configuration changes.
#[derive(Debug)]
struct Live {
    connector: connect::Connector,
    http: connect::Http,
    headers: HeaderMap,
    generation: u64,
}

/// A connection to one backend, made when it is first needed and made again when it is lost, or when the files
/// behind it change.
#[derive(Debug)]
pub struct Client {
    uri: Uri,
    /// What it is called in a log, besides its address.
    name: Option<Arc<str>>,
    config: Otlp,
    files: Arc<Files>,
}

/// What is made of the files behind a connection.
#[derive(Debug)]
struct Files {
    config: Otlp,
    live: RwLock<Arc<Live>>,
    /// Held while the files are read.
    watch: Mutex<reload::Watch>,
}

impl Client {
    /// Prepares the connection; nothing is sent. `service` is [`TRACES`] or [`METRICS`], used over gRPC. Must
    /// be called inside a tokio runtime.
    pub fn new(config: &Otlp, service: &'static str) -> Result<Self, Error> {
        let uri = match config.protocol {
            Protocol::HttpProtobuf => config.endpoint.clone(),
            Protocol::Grpc => {
                let mut parts = config.endpoint.clone().into_parts();
                parts.path_and_query = Some(PathAndQuery::from_static(service));
                Uri::from_parts(parts).map_err(|error| Error::Endpoint(error.to_string()))?
            }
        };
        let watch = Mutex::new(reload::Watch::new(config));
        let live = RwLock::new(Arc::new(Live::new(config, 0)?));
        let files = Arc::new(Files { config: config.clone(), live, watch });
        Ok(Self { uri, name: None, config: config.clone(), files })
    }

    /// The same, of a destination that has a name.
    #[must_use]
    pub fn named(mut self, name: &Arc<str>) -> Self {
        self.name = Some(Arc::clone(name));
        self
    }

    /// Where requests go, for a log: without a query, which may hold a key.
    pub fn describe(&self) -> String {
        let (scheme, host) = (self.uri.scheme_str().unwrap_or("http"), self.uri.authority());
        let place = format!("{scheme}://{}{}", host.map_or("", |host| host.as_str()), self.uri.path());
        self.name.as_ref().map_or(place.clone(), |name| format!("{name} ({place})"))
    }

    /// Compresses and frames an encoded message.
    pub fn prepare(&self, message: Vec<u8>) -> io::Result<Payload> {
        let encoding = Encoding::of(self.config.compression);
        Payload::new(message, encoding, Some(self.config.protocol))
    }

    /// Whether a payload is compressed and framed as this backend has it.
    pub fn fits(&self, payload: &Payload) -> bool {
        payload.encoding() == Encoding::of(self.config.compression)
            && payload.is_framed() == (self.config.protocol == Protocol::Grpc)
    }

    /// Sends it once and says what came of it.
    pub async fn send(&self, payload: &Payload) -> Verdict {
        self.send_with(payload).await.0
    }

    /// Sends it once and says what came of it, and by which generation of the credentials.
    pub async fn send_with(&self, payload: &Payload) -> (Verdict, u64) {
        self.refresh(false).await;
        let live = self.live();
        let verdict = match self.exchange(&live, payload).await {
            Ok((answer, body)) => match self.config.protocol {
                Protocol::Grpc => reply::grpc(&answer, &body),
                Protocol::HttpProtobuf => reply::http(&answer, &body, SystemTime::now()),
            },
            Err(verdict) => verdict,
        };
        (verdict.without(&live.headers, self.config.endpoint.query()), live.generation)
    }

    /// Whether its credentials come from files, and so can get better.
    pub fn renews(&self) -> bool {
        let Otlp { tls, headers_file, token_file, .. } = &self.config;
        tls.client.is_some() || headers_file.is_some() || token_file.is_some()
    }

    /// Waits until credentials are in use that are newer than `than`, as long as `patience` lasts.
    pub async fn renewed(&self, than: u64, patience: Duration) -> bool {
        let newer = async {
            while self.live().generation <= than {
                self.refresh(true).await;
                if self.live().generation <= than {
                    tokio::time::sleep(reload::LOOK_AGAIN).await;
                }
            }
        };
        tokio::time::timeout(patience, newer).await.is_ok()
    }

    fn live(&self) -> Arc<Live> {
        self.files.live()
    }

    /// Reads the files again if one of them changed. What is in flight ends on the connections that it has. A disk that
    /// does not answer holds up one thread for this, and a request for [`READ`]; then the files before stay in use.
    async fn refresh(&self, now: bool) {
        if !self.files.watch().is_some_and(|watch| watch.is_due(now)) {
            return;
        }
        let (files, about) = (Arc::clone(&self.files), self.describe());
        let reading = tokio::task::spawn_blocking(move || files.refresh(now, &about));
        if tokio::time::timeout(READ, reading).await.is_err() {
            let about = self.describe();
            log::warn!(
                "export to {about} goes on with the files it had: they cannot be read within {READ:?}"
            );
        }
    }

    /// Sends it once; the answer and, for gRPC, the message in it without its frame.
    async fn exchange(&self, live: &Arc<Live>, payload: &Payload) -> Result<(reply::Answer, Bytes), Verdict> {
        let timeout = self.config.timeout;
        if let Ok(result) = tokio::time::timeout(timeout, self.round_trip(live, payload)).await {
            return result;
        }
        self.files.disconnect(live);
        let message = format!("no answer within {timeout:?}");
        Err(Verdict::Retry { after: None, failure: Failure { code: Code::Timeout, message } })
    }

    async fn round_trip(&self, live: &Live, payload: &Payload) -> Result<(reply::Answer, Bytes), Verdict> {
        let mut request = Request::new(Full::new(payload.bytes().clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = live.headers.clone();
        if self.config.protocol == Protocol::Grpc {
            *request.version_mut() = http::Version::HTTP_2;
        }
        let response = live.http.request(request).await.map_err(|error| {
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

impl Files {
    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is sent from now on gets a connection of its own, also over HTTP/2, where one request that is given up leaves
    /// it as it was: the backend may be gone, and its name mean another one by now.
    fn disconnect(&self, hung: &Arc<Live>) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        // Several requests may have waited for the same.
        if Arc::ptr_eq(&live, hung) {
            *live = Arc::new(hung.disconnected(self.config.protocol));
        }
    }

    /// None while somebody reads the files.
    fn watch(&self) -> Option<MutexGuard<'_, reload::Watch>> {
        match self.watch.try_lock() {
            Ok(watch) => Some(watch),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Files that cannot be used, half-written ones for instance, are said once; those before them stay in use.
    fn refresh(&self, now: bool, about: &str) {
        let Some(mut watch) = self.watch() else { return };
        let Some(changed) = watch.changed(now) else { return };
        let next = self.live().generation + 1;
        match Live::new(&self.config, next) {
            Ok(live) => {
                *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
                watch.accept(changed);
                log::info!("export to {about}: its certificates or credentials changed, read again");
            }
            Err(error) => {
                let error = error.to_string();
                if watch.said != error {
                    log::warn!("export to {about} goes on with the files it had: {error}");
                    watch.said = error;
                }
            }
        }
    }
}

impl Live {
    fn new(config: &Otlp, generation: u64) -> Result<Self, Error> {
        let Otlp { protocol, endpoint, headers: own, compression, timeout, tls, .. } = config;
        let connector = connect::connector(*protocol, endpoint, tls, *timeout)?;
        let http = connect::client(*protocol, &connector);
        let text =
            |value: String| HeaderValue::try_from(value).map_err(|error| Error::Endpoint(error.to_string()));
        let agent = text(format!("Spandrel/{VERSION} OTel-OTLP-Exporter-Rust/{VERSION}"))?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, agent);
        // The configured ones may replace the agent's name, but not what the protocol needs.
        for (name, value) in own {
            headers.insert(name.clone(), value.clone());
        }
        headers.extend(reload::headers(config)?);
        let compression = match compression {
            Compression::None => None,
            Compression::Gzip => Some(HeaderValue::from_static("gzip")),
            Compression::Zstd => Some(HeaderValue::from_static("zstd")),
        };
        match protocol {
            Protocol::Grpc => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(TE, HeaderValue::from_static("trailers"));
                let name = HeaderName::from_static("grpc-encoding");
                compression.and_then(|coding| headers.insert(name, coding));
                // A deadline of at most eight digits, by the gRPC protocol.
                let deadline = text(format!("{}m", timeout.as_millis().clamp(1, 99_999_999)))?;
                headers.insert(HeaderName::from_static("grpc-timeout"), deadline);
            }
            Protocol::HttpProtobuf => {
                let protobuf = HeaderValue::from_static("application/x-protobuf");
                headers.insert(CONTENT_TYPE, protobuf.clone());
                headers.insert(ACCEPT, protobuf);
                compression.and_then(|coding| headers.insert(CONTENT_ENCODING, coding));
            }
        }
        Ok(Self { connector, http, headers, generation })
    }

    /// The same without its connections.
    fn disconnected(&self, protocol: Protocol) -> Self {
        let Self { connector, headers, generation, .. } = self;
        let http = connect::client(protocol, connector);
        Self { connector: connector.clone(), http, headers: headers.clone(), generation: *generation }
    }
}

/// All that is wrong with the files and names of a connection. Whoever starts it would hear of them one by one.
pub fn mistakes(https: bool, tls: &Tls, headers: Option<&Path>, token: Option<&Path>) -> Vec<Error> {
    let mut errors = connect::mistakes(https, tls);
    errors.extend(headers.and_then(|path| reload::headers_of(path).err()));
    errors.extend(token.and_then(|path| reload::token_of(path).err()));
    errors
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
