//! However a chip encodes its key, it is one key with one hash, or it is refused.

use crate::keys::{public_key, sign, signing_key};
use identity::key::{KeyError, SPKI_LEN};
use identity::{P256Key, PortableVerifier, VerifyP256};
use proptest::prelude::{any, proptest};

/// The field's prime p, big-endian (FIPS 186-5, SP 800-186 §3.2.1.3).
const P: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
/// The group's order n.
const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

fn compressed(seed: u8) -> Vec<u8> {
    signing_key(seed)
        .verifying_key()
        .to_sec1_point(true)
        .as_bytes()
        .to_vec()
}

fn spki_of(point: &[u8]) -> Vec<u8> {
    let head = match point.len() {
        65 => "3059301306072a8648ce3d020106082a8648ce3d030107034200",
        _ => "3039301306072a8648ce3d020106082a8648ce3d030107032200",
    };
    [hex::decode(head).unwrap(), point.to_vec()].concat()
}

#[test]
fn one_key_in_four_encodings_has_one_hash() {
    for seed in 1..=20 {
        let key = public_key(seed);
        let forms = [
            P256Key::from_sec1(key.sec1()),
            P256Key::from_sec1(&compressed(seed)),
            P256Key::from_spki(&key.spki()),
            P256Key::from_spki(&spki_of(&compressed(seed))),
        ];
        for form in forms {
            assert_eq!(form, Ok(key));
            assert_eq!(form.map(|key| key.spki_hash()), Ok(key.spki_hash()));
        }
    }
}

#[test]
fn the_base_point_has_the_spki_and_hash_that_other_programs_compute() {
    let base = public_key_of_one();
    let x = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
    let y = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let spki = format!("3059301306072a8648ce3d020106082a8648ce3d03010703420004{x}{y}");
    assert_eq!(hex::encode(base.spki()), spki);
    assert_eq!(
        base.spki_hash().to_string(),
        "5cd252fb0ce8932436faf8ccd1040981b89ee4ad6b9fe9e2a2b7e71aacb27cd3"
    );
    assert_eq!(base.spki().len(), SPKI_LEN);
}

