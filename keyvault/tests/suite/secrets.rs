//! Secrets derived in the token.

use cryptoki::object::{Attribute, ObjectClass};
use keyvault::VaultError;

use crate::harness::{LABEL, USER_PIN, on_every_module, pin};

on_every_module!(the_same_context_gives_the_same_secret_for_ever, |hsm| {
    let token = hsm.token();
    token.generate_secret("challenge").unwrap();
    let first = token.derive_secret("challenge", b"a").unwrap();
    assert_ne!(*first, *token.derive_secret("challenge", b"b").unwrap());
    drop(token);
    let token = hsm.module.open(LABEL, pin(USER_PIN)).unwrap();
    assert_eq!(*first, *token.derive_secret("challenge", b"a").unwrap());
    assert_eq!(
        token.generate_secret("challenge").unwrap_err(),
        VaultError::AlreadyExists {
            what: "key",
            label: "challenge".to_owned()
        }
    );
    assert!(matches!(
        token.derive_secret("other", b"a"),
        Err(VaultError::NotFound { .. })
    ));
});

on_every_module!(a_secret_that_could_leave_the_token_is_refused, |hsm| {
    let token = hsm.token();
    let session = hsm.foreign_session();
    let value = vec![7; 32];
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(cryptoki::object::KeyType::GENERIC_SECRET),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label("planted".into()),
            Attribute::Sign(true),
            Attribute::Value(value),
        ])
        .unwrap();
    let error = token.derive_secret("planted", b"a").unwrap_err();
    assert!(matches!(error, VaultError::Attribute { .. }), "{error}");
});
