//! Transport keys: one agreement, one injection, gone.

use crate::key;
use crate::pkcs8;
use crate::refusal::Refusal;
use crate::request::{Derivation, Injection, MAX_WRAPPED};
use crate::wire::Writer;
use aes_kw::{KeyInit as _, KwpAes256};
use hkdf::Hkdf;
use identity::message::{KekInfo, Message as _};
use identity::{ChipUid, Entropy, P256Key};
use p256::SecretKey;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Label, two points, a UID of 32 bytes and a nonce, each behind its length.
const MAX_KEK_INFO: usize = 14 + 2 * (2 + 65) + (2 + 32) + (2 + 32);

/// A transport key that waits for its injection.
pub(crate) struct Pending {
    secret: SecretKey,
    public: P256Key,
    nonce: [u8; 32],
}

impl Pending {
    /// Makes one.
    pub(crate) fn generate(entropy: &impl Entropy, nonce: [u8; 32]) -> Result<Self, Refusal> {
        let secret = key::generate(entropy)?;
        let public = key::public(&secret)?;
        Ok(Self {
            secret,
            public,
            nonce,
        })
    }

    /// The public half.
    pub(crate) const fn public(&self) -> &P256Key {
        &self.public
    }

    /// Takes the injected key out of its wrapping; the transport key is used up.
    pub(crate) fn unwrap(
        self,
        uid: &ChipUid,
        injection: &Injection<'_>,
    ) -> Result<SecretKey, Refusal> {
        let kek = self.kek(uid, injection)?;
        let mut plain = Zeroizing::new([0; MAX_WRAPPED]);
        let der =
            KwpAes256::new((&*kek).into()).unwrap_key(injection.wrapped, plain.as_mut_slice());
        pkcs8::read(der.or(Err(Refusal::Unwrap))?)
    }

    fn kek(
        &self,
        uid: &ChipUid,
        injection: &Injection<'_>,
    ) -> Result<Zeroizing<[u8; 32]>, Refusal> {
        let module = p256::PublicKey::from_sec1_bytes(injection.module.sec1())
            .or(Err(Refusal::Malformed))?;
        let shared = self.secret.diffie_hellman(&module);
        let mut kek = Zeroizing::new([0; 32]);
        match injection.derivation {
            Derivation::RawX => kek.copy_from_slice(shared.raw_secret_bytes()),
            Derivation::Hkdf => {
                let mut info = [0; MAX_KEK_INFO];
                let mut writer = Writer::new(&mut info);
                KekInfo {
                    chip: self.public.sec1(),
                    module: injection.module.sec1(),
                    uid,
                    nonce: &self.nonce,
                }
                .write(&mut writer);
                writer.written().ok_or(Refusal::Malformed)?;
                let derived = Hkdf::<Sha256>::new(None, shared.raw_secret_bytes())
                    .expand(writer.as_bytes(), kek.as_mut_slice());
                derived.or(Err(Refusal::Unwrap))?;
            }
        }
        Ok(kek)
    }
}
