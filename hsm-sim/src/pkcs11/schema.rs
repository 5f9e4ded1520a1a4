//! Which attributes an object of each class has, how they are laid out, who may state them, and
//! what they are where nobody did (PKCS#11 3.0 §4.4 to §4.10).

use cryptoki_sys::*;

use super::attributes::{Kind, Value};

/// How an object comes to be; the rules differ for each (footnotes of table 10 of the standard).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `C_CreateObject`
    Created,
    /// `C_GenerateKey`, `C_GenerateKeyPair`
    Generated,
    /// `C_DeriveKey`
    Derived,
    /// `C_UnwrapKey`
    Unwrapped,
}

/// What an attribute is where the template does not state it.
#[derive(Clone, Copy, Debug)]
enum Initial {
    /// The object lacks it, or the code that makes the object sets it.
    Absent,
    Flag(bool),
    Empty,
    Number(CK_ULONG),
}

/// One attribute of some classes of object.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its type, `CKA_…`
    pub(crate) attribute: CK_ATTRIBUTE_TYPE,
    /// Its layout
    pub(crate) kind: Kind,
    classes: &'static [CK_OBJECT_CLASS],
    origins: &'static [Origin],
    initial: Initial,
}

impl Rule {
    /// Whether a template may state it for an object of this origin.
    pub(crate) fn may_be_stated(&self, origin: Origin) -> bool {
        self.origins.contains(&origin)
    }

    /// Whether no template may ever state it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.origins.is_empty()
    }

    /// Its value where nobody stated one.
    pub(crate) fn initial(&self) -> Option<Value> {
        match self.initial {
            Initial::Absent => None,
            Initial::Flag(flag) => Some(Value::Flag(flag)),
            Initial::Empty => Some(Value::bytes(&[])),
            Initial::Number(number) => Some(Value::Number(number)),
        }
    }
}

/// The rules for objects of one class; none for a class this module does not keep.
pub(crate) fn rules(class: CK_OBJECT_CLASS) -> impl Iterator<Item = &'static Rule> {
    RULES
        .iter()
        .filter(move |rule| rule.classes.contains(&class))
}

/// The rule of one attribute in objects of one class.
pub(crate) fn rule(class: CK_OBJECT_CLASS, attribute: CK_ATTRIBUTE_TYPE) -> Option<&'static Rule> {
    rules(class).find(|rule| rule.attribute == attribute)
}

const EVERY: &[CK_OBJECT_CLASS] = &[
    CKO_DATA,
    CKO_CERTIFICATE,
    CKO_PUBLIC_KEY,
    CKO_PRIVATE_KEY,
    CKO_SECRET_KEY,
];
const OPEN: &[CK_OBJECT_CLASS] = &[CKO_DATA, CKO_CERTIFICATE, CKO_PUBLIC_KEY];
const DATA: &[CK_OBJECT_CLASS] = &[CKO_DATA];
const CERTIFICATE: &[CK_OBJECT_CLASS] = &[CKO_CERTIFICATE];
const KEY: &[CK_OBJECT_CLASS] = &[CKO_PUBLIC_KEY, CKO_PRIVATE_KEY, CKO_SECRET_KEY];
const PAIR: &[CK_OBJECT_CLASS] = &[CKO_PUBLIC_KEY, CKO_PRIVATE_KEY];
const PUBLIC: &[CK_OBJECT_CLASS] = &[CKO_PUBLIC_KEY];
const PRIVATE: &[CK_OBJECT_CLASS] = &[CKO_PRIVATE_KEY];
const SECRET: &[CK_OBJECT_CLASS] = &[CKO_SECRET_KEY];
const HIDDEN: &[CK_OBJECT_CLASS] = &[CKO_PRIVATE_KEY, CKO_SECRET_KEY];
const DATED: &[CK_OBJECT_CLASS] = &[
    CKO_CERTIFICATE,
    CKO_PUBLIC_KEY,
    CKO_PRIVATE_KEY,
    CKO_SECRET_KEY,
];
const NAMED: &[CK_OBJECT_CLASS] = &[CKO_CERTIFICATE, CKO_PUBLIC_KEY, CKO_PRIVATE_KEY];
const TRUSTABLE: &[CK_OBJECT_CLASS] = &[CKO_CERTIFICATE, CKO_PUBLIC_KEY, CKO_SECRET_KEY];
const ENCRYPTING: &[CK_OBJECT_CLASS] = &[CKO_PUBLIC_KEY, CKO_SECRET_KEY];

const ALWAYS: &[Origin] = &[
    Origin::Created,
    Origin::Generated,
    Origin::Derived,
    Origin::Unwrapped,
];
const NEVER: &[Origin] = &[];
const CREATED: &[Origin] = &[Origin::Created];
const MADE: &[Origin] = &[Origin::Created, Origin::Generated];
const SIZED: &[Origin] = &[Origin::Generated, Origin::Derived, Origin::Unwrapped];

const fn row(
    attribute: CK_ATTRIBUTE_TYPE,
    kind: Kind,
    classes: &'static [CK_OBJECT_CLASS],
    origins: &'static [Origin],
    initial: Initial,
) -> Rule {
    Rule {
        attribute,
        kind,
        classes,
        origins,
        initial,
    }
}

const NO: Initial = Initial::Flag(false);
const YES: Initial = Initial::Flag(true);

