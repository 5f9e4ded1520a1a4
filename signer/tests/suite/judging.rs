//! One item: every field of leaf, envelope and TBS that is not what it must be has a code of its own.

use crate::keys::{TestCaKey, issuing_certificate, key, public, rcgen_key, sign};
use crate::world::*;
use identity::document::{KeyOriginRule, Profile};
use identity::envelope::{Observation, Purpose};
use identity::evidence::{Evidence, Grade};
use identity::field::{Opening, Openings, Tag};
use identity::idevid::Issuer;
use identity::{ChipUid, DeviceSerial, PartNumber, Timestamp, VerifyP256 as _};
use signer::message::Answer;

/// Asks for one tampered device between two good ones; those are signed whatever happens to it.
fn verdict(tamper: impl Fn(&mut World, &mut Birth)) -> Result<[u8; 64], String> {
    judged(World::new(), tamper, |_| ())
}

fn judged(
    mut world: World,
    tamper: impl Fn(&mut World, &mut Birth),
    spoil: impl Fn(&mut Item),
) -> Result<[u8; 64], String> {
    let (before, mut birth, after) = (world.birth(1), world.birth(2), world.birth(3));
    tamper(&mut world, &mut birth);
    let mut items = vec![world.bind(&before), world.bind(&birth), world.bind(&after)];
    spoil(&mut items[1]);
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    let answers = answers(world.ask(&mut signer, &items)).unwrap();
    let [Answer::Signed(_), answer, Answer::Signed(_)] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    match answer {
        Answer::Signed(signature) => {
            let digest = identity::TbsHash::of(items[1].tbs.as_bytes());
            assert!(identity::PortableVerifier.verify(
                &public(&key(CA)),
                digest.as_bytes(),
                &signature.0
            ));
            Ok(signature.0)
        }
        Answer::Refused(refused) => {
            assert_eq!(ca.asked(), 2, "the HSM was asked for a refused item");
            Err(refused.code.clone())
        }
    }
}

fn code_of(tamper: impl Fn(&mut World, &mut Birth)) -> String {
    verdict(tamper).unwrap_err()
}

/// Spoils the item only; leaf and log are good.
fn code_of_item(spoil: impl Fn(&mut Item)) -> String {
    judged(World::new(), |_, _| (), spoil).unwrap_err()
}

fn world_with(profile: Profile) -> World {
    let mut world = World::new();
    world.entries.truncate(2);
    world.grant = grant(&profile);
    world.profile = profile;
    world.enter_grant();
    world
}

#[test]
fn an_untouched_device_is_signed() {
    verdict(|_, _| ()).unwrap();
}

#[test]
fn units_of_one_envelope_are_signed_in_any_order() {
    let mut world = World::new();
    let births = world.births(&[1, 2, 3, 4]);
    let mut items: Vec<_> = births.iter().map(|birth| world.bind(birth)).collect();
    items.swap(0, 3);
    let mut signer = world.open(&TestCaKey::new(CA));
    let answers = answers(world.ask(&mut signer, &items)).unwrap();
    for (item, answer) in items.iter().zip(answers) {
        let Answer::Signed(signature) = answer else {
            panic!("{answer:?}")
        };
        let digest = identity::TbsHash::of(item.tbs.as_bytes());
        assert!(identity::PortableVerifier.verify(
            &public(&key(CA)),
            digest.as_bytes(),
            &signature.0
        ));
    }
}

