//! One logged-in token.

use std::fmt;
use std::sync::Arc;

use cryptoki::session::SessionState;

use crate::error::{Result, VaultError};
use crate::injection::{self, Injection};
use crate::inventory::{self, KeySummary};
use crate::key::Key;
use crate::key_use::{KeySpec, KeyUse};
use crate::object;
use crate::session::SessionPool;

/// A token of an HSM, logged in as user. Clones share one pool of sessions; the last one dropped logs out.
///
/// Every call survives a lost session, a foreign logout and a restarted module: the token is opened again once and
/// the call is made once more. All calls here are harmless to repeat. A signature that is made twice costs the HSM
/// nothing; whoever must know how often a key may have signed journals the attempt before asking for it.
#[derive(Clone)]
pub struct Token(Arc<SessionPool>);

impl Token {
    pub(crate) const fn new(pool: Arc<SessionPool>) -> Self {
        Self(pool)
    }

    pub(crate) fn pool(&self) -> &SessionPool {
        &self.0
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        self.0.label()
    }

    /// Checks that the token answers and that the user is logged in, reopening it if need be.
    ///
    /// # Errors
    /// [`VaultError::Device`] if it is gone, [`VaultError::Pin`] if it no longer takes the PIN.
    pub fn health(&self) -> Result<()> {
        self.0.run(
            |lease| match lease.session.get_session_info()?.session_state() {
                SessionState::RwUser => Ok(()),
                SessionState::RoUser
                | SessionState::RoPublic
                | SessionState::RwPublic
                | SessionState::RwSecurityOfficer => Err(VaultError::logged_out()),
            },
        )
    }

    /// Generates a key pair in the token, with exactly the attributes that its use demands.
    ///
    /// # Errors
    /// [`VaultError::AlreadyExists`] if a key has this label, also when a first attempt made the key but its answer was
    /// lost; [`VaultError::Mechanism`] if the token lacks the algorithm; [`VaultError::Attribute`] if it made another key
    /// than it was asked for.
    pub fn generate(&self, spec: &KeySpec) -> Result<Key> {
        self.0.run(|lease| object::generate(&lease.session, spec))?;
        self.key(spec.label(), spec.usage())
    }

    /// Finds a key pair and checks each attribute that its use demands.
    ///
    /// The public key is what the token's public object says. Whoever relies on it verifies a signature with it.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if either half is missing, [`VaultError::Attribute`] naming the first attribute that
    /// differs, `CKA_ID` for a key that was made for another use.
    pub fn key(&self, label: &str, usage: KeyUse) -> Result<Key> {
        Key::find(Arc::clone(&self.0), label, usage)
    }

    /// Fills `bytes` from the token's random number generator.
    ///
    /// # Errors
    /// [`VaultError::Device`] or [`VaultError::Mechanism`].
    pub fn random(&self, bytes: &mut [u8]) -> Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_too_long| VaultError::Request {
            reason: "too many random bytes",
        })?;
        let drawn = self
            .0
            .run(|lease| Ok(lease.session.generate_random_vec(length)?))?;
        if drawn.len() != bytes.len() {
            return Err(VaultError::answer("C_GenerateRandom", "wrong length"));
        }
        bytes.copy_from_slice(&drawn);
        Ok(())
    }

    /// Every private key on the token, ours or not, by label.
    ///
    /// # Errors
    /// [`VaultError::Device`].
    pub fn keys(&self) -> Result<Vec<KeySummary>> {
        self.0.run(|lease| inventory::list(&lease.session))
    }

    /// Destroys every key object with this label, the private key first. If the power goes in between, the same call
    /// finishes it.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if there is none; [`VaultError::Internal`] if the token forbids it.
    pub fn destroy(&self, label: &str) -> Result<()> {
        self.0.run(|lease| object::destroy(&lease.session, label))
    }

    /// Generates a fixed key for a chip and wraps it to the chip's transport key: see [`injection`].
    ///
    /// `transport_public` is the chip's ephemeral P-256 point, uncompressed, already authenticated by the caller.
    /// `info` makes the HKDF info from the module's ephemeral point; it is called once an attempt.
    ///
    /// # Errors
    /// [`VaultError::Request`] if the point is not on the curve; [`VaultError::Mechanism`] if the token cannot agree or
    /// wrap; [`VaultError::Device`]. After any error the fixed key is gone.
    pub fn inject(
        &self,
        transport_public: &[u8; 65],
        info: impl Fn(&[u8; 65]) -> Vec<u8>,
    ) -> Result<Injection> {
        injection::inject(&self.0, transport_public, info)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.label()).finish()
    }
}
