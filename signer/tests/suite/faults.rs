//! The HSM fails, lies or disappears between attempt and signature; requests are garbage.

use crate::keys::{Mood, TestCaKey};
use crate::world::*;
use proptest::prelude::*;
use signer::message::{Answer, MessageError, SignReply, SignRequest};

fn one_device() -> (World, Item) {
    let mut world = World::new();
    let birth = world.birth(1);
    let item = world.bind(&birth);
    (world, item)
}

/// Rows with an attempt, and how many of them have a signature. The signer must be closed.
fn attempts(world: &World) -> (u32, u32) {
    let store = pages::open(&world.store()).unwrap();
    store
        .query_row(
            "SELECT count(*), count(signature) FROM attempt",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap()
}

#[test]
fn what_the_hsm_gets_wrong_is_neither_stored_nor_answered() {
    let moods = [
        (Mood::Fails, "SIGN-0199"),
        (Mood::Flipped, "SIGN-0200"),
        (Mood::Truncated, "SIGN-0200"),
        (Mood::Foreign, "SIGN-0200"),
        (Mood::OtherDigest, "SIGN-0200"),
    ];
    for (mood, code) in moods {
        let (world, item) = one_device();
        let ca = TestCaKey::new(CA);
        ca.set(mood);
        let mut signer = world.open(&ca);
        assert_eq!(
            one(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap_err(),
            code
        );
        drop(signer);
        assert_eq!(attempts(&world), (1, 0), "{mood:?}");
        // The attempt stands, so the same bytes may be asked again, also by the next process.
        ca.set(Mood::Good);
        let mut signer = world.open(&ca);
        let signature = one(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap();
        assert_eq!(one(world.ask(&mut signer, &[item])).unwrap(), signature);
        drop(signer);
        assert_eq!((attempts(&world), ca.asked()), ((1, 1), 2));
    }
}

/// A key that dies with the process: between the attempt's commit and the signature.
struct Dying;

impl signer::CaKey for Dying {
    fn public_key(&self) -> identity::P256Key {
        TestCaKey::new(CA).public_key()
    }

    fn sign_digest(&self, _digest: &[u8; 32]) -> Result<[u8; 64], signer::CaKeyError> {
        panic!("killed")
    }
}

#[test]
fn killed_between_attempt_and_signature_it_signs_the_same_bytes_and_no_others() {
    let (world, item) = one_device();
    let mut other = item.clone();
    other.tbs = octets(b"other bytes");
    let request = world
        .request(0, std::slice::from_ref(&item))
        .to_bytes()
        .unwrap();
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut signer = world.try_open(Box::new(Dying)).unwrap();
        signer.exchange(&request)
    }));
    killed.unwrap_err();
    assert_eq!(attempts(&world), (1, 0));
    let mut signer = world.open(&TestCaKey::new(CA));
    assert_eq!(signer.size(), world.size());
    assert_eq!(
        one(world.ask(&mut signer, &[other])).unwrap_err(),
        "SIGN-0142"
    );
    one(world.ask(&mut signer, &[item])).unwrap();
}

#[test]
fn one_failure_does_not_spoil_its_neighbours() {
    let mut world = World::new();
    let births = world.births(&[1, 2, 3]);
    let mut items: Vec<_> = births.iter().map(|birth| world.bind(birth)).collect();
    items[1].signature = octets(&[]);
    let answers = answers(world.ask(&mut world.open(&TestCaKey::new(CA)), &items)).unwrap();
    assert!(
        matches!(
            answers.as_slice(),
            [Answer::Signed(_), Answer::Refused(_), Answer::Signed(_)]
        ),
        "{answers:?}"
    );
}