#[test]
fn spoilt_items_are_refused() {
    assert_eq!(code_of_item(|item| item.index = 2), "SIGN-0140");
    assert_eq!(code_of_item(|item| item.index = 99), "SIGN-0140");
    assert_eq!(code_of_item(|item| item.index = u64::MAX), "SIGN-0140");
    assert_eq!(
        code_of_item(|item| item.tbs = octets(&[item.tbs.as_bytes(), &[0]].concat())),
        "SIGN-0143"
    );
    assert_eq!(
        code_of_item(|item| item.envelope = octets(b"no envelope")),
        "SIGN-0150"
    );
    assert_eq!(
        code_of_item(|item| item.signature = octets(&[1; 64])),
        "SIGN-0155"
    );
    assert_eq!(
        code_of_item(|item| item.signature = octets(&[])),
        "SIGN-0155"
    );
    assert_eq!(code_of_item(|item| item.unit = 1), "SIGN-0170");
    assert_eq!(code_of_item(|item| item.unit = u32::MAX), "SIGN-0170");
}

#[test]
fn a_tampered_leaf_is_refused() {
    assert_eq!(
        code_of(|_, b| b.bind.certificate.tbs.0[0] ^= 1),
        "SIGN-0143"
    );
    assert_eq!(
        code_of(|_, b| b.bind.certificate.issuer.0[0] ^= 1),
        "SIGN-0144"
    );
    assert_eq!(code_of(|_, b| b.bind.request.0[0] ^= 1), "SIGN-0151");
    assert_eq!(
        code_of(|_, b| b.bind.certificate.spki.0[0] ^= 1),
        "SIGN-0172"
    );
    assert_eq!(code_of(|_, b| b.bind.subject.0[0] ^= 1), "SIGN-0173");
    assert_eq!(code_of(|_, b| b.bind.evidence.hash.0[0] ^= 1), "SIGN-0175");
    assert_eq!(
        code_of(|_, b| b.bind.evidence.grade = Grade::HsmAttested),
        "SIGN-0177"
    );
    assert_eq!(
        code_of(|_, b| b.bind.certificate.serial.0[19] ^= 1),
        "SIGN-0191"
    );
    assert_eq!(
        code_of(|_, b| b.bind.certificate.serial.0[0] = 0x80),
        "SIGN-0191"
    );
    assert_eq!(code_of(|_, b| b.bind.fields.0[0] ^= 1), "SIGN-0145");
}

/// No serial number but the one that follows from issuer and key, so that none is given twice.
#[test]
fn a_chosen_serial_number_is_refused_though_leaf_and_tbs_agree() {
    let chosen = |world: &mut World, birth: &mut Birth| {
        birth.bind.certificate.serial.0[19] ^= 1;
        birth.seal_tbs(world);
    };
    assert_eq!(code_of(chosen), "SIGN-0191");
}

/// What the leaf commits to is open to the signer, and says what envelope and grant say.
#[test]
fn fields_that_say_otherwise_are_refused() {
    for tag in [
        Tag::DeviceSerial,
        Tag::ChipUid,
        Tag::ChipPart,
        Tag::Station,
        Tag::Line,
        Tag::Lot,
        Tag::Factory,
        Tag::Model,
        Tag::BrandOwner,
    ] {
        let other = code_of(|world, b| {
            b.seal_fields(world, |fields| {
                let field = fields.iter_mut().find(|(it, _)| *it == tag).unwrap();
                field.1 = b"another".to_vec();
            });
        });
        let missing = code_of(|world, b| {
            b.seal_fields(world, |fields| fields.retain(|(it, _)| *it != tag));
        });
        let withheld = code_of(|_, b| {
            let openings = Openings::from_bytes(&b.openings).unwrap();
            let tags = openings.fields().iter().map(Opening::tag);
            let kept: Vec<_> = tags.filter(|it| *it != tag).collect();
            b.take_openings(&openings.disclose(&kept));
        });
        assert_eq!([other, missing, withheld], ["SIGN-0146"; 3], "{tag:?}");
    }
    assert_eq!(
        code_of_item(|item| item.openings = octets(b"no openings")),
        "SIGN-0145"
    );
}

