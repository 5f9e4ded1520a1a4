//! Keys for chips that cannot make their own.
//!
//! The module generates the chip's fixed key pair as session objects, agrees on a key-encryption key with the chip's
//! transport key by ECDH, wraps the private key with it (RFC 5649) and keeps the original until the chip has proved
//! that it holds the key. `CKA_SENSITIVE` is set from the first moment; the key is extractable only under a key that
//! never leaves the module, and lives in one session, so that it does not outlive the process.
//!
//! # What the chip receives
//! The wrapped bytes are AES-KWP of a PKCS#8 `PrivateKeyInfo` (RFC 5958 §2) holding an `ECPrivateKey` (RFC 5915 §3).
//! Modules differ in how they write it. `SoftHSM2` 2.6 writes, in hexadecimal and 67 bytes long,
//!
//! ```text
//! 30 41                                                  PrivateKeyInfo
//!    02 01 00                                            version
//!    30 13 06 07 2A8648CE3D0201 06 08 2A8648CE3D030107   id-ecPublicKey, prime256v1
//!    04 27 30 25                                         privateKey: ECPrivateKey
//!       02 01 01                                         version
//!       04 20 xx…xx                                      the scalar: 32 bytes, big-endian, from byte 35
//! ```
//!
//! without parameters or public key inside, and fills up with zeros to a multiple of eight *before* it wraps: what is
//! unwrapped has 72 bytes, and a strict parser refuses the five behind the structure. Others add `[0]` parameters or the
//! `[1]` public key (138 bytes in all). A chip must take the scalar by [`pkcs8_scalar`] or in a like way, and then check
//! it against the fixed key's point.

use std::fmt;
use std::sync::Arc;

use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::hkdf::{HkdfParams, HkdfSalt};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use crate::error::{Result, VaultError};
use crate::key_use::Algorithm;
use crate::object::{self, P256_PARAMS};
use crate::public_key::PublicKey;
use crate::session::{OwnSession, SessionPool};

/// Length of an AES-256 key and of a P-256 coordinate, in bytes.
const KEY_LENGTH: u64 = 32;

/// A wrapped fixed key and what the chip needs to unwrap it.
#[derive(Debug)]
pub struct Injection {
    /// The private key in PKCS#8, wrapped with AES-256 key wrap with padding (RFC 5649).
    pub wrapped: Vec<u8>,
    /// The module's ephemeral P-256 point, uncompressed.
    pub ephemeral_public: [u8; 65],
    /// The fixed key's point, uncompressed.
    pub fixed_public: [u8; 65],
    /// How the key-encryption key was made.
    pub derivation: KekDerivation,
    /// The original, to be destroyed once the chip has proved possession.
    pub pending: PendingKey,
}

/// How the key-encryption key was made from the agreed secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KekDerivation {
    /// HKDF-SHA256 (RFC 5869) without salt over the X coordinate, with the caller's info; 32 bytes. The info ties the
    /// key to both points, the chip and the session.
    Hkdf,
    /// The bare X coordinate, because the module offers no HKDF: a lower grade.
    RawX,
}

/// The fixed key in the module, until the chip has proved that it holds it.
pub struct PendingKey {
    /// `None` once destroyed.
    held: Option<Held>,
}

struct Held {
    session: OwnSession,
    private: ObjectHandle,
    public: ObjectHandle,
}

impl PendingKey {
    /// Destroys the key in the module.
    ///
    /// # Errors
    /// Whatever the module answers; the session is closed all the same, and its objects with it (PKCS#11 v2.40 §2.6.7).
    pub fn destroy(mut self) -> Result<()> {
        self.held.take().map_or(Ok(()), Held::destroy)
    }
}

impl Drop for PendingKey {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.held.take().map(Held::destroy) {
            tracing::error!(%error, "an injected key was not destroyed; its session was closed");
        }
    }
}

impl fmt::Debug for PendingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingKey").finish_non_exhaustive()
    }
}

