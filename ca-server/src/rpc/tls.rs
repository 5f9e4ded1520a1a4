//! TLS of the network services.

use crate::ceremony::Artefacts;
use keyvault::{Key, VaultError};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;

/// The TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or the protocol set is refused.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The infrastructure root cannot be used.
    #[error("infrastructure root: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// The server's key cannot be used.
    #[error("server key: {0}")]
    Vault(#[from] VaultError),
}

/// TLS 1.3 only; the server's key stays in the HSM; every client has a certificate of the infrastructure root. No
/// session is resumed, so that every connection shows its certificate anew.
///
/// # Errors
/// [`TlsError`].
pub fn server_config(artefacts: &Artefacts, key: Key) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(artefacts.infrastructure.clone()))?;
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let chain = vec![CertificateDer::from(artefacts.server.clone())];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(keyvault::tls::certificate(chain, key)?);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
