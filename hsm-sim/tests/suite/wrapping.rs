//! RFC 5649 around PKCS#8 and bare secrets.

use aes_kw::KeyInit as _;
use cryptoki::error::RvError;
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use p256::pkcs8::DecodePrivateKey as _;

use crate::harness::{ED25519, P256, bytes, on_both, on_simulator, refusal};

const KEK: [u8; 32] = [7; 32];

fn kek(session: &Session) -> ObjectHandle {
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Value(KEK.to_vec()),
        ])
        .unwrap()
}

fn leaving_pair(
    session: &Session,
    mechanism: &Mechanism<'_>,
    params: &[u8],
) -> (ObjectHandle, ObjectHandle) {
    session
        .generate_key_pair(
            mechanism,
            &[
                Attribute::EcParams(params.to_vec()),
                Attribute::Verify(true),
            ],
            &[
                Attribute::Sign(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(true),
            ],
        )
        .unwrap()
}

fn opened(wrapped: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; wrapped.len()];
    let cipher = aes_kw::KwpAes256::new_from_slice(&KEK).unwrap();
    cipher.unwrap_key(wrapped, &mut buffer).unwrap().to_vec()
}

fn vendor() -> Mechanism<'static> {
    let kind = MechanismType::new_vendor_defined(0x8000_210b).unwrap();
    Mechanism::VendorDefined(VendorDefinedMechanism::new::<()>(kind, None))
}

fn private_template(key_type: KeyType) -> [Attribute; 5] {
    [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Sensitive(true),
        Attribute::Sign(true),
    ]
}

on_both!(a_p256_key_leaves_and_comes_back, |hsm| {
    let (_context, session) = hsm.logged_in();
    let kek = kek(&session);
    let (public, private) = leaving_pair(&session, &Mechanism::EccKeyPairGen, P256);
    let wrapped = session
        .wrap_key(&Mechanism::AesKeyWrapPad, kek, private)
        .unwrap();
    let back = session
        .unwrap_key(
            &Mechanism::AesKeyWrapPad,
            kek,
            &wrapped,
            &private_template(KeyType::EC),
        )
        .unwrap();
    let signature = session.sign(&Mechanism::Ecdsa, back, &[5; 32]).unwrap();
    session
        .verify(&Mechanism::Ecdsa, public, &[5; 32], &signature)
        .unwrap();
});

on_simulator!(
    the_wrapped_p256_key_is_strict_pkcs8_of_the_same_key,
    |hsm| {
        let (_context, session) = hsm.logged_in();
        let kek = kek(&session);
        let (public, private) = leaving_pair(&session, &Mechanism::EccKeyPairGen, P256);
        let point = bytes(&session, public, AttributeType::EcPoint);
        for mechanism in [Mechanism::AesKeyWrapPad, vendor()] {
            let wrapped = session.wrap_key(&mechanism, kek, private).unwrap();
            let key = p256::SecretKey::from_pkcs8_der(&opened(&wrapped)).unwrap();
            assert_eq!(*key.public_key().to_sec1_bytes(), point[2..]);
        }
    }
);

on_simulator!(an_ed25519_key_leaves_and_comes_back, |hsm| {
    let (_context, session) = hsm.logged_in();
    let kek = kek(&session);
    let (public, private) = leaving_pair(&session, &Mechanism::EccEdwardsKeyPairGen, ED25519);
    let wrapped = session.wrap_key(&vendor(), kek, private).unwrap();
    aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&opened(&wrapped)).unwrap();
    let back = session
        .unwrap_key(
            &vendor(),
            kek,
            &wrapped,
            &private_template(KeyType::EC_EDWARDS),
        )
        .unwrap();
    let scheme = cryptoki::mechanism::eddsa::EddsaSignatureScheme::Ed25519;
    let pure = Mechanism::Eddsa(cryptoki::mechanism::eddsa::EddsaParams::new(scheme));
    let signature = session.sign(&pure, back, b"again").unwrap();
    session.verify(&pure, public, b"again", &signature).unwrap();
});

