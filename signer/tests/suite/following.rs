//! The log: what may follow, and what stops the signer.

use crate::keys::{TestCaKey, key, public, sign};
use crate::world::*;
use identity::approval::{Approval, approval_digest};
use identity::document::{Document as _, PinnedApprover};
use identity::leaf::{Body, GrantTerms, Leaf};
use signer::message::{Entry, SignReply};

/// The code with which the signer refuses to follow this log, after which its size is unchanged.
fn refused(world: &World) -> String {
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    let code = answers(world.ask(&mut signer, &[])).unwrap_err();
    assert_eq!((signer.size(), ca.asked()), (0, 0));
    code
}

/// A world with a ceremony and a station, before any grant.
fn before_grant() -> World {
    let mut world = World::new();
    world.entries.truncate(2);
    world
}

#[test]
fn a_log_is_followed_in_one_part_or_in_many() {
    let mut world = World::new();
    world.enter_lot();
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    for size in 1..=world.size() {
        let mut request = world.request(signer.size(), &[]);
        request
            .entries
            .truncate(usize::try_from(size - signer.size()).unwrap());
        request.checkpoint = octets(&world.checkpoint(size));
        assert_eq!(
            exchange(&mut signer, &request),
            SignReply::Outcomes(Vec::new())
        );
        assert_eq!(signer.size(), size);
    }
    drop(signer);
    assert_eq!(world.open(&ca).size(), world.size());
}

#[test]
fn entries_sent_again_are_taken_as_known() {
    let world = World::new();
    let mut signer = world.open(&TestCaKey::new(CA));
    for _ in 0..2 {
        assert_eq!(
            exchange(&mut signer, &world.request(0, &[])),
            SignReply::Outcomes(Vec::new())
        );
    }
    let mut bare = world.request(0, &[]);
    bare.entries
        .iter_mut()
        .for_each(|entry| entry.support = None);
    assert_eq!(
        exchange(&mut signer, &bare),
        SignReply::Outcomes(Vec::new())
    );
}

#[test]
fn gaps_are_refused_and_the_size_is_told() {
    let world = World::new();
    let mut signer = world.open(&TestCaKey::new(CA));
    for (first, drop_last) in [(1, false), (0, true)] {
        let mut request = world.request(first, &[]);
        if drop_last {
            request.entries.pop();
        }
        let SignReply::Stopped(stopped) = exchange(&mut signer, &request) else {
            panic!("followed")
        };
        assert_eq!((stopped.code.as_str(), stopped.size), ("SIGN-0103", 0));
    }
}

#[test]
fn a_checkpoint_of_another_key_or_origin_is_refused() {
    let mut world = World::new();
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    world.log = crate::keys::LogKey::new(ORIGIN, 8);
    assert_eq!(
        answers(world.ask(&mut signer, &[])).unwrap_err(),
        "SIGN-0102"
    );
    world.log = crate::keys::LogKey::new("log.example/other", 7);
    assert_eq!(
        answers(world.ask(&mut signer, &[])).unwrap_err(),
        "SIGN-0102"
    );
}

#[test]
fn entries_that_are_not_the_signed_tree_are_refused() {
    let world = World::new();
    let mut signer = world.open(&TestCaKey::new(CA));
    let mut request = world.request(0, &[]);
    request.entries.swap(1, 2);
    assert_eq!(
        answers(exchange(&mut signer, &request)).unwrap_err(),
        "SIGN-0105"
    );
    answers(world.ask(&mut signer, &[])).unwrap();
}

