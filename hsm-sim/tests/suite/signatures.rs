//! Signing, verifying, hashing.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519 as VERIFY_ED25519, UnparsedPublicKey};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};

use crate::harness::{
    ED25519, P256, USER_PIN, bytes, key_pair, on_both, on_simulator, only, pin, refusal,
};

const MESSAGE: &[u8] = b"Koseki";

fn pure() -> Mechanism<'static> {
    Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519))
}

fn sha256(message: &[u8]) -> Vec<u8> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
    digest.as_ref().to_vec()
}

on_both!(p256_signatures_verify_inside_and_outside, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let point = bytes(&session, public, AttributeType::EcPoint);
    assert_eq!(&point[..3], &[4, 65, 4]);
    let digest = sha256(MESSAGE);
    for _ in 0..20 {
        let signature = session.sign(&Mechanism::Ecdsa, private, &digest).unwrap();
        assert_eq!(signature.len(), 64);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point[2..])
            .verify(MESSAGE, &signature)
            .unwrap();
        session
            .verify(&Mechanism::Ecdsa, public, &digest, &signature)
            .unwrap();
        let mut other = signature.clone();
        other[40] ^= 1;
        assert_eq!(
            refusal(session.verify(&Mechanism::Ecdsa, public, &digest, &other)),
            RvError::SignatureInvalid
        );
        assert_eq!(
            refusal(session.verify(&Mechanism::Ecdsa, public, &digest, &signature[1..])),
            RvError::SignatureLenRange
        );
    }
});

on_simulator!(ecdsa_sha256_at_once_and_in_parts, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let at_once = session
        .sign(&Mechanism::EcdsaSha256, private, MESSAGE)
        .unwrap();
    session.sign_init(&Mechanism::EcdsaSha256, private).unwrap();
    session.sign_update(&MESSAGE[..2]).unwrap();
    session.sign_update(&MESSAGE[2..]).unwrap();
    let in_parts = session.sign_final().unwrap();
    let empty = session.sign(&Mechanism::EcdsaSha256, private, b"").unwrap();
    session
        .verify(&Mechanism::EcdsaSha256, public, b"", &empty)
        .unwrap();
    for signature in [at_once, in_parts] {
        let digest = sha256(MESSAGE);
        session
            .verify(&Mechanism::Ecdsa, public, &digest, &signature)
            .unwrap();
        session
            .verify(&Mechanism::EcdsaSha256, public, MESSAGE, &signature)
            .unwrap();
        session
            .verify_init(&Mechanism::EcdsaSha256, public)
            .unwrap();
        session.verify_update(MESSAGE).unwrap();
        session.verify_final(&signature).unwrap();
        session
            .verify_init(&Mechanism::EcdsaSha256, public)
            .unwrap();
        session.verify_update(b"another").unwrap();
        assert_eq!(
            refusal(session.verify_final(&signature)),
            RvError::SignatureInvalid
        );
    }
});

on_simulator!(digests_of_every_length_sign_as_numbers, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    for length in [1, 20, 28, 32, 48, 64] {
        let digest: Vec<u8> = (1..=length).collect();
        let signature = session.sign(&Mechanism::Ecdsa, private, &digest).unwrap();
        session
            .verify(&Mechanism::Ecdsa, public, &digest, &signature)
            .unwrap();
        // What P-256 sees of it: the leftmost 256 bits, or zeros before a shorter one.
        let seen = digest.iter().take(32).copied();
        let mut number = vec![0; 32_usize.saturating_sub(digest.len())];
        number.extend(seen);
        session
            .verify(&Mechanism::Ecdsa, public, &number, &signature)
            .unwrap();
    }
    assert_eq!(
        refusal(session.sign(&Mechanism::Ecdsa, private, &[1; 65])),
        RvError::DataLenRange
    );
});

on_both!(ed25519_signatures_verify_inside_and_outside, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccEdwardsKeyPairGen, ED25519, "e");
    let point = bytes(&session, public, AttributeType::EcPoint);
    assert_eq!(&point[..2], &[4, 32]);
    let signature = session.sign(&pure(), private, MESSAGE).unwrap();
    UnparsedPublicKey::new(&VERIFY_ED25519, &point[2..])
        .verify(MESSAGE, &signature)
        .unwrap();
    session
        .verify(&pure(), public, MESSAGE, &signature)
        .unwrap();
    assert_eq!(
        refusal(session.verify(&pure(), public, b"another", &signature)),
        RvError::SignatureInvalid
    );
});

fn hmac_key(session: &Session, value: &[u8]) -> cryptoki::object::ObjectHandle {
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Sign(true),
            Attribute::Verify(true),
            Attribute::Value(value.to_vec()),
        ])
        .unwrap()
}

