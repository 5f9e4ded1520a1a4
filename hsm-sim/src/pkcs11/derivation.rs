//! `C_DeriveKey`.

use cryptoki_sys::*;

use super::attributes::{Attributes, Secret, Value};
use super::creation::set_secret;
use super::generation::{require, stated_length};
use super::keys::value_of;
use super::mechanism::hkdf::{HkdfParameters, Salt};
use super::mechanism::{Mechanism, ecdh, hkdf};
use super::object::Object;
use super::rv::{Result, Rv};
use super::schema::Origin;
use super::session::Session;
use super::template::Template;

/// `C_DeriveKey`: a secret key from an EC private key (ECDH) or from a secret key (HKDF).
///
/// # Errors
/// `CKR_MECHANISM_INVALID`, `CKR_KEY_HANDLE_INVALID`, `CKR_KEY_TYPE_INCONSISTENT`,
/// `CKR_KEY_FUNCTION_NOT_PERMITTED` without `CKA_DERIVE`, `CKR_TEMPLATE_INCOMPLETE` without
/// `CKA_KEY_TYPE`, and those of the mechanism and of [`Template::complete`].
pub(crate) fn derive_key(
    session: &Session,
    mechanism: &Mechanism,
    base: CK_OBJECT_HANDLE,
    template: &Template,
) -> Result<CK_OBJECT_HANDLE> {
    require(mechanism, CKF_DERIVE)?;
    let base = session.key(base, CKR_KEY_HANDLE_INVALID)?;
    let mut attributes = template.complete(CKO_SECRET_KEY, Origin::Derived)?;
    let key_type = attributes.key_type();
    let key_type = key_type.ok_or(Rv(CKR_TEMPLATE_INCOMPLETE))?;
    let length = match stated_length(&attributes)? {
        Some(length) => Some(length),
        None if key_type == CKK_AES => Some(32),
        None => None,
    };
    let value = material(session, mechanism, &base, length)?;
    set_secret(&mut attributes, &value)?;
    inherit_history(&mut attributes, &base.attributes);
    session.keep_one(attributes)
}

fn material(
    session: &Session,
    mechanism: &Mechanism,
    base: &Object,
    length: Option<usize>,
) -> Result<Secret> {
    match mechanism {
        Mechanism::Ecdh1(parameters) => {
            check_base(base, CKO_PRIVATE_KEY, &[CKK_EC])?;
            base.permits(CKA_DERIVE, mechanism.number())?;
            ecdh::derive(value_of(&base.attributes)?, parameters, length)
        }
        Mechanism::Hkdf(parameters) => {
            check_base(base, CKO_SECRET_KEY, &[CKK_GENERIC_SECRET, CKK_HKDF])?;
            base.permits(CKA_DERIVE, mechanism.number())?;
            let salt = salt(session, parameters)?;
            hkdf::derive(value_of(&base.attributes)?, parameters, &salt, length)
        }
        Mechanism::Plain(_) => Err(Rv(CKR_MECHANISM_INVALID)),
    }
}

fn salt(session: &Session, parameters: &HkdfParameters) -> Result<Secret> {
    match &parameters.salt {
        Salt::Null => Ok(Secret::default()),
        Salt::Data(salt) => Ok(Secret::new(salt.clone())),
        Salt::Key(handle) => {
            let key = session.key(*handle, CKR_KEY_HANDLE_INVALID)?;
            check_base(&key, CKO_SECRET_KEY, &[CKK_GENERIC_SECRET, CKK_HKDF])?;
            key.permits(CKA_DERIVE, CKM_HKDF_DERIVE)?;
            Ok(Secret::new(value_of(&key.attributes)?.to_vec()))
        }
    }
}

fn check_base(base: &Object, class: CK_OBJECT_CLASS, types: &[CK_KEY_TYPE]) -> Result<()> {
    let attributes = &base.attributes;
    let fits = attributes.class() == Some(class)
        && attributes
            .key_type()
            .is_some_and(|one| types.contains(&one));
    if fits {
        Ok(())
    } else {
        Err(Rv(CKR_KEY_TYPE_INCONSISTENT))
    }
}

/// PKCS#11 3.0 §2.3.17, §2.62: as well guarded as the base key always was and this one is.
fn inherit_history(attributes: &mut Attributes, base: &Attributes) {
    let sensitive = base.flag(CKA_ALWAYS_SENSITIVE) && attributes.flag(CKA_SENSITIVE);
    let kept = base.flag(CKA_NEVER_EXTRACTABLE) && !attributes.flag(CKA_EXTRACTABLE);
    attributes.set(CKA_ALWAYS_SENSITIVE, Value::Flag(sensitive));
    attributes.set(CKA_NEVER_EXTRACTABLE, Value::Flag(kept));
}
