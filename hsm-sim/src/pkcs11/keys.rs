//! The two curves: their names, points and encodings, and keys made ready for use.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use cryptoki_sys::*;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use zeroize::Zeroizing;

use super::attributes::{Attributes, Secret};
use super::mechanism::random;
use super::rv::{BROKEN, Result, Rv};

/// A curve of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    /// NIST P-256, for ECDSA and ECDH
    P256,
    /// edwards25519, for `EdDSA`
    Ed25519,
}

/// `id-ecPublicKey prime256v1` OBJECT IDENTIFIER, as `CKA_EC_PARAMS`
const P256_OID: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// RFC 8410 `id-Ed25519`
const ED25519_OID: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];
/// The curve's name in a `PrintableString`, the other form of PKCS#11 3.0 §6.3.3
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";
/// RFC 5480 `SubjectPublicKeyInfo` up to the 65 bytes of an uncompressed P-256 point
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 3, 1, 7, 0x03, 0x42, 0,
];
/// RFC 8410 `SubjectPublicKeyInfo` up to the 32 bytes of the key
const ED25519_SPKI: &[u8] = &[
    0x30, 0x2a, 0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70, 0x03, 0x21, 0,
];
/// RFC 8410 `OneAsymmetricKey` version 1 up to the 32 bytes of the seed
const ED25519_PKCS8: &[u8] = &[
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Bytes of a private key, either curve.
const SCALAR_LENGTH: usize = 32;

impl Curve {
    /// The curve that `CKA_EC_PARAMS` names for keys of this type.
    ///
    /// # Errors
    /// `CKR_TEMPLATE_INCONSISTENT` where the curve is not for this type of key,
    /// `CKR_CURVE_NOT_SUPPORTED` for another curve, `CKR_DOMAIN_PARAMS_INVALID` for no curve.
    pub(crate) fn from_params(key_type: CK_KEY_TYPE, params: &[u8]) -> Result<Self> {
        let curve = match params {
            P256_OID => Self::P256,
            ED25519_OID | ED25519_NAME => Self::Ed25519,
            [0x06 | 0x13, ..] => return Err(Rv(CKR_CURVE_NOT_SUPPORTED)),
            _ => return Err(Rv(CKR_DOMAIN_PARAMS_INVALID)),
        };
        if curve.key_type() == key_type {
            Ok(curve)
        } else {
            Err(Rv(CKR_TEMPLATE_INCONSISTENT))
        }
    }

    /// The curve of a key object.
    ///
    /// # Errors
    /// `CKR_KEY_TYPE_INCONSISTENT` for an object that is no elliptic-curve key.
    pub(crate) fn of(key: &Attributes) -> Result<Self> {
        let params = key.bytes(CKA_EC_PARAMS);
        let parts = key.key_type().zip(params);
        let (key_type, params) = parts.ok_or(Rv(CKR_KEY_TYPE_INCONSISTENT))?;
        Self::from_params(key_type, params)
    }

    /// `CKA_KEY_TYPE` of keys on this curve.
    pub(crate) fn key_type(self) -> CK_KEY_TYPE {
        match self {
            Self::P256 => CKK_EC,
            Self::Ed25519 => CKK_EC_EDWARDS,
        }
    }

    /// The object identifier, for a key that came without `CKA_EC_PARAMS`.
    pub(crate) fn params(self) -> &'static [u8] {
        match self {
            Self::P256 => P256_OID,
            Self::Ed25519 => ED25519_OID,
        }
    }

    /// A new private key and its public key.
    pub(crate) fn generate(self) -> Result<(Secret, Vec<u8>)> {
        let mut scalar = Zeroizing::new(vec![0; SCALAR_LENGTH]);
        loop {
            random::fill(&mut scalar)?;
            // All but one in 2^32 are below the order of P-256; every Ed25519 seed is a key.
            if let Ok(point) = self.public_point(&scalar) {
                return Ok((scalar, point));
            }
        }
    }

    /// The public key of a private key: an uncompressed point (65 bytes) or RFC 8032's 32 bytes.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the bytes are no private key of the curve.
    pub(crate) fn public_point(self, scalar: &[u8]) -> Result<Vec<u8>> {
        const INVALID: Rv = Rv(CKR_ATTRIBUTE_VALUE_INVALID);
        if scalar.len() != SCALAR_LENGTH {
            return Err(INVALID);
        }
        match self {
            Self::P256 => {
                let key = PrivateKey::from_private_key(&ECDH_P256, scalar).or(Err(INVALID))?;
                Ok(key.compute_public_key()?.as_ref().to_vec())
            }
            Self::Ed25519 => {
                let key = Ed25519KeyPair::from_seed_unchecked(scalar).or(Err(INVALID))?;
                Ok(key.public_key().as_ref().to_vec())
            }
        }
    }

    /// The point in `CKA_EC_POINT`: a DER OCTET STRING, or the bare bytes some callers give.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where it is no point of the curve.
    pub(crate) fn point_from_attribute(self, value: &[u8]) -> Result<Vec<u8>> {
        let length = self.point_length();
        let prefix = [4, u8::try_from(length).or(Err(BROKEN))?];
        let point = match value.strip_prefix(&prefix) {
            Some(point) if point.len() == length => point,
            Some(_) | None => value,
        };
        let on_curve = match self {
            Self::P256 => {
                point.first() == Some(&4) && p256::PublicKey::from_sec1_bytes(point).is_ok()
            }
            Self::Ed25519 => point.len() == length,
        };
        if on_curve {
            Ok(point.to_vec())
        } else {
            Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID))
        }
    }

    /// `CKA_EC_POINT` of a point: a DER OCTET STRING.
    pub(crate) fn point_to_attribute(self, point: &[u8]) -> Result<Vec<u8>> {
        let length = u8::try_from(point.len()).or(Err(BROKEN))?;
        Ok([&[4, length], point].concat())
    }

    /// `CKA_PUBLIC_KEY_INFO`: the DER `SubjectPublicKeyInfo`.
    pub(crate) fn public_key_info(self, point: &[u8]) -> Vec<u8> {
        [self.spki_prefix(), point].concat()
    }

    /// The private key as PKCS#8 DER: RFC 5958 with RFC 5915 including the public key, or RFC 8410.
    pub(crate) fn to_pkcs8(self, scalar: &[u8]) -> Result<Secret> {
        match self {
            Self::P256 => {
                let key = p256::SecretKey::from_slice(scalar).or(Err(BROKEN))?;
                let document = key.to_pkcs8_der().or(Err(BROKEN))?;
                Ok(Zeroizing::new(document.as_bytes().to_vec()))
            }
            Self::Ed25519 => Ok(Zeroizing::new([ED25519_PKCS8, scalar].concat())),
        }
    }

    /// The private key in a PKCS#8 document, which must be strict DER and of this curve.
    ///
    /// # Errors
    /// `CKR_WRAPPED_KEY_INVALID` where it is anything else.
    pub(crate) fn parse_pkcs8(self, document: &[u8]) -> Result<Secret> {
        const INVALID: Rv = Rv(CKR_WRAPPED_KEY_INVALID);
        match self {
            Self::P256 => {
                let key = p256::SecretKey::from_pkcs8_der(document).or(Err(INVALID))?;
                Ok(Zeroizing::new(key.to_bytes().to_vec()))
            }
            Self::Ed25519 => match document.strip_prefix(ED25519_PKCS8) {
                Some(seed) if seed.len() == SCALAR_LENGTH => Ok(Zeroizing::new(seed.to_vec())),
                Some(_) | None => Err(INVALID),
            },
        }
    }

    fn point_length(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::Ed25519 => 32,
        }
    }

    fn spki_prefix(self) -> &'static [u8] {
        match self {
            Self::P256 => P256_SPKI,
            Self::Ed25519 => ED25519_SPKI,
        }
    }
}

