//! TLS against a server with certificates made for the test.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::export::{
    config::Tls,
    otlp,
    testing::{self, Backend, Wire},
};

/// An authority with a folder for its files, which goes with it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

impl Authority {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("spandrel-tls-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn certificate(&self) -> PathBuf {
        self.file("ca.pem", &pem("CERTIFICATE", self.issuer.der()))
    }

    /// A certificate for `localhost` and its key, as files.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let certificate = self.file(&format!("{name}.pem"), &pem("CERTIFICATE", certificate.der()));
        (certificate, self.file(&format!("{name}.key"), &pem("PRIVATE KEY", &key.serialize_der())))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_slice(self.issuer.der())).unwrap();
        Arc::new(roots)
    }

    async fn backend(&self, wire: Wire, ask_clients: bool) -> Backend {
        use rustls::pki_types::pem::PemObject as _;
        let (certificate, key) = self.issue("server");
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if ask_clients {
            let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = match wire {
            Wire::Grpc => vec![b"h2".to_vec()],
            Wire::Http => vec![b"http/1.1".to_vec()],
        };
        Backend::start_tls(wire, TlsAcceptor::from(Arc::new(config))).await
    }
}

async fn send(backend: &Backend, certificate: &Path, client: Option<(PathBuf, PathBuf)>) -> Verdict {
    let mut config = backend.otlp();
    config.tls = Tls { certificate: Some(certificate.to_owned()), client };
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
