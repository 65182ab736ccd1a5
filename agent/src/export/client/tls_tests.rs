//! TLS against a server with certificates made for the test.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;
use crate::export::{
    config::Tls,
    otlp,
    testing::{self, Authority, Backend, Wire},
};

async fn send(backend: &Backend, certificate: &Path, client: Option<(PathBuf, PathBuf)>) -> Verdict {
    let mut config = backend.otlp();
    config.tls = Tls { certificate: Some(certificate.to_owned()), client, ..Tls::default() };
    let client = Client::new(&config, TRACES).unwrap();
    let payload = client.prepare(otlp::encode(&testing::spans(2))).unwrap();
    client.send(&payload).await
}

#[tokio::test]
async fn an_authority_from_a_file() {
    let authority = Authority::new();
    for wire in [Wire::Http, Wire::Grpc] {
        let backend = authority.backend(wire, false).await;
        let verdict = send(&backend, &authority.certificate(), None).await;
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
        assert_eq!(backend.spans(), 2);
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused_and_may_be_replaced() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = authority.backend(Wire::Grpc, false).await;
    let verdict = send(&backend, &other.certificate(), None).await;
    let Verdict::Retry { after: None, failure } = verdict else { panic!("{verdict:?}") };
    assert_eq!(failure.code, Code::Connect);
    assert!(failure.message.contains("certificate"), "{}", failure.message);
    assert_eq!(backend.spans(), 0);
}

#[tokio::test]
async fn a_backend_that_asks_for_our_certificate() {
    let authority = Authority::new();
    let backend = authority.backend(Wire::Http, true).await;
    let ours = Some(authority.issue("client"));
    let verdict = send(&backend, &authority.certificate(), ours).await;
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    let verdict = send(&backend, &authority.certificate(), None).await;
    assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_server_of_another_name_is_accepted_only_under_that_name() {
    let authority = Authority::new();
    let own = authority.issue_for("other", "otlp.example.com", true);
    let backend = authority.backend_with(Wire::Grpc, false, own).await;
    let mut config = backend.otlp();
    config.tls = Tls { certificate: Some(authority.certificate()), ..Tls::default() };
    let verdict = send_with(&Client::new(&config, TRACES).unwrap()).await;
    assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
    config.tls.server_name = Some("otlp.example.com".to_owned());
    let verdict = send_with(&Client::new(&config, TRACES).unwrap()).await;
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    config.tls.server_name = Some("no name".to_owned());
    assert!(Client::new(&config, TRACES).unwrap_err().to_string().contains("no name"));
}

async fn send_with(client: &Client) -> Verdict {
    client.send(&client.prepare(otlp::encode(&testing::spans(2))).unwrap()).await
}

/// Waits, as a batch that is refused does, for files that are newer.
async fn renewed(client: &Client, than: u64) {
    assert!(client.renewed(than, Duration::from_secs(20)).await);
}

#[tokio::test]
async fn certificates_that_change_are_read_again() {
    let authority = Authority::new();
    let backend = authority.backend(Wire::Http, true).await;
    let mut config = backend.otlp();
    // Expired: the server refuses it.
    let ours = authority.issue_for("client", "client", false);
    config.tls =
        Tls { certificate: Some(authority.certificate()), client: Some(ours.clone()), ..Tls::default() };
    let client = Client::new(&config, TRACES).unwrap();
    assert!(client.renews());
    let verdict = send_with(&client).await;
    assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
    // Half of the renewal is there: the key of one and the certificate of another do not fit together.
    let (certificate, key) = authority.issue_for("renewed", "client", true);
    fs::rename(certificate, &ours.0).unwrap();
    assert!(!client.renewed(0, Duration::from_millis(10)).await);
    fs::rename(key, &ours.1).unwrap();
    renewed(&client, 0).await;
    let verdict = send_with(&client).await;
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
}

#[tokio::test]
async fn authorities_that_change_are_read_again() {
    let (old, new) = (Authority::new(), Authority::new());
    let backend = new.backend(Wire::Grpc, false).await;
    let mut config = backend.otlp();
    let path = old.certificate();
    config.tls = Tls { certificate: Some(path.clone()), ..Tls::default() };
    let client = Client::new(&config, TRACES).unwrap();
    let verdict = send_with(&client).await;
    assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
    fs::copy(new.certificate(), &path).unwrap();
    renewed(&client, 0).await;
    let verdict = send_with(&client).await;
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
}

#[tokio::test]
async fn an_expired_server_is_told_and_may_be_replaced() {
    let authority = Authority::new();
    let own = authority.issue_for("server", "localhost", false);
    let backend = authority.backend_with(Wire::Grpc, false, own).await;
    let verdict = send(&backend, &authority.certificate(), None).await;
    let Verdict::Retry { failure, .. } = verdict else { panic!("{verdict:?}") };
    assert!(failure.message.contains("expired"), "{}", failure.message);
}
