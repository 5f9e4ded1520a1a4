//! The CA key as the signer sees it.

use identity::P256Key;
use keyvault::{Key, KeyUse};

/// A P-256 key that lives elsewhere and may be slow, absent or wrong. What it returns is verified before use. It is
/// asked from several threads at once.
pub trait CaKey: Send + Sync {
    /// Its public half.
    fn public_key(&self) -> P256Key;

    /// ECDSA over this SHA-256 digest, r ‖ s.
    ///
    /// # Errors
    /// [`CaKeyError`]; whether the key has signed is then not known.
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], CaKeyError>;
}

/// The key could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CaKeyError(pub String);

/// An issuing CA's key in a PKCS#11 token.
#[derive(Clone, Debug)]
pub struct VaultCaKey {
    key: Key,
    public_key: P256Key,
}

impl VaultCaKey {
    /// Takes a key that was made for issuing.
    ///
    /// # Errors
    /// [`CaKeyError`] for a key of another use or algorithm.
    pub fn new(key: Key) -> Result<Self, CaKeyError> {
        if key.usage() != KeyUse::IssuingCa {
            return Err(CaKeyError(format!(
                "{} is a key for {}",
                key.label(),
                key.usage().name()
            )));
        }
        let public_key =
            P256Key::from_spki(key.spki_der()).map_err(|error| CaKeyError(error.to_string()))?;
        Ok(Self { key, public_key })
    }
}

impl CaKey for VaultCaKey {
    fn public_key(&self) -> P256Key {
        self.public_key
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], CaKeyError> {
        self.key
            .sign_p256_digest(digest)
            .map_err(|error| CaKeyError(error.to_string()))
    }
}
