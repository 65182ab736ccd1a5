//! A scripted OTLP backend on loopback: records what comes, answers as it is told.

use std::{
    convert::Infallible,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Notify,
    task::JoinSet,
};

use tokio_rustls::TlsAcceptor;

use crate::export::config::{Destination, Otlp, Protocol, To};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Http,
    Grpc,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// The body, without gRPC's frame and not compressed.
    pub(crate) message: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// How many spans it has.
    pub(crate) fn spans(&self) -> usize {
        self.ids().len()
    }

    /// The ids of its spans, none if it is not about traces.
    pub(crate) fn ids(&self) -> Vec<Vec<u8>> {
        let data = opentelemetry_proto::tonic::trace::v1::TracesData::decode(&*self.message);
        let resources = data.unwrap_or_default().resource_spans;
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(|span| span.span_id).collect()
    }
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    http: u16,
    grpc: Option<u8>,
    pub(crate) message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
    /// gRPC: the status comes in the headers, there is no body.
    pub(crate) headers_only: bool,
    never: bool,
    reset: bool,
}

impl Answer {
    pub(crate) fn http(status: u16) -> Self {
        Self { http: status, ..Self::default() }
    }

    pub(crate) fn grpc(status: u8) -> Self {
        Self { http: 200, grpc: Some(status), ..Self::default() }
    }

    pub(crate) fn ok(wire: Wire) -> Self {
        match wire {
            Wire::Http => Self::http(200),
            Wire::Grpc => Self::grpc(0),
        }
    }

    /// "Busy, try again."
    pub(crate) fn busy(wire: Wire) -> Self {
        match wire {
            Wire::Http => Self::http(503),
            Wire::Grpc => Self::grpc(14),
        }
    }

    /// "Bad request."
    pub(crate) fn bad(wire: Wire) -> Self {
        match wire {
            Wire::Http => Self::http(400),
            Wire::Grpc => Self::grpc(3),
        }
    }

    /// Takes the request and says nothing.
    pub(crate) fn never() -> Self {
        Self { never: true, ..Self::default() }
    }

    /// Takes the request and breaks the connection.
    pub(crate) fn reset() -> Self {
        Self { reset: true, ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((HeaderName::from_static(name), value.parse().unwrap()));
        self
    }

    pub(crate) fn with_body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn with_rejected(self, spans: i64, message: &str) -> Self {
        let partial = ExportTracePartialSuccess { rejected_spans: spans, error_message: message.to_owned() };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        self.with_body(body)
    }

    /// A `google.rpc.Status` with a `RetryInfo`: fields 3 (details), 1 and 2 of `Any`, 1 of `RetryInfo`.
    pub(crate) fn with_retry_info(self, seconds: i64, nanos: i32) -> Self {
        fn field(number: u8, content: &[u8]) -> Vec<u8> {
            [&[number << 3 | 2, content.len() as u8], content].concat()
        }
        let mut delay = Vec::new();
        prost::encoding::int64::encode(1, &seconds, &mut delay);
        prost::encoding::int32::encode(2, &nanos, &mut delay);
        let any = [field(1, b"type.googleapis.com/google.rpc.RetryInfo"), field(2, &field(1, &delay))];
        let status = [&[8, self.grpc.unwrap()], &*field(3, &any.concat())].concat();
        let details = BASE64_STANDARD.encode(status);
        self.with("grpc-status-details-bin", details.trim_end_matches('='))
    }
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

struct Shared {
    wire: Wire,
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    /// The ids of spans that were taken.
    accepted: Mutex<Vec<Vec<u8>>>,
    tls: Option<TlsAcceptor>,
    connections: AtomicUsize,
    came: Notify,
}

/// The backend. It stops when it is dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn start(wire: Wire, script: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), wire, script).await
    }

    pub(crate) async fn start_tls(wire: Wire, tls: TlsAcceptor) -> Self {
        Self::run((Ipv4Addr::LOCALHOST, 0).into(), wire, Some(tls), move |_| Answer::ok(wire)).await
    }

    /// At an address that an earlier one has left.
    pub(crate) async fn start_at(
        address: SocketAddr,
        wire: Wire,
        script: impl FnMut(&Received) -> Answer + Send + 'static,
    ) -> Self {
        Self::run(address, wire, None, script).await
    }

