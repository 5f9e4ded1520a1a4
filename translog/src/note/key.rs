//! Verifier keys (vkeys) and the primitive checks under them.

use core::fmt;
use core::str::FromStr;

use ml_dsa::{EncodedVerifyingKey, MlDsa44, Verifier};
use sha2::{Digest, Sha256};

use super::{KeyId, KeyName, NoteSignature};
use crate::text::{decode_base64, encode_base64};

/// Longest vkey text accepted; one of ML-DSA-44 with the longest name has 2,016 bytes.
const MAX_VKEY_BYTES: usize = 4096;

/// What a key signs and how (C2SP signed-note, *Signature types*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureType {
    /// 0x01: Ed25519 over the note text.
    Ed25519,
    /// 0x04: time-stamped Ed25519 cosignature over a checkpoint.
    Ed25519Cosignature,
    /// 0x06: time-stamped ML-DSA-44 cosignature over a tree.
    MlDsa44Cosignature,
}

/// The public key of a log, witness or mirror, with the name it signs under.
///
/// Its text form is the vkey: `<name>+<key id in hex>+<base64 of type and key>`.
#[derive(Clone, PartialEq)]
pub struct VerifierKey {
    name: KeyName,
    id: KeyId,
    signature_type: SignatureType,
    key: PublicKey,
}

/// The text or the key material is not one of ours to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// Not `<name>+<8 lower-case hex digits>+<canonical base64>`, or too long.
    #[error("a verifier key is name+id+base64")]
    Format,
    /// A signature type that is not implemented.
    #[error("signature type 0x{0:02x} is not supported")]
    UnsupportedType(u8),
    /// The key material is not a public key of the type it claims, or a weak one.
    #[error("the key material is not a usable public key")]
    Key,
    /// The key id is not the one of this name and key.
    #[error("the key id is {given} but name and key give {computed}")]
    Id {
        /// The id in the text.
        given: KeyId,
        /// The id that name, type and key hash to.
        computed: KeyId,
    },
}

#[derive(Clone, PartialEq)]
enum PublicKey {
    Ed25519(ed25519_dalek::VerifyingKey),
    MlDsa44(Box<ml_dsa::VerifyingKey<MlDsa44>>),
}

impl SignatureType {
    /// The byte assigned to the type.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Ed25519Cosignature => 0x04,
            Self::MlDsa44Cosignature => 0x06,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::Ed25519Cosignature),
            0x06 => Some(Self::MlDsa44Cosignature),
            _ => None,
        }
    }
}

impl VerifierKey {
    /// A key from its parts: 32 bytes for Ed25519 (RFC 8032), 1,312 for ML-DSA-44 (FIPS 204).
    ///
    /// # Errors
    /// [`VerifierKeyError::Key`] when the bytes are no such key. An Ed25519 key of small order is
    /// refused: signatures of every message verify under it.
    pub fn new(
        name: KeyName,
        signature_type: SignatureType,
        public_key: &[u8],
    ) -> Result<Self, VerifierKeyError> {
        let key = PublicKey::decode(signature_type, public_key).ok_or(VerifierKeyError::Key)?;
        let id = key_id(&name, signature_type, public_key);
        Ok(Self {
            name,
            id,
            signature_type,
            key,
        })
    }

    /// The name it signs under.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id that stands before its signatures.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What it signs.
    #[must_use]
    pub const fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// The public key material, without the type byte.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        match &self.key {
            PublicKey::Ed25519(key) => key.as_bytes().to_vec(),
            PublicKey::MlDsa44(key) => key.encode().to_vec(),
        }
    }

    /// Whether the signature line claims to be by this key: same name and same id.
    #[must_use]
    pub fn claims(&self, signature: &NoteSignature) -> bool {
        signature.name() == &self.name && signature.key_id() == self.id
    }

    /// Checks a bare signature, without key id or time stamp, over exactly these bytes.
    ///
    /// Ed25519 is checked strictly, so that two verifiers cannot differ; ML-DSA-44 with the empty
    /// context.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            PublicKey::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            PublicKey::MlDsa44(key) => ml_dsa::Signature::<MlDsa44>::try_from(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl PublicKey {
    fn decode(signature_type: SignatureType, bytes: &[u8]) -> Option<Self> {
        match signature_type {
            SignatureType::Ed25519 | SignatureType::Ed25519Cosignature => {
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
                (!key.is_weak()).then_some(Self::Ed25519(key))
            }
            SignatureType::MlDsa44Cosignature => {
                let encoded = EncodedVerifyingKey::<MlDsa44>::try_from(bytes).ok()?;
                Some(Self::MlDsa44(Box::new(ml_dsa::VerifyingKey::decode(
                    &encoded,
                ))))
            }
        }
    }
}

