//! Keys: generated, found, checked, used, destroyed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use keyvault::{Algorithm, Key, KeySpec, KeyUse, PublicKey, VaultError, ecdsa_der};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{DerSignature, Signature, VerifyingKey};

use crate::harness::{Hsm, on_every_module};

const P256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22];

pub(crate) fn verifying_key(key: &Key) -> VerifyingKey {
    VerifyingKey::from_sec1_bytes(key.public_key().as_bytes()).unwrap()
}

fn spec(label: &str, usage: KeyUse) -> KeySpec {
    KeySpec::new(label, usage).unwrap()
}

on_every_module!(every_use_signs_with_its_algorithm, |hsm| {
    let token = hsm.token();
    for usage in KeyUse::ALL {
        let made = token.generate(&spec(usage.name(), usage)).unwrap();
        let key = token.key(usage.name(), usage).unwrap();
        assert_eq!(
            (key.public_key(), key.label(), key.usage()),
            (made.public_key(), usage.name(), usage)
        );
        match key.public_key() {
            PublicKey::P256(_) => {
                let raw = key.sign_p256(b"tbs").unwrap();
                verifying_key(&key)
                    .verify(b"tbs", &Signature::from_slice(&raw).unwrap())
                    .unwrap();
                let der = DerSignature::try_from(ecdsa_der(raw).unwrap().as_slice()).unwrap();
                verifying_key(&key).verify(b"tbs", &der).unwrap();
                assert!(matches!(
                    key.sign_ed25519(b"tbs"),
                    Err(VaultError::Request { .. })
                ));
            }
            PublicKey::Ed25519(public) => {
                let raw = key.sign_ed25519(b"checkpoint").unwrap();
                let public = ed25519_dalek::VerifyingKey::from_bytes(public).unwrap();
                public
                    .verify(b"checkpoint", &ed25519_dalek::Signature::from_bytes(&raw))
                    .unwrap();
                assert!(matches!(
                    key.sign_p256(b"tbs"),
                    Err(VaultError::Request { .. })
                ));
            }
        }
    }
});

on_every_module!(a_label_is_taken_once, |hsm| {
    let token = hsm.token();
    let key = token.generate(&spec("ca", KeyUse::IssuingCa)).unwrap();
    let again = token.generate(&spec("ca", KeyUse::Log)).unwrap_err();
    assert_eq!(
        again,
        VaultError::AlreadyExists {
            what: "key",
            label: "ca".to_owned()
        }
    );
    assert_eq!(
        token.key("ca", KeyUse::IssuingCa).unwrap().public_key(),
        key.public_key()
    );
});

on_every_module!(the_inventory_shows_what_is_there, |hsm| {
    let token = hsm.token();
    assert!(token.keys().unwrap().is_empty());
    let ca = token.generate(&spec("ca", KeyUse::IssuingCa)).unwrap();
    token.generate(&spec("log", KeyUse::Log)).unwrap();
    foreign_key(hsm, "stranger", &[7], P256, &[]);
    let keys = token.keys().unwrap();
    let seen: Vec<_> = keys
        .iter()
        .map(|key| (key.label.as_str(), key.usage))
        .collect();
    assert_eq!(
        seen,
        [
            ("ca", Some(KeyUse::IssuingCa)),
            ("log", Some(KeyUse::Log)),
            ("stranger", None)
        ]
    );
    assert_eq!(keys[0].public_key.as_ref(), Some(ca.public_key()));
    assert_eq!(keys[0].spki_sha256(), Some(ca.public_key().spki_sha256()));
    assert_eq!(keys[1].public_key.unwrap().algorithm(), Algorithm::Ed25519);
    let value = |index: usize, name| {
        keys[index]
            .attributes
            .iter()
            .find(|it| it.name == name)
            .unwrap()
            .value
    };
    assert_eq!(value(0, "CKA_EXTRACTABLE"), Some(false));
    assert_eq!(value(0, "CKA_NEVER_EXTRACTABLE"), Some(true));
});

on_every_module!(a_destroyed_key_is_gone_for_every_holder, |hsm| {
    let token = hsm.token();
    let key = token.generate(&spec("ca", KeyUse::IssuingCa)).unwrap();
    key.sign_p256(b"before").unwrap();
    token.destroy("ca").unwrap();
    let missing = |what| VaultError::NotFound {
        what,
        label: "ca".to_owned(),
    };
    assert_eq!(key.sign_p256(b"after").unwrap_err(), missing("private key"));
    assert_eq!(
        token.key("ca", KeyUse::IssuingCa).unwrap_err(),
        missing("private key")
    );
    assert_eq!(token.destroy("ca").unwrap_err(), missing("key"));
    token.generate(&spec("ca", KeyUse::IssuingCa)).unwrap();
    let other = key.sign_p256(b"after").unwrap_err();
    assert!(
        matches!(
            other,
            VaultError::Attribute {
                attribute: "CKA_EC_POINT",
                ..
            }
        ),
        "{other}"
    );
});

on_every_module!(a_key_of_another_use_is_refused, |hsm| {
    let token = hsm.token();
    token
        .generate(&spec("station", KeyUse::StationTls))
        .unwrap();
    assert_eq!(refused(&token, "station", KeyUse::StationRequest), "CKA_ID");
    assert_eq!(refused(&token, "station", KeyUse::Log), "CKA_KEY_TYPE");
});