#[test]
fn nothing_is_signed_before_the_attempt_is_durable() {
    let (world, item) = one_device();
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    answers(world.ask(&mut signer, &[])).unwrap();
    drop(signer);
    let store = pages::open(&world.store()).unwrap();
    let fail = "CREATE TRIGGER fail BEFORE INSERT ON attempt BEGIN SELECT raise(ABORT, 'disk I/O error'); END";
    store.execute_batch(fail).unwrap();
    drop(store);
    let mut signer = world.open(&ca);
    assert_eq!(
        answers(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap_err(),
        "SIGN-0130"
    );
    assert_eq!(ca.asked(), 0);
    drop(signer);
    let store = pages::open(&world.store()).unwrap();
    store.execute_batch("DROP TRIGGER fail").unwrap();
    drop(store);
    one(world.ask(&mut world.open(&ca), &[item])).unwrap();
}

#[test]
fn a_signature_that_is_not_durable_is_not_answered() {
    let (world, item) = one_device();
    let ca = TestCaKey::new(CA);
    drop(world.open(&ca));
    let store = pages::open(&world.store()).unwrap();
    let fail = "CREATE TRIGGER fail BEFORE UPDATE ON attempt BEGIN SELECT raise(ABORT, 'disk I/O error'); END";
    store.execute_batch(fail).unwrap();
    drop(store);
    let mut signer = world.open(&ca);
    assert_eq!(
        answers(world.ask(&mut signer, &[item])).unwrap_err(),
        "SIGN-0130"
    );
    assert_eq!(ca.asked(), 1);
    drop(signer);
    assert_eq!(attempts(&world), (1, 0));
}

/// A deferred foreign key is only checked by COMMIT: the one way to make COMMIT itself fail from outside.
#[test]
fn an_error_from_commit_stops_the_process_until_it_is_opened_again() {
    let (world, item) = one_device();
    let ca = TestCaKey::new(CA);
    drop(world.open(&ca));
    let store = pages::open(&world.store()).unwrap();
    let fail = "CREATE TABLE parent (id INTEGER PRIMARY KEY);
        CREATE TABLE doomed (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
        CREATE TRIGGER fail AFTER INSERT ON attempt BEGIN INSERT INTO doomed VALUES (1); END";
    store.execute_batch(fail).unwrap();
    drop(store);
    let mut signer = world.open(&ca);
    for _ in 0..2 {
        assert_eq!(
            answers(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap_err(),
            "SIGN-0131"
        );
    }
    assert_eq!(ca.asked(), 0);
    drop(signer);
    let store = pages::open(&world.store()).unwrap();
    store.execute_batch("DROP TRIGGER fail").unwrap();
    drop(store);
    one(world.ask(&mut world.open(&ca), &[item])).unwrap();
}

#[test]
fn messages_over_their_caps_are_refused_unread() {
    let (world, item) = one_device();
    let mut request = world.request(0, &[]);
    request.items = sent(&vec![item; signer::message::MAX_ITEMS + 1]);
    assert!(matches!(
        request.to_bytes(),
        Err(MessageError::TooMany { .. })
    ));
    let long = vec![0x30; signer::message::MAX_REPLY + 1];
    assert!(matches!(
        SignReply::from_bytes(&long),
        Err(MessageError::TooLong { .. })
    ));
    let long = vec![0x30; signer::message::MAX_REQUEST + 1];
    let reply = world.open(&TestCaKey::new(CA)).exchange(&long);
    assert_eq!(
        answers(SignReply::from_bytes(&reply).unwrap()).unwrap_err(),
        "SIGN-0101"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        thread_local!(static SIGNER: (World, std::cell::RefCell<signer::Signer>) = {
            let world = World::new();
            let signer = world.open(&TestCaKey::new(CA));
            (world, signer.into())
        });
        let reply = SIGNER.with(|(_, signer)| signer.borrow_mut().exchange(&bytes));
        prop_assert_eq!(answers(SignReply::from_bytes(&reply).unwrap()).unwrap_err(), "SIGN-0101");
    }

    /// A good request with one byte changed: never a panic, never a signature that the signer would not give.
    #[test]
    fn a_damaged_request_is_answered(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        thread_local!(static CASE: (World, Item) = one_device());
        CASE.with(|(world, item)| {
            let good = world.request(0, std::slice::from_ref(item)).to_bytes().unwrap();
            let mut bytes = good.clone();
            bytes[at.index(good.len())] ^= 1 << bit;
            let fresh = World { directory: tempfile::tempdir().unwrap(), ..World::new() };
            let ca = TestCaKey::new(CA);
            let mut signer = fresh.open(&ca);
            let reply = SignReply::from_bytes(&signer.exchange(&bytes)).unwrap();
            let damaged = SignRequest::from_bytes(&bytes);
            match one_or_code(reply) {
                Ok(()) => assert_eq!(damaged.unwrap().items[0].tbs, item.tbs),
                Err(_) => assert_eq!(ca.asked(), 0),
            }
        });
    }
}

fn one_or_code(reply: SignReply) -> Result<(), String> {
    match answers(reply)?.first() {
        Some(Answer::Signed(_)) => Ok(()),
        Some(Answer::Refused(refused)) => Err(refused.code.clone()),
        None => Err("no item".to_owned()),
    }
}
