//! `C_CreateObject` and `C_CopyObject`: objects whose content the caller brings.

use cryptoki_sys::*;

use super::attributes::{Attributes, Value};
use super::keys::{Curve, value_of};
use super::mechanism::SECRET_BYTES;
use super::rv::{Result, Rv};
use super::schema::Origin;
use super::session::Session;
use super::template::Template;

const INCOMPLETE: Rv = Rv(CKR_TEMPLATE_INCOMPLETE);

/// `C_CreateObject`.
///
/// # Errors
/// Those of [`Template::complete`]; `CKR_TEMPLATE_INCOMPLETE` where the class needs more,
/// `CKR_ATTRIBUTE_VALUE_INVALID` for a value that is no key, point or class of this module.
pub(crate) fn create_object(session: &Session, template: &Template) -> Result<CK_OBJECT_HANDLE> {
    session.keep_one(created(template)?)
}

/// The attributes of an object that [`create_object`] makes.
///
/// # Errors
/// As there.
pub(super) fn created(template: &Template) -> Result<Attributes> {
    let class = template.number(CKA_CLASS)?.ok_or(INCOMPLETE)?;
    let mut attributes = template.complete(class, Origin::Created)?;
    match class {
        CKO_DATA => {}
        CKO_CERTIFICATE => check_certificate(&attributes)?,
        CKO_PUBLIC_KEY => finish_public_key(&mut attributes)?,
        CKO_PRIVATE_KEY => finish_private_key(&mut attributes)?,
        CKO_SECRET_KEY => finish_secret_key(&mut attributes)?,
        _ => return Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)),
    }
    Ok(attributes)
}

/// `C_CopyObject`: the same object with another label, id or place, or better guarded.
///
/// # Errors
/// `CKR_ACTION_PROHIBITED` where `CKA_COPYABLE` is false, and those of an edit.
pub(crate) fn copy_object(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    template: &Template,
) -> Result<CK_OBJECT_HANDLE> {
    let object = session.object(handle)?;
    if !object.attributes.flag(CKA_COPYABLE) {
        return Err(Rv(CKR_ACTION_PROHIBITED));
    }
    let attributes = super::edits::copied(&object.attributes, template)?;
    if let Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY) = attributes.class() {
        // Of a sealed key only the open face is here; a copy of that would be no key.
        value_of(&attributes)?;
    }
    session.keep_one(attributes)
}

/// Sets what the token knows of a public key besides its point.
///
/// # Errors
/// `CKR_ATTRIBUTE_VALUE_INVALID` for no point of the curve.
pub(crate) fn finish_point(attributes: &mut Attributes, curve: Curve, point: &[u8]) -> Result<()> {
    attributes.set_bytes(CKA_EC_POINT, &curve.point_to_attribute(point)?);
    attributes.set_bytes(CKA_PUBLIC_KEY_INFO, &curve.public_key_info(point));
    Ok(())
}

/// The history of a key that came from outside: not made here, known elsewhere.
pub(crate) fn mark_foreign(attributes: &mut Attributes) {
    attributes.set(CKA_LOCAL, Value::Flag(false));
    attributes.set(CKA_ALWAYS_SENSITIVE, Value::Flag(false));
    attributes.set(CKA_NEVER_EXTRACTABLE, Value::Flag(false));
}

/// Checks the length of a secret key of this type.
///
/// # Errors
/// `CKR_KEY_SIZE_RANGE`; `CKR_ATTRIBUTE_VALUE_INVALID` for a type that this module does not keep.
pub(crate) fn check_secret_length(key_type: CK_KEY_TYPE, length: usize) -> Result<()> {
    let fits = match key_type {
        CKK_AES => matches!(length, 16 | 24 | 32),
        CKK_GENERIC_SECRET | CKK_SHA256_HMAC | CKK_HKDF => {
            let length = CK_ULONG::try_from(length).or(Err(Rv(CKR_KEY_SIZE_RANGE)))?;
            (SECRET_BYTES.0..=SECRET_BYTES.1).contains(&length)
        }
        _ => return Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)),
    };
    if fits {
        Ok(())
    } else {
        Err(Rv(CKR_KEY_SIZE_RANGE))
    }
}

/// Puts the value into a secret key, with its length.
///
/// # Errors
/// As [`check_secret_length`].
pub(crate) fn set_secret(attributes: &mut Attributes, value: &[u8]) -> Result<()> {
    let key_type = attributes.key_type().ok_or(INCOMPLETE)?;
    check_secret_length(key_type, value.len())?;
    let length = CK_ULONG::try_from(value.len()).or(Err(Rv(CKR_KEY_SIZE_RANGE)))?;
    attributes.set_bytes(CKA_VALUE, value);
    attributes.set_number(CKA_VALUE_LEN, length);
    Ok(())
}

fn check_certificate(attributes: &Attributes) -> Result<()> {
    let kind = attributes.number(CKA_CERTIFICATE_TYPE).ok_or(INCOMPLETE)?;
    if kind != CKC_X_509 {
        return Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID));
    }
    for required in [CKA_VALUE, CKA_SUBJECT] {
        if attributes.bytes(required).is_none_or(<[u8]>::is_empty) {
            return Err(INCOMPLETE);
        }
    }
    Ok(())
}

fn stated_curve(attributes: &Attributes) -> Result<Curve> {
    let key_type = attributes.key_type().ok_or(INCOMPLETE)?;
    if ![CKK_EC, CKK_EC_EDWARDS].contains(&key_type) {
        return Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID));
    }
    let params = attributes.bytes(CKA_EC_PARAMS).ok_or(INCOMPLETE)?;
    Curve::from_params(key_type, params)
}

fn finish_public_key(attributes: &mut Attributes) -> Result<()> {
    let curve = stated_curve(attributes)?;
    let stated = attributes.bytes(CKA_EC_POINT).ok_or(INCOMPLETE)?;
    let point = curve.point_from_attribute(stated)?;
    finish_point(attributes, curve, &point)
}

fn finish_private_key(attributes: &mut Attributes) -> Result<()> {
    let curve = stated_curve(attributes)?;
    let value = attributes.bytes(CKA_VALUE).ok_or(INCOMPLETE)?;
    let point = curve.public_point(value)?;
    attributes.set_bytes(CKA_PUBLIC_KEY_INFO, &curve.public_key_info(&point));
    mark_foreign(attributes);
    Ok(())
}

fn finish_secret_key(attributes: &mut Attributes) -> Result<()> {
    let value = attributes.bytes(CKA_VALUE).ok_or(INCOMPLETE)?.to_vec();
    let value = zeroize::Zeroizing::new(value);
    set_secret(attributes, &value).map_err(|refused| match refused {
        Rv(CKR_KEY_SIZE_RANGE) => Rv(CKR_ATTRIBUTE_VALUE_INVALID),
        other => other,
    })?;
    mark_foreign(attributes);
    Ok(())
}
