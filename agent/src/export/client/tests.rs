//! The client against a real server on loopback.

use std::time::Duration;

use prost::Message as _;

use super::*;
use crate::export::{
    config::Tls,
    otlp,
    testing::{self, Answer, Backend, Wire},
};

fn client(backend: &Backend, edit: impl FnOnce(&mut Otlp)) -> Client {
    let mut config = backend.otlp();
    edit(&mut config);
    Client::new(&config, TRACES).unwrap()
}

async fn send(client: &Client) -> Verdict {
    let payload = client.prepare(otlp::encode(&testing::spans(3))).unwrap();
    client.send(&payload).await
}

fn accepted(code: Code) -> Verdict {
    Verdict::Accepted { code, rejected: 0, message: String::new() }
}

fn decoded(message: &[u8]) -> opentelemetry_proto::tonic::trace::v1::TracesData {
    opentelemetry_proto::tonic::trace::v1::TracesData::decode(message).unwrap()
}

#[tokio::test]
async fn http_protobuf_as_the_specification_has_it() {
    let backend = Backend::start(Wire::Http, |_| Answer::http(200)).await;
    for (compression, coding) in
        [(Compression::None, ""), (Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")]
    {
        let client = client(&backend, |config| {
            config.compression = compression;
            config.headers =
                vec![(HeaderName::from_static("x-tenant"), HeaderValue::from_static("blue, green"))];
        });
        assert_eq!(send(&client).await, accepted(Code::Http(200)));
        let request = backend.last();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        assert_eq!(request.header("x-tenant"), "blue, green");
        assert!(request.header("user-agent").contains("OTel-OTLP-Exporter-Rust/"));
        assert_eq!(request.header("content-encoding"), coding);
        assert_eq!(decoded(&request.message), testing::expected(&testing::spans(3)));
    }
}

#[tokio::test]
async fn grpc_as_the_protocol_has_it() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
    for (compression, coding) in
        [(Compression::None, ""), (Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")]
    {
        let client = client(&backend, |config| {
            config.compression = compression;
            config.timeout = Duration::from_millis(2500);
            config.headers = vec![(HeaderName::from_static("api-key"), HeaderValue::from_static("k"))];
        });
        assert_eq!(send(&client).await, accepted(Code::Grpc(0)));
        let request = backend.last();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", TRACES));
        assert_eq!(request.header("content-type"), "application/grpc");
        assert_eq!(request.header("te"), "trailers");
        assert_eq!(request.header("grpc-timeout"), "2500m");
        assert_eq!(request.header("api-key"), "k");
        assert_eq!(request.header("grpc-encoding"), coding);
        assert_eq!(decoded(&request.message), testing::expected(&testing::spans(3)));
    }
    assert_eq!(backend.connections(), 3);
}

#[tokio::test]
async fn every_http_status_has_its_verdict() {
    let statuses = || (200..=599_u16).filter(|s| !(300..400).contains(s));
    let mut next = statuses();
    let backend = Backend::start(Wire::Http, move |_| Answer::http(next.next().unwrap())).await;
    let client = client(&backend, |_| ());
    for status in statuses() {
        let verdict = send(&client).await;
        assert_eq!(verdict.code(), Code::Http(status));
        match status {
            200..=299 => assert_eq!(verdict, accepted(Code::Http(status))),
            429 | 502 | 503 | 504 => assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}"),
            413 => assert!(matches!(verdict, Verdict::TooLarge(_)), "{verdict:?}"),
            401 | 403 => assert!(matches!(verdict, Verdict::Unauthorized(_)), "{verdict:?}"),
            _ => assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}"),
        }
    }
}

#[tokio::test]
async fn every_grpc_status_has_its_verdict() {
    for headers_only in [false, true] {
        let mut next = 1..=17;
        let answer = move |_: &_| {
            let mut answer = Answer::grpc(next.next().unwrap());
            answer.message = "too%20bad%2".to_owned();
            answer.headers_only = headers_only;
            answer
        };
        let backend = Backend::start(Wire::Grpc, answer).await;
        let client = client(&backend, |_| ());
        for status in 1..=17_u8 {
            let verdict = send(&client).await;
            // A status that does not exist is UNKNOWN.
            let code = Code::Grpc(if status == 17 { 2 } else { status });
            let failure = Failure { code, message: "too bad%2".to_owned() };
            match status {
                1 | 4 | 10 | 11 | 14 | 15 => assert_eq!(verdict, Verdict::Retry { after: None, failure }),
                8 => assert_eq!(verdict, Verdict::TooLarge(failure)),
                7 | 16 => assert_eq!(verdict, Verdict::Unauthorized(failure)),
                _ => assert_eq!(verdict, Verdict::Refused(failure)),
            }
        }
    }
}

#[tokio::test]
async fn what_the_backend_says_about_when() {
    let backend = Backend::start(Wire::Http, |_| Answer::http(429).with("retry-after", "7")).await;
    assert!((after(&send(&client(&backend, |_| ())).await) - 7.0).abs() < 1e-9);

    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    let backend = Backend::start(Wire::Http, move |_| Answer::http(503).with("retry-after", &date)).await;
    let seconds = after(&send(&client(&backend, |_| ())).await);
    assert!((50.0..=60.0).contains(&seconds), "{seconds}");

    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(8).with_retry_info(2, 500_000_000)).await;
    assert!((after(&send(&client(&backend, |_| ())).await) - 2.5).abs() < 1e-9);
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(14).with_retry_info(-5, -1)).await;
    assert!(after(&send(&client(&backend, |_| ())).await).abs() < 1e-9);
    // Only the details of a retryable status count.
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(3).with_retry_info(2, 0)).await;
    assert!(matches!(send(&client(&backend, |_| ())).await, Verdict::Refused(_)));
}

