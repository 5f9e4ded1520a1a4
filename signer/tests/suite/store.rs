//! The store: who may open it, and what is noticed when it was tampered with.

use crate::keys::{TestCaKey, issuing_certificate, key, rcgen_key};
use crate::world::*;
use signer::SignerError;

fn filled() -> (World, Item) {
    let mut world = World::new();
    let birth = world.birth(1);
    let item = world.bind(&birth);
    let mut signer = world.open(&TestCaKey::new(CA));
    one(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap();
    drop(signer);
    (world, item)
}

fn edit(world: &World, sql: &str) {
    let store = pages::open(&world.store()).unwrap();
    store.execute_batch(sql).unwrap();
}

fn open_error(world: &World) -> SignerError {
    world.try_open(Box::new(TestCaKey::new(CA))).unwrap_err()
}

#[test]
fn a_newer_store_is_refused_untouched() {
    let (world, _) = filled();
    edit(&world, "PRAGMA user_version = 5");
    assert!(matches!(
        open_error(&world),
        SignerError::NewerStore { found: 5, known: 4 }
    ));
    edit(&world, "PRAGMA user_version = 4");
    assert_eq!(world.open(&TestCaKey::new(CA)).size(), world.size());
}

#[test]
fn a_store_that_is_gone_is_never_made_anew() {
    let (world, _) = filled();
    let ca = || Box::new(TestCaKey::new(CA));
    std::fs::remove_file(world.store()).unwrap();
    for _ in 0..2 {
        let gone = signer::Signer::open(world.config(), ca());
        assert!(matches!(gone.unwrap_err(), SignerError::StoreMissing(_)));
        assert!(!world.store().exists());
    }
    std::fs::write(world.store(), b"").unwrap();
    let empty = signer::Signer::open(world.config(), ca());
    assert!(matches!(empty.unwrap_err(), SignerError::StoreMissing(_)));
    let again = signer::Signer::make_store(world.config());
    assert!(matches!(
        again.unwrap_err(),
        SignerError::StoreNotMade { .. }
    ));
}

#[test]
fn two_signers_never_share_a_store() {
    let world = World::new();
    let _first = world.open(&TestCaKey::new(CA));
    assert!(matches!(open_error(&world), SignerError::InUse(_)));
}

#[test]
fn a_store_of_another_log_or_ca_is_refused() {
    let (mut world, _) = filled();
    let mut config = world.config();
    config.log_vkey =
        translog::note::NoteSigner::verifier_key(&crate::keys::LogKey::new(ORIGIN, 8)).to_string();
    let opened = signer::Signer::open(config, Box::new(TestCaKey::new(CA)));
    assert!(matches!(
        opened.unwrap_err(),
        SignerError::OtherStore { .. }
    ));
    world.issuing = issuing_certificate(&rcgen_key(&key(2)));
    assert!(matches!(open_error(&world), SignerError::ForeignKey));
    let opened = world.try_open(Box::new(TestCaKey::new(2)));
    assert!(matches!(
        opened.unwrap_err(),
        SignerError::OtherStore { .. }
    ));
}

#[test]
fn altered_leaf_hashes_heads_and_days_are_noticed_when_it_is_opened() {
    let flip =
        "substr(hash, 1, 31) || CASE substr(hash, 32, 1) WHEN x'00' THEN x'01' ELSE x'00' END";
    let edits = [
        format!("UPDATE leaf SET hash = CAST({flip} AS BLOB) WHERE entry = 1"),
        "DELETE FROM leaf WHERE entry = 3".to_owned(),
        "DELETE FROM head".to_owned(),
        "UPDATE head SET last_day = zeroblob(12)".to_owned(),
        "UPDATE head SET note = CAST(replace(CAST(note AS TEXT), 'koseki', 'kosekj') AS BLOB)"
            .to_owned(),
    ];
    for sql in edits {
        let (world, _) = filled();
        edit(&world, &sql);
        let error = open_error(&world);
        assert!(matches!(error, SignerError::Damaged(_)), "{sql}: {error}");
    }
}

#[test]
fn altered_rows_are_noticed_before_they_are_used() {
    let edits = [
        "UPDATE subject SET state = CAST(substr(state, 1, 48) || x'02' || substr(state, 50) AS BLOB)",
        "DELETE FROM subject",
        "UPDATE bind SET leaf = CAST(substr(leaf, 1, 60) || x'0000' || substr(leaf, 63) AS BLOB)",
        "UPDATE attempt SET signature = zeroblob(64)",
        "UPDATE attempt SET signature = NULL; DELETE FROM document",
        "UPDATE attempt SET signature = NULL; UPDATE document SET der = CAST(der || x'00' AS BLOB) WHERE kind = 'profile'",
    ];
    for sql in edits {
        let (world, item) = filled();
        edit(&world, sql);
        let ca = TestCaKey::new(CA);
        let mut signer = world.open(&ca);
        assert_eq!(
            answers(world.ask(&mut signer, &[item])).unwrap_err(),
            "SIGN-0132",
            "{sql}"
        );
        assert_eq!(ca.asked(), 0, "{sql}");
    }
}

#[test]
fn an_altered_grant_state_is_noticed_by_the_next_bind() {
    let (mut world, _) = filled();
    edit(
        &world,
        "UPDATE grant_state SET state = CAST(x'00ffffff' || substr(state, 5) AS BLOB)",
    );
    let birth = world.birth(2);
    let item = world.bind(&birth);
    let mut signer = world.open(&TestCaKey::new(CA));
    assert_eq!(
        answers(world.ask(&mut signer, &[item])).unwrap_err(),
        "SIGN-0132"
    );
}
