//! One session: what it may do, and the operations under way in it.

use aws_lc_rs::digest;
use cryptoki_sys::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use super::attributes::Attributes;
use super::mechanism::signature::Signing;
use super::object::Object;
use super::rv::{BROKEN, Result, Rv};
use super::token::{Role, Token};

/// A session of this process with one token.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its handle
    pub(crate) handle: CK_SESSION_HANDLE,
    /// Its slot
    pub(crate) slot: CK_SLOT_ID,
    /// Its token
    pub(crate) token: Arc<Token>,
    /// Whether it may change token objects
    pub(crate) is_writable: bool,
    operations: Mutex<Operations>,
}

/// The operations under way; at most one of each kind (PKCS#11 3.0 §5.1).
#[derive(Debug, Default)]
pub(crate) struct Operations {
    /// Handles that a search has found and not yet given out
    pub(crate) search: Option<VecDeque<CK_OBJECT_HANDLE>>,
    /// Signing
    pub(crate) signing: Option<Signing>,
    /// Verifying
    pub(crate) verifying: Option<Signing>,
    /// Hashing
    pub(crate) digesting: Option<Digesting>,
}

/// SHA-256 under way.
pub(crate) struct Digesting {
    /// What was hashed so far
    pub(crate) context: digest::Context,
    /// Whether `C_DigestUpdate` was called, after which `C_Digest` may not be
    pub(crate) is_multi_part: bool,
}

impl core::fmt::Debug for Digesting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Digesting").finish_non_exhaustive()
    }
}

impl Session {
    /// A new session.
    pub(crate) fn new(
        handle: CK_SESSION_HANDLE,
        slot: CK_SLOT_ID,
        token: Arc<Token>,
        flags: CK_FLAGS,
    ) -> Self {
        Self {
            handle,
            slot,
            token,
            is_writable: flags & CKF_RW_SESSION != 0,
            operations: Mutex::default(),
        }
    }

    /// The operations under way; other sessions are not held up by them.
    pub(crate) fn operations(&self) -> Result<MutexGuard<'_, Operations>> {
        self.operations.lock().or(Err(BROKEN))
    }

    /// Ends every operation, dropping the keys they hold.
    pub(crate) fn cancel_all(&self) -> Result<()> {
        *self.operations()? = Operations::default();
        Ok(())
    }

    /// Ends the operations that `C_SessionCancel` names.
    pub(crate) fn cancel(&self, flags: CK_FLAGS) -> Result<()> {
        let mut operations = self.operations()?;
        if flags & CKF_FIND_OBJECTS != 0 {
            operations.search = None;
        }
        if flags & CKF_SIGN != 0 {
            operations.signing = None;
        }
        if flags & CKF_VERIFY != 0 {
            operations.verifying = None;
        }
        if flags & CKF_DIGEST != 0 {
            operations.digesting = None;
        }
        Ok(())
    }

    /// `CKS_…`, from the login and the kind of session.
    pub(crate) fn state(&self) -> Result<CK_STATE> {
        Ok(match (self.token.login_role()?, self.is_writable) {
            (None, false) => CKS_RO_PUBLIC_SESSION,
            (None, true) => CKS_RW_PUBLIC_SESSION,
            (Some(Role::User), false) => CKS_RO_USER_FUNCTIONS,
            (Some(Role::User), true) => CKS_RW_USER_FUNCTIONS,
            (Some(Role::SecurityOfficer), _) => CKS_RW_SO_FUNCTIONS,
        })
    }

    /// An object that this session sees.
    ///
    /// # Errors
    /// `CKR_OBJECT_HANDLE_INVALID`.
    pub(crate) fn object(&self, handle: CK_OBJECT_HANDLE) -> Result<Arc<Object>> {
        self.token
            .object(handle)?
            .ok_or(Rv(CKR_OBJECT_HANDLE_INVALID))
    }

    /// A key that this session sees.
    ///
    /// # Errors
    /// `invalid` where the handle names none: each use of a key has its own code for that.
    pub(crate) fn key(&self, handle: CK_OBJECT_HANDLE, invalid: CK_RV) -> Result<Arc<Object>> {
        let object = self.token.object(handle)?;
        object
            .filter(|object| object.attributes.key_type().is_some())
            .ok_or(Rv(invalid))
    }

    /// Whether the session may make, change or destroy such an object.
    ///
    /// # Errors
    /// `CKR_SESSION_READ_ONLY` for a token object in a read-only session,
    /// `CKR_USER_NOT_LOGGED_IN` for a private object without the user, or a token object without
    /// anybody: the token seals all of its content under a key that a PIN opens.
    pub(crate) fn may_write(&self, attributes: &Attributes) -> Result<()> {
        let role = self.token.login_role()?;
        let is_kept = attributes.flag(CKA_TOKEN);
        if is_kept && !self.is_writable {
            return Err(Rv(CKR_SESSION_READ_ONLY));
        }
        if attributes.flag(CKA_PRIVATE) && role != Some(Role::User) {
            return Err(Rv(CKR_USER_NOT_LOGGED_IN));
        }
        if is_kept && role.is_none() {
            return Err(Rv(CKR_USER_NOT_LOGGED_IN));
        }
        Ok(())
    }

    /// Keeps new objects once [`Session::may_write`] agrees to each; handles in the same order.
    pub(crate) fn keep(&self, objects: Vec<Attributes>) -> Result<Vec<CK_OBJECT_HANDLE>> {
        for attributes in &objects {
            self.may_write(attributes)?;
            self.may_trust(attributes)?;
        }
        self.token.add(self.handle, objects)
    }

    /// Keeps one new object.
    pub(crate) fn keep_one(&self, attributes: Attributes) -> Result<CK_OBJECT_HANDLE> {
        self.keep(vec![attributes])?.pop().ok_or(BROKEN)
    }

    /// Only the security officer marks a key or certificate as trusted (`CKA_TRUSTED`).
    fn may_trust(&self, attributes: &Attributes) -> Result<()> {
        if attributes.flag(CKA_TRUSTED) && self.token.login_role()? != Some(Role::SecurityOfficer) {
            return Err(Rv(CKR_ATTRIBUTE_READ_ONLY));
        }
        Ok(())
    }
}
