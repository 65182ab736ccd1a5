//! A certificate authority for tests of TLS.

use std::{
    fs,
    path::PathBuf,
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

use super::{Backend, Wire};

/// An authority with a folder for its files, which goes with it.
pub(crate) struct Authority {
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
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("spandrel-tls-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder }
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("ca.pem", &pem("CERTIFICATE", self.issuer.der()))
    }

    /// A certificate for `localhost` and its key, as files.
    pub(crate) fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        self.issue_for(name, "localhost", true)
    }

    /// The same for another host, or one that has expired.
    pub(crate) fn issue_for(&self, name: &str, host: &str, valid: bool) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        if !valid {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let certificate = self.file(&format!("{name}.pem"), &pem("CERTIFICATE", certificate.der()));
        (certificate, self.file(&format!("{name}.key"), &pem("PRIVATE KEY", &key.serialize_der())))
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_slice(self.issuer.der())).unwrap();
        Arc::new(roots)
    }

    pub(crate) async fn backend(&self, wire: Wire, ask_clients: bool) -> Backend {
        self.backend_with(wire, ask_clients, self.issue("server")).await
    }

    pub(crate) async fn backend_with(
        &self,
        wire: Wire,
        ask_clients: bool,
        own: (PathBuf, PathBuf),
    ) -> Backend {
        use rustls::pki_types::pem::PemObject as _;
        let (certificate, key) = own;
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
