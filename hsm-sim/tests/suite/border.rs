//! The C interface itself: null pointers, short buffers, both function lists.

#![expect(unsafe_code, reason = "calls the C interface as C would")]

use cryptoki_sys::*;
use std::ptr::{null, null_mut};

use crate::harness::{Hsm, SO_PIN, on_simulator};

/// The functions of the loaded module.
fn functions(hsm: &Hsm) -> (Pkcs11, CK_FUNCTION_LIST_3_0) {
    // SAFETY: the module under test is a shared library without a constructor.
    let library = unsafe { Pkcs11::new(&hsm.module) }.unwrap();
    let mut interface: *mut CK_INTERFACE = null_mut();
    // SAFETY: null asks for the default interface; the place is ours.
    let outcome = unsafe { library.C_GetInterface(null_mut(), null_mut(), &raw mut interface, 0) };
    assert_eq!(outcome, CKR_OK);
    // SAFETY: the module answered with one of its statics.
    let interface = unsafe { *interface };
    let list: *const CK_FUNCTION_LIST_3_0 = interface.pFunctionList.cast();
    // SAFETY: the default interface is of version 3.0.
    (library, unsafe { *list })
}

/// Calls a function of the list; every pointer given to it is null or a place of ours.
macro_rules! call {
    ($list:expr, $name:ident $(, $argument:expr)*) => {{
        let function = $list.$name.unwrap();
        // SAFETY: null or a place of ours with the length beside it.
        unsafe { function($($argument),*) }
    }};
}

on_simulator!(interfaces_of_both_versions, |hsm| {
    let (library, list) = functions(hsm);
    assert_eq!((list.version.major, list.version.minor), (3, 0));
    let mut count = 0;
    // SAFETY: null asks for the count.
    let outcome = unsafe { library.C_GetInterfaceList(null_mut(), &raw mut count) };
    assert_eq!((outcome, count), (CKR_OK, 2));
    let mut older: *mut CK_FUNCTION_LIST = null_mut();
    // SAFETY: the place is ours.
    assert_eq!(unsafe { library.C_GetFunctionList(&raw mut older) }, CKR_OK);
    // SAFETY: the module answered with one of its statics.
    let older = unsafe { *older };
    assert_eq!((older.version.major, older.version.minor), (2, 40));
    for (major, minor, expected) in [(2, 40, CKR_OK), (3, 0, CKR_OK), (3, 2, CKR_FUNCTION_FAILED)] {
        let mut version = CK_VERSION { major, minor };
        let mut interface: *mut CK_INTERFACE = null_mut();
        let name = c"PKCS 11".as_ptr().cast_mut().cast();
        // SAFETY: the name ends in NUL, the other places are ours.
        let outcome =
            unsafe { library.C_GetInterface(name, &raw mut version, &raw mut interface, 0) };
        assert_eq!(outcome, expected);
    }
});

on_simulator!(nothing_works_before_initialise, |hsm| {
    let (_library, list) = functions(hsm);
    let mut count = 0;
    assert_eq!(
        call!(list, C_GetSlotList, 0, null_mut(), &raw mut count),
        CKR_CRYPTOKI_NOT_INITIALIZED
    );
    assert_eq!(
        call!(list, C_Finalize, null_mut()),
        CKR_CRYPTOKI_NOT_INITIALIZED
    );
    assert_eq!(call!(list, C_CloseSession, 1), CKR_CRYPTOKI_NOT_INITIALIZED);
    let mut reserved = CK_C_INITIALIZE_ARGS {
        pReserved: (&raw mut count).cast(),
        ..Default::default()
    };
    assert_eq!(
        call!(list, C_Initialize, (&raw mut reserved).cast()),
        CKR_ARGUMENTS_BAD
    );
    assert_eq!(call!(list, C_Initialize, null_mut()), CKR_OK);
    assert_eq!(
        call!(list, C_Initialize, null_mut()),
        CKR_CRYPTOKI_ALREADY_INITIALIZED
    );
    assert_eq!(call!(list, C_Finalize, null_mut()), CKR_OK);
    assert_eq!(call!(list, C_Initialize, null_mut()), CKR_OK);
});

/// A session on a new token, through the C interface.
fn session(list: &CK_FUNCTION_LIST_3_0) -> CK_SESSION_HANDLE {
    assert_eq!(call!(list, C_Initialize, null_mut()), CKR_OK);
    let mut so_pin = SO_PIN.as_bytes().to_vec();
    let length = CK_ULONG::try_from(so_pin.len()).unwrap();
    let mut label = [b' '; 32];
    assert_eq!(
        call!(
            list,
            C_InitToken,
            0,
            so_pin.as_mut_ptr(),
            length,
            label.as_mut_ptr()
        ),
        CKR_OK
    );
    let mut session = 0;
    let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    assert_eq!(
        call!(
            list,
            C_OpenSession,
            0,
            flags,
            null_mut(),
            None,
            &raw mut session
        ),
        CKR_OK
    );
    session
}