/// What the station observed stands in the fields as it signed it, and nothing that it did not observe.
#[test]
fn observations_are_the_stations_own() {
    let observed = |said: &'static [u8]| {
        code_of(move |world, birth| {
            birth.own().observations = vec![Observation {
                tag: Tag::Operator,
                value: octets(b"anna"),
            }];
            birth.seal_envelope();
            birth.seal_fields(world, |fields| {
                fields.extend((!said.is_empty()).then(|| (Tag::Operator, said.to_vec())));
            });
        })
    };
    assert_eq!([observed(b"eve"), observed(b"")], ["SIGN-0146"; 2]);
    let invented = code_of(|world, birth| {
        birth.seal_fields(world, |fields| {
            fields.push((Tag::Operator, b"anna".to_vec()));
        });
    });
    assert_eq!(invented, "SIGN-0146");

    let mut world = World::new();
    let mut birth = world.birth(1);
    birth.own().observations = vec![Observation {
        tag: Tag::Operator,
        value: octets(b"anna"),
    }];
    birth.seal_envelope();
    birth.seal_fields(&world, |fields| {
        fields.push((Tag::Operator, b"anna".to_vec()));
        fields.push((Tag::WorkOrder, b"wo-1".to_vec()));
        fields.push((Tag::Time, NOW.0.to_string().into_bytes()));
    });
    let item = world.bind(&birth);
    one(world.ask(&mut world.open(&TestCaKey::new(CA)), &[item])).unwrap();
}

#[test]
fn an_envelope_of_another_day_is_refused() {
    for (days, expected) in [(-33, "SIGN-0156"), (-32, ""), (1, ""), (2, "SIGN-0156")] {
        let mut world = World::new();
        world.entries.truncate(1);
        world.station.not_before = Timestamp(NOW.0 - 40 * DAY_MILLIS);
        world.enter_station();
        world.enter_grant();
        let mut birth = world.birth(1);
        let shift = days * i64::try_from(DAY_MILLIS).unwrap();
        birth.envelope.time = Timestamp(NOW.0.saturating_add_signed(shift));
        birth.seal_envelope();
        let item = world.bind(&birth);
        let asked = one(world.ask(&mut world.open(&TestCaKey::new(CA)), &[item]));
        assert_eq!(asked.err().unwrap_or_default(), expected, "{days}");
    }
}

#[test]
fn an_item_without_its_envelope_is_refused() {
    let mut world = World::new();
    let birth = world.birth(1);
    let item = world.bind(&birth);
    let mut request = world.request(0, &[item]);
    request.envelopes.clear();
    let mut signer = world.open(&TestCaKey::new(CA));
    assert_eq!(
        one(exchange(&mut signer, &request)).unwrap_err(),
        "SIGN-0157"
    );
}

/// The leaf names the envelope as it is; only the station's signature and what it says can refuse it.
#[test]
fn a_tampered_envelope_is_refused() {
    let sealed = |change: fn(&mut Birth)| {
        code_of(move |world, birth| {
            change(birth);
            birth.seal_envelope();
            birth.seal_tbs(world);
        })
    };
    assert_eq!(sealed(|b| b.envelope.purpose = Purpose::Adopt), "SIGN-0152");
    assert_eq!(sealed(|b| b.envelope.station = id("st-2")), "SIGN-0153");
    assert_eq!(
        sealed(|b| b.envelope.time = Timestamp(NOW.0 + 20 * DAY_MILLIS)),
        "SIGN-0154"
    );
    assert_eq!(
        sealed(|b| b.envelope.time = Timestamp(NOW.0 - 20 * DAY_MILLIS)),
        "SIGN-0154"
    );
    assert_eq!(sealed(|b| b.envelope.grant.0[0] ^= 1), "SIGN-0160");
    assert_eq!(sealed(|b| b.own().request.0[0] ^= 1), "SIGN-0174");
    assert_eq!(
        sealed(|b| b.own().challenge = octets(b"another")),
        "SIGN-0174"
    );
    assert_eq!(
        sealed(|b| b.own().serial = DeviceSerial::new("SN999999").unwrap()),
        "SIGN-0174"
    );
    assert_eq!(sealed(|b| b.own().possession.0[5] ^= 1), "SIGN-0174");
    assert_eq!(
        sealed(|b| b.own().part = PartNumber::new("CHIP-2").unwrap()),
        "SIGN-0180"
    );
    assert_eq!(
        sealed(|b| b.own().uid = ChipUid::new(&[0xc1, 0, 0, 2]).unwrap()),
        "SIGN-0181"
    );
    assert_eq!(
        sealed(|b| b.own().uid = ChipUid::new(&[0xc0, 0, 2]).unwrap()),
        "SIGN-0181"
    );
    assert_eq!(
        sealed(|b| b.own().key = octets(&public(&key(4711)).spki())),
        "SIGN-0172"
    );
}