#[test]
fn another_leaf_where_one_was_followed_is_a_fork_for_ever() {
    let mut world = World::new();
    let kept = world.birth(1);
    world.bind(&kept);
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    answers(world.ask(&mut signer, &[])).unwrap();
    // The same log without that leaf, and longer: signed by the log key all the same.
    world.entries.truncate(3);
    world.issued = 0;
    for device in [2, 3] {
        let birth = world.birth(device);
        world.bind(&birth);
    }
    let reply = exchange(&mut signer, &world.request(0, &[]));
    let SignReply::Stopped(stopped) = reply else {
        panic!("followed")
    };
    assert_eq!((stopped.code.as_str(), stopped.size), ("SIGN-0106", 4));
    assert!(stopped.text.contains("leaf at 3"), "{}", stopped.text);
    drop(signer);
    // Opened again, it still signs nothing, not even of the history it followed first.
    let mut signer = world.open(&ca);
    assert_eq!(
        answers(world.ask(&mut signer, &[])).unwrap_err(),
        "SIGN-0106"
    );
    drop(signer);
    let store = pages::open(&world.store()).unwrap();
    let evidence =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
    let (ours, theirs) = store
        .query_row("SELECT ours, theirs FROM halt", [], evidence)
        .unwrap();
    assert_eq!(theirs, world.checkpoint(world.size()));
    assert!(
        String::from_utf8(ours)
            .unwrap()
            .starts_with(&format!("{ORIGIN}\n4\n"))
    );
}

#[test]
fn a_fork_that_cannot_be_written_down_stops_the_signer_all_the_same() {
    let mut world = World::new();
    let birth = world.birth(1);
    world.bind(&birth);
    let ca = TestCaKey::new(CA);
    answers(world.ask(&mut world.open(&ca), &[])).unwrap();
    let store = pages::open(&world.store()).unwrap();
    let full =
        "CREATE TRIGGER full BEFORE INSERT ON halt BEGIN SELECT RAISE(ABORT, 'no room'); END";
    store.execute_batch(full).unwrap();
    drop(store);
    let mut signer = world.open(&ca);
    let followed = world.request(0, &[]);
    world.entries.truncate(3);
    let other = world.birth(2);
    world.bind(&other);
    let mut forked = world.request(world.size(), &[]);
    forked.first = world.size();
    for request in [&forked, &followed, &forked] {
        assert_eq!(
            answers(exchange(&mut signer, request)).unwrap_err(),
            "SIGN-0106"
        );
    }
    drop(signer);
    let store = pages::open(&world.store()).unwrap();
    let halts = "SELECT count(*) FROM halt";
    let halts: u32 = store.query_row(halts, [], |row| row.get(0)).unwrap();
    assert_eq!(halts, 0, "it was written down");
}

#[test]
fn a_second_tree_of_the_same_or_a_smaller_size_is_a_fork() {
    for length in [4, 3] {
        let mut world = World::new();
        for device in [1, 2] {
            let birth = world.birth(device);
            world.bind(&birth);
        }
        let mut signer = world.open(&TestCaKey::new(CA));
        answers(world.ask(&mut signer, &[])).unwrap();
        world.entries.truncate(length);
        let birth = world.birth(3);
        world.bind(&birth);
        let mut request = world.request(world.size(), &[]);
        request.first = world.size();
        assert_eq!(
            answers(exchange(&mut signer, &request)).unwrap_err(),
            "SIGN-0106"
        );
    }
}

#[test]
fn a_restored_backup_is_behind_and_nothing_is_signed() {
    let mut world = World::new();
    let birth = world.birth(1);
    let item = world.bind(&birth);
    let later = world.birth(2);
    world.bind(&later);
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    answers(world.ask(&mut signer, &[])).unwrap();
    world.entries.truncate(4);
    let mut request = world.request(4, &[item]);
    request.first = 4;
    let SignReply::Stopped(stopped) = exchange(&mut signer, &request) else {
        panic!("signed")
    };
    assert_eq!(
        (stopped.code.as_str(), stopped.size, ca.asked()),
        ("SIGN-0104", 5, 0)
    );
}

#[test]
fn the_ceremony_must_be_the_configured_one() {
    type Change = fn(&mut identity::document::Ceremony);
    let changes: [Change; 5] = [
        |c| c.origin = "log.example/other".to_owned(),
        |c| c.issuing.0[0] ^= 1,
        |c| c.issuing_key.0[0] ^= 1,
        |c| c.log_vkey.push('x'),
        |c| c.approvers[2].key = public(&key(55)),
    ];
    for change in changes {
        let mut world = World::with_ca(World::new().issuing);
        let mut ceremony = world.ceremony();
        change(&mut ceremony);
        world.push(
            Body::Ceremony {
                document: ceremony.hash(),
            },
            Some(support(&ceremony, None, &[])),
        );
        assert_eq!(refused(&world), "SIGN-0118");
    }
}

