//! SHA-256 values, each with a type of its own so that a leaf hash never stands where a key hash belongs.

use core::fmt;
use sha2::{Digest as _, Sha256};

/// Where the bytes of a signed or hashed message go, piece by piece, so that no buffer is needed.
pub trait Sink {
    /// Takes the next bytes of the message.
    fn put(&mut self, bytes: &[u8]);

    /// Takes a piece behind its length as u16 big-endian. Pieces longer than 65,535 bytes are never built: every
    /// type that is written this way is bounded below that.
    fn put_prefixed(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.put(&len.to_be_bytes());
        self.put(bytes);
    }
}

impl Sink for Sha256 {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// SHA-256 of what `write` puts into the sink.
pub fn sha256_of(write: impl FnOnce(&mut Sha256)) -> [u8; 32] {
    let mut hasher = Sha256::new();
    write(&mut hasher);
    hasher.finalize().into()
}

/// SHA-256 of one slice.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Writes bytes as lower-case hexadecimal.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! hashes {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                crate::hash::write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
pub(crate) use hashes;

hashes! {
    /// SHA-256 of the DER `SubjectPublicKeyInfo` with the point uncompressed.
    SpkiHash,
    /// SHA-256 of a whole certificate, DER.
    CertificateHash,
    /// SHA-256 of a `TBSCertificate`, DER.
    TbsHash,
    /// RFC 6962 leaf hash of a log entry: SHA-256(0x00 ‖ entry).
    LeafHash,
    /// SHA-256 of a signed request's message (label and DER).
    RequestHash,
    /// SHA-256 of the canonical DER of an approved document: grant, station, profile, lot order, ceremony.
    DocumentHash,
}

impl LeafHash {
    /// Hash of an entry as RFC 6962 §2.1 hashes leaves.
    #[must_use]
    pub fn of(entry: &[u8]) -> Self {
        Self(sha256_of(|h| {
            h.put(&[0]);
            h.put(entry);
        }))
    }
}

impl CertificateHash {
    /// Hash of a certificate's DER bytes.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(sha256(certificate))
    }
}

impl TbsHash {
    /// Hash of a `TBSCertificate`'s DER bytes; also the digest that the CA key signs.
    #[must_use]
    pub fn of(tbs: &[u8]) -> Self {
        Self(sha256(tbs))
    }
}
