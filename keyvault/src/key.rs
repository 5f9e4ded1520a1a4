//! A private key in a token, and signatures with it.

use std::fmt;
use std::sync::{Arc, Mutex};

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::ObjectHandle;
use sha2::{Digest, Sha256};

use crate::error::{Result, VaultError};
use crate::key_use::{Algorithm, KeyUse};
use crate::module::lock;
use crate::object;
use crate::public_key::{PublicKey, p256_signature};
use crate::session::{Lease, SessionPool};

/// A private key that stays in its token. Clones share it and may sign from many threads at once.
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    pool: Arc<SessionPool>,
    label: String,
    usage: KeyUse,
    public_key: PublicKey,
    spki_der: Vec<u8>,
    /// The private key's handle and the generation of sessions it is valid in.
    handle: Mutex<(u64, ObjectHandle)>,
}

impl Key {
    pub(crate) fn find(pool: Arc<SessionPool>, label: &str, usage: KeyUse) -> Result<Self> {
        let (generation, found) = pool.run(|lease| {
            Ok((
                lease.generation,
                object::find(&lease.session, label, usage)?,
            ))
        })?;
        Ok(Self(Arc::new(Inner {
            pool,
            label: label.to_owned(),
            usage,
            public_key: found.public_key,
            spki_der: found.public_key.spki_der(),
            handle: Mutex::new((generation, found.private)),
        })))
    }

    /// Label of the key.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// What the key is for.
    #[must_use]
    pub fn usage(&self) -> KeyUse {
        self.0.usage
    }

    /// Algorithm of the key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.0.public_key.algorithm()
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// `SubjectPublicKeyInfo` in DER (RFC 5280 §4.1).
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki_der
    }

    /// ECDSA P-256 over a SHA-256 digest, as `r ‖ s` of 32 bytes each, big-endian. `s` may be in either half of the
    /// group. The shape is checked, the signature itself is not: verify it before it is relied on.
    ///
    /// # Errors
    /// [`VaultError::Request`] if this is not a P-256 key, [`VaultError::Device`], [`VaultError::Internal`] for an answer
    /// that is no signature, [`VaultError::Attribute`] if another key now has this label.
    pub fn sign_p256_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64]> {
        self.require(Algorithm::P256)?;
        let raw = self.sign(&Mechanism::Ecdsa, digest)?;
        Ok(p256_signature(&raw)?.to_bytes().into())
    }

    /// ECDSA P-256 with SHA-256 over `message`; otherwise as [`Key::sign_p256_digest`].
    ///
    /// # Errors
    /// As [`Key::sign_p256_digest`].
    pub fn sign_p256(&self, message: &[u8]) -> Result<[u8; 64]> {
        self.sign_p256_digest(&Sha256::digest(message).into())
    }

    /// Pure Ed25519 over `message` (RFC 8032 §5.1.6). Not verified here.
    ///
    /// # Errors
    /// [`VaultError::Request`] if this is not an Ed25519 key; otherwise as [`Key::sign_p256_digest`].
    pub fn sign_ed25519(&self, message: &[u8]) -> Result<[u8; 64]> {
        self.require(Algorithm::Ed25519)?;
        let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        let raw = self.sign(&pure, message)?;
        raw.try_into()
            .map_err(|_wrong_length| VaultError::answer("C_Sign", "not an Ed25519 signature"))
    }

    fn require(&self, algorithm: Algorithm) -> Result<()> {
        if self.algorithm() == algorithm {
            return Ok(());
        }
        Err(VaultError::Request {
            reason: "the key is of another algorithm",
        })
    }

    fn sign(&self, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<Vec<u8>> {
        self.0.pool.run(|lease| {
            let private = self.0.handle(lease)?;
            Ok(lease.session.sign(mechanism, private, data)?)
        })
    }
}

impl Inner {
    /// The handle, looked up again after the token was reopened. It must still be the same key.
    fn handle(&self, lease: &Lease) -> Result<ObjectHandle> {
        let mut known = lock(&self.handle);
        if known.0 != lease.generation {
            let found = object::find(&lease.session, &self.label, self.usage)?;
            if found.public_key != self.public_key {
                return Err(VaultError::Attribute {
                    label: self.label.clone(),
                    attribute: "CKA_EC_POINT",
                    expected: "the public key found at first".to_owned(),
                    found: "another".to_owned(),
                });
            }
            *known = (lease.generation, found.private);
        }
        Ok(known.1)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("label", &self.0.label)
            .field("usage", &self.0.usage)
            .finish_non_exhaustive()
    }
}
