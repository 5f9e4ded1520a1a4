//! P-256 public keys in one canonical form, and the checking of their signatures.

use crate::hash::{SpkiHash, sha256};
use core::fmt;
use p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
use p256::elliptic_curve::sec1::ToSec1Point as _;

/// Bytes of a P-256 `SubjectPublicKeyInfo`, DER (RFC 5480 §2), up to and without the point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same for a compressed point.
const SPKI_PREFIX_COMPRESSED: [u8; 26] = [
    0x30, 0x39, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x22, 0x00,
];
/// Length of a P-256 SPKI with an uncompressed point.
pub const SPKI_LEN: usize = 91;

/// Why bytes are not a P-256 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not a P-256 `SubjectPublicKeyInfo`, or not a SEC 1 point of 33 or 65 bytes.
    Encoding,
    /// A well-formed point that is not on the curve, or the point at infinity.
    NotOnCurve,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoding => "not an encoding of a P-256 public key",
            Self::NotOnCurve => "the point is not on the curve P-256",
        })
    }
}

impl core::error::Error for KeyError {}

/// A P-256 public key: a point on the curve, not at infinity, kept as SEC 1 §2.3.3 uncompressed (0x04 ‖ X ‖ Y).
/// However a key was encoded when it came in, it has one form, one SPKI and one hash here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct P256Key([u8; 65]);

impl P256Key {
    /// From a SEC 1 point, 65 bytes uncompressed or 33 compressed.
    ///
    /// # Errors
    /// [`KeyError`]: hybrid and unknown encodings are refused as well as points off the curve and infinity.
    pub fn from_sec1(point: &[u8]) -> Result<Self, KeyError> {
        match (point.len(), point.first()) {
            (65, Some(0x04)) | (33, Some(0x02 | 0x03)) => {}
            (1, Some(0x00)) => return Err(KeyError::NotOnCurve),
            _ => return Err(KeyError::Encoding),
        }
        let key = p256::PublicKey::from_sec1_bytes(point).map_err(|_cause| KeyError::NotOnCurve)?;
        let encoded = key.to_sec1_point(false);
        encoded
            .as_bytes()
            .try_into()
            .map(Self)
            .map_err(|_cause| KeyError::Encoding)
    }

    /// From a DER `SubjectPublicKeyInfo` (RFC 5480 §2), point uncompressed or compressed.
    ///
    /// # Errors
    /// [`KeyError`] as for [`Self::from_sec1`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let point = der
            .strip_prefix(&SPKI_PREFIX)
            .or_else(|| der.strip_prefix(&SPKI_PREFIX_COMPRESSED));
        Self::from_sec1(point.ok_or(KeyError::Encoding)?)
    }

    /// The point: 0x04 ‖ X ‖ Y.
    #[must_use]
    pub const fn sec1(&self) -> &[u8; 65] {
        &self.0
    }

    /// The canonical DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> [u8; SPKI_LEN] {
        let mut der = [0; SPKI_LEN];
        let (head, point) = der.split_at_mut(SPKI_PREFIX.len());
        head.copy_from_slice(&SPKI_PREFIX);
        point.copy_from_slice(&self.0);
        der
    }

    /// SHA-256 of [`Self::spki`].
    #[must_use]
    pub fn spki_hash(&self) -> SpkiHash {
        SpkiHash(sha256(&self.spki()))
    }
}

impl fmt::Debug for P256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P256Key({})", self.spki_hash())
    }
}

/// Checks ECDSA signatures with P-256 over a SHA-256 digest; the signature is r ‖ s, 64 bytes.
pub trait VerifyP256: Send + Sync {
    /// True if `signature` over `digest` was made with `key`'s private half.
    fn verify(&self, key: &P256Key, digest: &[u8; 32], signature: &[u8]) -> bool;
}

/// The verifier that runs everywhere (`RustCrypto`).
#[derive(Clone, Copy, Debug, Default)]
pub struct PortableVerifier;

impl VerifyP256 for PortableVerifier {
    fn verify(&self, key: &P256Key, digest: &[u8; 32], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (
            VerifyingKey::from_sec1_bytes(&key.0),
            Signature::from_slice(signature),
        ) else {
            return false;
        };
        key.verify_prehash(digest, &signature).is_ok()
    }
}

/// The server's verifier (aws-lc-rs, about three times as fast).
#[cfg(feature = "aws-lc")]
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLcVerifier;

#[cfg(feature = "aws-lc")]
impl VerifyP256 for AwsLcVerifier {
    fn verify(&self, key: &P256Key, digest: &[u8; 32], signature: &[u8]) -> bool {
        use aws_lc_rs::{digest, signature as ecdsa};
        let Ok(digest) = digest::Digest::import_less_safe(digest, &digest::SHA256) else {
            return false;
        };
        ecdsa::UnparsedPublicKey::new(&ecdsa::ECDSA_P256_SHA256_FIXED, &key.0)
            .verify_digest(&digest, signature)
            .is_ok()
    }
}
