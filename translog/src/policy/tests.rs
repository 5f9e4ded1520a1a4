//! Policies read and applied.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::{Checkpoint, OpenError};
use crate::cosignature::cosign;
use crate::note::SignatureType;
use crate::test_support::{Signer, leaves};
use crate::tree::root_of;

const ORIGIN: &str = "log.example/a";

fn witness(seed: u8) -> Signer {
    Signer::witness(&format!("w{seed}.example"), seed)
}

fn witness_lines(seeds: std::ops::RangeInclusive<u8>) -> String {
    seeds
        .map(|seed| format!("witness w{seed} {}\n", witness(seed).key))
        .collect()
}

/// The example of the specification: two of X and one of Y.
fn two_groups() -> String {
    format!(
        "# logs\nlog {} https://log.example/a\n\n{}group X 2 w1 w2 w3\ngroup Y any w4 w5 w6\n \tgroup  both\tall X Y \nquorum both\n",
        Signer::ed25519(ORIGIN, 99).key,
        witness_lines(1..=6),
    )
}

fn fault(text: &str) -> (usize, PolicyFault) {
    let error = Policy::parse(text.as_bytes()).unwrap_err();
    (error.line, error.fault)
}

fn cosigned_by(seeds: &[u8]) -> Vec<u8> {
    let checkpoint = Checkpoint::new(ORIGIN, 3, root_of(&leaves(3))).unwrap();
    let mut note = checkpoint.sign(&Signer::ed25519(ORIGIN, 99)).unwrap();
    for seed in seeds {
        note.add(cosign(&witness(*seed), &checkpoint, u64::from(*seed)).unwrap())
            .unwrap();
    }
    note.to_string().into_bytes()
}

#[test]
fn the_quorum_of_two_groups() {
    let policy = Policy::parse(two_groups().as_bytes()).unwrap();
    assert_eq!(policy.witnesses().len(), 6);
    assert_eq!(
        policy.logs()[0].url(),
        Some(b"https://log.example/a".as_slice())
    );
    for (seeds, enough) in [
        ([1, 2, 4].as_slice(), true),
        (&[3, 1, 6], true),
        (&[1, 2, 3, 4, 5, 6], true),
        (&[1, 2, 3], false),
        (&[1, 4, 5, 6], false),
        (&[], false),
    ] {
        let opened = policy.open(&cosigned_by(seeds));
        assert_eq!(opened.is_ok(), enough, "{seeds:?}");
        match opened {
            Ok(opened) => assert_eq!(opened.cosigned().len(), seeds.len()),
            Err(error) => assert_eq!(error, OpenError::Quorum),
        }
    }
}

#[test]
fn a_known_witness_that_signs_badly_refuses_even_where_not_needed() {
    let policy = Policy::parse(two_groups().as_bytes()).unwrap();
    let mut bytes = String::from_utf8(cosigned_by(&[1, 2, 4])).unwrap();
    let line = crate::note::NoteSignature::new(&witness(5).key, vec![0; 72]);
    bytes.push_str(&format!("{line}\n"));
    let refused = policy.open(bytes.as_bytes());
    assert!(matches!(refused, Err(OpenError::BadSignature { .. })));
}

#[test]
fn all_keys_listed_under_one_origin_are_required() {
    let (classic, quantum) = (Signer::ed25519(ORIGIN, 99), Signer::ml_dsa44(ORIGIN, 98));
    let text = format!("log {}\nlog {}\nquorum none\n", classic.key, quantum.key);
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.logs().len(), 1);
    let refused = policy.open(&cosigned_by(&[]));
    assert!(matches!(refused, Err(OpenError::MissingSignature { .. })));
    let one = Policy::parse(format!("log {}\nquorum none\n", classic.key).as_bytes()).unwrap();
    one.open(&cosigned_by(&[])).unwrap();
}

#[test]
fn a_log_that_is_not_listed_is_unknown() {
    let policy = Policy::parse(b"quorum none\n").unwrap();
    let refused = policy.open(&cosigned_by(&[]));
    assert_eq!(refused, Err(OpenError::UnknownOrigin(ORIGIN.to_owned())));
}

