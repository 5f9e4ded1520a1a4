//! Mechanisms with their parameters, from the C structures (PKCS#11 3.0 §2).

use cryptoki_sys::*;

use super::memory::{input, structure};
use crate::pkcs11::mechanism::ecdh::{EcdhParameters, Kdf};
use crate::pkcs11::mechanism::hkdf::{HkdfParameters, Salt, Steps};
use crate::pkcs11::mechanism::{Mechanism, lookup};
use crate::pkcs11::rv::{Result, Rv};

const INVALID: Rv = Rv(CKR_MECHANISM_PARAM_INVALID);

/// A mechanism and its parameters.
///
/// # Errors
/// `CKR_ARGUMENTS_BAD` for null, `CKR_MECHANISM_INVALID` for one that is not supported,
/// `CKR_MECHANISM_PARAM_INVALID` where the parameters are not its own.
///
/// # Safety
/// `start` is null or valid for reads, its parameter for reads of the length beside it, and what
/// that points to likewise.
pub(super) unsafe fn mechanism(start: *const CK_MECHANISM) -> Result<Mechanism> {
    // SAFETY: as for this function.
    let given = unsafe { structure(start) }?;
    lookup(given.mechanism)?;
    match given.mechanism {
        // SAFETY: as for this function.
        CKM_ECDH1_DERIVE => unsafe { ecdh(given) }.map(Mechanism::Ecdh1),
        // SAFETY: as for this function.
        CKM_HKDF_DERIVE => unsafe { hkdf(given) }.map(Mechanism::Hkdf),
        CKM_EDDSA => {
            // SAFETY: as for this function.
            unsafe { check_eddsa(given) }?;
            Ok(Mechanism::Plain(CKM_EDDSA))
        }
        plain if given.ulParameterLen == 0 => Ok(Mechanism::Plain(plain)),
        _ => Err(INVALID),
    }
}

/// The parameter structure, if it is there at its own size.
///
/// # Safety
/// As for [`mechanism`].
unsafe fn parameter<'a, T>(given: &CK_MECHANISM) -> Result<&'a T> {
    let start: *const T = given.pParameter.cast_const().cast();
    let length = usize::try_from(given.ulParameterLen).or(Err(INVALID))?;
    if start.is_null() || length != size_of::<T>() || !start.is_aligned() {
        return Err(INVALID);
    }
    // SAFETY: not null, aligned, of the right size; valid by this function's terms.
    unsafe { structure(start) }
}

/// A copy of the bytes that a parameter points to.
///
/// # Safety
/// `start` is null or valid for reads of `length` bytes.
unsafe fn copied(start: *const CK_BYTE, length: CK_ULONG) -> Result<Vec<u8>> {
    // SAFETY: as for this function.
    Ok(unsafe { input(start, length) }.or(Err(INVALID))?.to_vec())
}

/// # Safety
/// As for [`mechanism`].
unsafe fn ecdh(given: &CK_MECHANISM) -> Result<EcdhParameters> {
    // SAFETY: as for this function.
    let given: &CK_ECDH1_DERIVE_PARAMS = unsafe { parameter(given) }?;
    // SAFETY: as for this function.
    let shared = unsafe { copied(given.pSharedData, given.ulSharedDataLen) }?;
    let kdf = match given.kdf {
        CKD_NULL if shared.is_empty() => Kdf::Null,
        CKD_SHA256_KDF => Kdf::X963Sha256(shared),
        _ => return Err(INVALID),
    };
    // SAFETY: as for this function.
    let public_data = unsafe { copied(given.pPublicData, given.ulPublicDataLen) }?;
    Ok(EcdhParameters { kdf, public_data })
}

/// # Safety
/// As for [`mechanism`].
unsafe fn hkdf(given: &CK_MECHANISM) -> Result<HkdfParameters> {
    // SAFETY: as for this function.
    let given: &CK_HKDF_PARAMS = unsafe { parameter(given) }?;
    if given.prfHashMechanism != CKM_SHA256 {
        return Err(INVALID);
    }
    let steps = match (given.bExtract, given.bExpand) {
        (CK_TRUE, CK_FALSE) => Steps::Extract,
        (CK_FALSE, CK_TRUE) => Steps::Expand,
        (CK_TRUE, CK_TRUE) => Steps::Both,
        _ => return Err(INVALID),
    };
    let salt = match given.ulSaltType {
        _ if steps == Steps::Expand => Salt::Null,
        CKF_HKDF_SALT_NULL => Salt::Null,
        // SAFETY: as for this function.
        CKF_HKDF_SALT_DATA => Salt::Data(unsafe { copied(given.pSalt, given.ulSaltLen) }?),
        CKF_HKDF_SALT_KEY => Salt::Key(given.hSaltKey),
        _ => return Err(INVALID),
    };
    // SAFETY: as for this function.
    let info = unsafe { copied(given.pInfo, given.ulInfoLen) }?;
    Ok(HkdfParameters { steps, salt, info })
}

/// Only the pure Ed25519 of RFC 8032 is here: no context, no pre-hash.
///
/// # Safety
/// As for [`mechanism`].
unsafe fn check_eddsa(given: &CK_MECHANISM) -> Result<()> {
    if given.ulParameterLen == 0 {
        return Ok(());
    }
    // SAFETY: as for this function.
    let given: &CK_EDDSA_PARAMS = unsafe { parameter(given) }?;
    if given.phFlag == CK_FALSE && given.ulContextDataLen == 0 {
        Ok(())
    } else {
        Err(INVALID)
    }
}
