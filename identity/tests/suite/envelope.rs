//! What a station sends: bounded before it is believed, and signed under a label of its own.

use crate::keys::{public_key, sign};
use crate::samples::{
    FIXED, REQUEST, REQUESTS, confirm_request, envelope, envelope_with_checkpoint, injected,
    lot_close_request, octets, on_chip, scrap_request, unit, void_request,
};
use identity::PortableVerifier;
use identity::envelope::{
    ConfirmRequest, Envelope, MAX_CHALLENGE, MAX_ENVELOPE, MAX_SEEN, MAX_UNITS, Observation,
    Purpose, STATION_TAGS, StationRequest, VoidRequest, WireError, request_hash, signed_by,
};
use identity::field::{MAX_VALUE, Tag};
use identity::key::KeyError;
use proptest::prelude::{any, proptest};

const BOUNDS: WireError = WireError::Rule("a unit's challenge or observations are out of bounds");

fn sample() -> Envelope {
    envelope(Purpose::Provision, on_chip())
}

fn read(envelope: &Envelope) -> Result<(), WireError> {
    Envelope::from_bytes(&envelope.to_bytes()).map(drop)
}

fn with_observations(observations: &[(Tag, &[u8])]) -> Envelope {
    let mut envelope = sample();
    let observation = |(tag, value): &(Tag, &[u8])| Observation {
        tag: *tag,
        value: octets(value),
    };
    envelope.units[0].observations = observations.iter().map(observation).collect();
    envelope
}

#[test]
fn an_envelope_holds_1_to_64_units() {
    let with = |count| Envelope {
        units: vec![unit(on_chip()); count],
        ..sample()
    };
    let rule = WireError::Rule("an envelope holds 1 to 64 units");
    assert_eq!(read(&with(0)), Err(rule.clone()));
    assert_eq!(read(&with(1)), Ok(()));
    assert_eq!(read(&with(MAX_UNITS)), Ok(()));
    assert_eq!(read(&with(MAX_UNITS + 1)), Err(rule));
}

#[test]
fn a_seen_checkpoint_is_bounded() {
    let with = |length| Envelope {
        seen: Some(octets(&vec![b'x'; length])),
        ..sample()
    };
    assert_eq!(read(&with(MAX_SEEN)), Ok(()));
    assert_eq!(
        read(&with(MAX_SEEN + 1)),
        Err(WireError::Rule("a seen checkpoint is at most 4096 bytes"))
    );
    assert_eq!(read(&envelope_with_checkpoint()), Ok(()));
}

#[test]
fn a_challenge_is_bounded() {
    let with = |length| {
        let mut envelope = sample();
        envelope.units[0].challenge = octets(&vec![1; length]);
        envelope
    };
    assert_eq!(read(&with(MAX_CHALLENGE)), Ok(()));
    assert_eq!(read(&with(MAX_CHALLENGE + 1)), Err(BOUNDS));
}

#[test]
fn a_station_states_only_what_the_ca_cannot_know() {
    for number in 1..=20_u8 {
        let tag = Tag::try_from(number).unwrap();
        let value: &[u8] = if tag == Tag::Supersedes {
            &[7; 32]
        } else {
            b"x"
        };
        let expected = if STATION_TAGS.contains(&tag) {
            Ok(())
        } else {
            Err(BOUNDS)
        };
        assert_eq!(
            read(&with_observations(&[(tag, value)])),
            expected,
            "{tag:?}"
        );
    }
}

#[test]
fn a_superseded_board_is_named_by_its_subject() {
    let with = |value: &[u8]| with_observations(&[(Tag::Supersedes, value)]);
    assert_eq!(
        with(&[7; 32]).units[0].supersedes(),
        Some(identity::SubjectId([7; 32]))
    );
    assert_eq!(sample().units[0].supersedes(), None);
    for length in [0, 31, 33] {
        let rule = WireError::Rule("the board that a unit supersedes is named by 32 bytes");
        assert_eq!(read(&with(&vec![7; length])), Err(rule), "{length}");
    }
}

#[test]
fn observations_rise_and_are_bounded() {
    assert_eq!(read(&with_observations(&[])), Ok(()));
    assert_eq!(
        read(&with_observations(&[
            (Tag::Attempt, b"1"),
            (Tag::Operator, b"a")
        ])),
        Err(BOUNDS)
    );
    assert_eq!(
        read(&with_observations(&[
            (Tag::Operator, b"a"),
            (Tag::Operator, b"b")
        ])),
        Err(BOUNDS)
    );
    assert_eq!(
        read(&with_observations(&[(Tag::Operator, &[b'x'; MAX_VALUE])])),
        Ok(())
    );
    assert_eq!(
        read(&with_observations(&[(
            Tag::Operator,
            &[b'x'; MAX_VALUE + 1]
        )])),
        Err(BOUNDS)
    );
}

