//! Attribute values and the set of them that makes up an object (PKCS#11 3.0 §4).

use core::fmt;
use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_FALSE, CK_TRUE, CK_ULONG, CKA_CLASS, CKA_KEY_TYPE, CKA_VALUE,
    CKR_ATTRIBUTE_VALUE_INVALID,
};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

use super::rv::{Result, Rv};

/// A byte string that is wiped when dropped; nearly every one may hold key material.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// How an attribute's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `CK_BBOOL`
    Flag,
    /// `CK_ULONG`
    Number,
    /// A byte array of any length
    Bytes,
    /// An array of `CK_ULONG`
    Numbers,
}

/// One attribute's value.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `CK_BBOOL`
    Flag(bool),
    /// `CK_ULONG`
    Number(CK_ULONG),
    /// Bytes, or numbers in the machine's order
    Bytes(Secret),
}

/// An object's attributes by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(BTreeMap<CK_ATTRIBUTE_TYPE, Value>);

impl Value {
    /// Reads a value as C lays it out.
    ///
    /// # Errors
    /// `CKR_ATTRIBUTE_VALUE_INVALID` where the length or a truth value is not the kind's.
    pub(crate) fn from_native(kind: Kind, raw: &[u8]) -> Result<Self> {
        const INVALID: Rv = Rv(CKR_ATTRIBUTE_VALUE_INVALID);
        match kind {
            Kind::Flag => match raw {
                [CK_FALSE] => Ok(Self::Flag(false)),
                [CK_TRUE] => Ok(Self::Flag(true)),
                _ => Err(INVALID),
            },
            Kind::Number => {
                let number = raw.try_into().or(Err(INVALID))?;
                Ok(Self::Number(CK_ULONG::from_ne_bytes(number)))
            }
            Kind::Numbers if !raw.len().is_multiple_of(size_of::<CK_ULONG>()) => Err(INVALID),
            Kind::Bytes | Kind::Numbers => Ok(Self::bytes(raw)),
        }
    }

    /// A byte string.
    pub(crate) fn bytes(raw: &[u8]) -> Self {
        Self::Bytes(Zeroizing::new(raw.to_vec()))
    }

    /// The value as C lays it out.
    pub(crate) fn to_native(&self) -> Secret {
        Zeroizing::new(match self {
            Self::Flag(flag) => vec![if *flag { CK_TRUE } else { CK_FALSE }],
            Self::Number(number) => number.to_ne_bytes().to_vec(),
            Self::Bytes(bytes) => return bytes.clone(),
        })
    }
}

impl fmt::Debug for Value {
    /// Byte strings show their length only: they may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => write!(f, "[{} bytes]", bytes.len()),
        }
    }
}

impl Attributes {
    /// The value of an attribute, if the object has it.
    pub(crate) fn value(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<&Value> {
        self.0.get(&attribute)
    }

    /// A flag; an object without it is like one whose flag is false.
    pub(crate) fn flag(&self, attribute: CK_ATTRIBUTE_TYPE) -> bool {
        self.value(attribute) == Some(&Value::Flag(true))
    }

    /// A number, if the object has it.
    pub(crate) fn number(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        match self.value(attribute) {
            Some(Value::Number(number)) => Some(*number),
            Some(Value::Flag(_) | Value::Bytes(_)) | None => None,
        }
    }

    /// A byte string, if the object has it.
    pub(crate) fn bytes(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        match self.value(attribute) {
            Some(Value::Bytes(bytes)) => Some(bytes),
            Some(Value::Flag(_) | Value::Number(_)) | None => None,
        }
    }

    /// `CKA_CLASS`, if it is set.
    pub(crate) fn class(&self) -> Option<CK_ULONG> {
        self.number(CKA_CLASS)
    }

    /// `CKA_KEY_TYPE`, if it is set.
    pub(crate) fn key_type(&self) -> Option<CK_ULONG> {
        self.number(CKA_KEY_TYPE)
    }

    /// Sets or replaces a value.
    pub(crate) fn set(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: Value) {
        self.0.insert(attribute, value);
    }

    /// Sets or replaces a number.
    pub(crate) fn set_number(&mut self, attribute: CK_ATTRIBUTE_TYPE, number: CK_ULONG) {
        self.set(attribute, Value::Number(number));
    }

    /// Sets or replaces a byte string.
    pub(crate) fn set_bytes(&mut self, attribute: CK_ATTRIBUTE_TYPE, bytes: &[u8]) {
        self.set(attribute, Value::bytes(bytes));
    }

    /// The same attributes without key material.
    pub(crate) fn without_key(&self) -> Self {
        let mut open = self.clone();
        open.0.remove(&CKA_VALUE);
        open
    }

    /// All of them, in the order of their types.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CK_ATTRIBUTE_TYPE, &Value)> {
        self.0.iter().map(|(attribute, value)| (*attribute, value))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
