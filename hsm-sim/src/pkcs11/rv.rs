//! The return values of Cryptoki (PKCS#11 3.0 §5.1).

use cryptoki_sys::{CK_RV, CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY, CKR_GENERAL_ERROR};
use std::io;

/// A return value that is not `CKR_OK`, e.g. `Rv(CKR_PIN_INCORRECT)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rv(pub(crate) CK_RV);

/// What every safe function behind the C border answers with.
pub(crate) type Result<T> = core::result::Result<T, Rv>;

/// A poisoned lock or another broken promise of this library's own code.
pub(crate) const BROKEN: Rv = Rv(CKR_GENERAL_ERROR);

impl From<io::Error> for Rv {
    /// A full disk is the token's memory running out; any other failure is the device's.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull {
            Self(CKR_DEVICE_MEMORY)
        } else {
            Self(CKR_DEVICE_ERROR)
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for Rv {
    /// The cryptographic library refuses only what the callers have already checked.
    fn from(_error: aws_lc_rs::error::Unspecified) -> Self {
        BROKEN
    }
}
