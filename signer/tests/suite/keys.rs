//! Seeded keys, and a CA key that can be told to fail.

use identity::P256Key;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePrivateKey as _;
use signer::{CaKey, CaKeyError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use translog::note::{NoteSigner, SignatureType, VerifierKey};

/// A P-256 key from a seed.
pub fn key(seed: u16) -> SigningKey {
    let mut bytes = [0x11; 32];
    bytes[30..].copy_from_slice(&seed.to_be_bytes());
    SigningKey::from_slice(&bytes).unwrap()
}

pub fn public(key: &SigningKey) -> P256Key {
    P256Key::from_sec1(&key.verifying_key().to_sec1_bytes()).unwrap()
}

pub fn sign(key: &SigningKey, digest: &[u8; 32]) -> identity::envelope::Signature {
    let signature: Signature = key.sign_prehash(digest).unwrap();
    identity::envelope::Signature(signature.to_bytes().into())
}

/// A self-signed issuing CA certificate.
pub fn issuing_certificate(key: &impl rcgen::SigningKey) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Example Issuing CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31) + std::time::Duration::from_secs(86_399);
    params.self_signed(key).unwrap().der().to_vec()
}

pub fn rcgen_key(key: &SigningKey) -> rcgen::KeyPair {
    rcgen::KeyPair::try_from(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

/// The log's key.
pub struct LogKey {
    key: VerifierKey,
    secret: ed25519_dalek::SigningKey,
}

impl LogKey {
    pub fn new(origin: &str, seed: u8) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let public = secret.verifying_key().to_bytes();
        Self {
            key: VerifierKey::new(origin.parse().unwrap(), SignatureType::Ed25519, &public)
                .unwrap(),
            secret,
        }
    }
}

impl NoteSigner for LogKey {
    type Error = std::convert::Infallible;

    fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Self::Error> {
        Ok(ed25519_dalek::Signer::sign(&self.secret, message)
            .to_bytes()
            .to_vec())
    }
}

/// What the HSM does when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    /// An error instead of a signature.
    Fails,
    /// A signature with one bit flipped.
    Flipped,
    /// A signature cut short and filled up with zeros.
    Truncated,
    /// A good signature of another key.
    Foreign,
    /// A good signature over another digest.
    OtherDigest,
}

/// The issuing CA's key, and how often it was used.
#[derive(Clone)]
pub struct TestCaKey {
    key: SigningKey,
    pub mood: Arc<Mutex<Mood>>,
    pub asked: Arc<AtomicUsize>,
}

impl TestCaKey {
    pub fn new(seed: u16) -> Self {
        Self {
            key: key(seed),
            mood: Arc::new(Mutex::new(Mood::Good)),
            asked: Arc::new(AtomicUsize::new(0)),
        }
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl CaKey for TestCaKey {
    fn public_key(&self) -> P256Key {
        public(&self.key)
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], CaKeyError> {
        // Two signatures in a row differ, as those of an HSM do: a stored one is told from a new one.
        let count = self.asked.fetch_add(1, Ordering::SeqCst);
        let mut good = sign(&self.key, digest).0;
        if count % 2 == 1 {
            good = mirrored(&good);
        }
        match *self.mood.lock().unwrap() {
            Mood::Good => {}
            Mood::Fails => return Err(CaKeyError("CKR_DEVICE_ERROR".to_owned())),
            Mood::Flipped => good[17] ^= 1,
            Mood::Truncated => good[32..].fill(0),
            Mood::Foreign => good = sign(&key(9999), digest).0,
            Mood::OtherDigest => good = sign(&self.key, &[7; 32]).0,
        }
        Ok(good)
    }
}

/// The other signature of the same key over the same digest: (r, n − s).
fn mirrored(signature: &[u8; 64]) -> [u8; 64] {
    let (r, s) = Signature::from_slice(signature).unwrap().split_scalars();
    Signature::from_scalars(*r, -*s).unwrap().to_bytes().into()
}
