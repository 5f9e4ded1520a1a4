//! The line HSM: signs the station's requests, and makes keys for chips that cannot make their own.

use crate::config;
use identity::message::{InjectionReceipt, KekInfo, Message as _};
use identity::{ChipUid, P256Key, RequestId};
use keyvault::{KekDerivation, Key, KeyUse, Module, PendingKey, Token, VaultError};
use koseki_device::Derivation;
use std::fmt;

/// The chip that a key is made for, already authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Request of the unit.
    pub request: &'a RequestId,
    /// The chip.
    pub uid: &'a ChipUid,
    /// The chip's transport key.
    pub ephemeral: &'a P256Key,
    /// The nonce that the transport key was signed with.
    pub nonce: &'a [u8; 32],
}

/// A key made, wrapped for one chip, and receipted.
#[derive(Debug)]
pub struct WrappedKey {
    /// The fixed key.
    pub key: P256Key,
    /// The module's ephemeral key.
    pub module: P256Key,
    /// How the key-encryption key was made.
    pub derivation: Derivation,
    /// PKCS#8 wrapped with AES-256 key wrap with padding (RFC 5649).
    pub wrapped: Vec<u8>,
    /// The receipt key's signature over [`InjectionReceipt`].
    pub receipt: [u8; 64],
    /// The original in the module.
    pub original: Original,
}

/// The original of an injected key, until the chip has proved that it holds it; destroyed when dropped.
pub struct Original(Option<PendingKey>);

impl Original {
    /// Destroys the original.
    ///
    /// # Errors
    /// What the module answered; the session that held the key is closed all the same.
    pub fn destroy(self) -> Result<(), VaultError> {
        self.0.map_or(Ok(()), PendingKey::destroy)
    }
}

impl fmt::Debug for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Original")
    }
}

/// What the station needs of its HSM.
pub trait LineHsm: Sync {
    /// Signs a digest with the request key: r ‖ s.
    ///
    /// # Errors
    /// [`VaultError`]
    fn sign_request(&self, digest: &[u8; 32]) -> Result<[u8; 64], VaultError>;

    /// Makes a key, wraps it for the chip, and signs a receipt.
    ///
    /// # Errors
    /// [`VaultError`]; the key is then gone.
    fn make_key(&self, target: &Target<'_>) -> Result<WrappedKey, VaultError>;

    /// Asks whether the token answers.
    ///
    /// # Errors
    /// [`VaultError`]
    fn health(&self) -> Result<(), VaultError> {
        Ok(())
    }
}

/// The station's token with its three keys.
#[derive(Debug)]
pub struct Vault {
    token: Token,
    tls: Key,
    request: Key,
    receipt: Key,
}

impl Vault {
    /// Opens the token and finds the keys.
    ///
    /// # Errors
    /// [`VaultError`]
    pub fn open(settings: &config::Hsm) -> Result<Self, VaultError> {
        let token = Module::load(&settings.module)?.open(&settings.token, settings.pin()?)?;
        let tls = token.key(&settings.tls_key, KeyUse::StationTls)?;
        let request = token.key(&settings.request_key, KeyUse::StationRequest)?;
        let receipt = token.key(&settings.receipt_key, KeyUse::StationReceipt)?;
        Ok(Self {
            token,
            tls,
            request,
            receipt,
        })
    }

    /// The TLS key.
    #[must_use]
    pub const fn tls(&self) -> &Key {
        &self.tls
    }
}

impl LineHsm for Vault {
    fn health(&self) -> Result<(), VaultError> {
        self.token.health()
    }

    fn sign_request(&self, digest: &[u8; 32]) -> Result<[u8; 64], VaultError> {
        self.request.sign_p256_digest(digest)
    }

    fn make_key(&self, target: &Target<'_>) -> Result<WrappedKey, VaultError> {
        let chip = target.ephemeral.sec1();
        let info = |module: &[u8; 65]| {
            let mut bytes = Vec::new();
            KekInfo {
                chip,
                module,
                uid: target.uid,
                nonce: target.nonce,
            }
            .write(&mut bytes);
            bytes
        };
        let injection = self.token.inject(chip, info)?;
        let (key, module) = (
            point(&injection.fixed_public)?,
            point(&injection.ephemeral_public)?,
        );
        let (spki, digest) = (key.spki_hash(), identity::hash::sha256(&injection.wrapped));
        let receipt = InjectionReceipt {
            request: target.request,
            uid: target.uid,
            spki: &spki,
            ephemeral: chip,
            wrapped: &digest,
        };
        Ok(WrappedKey {
            key,
            module,
            derivation: match injection.derivation {
                KekDerivation::Hkdf => Derivation::Hkdf,
                KekDerivation::RawX => Derivation::RawX,
            },
            receipt: self.receipt.sign_p256_digest(&receipt.digest())?,
            wrapped: injection.wrapped,
            original: Original(Some(injection.pending)),
        })
    }
}

fn point(sec1: &[u8; 65]) -> Result<P256Key, VaultError> {
    P256Key::from_sec1(sec1).map_err(|error| VaultError::Internal {
        call: "injection".to_owned(),
        code: error.to_string(),
    })
}