on_both!(hmac_of_rfc_4231, |hsm| {
    let (_context, session) = hsm.logged_in();
    // RFC 4231 §4.7, test case 6: SoftHSM2 takes no key shorter than the hash.
    let key = hmac_key(&session, &[0xaa; 131]);
    let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
    let tag = session.sign(&Mechanism::Sha256Hmac, key, message).unwrap();
    assert_eq!(
        hex::encode(&tag),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
    session
        .verify(&Mechanism::Sha256Hmac, key, message, &tag)
        .unwrap();
    session.sign_init(&Mechanism::Sha256Hmac, key).unwrap();
    for part in message.chunks(7) {
        session.sign_update(part).unwrap();
    }
    assert_eq!(session.sign_final().unwrap(), tag);
    session.verify_init(&Mechanism::Sha256Hmac, key).unwrap();
    session.verify_update(message).unwrap();
    session.verify_final(&tag).unwrap();
    assert_eq!(
        refusal(session.verify(&Mechanism::Sha256Hmac, key, b"another", &tag)),
        RvError::SignatureInvalid
    );
});

on_both!(sha256_at_once_and_in_parts, |hsm| {
    let (_context, session) = hsm.logged_in();
    let expected = sha256(MESSAGE);
    assert_eq!(
        session.digest(&Mechanism::Sha256, MESSAGE).unwrap(),
        expected
    );
    session.digest_init(&Mechanism::Sha256).unwrap();
    session.digest_update(&MESSAGE[..3]).unwrap();
    session.digest_update(&MESSAGE[3..]).unwrap();
    assert_eq!(session.digest_final().unwrap(), expected);
});

on_both!(operations_exclude_their_own_kind, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (_, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    assert_eq!(
        refusal(session.sign_update(MESSAGE)),
        RvError::OperationNotInitialized
    );
    assert_eq!(
        refusal(session.verify_final(MESSAGE)),
        RvError::OperationNotInitialized
    );
    session.sign_init(&Mechanism::Ecdsa, private).unwrap();
    assert_eq!(
        refusal(session.sign_init(&Mechanism::Ecdsa, private)),
        RvError::OperationActive
    );
});

on_simulator!(keys_do_only_what_they_are_for, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let digest = sha256(MESSAGE);
    assert_eq!(
        refusal(session.sign(&Mechanism::Ecdsa, public, &digest)),
        RvError::KeyTypeInconsistent
    );
    assert_eq!(
        refusal(session.sign(&pure(), private, &digest)),
        RvError::KeyTypeInconsistent
    );
    assert_eq!(
        refusal(session.sign(&Mechanism::Sha256, private, &digest)),
        RvError::MechanismInvalid
    );
    let deriving_only = session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[Attribute::EcParams(P256.to_vec()), Attribute::Verify(false)],
            &[Attribute::Sign(false), Attribute::Derive(true)],
        )
        .unwrap();
    assert_eq!(
        refusal(session.sign(&Mechanism::Ecdsa, deriving_only.1, &digest)),
        RvError::KeyFunctionNotPermitted
    );
    assert_eq!(
        refusal(session.verify(&Mechanism::Ecdsa, deriving_only.0, &digest, &[1; 64])),
        RvError::KeyFunctionNotPermitted
    );
    let (_, only_whole) = session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[Attribute::EcParams(P256.to_vec())],
            &[Attribute::AllowedMechanisms(vec![
                cryptoki::mechanism::MechanismType::ECDSA_SHA256,
            ])],
        )
        .unwrap();
    session
        .sign(&Mechanism::EcdsaSha256, only_whole, MESSAGE)
        .unwrap();
    assert_eq!(
        refusal(session.sign(&Mechanism::Ecdsa, only_whole, &digest)),
        RvError::MechanismInvalid
    );
});

on_simulator!(a_logout_ends_operations_and_hides_keys, |hsm| {
    let (_context, session) = hsm.logged_in();
    let (_, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    session.sign_init(&Mechanism::EcdsaSha256, private).unwrap();
    session.sign_update(MESSAGE).unwrap();
    session.logout().unwrap();
    assert_eq!(
        refusal(session.sign_final()),
        RvError::OperationNotInitialized
    );
    assert_eq!(
        refusal(session.sign(&Mechanism::EcdsaSha256, private, MESSAGE)),
        RvError::KeyHandleInvalid
    );
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    let private = only(&session, ObjectClass::PRIVATE_KEY, "p");
    session
        .sign(&Mechanism::EcdsaSha256, private, MESSAGE)
        .unwrap();
});

on_simulator!(many_threads_sign_at_once, |hsm| {
    let (context, session) = hsm.logged_in();
    let (public, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let point = bytes(&session, public, AttributeType::EcPoint);
    let slot = session.get_session_info().unwrap().slot_id();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let (context, point) = (&context, &point);
            scope.spawn(move || {
                let session = context.open_rw_session(slot).unwrap();
                for round in 0..200_u8 {
                    let message = [thread, round];
                    let signature = session.sign(&Mechanism::EcdsaSha256, private, &message);
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point[2..])
                        .verify(&message, &signature.unwrap())
                        .unwrap();
                    if round % 50 == 0 {
                        let label = format!("{thread}-{round}");
                        key_pair(&session, &Mechanism::EccKeyPairGen, P256, &label);
                    }
                }
            });
        }
    });
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]);
    assert_eq!(keys.unwrap().len(), 1 + 8 * 4);
});