#[test]
fn a_key_that_is_none_is_refused() {
    assert_eq!(
        code_of(|_, b| {
            b.own().key = octets(&[4; 65]);
            b.seal_envelope();
        }),
        "SIGN-0171"
    );
}

#[test]
fn an_envelope_signed_by_another_key_is_refused() {
    assert_eq!(
        code_of(|_, b| b.signature = sign(&key(STATION_RECEIPT), &b.bind.request.0).0.to_vec()),
        "SIGN-0155"
    );
}

#[test]
fn stations_and_lines_that_the_grant_does_not_name_are_refused() {
    let ungranted = |change: fn(&mut identity::document::Grant)| {
        let mut world = World::new();
        world.entries.truncate(2);
        change(&mut world.grant);
        world.enter_grant();
        let birth = world.birth(1);
        let item = world.bind(&birth);
        one(world.ask(&mut world.open(&TestCaKey::new(CA)), &[item])).unwrap_err()
    };
    assert_eq!(ungranted(|g| g.stations = vec![id("st-2")]), "SIGN-0161");
    assert_eq!(ungranted(|g| g.lines = vec![id("line-2")]), "SIGN-0162");
    assert_eq!(ungranted(|g| g.site = id("site-2")), "SIGN-0163");
}

#[test]
fn a_station_entered_after_the_leaf_did_not_ask_for_it() {
    let mut world = World::new();
    world.entries.remove(1);
    let birth = world.birth(1);
    let item = world.bind(&birth);
    world.enter_station();
    assert_eq!(
        one(world.ask(&mut world.open(&TestCaKey::new(CA)), &[item])).unwrap_err(),
        "SIGN-0153"
    );
}

#[test]
fn a_later_statement_does_not_undo_what_was_asked_before() {
    let mut world = World::new();
    let birth = world.birth(1);
    let item = world.bind(&birth);
    world.station.request_key = public(&key(500));
    world.enter_station();
    one(world.ask(&mut world.open(&TestCaKey::new(CA)), &[item])).unwrap();
}

#[test]
fn evidence_that_does_not_hold_is_refused() {
    let evidence = |change: fn(&mut identity::evidence::OnChip)| {
        code_of(move |_, b| {
            let Evidence::OnChip(evidence) = &mut b.own().evidence else {
                panic!("not on chip")
            };
            change(evidence);
            b.seal_envelope();
        })
    };
    assert_eq!(evidence(|e| e.chip.endorsement.0[3] ^= 1), "SIGN-0176");
    assert_eq!(
        evidence(|e| e.chip.attestation = public(&key(600))),
        "SIGN-0176"
    );
    assert_eq!(evidence(|e| e.origin.0[3] ^= 1), "SIGN-0176");
    assert_eq!(evidence(|e| e.nonce.0[3] ^= 1), "SIGN-0176");
}

#[test]
fn the_origin_must_be_the_profiles() {
    let injected = |world: &mut World, birth: &mut Birth| {
        let evidence = world.injected(birth.own());
        birth.own().evidence = Evidence::Injected(evidence);
        birth.bind.evidence.grade = Grade::StationAsserted;
        birth.seal_envelope();
    };
    assert_eq!(code_of(injected), "SIGN-0179");
}