#[test]
fn approvals_must_be_enough_pinned_distinct_and_not_the_requesters() {
    let forged = |grant: &identity::document::Grant| Approval {
        approver: id("bert"),
        signature: sign(&key(4711), &approval_digest("grant", &grant.hash())),
    };
    type Approvals = Box<dyn Fn(&identity::document::Grant) -> Vec<Approval>>;
    let cases: Vec<(&str, Approvals)> = vec![
        ("anna", Box::new(|_| Vec::new())),
        ("anna", Box::new(|g| vec![approval(g, "bert")])),
        (
            "rita",
            Box::new(|g| vec![approval(g, "bert"), approval(g, "bert")]),
        ),
        (
            "rita",
            Box::new(|g| vec![approval(g, "anna"), approval(g, "zoe")]),
        ),
        (
            "anna",
            Box::new(|g| {
                vec![
                    approval(g, "anna"),
                    approval(g, "bert"),
                    approval(g, "cleo"),
                ]
            }),
        ),
        (
            "rita",
            Box::new(move |g| vec![approval(g, "anna"), forged(g)]),
        ),
    ];
    for (requester, approvals) in cases {
        let mut world = before_grant();
        world.grant.requester = id(requester);
        let (grant, approvals) = (world.grant.clone(), approvals(&world.grant));
        world.push(
            grant_body(&grant, &approvals),
            Some(support(&grant, Some(&world.profile), &approvals)),
        );
        assert_eq!(refused(&world), "SIGN-0117");
    }
}

#[test]
fn an_unapproved_station_is_refused() {
    let mut world = World::new();
    world.entries.truncate(1);
    let station = world.station.clone();
    let approvals = [approval(&station, "anna")];
    world.push(
        station_body(&station, &approvals),
        Some(support(&station, None, &approvals)),
    );
    assert_eq!(refused(&world), "SIGN-0117");
}

#[test]
fn approvers_of_the_log_that_are_not_pinned_count_for_nothing() {
    let world = World::new();
    let mut config = world.config();
    let mut pinned = world.approvers.clone();
    pinned[0] = PinnedApprover {
        id: id("dora"),
        key: public(&key(77)),
    };
    config.approvers = identity::approval::ApproverSet::new(2, pinned);
    signer::Signer::make_store(config.clone()).unwrap();
    let mut signer = signer::Signer::open(config, Box::new(TestCaKey::new(CA))).unwrap();
    assert_eq!(
        answers(world.ask(&mut signer, &[])).unwrap_err(),
        "SIGN-0118"
    );
}

#[test]
fn documents_must_be_the_ones_the_leaf_names() {
    type Change = fn(&mut Entry);
    let cases: [(&str, Change); 7] = [
        ("SIGN-0112", |e| e.support = None),
        ("SIGN-0112", |e| e.support.as_mut().unwrap().profile = None),
        ("SIGN-0114", |e| {
            e.support.as_mut().unwrap().document = octets(b"no document");
        }),
        ("SIGN-0115", |e| {
            let other = identity::document::Grant {
                limit: 99,
                ..grant(&profile())
            };
            e.support.as_mut().unwrap().document = octets(&other.to_bytes());
        }),
        ("SIGN-0116", |e| {
            e.support.as_mut().unwrap().approvals.reverse();
        }),
        ("SIGN-0116", |e| {
            e.support.as_mut().unwrap().approvals.truncate(1);
        }),
        ("SIGN-0120", |e| {
            let other = identity::document::Profile {
                crl: "http://other.example/".to_owned(),
                ..profile()
            };
            e.support.as_mut().unwrap().profile = Some(octets(&other.to_bytes()));
        }),
    ];
    for (code, change) in cases {
        let mut world = World::new();
        change(&mut world.entries[2]);
        assert_eq!(refused(&world), code);
    }
    let mut world = World::new();
    let birth = world.birth(1);
    world.bind(&birth);
    world.entries[3].support = world.entries[2].support.clone();
    assert_eq!(refused(&world), "SIGN-0113");
}

