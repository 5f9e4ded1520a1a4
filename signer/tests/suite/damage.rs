//! A flipped bit of the store: the same answer or none. Every byte of it: `ca-server/tests/corridor/damage.rs`.

use crate::keys::TestCaKey;
use crate::world::*;
use rusqlite::OpenFlags;
use signer::message::Answer;
use signer::{Signer, SignerError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const PAGE: usize = 4096;

/// Opens the store, asks for what was signed before and for what was not, and takes the store as it was again.
fn answered(world: &World, items: &[Item]) -> Result<Vec<bool>, String> {
    let mut signer = match Signer::open(world.config(), Box::new(TestCaKey::new(CA))) {
        Ok(signer) => signer,
        Err(error) => {
            assert!(matches!(error, SignerError::Damaged(_)), "{error}");
            return Err("SIGN-0132".to_owned());
        }
    };
    let signed = |answer: &Answer| matches!(answer, Answer::Signed(_));
    let told = answers(world.ask(&mut signer, items))?;
    Ok(told.iter().map(signed).collect())
}

/// Tables whose pages these are.
fn tables(path: &Path, pages: &BTreeSet<usize>) -> BTreeSet<String> {
    let connection = pages::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let query = "SELECT pageno - 1, coalesce(tbl_name, 'sqlite_schema') FROM dbstat
        LEFT JOIN sqlite_schema USING (name)";
    let mut query = connection.prepare(query).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u32>(0)?, row.get(1)?));
    let rows = query.query_map([], row).unwrap().map(Result::unwrap);
    rows.filter(|(page, _)| pages.contains(&usize::try_from(*page).unwrap()))
        .map(|(_, table)| table)
        .collect()
}

#[test]
fn a_store_with_a_flipped_bit_gives_the_same_answer_or_none() {
    let mut world = World::new();
    world.enter_lot();
    let birth = world.birth(1);
    let first = world.bind(&birth);
    let mut signer = world.open(&TestCaKey::new(CA));
    one(world.ask(&mut signer, std::slice::from_ref(&first))).unwrap();
    drop(signer);
    let sound = std::fs::read(world.store()).unwrap();
    let birth = world.birth(2);
    let items = [first, world.bind(&birth)];
    assert_eq!(answered(&world, &items), Ok(vec![true, true]));

    let (mut noticed, mut unread) = (BTreeMap::new(), BTreeSet::new());
    let of_header = (0..100).map(|at| (at, at % 8));
    let others = (0..sound.len()).step_by(97).map(|at| (at, at / 97 % 8));
    for (at, bit) in of_header.chain(others) {
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << bit;
        std::fs::write(world.store(), flipped).unwrap();
        match answered(&world, &items) {
            Ok(told) => {
                assert_eq!(told, [true, true], "byte {at}, bit {bit}");
                unread.insert(at / PAGE);
            }
            Err(code) => {
                assert_eq!(code, "SIGN-0132", "byte {at}, bit {bit}");
                *noticed.entry(at / PAGE).or_insert(0) += 1;
            }
        }
    }
    std::fs::write(world.store(), &sound).unwrap();
    assert_eq!(answered(&world, &items), Ok(vec![true, true]));
    // A page is read or it is not: of those that are, no flipped bit got through.
    let read: BTreeSet<_> = noticed.keys().copied().collect();
    assert!(read.is_disjoint(&unread), "{noticed:?} {unread:?}");
    std::fs::write(world.store(), &sound).unwrap();
    let read = tables(&world.store(), &read);
    for table in [
        "meta",
        "head",
        "halt",
        "leaf",
        "bind",
        "subject",
        "spki",
        "grant_state",
        "document",
        "station",
        "attempt",
    ] {
        assert!(read.contains(table), "{table} is not in {read:?}");
    }
}