impl Held {
    fn destroy(mut self) -> Result<()> {
        let destroyed = self.session.run(|session| {
            let private = session.destroy_object(self.private);
            let public = session.destroy_object(self.public);
            Ok(private.and(public)?)
        });
        match destroyed {
            Ok(()) => {
                self.session.give_back();
                Ok(())
            }
            // A session that is gone has taken its objects with it.
            Err(error) if error.is_session_forgotten() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn inject(
    pool: &Arc<SessionPool>,
    transport_public: &[u8; 65],
    info: impl Fn(&[u8; 65]) -> Vec<u8>,
) -> Result<Injection> {
    if PublicKey::from_ec_point(Algorithm::P256, transport_public).is_none() {
        return Err(VaultError::Request {
            reason: "the transport key is not a point of P-256",
        });
    }
    let derivation = derivation_of(pool)?;
    pool.run_on_own_session(|mut own| {
        // Whatever fails, the session is closed, and the keys in it are gone.
        let (public, private) = own.run(fixed_pair)?;
        let (fixed_public, wrapped, ephemeral_public) = own.run(|session| {
            let fixed_public = point_of(session, public)?;
            let agreement = Agreement {
                session,
                transport_public,
                derivation,
            };
            let (wrapped, ephemeral_public) = agreement.wrap(private, &info)?;
            shut(session, private);
            Ok((fixed_public, wrapped, ephemeral_public))
        })?;
        let held = Held {
            session: own,
            private,
            public,
        };
        let pending = PendingKey { held: Some(held) };
        Ok(Injection {
            wrapped,
            ephemeral_public,
            fixed_public,
            derivation,
            pending,
        })
    })
}

/// The private scalar of a P-256 key in PKCS#8, read leniently.
///
/// The structure is walked by tag and length; versions, algorithm and optional parts are passed over, and bytes after
/// the structure are ignored. A scalar shorter than 32 bytes is padded at the front.
///
/// # Errors
/// [`VaultError::Request`] if there is no scalar of 1 to 32 bytes where RFC 5958 and RFC 5915 put it.
pub fn pkcs8_scalar(pkcs8: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let malformed = VaultError::Request {
        reason: "not the PKCS#8 of a P-256 key",
    };
    let octets = scalar_octets(pkcs8).ok_or_else(|| malformed.clone())?;
    let mut scalar = Zeroizing::new([0; 32]);
    let start = scalar
        .len()
        .checked_sub(octets.len())
        .filter(|_| !octets.is_empty());
    let tail = start
        .and_then(|start| scalar.get_mut(start..))
        .ok_or(malformed)?;
    tail.copy_from_slice(octets);
    Ok(scalar)
}

/// One key agreement with a chip, on one session.
struct Agreement<'a> {
    session: &'a Session,
    transport_public: &'a [u8; 65],
    derivation: KekDerivation,
}

impl Agreement<'_> {
    /// Wraps `fixed` under a key agreed with a fresh ephemeral key; the helper keys are destroyed in any case.
    fn wrap(
        &self,
        fixed: ObjectHandle,
        info: impl Fn(&[u8; 65]) -> Vec<u8>,
    ) -> Result<(Vec<u8>, [u8; 65])> {
        let (public, private) = self.session.generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[
                Attribute::Token(false),
                Attribute::Private(false),
                Attribute::EcParams(P256_PARAMS.to_vec()),
            ],
            &secret(&[
                Attribute::Derive(true),
                Attribute::Sign(false),
                Attribute::Extractable(false),
            ]),
        )?;
        let helpers = Helpers {
            session: self.session,
            objects: vec![public, private],
        };
        let ephemeral = point_of(self.session, public)?;
        let (kek, helpers) = self.kek(private, &info(&ephemeral), helpers)?;
        // CKM_AES_KEY_WRAP_PAD: modules answer with RFC 5649 to it; it takes keys of any length.
        let wrapped = self
            .session
            .wrap_key(&Mechanism::AesKeyWrapPad, kek, fixed)?;
        helpers.destroy()?;
        Ok((wrapped, ephemeral))
    }

    fn kek<'h>(
        &self,
        private: ObjectHandle,
        info: &[u8],
        mut helpers: Helpers<'h>,
    ) -> Result<(ObjectHandle, Helpers<'h>)> {
        let ecdh =
            Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), self.transport_public));
        let aes = secret_key(KeyType::AES, &[Attribute::Wrap(true)]);
        let kek = match self.derivation {
            KekDerivation::RawX => self.session.derive_key(&ecdh, private, &aes)?,
            KekDerivation::Hkdf => {
                let shared = secret_key(KeyType::GENERIC_SECRET, &[Attribute::Derive(true)]);
                let shared = self.session.derive_key(&ecdh, private, &shared)?;
                helpers.objects.push(shared);
                let hkdf = HkdfParams::new(MechanismType::SHA256, Some(HkdfSalt::Null), Some(info));
                self.session
                    .derive_key(&Mechanism::HkdfDerive(hkdf), shared, &aes)?
            }
        };
        helpers.objects.push(kek);
        Ok((kek, helpers))
    }
}

/// Keys that are needed for one wrapping only.
struct Helpers<'a> {
    session: &'a Session,
    objects: Vec<ObjectHandle>,
}

impl Helpers<'_> {
    fn destroy(mut self) -> Result<()> {
        self.objects
            .drain(..)
            .try_for_each(|object| Ok(self.session.destroy_object(object)?))
    }
}

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        for object in self.objects.drain(..) {
            if let Err(error) = self.session.destroy_object(object) {
                tracing::debug!(%error, "helper key not destroyed; closing the session will");
            }
        }
    }
}