#[test]
fn a_chip_gives_its_key_in_any_honest_encoding() {
    let key = public_key(FIXED);
    let compressed = [&[2 + (key.sec1()[64] & 1)], &key.sec1()[1..33]].concat();
    for encoding in [&key.spki()[..], &key.sec1()[..], &compressed] {
        let mut unit = unit(on_chip());
        unit.key = octets(encoding);
        assert_eq!(unit.fixed_key(), Ok(key));
    }
    let mut unit = unit(on_chip());
    unit.key = octets(b"");
    assert_eq!(unit.fixed_key(), Err(KeyError::Encoding));
}

#[test]
fn a_request_is_named_by_label_and_bytes() {
    let vectors = [
        (
            request_hash::<Envelope>(b"der"),
            "a5afaef9895fa97edc53227791c0006b6380716783f02bdf0a75b6907915ae8b",
        ),
        (
            request_hash::<ConfirmRequest>(b"der"),
            "dfb6f5a9f6a10fd1da7fdd619167ae4bb073ecd0cac82e0745471470a4c2424b",
        ),
        (
            request_hash::<VoidRequest>(b"der"),
            "67fa9ecfecc05ff90c39e1ffa4804d44ab9358e2d0aa208eeea047a2aea31c42",
        ),
    ];
    for (hash, expected) in vectors {
        assert_eq!(hash.to_string(), expected);
    }
}

#[test]
fn a_signature_under_one_label_is_none_under_another() {
    let der = void_request().to_bytes();
    let signature = sign(REQUESTS, &request_hash::<VoidRequest>(&der).0);
    let key = public_key(REQUESTS);
    assert!(signed_by::<VoidRequest>(
        &der,
        &signature,
        &key,
        &PortableVerifier
    ));
    assert!(!signed_by::<Envelope>(
        &der,
        &signature,
        &key,
        &PortableVerifier
    ));
    assert!(!signed_by::<ConfirmRequest>(
        &der,
        &signature,
        &key,
        &PortableVerifier
    ));
    assert!(!signed_by::<VoidRequest>(
        &der,
        &signature,
        &public_key(1),
        &PortableVerifier
    ));
    assert!(!signed_by::<VoidRequest>(
        &der[1..],
        &signature,
        &key,
        &PortableVerifier
    ));
}

#[test]
fn every_request_says_whose_it_is() {
    let stations = [
        *sample().station(),
        *confirm_request().station(),
        *void_request().station(),
        *scrap_request(None).station(),
        *lot_close_request().station(),
    ];
    assert!(stations.iter().all(|station| station.as_str() == "st-01"));
}

fn cut_short_or_with_a_tail<R: StationRequest>(request: &R) {
    let bytes = request.to_bytes();
    for end in 0..bytes.len() {
        assert!(
            matches!(
                R::from_bytes(&bytes[..end]).map(drop),
                Err(WireError::Der(_))
            ),
            "first {end} bytes"
        );
    }
    let trailing = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(
        R::from_bytes(&trailing).map(drop),
        Err(WireError::Der(_))
    ));
}

#[test]
fn a_request_cut_short_anywhere_or_with_a_tail_is_refused() {
    cut_short_or_with_a_tail(&sample());
    cut_short_or_with_a_tail(&envelope_with_checkpoint());
    cut_short_or_with_a_tail(&confirm_request());
    cut_short_or_with_a_tail(&void_request());
    cut_short_or_with_a_tail(&scrap_request(None));
    cut_short_or_with_a_tail(&scrap_request(Some(REQUEST)));
    cut_short_or_with_a_tail(&lot_close_request());
}

#[test]
fn a_flipped_bit_is_refused_or_makes_another_request() {
    let bytes = envelope_with_checkpoint().to_bytes();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok(other) = Envelope::from_bytes(&flipped) {
            assert_ne!(other, envelope_with_checkpoint());
            assert_eq!(other.to_bytes(), flipped);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(envelope) = Envelope::from_bytes(&bytes) {
            assert_eq!(envelope.to_bytes(), bytes);
        }
    }
}

#[test]
fn a_long_request_is_not_parsed() {
    let long = vec![0x30; MAX_ENVELOPE + 1];
    assert_eq!(
        Envelope::from_bytes(&long),
        Err(WireError::TooLong {
            got: 262_145,
            max: 262_144
        })
    );
}

#[test]
fn the_evidence_of_a_unit_is_found_without_reading_the_others() {
    let two = Envelope {
        units: vec![unit(on_chip()), unit(injected())],
        ..sample()
    };
    for envelope in [two, envelope_with_checkpoint()] {
        let der = envelope.to_bytes();
        for (at, unit) in envelope.units.iter().enumerate() {
            let evidence = Envelope::evidence_in(&der, at).unwrap();
            assert_eq!(evidence, unit.evidence.to_bytes());
        }
        assert_eq!(Envelope::evidence_in(&der, envelope.units.len()), None);
        for length in 0..der.len() {
            assert_eq!(Envelope::evidence_in(&der[..length], 0), None, "{length}");
        }
    }
}