#[test]
fn an_injected_key_is_signed_where_the_profile_allows_it_and_its_grade() {
    let allowed = Profile {
        origin: KeyOriginRule::Injected,
        grade: Grade::StationAsserted,
        ..profile()
    };
    let demanding = Profile {
        origin: KeyOriginRule::Injected,
        grade: Grade::HsmAttested,
        ..profile()
    };
    let ask = |profile: Profile, spoil: fn(&mut identity::evidence::Injected)| {
        let mut world = world_with(profile);
        let mut birth = world.birth(1);
        let mut evidence = world.injected(birth.own());
        spoil(&mut evidence);
        birth.own().evidence = Evidence::Injected(evidence);
        birth.bind.evidence.grade = Grade::StationAsserted;
        birth.seal_envelope();
        let item = world.bind(&birth);
        one(world.ask(&mut world.open(&TestCaKey::new(CA)), &[item]))
    };
    ask(allowed.clone(), |_| ()).unwrap();
    assert_eq!(
        ask(allowed.clone(), |e| e.receipt.0[9] ^= 1).unwrap_err(),
        "SIGN-0176"
    );
    assert_eq!(
        ask(allowed, |e| e.wrapped.0[9] ^= 1).unwrap_err(),
        "SIGN-0176"
    );
    assert_eq!(ask(demanding, |_| ()).unwrap_err(), "SIGN-0178");
}

#[test]
fn the_tbs_of_another_profile_is_refused_though_the_leaf_names_it() {
    let with_profile = |change: fn(&mut Profile)| {
        code_of(move |world, b| {
            let mut other = world.profile.clone();
            change(&mut other);
            let tbs = b.build(&world.issuer(), &other);
            b.take_tbs(tbs);
        })
    };
    assert_eq!(
        with_profile(|p| p.crl = "http://other.example/".to_owned()),
        "SIGN-0196"
    );
    assert_eq!(
        with_profile(|p| p.hardware_type = "1.3.6.1.4.1.32473.1.8".parse().unwrap()),
        "SIGN-0196"
    );
    assert_eq!(
        with_profile(|p| p.subject[0].template = "Another Maker".to_owned()),
        "SIGN-0194"
    );
    assert_eq!(with_profile(|p| p.instance_uri = None), "SIGN-0194");
    assert_eq!(
        with_profile(|p| {
            p.subject.remove(0);
        }),
        "SIGN-0196"
    );
}

#[test]
fn the_tbs_of_another_unit_or_issuer_is_refused_though_the_leaf_names_it() {
    let of_another = |change: fn(&mut Birth)| {
        code_of(move |world, b| {
            let mut other = b.clone();
            change(&mut other);
            b.take_tbs(other.build(&world.issuer(), &world.profile));
        })
    };
    assert_eq!(
        of_another(|b| b.own().key = octets(&public(&key(4711)).spki())),
        "SIGN-0192"
    );
    assert_eq!(
        of_another(|b| b.own().uid = ChipUid::new(&[0xc0, 9, 9, 9]).unwrap()),
        "SIGN-0194"
    );
    assert_eq!(
        of_another(|b| b.own().serial = DeviceSerial::new("SN999999").unwrap()),
        "SIGN-0194"
    );
    assert_eq!(
        of_another(|b| b.bind.certificate.serial.0[9] ^= 1),
        "SIGN-0191"
    );
    assert_eq!(
        of_another(|b| b.not_before = Timestamp(NOW.0 - 6 * DAY_MILLIS)),
        "SIGN-0195"
    );
    assert_eq!(
        of_another(|b| b.not_before = Timestamp(NOW.0 + 6 * DAY_MILLIS)),
        "SIGN-0195"
    );
    let foreign = Issuer::from_certificate(&issuing_certificate(&rcgen_key(&key(2)))).unwrap();
    assert_eq!(
        code_of(move |world, b| b.take_tbs(b.build(&foreign, &world.profile))),
        "SIGN-0193"
    );
    assert_eq!(
        code_of(|_, b| b.take_tbs(b"no certificate".to_vec())),
        "SIGN-0190"
    );
}

