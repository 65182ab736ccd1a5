//! The server of `--listen`: `/metrics`, `/healthz` and `/readyz`, and nothing else.

use std::{
    collections::VecDeque, convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    metrics::{Source, prometheus},
    text::Format,
};

/// Connections at a time. A few scrapers and probes need one each; strangers must not take our descriptors. When all
/// are taken the oldest goes, so that silent ones hold nobody up.
const MAX_CONNECTIONS: usize = 32;
/// A request head has to come within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is closed after this time, whatever happens on it: a scraper connects again, and who
/// reads one byte a minute does not keep a place.
const LIFETIME: Duration = Duration::from_secs(60);
/// A request head has to fit in this.
const MAX_HEAD: usize = 16 << 10;
/// After a failed accept (no descriptors left, most likely) the server rests, not to spin.
const REST: Duration = Duration::from_millis(100);

/// Binds the address, so that what is wrong with it is known at start. Serve it by [`serve`].
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the future is dropped; connections end with it.
pub async fn serve(listener: TcpListener, source: Arc<Source>) {
    let mut connections = tokio::task::JoinSet::new();
    // The oldest first.
    let mut open = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                open.retain(|task: &AbortHandle| !task.is_finished());
                if open.len() >= MAX_CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                let connection = connection(stream, Arc::clone(&source));
                open.push_back(connections.spawn(async move {
                    // A client that is too slow or breaks off is its own problem.
                    timeout(LIFETIME, connection).await.ok();
                }));
            }
            Err(error) => {
                log::debug!("--listen: {error}");
                sleep(REST).await;
            }
        }
    }
}

fn connection(stream: TcpStream, source: Arc<Source>) -> impl Future<Output = hyper::Result<()>> {
    let service = service_fn(move |request| {
        let response = respond(&request, &source);
        async { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
}

fn respond(request: &Request<Incoming>, source: &Source) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::accepted(accept.unwrap_or_default());
            answer(StatusCode::OK, format.content_type(), prometheus(source, format))
        }
        "/healthz" => answer(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" if source.snapshot().ready => answer(StatusCode::OK, TEXT, "ready\n".into()),
        "/readyz" => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not attached yet\n".into()),
        _ => answer(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n".into()),
    }
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
