//! ECDH and HKDF, held against p256 and RFC 5869.

use cryptoki::error::RvError;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::hkdf::{HkdfParams, HkdfSalt};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use p256::elliptic_curve::sec1::ToSec1Point as _;

use crate::harness::{P256, bytes, key_pair, on_both, on_simulator, refusal};

/// A session secret whose value may be read, of so many bytes.
fn readable(length: u64) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::ValueLen(length.into()),
    ]
}

fn secret(session: &Session, value: &[u8]) -> ObjectHandle {
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Derive(true),
            Attribute::Value(value.to_vec()),
        ])
        .unwrap()
}

fn value(session: &Session, key: ObjectHandle) -> Vec<u8> {
    bytes(session, key, AttributeType::Value)
}

/// A P-256 key pair outside of the module: the secret, and the uncompressed point.
fn outside(seed: u8) -> (p256::SecretKey, Vec<u8>) {
    let secret = p256::SecretKey::from_slice(&[seed; 32]).unwrap();
    let point = secret.public_key().to_sec1_point(false);
    (secret, point.as_bytes().to_vec())
}

on_both!(ecdh_is_what_p256_finds, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let ours = bytes(&session, public, AttributeType::EcPoint);
    let ours = p256::PublicKey::from_sec1_bytes(&ours[2..]).unwrap();
    for seed in 1..5 {
        let (secret, point) = outside(seed);
        let expected = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), ours.as_affine());
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &point));
        let key = session
            .derive_key(&mechanism, private, &readable(32))
            .unwrap();
        assert_eq!(value(&session, key), expected.raw_secret_bytes().as_slice());
    }
});

on_simulator!(ecdh_with_x963_and_with_der_point, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let ours = bytes(&session, public, AttributeType::EcPoint);
    let ours = p256::PublicKey::from_sec1_bytes(&ours[2..]).unwrap();
    let (secret, point) = outside(9);
    let z = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), ours.as_affine());
    let block = |counter: u8| {
        let input = [
            z.raw_secret_bytes().as_slice(),
            &[0, 0, 0, counter],
            b"info",
        ]
        .concat();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &input);
        digest.as_ref().to_vec()
    };
    let expected = [block(1), block(2)].concat();
    let der = [&[4, 65], point.as_slice()].concat();
    for form in [&point, &der] {
        let kdf = EcKdf::sha256(b"info");
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(kdf, form));
        let key = session
            .derive_key(&mechanism, private, &readable(50))
            .unwrap();
        assert_eq!(value(&session, key), expected[..50]);
    }
});

on_simulator!(ecdh_refuses_points_off_the_curve, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let (_, mut point) = outside(9);
    let derive = |key, point: &[u8], length| {
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), point));
        session.derive_key(&mechanism, key, &readable(length))
    };
    assert_eq!(
        refusal(derive(private, &point, 33)),
        RvError::TemplateInconsistent
    );
    assert_eq!(
        refusal(derive(public, &point, 32)),
        RvError::KeyTypeInconsistent
    );
    point[40] ^= 1;
    assert_eq!(
        refusal(derive(private, &point, 32)),
        RvError::MechanismParamInvalid
    );
    assert_eq!(
        refusal(derive(private, &[], 32)),
        RvError::MechanismParamInvalid
    );
});

on_simulator!(hkdf_of_rfc_5869, |hsm| {
    let (_context, session) = hsm.logged_in();
    let base = secret(&session, &[0x0b; 22]);
    let salt = hex::decode("000102030405060708090a0b0c").unwrap();
    let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
    let okm =
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
    let prk = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5";
    let derive = |base, salt, info, length: u64| {
        let parameters = HkdfParams::new(MechanismType::SHA256, salt, info);
        let key = session.derive_key(&Mechanism::HkdfDerive(parameters), base, &readable(length));
        hex::encode(value(&session, key.unwrap()))
    };
    let data = Some(HkdfSalt::Data(&salt));
    let key = Some(HkdfSalt::Key(secret(&session, &salt)));
    assert_eq!(derive(base, data, Some(&info), 42), okm);
    assert_eq!(derive(base, key, Some(&info), 42), okm);
    assert_eq!(derive(base, data, None, 32), prk);
    let extracted = secret(&session, &hex::decode(prk).unwrap());
    assert_eq!(derive(extracted, None, Some(&info), 42), okm);
    assert_eq!(
        derive(base, Some(HkdfSalt::Null), Some(&[]), 42),
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    );
});

on_simulator!(history_of_derived_keys, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (_, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let (_, point) = outside(9);
    let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &point));
    let guarded = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Wrap(true),
    ];
    let kek = session.derive_key(&mechanism, private, &guarded).unwrap();
    let history = [
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Local,
        AttributeType::ValueLen,
    ];
    assert_eq!(
        session.get_attributes(kek, &history).unwrap(),
        [
            Attribute::AlwaysSensitive(true),
            Attribute::NeverExtractable(true),
            Attribute::Local(false),
            Attribute::ValueLen(32.into()),
        ]
    );
    assert!(
        session
            .get_attributes(kek, &[AttributeType::Value])
            .unwrap()
            .is_empty()
    );
    let open = session
        .derive_key(&mechanism, private, &readable(16))
        .unwrap();
    assert_eq!(
        session.get_attributes(open, &history[..2]).unwrap(),
        [
            Attribute::AlwaysSensitive(false),
            Attribute::NeverExtractable(false)
        ]
    );
});
