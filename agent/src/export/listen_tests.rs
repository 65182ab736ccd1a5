//! The server against real connections, good and bad.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{export::metrics::Snapshot, stats::Stats};

static READY: AtomicBool = AtomicBool::new(false);

async fn server() -> SocketAddr {
    let source = Source::new(Arc::new(Stats::default()), Vec::new(), || Snapshot {
        ready: READY.load(Relaxed),
        ..Snapshot::default()
    });
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, source));
    address
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn the_three_paths_and_no_other() {
    let address = server().await;
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
    READY.store(false, Relaxed);
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503 "));
    READY.store(true, Relaxed);
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(metrics.contains("\nspandrel_requests_seen_total 0\n"));
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404 "));
    assert!(get(address, "/metrics/x").await.starts_with("HTTP/1.1 404 "));
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(ask(address, post).await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn nonsense_is_refused() {
    let address = server().await;
    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD * 2));
    let answer = ask(address, &huge).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(ask(address, "\x16\x03\x01\x02\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
}

/// Idle connections take every place; the server comes back when their heads are overdue.
#[tokio::test(start_paused = true)]
async fn silent_clients_do_not_keep_their_places() {
    let address = server().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
    for mut stream in silent {
        let mut rest = Vec::new();
        // The server has closed it, with or without a word.
        stream.read_to_end(&mut rest).await.ok();
    }
}
