//! Secrets that are derived from a key that never leaves the token.
//!
//! A service that needs a symmetric key of its own, the same after every restart and never unwrapped on disk, makes one
//! secret key in the token and derives what it needs: HMAC-SHA256 over a context that names the purpose
//! (`CKM_SHA256_HMAC`, PKCS#11 v2.40 §2.22).

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use crate::error::{Result, VaultError};
use crate::object;
use crate::token::Token;

/// Length of the secret key and of what is derived, in bytes.
const LENGTH: usize = 32;

impl Token {
    /// Generates a secret key that can only be derived from, under a label that is free.
    ///
    /// # Errors
    /// [`VaultError::AlreadyExists`] if a key has this label; [`VaultError::Mechanism`] if the token makes no such keys;
    /// [`VaultError::Attribute`] if it made another key than it was asked for.
    pub fn generate_secret(&self, label: &str) -> Result<()> {
        self.pool().run(|lease| generate(&lease.session, label))
    }

    /// Derives 32 bytes for the purpose that `context` names. The same key and context give the same bytes for ever.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if there is no such key, [`VaultError::Attribute`] if it could leave the token,
    /// [`VaultError::Mechanism`] if the token has no HMAC-SHA256.
    pub fn derive_secret(&self, label: &str, context: &[u8]) -> Result<Zeroizing<[u8; LENGTH]>> {
        self.pool()
            .run(|lease| derive(&lease.session, label, context))
    }
}

fn generate(session: &Session, label: &str) -> Result<()> {
    if !object::labelled(session, label)?.is_empty() {
        return Err(VaultError::AlreadyExists {
            what: "key",
            label: label.to_owned(),
        });
    }
    let length = LENGTH.try_into().map_err(|_too_long| VaultError::Request {
        reason: "a length does not fit the module's numbers",
    })?;
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(length),
        Attribute::Label(label.into()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    let key = session.generate_key(&Mechanism::GenericSecretKeyGen, &template)?;
    object::check_flags(session, label, key)
}

fn derive(session: &Session, label: &str, context: &[u8]) -> Result<Zeroizing<[u8; LENGTH]>> {
    let key = object::only(session, ObjectClass::SECRET_KEY, "secret key", label)?;
    object::check_flags(session, label, key)?;
    let mac = Zeroizing::new(session.sign(&Mechanism::Sha256Hmac, key, context)?);
    let mut derived = Zeroizing::new([0; LENGTH]);
    if mac.len() != LENGTH {
        return Err(VaultError::answer("C_Sign", "not an HMAC-SHA256"));
    }
    derived.copy_from_slice(&mac);
    Ok(derived)
}