/// Usage is opt-in except for signing, which is what a key without a stated use is for.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    row(CKA_CLASS, Kind::Number, EVERY, ALWAYS, Initial::Absent),
    row(CKA_TOKEN, Kind::Flag, EVERY, ALWAYS, NO),
    row(CKA_PRIVATE, Kind::Flag, OPEN, ALWAYS, NO),
    row(CKA_PRIVATE, Kind::Flag, HIDDEN, ALWAYS, YES),
    row(CKA_MODIFIABLE, Kind::Flag, EVERY, ALWAYS, YES),
    row(CKA_COPYABLE, Kind::Flag, EVERY, ALWAYS, YES),
    row(CKA_DESTROYABLE, Kind::Flag, EVERY, ALWAYS, YES),
    row(CKA_LABEL, Kind::Bytes, EVERY, ALWAYS, Initial::Empty),
    row(CKA_UNIQUE_ID, Kind::Bytes, EVERY, NEVER, Initial::Absent),

    row(CKA_APPLICATION, Kind::Bytes, DATA, CREATED, Initial::Empty),
    row(CKA_OBJECT_ID, Kind::Bytes, DATA, CREATED, Initial::Empty),
    row(CKA_VALUE, Kind::Bytes, DATA, CREATED, Initial::Empty),

    row(CKA_CERTIFICATE_TYPE, Kind::Number, CERTIFICATE, CREATED, Initial::Absent),
    row(CKA_CERTIFICATE_CATEGORY, Kind::Number, CERTIFICATE, CREATED, Initial::Number(0)),
    row(CKA_CHECK_VALUE, Kind::Bytes, CERTIFICATE, CREATED, Initial::Empty),
    row(CKA_ISSUER, Kind::Bytes, CERTIFICATE, CREATED, Initial::Empty),
    row(CKA_SERIAL_NUMBER, Kind::Bytes, CERTIFICATE, CREATED, Initial::Empty),
    row(CKA_VALUE, Kind::Bytes, CERTIFICATE, CREATED, Initial::Absent),
    row(CKA_TRUSTED, Kind::Flag, TRUSTABLE, MADE, NO),
    row(CKA_PUBLIC_KEY_INFO, Kind::Bytes, CERTIFICATE, CREATED, Initial::Empty),
    row(CKA_SUBJECT, Kind::Bytes, NAMED, ALWAYS, Initial::Empty),
    row(CKA_START_DATE, Kind::Bytes, DATED, ALWAYS, Initial::Empty),
    row(CKA_END_DATE, Kind::Bytes, DATED, ALWAYS, Initial::Empty),
    row(CKA_ID, Kind::Bytes, DATED, ALWAYS, Initial::Empty),

    row(CKA_KEY_TYPE, Kind::Number, KEY, ALWAYS, Initial::Absent),
    row(CKA_DERIVE, Kind::Flag, KEY, ALWAYS, NO),
    row(CKA_LOCAL, Kind::Flag, KEY, NEVER, NO),
    row(CKA_KEY_GEN_MECHANISM, Kind::Number, KEY, NEVER, Initial::Number(CK_UNAVAILABLE_INFORMATION)),
    row(CKA_ALLOWED_MECHANISMS, Kind::Numbers, KEY, ALWAYS, Initial::Absent),
    row(CKA_PUBLIC_KEY_INFO, Kind::Bytes, PAIR, NEVER, Initial::Absent),

    row(CKA_EC_PARAMS, Kind::Bytes, PUBLIC, MADE, Initial::Absent),
    row(CKA_EC_POINT, Kind::Bytes, PUBLIC, CREATED, Initial::Absent),
    row(CKA_ENCRYPT, Kind::Flag, ENCRYPTING, ALWAYS, NO),
    row(CKA_VERIFY, Kind::Flag, ENCRYPTING, ALWAYS, YES),
    row(CKA_VERIFY_RECOVER, Kind::Flag, PUBLIC, ALWAYS, NO),
    row(CKA_WRAP, Kind::Flag, ENCRYPTING, ALWAYS, NO),

    row(CKA_EC_PARAMS, Kind::Bytes, PRIVATE, CREATED, Initial::Absent),
    row(CKA_SIGN_RECOVER, Kind::Flag, PRIVATE, ALWAYS, NO),
    row(CKA_ALWAYS_AUTHENTICATE, Kind::Flag, PRIVATE, ALWAYS, NO),
    row(CKA_SENSITIVE, Kind::Flag, HIDDEN, ALWAYS, YES),
    row(CKA_EXTRACTABLE, Kind::Flag, HIDDEN, ALWAYS, NO),
    row(CKA_ALWAYS_SENSITIVE, Kind::Flag, HIDDEN, NEVER, NO),
    row(CKA_NEVER_EXTRACTABLE, Kind::Flag, HIDDEN, NEVER, NO),
    row(CKA_WRAP_WITH_TRUSTED, Kind::Flag, HIDDEN, ALWAYS, NO),
    row(CKA_DECRYPT, Kind::Flag, HIDDEN, ALWAYS, NO),
    row(CKA_SIGN, Kind::Flag, HIDDEN, ALWAYS, YES),
    row(CKA_UNWRAP, Kind::Flag, HIDDEN, ALWAYS, NO),
    row(CKA_VALUE, Kind::Bytes, HIDDEN, CREATED, Initial::Absent),
    row(CKA_VALUE_LEN, Kind::Number, SECRET, SIZED, Initial::Absent),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_has_two_rules_for_one_attribute() {
        for class in EVERY {
            let mut seen: Vec<_> = rules(*class).map(|rule| rule.attribute).collect();
            let all = seen.len();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), all, "class {class}");
        }
    }
}