#[test]
fn a_grants_terms_in_the_open_must_be_the_approved_ones() {
    type Change = fn(&mut GrantTerms);
    let changes: [Change; 4] = [
        |t| t.limit += 1,
        |t| t.scrap += 1,
        |t| t.first.0 -= 1,
        |t| t.last.0 += 1,
    ];
    for change in changes {
        let mut world = World::new();
        let entry = world.entries.remove(2);
        let Body::Grant {
            document,
            approvals,
            mut terms,
        } = Leaf::from_bytes(entry.leaf.as_bytes()).unwrap().body
        else {
            panic!("no grant")
        };
        change(&mut terms);
        world.push(
            Body::Grant {
                document,
                approvals,
                terms,
            },
            entry.support,
        );
        assert_eq!(refused(&world), "SIGN-0119");
    }
}

#[test]
fn a_lot_order_must_say_what_its_leaf_says() {
    let mut world = World::new();
    world.enter_lot();
    let entry = world.entries.pop().unwrap();
    let Body::LotOpen {
        document,
        grant,
        quantity,
    } = Leaf::from_bytes(entry.leaf.as_bytes()).unwrap().body
    else {
        panic!("no lot")
    };
    world.push(
        Body::LotOpen {
            document,
            grant,
            quantity: quantity + 1,
        },
        entry.support,
    );
    assert_eq!(refused(&world), "SIGN-0121");
}

#[test]
fn leaves_against_the_rules_are_refused() {
    // More than granted.
    let mut world = before_grant();
    world.grant.limit = 2;
    world.grant.per_lot = 2;
    world.enter_grant();
    for device in 1..=3 {
        let birth = world.birth(device);
        world.bind(&birth);
    }
    assert_eq!(refused(&world), "SIGN-0111");
    // The same key again, under another ordinal.
    let mut world = World::new();
    for _ in 0..2 {
        let birth = world.birth(1);
        world.bind(&birth);
    }
    assert_eq!(refused(&world), "SIGN-0111");
    // A key that was certified, under a subject that was not.
    let mut world = World::new();
    let first = world.birth(1);
    world.bind(&first);
    let mut second = world.birth(2);
    second.bind.certificate.spki = first.bind.certificate.spki;
    world.bind(&second);
    assert_eq!(refused(&world), "SIGN-0111");
    // The same two, the other way round.
    let mut world = World::new();
    let (first, mut second) = (world.birth(1), world.birth(2));
    second.bind.certificate.spki = first.bind.certificate.spki;
    world.bind(&second);
    let first = world.birth(1);
    world.bind(&first);
    assert_eq!(refused(&world), "SIGN-0111");
    // An ordinal left out.
    let mut world = World::new();
    world.issued = 1;
    let birth = world.birth(1);
    world.bind(&birth);
    assert_eq!(refused(&world), "SIGN-0111");
    // A second ceremony.
    let mut world = World::new();
    world.enter_ceremony();
    assert_eq!(refused(&world), "SIGN-0111");
}

/// What a log's rules count as certified is what its leaves name, and no fixed key by itself.
#[test]
fn a_fixed_key_that_was_bound_with_another_is_not_certified() {
    let mut world = World::new();
    let (first, mut second) = (world.birth(1), world.birth(2));
    second.bind.certificate.spki = first.bind.certificate.spki;
    world.bind(&second);
    let (mut third, free) = (world.birth(3), world.birth(2).bind.certificate.spki);
    third.bind.certificate.spki = free;
    world.bind(&third);
    let mut signer = world.open(&TestCaKey::new(CA));
    answers(world.ask(&mut signer, &[])).unwrap();
    assert_eq!(signer.size(), world.size());
}

#[test]
fn a_leaf_that_cannot_be_read_is_refused() {
    let mut world = World::new();
    world.entries.push(Entry {
        leaf: octets(b"no leaf"),
        support: None,
    });
    assert_eq!(refused(&world), "SIGN-0110");
}

#[test]
fn a_refused_part_changes_nothing_and_the_mended_one_is_followed() {
    let mut world = World::new();
    let good = world.entries[2].clone();
    world.entries[2].support = None;
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    assert_eq!(
        answers(world.ask(&mut signer, &[])).unwrap_err(),
        "SIGN-0112"
    );
    world.entries[2] = good;
    answers(world.ask(&mut signer, &[])).unwrap();
    assert_eq!(signer.size(), 3);
}