// SoftHSM2 2.6 pads a secret with zeros to blocks of eight before it wraps: they agree on whole
// blocks only.
on_both!(a_secret_of_whole_blocks_leaves_as_its_value, |hsm| {
    secret_leaves_and_comes_back(hsm, 40);
});

on_simulator!(a_secret_of_any_length_leaves_as_its_value, |hsm| {
    secret_leaves_and_comes_back(hsm, 45);
});

fn secret_leaves_and_comes_back(hsm: &crate::harness::Hsm, length: u8) {
    let (_context, session) = hsm.logged_in();
    let kek = kek(&session);
    let value: Vec<u8> = (0..length).collect();
    let secret = session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Extractable(true),
            Attribute::Value(value.clone()),
        ])
        .unwrap();
    let wrapped = session
        .wrap_key(&Mechanism::AesKeyWrapPad, kek, secret)
        .unwrap();
    assert_eq!(opened(&wrapped), value);
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let back = session
        .unwrap_key(&Mechanism::AesKeyWrapPad, kek, &wrapped, &template)
        .unwrap();
    assert_eq!(bytes(&session, back, AttributeType::Value), value);
    let history = [
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Local,
    ];
    assert_eq!(
        session.get_attributes(back, &history).unwrap(),
        [
            Attribute::AlwaysSensitive(false),
            Attribute::NeverExtractable(false),
            Attribute::Local(false),
        ]
    );
}

on_both!(a_key_that_may_not_leave_does_not, |hsm| {
    let (_context, session) = hsm.logged_in();
    let kek = kek(&session);
    let (_, private) = session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[Attribute::EcParams(P256.to_vec())],
            &[Attribute::Extractable(false)],
        )
        .unwrap();
    assert_eq!(
        refusal(session.wrap_key(&Mechanism::AesKeyWrapPad, kek, private)),
        RvError::KeyUnextractable
    );
});

on_simulator!(wrapping_needs_the_right_key_and_right, |hsm| {
    let (_context, session) = hsm.logged_in();
    let kek = kek(&session);
    let (public, private) = leaving_pair(&session, &Mechanism::EccKeyPairGen, P256);
    let wrap = |wrapping, key| session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, key);
    assert_eq!(refusal(wrap(kek, public)), RvError::KeyNotWrappable);
    assert_eq!(
        refusal(wrap(private, private)),
        RvError::WrappingKeyTypeInconsistent
    );
    let signing_only = session
        .generate_key(
            &Mechanism::AesKeyGen,
            &[Attribute::ValueLen(32.into()), Attribute::Extractable(true)],
        )
        .unwrap();
    assert_eq!(
        refusal(wrap(signing_only, private)),
        RvError::KeyFunctionNotPermitted
    );
    let (_, trusting) = session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[Attribute::EcParams(P256.to_vec())],
            &[
                Attribute::Extractable(true),
                Attribute::WrapWithTrusted(true),
            ],
        )
        .unwrap();
    assert_eq!(refusal(wrap(kek, trusting)), RvError::KeyNotWrappable);

    let mut wrapped = wrap(kek, private).unwrap();
    let unwrap = |wrapped: &[u8], template: &[Attribute]| {
        session.unwrap_key(&Mechanism::AesKeyWrapPad, kek, wrapped, template)
    };
    assert_eq!(
        refusal(unwrap(&wrapped, &private_template(KeyType::EC_EDWARDS))),
        RvError::WrappedKeyInvalid
    );
    assert_eq!(refusal(unwrap(&wrapped, &[])), RvError::TemplateIncomplete);
    assert_eq!(
        refusal(unwrap(&wrapped[..17], &private_template(KeyType::EC))),
        RvError::WrappedKeyLenRange
    );
    wrapped[9] ^= 4;
    assert_eq!(
        refusal(unwrap(&wrapped, &private_template(KeyType::EC))),
        RvError::WrappedKeyInvalid
    );
});
