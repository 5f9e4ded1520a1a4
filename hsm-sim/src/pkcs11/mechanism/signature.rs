//! Signing and verifying: ECDSA, `EdDSA` and HMAC, at once or part by part.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use aws_lc_rs::{constant_time, hmac};
use cryptoki_sys::*;
use std::sync::Arc;

use crate::pkcs11::keys::{Curve, ReadyKey};
use crate::pkcs11::object::Object;
use crate::pkcs11::rv::{BROKEN, Result, Rv};

/// A signature mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// ECDSA over a digest that the caller made
    Ecdsa,
    EcdsaSha256,
    Eddsa,
    HmacSha256,
}

/// A signature or a verification under way.
#[derive(Debug)]
pub(crate) struct Signing {
    key: Arc<Object>,
    scheme: Scheme,
    parts: Option<Parts>,
}

/// What the parts so far came to.
enum Parts {
    Sha256(Context),
    Hmac(Box<hmac::Context>),
}

impl core::fmt::Debug for Parts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Parts")
    }
}

impl Signing {
    /// Begins with a key object and a mechanism.
    ///
    /// # Errors
    /// `CKR_MECHANISM_INVALID` for one that does not sign, `CKR_KEY_TYPE_INCONSISTENT` where the
    /// key is not of its kind, `CKR_KEY_FUNCTION_NOT_PERMITTED` where `usage` is not allowed.
    pub(crate) fn new(
        key: Arc<Object>,
        mechanism: CK_MECHANISM_TYPE,
        usage: CK_ATTRIBUTE_TYPE,
    ) -> Result<Self> {
        let scheme = Scheme::new(mechanism)?;
        scheme.check(&key, usage)?;
        key.permits(usage, mechanism)?;
        key.ready()?;
        Ok(Self {
            key,
            scheme,
            parts: None,
        })
    }

    /// Bytes of the signature.
    pub(crate) fn length(&self) -> usize {
        match self.scheme {
            Scheme::Ecdsa | Scheme::EcdsaSha256 | Scheme::Eddsa => 64,
            Scheme::HmacSha256 => 32,
        }
    }

    /// Whether a part was already taken.
    pub(crate) fn is_multi_part(&self) -> bool {
        self.parts.is_some()
    }

    /// Takes a part of the message.
    ///
    /// # Errors
    /// `CKR_FUNCTION_NOT_SUPPORTED` for a mechanism that needs the message whole.
    pub(crate) fn update(&mut self, part: &[u8]) -> Result<()> {
        if self.parts.is_none() {
            self.parts = Some(self.begin()?);
        }
        match self.parts.as_mut().ok_or(BROKEN)? {
            Parts::Sha256(context) => context.update(part),
            Parts::Hmac(context) => context.update(part),
        }
        Ok(())
    }