/// A key parsed once and used many times. The cryptographic library wipes it when it is dropped.
#[derive(Debug)]
pub(crate) enum ReadyKey {
    /// P-256 private key
    Ecdsa(EcdsaKeyPair),
    /// Ed25519 private key
    Ed25519(Ed25519KeyPair),
    /// Secret key
    Hmac(Box<hmac::Key>),
    /// Public key, either curve
    Public(Curve, Vec<u8>),
}

impl ReadyKey {
    /// Prepares a key object for signing or verifying.
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN` where the key's value is still sealed,
    /// `CKR_KEY_TYPE_INCONSISTENT` for an object that neither signs nor verifies.
    pub(crate) fn of(key: &Attributes) -> Result<Self> {
        match key.class() {
            Some(CKO_PUBLIC_KEY) => {
                let curve = Curve::of(key)?;
                let point = key.bytes(CKA_EC_POINT).ok_or(BROKEN)?;
                Ok(Self::Public(curve, curve.point_from_attribute(point)?))
            }
            Some(CKO_PRIVATE_KEY) => Self::private(key),
            Some(CKO_SECRET_KEY) => {
                let value = value_of(key)?;
                let key = hmac::Key::new(hmac::HMAC_SHA256, value);
                Ok(Self::Hmac(Box::new(key)))
            }
            Some(_) | None => Err(Rv(CKR_KEY_TYPE_INCONSISTENT)),
        }
    }

    fn private(key: &Attributes) -> Result<Self> {
        let curve = Curve::of(key)?;
        let value = value_of(key)?;
        let info = key.bytes(CKA_PUBLIC_KEY_INFO).unwrap_or_default();
        let point = info.strip_prefix(curve.spki_prefix()).ok_or(BROKEN)?;
        match curve {
            Curve::P256 => EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                value,
                point,
            )
            .map(Self::Ecdsa)
            .or(Err(BROKEN)),
            Curve::Ed25519 => Ed25519KeyPair::from_seed_and_public_key(value, point)
                .map(Self::Ed25519)
                .or(Err(BROKEN)),
        }
    }
}

/// The secret value of a private or secret key.
///
/// # Errors
/// `CKR_USER_NOT_LOGGED_IN` where it is still sealed in the token's file.
pub(crate) fn value_of(key: &Attributes) -> Result<&[u8]> {
    key.bytes(CKA_VALUE).ok_or(Rv(CKR_USER_NOT_LOGGED_IN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkcs8_round_trips_and_refuses_the_other_curve() {
        for (curve, other) in [(Curve::P256, Curve::Ed25519), (Curve::Ed25519, Curve::P256)] {
            let (scalar, _) = curve.generate().unwrap();
            let document = curve.to_pkcs8(&scalar).unwrap();
            assert_eq!(curve.parse_pkcs8(&document).unwrap(), scalar);
            assert_eq!(
                other.parse_pkcs8(&document).unwrap_err(),
                Rv(CKR_WRAPPED_KEY_INVALID)
            );
            let longer = [document.as_slice(), &[0]].concat();
            curve.parse_pkcs8(&longer).unwrap_err();
        }
    }

    #[test]
    fn spki_is_what_p256_writes() {
        let (_, point) = Curve::P256.generate().unwrap();
        let key = p256::PublicKey::from_sec1_bytes(&point).unwrap();
        let spki = p256::pkcs8::EncodePublicKey::to_public_key_der(&key).unwrap();
        assert_eq!(Curve::P256.public_key_info(&point), spki.as_bytes());
    }

    #[test]
    fn zero_and_the_order_are_no_private_keys() {
        let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
            .unwrap();
        Curve::P256.public_point(&order).unwrap_err();
        Curve::P256.public_point(&[0; 32]).unwrap_err();
    }
}
