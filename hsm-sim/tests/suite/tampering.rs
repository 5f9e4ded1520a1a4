//! Damaged token files: found before use, never a panic, never another key.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use std::path::PathBuf;

use crate::harness::{Hsm, P256, SO_PIN, USER_PIN, key_pair, on_simulator, pin, refusal};

/// A token with one key pair; its file, and the library finalised.
fn prepared(hsm: &Hsm) -> (Slot, PathBuf, Vec<u8>) {
    let (context, session) = hsm.logged_in();
    key_pair(&session, &Mechanism::EccKeyPairGen, P256, "p");
    let slot = session.get_session_info().unwrap().slot_id();
    drop(session);
    context.finalize().unwrap();
    let file = hsm.tokens().join(format!("slot-{}.token", slot.id()));
    let content = std::fs::read(&file).unwrap();
    (slot, file, content)
}

/// Logs in and looks for the private key.
fn use_token(context: &Pkcs11, slot: Slot) -> Result<usize, Error> {
    let session = context.open_ro_session(slot)?;
    session.login(UserType::User, Some(&pin(USER_PIN)))?;
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])?;
    for key in &keys {
        session.sign(&Mechanism::Ecdsa, *key, &[1; 32])?;
    }
    Ok(keys.len())
}

fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(RvError::DeviceError | RvError::TokenNotRecognized, _)
    )
}

on_simulator!(every_flipped_bit_and_every_cut_is_found, |hsm| {
    let (slot, file, content) = prepared(hsm);
    let context = hsm.load();
    let refused = |altered: &[u8], what: &str| {
        std::fs::write(&file, altered).unwrap();
        let error = use_token(&context, slot).expect_err(what);
        assert!(is_damage(&error), "{what}: {error}");
    };
    let mut flips = 0;
    for place in 0..content.len() {
        let mut altered = content.clone();
        altered[place] ^= 1 << (place % 8);
        refused(&altered, &format!("bit in byte {place}"));
        flips += 1;
    }
    assert_eq!(flips, content.len());
    for length in (0..content.len()).step_by(13) {
        refused(&content[..length], &format!("cut to {length}"));
    }
    refused(&[&content[..], &[0]].concat(), "longer");
    std::fs::write(&file, &content).unwrap();
    assert_eq!(use_token(&context, slot).unwrap(), 1);
});

on_simulator!(a_forger_who_repairs_the_hash_is_found_at_login, |hsm| {
    let (slot, file, content) = prepared(hsm);
    let context = hsm.load();
    let end = content.len() - 32;
    // Behind magic, version and the two counters.
    let mut found = 0;
    for place in (14..end).step_by(3) {
        let mut altered = content[..end].to_vec();
        altered[place] ^= 0x10;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &altered);
        altered.extend_from_slice(hash.as_ref());
        std::fs::write(&file, &altered).unwrap();
        match use_token(&context, slot) {
            Err(error) if is_damage(&error) => found += 1,
            // In the user's PIN record it looks like another PIN.
            Err(Error::Pkcs11(RvError::PinIncorrect, _)) => found += 1,
            other => panic!("byte {place}: {other:?}"),
        }
    }
    assert!(found > 100);
});

on_simulator!(a_damaged_token_is_not_overwritten, |hsm| {
    let (slot, file, mut content) = prepared(hsm);
    content[40] ^= 1;
    std::fs::write(&file, &content).unwrap();
    let context = hsm.load();
    assert_eq!(
        context.get_all_slots().unwrap().len(),
        2,
        "other slots still work"
    );
    assert_eq!(refusal(context.get_token_info(slot)), RvError::DeviceError);
    assert_eq!(
        refusal(context.init_token(slot, &pin(SO_PIN), "new")),
        RvError::DeviceError
    );
    assert_eq!(std::fs::read(&file).unwrap(), content);
});
