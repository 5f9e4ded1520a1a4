//! PKCS#11 3.0 §5.4 and §5.5: the library, its slots and tokens.

use core::ffi::c_void;
use cryptoki_sys::*;

use super::memory::{Array, Place, array, input, structure};
use super::{border, finalise, initialise, module};
use crate::pkcs11::info;
use crate::pkcs11::mechanism::{SUPPORTED, lookup};
use crate::pkcs11::rv::{Result, Rv};

/// Initialises the library for this process.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    border(|| {
        let arguments: *const CK_C_INITIALIZE_ARGS = arguments.cast_const().cast();
        if !arguments.is_null() {
            // SAFETY: the caller's, see the module.
            check_arguments(unsafe { structure(arguments) }?)?;
        }
        initialise()
    })
}

/// Ends the library's work for this process.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    border(|| {
        if !reserved.is_null() {
            return Err(Rv(CKR_ARGUMENTS_BAD));
        }
        finalise()
    })
}

/// Tells of the library.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetInfo(place: *mut CK_INFO) -> CK_RV {
    border(|| {
        module()?;
        // SAFETY: the caller's, see the module.
        unsafe { Place::new(place) }?.put(info::library());
        Ok(())
    })
}

/// Lists the slots.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetSlotList(
    with_token: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        let module = module()?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Array::new(slots, count) }?;
        place.deliver(&module.slots(with_token)?)
    })
}

/// Tells of a slot.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, place: *mut CK_SLOT_INFO) -> CK_RV {
    border(|| {
        let module = module()?;
        // SAFETY: the caller's, see the module.
        unsafe { Place::new(place) }?.put(info::slot(&module, slot)?);
        Ok(())
    })
}

/// Tells of the token in a slot.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetTokenInfo(
    slot: CK_SLOT_ID,
    place: *mut CK_TOKEN_INFO,
) -> CK_RV {
    border(|| {
        let module = module()?;
        // SAFETY: the caller's, see the module.
        unsafe { Place::new(place) }?.put(info::token(&module, slot)?);
        Ok(())
    })
}

/// Lists the mechanisms; every token has the same.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    mechanisms: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        module()?.token(slot)?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Array::new(mechanisms, count) }?;
        let all: Vec<_> = SUPPORTED.iter().map(|one| one.mechanism).collect();
        place.deliver(&all)
    })
}

/// Tells of a mechanism.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    place: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    border(|| {
        module()?.token(slot)?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        let support = lookup(mechanism)?;
        place.put(CK_MECHANISM_INFO {
            ulMinKeySize: support.sizes.0,
            ulMaxKeySize: support.sizes.1,
            flags: support.flags,
        });
        Ok(())
    })
}

/// Makes a token, or makes it anew.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_InitToken(
    slot: CK_SLOT_ID,
    pin: *mut CK_UTF8CHAR,
    pin_length: CK_ULONG,
    label: *mut CK_UTF8CHAR,
) -> CK_RV {
    border(|| {
        let module = module()?;
        // SAFETY: the caller's, see the module.
        let pin = unsafe { input(pin, pin_length) }?;
        // SAFETY: the caller's; the label is 32 bytes, blank-padded (§5.5.7).
        let label = unsafe { array(label, 32) }?;
        let label = label.try_into().or(Err(Rv(CKR_ARGUMENTS_BAD)))?;
        module.init_token(slot, pin, label)
    })
}

/// This library locks with the operating system's primitives only (§5.4.1).
fn check_arguments(arguments: &CK_C_INITIALIZE_ARGS) -> Result<()> {
    let callbacks = [
        arguments.CreateMutex.is_some(),
        arguments.DestroyMutex.is_some(),
        arguments.LockMutex.is_some(),
        arguments.UnlockMutex.is_some(),
    ];
    let has_any = callbacks.contains(&true);
    if !arguments.pReserved.is_null() || (has_any && callbacks.contains(&false)) {
        return Err(Rv(CKR_ARGUMENTS_BAD));
    }
    if has_any && arguments.flags & CKF_OS_LOCKING_OK == 0 {
        return Err(Rv(CKR_CANT_LOCK));
    }
    Ok(())
}
