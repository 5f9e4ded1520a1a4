//! Public keys as they leave the HSM, and the shapes of ECDSA signatures.

use ecdsa::der;
use p256::NistP256;
use p256::ecdsa::Signature;
use sha2::{Digest, Sha256};

use crate::error::{Result, VaultError};
use crate::key_use::Algorithm;

/// `SubjectPublicKeyInfo` of a P-256 key up to the point: id-ecPublicKey, prime256v1, BIT STRING of 65 bytes
/// (RFC 5480 §2.1.1).
const P256_SPKI_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A,
    0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// `SubjectPublicKeyInfo` of an Ed25519 key up to the key: id-Ed25519, BIT STRING of 32 bytes (RFC 8410 §4).
const ED25519_SPKI_HEAD: &[u8] = &[
    0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Tag of a DER OCTET STRING.
const OCTET_STRING: u8 = 0x04;

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PublicKey {
    /// A point on P-256, uncompressed (SEC 1 §2.3.3: `04 ‖ X ‖ Y`), checked to be on the curve.
    P256([u8; 65]),
    /// An Ed25519 key (RFC 8032 §5.1.5).
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256(_) => Algorithm::P256,
            Self::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The key as it stands in the BIT STRING of a `SubjectPublicKeyInfo`: 65 or 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::P256(point) => point,
            Self::Ed25519(key) => key,
        }
    }

    /// `SubjectPublicKeyInfo` in DER (RFC 5280 §4.1).
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        let head = match self {
            Self::P256(_) => P256_SPKI_HEAD,
            Self::Ed25519(_) => ED25519_SPKI_HEAD,
        };
        [head, self.as_bytes()].concat()
    }

    /// SHA-256 of [`PublicKey::spki_der`].
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.spki_der()).into()
    }

    /// Reads a `CKA_EC_POINT`: by PKCS#11 v2.40 §2.3.3 the DER of an OCTET STRING, from some modules the bare bytes.
    pub(crate) fn from_ec_point(algorithm: Algorithm, value: &[u8]) -> Option<Self> {
        let length = match algorithm {
            Algorithm::P256 => 65,
            Algorithm::Ed25519 => 32,
        };
        let bytes = match value {
            [OCTET_STRING, tagged, rest @ ..]
                if usize::from(*tagged) == length && rest.len() == length =>
            {
                rest
            }
            bare => bare,
        };
        match algorithm {
            Algorithm::P256 => {
                let point: [u8; 65] = bytes.try_into().ok()?;
                p256::PublicKey::from_sec1_bytes(&point).ok()?;
                Some(Self::P256(point))
            }
            Algorithm::Ed25519 => bytes.try_into().ok().map(Self::Ed25519),
        }
    }
}

/// An ECDSA P-256 signature from PKCS#11's `r ‖ s` (v2.40 §2.3.1) to the DER of `Ecdsa-Sig-Value` (RFC 3279 §2.2.3),
/// which certificates and TLS carry.
///
/// # Errors
/// [`VaultError::Internal`] if `r` or `s` is zero or not below the group's order.
pub fn ecdsa_der(raw: [u8; 64]) -> Result<Vec<u8>> {
    let signature = p256_signature(&raw)?;
    let encoded: der::Signature<NistP256> = signature.to_der();
    Ok(encoded.as_bytes().to_vec())
}

/// Checks the shape of a P-256 signature: 64 bytes, both halves in range.
pub(crate) fn p256_signature(raw: &[u8]) -> Result<Signature> {
    Signature::from_slice(raw)
        .map_err(|_malformed| VaultError::answer("C_Sign", "not a P-256 signature"))
}

#[cfg(test)]
mod tests {
    use p256::pkcs8::EncodePublicKey;

    use super::*;

    /// The base point of P-256 (FIPS 186-5, SP 800-186 §3.2.1.3).
    fn point() -> [u8; 65] {
        let mut scalar = [0; 32];
        scalar[31] = 1;
        let key = p256::SecretKey::from_slice(&scalar).unwrap().public_key();
        key.to_sec1_bytes().as_ref().try_into().unwrap()
    }

    #[test]
    fn spki_is_what_others_write() {
        let ours = PublicKey::P256(point()).spki_der();
        let theirs = p256::PublicKey::from_sec1_bytes(&point())
            .unwrap()
            .to_public_key_der()
            .unwrap();
        assert_eq!(ours, theirs.as_bytes());
    }

    #[test]
    fn points_are_read_wrapped_and_bare_but_only_on_the_curve() {
        let wrapped = [&[4, 65][..], &point()].concat();
        let expected = Some(PublicKey::P256(point()));
        assert_eq!(
            PublicKey::from_ec_point(Algorithm::P256, &wrapped),
            expected
        );
        assert_eq!(
            PublicKey::from_ec_point(Algorithm::P256, &point()),
            expected
        );
        let mut off_curve = point();
        off_curve[64] ^= 1;
        assert_eq!(PublicKey::from_ec_point(Algorithm::P256, &off_curve), None);
        assert_eq!(
            PublicKey::from_ec_point(Algorithm::P256, &wrapped[..66]),
            None
        );
    }

    #[test]
    fn an_ed25519_key_that_begins_like_a_tag_is_still_bare() {
        let mut key = [7; 32];
        (key[0], key[1]) = (4, 32);
        assert_eq!(
            PublicKey::from_ec_point(Algorithm::Ed25519, &key),
            Some(PublicKey::Ed25519(key))
        );
    }

    #[test]
    fn zero_is_no_signature() {
        ecdsa_der([0; 64]).unwrap_err();
        ecdsa_der([0xFF; 64]).unwrap_err();
        let der = ecdsa_der([0x11; 64]).unwrap();
        assert_eq!(&der[..4], &[0x30, 68, 2, 32]);
    }
}
