//! The HTTP client under both transports: one multiplexed connection over HTTP/2, a few kept alive over
//! HTTP/1.1.

use std::{io::BufReader, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt as _, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use super::reload::open;
use crate::export::config::{Protocol, Tls};

/// Connections of one client. They are closed when it is dropped, and what is in flight has ended.
pub(super) type Http = Client<Connector, Full<Bytes>>;
/// Makes them.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// A peer that vanished without a word is noticed within twice this time, not after TCP's quarter of an hour.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Idle connections are closed before load balancers commonly forget them (60 s).
const IDLE: Duration = Duration::from_secs(50);

/// Why a backend's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint.
    #[error("the OTLP endpoint is not usable: {0}; write it as http://host:4318 or https://host:4317")]
    Endpoint(String),
    /// A file of the TLS configuration.
    #[error("{path}: {reason}; it has to be a readable PEM file")]
    File { path: String, reason: String },
    /// The system's certificate authorities.
    #[error(
        "the system's certificate authorities cannot be read: {0}; install ca-certificates, or name a file \
         in OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    Roots(String),
    /// A file with headers or a token.
    #[error("{path}: {reason}; write one `Name: value` a line for headers, or nothing but the token")]
    Secret { path: String, reason: String },
    /// The name that was given for the server.
    #[error("{0:?} cannot be the name of a server ({1}); write a host name or an address")]
    ServerName(String, String),
    /// Certificate, key and versions do not fit together.
    #[error("the TLS configuration does not hold together: {0}; take a key and a certificate of one pair")]
    Tls(#[from] rustls::Error),
}

impl Error {
    /// What is wrong, and what to do.
    pub fn in_two(&self) -> (String, String) {
        let text = self.to_string();
        text.rsplit_once("; ").map_or((text.clone(), String::new()), |(what, how)| (what.into(), how.into()))
    }
}

/// All that is wrong with what [`client`] is made of.
pub(super) fn mistakes(https: bool, tls: &Tls) -> Vec<Error> {
    let mut errors = Vec::new();
    if https {
        // Each part by itself first, so that one does not hide another.
        errors.extend(tls.certificate.as_deref().and_then(|path| roots(path).err()));
        if let Some((chain, key)) = &tls.client {
            errors.extend(certificates(chain).err());
            errors.extend(private_key(key).err());
        }
        if errors.is_empty() {
            errors.extend(tls_config(tls).err());
        }
    }
    errors.extend(tls.server_name.as_deref().and_then(|name| server_name(name).err()));
    errors
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned())
        .map_err(|error| Error::ServerName(name.to_owned(), error.to_string()))
}

/// What makes connections to an endpoint.
pub(super) fn connector(
    protocol: Protocol,
    endpoint: &Uri,
    tls: &Tls,
    timeout: Duration,
) -> Result<Connector, Error> {
    if endpoint.host().is_none_or(str::is_empty) {
        return Err(Error::Endpoint(format!("{endpoint} has no host")));
    }
    let https = match endpoint.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(Error::Endpoint(format!("{endpoint} is neither http:// nor https://"))),
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timeout));
    tcp.set_keepalive(Some(KEEP_ALIVE));
    // Reading the system's authorities takes milliseconds and megabytes: not for plain text.
    let config = if https { tls_config(tls)? } else { no_tls()? };
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    let connector = match &tls.server_name {
        None => connector,
        Some(name) => connector.with_server_name_resolver(FixedServerNameResolver::new(server_name(name)?)),
    };
    Ok(match protocol {
        Protocol::Grpc => connector.enable_http2().wrap_connector(tcp),
        Protocol::HttpProtobuf => connector.enable_all_versions().wrap_connector(tcp),
    })
}

/// A client that has no connection yet.
pub(super) fn client(protocol: Protocol, connector: &Connector) -> Http {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http2_only(protocol == Protocol::Grpc)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .build(connector.clone())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    let provider = Arc::new(ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?)
}

fn no_tls() -> Result<ClientConfig, Error> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn tls_config(tls: &Tls) -> Result<ClientConfig, Error> {
    let verified = match &tls.certificate {
        Some(path) => builder()?.with_root_certificates(roots(path)?),
        None => builder()?.with_native_roots().map_err(|error| Error::Roots(error.to_string()))?,
    };
    match &tls.client {
        None => Ok(verified.with_no_client_auth()),
        Some((chain, key)) => Ok(verified.with_client_auth_cert(certificates(chain)?, private_key(key)?)?),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| file_error(path, error.to_string()))?;
    }
    Ok(roots)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let file = open(path).map_err(|error| file_error(path, error.to_string()))?;
    PrivateKeyDer::from_pem_reader(BufReader::new(file)).map_err(|error| file_error(path, error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let file = open(path).map_err(|error| file_error(path, error.to_string()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    match all {
        Ok(all) if all.is_empty() => Err(file_error(path, "there is no certificate in it".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(file_error(path, error.to_string())),
    }
}

fn file_error(path: &Path, reason: String) -> Error {
    Error::File { path: path.display().to_string(), reason }
}
