//! Sessions, logins and the module itself taken away under our feet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use keyvault::{Key, KeySpec, KeyUse, PinFault, Token, VaultError};
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Verifier as _;

use crate::harness::{Hsm, LABEL, USER_PIN, on_every_module, pin};
use crate::keys::verifying_key;

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
    let done = AtomicBool::new(false);
    let (signed, logouts) = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..100)
                        .filter(|_| key.sign_p256(b"message").is_ok())
                        .count()
                })
            })
            .collect();
        let saboteur = scope.spawn(|| {
            let mut logouts = 0;
            while !done.load(Ordering::Relaxed) {
                logouts += u32::from(hsm.foreign_session().logout().is_ok());
                token.health().ok();
            }
            logouts
        });
        let signed: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        done.store(true, Ordering::Relaxed);
        (signed, saboteur.join().unwrap())
    });
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
    assert!(!hsm.module.tokens().unwrap()[0].user_pin_locked);
    drop((token, key));
    hsm.module
        .open(LABEL, pin("changed-changed"))
        .unwrap()
        .key("ca", KeyUse::IssuingCa)
        .unwrap();
});
