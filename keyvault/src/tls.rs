//! TLS keys that stay in the token: rustls signs handshakes with a [`Key`].
//!
//! ```no_run
//! # fn server(chain: Vec<rustls::pki_types::CertificateDer<'static>>, key: keyvault::Key) -> keyvault::Result<()> {
//! let resolver = keyvault::tls::certificate(chain, key)?; // a server's or a client's resolver
//! # Ok(()) }
//! ```

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme};

use crate::error::{Result, VaultError};
use crate::key::Key;
use crate::key_use::Algorithm;
use crate::public_key::ecdsa_der;

/// The only scheme offered (RFC 8446 §4.2.3).
const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// A certificate chain, leaf first, and its key, for `with_cert_resolver` and `with_client_cert_resolver`.
///
/// # Errors
/// [`VaultError::Request`] if the key is not P-256 or does not belong to the leaf.
pub fn certificate(chain: Vec<CertificateDer<'static>>, key: Key) -> Result<Arc<SingleCertAndKey>> {
    if key.algorithm() != Algorithm::P256 {
        return Err(VaultError::Request {
            reason: "a TLS key must be P-256",
        });
    }
    let certified = CertifiedKey::new(chain, Arc::new(key));
    let mismatch = VaultError::Request {
        reason: "the first certificate of the chain is not of this key",
    };
    certified.keys_match().map_err(|_mismatch| mismatch)?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let possible = self.algorithm() == Algorithm::P256 && offered.contains(&SCHEME);
        possible.then(|| -> Box<dyn Signer> { Box::new(HandshakeSigner(self.clone())) })
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.spki_der()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match Self::algorithm(self) {
            Algorithm::P256 => SignatureAlgorithm::ECDSA,
            Algorithm::Ed25519 => SignatureAlgorithm::ED25519,
        }
    }
}

#[derive(Debug)]
struct HandshakeSigner(Key);

impl Signer for HandshakeSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign_p256(message).and_then(ecdsa_der);
        signature.map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}