/// Each single byte of a TBS, changed, with a leaf that names the changed TBS: only what the profile leaves open, the
/// start of validity within the grant, may pass.
#[test]
fn no_byte_of_a_tbs_is_free() {
    let mut world = World::new();
    world.entries.truncate(2);
    world.grant.limit = 5000;
    world.enter_grant();
    let length = world.birth(1).tbs.len();
    let mut items = Vec::new();
    for at in 0..length {
        let mut birth = world.birth(u16::try_from(at + 1).unwrap());
        let mut tbs = birth.tbs.clone();
        tbs[at] ^= 1;
        birth.take_tbs(tbs);
        items.push((birth.clone(), world.bind(&birth)));
    }
    let asked: Vec<_> = items.iter().map(|(_, item)| item.clone()).collect();
    let answers = answers(world.ask(&mut world.open(&TestCaKey::new(CA)), &asked)).unwrap();
    for ((birth, item), answer) in items.iter().zip(answers) {
        if let Answer::Signed(_) = answer {
            let parsed = identity::idevid::parse_tbs(item.tbs.as_bytes()).unwrap();
            assert_ne!(
                parsed.not_before.seconds(),
                birth.not_before.seconds(),
                "a free byte in {:?}",
                birth.device
            );
        }
    }
}

#[test]
fn voided_units_are_refused_even_with_a_stored_signature() {
    let mut world = World::new();
    let birth = world.birth(1);
    let item = world.bind(&birth);
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    one(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap();
    world.void(item.index);
    assert_eq!(
        one(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap_err(),
        "SIGN-0141"
    );
    let birth = world.birth(2);
    let item = world.bind(&birth);
    world.void(item.index);
    assert_eq!(
        one(world.ask(&mut signer, &[item])).unwrap_err(),
        "SIGN-0141"
    );
    assert_eq!(ca.asked(), 1);
}

#[test]
fn the_same_item_gets_the_same_bytes_for_ever() {
    let mut world = World::new();
    let birth = world.birth(1);
    let item = world.bind(&birth);
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    let twice = answers(world.ask(&mut signer, &[item.clone(), item.clone()])).unwrap();
    assert_eq!(twice[0], twice[1]);
    let first = one(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap();
    drop(signer);
    let again = one(world.ask(&mut world.open(&ca), &[item])).unwrap();
    assert_eq!(
        (first, twice, ca.asked()),
        (
            again,
            vec![Answer::Signed(identity::envelope::Signature(again)); 2],
            1
        )
    );
}

#[test]
fn another_tbs_for_an_attempted_leaf_is_refused_for_ever() {
    let mut world = World::new();
    let birth = world.birth(1);
    let item = world.bind(&birth);
    let mut other = item.clone();
    other.tbs = octets(&{
        let mut later = birth.clone();
        later.not_before = Timestamp(NOW.0 + 1000);
        later.build(&world.issuer(), &world.profile)
    });
    let ca = TestCaKey::new(CA);
    let mut signer = world.open(&ca);
    one(world.ask(&mut signer, std::slice::from_ref(&item))).unwrap();
    for _ in 0..2 {
        assert_eq!(
            one(world.ask(&mut signer, std::slice::from_ref(&other))).unwrap_err(),
            "SIGN-0142"
        );
        drop(signer);
        signer = world.open(&ca);
    }
    let answers = answers(world.ask(&mut signer, &[other, item])).unwrap();
    assert!(
        matches!(answers.as_slice(), [Answer::Refused(_), Answer::Signed(_)]),
        "{answers:?}"
    );
}
