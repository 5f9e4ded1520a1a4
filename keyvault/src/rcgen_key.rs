//! Infrastructure certificates and certification requests, signed in the token through rcgen.
//!
//! rcgen's error for a remote key says nothing. [`RcgenKey`] keeps our own beside it, and [`RcgenKey::sign`] puts it
//! in its place.

use std::fmt;
use std::sync::Mutex;

use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};

use crate::error::{Result, VaultError};
use crate::key::Key;
use crate::key_use::Algorithm;
use crate::module::lock;
use crate::public_key::ecdsa_der;

/// A [`Key`] as rcgen wants it.
#[derive(Debug)]
pub struct RcgenKey {
    key: Key,
    last_error: Mutex<Option<VaultError>>,
}

/// Why a certificate or request was not made.
#[derive(Debug)]
pub enum RcgenFault {
    /// The token did not sign.
    Vault(VaultError),
    /// rcgen refused the contents.
    Contents(rcgen::Error),
}

impl RcgenKey {
    /// Wraps a key.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self {
            key,
            last_error: Mutex::new(None),
        }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Runs a signing function of rcgen, for example `|key| parameters.self_signed(key)`.
    ///
    /// # Errors
    /// [`RcgenFault::Vault`] if the token failed, [`RcgenFault::Contents`] for rcgen's own refusal.
    pub fn sign<T>(
        &self,
        make: impl FnOnce(&Self) -> Result<T, rcgen::Error>,
    ) -> Result<T, RcgenFault> {
        make(self).map_err(|error| {
            self.take_error()
                .map_or(RcgenFault::Contents(error), RcgenFault::Vault)
        })
    }

    /// The token's last error, which rcgen reported as `RemoteKeyError`; then forgotten.
    pub fn take_error(&self) -> Option<VaultError> {
        lock(&self.last_error).take()
    }
}

impl PublicKeyData for RcgenKey {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_key().as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.key.algorithm() {
            Algorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

impl SigningKey for RcgenKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = match self.key.algorithm() {
            Algorithm::P256 => self.key.sign_p256(message).and_then(ecdsa_der),
            Algorithm::Ed25519 => self.key.sign_ed25519(message).map(Vec::from),
        };
        signature.map_err(|error| {
            *lock(&self.last_error) = Some(error);
            rcgen::Error::RemoteKeyError
        })
    }
}

impl fmt::Display for RcgenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault(error) => error.fmt(f),
            Self::Contents(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RcgenFault {}
