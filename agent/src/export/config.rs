//! Where spans go and within which bounds: plain data, filled in by `config`.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

/// The specification's default for `OTEL_BSP_MAX_QUEUE_SIZE` is 2,048: made for one process's own spans. Here
/// one queue carries a node: at 50,000 spans a second it bridges 1.3 seconds, the time of a slow request.
const QUEUE_SPANS: usize = 65_536;
/// What the queue may hold in memory. A waiting span takes 1 to 2 KiB until it is encoded, some 60 bytes once
/// its batch is compressed; the agent is to stay under 60 MB with the backend gone.
const QUEUE_BYTES: usize = 24 << 20;
/// Encoded size at which a batch is full. gRPC servers, the Collector among them, refuse messages above 4 MiB.
const BATCH_BYTES: usize = 3 << 20;
/// Requests in flight to one destination. Throughput is requests in flight times batch size over latency:
/// with 512 spans and 20 ms, 100,000 spans a second.
const REQUESTS_IN_FLIGHT: usize = 4;

/// Everything that [`super::start`] needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The OTLP backend of spans; none if no endpoint is configured.
    pub otlp: Option<Otlp>,
    /// Where the agent's own metrics go. Off unless `OTEL_METRICS_EXPORTER=otlp`: a backend for traces alone
    /// would refuse them, forever, and `/metrics` serves them in any case.
    pub metrics: Option<Otlp>,
    /// What is written to standard output.
    pub console: Console,
    pub queue: Queue,
    pub batch: Batch,
    /// How long one batch may take with all its retries before it is dropped (`OTEL_BSP_EXPORT_TIMEOUT`).
    /// The specification's 30 seconds do not bridge the restart of a backend; ours is five minutes, like the
    /// Collector's.
    pub export_timeout: Duration,
    /// Requests in flight to one destination, at least 1.
    pub requests_in_flight: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            otlp: None,
            metrics: None,
            console: Console::Off,
            queue: Queue::default(),
            batch: Batch::default(),
            export_timeout: Duration::from_secs(300),
            requests_in_flight: REQUESTS_IN_FLIGHT,
        }
    }
}

/// The bounds of one destination's queue. What is beyond them is dropped (the newest) and counted.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Spans, requests in flight included (`OTEL_BSP_MAX_QUEUE_SIZE`).
    pub spans: usize,
    /// Bytes of memory, requests in flight included.
    pub bytes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { spans: QUEUE_SPANS, bytes: QUEUE_BYTES }
    }
}

/// When a batch is sent: as soon as one of its bounds is reached.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// How long its first span may wait (`OTEL_BSP_SCHEDULE_DELAY`). The specification says 5 seconds; with
    /// one a person who looks sees what just happened, at one small request a second.
    pub delay: Duration,
    /// Spans, at least 1 (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    pub spans: usize,
    /// Encoded bytes. A single span above it is still sent, alone.
    pub bytes: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { delay: Duration::from_secs(1), spans: 512, bytes: BATCH_BYTES }
    }
}

/// One OTLP backend, by the `OTEL_EXPORTER_OTLP_*` variables.
#[derive(Clone, Debug)]
pub struct Otlp {
    pub protocol: Protocol,
    /// The URL with scheme and authority. Over HTTP its path is used as it is (`/v1/traces` has been appended
    /// where the specification says so); over gRPC the path is the service's and this one's is ignored. The
    /// scheme decides whether TLS is used.
    pub endpoint: Uri,
    /// Headers of every request. Mark secret values as sensitive, so that no log shows them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub compression: Compression,
    /// How long one request may take, from the connection to the last byte of the answer.
    pub timeout: Duration,
    pub tls: Tls,
}

impl Otlp {
    /// The specification's defaults for an endpoint.
    pub fn new(protocol: Protocol, endpoint: Uri) -> Self {
        Self {
            protocol,
            endpoint,
            headers: Vec::new(),
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            tls: Tls::default(),
        }
    }
}

/// `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`.
    HttpProtobuf,
}

/// `OTEL_EXPORTER_OTLP_COMPRESSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

/// TLS of one backend; PEM files, each with one or more certificates.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Authorities to trust instead of the system's (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    pub certificate: Option<PathBuf>,
    /// This client's certificate chain and key (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `..._CLIENT_KEY`).
    /// Only together.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// `--console`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    Off,
    /// Traces as trees.
    Text,
    /// OTLP/JSON, one object a line.
    Json,
}
