//! Connections to the server as well-behaved and ill-behaved peers make them.

use crate::factory::{Factory, SERVER_NAME};
use crate::failure::{At as _, Failure, Outcome};
use crate::soft::SoftKey;
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// A certificate file and its key.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The certificate, PEM.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a SoftKey,
}

/// A channel as stations have it: TLS 1.3 with a client certificate.
///
/// # Errors
/// [`Failure`] names the file.
pub fn channel(factory: &Factory, own: Credentials<'_>) -> Outcome<Channel> {
    Ok(lazy(factory.address(), client(factory, Some(own))?))
}

/// A client's configuration with or without a certificate.
///
/// # Errors
/// [`Failure`] names the file.
pub fn client(factory: &Factory, own: Option<Credentials<'_>>) -> Outcome<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&factory.path("ca/ceremony/infrastructure.pem"))? {
        roots.add(root).map_err(Failure::new)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(Failure::new)?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(certificates(own.certificate)?, private(own.key)?)
            .map_err(Failure::new)?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A configuration that shows a certificate and signs with a key that is not its own, as rustls would not.
///
/// # Errors
/// [`Failure`] names the file.
pub fn mismatched(factory: &Factory, own: Credentials<'_>) -> Outcome<ClientConfig> {
    #[derive(Debug)]
    struct Borrowed(Arc<CertifiedKey>);
    impl ResolvesClientCert for Borrowed {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let mut config = client(factory, None)?;
    let key = any_supported_type(&private(own.key)?).map_err(Failure::new)?;
    let certified = CertifiedKey::new(certificates(own.certificate)?, key);
    config.client_auth_cert_resolver = Arc::new(Borrowed(Arc::new(certified)));
    Ok(config)
}

/// A channel that connects when it is used.
///
/// # Panics
/// Never: an address is a URI.
#[must_use]
pub fn lazy(address: SocketAddr, config: ClientConfig) -> Channel {
    lazy_with(address, config, |endpoint| endpoint)
}

/// A channel that takes no more of any answer than this many bytes ahead of what is read.
///
/// # Errors
/// [`Failure`] names the file.
pub fn narrow(factory: &Factory, own: Credentials<'_>, window: u32) -> Outcome<Channel> {
    let config = client(factory, Some(own))?;
    let narrow = |endpoint: Endpoint| endpoint.initial_stream_window_size(window);
    Ok(lazy_with(factory.address(), config, narrow))
}

fn lazy_with(
    address: SocketAddr,
    config: ClientConfig,
    set: impl FnOnce(Endpoint) -> Endpoint,
) -> Channel {
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
    let connect = tower::service_fn(move |_uri| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    set(endpoint.expect("an address is a URI")).connect_with_connector_lazy(connect)
}

/// All certificates of a PEM file.
///
/// # Errors
/// [`Failure`] names the file.
pub fn certificates(path: &Path) -> Outcome<Vec<CertificateDer<'static>>> {
    let bytes = fs::read(path).at(path)?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .at(path)
}

/// A soft key for rustls.
///
/// # Errors
/// [`Failure`] of the encoding.
pub fn private(key: &SoftKey) -> Outcome<PrivateKeyDer<'static>> {
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8()?)))
}
