//! What a template from outside can and cannot make, held against any bytes: the body of a fuzz target.

use cryptoki_sys::*;

use super::attributes::{Attributes, Secret, Value};
use super::creation::created;
use super::edits::copied;
use super::schema::rule;
use super::template::Template;

/// Takes the place of a type: what follows is the template of a copy.
const COPY: [u8; 4] = [0xff; 4];

/// Reads a template (`type` u32 little-endian, `length` u8, value; again), makes an object of it as `C_CreateObject`
/// does, and copies that by the template behind the mark, as `C_CopyObject` does. True if there was an object.
///
/// # Panics
/// If an object has no class, an attribute that its class has not, or one with another layout; if a key counts as made here; or if a
/// copy is less guarded than its original.
#[must_use]
pub fn hold_template(input: &[u8]) -> bool {
    let Some((template, copy)) = templates(input) else {
        return false;
    };
    let Ok(original) = created(&template) else {
        return false;
    };
    hold_object(&original);
    for (attribute, raw) in template.iter() {
        let kept = original.value(attribute).map(Value::to_native);
        let is_point = attribute == CKA_EC_POINT;
        assert!(is_point || kept.is_some_and(|kept| kept.as_slice() == raw));
    }
    if let Ok(copy) = copied(&original, &copy) {
        hold_object(&copy);
        let lost = |flag| original.flag(flag) && !copy.flag(flag);
        let won = |flag| !original.flag(flag) && copy.flag(flag);
        assert!(![CKA_SENSITIVE, CKA_PRIVATE].into_iter().any(lost));
        let freedoms = [
            CKA_EXTRACTABLE,
            CKA_MODIFIABLE,
            CKA_COPYABLE,
            CKA_DESTROYABLE,
        ];
        assert!(!freedoms.into_iter().any(won));
        let key = [CKA_CLASS, CKA_KEY_TYPE, CKA_VALUE, CKA_EC_POINT];
        assert!(key.iter().all(|it| copy.value(*it) == original.value(*it)));
    }
    true
}

fn hold_object(object: &Attributes) {
    for (attribute, value) in object.iter() {
        let rule = object.class().and_then(|class| rule(class, attribute));
        let read = rule.map(|rule| Value::from_native(rule.kind, &value.to_native()));
        assert!(
            read.is_some_and(|read| read.as_ref() == Ok(value)),
            "{attribute:#x}"
        );
    }
    let history = [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE];
    assert!(!history.into_iter().any(|flag| object.flag(flag)));
}

fn templates(mut input: &[u8]) -> Option<(Template, Template)> {
    let (mut first, mut behind) = (Vec::new(), None);
    while let Some((attribute, rest)) = input.split_first_chunk::<4>() {
        if *attribute == COPY && behind.is_none() {
            (behind, input) = (Some(Vec::new()), rest);
            continue;
        }
        let (length, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked((*length).into())?;
        let entry = (
            u32::from_le_bytes(*attribute).into(),
            Secret::new(value.to_vec()),
        );
        behind.as_mut().unwrap_or(&mut first).push(entry);
        input = rest;
    }
    let is_whole = input.is_empty();
    is_whole.then(|| {
        (
            Template::new(first),
            Template::new(behind.unwrap_or_default()),
        )
    })
}
