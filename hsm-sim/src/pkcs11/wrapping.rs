//! `C_WrapKey` and `C_UnwrapKey`: RFC 5649 around PKCS#8 or a bare secret.

use cryptoki_sys::*;

use super::attributes::{Attributes, Secret};
use super::creation::{mark_foreign, set_secret};
use super::generation::{require, stated_length};
use super::keys::{Curve, value_of};
use super::mechanism::{Mechanism, kwp};
use super::object::Object;
use super::operations::{Answer, Room};
use super::rv::{Result, Rv};
use super::schema::Origin;
use super::session::Session;
use super::template::Template;

/// `C_WrapKey`.
///
/// # Errors
/// `CKR_KEY_UNEXTRACTABLE` for a key that may not leave, `CKR_KEY_NOT_WRAPPABLE` for one that only
/// a trusted key may wrap or that is public, `CKR_WRAPPING_KEY_HANDLE_INVALID`,
/// `CKR_WRAPPING_KEY_TYPE_INCONSISTENT`, `CKR_KEY_FUNCTION_NOT_PERMITTED` without `CKA_WRAP`.
pub(crate) fn wrap_key(
    session: &Session,
    mechanism: &Mechanism,
    (wrapping, key): (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
    room: Room,
) -> Result<Answer> {
    require(mechanism, CKF_WRAP)?;
    let wrapping = session.key(wrapping, CKR_WRAPPING_KEY_HANDLE_INVALID)?;
    check_aes(&wrapping, CKR_WRAPPING_KEY_TYPE_INCONSISTENT)?;
    wrapping.permits(CKA_WRAP, mechanism.number())?;
    let key = session.key(key, CKR_KEY_HANDLE_INVALID)?;
    check_leaving(&key.attributes, &wrapping.attributes)?;
    let content = content(&key.attributes)?;
    let length = kwp::wrapped_length(content.len());
    room.answer(length, || {
        kwp::wrap(value_of(&wrapping.attributes)?, &content)
    })
}

/// `C_UnwrapKey`: a private key from PKCS#8, or a secret key from its bare value.
///
/// # Errors
/// `CKR_WRAPPED_KEY_INVALID`, `CKR_WRAPPED_KEY_LEN_RANGE`, `CKR_UNWRAPPING_KEY_HANDLE_INVALID`,
/// `CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT`, `CKR_KEY_FUNCTION_NOT_PERMITTED` without `CKA_UNWRAP`,
/// and those of [`Template::complete`].
pub(crate) fn unwrap_key(
    session: &Session,
    mechanism: &Mechanism,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: &[u8],
    template: &Template,
) -> Result<CK_OBJECT_HANDLE> {
    const INCOMPLETE: Rv = Rv(CKR_TEMPLATE_INCOMPLETE);
    require(mechanism, CKF_UNWRAP)?;
    let unwrapping = session.key(unwrapping, CKR_UNWRAPPING_KEY_HANDLE_INVALID)?;
    check_aes(&unwrapping, CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT)?;
    unwrapping.permits(CKA_UNWRAP, mechanism.number())?;
    let class = template.number(CKA_CLASS)?.ok_or(INCOMPLETE)?;
    if ![CKO_PRIVATE_KEY, CKO_SECRET_KEY].contains(&class) {
        return Err(Rv(CKR_TEMPLATE_INCONSISTENT));
    }
    let mut attributes = template.complete(class, Origin::Unwrapped)?;
    let key_type = attributes.key_type().ok_or(INCOMPLETE)?;
    let content = kwp::unwrap(value_of(&unwrapping.attributes)?, wrapped)?;
    if class == CKO_PRIVATE_KEY {
        put_private(&mut attributes, key_type, &content)?;
    } else {
        put_secret(&mut attributes, &content)?;
    }
    mark_foreign(&mut attributes);
    session.keep_one(attributes)
}

fn check_aes(key: &Object, inconsistent: CK_RV) -> Result<()> {
    let is_aes = key.attributes.class() == Some(CKO_SECRET_KEY)
        && key.attributes.key_type() == Some(CKK_AES);
    if is_aes {
        Ok(())
    } else {
        Err(Rv(inconsistent))
    }
}

fn check_leaving(key: &Attributes, wrapping: &Attributes) -> Result<()> {
    if key.class() == Some(CKO_PUBLIC_KEY) {
        return Err(Rv(CKR_KEY_NOT_WRAPPABLE));
    }
    if !key.flag(CKA_EXTRACTABLE) {
        return Err(Rv(CKR_KEY_UNEXTRACTABLE));
    }
    if key.flag(CKA_WRAP_WITH_TRUSTED) && !wrapping.flag(CKA_TRUSTED) {
        return Err(Rv(CKR_KEY_NOT_WRAPPABLE));
    }
    Ok(())
}

fn content(key: &Attributes) -> Result<Secret> {
    let value = value_of(key)?;
    if key.class() == Some(CKO_PRIVATE_KEY) {
        Curve::of(key)?.to_pkcs8(value)
    } else {
        Ok(Secret::new(value.to_vec()))
    }
}

fn put_private(attributes: &mut Attributes, key_type: CK_KEY_TYPE, document: &[u8]) -> Result<()> {
    let curve = match key_type {
        CKK_EC => Curve::P256,
        CKK_EC_EDWARDS => Curve::Ed25519,
        _ => return Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)),
    };
    let value = curve.parse_pkcs8(document)?;
    let point = curve.public_point(&value)?;
    attributes.set_bytes(CKA_EC_PARAMS, curve.params());
    attributes.set_bytes(CKA_PUBLIC_KEY_INFO, &curve.public_key_info(&point));
    attributes.set_bytes(CKA_VALUE, &value);
    Ok(())
}

fn put_secret(attributes: &mut Attributes, value: &[u8]) -> Result<()> {
    let stated = stated_length(attributes)?;
    if stated.is_some_and(|length| length != value.len()) {
        return Err(Rv(CKR_TEMPLATE_INCONSISTENT));
    }
    set_secret(attributes, value).map_err(|refused| match refused {
        Rv(CKR_KEY_SIZE_RANGE) => Rv(CKR_WRAPPED_KEY_LEN_RANGE),
        other => other,
    })
}