on_simulator!(null_pointers_are_bad_arguments, |hsm| {
    let (_library, list) = functions(hsm);
    let session = session(&list);
    let null_bytes = null_mut::<CK_BYTE>();
    let mut sha256 = mechanism(CKM_SHA256);
    let outcomes = [
        call!(list, C_GetInfo, null_mut()),
        call!(list, C_GetSlotList, 0, null_mut(), null_mut()),
        call!(list, C_GetSlotInfo, 0, null_mut()),
        call!(list, C_GetTokenInfo, 0, null_mut()),
        call!(list, C_GetMechanismList, 0, null_mut(), null_mut()),
        call!(list, C_GetMechanismInfo, 0, CKM_ECDSA, null_mut()),
        call!(list, C_InitToken, 1, null_bytes, 4, null_bytes),
        call!(
            list,
            C_OpenSession,
            0,
            CKF_SERIAL_SESSION,
            null_mut(),
            None,
            null_mut()
        ),
        call!(list, C_GetSessionInfo, session, null_mut()),
        call!(list, C_Login, session, CKU_USER, null_bytes, 4),
        call!(list, C_SetPIN, session, null_bytes, 4, null_bytes, 4),
        call!(list, C_CreateObject, session, null_mut(), 1, null_mut()),
        call!(list, C_FindObjectsInit, session, null_mut(), 1),
        call!(list, C_FindObjects, session, null_mut(), 1, null_mut()),
        call!(list, C_SignInit, session, null_mut(), 1),
        call!(list, C_DigestInit, session, null_mut()),
        call!(
            list,
            C_GenerateKey,
            session,
            null_mut(),
            null_mut(),
            0,
            null_mut()
        ),
        call!(list, C_GenerateRandom, session, null_bytes, 4),
        {
            assert_eq!(call!(list, C_DigestInit, session, &raw mut sha256), CKR_OK);
            call!(
                list,
                C_Digest,
                session,
                null_bytes,
                4,
                null_bytes,
                null_mut()
            )
        },
    ];
    for (place, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome, CKR_ARGUMENTS_BAD, "call {place}");
    }
    let mut parameter = [0_u8; 3];
    let mut wrong = CK_MECHANISM {
        mechanism: CKM_ECDH1_DERIVE,
        pParameter: parameter.as_mut_ptr().cast(),
        ulParameterLen: 3,
    };
    assert_eq!(
        call!(
            list,
            C_DeriveKey,
            session,
            &raw mut wrong,
            1,
            null_mut(),
            0,
            null_mut()
        ),
        CKR_MECHANISM_PARAM_INVALID
    );
    wrong.mechanism = CKM_SHA256;
    assert_eq!(
        call!(list, C_DigestInit, session, &raw mut wrong),
        CKR_MECHANISM_PARAM_INVALID
    );
    assert_eq!(null::<CK_BYTE>(), null_bytes.cast_const());
});

on_simulator!(lengths_are_told_and_short_buffers_refused, |hsm| {
    let (_library, list) = functions(hsm);
    let session = session(&list);
    let mut slots = [0; 2];
    let mut count = 1;
    assert_eq!(
        call!(list, C_GetSlotList, 0, slots.as_mut_ptr(), &raw mut count),
        CKR_BUFFER_TOO_SMALL
    );
    assert_eq!(count, 2);
    assert_eq!(
        call!(list, C_GetSlotList, 0, slots.as_mut_ptr(), &raw mut count),
        CKR_OK
    );
    assert_eq!(slots, [0, 1]);

    let mut sha256 = mechanism(CKM_SHA256);
    assert_eq!(call!(list, C_DigestInit, session, &raw mut sha256), CKR_OK);
    let mut hash = [0; 32];
    let mut length = 0;
    let hash_at = hash.as_mut_ptr();
    for (at, room, outcome) in [
        (null_mut(), 0, CKR_OK),
        (hash_at, 31, CKR_BUFFER_TOO_SMALL),
        (hash_at, 32, CKR_OK),
        (hash_at, 32, CKR_OPERATION_NOT_INITIALIZED),
    ] {
        length = room;
        let mut message = *b"abc";
        let asked = call!(
            list,
            C_Digest,
            session,
            message.as_mut_ptr(),
            3,
            at,
            &raw mut length
        );
        assert_eq!((asked, length), (outcome, 32));
    }
    assert!(hex::encode(hash).starts_with("ba7816bf"));
    assert_eq!(length, 32);
});

on_simulator!(the_rest_is_there_and_says_no, |hsm| {
    let (_library, list) = functions(hsm);
    let session = session(&list);
    let mut aes = mechanism(CKM_AES_KEY_GEN);
    for outcome in [
        call!(list, C_EncryptInit, session, &raw mut aes, 1),
        call!(list, C_DecryptFinal, session, null_mut(), null_mut()),
        call!(list, C_SignRecoverInit, session, &raw mut aes, 1),
        call!(list, C_GetOperationState, session, null_mut(), null_mut()),
        call!(list, C_DigestKey, session, 1),
        call!(list, C_WaitForSlotEvent, 0, null_mut(), null_mut()),
        call!(list, C_MessageSignFinal, session),
    ] {
        assert_eq!(outcome, CKR_FUNCTION_NOT_SUPPORTED);
    }
    assert_eq!(
        call!(list, C_CancelFunction, session),
        CKR_FUNCTION_NOT_PARALLEL
    );
    assert_eq!(call!(list, C_CloseSession, session), CKR_OK);
    assert_eq!(
        call!(list, C_CloseSession, session),
        CKR_SESSION_HANDLE_INVALID
    );
    let mut info = CK_SLOT_INFO::default();
    assert_eq!(
        call!(list, C_GetSlotInfo, 77, &raw mut info),
        CKR_SLOT_ID_INVALID
    );
    let mut handle = 0;
    assert_eq!(
        call!(
            list,
            C_OpenSession,
            0,
            CKF_RW_SESSION,
            null_mut(),
            None,
            &raw mut handle
        ),
        CKR_SESSION_PARALLEL_NOT_SUPPORTED
    );
});

fn mechanism(mechanism: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism,
        ..Default::default()
    }
}
