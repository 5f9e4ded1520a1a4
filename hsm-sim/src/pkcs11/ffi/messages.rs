//! PKCS#11 3.0 §5.10 to §5.13: hashing, signing, verifying.

use cryptoki_sys::*;

use super::memory::{Array, input};
use super::parameters::mechanism;
use super::{border, session};
use crate::pkcs11::operations;

/// Begins hashing.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_DigestInit(
    handle: CK_SESSION_HANDLE,
    how: *mut CK_MECHANISM,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let mechanism = unsafe { mechanism(how) }?;
        operations::digest_init(&session, &mechanism)
    })
}

/// Hashes a message.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_Digest(
    handle: CK_SESSION_HANDLE,
    message: *mut CK_BYTE,
    message_length: CK_ULONG,
    output: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let message = unsafe { input(message, message_length) }?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Array::new(output, length) }?;
        place.answer(operations::digest_whole(&session, message, place.room())?)
    })
}

/// Hashes a part.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_DigestUpdate(
    handle: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        operations::digest_update(&session, unsafe { input(part, length) }?)
    })
}

/// Ends hashing.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_DigestFinal(
    handle: CK_SESSION_HANDLE,
    output: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Array::new(output, length) }?;
        place.answer(operations::digest_final(&session, place.room())?)
    })
}

/// Begins signing.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_SignInit(
    handle: CK_SESSION_HANDLE,
    how: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let mechanism = unsafe { mechanism(how) }?;
        operations::sign_init(&session, &mechanism, key)
    })
}

/// Signs a message.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_Sign(
    handle: CK_SESSION_HANDLE,
    message: *mut CK_BYTE,
    message_length: CK_ULONG,
    output: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let message = unsafe { input(message, message_length) }?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Array::new(output, length) }?;
        place.answer(operations::sign(&session, message, place.room())?)
    })
}

/// Takes a part to sign.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_SignUpdate(
    handle: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        operations::sign_update(&session, unsafe { input(part, length) }?)
    })
}

/// Signs the parts.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_SignFinal(
    handle: CK_SESSION_HANDLE,
    output: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Array::new(output, length) }?;
        place.answer(operations::sign_final(&session, place.room())?)
    })
}

/// Begins verifying.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_VerifyInit(
    handle: CK_SESSION_HANDLE,
    how: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let mechanism = unsafe { mechanism(how) }?;
        operations::verify_init(&session, &mechanism, key)
    })
}

/// Verifies the signature of a message.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_Verify(
    handle: CK_SESSION_HANDLE,
    message: *mut CK_BYTE,
    message_length: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_length: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let message = unsafe { input(message, message_length) }?;
        // SAFETY: the caller's, see the module.
        let signature = unsafe { input(signature, signature_length) }?;
        operations::verify(&session, message, signature)
    })
}

/// Takes a part to verify.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_VerifyUpdate(
    handle: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        operations::verify_update(&session, unsafe { input(part, length) }?)
    })
}

/// Verifies the signature of the parts.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_VerifyFinal(
    handle: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    length: CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        operations::verify_final(&session, unsafe { input(part, length) }?)
    })
}
