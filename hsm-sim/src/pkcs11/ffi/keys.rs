//! PKCS#11 3.0 §5.15: making, wrapping and deriving keys.

use cryptoki_sys::*;

use super::memory::{Array, Place, input, template};
use super::parameters::mechanism;
use super::{border, session};
use crate::pkcs11::{derivation, generation, wrapping};

/// Generates a secret key.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GenerateKey(
    handle: CK_SESSION_HANDLE,
    how: *mut CK_MECHANISM,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    place: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let mechanism = unsafe { mechanism(how) }?;
        // SAFETY: the caller's, see the module.
        let template = unsafe { template(attributes, count) }?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        place.put(generation::generate_key(&session, &mechanism, &template)?);
        Ok(())
    })
}

/// Generates a key pair.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GenerateKeyPair(
    handle: CK_SESSION_HANDLE,
    how: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_place: *mut CK_OBJECT_HANDLE,
    private_place: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let mechanism = unsafe { mechanism(how) }?;
        // SAFETY: the caller's, see the module.
        let public = unsafe { template(public, public_count) }?;
        // SAFETY: the caller's, see the module.
        let private = unsafe { template(private, private_count) }?;
        // SAFETY: the caller's, see the module.
        let public_place = unsafe { Place::new(public_place) }?;
        // SAFETY: the caller's, see the module.
        let private_place = unsafe { Place::new(private_place) }?;
        let (public, private) =
            generation::generate_key_pair(&session, &mechanism, &public, &private)?;
        public_place.put(public);
        private_place.put(private);
        Ok(())
    })
}

/// Wraps a key.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_WrapKey(
    handle: CK_SESSION_HANDLE,
    how: *mut CK_MECHANISM,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let mechanism = unsafe { mechanism(how) }?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Array::new(wrapped, length) }?;
        let keys = (wrapping, key);
        place.answer(wrapping::wrap_key(
            &session,
            &mechanism,
            keys,
            place.room(),
        )?)
    })
}

/// Unwraps a key.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_UnwrapKey(
    handle: CK_SESSION_HANDLE,
    how: *mut CK_MECHANISM,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    length: CK_ULONG,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    place: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let mechanism = unsafe { mechanism(how) }?;
        // SAFETY: the caller's, see the module.
        let wrapped = unsafe { input(wrapped, length) }?;
        // SAFETY: the caller's, see the module.
        let template = unsafe { template(attributes, count) }?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        place.put(wrapping::unwrap_key(
            &session, &mechanism, unwrapping, wrapped, &template,
        )?);
        Ok(())
    })
}

/// Derives a key.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_DeriveKey(
    handle: CK_SESSION_HANDLE,
    how: *mut CK_MECHANISM,
    base: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    place: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    border(|| {
        let session = session(handle)?;
        // SAFETY: the caller's, see the module.
        let mechanism = unsafe { mechanism(how) }?;
        // SAFETY: the caller's, see the module.
        let template = unsafe { template(attributes, count) }?;
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        place.put(derivation::derive_key(
            &session, &mechanism, base, &template,
        )?);
        Ok(())
    })
}
