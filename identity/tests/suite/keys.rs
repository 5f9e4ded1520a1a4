//! Seeded keys: the same bytes on every run (RFC 6979 signatures).

use identity::P256Key;
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};

pub(crate) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

pub(crate) fn public_key(seed: u8) -> P256Key {
    P256Key::from_sec1(
        signing_key(seed)
            .verifying_key()
            .to_sec1_point(false)
            .as_bytes(),
    )
    .unwrap()
}

/// r ‖ s of this seed's key over a digest.
pub(crate) fn sign(seed: u8, digest: &[u8; 32]) -> [u8; 64] {
    let signature: Signature = signing_key(seed).sign_prehash(digest).unwrap();
    signature.to_bytes().into()
}
