//! The memory firmware gives: what survives a loss of power.

use crate::answer::Origin;
use core::fmt;
use identity::{ChipUid, PartNumber};

/// The memory failed; for a write, whether it happened is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryError;

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the chip's memory failed")
    }
}

impl core::error::Error for MemoryError {}

/// A chip's persistent memory. Every write must have reached the medium when the call returns, and must not be moved
/// behind a later one: the order slot, lock word is what makes burning safe at any loss of power.
pub trait Memory {
    /// The chip's identifier.
    fn uid(&self) -> ChipUid;

    /// The chip's part number.
    fn part(&self) -> PartNumber;

    /// The vendor's signature over [`identity::message::Endorsement`], r ‖ s.
    fn endorsement(&self) -> [u8; 64];

    /// Reads the attestation key: a P-256 scalar, big-endian.
    ///
    /// # Errors
    /// [`MemoryError`]
    fn read_attestation_key(&self, out: &mut [u8; 32]) -> Result<(), MemoryError>;

    /// Reads the key slot: a P-256 scalar, big-endian.
    ///
    /// # Errors
    /// [`MemoryError`]
    fn read_slot(&self, out: &mut [u8; 32]) -> Result<(), MemoryError>;

    /// Writes the key slot. Called again and again while the lock word is erased, never after.
    ///
    /// # Errors
    /// [`MemoryError`]
    fn write_slot(&mut self, secret: &[u8; 32]) -> Result<(), MemoryError>;

    /// Reads the lock word.
    ///
    /// # Errors
    /// [`MemoryError`]
    fn read_lock(&self) -> Result<[u8; 4], MemoryError>;

    /// Writes the lock word, once in the chip's life. Hardware should shut the key slot for writing with it.
    ///
    /// # Errors
    /// [`MemoryError`]
    fn write_lock(&mut self, word: &[u8; 4]) -> Result<(), MemoryError>;

    /// Bytes a certificate may have.
    fn certificate_capacity(&self) -> u16;

    /// Bytes of the stored certificate, 0 if there is none or it is not whole.
    ///
    /// # Errors
    /// [`MemoryError`]
    fn certificate_len(&self) -> Result<u16, MemoryError>;

    /// Sets [`Self::certificate_len`].
    ///
    /// # Errors
    /// [`MemoryError`]
    fn set_certificate_len(&mut self, len: u16) -> Result<(), MemoryError>;

    /// Reads from the certificate area; the range lies below the capacity.
    ///
    /// # Errors
    /// [`MemoryError`]
    fn read_certificate(&self, offset: u16, out: &mut [u8]) -> Result<(), MemoryError>;

    /// Writes to the certificate area; the range lies below the capacity.
    ///
    /// # Errors
    /// [`MemoryError`]
    fn write_certificate(&mut self, offset: u16, bytes: &[u8]) -> Result<(), MemoryError>;
}

/// What a lock word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nothing was ever written.
    Erased,
    /// The key slot is final.
    Locked(Origin),
    /// Anything else: power was lost while the word was written.
    Torn,
}

impl Lock {
    const ERASED: [u8; 4] = [0xFF; 4];
    const MADE: [u8; 4] = *b"MADE";
    const INJECTED: [u8; 4] = *b"INJD";

    /// Reads a lock word.
    #[must_use]
    pub const fn from_word(word: [u8; 4]) -> Self {
        match word {
            Self::ERASED => Self::Erased,
            Self::MADE => Self::Locked(Origin::Made),
            Self::INJECTED => Self::Locked(Origin::Injected),
            _ => Self::Torn,
        }
    }

    /// The word that says where the key in the slot came from.
    #[must_use]
    pub const fn word(origin: Origin) -> [u8; 4] {
        match origin {
            Origin::Made => Self::MADE,
            Origin::Injected => Self::INJECTED,
        }
    }
}
