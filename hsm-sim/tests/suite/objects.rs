//! Objects: what they are, who sees them, what may change.

use cryptoki::error::RvError;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{
    Attribute, AttributeInfo, AttributeType, CertificateType, KeyType, ObjectClass,
};
use cryptoki::session::UserType;

use crate::harness::{P256, USER_PIN, key_pair, on_both, on_simulator, pin, refusal};

/// Who sees an object.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Private,
    Public,
}

fn data(label: &str, seen: Seen) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(seen == Seen::Private),
        Attribute::Label(label.into()),
        Attribute::Value(b"content".to_vec()),
    ]
}

on_both!(a_generated_pair_says_what_it_is, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[
                Attribute::Token(true),
                Attribute::EcParams(P256.to_vec()),
                Attribute::Id(vec![1, 2]),
                Attribute::Private(false),
            ],
            &[
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Id(vec![1, 2]),
            ],
        )
        .unwrap();
    let asked = [
        AttributeType::Class,
        AttributeType::KeyType,
        AttributeType::Id,
        AttributeType::Local,
        AttributeType::KeyGenMechanism,
        AttributeType::EcParams,
        AttributeType::Private,
    ];
    let same = [
        Attribute::KeyType(KeyType::EC),
        Attribute::Id(vec![1, 2]),
        Attribute::Local(true),
        Attribute::KeyGenMechanism(MechanismType::ECC_KEY_PAIR_GEN),
        Attribute::EcParams(P256.to_vec()),
    ];
    let known = session.get_attributes(public, &asked).unwrap();
    assert_eq!(known[0], Attribute::Class(ObjectClass::PUBLIC_KEY));
    assert_eq!(known[1..6], same);
    assert_eq!(known[6], Attribute::Private(false));
    let known = session.get_attributes(private, &asked).unwrap();
    assert_eq!(known[0], Attribute::Class(ObjectClass::PRIVATE_KEY));
    assert_eq!(known[1..6], same);
    assert_eq!(known[6], Attribute::Private(true));
    let guard = [
        AttributeType::Sensitive,
        AttributeType::AlwaysSensitive,
        AttributeType::Extractable,
        AttributeType::NeverExtractable,
    ];
    assert_eq!(
        session.get_attributes(private, &guard).unwrap(),
        [
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
        ]
    );
});

on_both!(each_attribute_is_answered_for_itself, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (_, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let asked = [
        AttributeType::Value,
        AttributeType::Modulus,
        AttributeType::Label,
    ];
    assert!(matches!(
        session
            .get_attribute_info(private, &asked)
            .unwrap()
            .as_slice(),
        [
            AttributeInfo::Sensitive,
            AttributeInfo::TypeInvalid,
            AttributeInfo::Available(1)
        ]
    ));
    assert_eq!(
        session.get_attributes(private, &asked).unwrap(),
        [Attribute::Label(b"p".to_vec())]
    );
});

on_simulator!(a_sensitive_value_cannot_be_searched_for, |hsm| {
    let (_context, session) = hsm.logged_in();
    let create = |sensitive| {
        session
            .create_object(&[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Sensitive(sensitive),
                Attribute::Extractable(true),
                Attribute::Value(b"guessable".to_vec()),
            ])
            .unwrap()
    };
    create(true);
    let open = create(false);
    let guess = [Attribute::Value(b"guessable".to_vec())];
    assert_eq!(session.find_objects(&guess).unwrap(), [open]);
});

on_both!(private_objects_are_seen_by_the_user_only, |hsm| {
    let (_context, session) = hsm.logged_in();
    session
        .create_object(&data("private", Seen::Private))
        .unwrap();
    session
        .create_object(&data("public", Seen::Public))
        .unwrap();
    assert_eq!(session.find_objects(&[]).unwrap().len(), 2);
    session.logout().unwrap();
    assert_eq!(session.find_objects(&[]).unwrap().len(), 1);
    assert_eq!(
        refusal(session.create_object(&data("private", Seen::Private))),
        RvError::UserNotLoggedIn
    );
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    assert_eq!(session.find_objects(&[]).unwrap().len(), 2);
});

on_both!(a_reading_session_changes_no_token_object, |hsm| {
    let (context, writing) = hsm.logged_in();
    let object = writing.create_object(&data("kept", Seen::Public)).unwrap();
    let slot = writing.get_session_info().unwrap().slot_id();
    let reading = context.open_ro_session(slot).unwrap();
    assert_eq!(
        refusal(reading.create_object(&data("another", Seen::Public))),
        RvError::SessionReadOnly
    );
    assert_eq!(
        refusal(reading.destroy_object(object)),
        RvError::SessionReadOnly
    );
    let relabel = [Attribute::Label("new".into())];
    assert_eq!(
        refusal(reading.update_attributes(object, &relabel)),
        RvError::SessionReadOnly
    );
    let passing: Vec<_> = data("passing", Seen::Public)
        .into_iter()
        .filter(|attribute| !matches!(attribute, Attribute::Token(_)))
        .collect();
    reading.create_object(&passing).unwrap();
});

