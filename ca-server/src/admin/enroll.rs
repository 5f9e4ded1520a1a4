//! The registrar: TLS certificates for peers, signed by the infrastructure root.

use crate::auth::{Peer, TrustDomain};
use crate::ceremony::{CeremonyError, PeerSubject, infrastructure_end, peer_certificate};
use crate::policy::Role;
use der::pem::{self, LineEnding};
use identity::document::StationStatement;
use identity::{Entropy, P256Key, Timestamp};
use keyvault::rcgen_key::RcgenKey;
use rcgen::CertificateSigningRequestParams;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

/// Signs TLS certificates of peers.
pub struct Registrar {
    root: RcgenKey,
    certificate: CertificateDer<'static>,
    ends: Timestamp,
    domain: TrustDomain,
    entropy: Arc<dyn Entropy>,
}

/// A TLS certificate was not signed.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// Not a certification request, or not signed by its own key.
    #[error("the certification request is refused: {0}")]
    Request(rcgen::Error),
    /// The request is for another key than the statement's.
    #[error("the request is not for the TLS key in the statement")]
    OtherKey,
    /// The station would outlive the infrastructure root.
    #[error("the station's statement ends after the infrastructure root")]
    TooLong,
    /// The certificate could not be signed.
    #[error("the certificate could not be signed: {0}")]
    Sign(#[from] CeremonyError),
    /// The certificate could not be written as PEM.
    #[error("PEM: {0}")]
    Encoding(pem::Error),
}

impl Registrar {
    /// With the infrastructure root's key and certificate, DER.
    ///
    /// # Errors
    /// [`der::Error`] if it is no certificate.
    pub fn new(
        root: RcgenKey,
        certificate: &[u8],
        domain: TrustDomain,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, der::Error> {
        Ok(Self {
            root,
            ends: infrastructure_end(certificate)?,
            certificate: CertificateDer::from(certificate.to_vec()),
            domain,
            entropy,
        })
    }

    /// Holds a certification request against a statement: same key, its own signature, not outliving the root.
    ///
    /// # Errors
    /// [`EnrollError`].
    pub fn check(
        &self,
        statement: &StationStatement,
        request_pem: &str,
    ) -> Result<rcgen::PublicKey, EnrollError> {
        // Names and extensions that it asks for are not taken over; only its key and its signature count.
        let request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(EnrollError::Request)?;
        let key = P256Key::from_sec1(rcgen::PublicKeyData::der_bytes(&request.public_key));
        if key != Ok(statement.tls_key) {
            return Err(EnrollError::OtherKey);
        }
        if statement.not_after > self.ends {
            return Err(EnrollError::TooLong);
        }
        Ok(request.public_key)
    }

    /// Signs the TLS certificate of a station whose statement is in the log, PEM. The root that it chains to is the infrastructure root itself.
    ///
    /// # Errors
    /// [`EnrollError`].
    pub fn certify(
        &self,
        statement: &StationStatement,
        key: &rcgen::PublicKey,
    ) -> Result<String, EnrollError> {
        let subject = PeerSubject {
            peer: Peer {
                role: Role::Station,
                id: statement.id,
                key: Some(statement.tls_key.spki_hash()),
            },
            domain: &self.domain,
            key,
            not_before: statement.not_before,
            not_after: statement.not_after,
        };
        let certificate =
            peer_certificate(&self.certificate, &self.root, &subject, &*self.entropy)?;
        pem::encode_string("CERTIFICATE", LineEnding::LF, &certificate)
            .map_err(EnrollError::Encoding)
    }
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrar")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}
