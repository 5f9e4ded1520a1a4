//! The connection: TLS 1.3 only, the client's key in the HSM, one root for the server.

use crate::config;
use crate::files::{FileError, read_bounded};
use hyper_util::rt::TokioIo;
use keyvault::{Key, VaultError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Longest PEM file in bytes.
const MAX_PEM: usize = 64 * 1024;
const HTTP2: &[u8] = b"h2";
/// Silence after which the line is tried, so that a dead one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The line to the CA cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// A certificate file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate is not of the HSM's key, or the key is unusable.
    #[error("ca.certificate: {0}")]
    Vault(#[from] VaultError),
    /// A certificate or version is refused.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The server's name is none.
    #[error("ca.server_name: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// The address is none.
    #[error("ca.address: {0}")]
    Address(#[from] tonic::transport::Error),
}

/// A channel that connects when it is used.
pub(super) fn lazy(settings: &config::Ca, key: Key) -> Result<Channel, ChannelError> {
    let connector = TlsConnector::from(Arc::new(client_config(settings, key)?));
    let name = ServerName::try_from(settings.server_name.clone())?;
    let address: Arc<str> = settings.address.as_str().into();
    // The scheme is that of the requests inside; the connector below lets nothing out without TLS.
    let endpoint = Endpoint::from_shared(format!("http://{}", settings.address))?
        .connect_timeout(settings.deadline())
        .timeout(settings.deadline())
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let connect =
        service_fn(move |_uri| dial(Arc::clone(&address), connector.clone(), name.clone()));
    Ok(endpoint.connect_with_connector_lazy(connect))
}

async fn dial(
    address: Arc<str>,
    connector: TlsConnector,
    name: ServerName<'static>,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(&*address).await?;
    stream.set_nodelay(true)?;
    connector.connect(name, stream).await.map(TokioIo::new)
}

fn client_config(settings: &config::Ca, key: Key) -> Result<ClientConfig, ChannelError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&settings.infrastructure_root)? {
        roots.add(root)?;
    }
    let identity = keyvault::tls::certificate(certificates(&settings.certificate)?, key)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_cert_resolver(identity);
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = read_bounded(path, MAX_PEM)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(FileError::content(path, "no certificate in it")),
        Err(error) => Err(FileError::content(path, error)),
    }
}
