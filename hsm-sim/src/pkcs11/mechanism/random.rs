//! Randomness: the operating system's generator, for keys, nonces and `C_GenerateRandom` alike.

use cryptoki_sys::CKR_DEVICE_ERROR;

use crate::pkcs11::rv::{Result, Rv};

/// Fills `bytes`.
///
/// # Errors
/// `CKR_DEVICE_ERROR` where the operating system gives none.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).or(Err(Rv(CKR_DEVICE_ERROR)))
}
