//! PKCS#11 3.0 §5.7: objects.

use cryptoki_sys::*;

use super::memory::{Array, Place, template};
use super::{border, session};
use crate::pkcs11::object::Object;
use crate::pkcs11::rv::{BROKEN, Result, Rv};
use crate::pkcs11::{creation, edits, find};

/// Makes an object of what the caller brings.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_CreateObject(
    handle: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    place: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let template = unsafe { template(attributes, count) }?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        place.put(creation::create_object(&session, &template)?);
        Ok(())
    })
}

/// Copies an object.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_CopyObject(
    handle: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    place: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let template = unsafe { template(attributes, count) }?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        place.put(creation::copy_object(&session, object, &template)?);
        Ok(())
    })
}

/// Destroys an object.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_DestroyObject(
    handle: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| edits::destroy_object(&*session(handle)?, object))
}

/// Reads attributes. Each entry is answered for itself; if several cannot be, one of their
/// reasons is the function's (§5.7.5).
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetAttributeValue(
    handle: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    border(|| {
        let object = session(handle)?.object(object)?;
        if attributes.is_null() {
            return Err(Rv(CKR_ARGUMENTS_BAD));
        }
        let mut outcome = Ok(());
        for index in 0..usize::try_from(count).or(Err(Rv(CKR_ARGUMENTS_BAD)))? {
            // SAFETY: the caller's: there are `count` entries.
            let entry = unsafe { attributes.add(index) };
            // SAFETY: the caller's: the entry is valid and nobody else's during the call.
            let entry = unsafe { entry.as_mut() }.ok_or(BROKEN)?;
            let answered = answer(entry, &object);
            outcome = outcome.and(answered);
        }
        outcome
    })
}

/// Changes attributes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_SetAttributeValue(
    handle: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let template = unsafe { template(attributes, count) }?;
        edits::set_attributes(&session, object, &template)
    })
}

/// Begins a search.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_FindObjectsInit(
    handle: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let template = unsafe { template(attributes, count) }?;
        find::begin(&session, &template)
    })
}

/// Gives the next handles found.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_FindObjects(
    handle: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(count) }?;
        if objects.is_null() && most != 0 {
            return Err(Rv(CKR_ARGUMENTS_BAD));
        }
        let found = find::next(&session, usize::try_from(most).unwrap_or(usize::MAX))?;
        let mut room = most;
        // SAFETY: the caller's: `objects` has room for `most` handles, and `room` says so.
        unsafe { Array::new(objects, &raw mut room) }?.deliver(&found)?;
        place.put(room);
        Ok(())
    })
}

/// Ends a search.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_FindObjectsFinal(handle: CK_SESSION_HANDLE) -> CK_RV {
    border(|| find::end(&*session(handle)?))
}

/// Answers one entry, or marks it as unavailable.
fn answer(entry: &mut CK_ATTRIBUTE, object: &Object) -> Result<()> {
    let start: *mut CK_BYTE = entry.pValue.cast();
    // SAFETY: the length is the entry's own; the caller vouches that the value has as many bytes.
    let place = unsafe { Array::new(start, &raw mut entry.ulValueLen) }?;
    let answered = object
        .visible(entry.type_)
        .and_then(|value| place.deliver(&value));
    if answered.is_err() {
        entry.ulValueLen = CK_UNAVAILABLE_INFORMATION;
    }
    answered
}