on_both!(session_objects_die_with_their_session, |hsm| {
    let (context, session) = hsm.logged_in();
    let slot = session.get_session_info().unwrap().slot_id();
    let other = context.open_rw_session(slot).unwrap();
    let passing: Vec<_> = data("passing", Seen::Private)
        .into_iter()
        .filter(|attribute| !matches!(attribute, Attribute::Token(_)))
        .collect();
    let object = other.create_object(&passing).unwrap();
    assert_eq!(session.find_objects(&[]).unwrap(), [object]);
    other.close().unwrap();
    assert!(session.find_objects(&[]).unwrap().is_empty());
});

on_simulator!(edits_go_one_way, |hsm| {
    let (_context, session) = hsm.logged_in();
    let key = session
        .generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Token(true),
                Attribute::ValueLen(32.into()),
                Attribute::Sensitive(false),
                Attribute::Extractable(true),
            ],
        )
        .unwrap();
    let update = |attribute| session.update_attributes(key, &[attribute]);
    update(Attribute::Label("new".into())).unwrap();
    update(Attribute::Id(vec![9])).unwrap();
    update(Attribute::Sensitive(true)).unwrap();
    update(Attribute::Extractable(false)).unwrap();
    for back in [
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::Wrap(true),
        Attribute::Token(false),
        Attribute::NeverExtractable(true),
        Attribute::Class(ObjectClass::DATA),
    ] {
        assert_eq!(refusal(update(back)), RvError::AttributeReadOnly);
    }
    let asked = [
        AttributeType::Label,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
    ];
    assert_eq!(
        session.get_attributes(key, &asked).unwrap(),
        [
            Attribute::Label(b"new".to_vec()),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::AlwaysSensitive(false),
            Attribute::NeverExtractable(false),
        ]
    );
    // One refused attribute, and none of the template is taken.
    let mixed = [Attribute::Label("x".into()), Attribute::Sensitive(false)];
    assert_eq!(
        refusal(session.update_attributes(key, &mixed)),
        RvError::AttributeReadOnly
    );
    assert_eq!(
        session.get_attributes(key, &asked[..1]).unwrap(),
        [Attribute::Label(b"new".to_vec())]
    );
});

on_simulator!(fixed_objects_stay, |hsm| {
    let (_context, session) = hsm.logged_in();
    let mut template = data("fixed", Seen::Public);
    template.push(Attribute::Modifiable(false));
    template.push(Attribute::Destroyable(false));
    template.push(Attribute::Copyable(false));
    let object = session.create_object(&template).unwrap();
    let relabel = [Attribute::Label("new".into())];
    assert_eq!(
        refusal(session.update_attributes(object, &relabel)),
        RvError::ActionProhibited
    );
    assert_eq!(
        refusal(session.destroy_object(object)),
        RvError::ActionProhibited
    );
    assert_eq!(
        refusal(session.copy_object(object, &[])),
        RvError::ActionProhibited
    );
});

on_simulator!(copies_may_be_better_guarded_never_worse, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (_, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    assert_eq!(
        refusal(session.copy_object(private, &[Attribute::Extractable(true)])),
        RvError::AttributeReadOnly
    );
    let label = Attribute::Label("copy".into());
    let copy = session
        .copy_object(private, &[Attribute::Token(false), label])
        .unwrap();
    session.destroy_object(private).unwrap();
    session.sign(&Mechanism::Ecdsa, copy, &[1; 32]).unwrap();
    assert_eq!(
        refusal(session.destroy_object(private)),
        RvError::ObjectHandleInvalid
    );
});

on_simulator!(templates_are_held_against_the_schema, |hsm| {
    let (_context, session) = hsm.logged_in();
    let create = |template: &[Attribute]| refusal(session.create_object(template));
    assert_eq!(create(&[]), RvError::TemplateIncomplete);
    assert_eq!(
        create(&[Attribute::Class(ObjectClass::DATA), Attribute::Sign(true)]),
        RvError::AttributeTypeInvalid
    );
    let secret = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
    ];
    assert_eq!(create(&secret), RvError::TemplateIncomplete);
    let with = |more: Attribute| [&secret[..], &[more]].concat();
    assert_eq!(
        create(&with(Attribute::Value(vec![1; 31]))),
        RvError::AttributeValueInvalid
    );
    assert_eq!(
        create(&with(Attribute::Local(true))),
        RvError::AttributeReadOnly
    );
    assert_eq!(
        create(&with(Attribute::KeyType(KeyType::AES))),
        RvError::TemplateInconsistent
    );
    let trusted = [
        with(Attribute::Value(vec![1; 32])),
        vec![Attribute::Trusted(true)],
    ]
    .concat();
    assert_eq!(create(&trusted), RvError::AttributeReadOnly);
    assert!(session.find_objects(&[]).unwrap().is_empty());
});

