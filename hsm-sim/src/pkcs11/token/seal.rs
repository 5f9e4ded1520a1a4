//! Authenticated encryption of what a token keeps: AES-256-GCM with a fresh random nonce.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::codec::{DAMAGED, Reader, Writer};
use crate::pkcs11::attributes::Secret;
use crate::pkcs11::mechanism::random;
use crate::pkcs11::rv::Result;

/// An AES-256 key, wiped when dropped.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// A nonce and the ciphertext with its tag.
#[derive(Clone)]
pub(super) struct Sealed {
    nonce: [u8; 12],
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// Encrypts under `key`; opening it will need the same `context`.
    pub(super) fn new(key: &Key, context: &[u8], plaintext: &[u8]) -> Result<Self> {
        let mut nonce = [0; 12];
        random::fill(&mut nonce)?;
        // Encrypted in a buffer that is wiped should it be dropped half-way.
        let mut buffer: Secret = Zeroizing::new(Vec::with_capacity(plaintext.len() + 16));
        buffer.extend_from_slice(plaintext);
        cipher(key)?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut *buffer,
        )?;
        Ok(Self {
            nonce,
            ciphertext: buffer.to_vec(),
        })
    }

    /// Decrypts, or answers `None` where key, context or ciphertext is not the one of sealing.
    pub(super) fn open(&self, key: &Key, context: &[u8]) -> Result<Option<Secret>> {
        let mut buffer: Secret = Zeroizing::new(self.ciphertext.clone());
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let opened = cipher(key)?
            .open_in_place(nonce, Aad::from(context), &mut buffer)
            .map(|plaintext| plaintext.len());
        Ok(opened.ok().map(|length| {
            buffer.truncate(length);
            buffer
        }))
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<()> {
        writer.fixed(&self.nonce);
        writer.counted(&self.ciphertext)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            nonce: reader.array()?,
            ciphertext: reader.counted()?.to_vec(),
        })
    }
}

fn cipher(key: &Key) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).or(Err(DAMAGED))?;
    Ok(LessSafeKey::new(key))
}