fn public_key_of_one() -> P256Key {
    let mut one = [0; 32];
    one[31] = 1;
    let key = p256::ecdsa::SigningKey::from_slice(&one).unwrap();
    P256Key::from_sec1(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap()
}

#[test]
fn a_point_and_its_mirror_are_two_keys() {
    let mut mirrored = compressed(1);
    mirrored[0] ^= 1;
    assert_ne!(P256Key::from_sec1(&mirrored), Ok(public_key(1)));
    assert_eq!(
        P256Key::from_sec1(&mirrored).map(|key| key.sec1()[1..33].to_vec()),
        Ok(compressed(1)[1..].to_vec())
    );
}

#[test]
fn hybrid_and_unknown_encodings_are_refused() {
    for first in (0..=255).filter(|first| *first != 4) {
        let mut point = *public_key(1).sec1();
        point[0] = first;
        assert_eq!(
            P256Key::from_sec1(&point),
            Err(KeyError::Encoding),
            "first byte {first:02x}"
        );
    }
    for first in (0..=255).filter(|first| !matches!(first, 2 | 3)) {
        let mut point = compressed(1);
        point[0] = first;
        assert_eq!(
            P256Key::from_sec1(&point),
            Err(KeyError::Encoding),
            "first byte {first:02x}"
        );
    }
}

#[test]
fn infinity_is_no_key() {
    assert_eq!(P256Key::from_sec1(&[0]), Err(KeyError::NotOnCurve));
    let mut zeros = [0; 65];
    zeros[0] = 4;
    assert_eq!(P256Key::from_sec1(&zeros), Err(KeyError::NotOnCurve));
    assert_eq!(
        P256Key::from_spki(&spki_of(&zeros)),
        Err(KeyError::NotOnCurve)
    );
}

#[test]
fn a_point_off_the_curve_is_no_key() {
    for at in 1..65 {
        let mut point = *public_key(1).sec1();
        point[at] ^= 1;
        assert_eq!(
            P256Key::from_sec1(&point),
            Err(KeyError::NotOnCurve),
            "byte {at}"
        );
    }
}

#[test]
fn an_x_without_a_point_is_no_key() {
    // x = 5 has no y on P-256; about every second x has none.
    let without = (0..=255).filter(|low| {
        let mut point = [0; 33];
        (point[0], point[32]) = (2, *low);
        P256Key::from_sec1(&point) == Err(KeyError::NotOnCurve)
    });
    assert!((90..170).contains(&without.count()));
}

#[test]
fn a_coordinate_is_below_the_prime() {
    let p = hex::decode(P).unwrap();
    for x in [p, vec![0xff; 32]] {
        assert_eq!(
            P256Key::from_sec1(&[vec![2], x.clone()].concat()),
            Err(KeyError::NotOnCurve)
        );
        let point = [vec![4], x, vec![1; 32]].concat();
        assert_eq!(P256Key::from_sec1(&point), Err(KeyError::NotOnCurve));
    }
}

#[test]
fn points_of_another_length_are_refused() {
    let point = public_key(1).sec1().to_vec();
    for length in (0..=64).filter(|length| *length != 33) {
        assert_eq!(
            P256Key::from_sec1(&point[..length]),
            Err(KeyError::Encoding),
            "{length} bytes"
        );
    }
    assert_eq!(
        P256Key::from_sec1(&[point.as_slice(), &[0]].concat()),
        Err(KeyError::Encoding)
    );
    assert_eq!(P256Key::from_sec1(&[0; 2]), Err(KeyError::Encoding));
}

#[test]
fn an_spki_that_differs_in_any_byte_of_its_frame_is_refused() {
    for spki in [public_key(1).spki().to_vec(), spki_of(&compressed(1))] {
        for at in 0..26 {
            let mut other = spki.clone();
            other[at] ^= 1;
            assert_eq!(
                P256Key::from_spki(&other),
                Err(KeyError::Encoding),
                "byte {at}"
            );
        }
        for end in 0..spki.len() {
            assert_eq!(
                P256Key::from_spki(&spki[..end]),
                Err(KeyError::Encoding),
                "first {end} bytes"
            );
        }
        assert_eq!(
            P256Key::from_spki(&[spki, vec![0]].concat()),
            Err(KeyError::Encoding)
        );
    }
}

#[test]
fn keys_that_are_not_p256_are_refused() {
    let p384 = "3076301006072a8648ce3d020106052b81040022036200";
    let ed25519 = "302a300506032b6570032100";
    for head in [p384, ed25519] {
        let spki = [hex::decode(head).unwrap(), vec![4; 97]].concat();
        assert_eq!(P256Key::from_spki(&spki), Err(KeyError::Encoding));
    }
}

fn verifiers() -> Vec<Box<dyn VerifyP256>> {
    vec![
        Box::new(PortableVerifier),
        #[cfg(feature = "aws-lc")]
        Box::new(identity::key::AwsLcVerifier),
    ]
}

#[test]
fn a_signature_holds_for_its_key_and_digest_only() {
    let (digest, signature) = ([7; 32], sign(1, &[7; 32]));
    for verifier in verifiers() {
        assert!(verifier.verify(&public_key(1), &digest, &signature));
        assert!(!verifier.verify(&public_key(2), &digest, &signature));
        assert!(!verifier.verify(&public_key(1), &[8; 32], &signature));
        for at in 0..64 {
            let mut flipped = signature;
            flipped[at] ^= 1;
            assert!(
                !verifier.verify(&public_key(1), &digest, &flipped),
                "byte {at}"
            );
        }
    }
}

#[test]
fn r_and_s_lie_between_one_and_the_order() {
    let (digest, signature) = ([7; 32], sign(1, &[7; 32]));
    let (r, s) = signature.split_at(32);
    let n = hex::decode(N).unwrap();
    let zero = [0; 32];
    for verifier in verifiers() {
        for (r, s) in [
            (&zero[..], s),
            (r, &zero[..]),
            (&zero[..], &zero[..]),
            (&n[..], s),
            (r, &n[..]),
        ] {
            assert!(!verifier.verify(&public_key(1), &digest, &[r, s].concat()));
        }
    }
}

#[test]
fn a_signature_is_64_bytes() {
    let (digest, signature) = ([7; 32], sign(1, &[7; 32]));
    let der = p256::ecdsa::Signature::from_slice(&signature)
        .unwrap()
        .to_der();
    for verifier in verifiers() {
        assert!(!verifier.verify(&public_key(1), &digest, der.as_bytes()));
        assert!(!verifier.verify(&public_key(1), &digest, &signature[..63]));
        assert!(!verifier.verify(&public_key(1), &digest, &[&signature[..], &[0]].concat()));
        assert!(!verifier.verify(&public_key(1), &digest, &[]));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for key in [P256Key::from_sec1(&bytes), P256Key::from_spki(&bytes)].into_iter().flatten() {
            assert_eq!(P256Key::from_spki(&key.spki()), Ok(key));
        }
    }

    #[test]
    fn verifiers_agree(seed in 1..9_u8, digest in any::<[u8; 32]>(), at in 0..64_usize, change in any::<u8>()) {
        let mut signature = sign(seed, &digest);
        signature[at] ^= change;
        for verifier in verifiers() {
            assert_eq!(verifier.verify(&public_key(seed), &digest, &signature), change == 0);
        }
    }
}
