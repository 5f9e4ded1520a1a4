//! A chip receives its fixed key. The chip's side is written with other cryptography.

use aes_kw::{KeyInit as _, KwpAes256};
use cryptoki::object::{Attribute, ObjectClass};
use hkdf::Hkdf;
use keyvault::injection::pkcs8_scalar;
use keyvault::{Injection, KekDerivation, VaultError};
use p256::{PublicKey, SecretKey};
use sha2::Sha256;

use crate::harness::{Hsm, on_every_module};

const UID: &[u8] = b"chip uid 0001";

/// The chip's transport key.
fn chip() -> (SecretKey, [u8; 65]) {
    let secret = SecretKey::from_slice(&[0x5A; 32]).unwrap();
    let point = secret
        .public_key()
        .to_sec1_bytes()
        .as_ref()
        .try_into()
        .unwrap();
    (secret, point)
}

fn info(transport: &[u8; 65], ephemeral: &[u8; 65]) -> Vec<u8> {
    [&transport[..], ephemeral, UID].concat()
}

/// What the chip makes of an injection: the PKCS#8 it unwraps.
fn unwrap(chip: &SecretKey, injection: &Injection, info: &[u8]) -> Option<Vec<u8>> {
    let theirs = PublicKey::from_sec1_bytes(&injection.ephemeral_public).unwrap();
    let agreed = p256::ecdh::diffie_hellman(chip.to_nonzero_scalar(), theirs.as_affine());
    let mut kek: [u8; 32] = agreed.raw_secret_bytes().as_slice().try_into().unwrap();
    if injection.derivation == KekDerivation::Hkdf {
        Hkdf::<Sha256>::new(None, &kek.clone())
            .expand(info, &mut kek)
            .unwrap();
    }
    let mut pkcs8 = vec![0; injection.wrapped.len()];
    let kwp = KwpAes256::new(&kek.into());
    Some(
        kwp.unwrap_key(&injection.wrapped, &mut pkcs8)
            .ok()?
            .to_vec(),
    )
}

fn secrets_in_module(hsm: &Hsm) -> usize {
    let session = hsm.foreign_session();
    [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY]
        .into_iter()
        .map(|class| {
            session
                .find_objects(&[Attribute::Class(class)])
                .unwrap()
                .len()
        })
        .sum()
}

on_every_module!(the_chip_unwraps_the_very_key, |hsm| {
    let token = hsm.token();
    let (secret, point) = chip();
    let injection = token
        .inject(&point, |ephemeral| info(&point, ephemeral))
        .unwrap();
    let expected = if hsm.is_softhsm() {
        KekDerivation::RawX
    } else {
        KekDerivation::Hkdf
    };
    assert_eq!(injection.derivation, expected);
    let pkcs8 = unwrap(
        &secret,
        &injection,
        &info(&point, &injection.ephemeral_public),
    )
    .unwrap();
    let fixed = SecretKey::from_slice(pkcs8_scalar(&pkcs8).unwrap().as_slice()).unwrap();
    assert_eq!(
        fixed.public_key().to_sec1_bytes().as_ref(),
        injection.fixed_public
    );
    injection.pending.destroy().unwrap();
});

on_every_module!(every_injection_is_another_key, |hsm| {
    let token = hsm.token();
    let (secret, point) = chip();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let injection = token
            .inject(&point, |ephemeral| info(&point, ephemeral))
            .unwrap();
        let pkcs8 = unwrap(
            &secret,
            &injection,
            &info(&point, &injection.ephemeral_public),
        )
        .unwrap();
        let fixed = SecretKey::from_slice(pkcs8_scalar(&pkcs8).unwrap().as_slice()).unwrap();
        assert_eq!(
            fixed.public_key().to_sec1_bytes().as_ref(),
            injection.fixed_public
        );
        assert!(seen.insert(injection.fixed_public) && seen.insert(injection.ephemeral_public));
    }
});

on_every_module!(another_chip_or_session_unwraps_nothing, |hsm| {
    let token = hsm.token();
    let (secret, point) = chip();
    let injection = token
        .inject(&point, |ephemeral| info(&point, ephemeral))
        .unwrap();
    let right = info(&point, &injection.ephemeral_public);
    let other = SecretKey::from_slice(&[0x5B; 32]).unwrap();
    assert!(unwrap(&other, &injection, &right).is_none());
    let other_session = unwrap(&secret, &injection, b"another session");
    // Without HKDF nothing ties the wrap to its session: that is the lower grade.
    assert_eq!(
        other_session.is_some(),
        injection.derivation == KekDerivation::RawX
    );
});

on_every_module!(a_wrapped_key_never_leaves_the_module_again, |hsm| {
    let token = hsm.token();
    let (_, point) = chip();
    let injection = token.inject(&point, |_| Vec::new()).unwrap();
    let session = hsm.foreign_session();
    let keys = |extractable| {
        let template = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Extractable(extractable),
        ];
        session.find_objects(&template).unwrap().len()
    };
    assert_eq!((keys(true), keys(false)), (0, 1));
    injection.pending.destroy().unwrap();
});

on_every_module!(the_key_is_gone_once_destroyed_or_dropped, |hsm| {
    let token = hsm.token();
    let (_, point) = chip();
    let injection = token.inject(&point, |_| Vec::new()).unwrap();
    assert_eq!(
        secrets_in_module(hsm),
        1,
        "only the fixed key is left, and only in its session"
    );
    assert!(token.keys().unwrap().is_empty());
    injection.pending.destroy().unwrap();
    assert_eq!(secrets_in_module(hsm), 0);
    drop(token.inject(&point, |_| Vec::new()).unwrap());
    assert_eq!(secrets_in_module(hsm), 0);
    let lost = token.inject(&point, |_| Vec::new()).unwrap();
    hsm.behind_our_back().finalize().unwrap();
    lost.pending.destroy().unwrap();
    token
        .inject(&point, |_| Vec::new())
        .unwrap()
        .pending
        .destroy()
        .unwrap();
});

on_every_module!(a_point_off_the_curve_is_refused, |hsm| {
    let token = hsm.token();
    let (_, mut point) = chip();
    point[64] ^= 1;
    let refused = token.inject(&point, |_| Vec::new()).unwrap_err();
    assert!(matches!(refused, VaultError::Request { .. }), "{refused}");
    token.inject(&[0; 65], |_| Vec::new()).unwrap_err();
    assert_eq!(secrets_in_module(hsm), 0);
});

on_every_module!(two_pending_keys_do_not_disturb_each_other, |hsm| {
    let token = hsm.token();
    let (_, point) = chip();
    let first = token.inject(&point, |_| Vec::new()).unwrap();
    let second = token.inject(&point, |_| Vec::new()).unwrap();
    first.pending.destroy().unwrap();
    assert_eq!(secrets_in_module(hsm), 1);
    second.pending.destroy().unwrap();
    token.health().unwrap();
});
