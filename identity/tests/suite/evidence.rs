//! Evidence fits one unit, one station and one vendor, or earns nothing.

use crate::keys::public_key;
use crate::samples::{FIXED, RECEIPTS, injected, on_chip, part, uid, with_facts};
use identity::evidence::{Evidence, EvidenceError, EvidenceFacts, Grade, MAX_EVIDENCE, WireError};
use identity::{ChipUid, PartNumber, PortableVerifier, RequestId};

fn judged(evidence: &Evidence) -> Result<Grade, EvidenceError> {
    with_facts(|facts| evidence.judge(&facts, &PortableVerifier))
}

fn judged_as(
    evidence: &Evidence,
    change: impl FnOnce(EvidenceFacts<'_>) -> EvidenceFacts<'_>,
) -> Result<Grade, EvidenceError> {
    with_facts(|facts| evidence.judge(&change(facts), &PortableVerifier))
}

#[test]
fn a_key_made_on_the_chip_earns_more_than_an_injected_one() {
    assert_eq!(judged(&on_chip()), Ok(Grade::ChipAttested));
    assert_eq!(judged(&injected()), Ok(Grade::StationAsserted));
    assert!(
        Grade::StationAsserted < Grade::HsmAttested && Grade::HsmAttested < Grade::ChipAttested
    );
}

#[test]
fn evidence_flipped_in_any_bit_earns_nothing() {
    for evidence in [on_chip(), injected()] {
        let bytes = evidence.to_bytes();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let held = Evidence::from_bytes(&flipped).is_ok_and(|other| judged(&other).is_ok());
            assert!(!held, "byte {at} of {}", bytes.len());
        }
    }
}

#[test]
fn evidence_cut_short_anywhere_is_refused() {
    for evidence in [on_chip(), injected()] {
        let bytes = evidence.to_bytes();
        for end in 0..bytes.len() {
            assert!(
                matches!(Evidence::from_bytes(&bytes[..end]), Err(WireError::Der(_))),
                "first {end} bytes"
            );
        }
    }
}

#[test]
fn no_pinned_vendor_no_endorsement() {
    let others = [public_key(1), public_key(2)];
    for evidence in [on_chip(), injected()] {
        let judged = with_facts(|facts| {
            evidence.judge(
                &EvidenceFacts {
                    vendors: &others,
                    ..facts
                },
                &PortableVerifier,
            )
        });
        assert_eq!(judged, Err(EvidenceError::Endorsement));
        let judged = judged_as(&evidence, |facts| EvidenceFacts {
            vendors: &[],
            ..facts
        });
        assert_eq!(judged, Err(EvidenceError::Endorsement));
    }
}

#[test]
fn another_chip_or_part_is_not_endorsed() {
    let other_uid = ChipUid::new(&[9; 8]).unwrap();
    let other_part = PartNumber::new("SE-256.B").unwrap();
    assert!(other_uid != uid() && other_part != part());
    for evidence in [on_chip(), injected()] {
        let swapped = with_facts(|facts| {
            evidence.judge(
                &EvidenceFacts {
                    uid: &other_uid,
                    ..facts
                },
                &PortableVerifier,
            )
        });
        assert_eq!(swapped, Err(EvidenceError::Endorsement));
        let swapped = with_facts(|facts| {
            evidence.judge(
                &EvidenceFacts {
                    part: &other_part,
                    ..facts
                },
                &PortableVerifier,
            )
        });
        assert_eq!(swapped, Err(EvidenceError::Endorsement));
    }
}

#[test]
fn evidence_of_another_key_does_not_hold() {
    let other = public_key(FIXED + 1).spki_hash();
    let swapped = |evidence: Evidence| {
        with_facts(|facts| {
            evidence.judge(
                &EvidenceFacts {
                    spki: &other,
                    ..facts
                },
                &PortableVerifier,
            )
        })
    };
    assert_eq!(swapped(on_chip()), Err(EvidenceError::Origin));
    assert_eq!(swapped(injected()), Err(EvidenceError::Receipt));
}

#[test]
fn an_injection_receipt_is_for_one_request_and_one_station() {
    let (request, key) = (RequestId([9; 16]), public_key(RECEIPTS + 1));
    let replayed = with_facts(|facts| {
        injected().judge(
            &EvidenceFacts {
                request: &request,
                ..facts
            },
            &PortableVerifier,
        )
    });
    assert_eq!(replayed, Err(EvidenceError::Receipt));
    let borrowed = with_facts(|facts| {
        injected().judge(
            &EvidenceFacts {
                receipt_key: &key,
                ..facts
            },
            &PortableVerifier,
        )
    });
    assert_eq!(borrowed, Err(EvidenceError::Receipt));
}

#[test]
fn a_transport_key_that_the_chip_did_not_sign_is_refused() {
    let Evidence::Injected(mut evidence) = injected() else {
        panic!("injected")
    };
    evidence.ephemeral = public_key(77);
    assert_eq!(
        judged(&Evidence::Injected(evidence)),
        Err(EvidenceError::Transport)
    );
}

#[test]
fn an_origin_with_another_nonce_is_refused() {
    let Evidence::OnChip(mut evidence) = on_chip() else {
        panic!("on chip")
    };
    evidence.nonce.0[0] ^= 1;
    assert_eq!(
        judged(&Evidence::OnChip(evidence)),
        Err(EvidenceError::Origin)
    );
}

#[test]
fn grades_have_names() {
    for grade in [
        Grade::StationAsserted,
        Grade::HsmAttested,
        Grade::ChipAttested,
    ] {
        assert_eq!(Grade::from_name(grade.name()), Some(grade));
    }
    assert_eq!(Grade::from_name("trusted"), None);
}

#[test]
fn long_evidence_is_not_parsed() {
    let long = vec![0xa0; MAX_EVIDENCE + 1];
    assert_eq!(
        Evidence::from_bytes(&long),
        Err(WireError::TooLong {
            got: 1025,
            max: 1024
        })
    );
}
