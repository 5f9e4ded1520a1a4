//! PKCS#11 3.0 §5.6: sessions, logins and PINs; and §5.16, random numbers.

use core::ffi::c_void;
use cryptoki_sys::*;

use super::memory::{Place, input};
use super::{border, module, session};
use crate::pkcs11::mechanism::random;
use crate::pkcs11::rv::{BROKEN, Result, Rv};
use crate::pkcs11::token::Role;

/// Opens a session. There are no callbacks to notify of: no operation surrenders.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: *mut c_void,
    _notify: CK_NOTIFY,
    place: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    border(|| {
        let module = module()?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        place.put(module.open_session(slot, flags)?);
        Ok(())
    })
}

/// Closes a session.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_CloseSession(handle: CK_SESSION_HANDLE) -> CK_RV {
    border(|| module()?.close_session(handle))
}

/// Closes every session with a token.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    border(|| module()?.close_all_sessions(slot))
}

/// Tells of a session.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetSessionInfo(
    handle: CK_SESSION_HANDLE,
    place: *mut CK_SESSION_INFO,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        let writable = if session.is_writable {
            CKF_RW_SESSION
        } else {
            0
        };
        place.put(CK_SESSION_INFO {
            slotID: session.slot,
            state: session.state()?,
            flags: CKF_SERIAL_SESSION | writable,
            ulDeviceError: 0,
        });
        Ok(())
    })
}

/// Ends operations of a session.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_SessionCancel(
    handle: CK_SESSION_HANDLE,
    flags: CK_FLAGS,
) -> CK_RV {
    border(|| session(handle)?.cancel(flags))
}

/// Logs in.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_Login(
    handle: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_length: CK_ULONG,
) -> CK_RV {
    border(|| {
        let module = module()?;
        let session = module.session(handle)?;
        // SAFETY: the caller's, see the module.
        let pin = unsafe { input(pin, pin_length) }?;
        module.login(&session, role(user)?, pin)
    })
}

/// Logs out.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_Logout(handle: CK_SESSION_HANDLE) -> CK_RV {
    border(|| {
        let module = module()?;
        let session = module.session(handle)?;
        module.logout(&session)
    })
}

/// Sets the user's PIN.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_InitPIN(
    handle: CK_SESSION_HANDLE,
    pin: *mut CK_UTF8CHAR,
    pin_length: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let pin = unsafe { input(pin, pin_length) }?;
        session.token.set_user_pin(pin)
    })
}

/// Changes the PIN of whoever is logged in; the user's where nobody is.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_SetPIN(
    handle: CK_SESSION_HANDLE,
    old: *mut CK_UTF8CHAR,
    old_length: CK_ULONG,
    new: *mut CK_UTF8CHAR,
    new_length: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let old = unsafe { input(old, old_length) }?;
        // SAFETY: the caller's, see the module.
        let new = unsafe { input(new, new_length) }?;
        if !session.is_writable {
            return Err(Rv(CKR_SESSION_READ_ONLY));
        }
        let role = session.token.login_role()?.unwrap_or(Role::User);
        session.token.change_pin(role, old, new)
    })
}

/// Takes a seed and does without: the operating system's generator wants none.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_SeedRandom(
    handle: CK_SESSION_HANDLE,
    seed: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    border(|| {
        session(handle)?;
        // SAFETY: the caller's, see the module.
        unsafe { input(seed, length) }?;
        Err(Rv(CKR_RANDOM_SEED_NOT_SUPPORTED))
    })
}

/// Gives random bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GenerateRandom(
    handle: CK_SESSION_HANDLE,
    start: *mut CK_BYTE,
    mut length: CK_ULONG,
) -> CK_RV {
    border(|| {
        session(handle)?;
        if start.is_null() {
            return Err(Rv(CKR_ARGUMENTS_BAD));
        }
        let mut bytes = vec![0; usize::try_from(length).or(Err(BROKEN))?];
        random::fill(&mut bytes)?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { super::memory::Array::new(start, &raw mut length) }?;
        place.deliver(&bytes)
    })
}

fn role(user: CK_USER_TYPE) -> Result<Role> {
    match user {
        CKU_SO => Ok(Role::SecurityOfficer),
        CKU_USER => Ok(Role::User),
        // No key here asks for the PIN at each use, so no operation ever waits for one.
        CKU_CONTEXT_SPECIFIC => Err(Rv(CKR_OPERATION_NOT_INITIALIZED)),
        _ => Err(Rv(CKR_USER_TYPE_INVALID)),
    }
}
