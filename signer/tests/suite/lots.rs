//! Lots at the signer: what is closed stays closed whatever the CA server says, and its store counts from version 2 on.

use crate::keys::TestCaKey;
use crate::world::*;
use identity::document::Document as _;
use identity::envelope::Observation;
use identity::field::Tag;
use identity::leaf::{Body, Bytes32, LotClose, Scrap, Void};
use identity::lot::{LotCounts, LotTally};
use identity::{
    DeviceSerial, DocumentHash, LeafHash, RequestHash, SpkiHash, SubjectId, leaf::EntryRef,
};

/// A world with its lot open.
fn world() -> World {
    let mut world = World::new();
    world.enter_lot();
    world
}

fn birth_in(world: &World, device: u16, lot: Option<DocumentHash>) -> Birth {
    let mut birth = world.birth(device);
    birth.bind.lot = lot;
    birth
}

fn close(world: &mut World, tally: LotTally) {
    let close = LotClose {
        lot: world.lot_order().hash(),
        request: RequestHash([6; 32]),
        counts: LotCounts {
            planned: 50,
            unused: 50 - tally.bound,
            hold: tally.open(),
            scrapped: tally.scrapped,
            open: tally.open(),
            boards_scrapped: tally.boards_scrapped(),
            ..LotCounts::default()
        },
        tally,
        reason: None,
    };
    world.push(Body::LotClose(close), None);
}

/// The answer to everything that the log holds, with nothing to sign.
fn followed(world: &World) -> Result<(), String> {
    let mut signer = world.open(&TestCaKey::new(CA));
    answers(world.ask(&mut signer, &[])).map(drop)
}

/// Voids the unit that was bound by the newest leaf.
fn void(world: &mut World, birth: &Birth) -> EntryRef {
    let previous = newest(world);
    world.push(
        Body::Void(Void {
            subject: birth.bind.subject,
            previous,
            request: None,
            reason: id("LINE-0111"),
        }),
        None,
    );
    newest(world)
}

fn newest(world: &World) -> EntryRef {
    let entry = world.entries.last().unwrap();
    EntryRef {
        index: world.size() - 1,
        hash: LeafHash::of(entry.leaf.as_bytes()),
    }
}

fn stated(birth: &mut Birth, world: &World, earlier: SubjectId) {
    birth.own().observations.push(Observation {
        tag: Tag::Supersedes,
        value: octets(&earlier.0),
    });
    birth.seal_fields(world, |fields| {
        fields.push((Tag::Supersedes, earlier.0.to_vec()));
    });
    birth.seal_envelope();
    birth.seal_tbs(world);
}

#[test]
fn a_unit_is_signed_in_the_lot_that_its_station_named() {
    let mut world = world();
    let lot = world.lot_order().hash();
    let birth = birth_in(&world, 1, Some(lot));
    let item = world.bind(&birth);
    let mut signer = world.open(&TestCaKey::new(CA));
    one(world.ask(&mut signer, &[item])).unwrap();
}

#[test]
fn a_leaf_in_another_lot_than_the_envelopes_is_not_signed() {
    let mut world = world();
    let lot = world.lot_order().hash();
    let mut birth = birth_in(&world, 1, Some(lot));
    birth.envelope.lot = id("lot-2");
    birth.seal_envelope();
    birth.seal_fields(&world, |_| ());
    let item = world.bind(&birth);
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    assert_eq!(
        one(world.ask(&mut signer, &[item])).unwrap_err(),
        "SIGN-0147"
    );
    assert_eq!(ca.asked(), 0);
}

/// Opening a lot needs no approval: a server that anybody took over would open them as large as it likes.
#[test]
fn a_lot_larger_than_its_grant_allows_gets_no_certificate() {
    for (quantity, answer) in [(50, Ok(())), (51, Err("SIGN-0149"))] {
        let mut world = World::new();
        let mut order = world.lot_order();
        order.quantity = quantity;
        world.enter_lot_order(&order);
        let birth = birth_in(&world, 1, Some(order.hash()));
        let item = world.bind(&birth);
        let ca = TestCaKey::new(CA);
        let mut signer = world.open(&ca);
        let answered = one(world.ask(&mut signer, &[item])).map(drop);
        assert_eq!(answered, answer.map_err(str::to_owned), "{quantity}");
        assert_eq!(ca.asked() > 0, answer.is_ok());
    }
}