#[test]
fn faults_are_told_with_their_line() {
    let witnesses = witness_lines(1..=2);
    for (tail, line, expected) in [
        ("", 2, PolicyFault::NoQuorum),
        ("quorum none\nquorum none\n", 4, PolicyFault::SecondQuorum),
        ("quorum w3\n", 3, PolicyFault::UndefinedName),
        ("quorum\n", 3, PolicyFault::Words),
        ("quorums none\n", 3, PolicyFault::Keyword),
        ("quorum none", 1, PolicyFault::Unterminated),
        ("quorum none\r\n", 3, PolicyFault::Characters),
        ("group g any\n", 3, PolicyFault::Threshold),
        ("group g 0 w1\n", 3, PolicyFault::Threshold),
        ("group g 3 w1 w2\n", 3, PolicyFault::Threshold),
        ("group g 01 w1 w2\n", 3, PolicyFault::Threshold),
        ("group g any w1 w1\n", 3, PolicyFault::MemberTwice),
        (
            "group g any w1\ngroup h any w1 w2\n",
            4,
            PolicyFault::MemberTwice,
        ),
        ("group g any g\n", 3, PolicyFault::UndefinedName),
        ("group g any none\n", 3, PolicyFault::UndefinedName),
        ("group none any w1\n", 3, PolicyFault::ReservedName),
        ("group w1 any w2\n", 3, PolicyFault::DuplicateName),
        ("witness w9\n", 3, PolicyFault::Words),
    ] {
        assert_eq!(
            fault(&format!("{witnesses}{tail}")),
            (line, expected),
            "{tail}"
        );
    }
}

#[test]
fn wrong_keys_are_told_with_their_line() {
    let witnesses = witness_lines(1..=2);
    let log = Signer::ed25519(ORIGIN, 99).key;
    let ed25519_witness = Signer::ed25519("w.example", 3).key;
    for (tail, line, expected) in [
        (
            &format!("witness w9 {}\n", witness(1).key),
            3,
            PolicyFault::DuplicateKey,
        ),
        (
            &format!("witness w1 {}\n", witness(9).key),
            3,
            PolicyFault::DuplicateName,
        ),
        (
            &format!("log {log}\nlog {log}\n"),
            4,
            PolicyFault::DuplicateKey,
        ),
        (
            &format!("witness w {ed25519_witness}\n"),
            3,
            PolicyFault::KeyType(SignatureType::Ed25519),
        ),
        (
            &format!("log {}\n", witness(8).key),
            3,
            PolicyFault::KeyType(SignatureType::Ed25519Cosignature),
        ),
        (
            &"log nonsense\n".to_owned(),
            3,
            PolicyFault::Key(crate::note::VerifierKeyError::Format),
        ),
    ] {
        assert_eq!(
            fault(&format!("{witnesses}{tail}")),
            (line, expected),
            "{tail}"
        );
    }
}

#[test]
fn one_public_key_under_two_names_is_a_duplicate() {
    let again = Signer::witness("other.example", 1).key;
    let text = format!("{}witness again {again}\n", witness_lines(1..=1));
    assert_eq!(fault(&text), (2, PolicyFault::DuplicateKey));
}

#[test]
fn sizes_are_capped() {
    let lines = witness_lines(1..=64);
    Policy::parse(format!("{lines}quorum none\n").as_bytes()).unwrap();
    assert_eq!(fault(&witness_lines(1..=65)), (65, PolicyFault::TooMany));
    assert_eq!(
        fault(&"#".repeat(MAX_POLICY_BYTES + 1)),
        (1, PolicyFault::TooLarge)
    );
}

#[test]
fn names_are_opaque_octets() {
    let key = witness(1).key.to_string();
    let text = [
        b"witness \xff\xe2 ".as_slice(),
        key.as_bytes(),
        b"\nquorum \xff\xe2\n",
    ];
    let policy = Policy::parse(&text.concat()).unwrap();
    assert_eq!(policy.witnesses()[0].name(), b"\xff\xe2");
    assert!(!policy.is_quorum(|_| false) && policy.is_quorum(|_| true));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        let fault = Policy::parse(&bytes).err();
        prop_assert!(fault.is_none_or(|fault| fault.line <= lines));
    }

    #[test]
    fn arbitrary_words_never_panic(text in "((log|witness|group|quorum|any|all|none|a|b|2|#|\t| )( |\n)){0,30}\n") {
        let lines = text.lines().count().max(1);
        let fault = Policy::parse(text.as_bytes()).err();
        prop_assert!(fault.is_none_or(|fault| fault.line <= lines));
    }
}
