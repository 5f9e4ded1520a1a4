use keyvault::{Key, PublicKey, VaultError};
use translog::note::{KeyName, NoteSigner, SignatureType, VerifierKey};

/// The log's Ed25519 key in its HSM token, under the name it signs with.
#[derive(Clone, Debug)]
pub struct LogKey {
    key: Key,
    verifier: VerifierKey,
}

/// The key cannot sign notes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be the name or key of a log")]
pub struct LogKeyError(String);

impl LogKey {
    /// A key under the log's origin as its name.
    ///
    /// # Errors
    /// [`LogKeyError`] if the name cannot stand in a note or the key is not Ed25519.
    pub fn new(origin: &str, key: Key) -> Result<Self, LogKeyError> {
        let refuse = || LogKeyError(origin.to_owned());
        let name: KeyName = origin.parse().map_err(|_bad_name| refuse())?;
        let PublicKey::Ed25519(public) = key.public_key() else {
            return Err(refuse());
        };
        let verifier =
            VerifierKey::new(name, SignatureType::Ed25519, public).map_err(|_bad_key| refuse())?;
        Ok(Self { key, verifier })
    }
}

impl NoteSigner for LogKey {
    type Error = VaultError;

    fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.key.sign_ed25519(message).map(Vec::from)
    }
}
