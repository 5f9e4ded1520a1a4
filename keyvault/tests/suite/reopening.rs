//! Sessions, logins and the module itself taken away under our feet.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use keyvault::{Key, KeySpec, KeyUse, PinFault, Token, UserPin, VaultError};
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Verifier as _;

use crate::harness::{Hsm, LABEL, USER_PIN, on_every_module, pin};
use crate::keys::verifying_key;

const THREADS: u32 = 4;

fn token_with_key(hsm: &Hsm) -> (Token, Key) {
    let token = hsm.token();
    let key = token
        .generate(&KeySpec::new("ca", KeyUse::IssuingCa).unwrap())
        .unwrap();
    (token, key)
}

fn works(token: &Token, key: &Key) {
    let signature = Signature::from_slice(&key.sign_p256(b"still here").unwrap()).unwrap();
    verifying_key(key)
        .verify(b"still here", &signature)
        .unwrap();
    token.health().unwrap();
    assert_eq!(token.keys().unwrap().len(), 1);
}

on_every_module!(a_foreign_logout_is_mended, |hsm| {
    let (token, key) = token_with_key(hsm);
    hsm.foreign_session().logout().unwrap();
    works(&token, &key);
    hsm.foreign_session().logout().unwrap();
    token.health().unwrap();
    hsm.foreign_session().logout().unwrap();
    // Private objects are hidden now, which must not read as "no such key" or "label is free".
    assert_eq!(
        token.key("ca", KeyUse::IssuingCa).unwrap().public_key(),
        key.public_key()
    );
    hsm.foreign_session().logout().unwrap();
    let again = token
        .generate(&KeySpec::new("ca", KeyUse::IssuingCa).unwrap())
        .unwrap_err();
    assert!(matches!(again, VaultError::AlreadyExists { .. }), "{again}");
    hsm.foreign_session().logout().unwrap();
    assert_eq!(token.keys().unwrap().len(), 1);
});

on_every_module!(a_finalised_module_is_initialised_again, |hsm| {
    let (token, key) = token_with_key(hsm);
    hsm.behind_our_back().finalize().unwrap();
    works(&token, &key);
});

on_every_module!(a_restarted_module_has_forgotten_our_sessions, |hsm| {
    let (token, key) = token_with_key(hsm);
    hsm.behind_our_back().finalize().unwrap();
    let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    hsm.behind_our_back().initialize(arguments).unwrap();
    works(&token, &key);
});

on_every_module!(logouts_during_signing_are_mended, |hsm| {
    let (token, key) = token_with_key(hsm);
    let (signed, logouts, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let answers = (0..100).map(|_| key.sign_p256(b"message"));
                let (good, bad): (Vec<_>, Vec<_>) = answers.partition(Result::is_ok);
                signed.fetch_add(u32::try_from(good.len()).unwrap(), Ordering::Relaxed);
                outcomes.lock().unwrap().extend(bad);
                done.fetch_add(1, Ordering::Relaxed)
            });
        }
        scope.spawn(|| {
            while done.load(Ordering::Relaxed) < THREADS {
                let logged_out = hsm.foreign_session().logout().is_ok();
                logouts.fetch_add(u32::from(logged_out), Ordering::Relaxed);
                thread::yield_now();
            }
        });
    });
    let (signed, logouts) = (signed.into_inner(), logouts.into_inner());
    for refused in outcomes.into_inner().unwrap() {
        let error = refused.unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
    // A call is made twice at most, so a second logout may still hit it; it must then say "retry later" and recover.
    assert!(
        logouts > 0 && signed > 0,
        "{signed} signatures, {logouts} logouts"
    );
    works(&token, &key);
});

on_every_module!(a_changed_pin_is_offered_once_only, |hsm| {
    let (token, key) = token_with_key(hsm);
    hsm.foreign_session()
        .set_pin(
            &USER_PIN.to_owned().into(),
            &"changed-changed".to_owned().into(),
        )
        .unwrap();
    hsm.foreign_session().logout().unwrap();
    for _ in 0..20 {
        assert_eq!(
            key.sign_p256(b"message").unwrap_err(),
            VaultError::Pin(PinFault::Wrong)
        );
    }
    assert_eq!(hsm.module.tokens().unwrap()[0].user_pin, UserPin::Set);
    drop((token, key));
    hsm.module
        .open(LABEL, pin("changed-changed"))
        .unwrap()
        .key("ca", KeyUse::IssuingCa)
        .unwrap();
});
