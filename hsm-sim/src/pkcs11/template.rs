//! What a caller asks of an object: a `CK_ATTRIBUTE` array, and its check against the schema.

use cryptoki_sys::*;

use super::attributes::{Attributes, Kind, Secret, Value};
use super::rv::{Result, Rv};
use super::schema::{self, Origin};

/// A template as the caller gave it: attribute types and raw values.
#[derive(Debug, Default)]
pub(crate) struct Template(Vec<(CK_ATTRIBUTE_TYPE, Secret)>);

impl Template {
    /// A template of these entries.
    pub(crate) fn new(entries: Vec<(CK_ATTRIBUTE_TYPE, Secret)>) -> Self {
        Self(entries)
    }

    /// The entries in the caller's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CK_ATTRIBUTE_TYPE, &[u8])> {
        self.0
            .iter()
            .map(|(attribute, raw)| (*attribute, raw.as_slice()))
    }

    /// One number that is needed before the class, and so the schema, is known.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where it is stated with another length.
    pub(crate) fn number(&self, attribute: CK_ATTRIBUTE_TYPE) -> Result<Option<CK_ULONG>> {
        let Some((_, raw)) = self.iter().find(|(stated, _)| *stated == attribute) else {
            return Ok(None);
        };
        match Value::from_native(Kind::Number, raw)? {
            Value::Number(number) => Ok(Some(number)),
            Value::Flag(_) | Value::Bytes(_) => Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)),
        }
    }

    /// The attributes of a new object of this class: what is stated, checked, and what is not.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_TYPE_INVALID` for an attribute the class has not,
    /// `CKR_ATTRIBUTE_VALUE_INVALID` for a malformed value, `CKR_ATTRIBUTE_READ_ONLY` for one only
    /// the token sets, `CKR_TEMPLATE_INCONSISTENT` for one stated twice, for a class other than
    /// this, or for one that an object of this origin gets otherwise.
    pub(crate) fn complete(&self, class: CK_OBJECT_CLASS, origin: Origin) -> Result<Attributes> {
        let mut attributes = self.checked(class, origin)?;
        if attributes.class().is_some_and(|stated| stated != class) {
            return Err(Rv(CKR_TEMPLATE_INCONSISTENT));
        }
        attributes.set_number(CKA_CLASS, class);
        for rule in schema::rules(class) {
            if attributes.value(rule.attribute).is_none()
                && let Some(value) = rule.initial()
            {
                attributes.set(rule.attribute, value);
            }
        }
        // A key that wants the PIN at every use would need C_Login(CKU_CONTEXT_SPECIFIC).
        if attributes.flag(CKA_ALWAYS_AUTHENTICATE) {
            return Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID));
        }
        Ok(attributes)
    }

    fn checked(&self, class: CK_OBJECT_CLASS, origin: Origin) -> Result<Attributes> {
        let mut attributes = Attributes::default();
        for (attribute, raw) in self.iter() {
            let rule = schema::rule(class, attribute).ok_or(Rv(CKR_ATTRIBUTE_TYPE_INVALID))?;
            if rule.is_read_only() {
                return Err(Rv(CKR_ATTRIBUTE_READ_ONLY));
            }
            if !rule.may_be_stated(origin) || attributes.value(attribute).is_some() {
                return Err(Rv(CKR_TEMPLATE_INCONSISTENT));
            }
            attributes.set(attribute, Value::from_native(rule.kind, raw)?);
        }
        Ok(attributes)
    }
}

/// Holds a stated key type against the one the mechanism makes, and sets it.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` where they differ.
pub(crate) fn fix_key_type(attributes: &mut Attributes, key_type: CK_KEY_TYPE) -> Result<()> {
    if attributes
        .key_type()
        .is_some_and(|stated| stated != key_type)
    {
        return Err(Rv(CKR_TEMPLATE_INCONSISTENT));
    }
    attributes.set_number(CKA_KEY_TYPE, key_type);
    Ok(())
}
