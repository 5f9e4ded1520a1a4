//! Documents: one encoding, one name, and each rule that the form alone does not show.

use crate::keys::public_key;
use crate::samples::{
    ALICE, ceremony, grant, id, lot_order, octets, profile, station, station_with_agents,
};
use identity::document::{
    Bytes32, Ceremony, Document, Grant, LotOrder, MAX_DOCUMENT, PinnedApprover, Profile,
    StationStatement, UidRule, WireError,
};
use identity::{ChipUid, DeviceSerial, Timestamp};
use std::fmt::Debug;

/// What a reader says to a document that was written without being checked.
fn read<D: Document>(document: &D) -> Result<(), WireError> {
    let read = D::from_bytes(&document.to_bytes()).map(drop);
    assert_eq!(read, document.check());
    read
}

fn refused<D: Document>(document: &D, rule: &'static str) {
    assert_eq!(read(document), Err(WireError::Rule(rule)));
}

fn serial(text: &str) -> DeviceSerial {
    DeviceSerial::new(text).unwrap()
}

#[test]
fn the_samples_follow_all_rules() {
    assert_eq!(read(&ceremony()), Ok(()));
    assert_eq!(read(&profile()), Ok(()));
    assert_eq!(read(&grant()), Ok(()));
    assert_eq!(read(&lot_order()), Ok(()));
    assert_eq!(read(&station()), Ok(()));
}

#[test]
fn kinds_of_documents_have_names_of_their_own() {
    let kinds = [
        Ceremony::KIND,
        Profile::KIND,
        Grant::KIND,
        LotOrder::KIND,
        StationStatement::KIND,
    ];
    assert_eq!(
        kinds,
        ["ceremony", "profile", "grant", "lot-order", "station"]
    );
}

#[test]
fn a_ceremony_needs_approvers_that_it_has() {
    refused(
        &Ceremony {
            needed: 0,
            ..ceremony()
        },
        "at least one approval is needed",
    );
    refused(
        &Ceremony {
            needed: 4,
            ..ceremony()
        },
        "no more approvals are needed than approvers exist",
    );
    assert_eq!(
        read(&Ceremony {
            needed: 3,
            ..ceremony()
        }),
        Ok(())
    );
}

#[test]
fn one_person_is_not_two_approvers() {
    let with = |name: &str, seed| {
        let mut ceremony = ceremony();
        ceremony.approvers.push(PinnedApprover {
            id: id(name),
            key: public_key(seed),
        });
        ceremony
    };
    refused(&with("alice", 77), "approvers differ in name and key");
    refused(
        &with("alice-again", ALICE),
        "approvers differ in name and key",
    );
    assert_eq!(read(&with("erin", 77)), Ok(()));
}

#[test]
fn a_profile_carries_the_serial_once() {
    let rule = "the subject holds serialNumber={serial} once";
    let mut none = profile();
    none.subject.pop();
    refused(&none, rule);
    let mut twice = profile();
    twice.subject.extend(profile().subject.pop());
    refused(&twice, rule);
}

#[test]
fn a_profile_names_a_crl_and_a_vendor() {
    refused(
        &Profile {
            crl: String::new(),
            ..profile()
        },
        "the CRL distribution point is an ASCII URI",
    );
    refused(
        &Profile {
            crl: "http://例.example".into(),
            ..profile()
        },
        "the CRL distribution point is an ASCII URI",
    );
    refused(
        &Profile {
            instance_uri: Some("tag:例".into()),
            ..profile()
        },
        "the instance URI is ASCII",
    );
    refused(
        &Profile {
            vendors: vec![],
            ..profile()
        },
        "a profile pins at least one chip vendor's key",
    );
    assert_eq!(
        read(&Profile {
            instance_uri: None,
            ..profile()
        }),
        Ok(())
    );
}

#[test]
fn a_grant_allows_something_somewhere_for_some_time() {
    refused(
        &Grant {
            lines: vec![],
            ..grant()
        },
        "a grant names at least one line",
    );
    refused(
        &Grant {
            stations: vec![],
            ..grant()
        },
        "a grant names at least one station",
    );
    refused(
        &Grant {
            limit: 0,
            per_lot: 0,
            ..grant()
        },
        "a grant's limit is at least 1",
    );
    refused(
        &Grant {
            per_lot: 0,
            ..grant()
        },
        "per_lot is between 1 and the limit",
    );
    refused(
        &Grant {
            per_lot: 5001,
            ..grant()
        },
        "per_lot is between 1 and the limit",
    );
    refused(
        &Grant {
            not_after: grant().not_before,
            ..grant()
        },
        "a grant ends after it begins",
    );
}

#[test]
fn a_grant_is_valid_from_its_first_to_its_last_moment() {
    let grant = grant();
    assert!(grant.valid_at(grant.not_before) && grant.valid_at(grant.not_after));
    assert!(
        !grant.valid_at(Timestamp(grant.not_before.0 - 1))
            && !grant.valid_at(grant.not_after.plus_millis(1))
    );
    assert_eq!(
        grant.days(),
        (grant.not_before.day(), grant.not_after.day())
    );
}