    async fn run(
        address: SocketAddr,
        wire: Wire,
        tls: Option<TlsAcceptor>,
        script: impl FnMut(&Received) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            wire,
            script: Mutex::new(Box::new(script)),
            received: Mutex::default(),
            accepted: Mutex::default(),
            tls,
            connections: AtomicUsize::new(0),
            came: Notify::new(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// Closes the port and every connection.
    pub(crate) async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        (&mut self.task).await.ok();
        self.address
    }

    /// What to configure to reach it.
    pub(crate) fn otlp(&self) -> Otlp {
        let (protocol, path) = match self.shared.wire {
            Wire::Http => (Protocol::HttpProtobuf, "/v1/traces"),
            Wire::Grpc => (Protocol::Grpc, "/ignored"),
        };
        let uri: Uri = match self.shared.tls {
            Some(_) => format!("https://localhost:{}{path}", self.address.port()),
            None => format!("http://{}{path}", self.address),
        }
        .parse()
        .unwrap();
        Otlp::new(protocol, uri)
    }

    /// A destination that is this backend.
    pub(crate) fn destination(&self) -> Destination {
        Destination::new("otlp", To::Otlp(Box::new(self.otlp())))
    }

    /// The ids of all spans in requests that were answered with success.
    pub(crate) fn accepted(&self) -> Vec<Vec<u8>> {
        self.shared.accepted.lock().unwrap().clone()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Received {
        self.received().pop().unwrap()
    }

    /// Spans in all requests, however they were answered.
    pub(crate) fn spans(&self) -> usize {
        self.received().iter().map(Received::spans).sum()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// Waits until so many spans have been taken.
    pub(crate) async fn wait_until(&self, spans: usize) {
        loop {
            let came = self.shared.came.notified();
            if self.accepted().len() >= spans {
                return;
            }
            came.await;
        }
    }

    /// Waits until so many requests have come.
    pub(crate) async fn wait_for(&self, requests: usize) {
        loop {
            let came = self.shared.came.notified();
            if self.shared.received.lock().unwrap().len() >= requests {
                return;
            }
            came.await;
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Relaxed);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            match shared.tls.clone() {
                None => serve(stream, shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let wire = shared.wire;
    let broken = Arc::new(Notify::new());
    let reset = Arc::clone(&broken);
    let service = service_fn(move |request| respond(request, Arc::clone(&shared), Arc::clone(&reset)));
    let io = TokioIo::new(stream);
    let connection = async {
        match wire {
            Wire::Http => {
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok();
            }
            Wire::Grpc => {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.serve_connection(io, service).await.ok();
            }
        }
    };
    tokio::select! {
        () = connection => {}
        () = broken.notified() => {}
    }
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    reset: Arc<Notify>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut message = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let coding =
        |name| head.headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap()).to_owned();
    let mut coded = coding("content-encoding");
    if shared.wire == Wire::Grpc {
        let len = u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize;
        assert_eq!(len, message.len() - 5);
        coded = if message[0] == 1 { coding("grpc-encoding") } else { String::new() };
        message = message.slice(5..);
    }
    let mut plain = Vec::new();
    match &*coded {
        "gzip" => drop(GzDecoder::new(&*message).read_to_end(&mut plain).unwrap()),
        "zstd" => plain = zstd::decode_all(&*message).unwrap(),
        _ => plain.extend_from_slice(&message),
    }
    message = plain.into();
    let received = Received {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        headers: head.headers,
        message,
    };
    let answer = (shared.script.lock().unwrap())(&received);
    let success = !answer.never && !answer.reset && answer.grpc.map_or(answer.http == 200, |code| code == 0);
    // The same backend may be asked for metrics, too.
    if success && head_is_traces(&received) {
        shared.accepted.lock().unwrap().extend(received.ids());
    }
    shared.received.lock().unwrap().push(received);
    shared.came.notify_waiters();
    if answer.reset {
        reset.notify_one();
    }
    if answer.never || answer.reset {
        std::future::pending::<()>().await;
    }
    Ok(build(answer))
}

fn head_is_traces(request: &Received) -> bool {
    request.path.contains("trace")
}

fn build(answer: Answer) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::builder().status(answer.http);
    let mut trailers = HeaderMap::new();
    if let Some(status) = answer.grpc {
        response = response.header("content-type", "application/grpc");
        trailers.insert("grpc-status", u16::from(status).into());
        trailers.insert("grpc-message", answer.message.parse().unwrap());
        trailers.extend(answer.headers.iter().cloned().map(|(name, value)| (Some(name), value)));
    } else {
        response.headers_mut().unwrap().insert("content-type", "application/x-protobuf".parse().unwrap());
        response.headers_mut().unwrap().extend(answer.headers.into_iter().map(|(n, v)| (Some(n), v)));
    }
    let body = match answer.grpc {
        Some(0) => {
            let len = (answer.body.len() as u32).to_be_bytes();
            [&[0][..], &len, &answer.body].concat()
        }
        Some(_) => Vec::new(),
        None => answer.body,
    };
    if answer.headers_only {
        response.headers_mut().unwrap().extend(trailers);
        return response.body(Full::new(Bytes::new()).boxed()).unwrap();
    }
    let body = Full::new(Bytes::from(body));
    match answer.grpc {
        Some(_) => {
            let trailers = async move { Some(Ok(trailers)) };
            response.body(body.with_trailers(trailers).boxed()).unwrap()
        }
        None => response.body(body.boxed()).unwrap(),
    }
}
