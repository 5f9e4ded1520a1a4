//! Signing without holding a key.

use core::error::Error;

use super::{KeyId, KeyName, SignatureType, VerifierKey};

/// A private key that lives elsewhere, in an HSM for example.
pub trait NoteSigner {
    /// Why no signature could be made.
    type Error: Error;

    /// The public half, under the name it signs with.
    fn verifier_key(&self) -> &VerifierKey;

    /// The bare signature over exactly these bytes: 64 bytes of pure Ed25519 (RFC 8032), or 2,420
    /// of ML-DSA-44 with the empty context (FIPS 204).
    ///
    /// # Errors
    /// When the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Self::Error>;

    /// The name it signs with.
    fn name(&self) -> &KeyName {
        self.verifier_key().name()
    }

    /// The id that stands before its signatures.
    fn key_id(&self) -> KeyId {
        self.verifier_key().id()
    }
}

/// Why a note or checkpoint was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError<E> {
    /// The signer failed.
    #[error(transparent)]
    Signer(E),
    /// The signer gave a signature that does not verify under its own key. It was thrown away.
    #[error("the signer returned a signature that does not verify under its key")]
    BadSignature,
    /// This type of key does not sign that.
    #[error("a key of type {0:?} does not sign this")]
    WrongType(SignatureType),
    /// The text cannot stand in a signed note.
    #[error("the text cannot stand in a signed note")]
    Text,
    /// A time stamp above 2⁶³ − 1.
    #[error("time {0} is beyond 2^63 - 1")]
    Time(u64),
}

/// Signs, and believes the signer only after checking what it gave.
pub(crate) fn sign_checked<S: NoteSigner>(
    signer: &S,
    message: &[u8],
) -> Result<Vec<u8>, SignError<S::Error>> {
    let signature = signer.sign(message).map_err(SignError::Signer)?;
    if signer.verifier_key().verifies(message, &signature) {
        Ok(signature)
    } else {
        Err(SignError::BadSignature)
    }
}