#[test]
fn a_serial_of_another_form_or_outside_its_lot_is_not_signed() {
    // In the lot's last place; behind it; of a form that the profile does not have.
    for (serial, answer) in [
        ("SN000999", None),
        ("SN001000", Some("SIGN-0182")),
        ("SX000001", Some("SIGN-0182")),
    ] {
        let mut world = world();
        let lot = world.lot_order().hash();
        let mut birth = birth_in(&world, 1, Some(lot));
        birth.own().serial = DeviceSerial::new(serial).unwrap();
        world.prove(birth.own(), 1);
        birth.seal_envelope();
        birth.seal_fields(&world, |_| ());
        let item = world.bind(&birth);
        let ca = TestCaKey::new(CA);
        let mut signer = world.open(&ca);
        let refused = one(world.ask(&mut signer, &[item])).unwrap_err();
        // A serial that is in order goes on to the certificate, which is of another one.
        assert_eq!(refused, answer.unwrap_or("SIGN-0194"), "{serial}");
        assert_eq!(ca.asked(), 0);
    }
}

#[test]
fn nothing_is_followed_that_binds_under_a_closed_lot() {
    for named in [true, false] {
        let mut world = world();
        let lot = world.lot_order().hash();
        close(&mut world, LotTally::default());
        followed(&world).unwrap();
        let birth = birth_in(&world, 1, named.then_some(lot));
        world.bind(&birth);
        assert_eq!(followed(&world).unwrap_err(), "SIGN-0111", "{named}");
    }
}

#[test]
fn a_tally_that_the_signer_did_not_count_is_refused() {
    let mut world = world();
    let lot = world.lot_order().hash();
    let birth = birth_in(&world, 1, Some(lot));
    world.bind(&birth);
    close(&mut world, LotTally::default());
    assert_eq!(followed(&world).unwrap_err(), "SIGN-0111");
}

#[test]
fn what_is_counted_is_kept_from_one_start_to_the_next() {
    let mut world = world();
    let lot = world.lot_order().hash();
    let birth = birth_in(&world, 1, Some(lot));
    world.bind(&birth);
    followed(&world).unwrap();
    let previous = newest(&world);
    world.push(
        Body::Scrap(Scrap {
            subject: Some(birth.bind.subject),
            previous: Some(previous),
            grant: world.grant.hash(),
            request: None,
            reason: id("LINE-0105"),
            fields: Bytes32([1; 32]),
            lot: Some(lot),
        }),
        None,
    );
    followed(&world).unwrap();
    let tally = LotTally {
        bound: 1,
        scrapped: 1,
        ..LotTally::default()
    };
    close(&mut world, tally);
    followed(&world).unwrap();
}

#[test]
fn a_scrapped_unit_is_not_signed() {
    let mut world = world();
    let lot = world.lot_order().hash();
    let birth = birth_in(&world, 1, Some(lot));
    let item = world.bind(&birth);
    void(&mut world, &birth);
    let mut signer = world.open(&TestCaKey::new(CA));
    assert_eq!(
        one(world.ask(&mut signer, &[item])).unwrap_err(),
        "SIGN-0141"
    );
}

/// A board that is void, and another that is to take its place.
fn swapped() -> (World, Birth, Birth) {
    let mut world = world();
    let lot = world.lot_order().hash();
    let first = birth_in(&world, 1, Some(lot));
    world.bind(&first);
    void(&mut world, &first);
    let second = birth_in(&world, 2, Some(lot));
    (world, first, second)
}

#[test]
fn a_swapped_board_is_signed_in_place_of_the_one_that_is_void() {
    let (mut world, first, mut second) = swapped();
    second.bind.supersedes = Some(first.bind.subject);
    stated(&mut second, &world, first.bind.subject);
    let item = world.bind(&second);
    let mut signer = world.open(&TestCaKey::new(CA));
    one(world.ask(&mut signer, &[item])).unwrap();
}

#[test]
fn a_leaf_that_hides_the_superseded_board_is_not_signed() {
    let (mut world, first, mut second) = swapped();
    stated(&mut second, &world, first.bind.subject);
    let item = world.bind(&second);
    let mut signer = world.open(&TestCaKey::new(CA));
    assert_eq!(
        one(world.ask(&mut signer, &[item])).unwrap_err(),
        "SIGN-0148"
    );
}