fn after(verdict: &Verdict) -> f64 {
    match verdict {
        Verdict::Retry { after: Some(after), .. } => after.as_secs_f64(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn partial_success_is_success() {
    for wire in [Wire::Http, Wire::Grpc] {
        let backend = Backend::start(wire, move |_| Answer::ok(wire).with_rejected(2, "too\nold")).await;
        let verdict = send(&client(&backend, |_| ())).await;
        let expected = Verdict::Accepted { code: verdict.code(), rejected: 2, message: "too old".to_owned() };
        assert_eq!(verdict, expected);
    }
}

#[tokio::test]
async fn a_web_page_is_not_a_backend() {
    let page = |_: &_| Answer::http(200).with("content-type", "text/html").with_body(b"<html>".to_vec());
    let backend = Backend::start(Wire::Http, page).await;
    assert!(matches!(send(&client(&backend, |_| ())).await, Verdict::Refused(_)));
    let moved = |_: &_| Answer::http(308).with("location", "https://elsewhere/v1/traces");
    let backend = Backend::start(Wire::Http, moved).await;
    let Verdict::Refused(failure) = send(&client(&backend, |_| ())).await else { panic!() };
    assert!(failure.message.contains("https://elsewhere/v1/traces"));
    let backend = Backend::start(Wire::Grpc, |_| Answer::http(404)).await;
    assert_eq!(send(&client(&backend, |_| ())).await.code(), Code::Grpc(12));
}

#[tokio::test]
async fn an_endless_answer_is_refused() {
    let backend =
        Backend::start(Wire::Http, |_| Answer::http(200).with_body(vec![0; MAX_RESPONSE + 1])).await;
    assert!(matches!(send(&client(&backend, |_| ())).await, Verdict::Refused(_)));
}

#[tokio::test]
async fn no_answer_and_no_server() {
    for wire in [Wire::Http, Wire::Grpc] {
        let backend = Backend::start(wire, |_| Answer::never()).await;
        let slow = client(&backend, |config| config.timeout = Duration::from_millis(50));
        assert_eq!(send(&slow).await.code(), Code::Timeout);
        let gone = client(&backend, |_| ());
        backend.stop().await;
        let verdict = send(&gone).await;
        assert_eq!(verdict.code(), Code::Connect);
        assert!(matches!(verdict, Verdict::Retry { after: None, .. }));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_retried() {
    for wire in [Wire::Http, Wire::Grpc] {
        let backend = Backend::start(wire, |_| Answer::reset()).await;
        let verdict = send(&client(&backend, |_| ())).await;
        assert!(matches!(verdict, Verdict::Retry { after: None, .. }), "{verdict:?}");
        assert_eq!(verdict.code(), Code::Broken);
    }
}

#[tokio::test]
async fn configuration_that_cannot_work_is_said_at_once() {
    let error = |url: &'static str, tls: Tls| {
        let mut config = Otlp::new(Protocol::Grpc, Uri::from_static(url));
        config.tls = tls;
        Client::new(&config, TRACES).unwrap_err().to_string()
    };
    assert!(error("ftp://host:1", Tls::default()).contains("http://"));
    assert!(error("host:4317", Tls::default()).contains("http://"));
    let missing = Tls { certificate: Some("/nowhere/ca.pem".into()), ..Tls::default() };
    assert!(error("https://host:4317", missing).starts_with("/nowhere/ca.pem: "));
    let path = std::env::temp_dir().join(format!("spandrel-no-certificate-{}", std::process::id()));
    std::fs::write(&path, "hello").unwrap();
    let empty = Tls { certificate: Some(path.clone()), ..Tls::default() };
    assert!(error("https://host:4317", empty).contains("no certificate"));
    std::fs::remove_file(path).unwrap();
}

/// What gzip makes of spans; run it in release mode with `--ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn gzip_speed() {
    let backend = Backend::start(Wire::Grpc, |_| Answer::grpc(0)).await;
    let client = client(&backend, |config| config.compression = Compression::Gzip);
    let message = otlp::encode(&testing::spans(512));
    let mut best = f64::INFINITY;
    for _ in 0..50 {
        let copy = message.clone();
        let start = std::time::Instant::now();
        let payload = client.prepare(copy).unwrap();
        best = best.min(start.elapsed().as_secs_f64());
        assert!(payload.len() < message.len());
    }
    let size = client.prepare(message).unwrap().len();
    println!("gzip: {:.0} k spans/s, {} bytes a span", 0.512 / best, size / 512);
}

#[tokio::test]
async fn a_key_in_the_query_is_not_repeated_of_metrics_either() {
    for service in [TRACES, METRICS] {
        let backend = Backend::start(Wire::Http, |_| {
            Answer::http(404).with_body(b"Cannot POST /v1/metrics?api_key=canary%2BM2 (canary+M2)".to_vec())
        })
        .await;
        let mut config = backend.otlp();
        config.endpoint = format!("{}?api_key=canary%2BM2", config.endpoint).parse().unwrap();
        let client = Client::new(&config, service).unwrap();
        let verdict = client.send(&client.prepare(Vec::new()).unwrap()).await;
        let said = format!("{verdict:?}");
        assert!(said.contains("Cannot POST") && !said.contains("canary"), "{said}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut secret = HeaderValue::from_static("hunter2");
    secret.set_sensitive(true);
    let mut config = Otlp::new(Protocol::Grpc, Uri::from_static("http://host:4317"));
    config.headers.push((HeaderName::from_static("authorization"), secret));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[tokio::test]
async fn what_hangs_is_left_at_once() {
    for wire in [Wire::Http, Wire::Grpc] {
        let mut requests = 0;
        let backend = Backend::start(wire, move |_| {
            requests += 1;
            if requests == 2 { Answer::never() } else { Answer::ok(wire) }
        })
        .await;
        let client = client(&backend, |config| config.timeout = Duration::from_millis(500));
        assert!(matches!(send(&client).await, Verdict::Accepted { .. }));
        assert_eq!(send(&client).await.code(), Code::Timeout);
        assert_eq!(backend.connections(), 1);
        // Over HTTP/2 it would go the way of the one that hangs.
        assert!(matches!(send(&client).await, Verdict::Accepted { .. }));
        assert_eq!(backend.connections(), 2);
    }
}
