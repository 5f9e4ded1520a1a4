//! The subject: the name by which the log knows a fixed key without showing it.

use crate::hash::{Sink as _, SpkiHash, hashes, sha256_of};
use core::fmt;

/// What kind of fixed key a chip holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// A P-256 key; the chip signs.
    P256,
    /// A 32-byte secret for HMAC-SHA-256; the smallest chips.
    HmacSha256,
}

impl KeyKind {
    /// The name used in messages and policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::HmacSha256 => "hmac-sha256",
        }
    }

    /// Reads [`Self::name`] back.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::P256, Self::HmacSha256]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

hashes! {
    /// SHA-256("koseki/subject/v1\n" ‖ kind ‖ commitment): of high entropy, so it can stand in the open.
    SubjectId,
}

impl SubjectId {
    /// Subject of a fixed key, given its commitment (SHA-256 of the SPKI for P-256).
    /// Kind is written behind its length as u16.
    #[must_use]
    pub fn new(kind: KeyKind, commitment: &[u8; 32]) -> Self {
        Self(sha256_of(|h| {
            h.put(b"koseki/subject/v1\n");
            h.put_prefixed(kind.name().as_bytes());
            h.put(commitment);
        }))
    }

    /// Subject of a P-256 fixed key.
    #[must_use]
    pub fn of_p256(spki: &SpkiHash) -> Self {
        Self::new(KeyKind::P256, &spki.0)
    }
}
