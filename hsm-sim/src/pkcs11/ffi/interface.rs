//! PKCS#11 3.0 §5.4.4 to §5.4.6: the lists of functions, of version 2.40 and of version 3.0.

use core::ffi::CStr;
use core::ptr;
use cryptoki_sys::*;

use super::border;
use super::general::*;
use super::keys::*;
use super::memory::{Array, Place};
use super::messages::*;
use super::objects::*;
use super::sessions::*;
use super::unsupported::*;
use crate::pkcs11::info::CRYPTOKI;
use crate::pkcs11::rv::{Result, Rv};

const VERSION_2_40: CK_VERSION = CK_VERSION {
    major: 2,
    minor: 40,
};
const NAME: &CStr = c"PKCS 11";

/// Names the functions of version 2.40, then any more, in one structure.
macro_rules! function_list {
    ($list:ident, $version:expr $(, $more:ident)*) => {
        function_list! { @ $list, $version,
            C_Initialize, C_Finalize, C_GetInfo, C_GetFunctionList, C_GetSlotList,
            C_GetSlotInfo, C_GetTokenInfo, C_GetMechanismList, C_GetMechanismInfo,
            C_InitToken, C_InitPIN, C_SetPIN, C_OpenSession, C_CloseSession,
            C_CloseAllSessions, C_GetSessionInfo, C_GetOperationState,
            C_SetOperationState, C_Login, C_Logout, C_CreateObject, C_CopyObject,
            C_DestroyObject, C_GetObjectSize, C_GetAttributeValue, C_SetAttributeValue,
            C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal, C_EncryptInit,
            C_Encrypt, C_EncryptUpdate, C_EncryptFinal, C_DecryptInit, C_Decrypt,
            C_DecryptUpdate, C_DecryptFinal, C_DigestInit, C_Digest, C_DigestUpdate,
            C_DigestKey, C_DigestFinal, C_SignInit, C_Sign, C_SignUpdate, C_SignFinal,
            C_SignRecoverInit, C_SignRecover, C_VerifyInit, C_Verify, C_VerifyUpdate,
            C_VerifyFinal, C_VerifyRecoverInit, C_VerifyRecover, C_DigestEncryptUpdate,
            C_DecryptDigestUpdate, C_SignEncryptUpdate, C_DecryptVerifyUpdate,
            C_GenerateKey, C_GenerateKeyPair, C_WrapKey, C_UnwrapKey, C_DeriveKey,
            C_SeedRandom, C_GenerateRandom, C_GetFunctionStatus, C_CancelFunction,
            C_WaitForSlotEvent
            $(, $more)*
        }
    };
    (@ $list:ident, $version:expr, $($name:ident),*) => {
        $list { version: $version, $($name: Some($name)),* }
    };
}

static FUNCTIONS_2_40: CK_FUNCTION_LIST = function_list!(CK_FUNCTION_LIST, VERSION_2_40);

#[rustfmt::skip]
static FUNCTIONS_3_0: CK_FUNCTION_LIST_3_0 = function_list!(CK_FUNCTION_LIST_3_0, CRYPTOKI,
            C_GetInterfaceList, C_GetInterface, C_LoginUser, C_SessionCancel,
            C_MessageEncryptInit, C_EncryptMessage, C_EncryptMessageBegin,
            C_EncryptMessageNext, C_MessageEncryptFinal, C_MessageDecryptInit,
            C_DecryptMessage, C_DecryptMessageBegin, C_DecryptMessageNext,
            C_MessageDecryptFinal, C_MessageSignInit, C_SignMessage, C_SignMessageBegin,
            C_SignMessageNext, C_MessageSignFinal, C_MessageVerifyInit, C_VerifyMessage,
            C_VerifyMessageBegin, C_VerifyMessageNext, C_MessageVerifyFinal
);

/// The interfaces, the default one first.
struct Interfaces([CK_INTERFACE; 2]);

// SAFETY: the pointers in it are to statics that nothing ever changes.
unsafe impl Sync for Interfaces {}

static INTERFACES: Interfaces = Interfaces([
    CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast_mut().cast(),
        pFunctionList: (&raw const FUNCTIONS_3_0).cast_mut().cast(),
        flags: 0,
    },
    CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast_mut().cast(),
        pFunctionList: (&raw const FUNCTIONS_2_40).cast_mut().cast(),
        flags: 0,
    },
]);

/// Gives the functions of version 2.40.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetFunctionList(place: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    border(|| {
        // SAFETY: the caller's, see the module.
        unsafe { Place::new(place) }?.put((&raw const FUNCTIONS_2_40).cast_mut());
        Ok(())
    })
}

/// Lists the interfaces.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetInterfaceList(
    interfaces: *mut CK_INTERFACE,
    count: *mut CK_ULONG,
) -> CK_RV {
    border(|| {
        // SAFETY: the caller's, see the module.
        let place = unsafe { Array::new(interfaces, count) }?;
        place.deliver(&INTERFACES.0)
    })
}

/// Gives the first interface of this name, version and flags; null for either asks for any.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    place: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    border(|| {
        // SAFETY: the caller's, see the module.
        let place = unsafe { Place::new(place) }?;
        // SAFETY: the caller's: null or a string that ends in NUL.
        let is_ours = name.is_null() || unsafe { CStr::from_ptr(name.cast()) } == NAME;
        // SAFETY: the caller's, see the module.
        let version = unsafe { version.as_ref() };
        if !is_ours || flags != 0 {
            return Err(Rv(CKR_FUNCTION_FAILED));
        }
        place.put(ptr::from_ref(interface(version)?).cast_mut());
        Ok(())
    })
}

fn interface(version: Option<&CK_VERSION>) -> Result<&'static CK_INTERFACE> {
    let [newest, oldest] = &INTERFACES.0;
    match version.map(|version| (version.major, version.minor)) {
        None | Some((3, 0)) => Ok(newest),
        Some((2, 40)) => Ok(oldest),
        // §5.4.6 has no other code for an interface that is not there.
        Some(_) => Err(Rv(CKR_FUNCTION_FAILED)),
    }
}
