//! P-256 private keys in the chip. `SecretKey` and `SigningKey` wipe themselves when dropped.

use crate::answer::Signature;
use crate::refusal::Refusal;
use identity::{Entropy, P256Key};
use p256::SecretKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use zeroize::Zeroizing;

/// Tries before the source of randomness is called broken: a good one misses the range once in 2^32.
const TRIES: u32 = 4;

/// A new key from the chip's randomness.
pub(crate) fn generate(entropy: &impl Entropy) -> Result<SecretKey, Refusal> {
    for _ in 0..TRIES {
        let mut scalar = Zeroizing::new([0; 32]);
        entropy.fill(scalar.as_mut_slice())?;
        if let Some(secret) = from_scalar(&scalar) {
            return Ok(secret);
        }
    }
    Err(Refusal::EntropyFault)
}

/// A key from its scalar, big-endian; none if it is 0 or not below the order.
pub(crate) fn from_scalar(scalar: &[u8; 32]) -> Option<SecretKey> {
    SecretKey::from_slice(scalar).ok()
}

/// The scalar, big-endian.
pub(crate) fn to_scalar(secret: &SecretKey) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(secret.to_bytes().into())
}

/// The public half.
pub(crate) fn public(secret: &SecretKey) -> Result<P256Key, Refusal> {
    P256Key::from_sec1(secret.public_key().to_sec1_point(false).as_bytes())
        .or(Err(Refusal::NotAKey))
}

/// Signs a digest; the nonce is derived (RFC 6979), so weak randomness cannot give the key away.
pub(crate) fn sign(secret: &SecretKey, digest: &[u8; 32]) -> Result<Signature, Refusal> {
    let signature: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from(secret)
        .sign_prehash(digest)
        .or(Err(Refusal::AttestationFault))?;
    Ok(signature.to_bytes().into())
}
