//! Tokens and PINs.

use std::path::Path;

use keyvault::{Module, PinFault, UserPin, VaultError};

use crate::harness::{LABEL, SO_PIN, USER_PIN, on_every_module, pin};

on_every_module!(a_token_is_made_found_and_opened, |hsm| {
    assert!(hsm.module.tokens().unwrap().is_empty());
    let token = hsm.token();
    let [info] = hsm.module.tokens().unwrap().try_into().unwrap();
    assert_eq!((info.label.as_str(), info.user_pin), (LABEL, UserPin::Set));
    token.health().unwrap();
    let (mut first, mut second) = ([0; 32], [0; 32]);
    token.random(&mut first).unwrap();
    token.random(&mut second).unwrap();
    assert_ne!(first, second);
});

on_every_module!(several_tokens_live_side_by_side, |hsm| {
    hsm.token();
    hsm.module
        .init_token("log", &pin(SO_PIN), &pin("another-pin"))
        .unwrap();
    assert_eq!(hsm.module.tokens().unwrap().len(), 2);
    hsm.module
        .open("log", pin("another-pin"))
        .unwrap()
        .health()
        .unwrap();
    hsm.module
        .open(LABEL, pin(USER_PIN))
        .unwrap()
        .health()
        .unwrap();
});

on_every_module!(a_token_label_is_taken_once, |hsm| {
    hsm.token();
    let again = hsm.module.init_token(LABEL, &pin(SO_PIN), &pin(USER_PIN));
    assert_eq!(
        again,
        Err(VaultError::AlreadyExists {
            what: "token",
            label: LABEL.to_owned()
        })
    );
    for label in ["", " blank", &"x".repeat(33)] {
        let refused = hsm.module.init_token(label, &pin(SO_PIN), &pin(USER_PIN));
        assert!(
            matches!(refused, Err(VaultError::Request { .. })),
            "{label}"
        );
    }
});

on_every_module!(a_wrong_pin_is_refused_and_never_shown, |hsm| {
    hsm.module
        .init_token(LABEL, &pin(SO_PIN), &pin(USER_PIN))
        .unwrap();
    let refused = hsm.module.open(LABEL, pin("hunter2hunter2")).unwrap_err();
    assert_eq!(refused, VaultError::Pin(PinFault::Wrong));
    assert!(!format!("{refused} {refused:?} {}", refused.hint()).contains("hunter2"));
});

on_every_module!(a_wrong_pin_does_not_pass_while_the_token_is_open, |hsm| {
    let token = hsm.token();
    assert_eq!(
        hsm.module.open(LABEL, pin("wrong-wrong")).unwrap_err(),
        VaultError::Pin(PinFault::Wrong)
    );
    hsm.module
        .open(LABEL, pin(USER_PIN))
        .unwrap()
        .health()
        .unwrap();
    token.health().unwrap();
    assert!(!format!("{token:?}").contains(USER_PIN));
});

on_every_module!(the_last_handle_logs_out, |hsm| {
    drop(hsm.token());
    assert_eq!(
        hsm.module.open(LABEL, pin("wrong-wrong")).unwrap_err(),
        VaultError::Pin(PinFault::Wrong)
    );
    hsm.module.open(LABEL, pin(USER_PIN)).unwrap();
});

on_every_module!(a_missing_token_is_named, |hsm| {
    let missing = hsm.module.open("root", pin(USER_PIN)).unwrap_err();
    assert_eq!(
        missing,
        VaultError::NotFound {
            what: "token",
            label: "root".to_owned()
        }
    );
});

on_every_module!(a_half_made_token_is_completed, |hsm| {
    // The power went after C_InitToken and before C_InitPIN.
    let behind = hsm.behind_our_back();
    let slot = behind.get_all_slots().unwrap()[0];
    behind
        .init_token(slot, &SO_PIN.to_owned().into(), LABEL)
        .unwrap();
    assert_eq!(hsm.module.tokens().unwrap()[0].user_pin, UserPin::NotSet);
    hsm.module.open(LABEL, pin(USER_PIN)).unwrap_err();
    hsm.token().health().unwrap();
});

on_every_module!(a_module_is_initialised_once, |hsm| {
    hsm.token();
    let again = Module::load(&hsm.path).unwrap();
    assert_eq!(again.tokens().unwrap().len(), 1);
});

on_every_module!(what_is_no_module_is_not_loaded, |_hsm| {
    for path in [
        "/nonexistent.so",
        "/etc/passwd",
        "/lib/x86_64-linux-gnu/libm.so.6",
    ] {
        let refused = Module::load(Path::new(path)).unwrap_err();
        assert!(matches!(refused, VaultError::Module { .. }), "{refused}");
    }
});