on_every_module!(a_key_with_wrong_attributes_is_refused, |hsm| {
    let token = hsm.token();
    let id = |label: &str| KeyUse::IssuingCa.object_id(label);
    for (label, curve, wrong, attribute) in [
        (
            "extractable",
            P256,
            Attribute::Extractable(true),
            "CKA_EXTRACTABLE",
        ),
        (
            "insensitive",
            P256,
            Attribute::Sensitive(false),
            "CKA_SENSITIVE",
        ),
        ("deriving", P256, Attribute::Derive(true), "CKA_DERIVE"),
        ("unwrapping", P256, Attribute::Unwrap(true), "CKA_UNWRAP"),
        ("mute", P256, Attribute::Sign(false), "CKA_SIGN"),
        ("wrong curve", P384, Attribute::Sign(true), "CKA_EC_PARAMS"),
    ] {
        // Modules that know one curve only make no key of another, which is as good.
        let made = foreign_key(hsm, label, &id(label), curve, &[wrong]);
        assert!(made || (curve == P384 && !hsm.is_softhsm()), "{label}");
        assert!(
            !made || refused(&token, label, KeyUse::IssuingCa) == attribute,
            "{label}"
        );
    }
    assert!(foreign_key(hsm, "nobody's", &[1, 2, 3], P256, &[]));
    assert_eq!(refused(&token, "nobody's", KeyUse::IssuingCa), "CKA_ID");
    for _ in 0..2 {
        foreign_key(hsm, "twice", &id("twice"), P256, &[]);
    }
    assert_eq!(refused(&token, "twice", KeyUse::IssuingCa), "CKA_LABEL");
});

on_every_module!(an_imported_key_is_refused, |hsm| {
    let token = hsm.token();
    let id = Attribute::Id(KeyUse::IssuingCa.object_id("imported").into());
    let session = hsm.foreign_session();
    let secret = p256::SecretKey::from_slice(&[0x42; 32]).unwrap();
    let point = [&[4, 65][..], secret.public_key().to_sec1_bytes().as_ref()].concat();
    let common = [
        Attribute::Token(true),
        Attribute::KeyType(cryptoki::object::KeyType::EC),
        Attribute::Label(b"imported".to_vec()),
        id,
        Attribute::EcParams(P256.to_vec()),
    ];
    let mut public = common.to_vec();
    public.extend([
        Attribute::Class(cryptoki::object::ObjectClass::PUBLIC_KEY),
        Attribute::EcPoint(point),
    ]);
    let mut private = common.to_vec();
    private.extend([
        Attribute::Class(cryptoki::object::ObjectClass::PRIVATE_KEY),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Value(vec![0x42; 32]),
    ]);
    session.create_object(&public).unwrap();
    if let Err(error) = session.create_object(&private) {
        assert!(!hsm.is_softhsm(), "{error}"); // a module may refuse to import at all
        return;
    }
    assert_eq!(
        refused(&token, "imported", KeyUse::IssuingCa),
        "CKA_ALWAYS_SENSITIVE"
    );
});

on_every_module!(eight_threads_sign_at_once, |hsm| {
    let token = hsm.token();
    let key = token.generate(&spec("ca", KeyUse::IssuingCa)).unwrap();
    let count = AtomicU32::new(0);
    let signed = &|thread: u32| {
        let verifying = verifying_key(&key);
        for round in 0..200_u32 {
            let message = [thread.to_be_bytes(), round.to_be_bytes()].concat();
            let signature = Signature::from_slice(&key.sign_p256(&message).unwrap()).unwrap();
            verifying.verify(&message, &signature).unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || signed(thread));
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), 1600);
});

on_every_module!(more_threads_than_sessions_wait_their_turn, |hsm| {
    let token = hsm.token();
    let key = token.generate(&spec("ca", KeyUse::IssuingCa)).unwrap();
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert!((0..10).all(|_| key.sign_p256(b"message").is_ok())));
        }
    });
});

/// The attribute for which the key is refused.
fn refused(token: &keyvault::Token, label: &str, usage: KeyUse) -> &'static str {
    let error = token.key(label, usage).unwrap_err();
    let VaultError::Attribute { attribute, .. } = error else {
        panic!("{label}: {error}")
    };
    attribute
}

/// A key pair made by somebody else: as ours, but for `id`, curve and the `wrong` attributes. Whether it was made.
fn foreign_key(hsm: &Hsm, label: &str, id: &[u8], curve: &[u8], wrong: &[Attribute]) -> bool {
    let name = [
        Attribute::Token(true),
        Attribute::Label(label.into()),
        Attribute::Id(id.to_vec()),
    ];
    let mut public = name.to_vec();
    public.extend([
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curve.to_vec()),
    ]);
    let mut private = name.to_vec();
    private.push(Attribute::Private(true));
    let right = [
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Derive(false),
        Attribute::Unwrap(false),
        Attribute::Decrypt(false),
        Attribute::SignRecover(false),
    ];
    let overridden = |it: &Attribute| {
        wrong
            .iter()
            .any(|wrong| wrong.attribute_type() == it.attribute_type())
    };
    private.extend(right.into_iter().filter(|it| !overridden(it)));
    private.extend_from_slice(wrong);
    hsm.foreign_session()
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .is_ok()
}