    /// The signature over the whole message.
    ///
    /// # Errors
    /// `CKR_DATA_LEN_RANGE` where the mechanism cannot take so much.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = match (self.scheme, self.key.ready()?) {
            (Scheme::Ecdsa, ReadyKey::Ecdsa(key)) => key
                .sign_digest(&digest_to_sign(message)?)?
                .as_ref()
                .to_vec(),
            (Scheme::EcdsaSha256, ReadyKey::Ecdsa(key)) => {
                let digest = aws_lc_rs::digest::digest(&SHA256, message);
                key.sign_digest(&digest)?.as_ref().to_vec()
            }
            (Scheme::Eddsa, ReadyKey::Ed25519(key)) => key.try_sign(message)?.as_ref().to_vec(),
            (Scheme::HmacSha256, ReadyKey::Hmac(key)) => hmac::sign(key, message).as_ref().to_vec(),
            _ => return Err(Rv(CKR_KEY_TYPE_INCONSISTENT)),
        };
        Ok(signature)
    }

    /// The signature over the parts taken.
    pub(crate) fn sign_parts(mut self) -> Result<Vec<u8>> {
        match (self.take_parts()?, self.key.ready()?) {
            (Parts::Sha256(context), ReadyKey::Ecdsa(key)) => {
                Ok(key.sign_digest(&context.finish())?.as_ref().to_vec())
            }
            (Parts::Hmac(context), _) => Ok(context.sign().as_ref().to_vec()),
            _ => Err(Rv(CKR_KEY_TYPE_INCONSISTENT)),
        }
    }

    /// Verifies a signature over the whole message.
    ///
    /// # Errors
    /// `CKR_SIGNATURE_INVALID`, `CKR_SIGNATURE_LEN_RANGE`, `CKR_DATA_LEN_RANGE`.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        self.check_length(signature)?;
        let verdict = match (self.scheme, self.key.ready()?) {
            (Scheme::Ecdsa, ReadyKey::Public(Curve::P256, point)) => {
                verify_digest(point, &digest_to_sign(message)?, signature)
            }
            (Scheme::EcdsaSha256, ReadyKey::Public(Curve::P256, point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Scheme::Eddsa, ReadyKey::Public(Curve::Ed25519, point)) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            (Scheme::HmacSha256, ReadyKey::Hmac(key)) => hmac::verify(key, message, signature),
            _ => return Err(Rv(CKR_KEY_TYPE_INCONSISTENT)),
        };
        valid(verdict)
    }

    /// Verifies a signature over the parts taken.
    ///
    /// # Errors
    /// As [`Signing::verify`].
    pub(crate) fn verify_parts(mut self, signature: &[u8]) -> Result<()> {
        self.check_length(signature)?;
        match (self.take_parts()?, self.key.ready()?) {
            (Parts::Sha256(context), ReadyKey::Public(Curve::P256, point)) => {
                valid(verify_digest(point, &context.finish(), signature))
            }
            (Parts::Hmac(context), _) => valid(constant_time::verify_slices_are_equal(
                context.sign().as_ref(),
                signature,
            )),
            _ => Err(Rv(CKR_KEY_TYPE_INCONSISTENT)),
        }
    }

    /// The parts so far; an empty message has none.
    fn take_parts(&mut self) -> Result<Parts> {
        match self.parts.take() {
            Some(parts) => Ok(parts),
            None => self.begin(),
        }
    }

    fn begin(&self) -> Result<Parts> {
        match (self.scheme, self.key.ready()?) {
            (Scheme::EcdsaSha256, _) => Ok(Parts::Sha256(Context::new(&SHA256))),
            (Scheme::HmacSha256, ReadyKey::Hmac(key)) => {
                Ok(Parts::Hmac(Box::new(hmac::Context::with_key(key))))
            }
            _ => Err(Rv(CKR_FUNCTION_NOT_SUPPORTED)),
        }
    }

    fn check_length(&self, signature: &[u8]) -> Result<()> {
        if signature.len() == self.length() {
            Ok(())
        } else {
            Err(Rv(CKR_SIGNATURE_LEN_RANGE))
        }
    }
}

impl Scheme {
    fn new(mechanism: CK_MECHANISM_TYPE) -> Result<Self> {
        match mechanism {
            CKM_ECDSA => Ok(Self::Ecdsa),
            CKM_ECDSA_SHA256 => Ok(Self::EcdsaSha256),
            CKM_EDDSA => Ok(Self::Eddsa),
            CKM_SHA256_HMAC => Ok(Self::HmacSha256),
            _ => Err(Rv(CKR_MECHANISM_INVALID)),
        }
    }

    /// Whether the key's class and type are those of the mechanism.
    fn check(self, key: &Object, usage: CK_ATTRIBUTE_TYPE) -> Result<()> {
        let attributes = &key.attributes;
        let class = attributes.class();
        let pair_class = if usage == CKA_SIGN {
            CKO_PRIVATE_KEY
        } else {
            CKO_PUBLIC_KEY
        };
        let key_type = attributes.key_type();
        let fits = match self {
            Self::Ecdsa | Self::EcdsaSha256 => {
                class == Some(pair_class) && key_type == Some(CKK_EC)
            }
            Self::Eddsa => class == Some(pair_class) && key_type == Some(CKK_EC_EDWARDS),
            Self::HmacSha256 => {
                let types = [CKK_GENERIC_SECRET, CKK_SHA256_HMAC];
                class == Some(CKO_SECRET_KEY) && key_type.is_some_and(|one| types.contains(&one))
            }
        };
        if fits {
            Ok(())
        } else {
            Err(Rv(CKR_KEY_TYPE_INCONSISTENT))
        }
    }
}

/// A caller's digest as the 256 bits that ECDSA over P-256 takes: the leftmost of a longer one
/// (FIPS 186-5 §6.4.1), and a shorter one as the number it is.
fn digest_to_sign(message: &[u8]) -> Result<Digest> {
    const LONGEST: usize = 64;
    if message.is_empty() || message.len() > LONGEST {
        return Err(Rv(CKR_DATA_LEN_RANGE));
    }
    let mut bits = [0; 32];
    let taken = message.get(..bits.len()).unwrap_or(message);
    for (bit, byte) in bits.iter_mut().rev().zip(taken.iter().rev()) {
        *bit = *byte;
    }
    Ok(Digest::import_less_safe(&bits, &SHA256)?)
}

fn verify_digest(
    point: &[u8],
    digest: &Digest,
    signature: &[u8],
) -> core::result::Result<(), Unspecified> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify_digest(digest, signature)
}

fn valid(verdict: core::result::Result<(), Unspecified>) -> Result<()> {
    verdict.or(Err(Rv(CKR_SIGNATURE_INVALID)))
}