#[test]
fn a_board_that_is_in_use_is_never_superseded() {
    let mut world = world();
    let lot = world.lot_order().hash();
    let first = birth_in(&world, 1, Some(lot));
    world.bind(&first);
    let mut second = birth_in(&world, 2, Some(lot));
    second.bind.supersedes = Some(first.bind.subject);
    world.bind(&second);
    assert_eq!(followed(&world).unwrap_err(), "SIGN-0111");
}

/// A store as version 1 left it: without lots and rows that name one, with an index over TBS hashes and a row for each
/// certified key, and pages without checksums.
fn as_version_one(world: &World, certified: &SpkiHash) {
    let store = pages::open(&world.store()).unwrap();
    store
        .execute_batch(
            "DROP TABLE lot_state;
             CREATE TABLE wide (entry INTEGER PRIMARY KEY, tbs BLOB NOT NULL UNIQUE, signature BLOB);
             INSERT INTO wide SELECT entry, tbs, signature FROM attempt;
             DROP TABLE attempt;
             ALTER TABLE wide RENAME TO attempt;
             PRAGMA user_version = 1",
        )
        .unwrap();
    let kept = store.execute("INSERT INTO spki (hash) VALUES (?1)", [&certified.0]);
    assert_eq!(kept, Ok(1));
    let bare = world.store().with_extension("bare");
    let name = format!("file:{}?vfs=unix&reserve=0", bare.display());
    store.execute("VACUUM INTO ?1", [name]).unwrap();
    let empty = "PRAGMA wal_checkpoint(TRUNCATE)";
    store.query_row(empty, [], |_| Ok(())).unwrap();
    drop(store);
    std::fs::rename(bare, world.store()).unwrap();
    pages::open(&world.store()).unwrap_err();
}

#[test]
fn a_filled_store_of_version_one_is_raised_and_counts_from_then_on() {
    let mut world = world();
    let lot = world.lot_order().hash();
    let old = birth_in(&world, 1, None);
    let item = world.bind(&old);
    let mut signer = world.open(&TestCaKey::new(CA));
    let signature = one(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap();
    drop(signer);
    as_version_one(&world, &old.bind.certificate.spki);

    let mut signer = world.open(&TestCaKey::new(CA));
    assert_eq!(signer.size(), world.size());
    assert_eq!(one(world.ask(&mut signer, &[item])).unwrap(), signature);
    drop(signer);
    let new = birth_in(&world, 2, Some(lot));
    let item = world.bind(&new);
    let mut signer = world.open(&TestCaKey::new(CA));
    one(world.ask(&mut signer, &[item])).unwrap();
    drop(signer);
    let one_bound = LotTally {
        bound: 1,
        ..LotTally::default()
    };
    close(&mut world, one_bound);
    followed(&world).unwrap();
}

/// The row stands there in the old form only, and no subject has that key.
#[test]
fn a_key_that_an_older_store_knows_is_certified_no_second_time() {
    let mut world = world();
    let first = birth_in(&world, 1, None);
    world.bind(&first);
    followed(&world).unwrap();
    let certified = SpkiHash([7; 32]);
    as_version_one(&world, &certified);
    let mut second = birth_in(&world, 2, Some(world.lot_order().hash()));
    second.bind.certificate.spki = certified;
    world.bind(&second);
    assert_eq!(followed(&world).unwrap_err(), "SIGN-0111");
}

#[test]
fn an_altered_lot_is_noticed_by_the_next_leaf_that_names_it() {
    let mut world = world();
    let lot = world.lot_order().hash();
    followed(&world).unwrap();
    let store = pages::open(&world.store()).unwrap();
    store
        .execute_batch(
            "UPDATE lot_state SET state = CAST(substr(state, 1, 32) || x'00ffffff' || substr(state, 37) AS BLOB)",
        )
        .unwrap();
    drop(store);
    let birth = birth_in(&world, 1, Some(lot));
    world.bind(&birth);
    assert_eq!(followed(&world).unwrap_err(), "SIGN-0132");
}

#[test]
fn a_closed_grant_stays_closed_whatever_the_server_says() {
    let mut world = world();
    let birth = birth_in(&world, 1, Some(world.lot_order().hash()));
    world.bind(&birth);
    let grant = birth.envelope.grant;
    let reason = id("recall");
    world.push(Body::GrantClose { grant, reason }, None);
    followed(&world).unwrap();
    // Read again from the signer's own store.
    let later = birth_in(&world, 2, Some(world.lot_order().hash()));
    world.bind(&later);
    let refused = followed(&world).unwrap_err();
    assert!(refused.contains("SIGN-"), "{refused}");
}
