//! What may change in an object once it exists: `C_SetAttributeValue`, `C_DestroyObject`, and the
//! template of `C_CopyObject`.

use cryptoki_sys::*;

use super::attributes::{Attributes, Value};
use super::rv::{Result, Rv};
use super::schema;
use super::session::Session;
use super::template::Template;

/// `C_SetAttributeValue`: label, id and subject; a key may become sensitive or not extractable.
///
/// # Errors
/// `CKR_ATTRIBUTE_READ_ONLY` for any other change, `CKR_ACTION_PROHIBITED` where
/// `CKA_MODIFIABLE` is false, and those of [`Session::may_write`].
pub(crate) fn set_attributes(
    session: &Session,
    handle: CK_OBJECT_HANDLE,
    template: &Template,
) -> Result<()> {
    let object = session.object(handle)?;
    session.may_write(&object.attributes)?;
    if !object.attributes.flag(CKA_MODIFIABLE) {
        return Err(Rv(CKR_ACTION_PROHIBITED));
    }
    session.token.edit(&object, |current| {
        let mut attributes = current.clone();
        for (attribute, raw) in template.iter() {
            edit(&mut attributes, attribute, raw)?;
        }
        Ok(attributes)
    })
}

/// `C_DestroyObject`.
///
/// # Errors
/// `CKR_ACTION_PROHIBITED` where `CKA_DESTROYABLE` is false, and those of [`Session::may_write`].
pub(crate) fn destroy_object(session: &Session, handle: CK_OBJECT_HANDLE) -> Result<()> {
    let object = session.object(handle)?;
    session.may_write(&object.attributes)?;
    if !object.attributes.flag(CKA_DESTROYABLE) {
        return Err(Rv(CKR_ACTION_PROHIBITED));
    }
    session.token.remove(&object)
}

/// The attributes of a copy.
///
/// # Errors
/// As [`set_attributes`]; besides what an edit may change, a copy may be kept elsewhere
/// (`CKA_TOKEN`), become private, and give up being modifiable, copyable or destroyable.
pub(crate) fn copied(original: &Attributes, template: &Template) -> Result<Attributes> {
    let mut attributes = original.clone();
    for (attribute, raw) in template.iter() {
        match attribute {
            CKA_TOKEN => attributes.set(attribute, parsed(&attributes, attribute, raw)?),
            CKA_PRIVATE => one_way(&mut attributes, attribute, raw, Value::Flag(true))?,
            CKA_MODIFIABLE | CKA_COPYABLE | CKA_DESTROYABLE => {
                one_way(&mut attributes, attribute, raw, Value::Flag(false))?;
            }
            _ => edit(&mut attributes, attribute, raw)?,
        }
    }
    Ok(attributes)
}

fn edit(attributes: &mut Attributes, attribute: CK_ATTRIBUTE_TYPE, raw: &[u8]) -> Result<()> {
    match attribute {
        CKA_LABEL | CKA_ID | CKA_SUBJECT => {
            attributes.set(attribute, parsed(attributes, attribute, raw)?);
            Ok(())
        }
        CKA_SENSITIVE => one_way(attributes, attribute, raw, Value::Flag(true)),
        CKA_EXTRACTABLE => one_way(attributes, attribute, raw, Value::Flag(false)),
        _ => {
            parsed(attributes, attribute, raw)?;
            Err(Rv(CKR_ATTRIBUTE_READ_ONLY))
        }
    }
}

/// A flag that may be set to `end`, and stay there.
fn one_way(
    attributes: &mut Attributes,
    attribute: CK_ATTRIBUTE_TYPE,
    raw: &[u8],
    end: Value,
) -> Result<()> {
    let value = parsed(attributes, attribute, raw)?;
    if value != end && attributes.value(attribute) != Some(&value) {
        return Err(Rv(CKR_ATTRIBUTE_READ_ONLY));
    }
    attributes.set(attribute, value);
    Ok(())
}

fn parsed(attributes: &Attributes, attribute: CK_ATTRIBUTE_TYPE, raw: &[u8]) -> Result<Value> {
    const UNKNOWN: Rv = Rv(CKR_ATTRIBUTE_TYPE_INVALID);
    let class = attributes.class().ok_or(UNKNOWN)?;
    let rule = schema::rule(class, attribute).ok_or(UNKNOWN)?;
    Value::from_native(rule.kind, raw)
}
