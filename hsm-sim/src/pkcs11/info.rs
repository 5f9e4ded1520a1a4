//! What the library, its slots and its tokens say of themselves.

use cryptoki_sys::*;

use super::rv::Result;
use super::slots::Module;
use super::token::{PIN_LENGTHS, TRIES};

const MAKER: &str = "Koseki";
const PRODUCT: &str = "Simulated HSM";
const MODEL: &str = "hsm-sim";
/// The version of this library and of its tokens' simulated hardware.
const VERSION: CK_VERSION = CK_VERSION { major: 0, minor: 1 };
/// The newest version of Cryptoki that it speaks.
pub(crate) const CRYPTOKI: CK_VERSION = CK_VERSION { major: 3, minor: 0 };

/// `C_GetInfo`.
pub(crate) fn library() -> CK_INFO {
    CK_INFO {
        cryptokiVersion: CRYPTOKI,
        manufacturerID: padded(MAKER),
        flags: 0,
        libraryDescription: padded(PRODUCT),
        libraryVersion: VERSION,
    }
}

/// `C_GetSlotInfo`: every slot has a token in it for good, initialised or not.
///
/// # Errors
/// `CKR_SLOT_ID_INVALID`.
pub(crate) fn slot(module: &Module, slot: CK_SLOT_ID) -> Result<CK_SLOT_INFO> {
    module.token(slot)?;
    Ok(CK_SLOT_INFO {
        slotDescription: padded(&format!("{PRODUCT} slot {slot}")),
        manufacturerID: padded(MAKER),
        flags: CKF_TOKEN_PRESENT,
        hardwareVersion: VERSION,
        firmwareVersion: VERSION,
    })
}

/// `C_GetTokenInfo`.
///
/// # Errors
/// `CKR_SLOT_ID_INVALID`; `CKR_TOKEN_NOT_RECOGNIZED` or `CKR_DEVICE_ERROR` for a damaged token.
pub(crate) fn token(module: &Module, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO> {
    let token = module.token(slot)?;
    let mut info = CK_TOKEN_INFO {
        label: padded(""),
        manufacturerID: padded(MAKER),
        model: padded(MODEL),
        serialNumber: padded(""),
        flags: CKF_RNG | CKF_LOGIN_REQUIRED,
        ulMaxSessionCount: CK_EFFECTIVELY_INFINITE,
        ulMaxRwSessionCount: CK_EFFECTIVELY_INFINITE,
        ulMaxPinLen: CK_ULONG::try_from(*PIN_LENGTHS.end()).unwrap_or(CK_ULONG::MAX),
        ulMinPinLen: CK_ULONG::try_from(*PIN_LENGTHS.start()).unwrap_or(CK_ULONG::MAX),
        ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
        ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
        ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
        hardwareVersion: VERSION,
        firmwareVersion: VERSION,
        utcTime: padded(""),
        ulSessionCount: 0,
        ulRwSessionCount: 0,
    };
    if !token.is_initialised()? {
        return Ok(info);
    }
    token.refresh()?;
    let known = token.description()?;
    info.label = known.label;
    info.serialNumber = known.serial;
    info.flags |= CKF_TOKEN_INITIALIZED;
    if known.has_user_pin {
        info.flags |= CKF_USER_PIN_INITIALIZED;
    }
    let (so, user) = known.failures;
    info.flags |= pin_flags(
        so,
        [
            CKF_SO_PIN_COUNT_LOW,
            CKF_SO_PIN_FINAL_TRY,
            CKF_SO_PIN_LOCKED,
        ],
    );
    info.flags |= pin_flags(
        user,
        [
            CKF_USER_PIN_COUNT_LOW,
            CKF_USER_PIN_FINAL_TRY,
            CKF_USER_PIN_LOCKED,
        ],
    );
    let sessions = module.sessions_of(slot)?;
    let writable = sessions.iter().filter(|one| one.is_writable).count();
    info.ulSessionCount = CK_ULONG::try_from(sessions.len()).unwrap_or(CK_ULONG::MAX);
    info.ulRwSessionCount = CK_ULONG::try_from(writable).unwrap_or(CK_ULONG::MAX);
    Ok(info)
}

/// Flags after so many wrong PINs: the count is low, one try is left, the PIN is locked.
fn pin_flags(failures: u8, [low, final_try, locked]: [CK_FLAGS; 3]) -> CK_FLAGS {
    match failures {
        0 => 0,
        TRIES.. => low | locked,
        _ if failures.saturating_add(1) == TRIES => low | final_try,
        _ => low,
    }
}

/// Text as Cryptoki's structures hold it: blank-padded, not terminated.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_follow_the_failures() {
        let flags = [1, 2, 4];
        assert_eq!(pin_flags(0, flags), 0);
        assert_eq!(pin_flags(1, flags), 1);
        assert_eq!(pin_flags(TRIES - 1, flags), 1 | 2);
        assert_eq!(pin_flags(TRIES, flags), 1 | 4);
    }
}
