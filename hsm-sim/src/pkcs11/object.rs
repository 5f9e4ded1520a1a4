//! One object of a token or a session, and what of it may be seen and done.

use cryptoki_sys::*;
use std::sync::OnceLock;
use zeroize::Zeroizing;

use super::attributes::{Attributes, Secret};
use super::keys::ReadyKey;
use super::rv::{Result, Rv};
use super::template::Template;

/// An object's name in its token's file, random and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Uid(pub(crate) [u8; 16]);

/// An object. It never changes: an edit puts another in its place under the same handle.
#[derive(Debug)]
pub(crate) struct Object {
    /// Its name in the file
    pub(crate) uid: Uid,
    /// Its handle in this process
    pub(crate) handle: CK_OBJECT_HANDLE,
    /// The session it dies with; none for a token object
    pub(crate) session: Option<CK_SESSION_HANDLE>,
    /// What it is
    pub(crate) attributes: Attributes,
    ready: OnceLock<ReadyKey>,
}

impl Object {
    /// A new object.
    pub(crate) fn new(
        uid: Uid,
        handle: CK_OBJECT_HANDLE,
        session: Option<CK_SESSION_HANDLE>,
        attributes: Attributes,
    ) -> Self {
        Self {
            uid,
            handle,
            session,
            attributes,
            ready: OnceLock::new(),
        }
    }

    /// The same object with other attributes.
    pub(crate) fn with(&self, attributes: Attributes) -> Self {
        Self::new(self.uid, self.handle, self.session, attributes)
    }

    /// An attribute as a caller may see it.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_SENSITIVE` for the value of a key that is sensitive or not extractable,
    /// `CKR_ATTRIBUTE_TYPE_INVALID` for an attribute the object has not.
    pub(crate) fn visible(&self, attribute: CK_ATTRIBUTE_TYPE) -> Result<Secret> {
        if attribute == CKA_UNIQUE_ID {
            return Ok(Zeroizing::new(self.unique_id().into_bytes()));
        }
        if attribute == CKA_VALUE && self.is_guarded() {
            return Err(Rv(CKR_ATTRIBUTE_SENSITIVE));
        }
        self.attributes
            .value(attribute)
            .map(super::attributes::Value::to_native)
            .ok_or(Rv(CKR_ATTRIBUTE_TYPE_INVALID))
    }

    /// Whether each entry of a search template is an attribute of this object that may be seen.
    pub(crate) fn matches(&self, template: &Template) -> bool {
        template
            .iter()
            .all(|(attribute, raw)| self.visible(attribute).is_ok_and(|seen| *seen == raw))
    }

    /// Checks that the key may be used for this (`CKA_SIGN` …) with this mechanism.
    ///
    /// # Errors
    /// `CKR_KEY_FUNCTION_NOT_PERMITTED` where its usage flag is false, `CKR_MECHANISM_INVALID`
    /// where `CKA_ALLOWED_MECHANISMS` leaves the mechanism out.
    pub(crate) fn permits(
        &self,
        usage: CK_ATTRIBUTE_TYPE,
        mechanism: CK_MECHANISM_TYPE,
    ) -> Result<()> {
        if !self.attributes.flag(usage) {
            return Err(Rv(CKR_KEY_FUNCTION_NOT_PERMITTED));
        }
        let Some(allowed) = self.attributes.bytes(CKA_ALLOWED_MECHANISMS) else {
            return Ok(());
        };
        let wanted = mechanism.to_ne_bytes();
        if allowed.chunks(wanted.len()).any(|one| one == wanted) {
            Ok(())
        } else {
            Err(Rv(CKR_MECHANISM_INVALID))
        }
    }

    /// The key made ready for signing or verifying, parsed at its first use.
    ///
    /// # Errors
    /// As [`ReadyKey::of`].
    pub(crate) fn ready(&self) -> Result<&ReadyKey> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready);
        }
        let made = ReadyKey::of(&self.attributes)?;
        Ok(self.ready.get_or_init(|| made))
    }

    fn unique_id(&self) -> String {
        self.uid
            .0
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn is_guarded(&self) -> bool {
        matches!(
            self.attributes.class(),
            Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY)
        ) && (self.attributes.flag(CKA_SENSITIVE) || !self.attributes.flag(CKA_EXTRACTABLE))
    }
}
