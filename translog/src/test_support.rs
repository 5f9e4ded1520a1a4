//! What the unit tests share: leaves, and keys with known seeds.

use core::convert::Infallible;

use ed25519_dalek::Signer as _;
use ml_dsa::Keypair as _;

use crate::note::{NoteSigner, SignatureType, VerifierKey};
use crate::tree::{Hash, leaf_hash};

/// The log key of the three-leaf vectors.
pub(crate) const VECTOR_LOG_VKEY: &str =
    "log.example/bindings+b6477607+AdBKsjJ0K7SrOhNovUYV5ObQIkq3GgFrr4UgozLJd4c3";
/// The witness key of the three-leaf vectors.
pub(crate) const VECTOR_WITNESS_VKEY: &str =
    "witness.example/w1+e0cd2864+BKCapfR6Z1mAL/lV+NwtKhSlyZ0jvpf4ZBJ/+Tg0VaTw";

/// Hashes of the leaves 0, 1, 2 …, each a big-endian u64.
pub(crate) fn leaves(count: u64) -> Vec<Hash> {
    (0..count)
        .map(|index| leaf_hash(&index.to_be_bytes()))
        .collect()
}

/// A private key in memory, and a switch that makes it sign badly.
pub(crate) struct Signer {
    pub(crate) key: VerifierKey,
    secret: Secret,
    is_broken: bool,
}

enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    MlDsa44(Box<ml_dsa::SigningKey<ml_dsa::MlDsa44>>),
}

impl Signer {
    pub(crate) fn ed25519(name: &str, seed: u8) -> Self {
        Self::with_ed25519(name, seed, SignatureType::Ed25519)
    }

    pub(crate) fn witness(name: &str, seed: u8) -> Self {
        Self::with_ed25519(name, seed, SignatureType::Ed25519Cosignature)
    }

    pub(crate) fn ml_dsa44(name: &str, seed: u8) -> Self {
        let secret = ml_dsa::SigningKey::<ml_dsa::MlDsa44>::from_seed(&[seed; 32].into());
        let public = secret.verifying_key().encode();
        let signature_type = SignatureType::MlDsa44Cosignature;
        let key = VerifierKey::new(name.parse().unwrap(), signature_type, &public).unwrap();
        Self {
            key,
            secret: Secret::MlDsa44(Box::new(secret)),
            is_broken: false,
        }
    }

    pub(crate) fn broken(self) -> Self {
        Self {
            is_broken: true,
            ..self
        }
    }

    fn with_ed25519(name: &str, seed: u8, signature_type: SignatureType) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let public = secret.verifying_key().to_bytes();
        let key = VerifierKey::new(name.parse().unwrap(), signature_type, &public).unwrap();
        Self {
            key,
            secret: Secret::Ed25519(Box::new(secret)),
            is_broken: false,
        }
    }
}

impl NoteSigner for Signer {
    type Error = Infallible;

    fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Infallible> {
        let mut signature = match &self.secret {
            Secret::Ed25519(secret) => secret.sign(message).to_bytes().to_vec(),
            Secret::MlDsa44(secret) => ml_dsa::Signer::sign(secret.as_ref(), message)
                .encode()
                .to_vec(),
        };
        signature[9] ^= u8::from(self.is_broken);
        Ok(signature)
    }
}