/// SHA-256(name ‖ 0x0A ‖ type ‖ key), first four bytes.
fn key_id(name: &KeyName, signature_type: SignatureType, public_key: &[u8]) -> KeyId {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(name.as_str())
        .chain_update([b'\n', signature_type.byte()])
        .chain_update(public_key)
        .finalize()
        .into();
    let [a, b, c, d, ..] = digest;
    KeyId::new([a, b, c, d])
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        if text.len() > MAX_VKEY_BYTES {
            return Err(VerifierKeyError::Format);
        }
        let (name, given, material) = split(text).ok_or(VerifierKeyError::Format)?;
        let (type_byte, public_key) = material.split_first().ok_or(VerifierKeyError::Format)?;
        let signature_type = SignatureType::from_byte(*type_byte)
            .ok_or(VerifierKeyError::UnsupportedType(*type_byte))?;
        let key = Self::new(name, signature_type, public_key)?;
        if key.id != given {
            return Err(VerifierKeyError::Id {
                given,
                computed: key.id,
            });
        }
        Ok(key)
    }
}

/// Name, id and material. Only the first two `+` separate: base64 may hold more of them.
fn split(text: &str) -> Option<(KeyName, KeyId, Vec<u8>)> {
    let (name, rest) = text.split_once('+')?;
    let (id, material) = rest.split_once('+')?;
    let id_bytes = u32::from_str_radix(id, 16).ok()?.to_be_bytes();
    let id_is_canonical = KeyId::new(id_bytes).to_string() == id;
    let parts = (
        name.parse().ok()?,
        KeyId::new(id_bytes),
        decode_base64(material)?,
    );
    id_is_canonical.then_some(parts)
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = [vec![self.signature_type.byte()], self.public_key()].concat();
        write!(f, "{}+{}+{}", self.name, self.id, encode_base64(&material))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VerifierKey({}+{}, {:?})",
            self.name, self.id, self.signature_type
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::{Signer, VECTOR_LOG_VKEY, VECTOR_WITNESS_VKEY};

    #[test]
    fn vkeys_round_trip() {
        let ml_dsa = Signer::ml_dsa44("log.example/pq", 9).key.to_string();
        for vkey in [VECTOR_LOG_VKEY, VECTOR_WITNESS_VKEY, &ml_dsa] {
            let key: VerifierKey = vkey.parse().unwrap();
            assert_eq!(key.to_string(), vkey);
        }
        // Its base64 holds a '+', so only the first two may separate.
        assert!(VECTOR_WITNESS_VKEY.matches('+').count() > 2);
    }

    #[test]
    fn each_part_is_checked() {
        let refusal = |text: &str| text.parse::<VerifierKey>().unwrap_err();
        let computed = KeyId::new([0xb6, 0x47, 0x76, 0x07]);
        let given = KeyId::new([0xb6, 0x47, 0x76, 0x08]);
        assert_eq!(
            refusal(&VECTOR_LOG_VKEY.replace("b6477607", "b6477608")),
            VerifierKeyError::Id { given, computed }
        );
        for id in ["B6477607", "+6477607", "6477607", "b64776070", ""] {
            assert_eq!(
                refusal(&VECTOR_LOG_VKEY.replace("b6477607", id)),
                VerifierKeyError::Format
            );
        }
        assert_eq!(
            refusal("a+00000000+Ag=="),
            VerifierKeyError::UnsupportedType(2)
        );
        assert_eq!(refusal("a+00000000+"), VerifierKeyError::Format);
        assert_eq!(refusal("a b+00000000+AQ=="), VerifierKeyError::Format);
        assert_eq!(refusal("a+00000000+AQ=="), VerifierKeyError::Key);
        assert_eq!(refusal(&"a".repeat(5000)), VerifierKeyError::Format);
    }

    #[test]
    fn weak_ed25519_keys_are_refused() {
        let identity = [[1].as_slice(), &[0; 31]].concat();
        let key = VerifierKey::new("a".parse().unwrap(), SignatureType::Ed25519, &identity);
        assert_eq!(key, Err(VerifierKeyError::Key));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,60}|[a-z]{1,3}\\+[0-9a-f]{8}\\+[A-Za-z0-9+/]{0,44}={0,2}") {
            if let Ok(key) = text.parse::<VerifierKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