fn derivation_of(pool: &SessionPool) -> Result<KekDerivation> {
    Ok(if pool.offers(MechanismType::HKDF_DERIVE)? {
        KekDerivation::Hkdf
    } else {
        KekDerivation::RawX
    })
}

/// Once wrapped, the key never leaves the module again. A module may refuse to change an object (PKCS#11 v2.40 §4.1.1);
/// then the key stays extractable, by this session only, until it is destroyed.
fn shut(session: &Session, private: ObjectHandle) {
    if let Err(error) = session.update_attributes(private, &[Attribute::Extractable(false)]) {
        tracing::warn!(%error, "the module leaves a wrapped key extractable until it is destroyed");
    }
}

/// The fixed key pair: (public, private).
fn fixed_pair(session: &Session) -> Result<(ObjectHandle, ObjectHandle)> {
    let public = [
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::EcParams(P256_PARAMS.to_vec()),
    ];
    let private = secret(&[
        Attribute::Extractable(true),
        Attribute::Sign(false),
        Attribute::Derive(false),
    ]);
    Ok(session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?)
}

/// Template of a private or secret session object.
fn secret(more: &[Attribute]) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
    ];
    template.extend_from_slice(more);
    template
}

fn secret_key(key_type: KeyType, more: &[Attribute]) -> Vec<Attribute> {
    let mut template = secret(more);
    template.extend([
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::ValueLen(KEY_LENGTH.into()),
        Attribute::Extractable(false),
    ]);
    template
}

fn point_of(session: &Session, public: ObjectHandle) -> Result<[u8; 65]> {
    match PublicKey::from_ec_point(Algorithm::P256, &object::ec_point(session, public)?) {
        Some(PublicKey::P256(point)) => Ok(point),
        Some(PublicKey::Ed25519(_)) | None => Err(VaultError::answer(
            "C_GetAttributeValue",
            "CKA_EC_POINT is not a point of P-256",
        )),
    }
}

fn scalar_octets(pkcs8: &[u8]) -> Option<&[u8]> {
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;
    let (info, _) = element(pkcs8, SEQUENCE)?;
    let (_version, rest) = element(info, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (key, _) = element(rest, OCTET_STRING)?;
    let (key, _) = element(key, SEQUENCE)?;
    let (_version, rest) = element(key, INTEGER)?;
    Some(element(rest, OCTET_STRING)?.0)
}

/// Content of the first element, which must have this tag, and what follows it. Lengths up to 255 are enough.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der {
        [found, 0x81, length, rest @ ..] if *found == tag => (*length, rest),
        [found, length @ 0..=0x7F, rest @ ..] if *found == tag => (*length, rest),
        _ => return None,
    };
    rest.split_at_checked(usize::from(length))
}

#[cfg(test)]
mod tests {
    use p256::SecretKey;
    use p256::pkcs8::EncodePrivateKey;

    use super::*;

    const SCALAR: [u8; 32] = [0x11; 32];

    /// As `SoftHSM2` leaves it after unwrapping.
    fn short_form() -> Vec<u8> {
        let head = b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01\x06\x08\x2A\x86\x48\xCE\x3D\x03\x01\x07";
        [
            &head[..],
            b"\x04\x27\x30\x25\x02\x01\x01\x04\x20",
            &SCALAR,
            &[0; 5],
        ]
        .concat()
    }

    /// As RFC 5915 has it, with the public key.
    fn long_form() -> Vec<u8> {
        SecretKey::from_slice(&SCALAR)
            .unwrap()
            .to_pkcs8_der()
            .unwrap()
            .as_bytes()
            .to_vec()
    }

    #[test]
    fn both_forms_give_the_scalar() {
        assert_eq!((short_form().len(), long_form().len()), (72, 138));
        for pkcs8 in [short_form(), long_form()] {
            assert_eq!(*pkcs8_scalar(&pkcs8).unwrap(), SCALAR);
        }
    }

    #[test]
    fn a_short_scalar_is_padded_at_the_front() {
        let mut shorter = short_form();
        shorter.drain(35..37);
        for length in [1, 27, 29, 34] {
            shorter[length] -= 2;
        }
        let scalar = pkcs8_scalar(&shorter).unwrap();
        assert_eq!((&scalar[..2], &scalar[2..]), (&[0, 0][..], &SCALAR[2..]));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = short_form();
        for length in 0..67 {
            pkcs8_scalar(&whole[..length]).unwrap_err();
        }
        let mut empty = whole;
        empty[34] = 0;
        pkcs8_scalar(&empty).unwrap_err();
    }
}