on_simulator!(
    templates_of_generated_keys_are_held_against_the_schema,
    |hsm| {
        let (_context, session) = hsm.logged_in();
        let pair = |params: Vec<Attribute>| {
            refusal(session.generate_key_pair(&Mechanism::EccKeyPairGen, &params, &[]))
        };
        assert_eq!(pair(vec![]), RvError::TemplateIncomplete);
        let secp384r1 = vec![0x06, 5, 0x2b, 0x81, 4, 0, 0x22];
        assert_eq!(
            pair(vec![Attribute::EcParams(secp384r1)]),
            RvError::CurveNotSupported
        );
        assert_eq!(
            pair(vec![Attribute::EcParams(vec![1])]),
            RvError::DomainParamsInvalid
        );
        let wrong_type = Attribute::KeyType(KeyType::EC_EDWARDS);
        assert_eq!(
            pair(vec![Attribute::EcParams(P256.to_vec()), wrong_type]),
            RvError::TemplateInconsistent
        );
        let generate =
            |template: &[Attribute]| refusal(session.generate_key(&Mechanism::AesKeyGen, template));
        assert_eq!(generate(&[]), RvError::TemplateIncomplete);
        assert_eq!(
            generate(&[Attribute::ValueLen(17.into())]),
            RvError::KeySizeRange
        );
        assert_eq!(
            generate(&[Attribute::Value(vec![1; 16])]),
            RvError::TemplateInconsistent
        );
        assert!(session.find_objects(&[]).unwrap().is_empty());
    }
);

on_both!(certificates_and_public_keys_are_kept, |hsm| {
    let (context, session) = hsm.logged_in();
    let slot = session.get_session_info().unwrap().slot_id();
    session
        .create_object(&[
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Subject(vec![0x30, 0]),
            Attribute::Label("root".into()),
            Attribute::Value(vec![0x30, 1, 0]),
        ])
        .unwrap();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let point = crate::harness::bytes(&session, public, AttributeType::EcPoint);
    let copy = session
        .create_object(&[
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(P256.to_vec()),
            Attribute::EcPoint(point),
        ])
        .unwrap();
    let signature = session.sign(&Mechanism::Ecdsa, private, &[8; 32]).unwrap();
    session
        .verify(&Mechanism::Ecdsa, copy, &[8; 32], &signature)
        .unwrap();
    drop(session);
    let reading = context.open_ro_session(slot).unwrap();
    let certificate = [Attribute::Class(ObjectClass::CERTIFICATE)];
    let found = reading.find_objects(&certificate).unwrap();
    assert_eq!(
        crate::harness::bytes(&reading, found[0], AttributeType::Value),
        [0x30, 1, 0]
    );
});

on_simulator!(
    a_key_that_is_not_private_is_seen_but_not_used_before_login,
    |hsm| {
        let (_context, session) = hsm.logged_in();
        let template = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::ValueLen(32.into()),
            Attribute::Label("open".into()),
        ];
        session
            .generate_key(&Mechanism::GenericSecretKeyGen, &template)
            .unwrap();
        session.logout().unwrap();
        let key = crate::harness::only(&session, ObjectClass::SECRET_KEY, "open");
        assert_eq!(
            refusal(session.sign(&Mechanism::Sha256Hmac, key, b"x")),
            RvError::UserNotLoggedIn
        );
        session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
        session.sign(&Mechanism::Sha256Hmac, key, b"x").unwrap();
    }
);

on_simulator!(keys_survive_a_restart_and_lie_sealed_meanwhile, |hsm| {
    let (context, session) = hsm.logged_in();
    let canary = b"canary-canary-canary-canary-cana";
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::Label("canary".into()),
            Attribute::Value(canary.to_vec()),
        ])
        .unwrap();
    let (public, _) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let point = crate::harness::bytes(&session, public, AttributeType::EcPoint);
    let slot = session.get_session_info().unwrap().slot_id();
    drop(session);
    context.finalize().unwrap();
    for entry in std::fs::read_dir(hsm.tokens()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!content.windows(canary.len()).any(|part| part == canary));
        assert!(!content.windows(9).any(|part| part == USER_PIN.as_bytes()));
    }
    let context = hsm.load();
    let session = context.open_ro_session(slot).unwrap();
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    let private = crate::harness::only(&session, ObjectClass::PRIVATE_KEY, "p");
    let signature = session
        .sign(&Mechanism::EcdsaSha256, private, b"x")
        .unwrap();
    aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
        &point[2..],
    )
    .verify(b"x", &signature)
    .unwrap();
    let secret = crate::harness::only(&session, ObjectClass::SECRET_KEY, "canary");
    assert_eq!(
        crate::harness::bytes(&session, secret, AttributeType::Value),
        canary
    );
});
