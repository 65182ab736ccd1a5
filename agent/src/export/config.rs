//! Where spans go and within which bounds: plain data, filled in by `config`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use globset::GlobSet;
use http::{HeaderName, HeaderValue, Uri};

use crate::span::{Kind, Span, Status};

/// The specification's default for `OTEL_BSP_MAX_QUEUE_SIZE` is 2,048: made for one process's own spans. Here
/// one queue carries a node: at 50,000 spans a second it bridges 1.3 seconds, the time of a slow request.
const QUEUE_SPANS: usize = 65_536;
/// What the queue may hold in memory. A waiting span takes 1 to 2 KiB until it is encoded, some 60 bytes once
/// its batch is compressed; the agent is to stay under 60 MB with the backend gone.
const QUEUE_BYTES: usize = 24 << 20;
/// What all queues together may hold: with two of [`QUEUE_BYTES`] the agent stays below 100 MB.
const ALL_QUEUES_BYTES: usize = 2 * QUEUE_BYTES;
/// Encoded size at which a batch is full. gRPC servers, the Collector among them, refuse messages above 4 MiB.
const BATCH_BYTES: usize = 3 << 20;
/// Requests in flight to one destination. Throughput is requests in flight times batch size over latency:
/// with 512 spans and 20 ms, 100,000 spans a second.
const REQUESTS_IN_FLIGHT: usize = 4;

/// A JSON file is renamed and begun anew at this size: `grep` still reads it in well under a second.
const FILE_BYTES: u64 = 64 << 20;
/// Rotated JSON files that are kept besides the one that is written.
const FILES: usize = 4;

/// Everything that [`super::start`] needs to know.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where spans go. The ledger counts each span once, by the first of them that wants it; each keeps its own
    /// account besides.
    pub destinations: Vec<Destination>,
    /// Where the agent's own metrics go. Off unless `OTEL_METRICS_EXPORTER=otlp`: a backend for traces alone
    /// would refuse them, forever, and `/metrics` serves them in any case.
    pub metrics: Option<Otlp>,
    /// What is written to standard output.
    pub console: Console,
    pub caps: Caps,
    /// The queues on disk, a folder for each destination by its name. None keeps them in memory.
    pub spill: Option<Store>,
    /// What can never be delivered, a folder for each destination by its name.
    pub dead_letters: Option<Store>,
}

/// What the destinations together may take of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes that all queues hold in memory. Half of them are shared out evenly, so that a destination that is full
    /// leaves room for the others. What is beyond them is dropped by the policy of the destination whose it is, and
    /// counted apart.
    pub queue_bytes: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { queue_bytes: ALL_QUEUES_BYTES }
    }
}

/// One destination: its queue, its connection and its retries are its own.
#[derive(Clone, Debug)]
pub struct Destination {
    /// In metrics, in the report and as the name of its folders.
    pub name: Arc<str>,
    pub to: To,
    pub filter: Filter,
    pub queue: Queue,
    pub policy: Policy,
    pub batch: Batch,
    /// How long one batch may take with all its retries before it is dropped (`OTEL_BSP_EXPORT_TIMEOUT`).
    /// The specification's 30 seconds do not bridge the restart of a backend; ours is five minutes, like the
    /// Collector's. Batches that are on disk wait as long as there is room for them.
    pub export_timeout: Duration,
    /// Requests in flight, at least 1.
    pub requests_in_flight: usize,
}

impl Destination {
    /// A destination with the defaults.
    pub fn new(name: &str, to: To) -> Self {
        Self {
            name: name.into(),
            to,
            filter: Filter::default(),
            queue: Queue::default(),
            policy: Policy::default(),
            batch: Batch::default(),
            export_timeout: Duration::from_secs(300),
            requests_in_flight: REQUESTS_IN_FLIGHT,
        }
    }
}

/// The kind of a destination.
#[derive(Clone, Debug)]
pub enum To {
    Otlp(Box<Otlp>),
    /// OTLP/JSON, one object a line, as the Collector's file exporter writes it.
    File(JsonFile),
}

/// A file that is rotated: `traces.json`, `traces.json.1`, `traces.json.2`, ..., the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFile {
    pub path: PathBuf,
    /// At this size it is renamed and begun anew.
    pub max_bytes: u64,
    /// Renamed files that are kept.
    pub max_files: usize,
}

impl JsonFile {
    /// A file with the default rotation.
    pub fn new(path: PathBuf) -> Self {
        Self { path, max_bytes: FILE_BYTES, max_files: FILES }
    }
}

/// A folder and the most that may be in it for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub folder: PathBuf,
    pub max_bytes: u64,
}

impl Store {
    /// The folder of one destination.
    pub(super) fn of(&self, destination: &str) -> PathBuf {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        // Never `.` or `..`, and never a name that is already that of a file.
        self.folder.join(format!("to-{}", destination.chars().map(safe).collect::<String>()))
    }
}

/// Which spans a destination wants: those that pass every one of these.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// By `service.name`.
    pub services: Option<GlobSet>,
    pub kind: Option<Kind>,
    /// Only spans with the status `Error`.
    pub errors: bool,
    /// Only spans that took at least so long.
    pub min_duration: Duration,
}

impl Filter {
    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        let Self { services, kind, errors, min_duration } = self;
        services.is_none() && kind.is_none() && !errors && min_duration.is_zero()
    }

    /// Whether it wants a span.
    pub fn wants(&self, span: &Span) -> bool {
        let Self { services, kind, errors, min_duration } = self;
        services.as_ref().is_none_or(|globs| globs.is_match(&*span.resource.service))
            && kind.is_none_or(|kind| kind == span.kind)
            && (!errors || span.status == Status::Error)
            && Duration::from_nanos(span.end_ns.saturating_sub(span.start_ns)) >= *min_duration
    }
}

/// What is lost when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// What comes. The default: it costs nothing, touches nothing that is already encoded, and what is kept is
    /// one stretch of time without holes, the beginning of the trouble included.
    #[default]
    Newest,
    /// The batches that wait longest: who looks at a dashboard sees now.
    Oldest,
    /// Traces as a whole. From half of the queue on, spans are kept by their trace id: a share that shrinks to
    /// nothing as the queue fills. Every agent that is short of room picks the same traces.
    Traces,
}

/// The bounds of one destination's queue. What is beyond them is dropped by its [`Policy`], and counted.
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
    /// More headers, one `Name: value` a line; read again when the file changes.
    pub headers_file: Option<PathBuf>,
    /// A file with nothing but the token for `Authorization: Bearer`; read again when it changes.
    pub token_file: Option<PathBuf>,
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
            headers_file: None,
            token_file: None,
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
    /// Not in the specification's list, but the Collector takes it over both transports.
    Zstd,
}

/// TLS of one backend; PEM files, each with one or more certificates. They are read again when they change.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Authorities to trust instead of the system's (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    pub certificate: Option<PathBuf>,
    /// This client's certificate chain and key (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `..._CLIENT_KEY`).
    /// Only together.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate has to be for, if it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// `--console`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Console {
    #[default]
    Off,
    /// Traces as trees.
    Text,
    /// OTLP/JSON, one object a line.
    Json,
}