#[test]
fn a_lot_runs_upward_at_one_length() {
    refused(
        &LotOrder {
            quantity: 0,
            ..lot_order()
        },
        "a lot has at least one unit",
    );
    for last in ["26480000999", "264800019990"] {
        let lot = LotOrder {
            last_serial: serial(last),
            ..lot_order()
        };
        refused(&lot, "a lot's serial range runs upward at one length");
    }
}

#[test]
fn a_lot_holds_its_first_and_last_serial_and_none_beside() {
    for (text, held) in [
        ("26480001000", true),
        ("26480001999", true),
        ("26480000999", false),
        ("26480002000", false),
        ("264800015", false),
        ("264800015000", false),
    ] {
        assert_eq!(lot_order().serials().holds(&serial(text)), held, "{text}");
    }
}

#[test]
fn the_three_keys_of_a_station_never_stand_in_for_one_another() {
    let rule = "a station's three keys differ";
    refused(
        &StationStatement {
            request_key: station().tls_key,
            ..station()
        },
        rule,
    );
    refused(
        &StationStatement {
            receipt_key: station().tls_key,
            ..station()
        },
        rule,
    );
    refused(
        &StationStatement {
            receipt_key: station().request_key,
            ..station()
        },
        rule,
    );
}

#[test]
fn a_station_acts_within_its_statement() {
    let station = station();
    assert!(station.valid_at(station.not_before) && station.valid_at(station.not_after));
    assert!(
        !station.valid_at(Timestamp(station.not_before.0 - 1))
            && !station.valid_at(station.not_after.plus_millis(1))
    );
    let endless = StationStatement {
        not_after: station.not_before,
        ..station
    };
    refused(&endless, "a station's statement ends after it begins");
}

#[test]
fn a_station_runs_the_agents_that_its_statement_names_or_any() {
    let (named, other) = (Bytes32([0x11; 32]), Bytes32([0x33; 32]));
    assert!(station().approves(None) && station().approves(Some(&other)));
    let picky = station_with_agents();
    assert!(picky.approves(Some(&named)));
    assert!(!picky.approves(Some(&other)) && !picky.approves(None));
    // Who approved the one did not approve the other.
    assert_ne!(picky.hash(), station().hash());
    let naming = |agents: &[u8]| StationStatement {
        agents: Some(agents.iter().map(|byte| Bytes32([*byte; 32])).collect()),
        ..station()
    };
    naming(&[1]).check().unwrap();
    naming(&(1..=16).collect::<Vec<_>>()).check().unwrap();
    let count = "a station's agents are 1 to 16, where any are named";
    refused(&naming(&[]), count);
    refused(&naming(&(1..=17).collect::<Vec<_>>()), count);
    let order = "a station's agents are in ascending order, each once";
    refused(&naming(&[2, 1]), order);
    refused(&naming(&[1, 1]), order);
}

#[test]
fn a_uid_has_the_length_and_the_first_bytes_of_the_rule() {
    let rule = UidRule {
        length: 4,
        prefix: octets(&[4, 5]),
    };
    for (bytes, allowed) in [
        (&[4, 5, 0, 0][..], true),
        (&[4, 5, 0], false),
        (&[4, 6, 0, 0], false),
        (&[4, 5, 0, 0, 0], false),
    ] {
        assert_eq!(
            rule.allows(&ChipUid::new(bytes).unwrap()),
            allowed,
            "{bytes:?}"
        );
    }
}

fn never_the_same_under_other_bytes<D: Document + PartialEq + Debug>(document: &D) {
    let bytes = document.to_bytes();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok(other) = D::from_bytes(&flipped) {
            assert_ne!(&other, document);
            assert_eq!(other.to_bytes(), flipped);
            assert_ne!(other.hash(), document.hash());
        }
        assert!(
            matches!(D::from_bytes(&bytes[..at]), Err(WireError::Der(_))),
            "first {at} bytes"
        );
    }
    let trailing = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(D::from_bytes(&trailing), Err(WireError::Der(_))));
}

#[test]
fn a_flipped_bit_is_refused_or_makes_another_document() {
    never_the_same_under_other_bytes(&ceremony());
    never_the_same_under_other_bytes(&profile());
    never_the_same_under_other_bytes(&grant());
    never_the_same_under_other_bytes(&lot_order());
    never_the_same_under_other_bytes(&station());
}

#[test]
fn a_compressed_key_in_a_document_is_refused() {
    let mut bytes = station().to_bytes();
    let key = station().tls_key;
    let at = bytes
        .windows(65)
        .position(|window| window == key.sec1())
        .unwrap();
    bytes[at] = 2 + (key.sec1()[64] & 1);
    bytes.drain(at + 33..at + 65);
    bytes[at - 1] = 33;
    let length = u16::try_from(bytes.len() - 4).unwrap().to_be_bytes();
    bytes[2..4].copy_from_slice(&length);
    assert!(matches!(
        StationStatement::from_bytes(&bytes),
        Err(WireError::Der(_))
    ));
}

#[test]
fn a_long_document_is_not_parsed() {
    let long = vec![0x30; MAX_DOCUMENT + 1];
    assert_eq!(
        Grant::from_bytes(&long),
        Err(WireError::TooLong {
            got: 32769,
            max: 32768
        })
    );
}
