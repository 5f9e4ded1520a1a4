//! m of n people approve exactly these bytes, and the one who asked is none of them.

use crate::keys::{public_key, sign};
use crate::samples::{ALICE, BOB, CAROL, approve, ceremony, grant, id, station};
use identity::PortableVerifier;
use identity::approval::{Approval, ApprovalError, ApproverSet, MAX_APPROVAL, approval_digest};
use identity::document::{Document as _, Grant, PinnedApprover, Signature, WireError};
use identity::hash::DocumentHash;

fn judge(approvals: &[Approval]) -> Result<(), ApprovalError> {
    let set = ApproverSet::from(&ceremony());
    set.verify(&grant(), &id("dave"), approvals, &PortableVerifier)
}

fn by(name: &str, seed: u8) -> Approval {
    approve(name, seed, &grant())
}

#[test]
fn two_of_three_suffice_in_any_order_and_three_do_too() {
    assert_eq!(judge(&[by("alice", ALICE), by("bob", BOB)]), Ok(()));
    assert_eq!(judge(&[by("carol", CAROL), by("alice", ALICE)]), Ok(()));
    assert_eq!(
        judge(&[by("carol", CAROL), by("alice", ALICE), by("bob", BOB)]),
        Ok(())
    );
}

#[test]
fn one_or_none_is_too_few() {
    assert_eq!(judge(&[]), Err(ApprovalError::TooFew { got: 0, needed: 2 }));
    assert_eq!(
        judge(&[by("alice", ALICE)]),
        Err(ApprovalError::TooFew { got: 1, needed: 2 })
    );
}

#[test]
fn a_stranger_refuses_the_whole() {
    let approvals = [by("alice", ALICE), by("bob", BOB), by("mallory", 66)];
    assert_eq!(
        judge(&approvals),
        Err(ApprovalError::Stranger(id("mallory")))
    );
}

#[test]
fn the_same_approver_twice_counts_never() {
    assert_eq!(
        judge(&[by("alice", ALICE), by("alice", ALICE)]),
        Err(ApprovalError::Twice(id("alice")))
    );
}

#[test]
fn the_one_who_asked_cannot_approve() {
    let set = ApproverSet::from(&ceremony());
    let approvals = [by("alice", ALICE), by("bob", BOB)];
    let refused = set.verify(&grant(), &id("bob"), &approvals, &PortableVerifier);
    assert_eq!(refused, Err(ApprovalError::Requester(id("bob"))));
}

#[test]
fn a_signature_by_another_approvers_key_does_not_count() {
    assert_eq!(
        judge(&[by("alice", ALICE), by("bob", ALICE)]),
        Err(ApprovalError::Signature(id("bob")))
    );
}

#[test]
fn an_approval_of_other_bytes_does_not_count() {
    let one_more = Grant {
        limit: grant().limit + 1,
        ..grant()
    };
    let approvals = [by("alice", ALICE), approve("bob", BOB, &one_more)];
    assert_eq!(judge(&approvals), Err(ApprovalError::Signature(id("bob"))));
}

#[test]
fn an_approval_of_the_same_hash_as_another_kind_does_not_count() {
    let digest = approval_digest("station", &grant().hash());
    let as_station = Approval {
        approver: id("bob"),
        signature: Signature(sign(BOB, &digest)),
    };
    assert_eq!(
        judge(&[by("alice", ALICE), as_station]),
        Err(ApprovalError::Signature(id("bob")))
    );
}

#[test]
fn an_approval_flipped_in_any_byte_is_refused() {
    let bytes = by("bob", BOB).to_bytes();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        let accepted = Approval::from_bytes(&flipped)
            .is_ok_and(|other| judge(&[by("alice", ALICE), other]).is_ok());
        assert!(!accepted, "byte {at}");
    }
}

#[test]
fn a_station_is_approved_by_a_set_that_a_file_pins() {
    let set = ApproverSet::new(
        1,
        vec![PinnedApprover {
            id: id("alice"),
            key: public_key(ALICE),
        }],
    );
    let approval = approve("alice", ALICE, &station());
    assert_eq!(
        set.verify(&station(), &id("dave"), &[approval], &PortableVerifier),
        Ok(())
    );
}

#[test]
fn what_an_approver_signs_has_a_fixed_digest() {
    let expected = "bcdf824b95d92f067f214a69757a932ff1175f897624867c1281d35126ce160f";
    assert_eq!(
        hex::encode(approval_digest("grant", &DocumentHash([4; 32]))),
        expected
    );
}

#[test]
fn a_long_approval_is_not_parsed() {
    let long = vec![0x30; MAX_APPROVAL + 1];
    assert_eq!(
        Approval::from_bytes(&long),
        Err(WireError::TooLong { got: 257, max: 256 })
    );
}

#[test]
fn every_refusal_says_who() {
    let refusals = [
        (ApprovalError::Stranger(id("x")), "x is no approver"),
        (
            ApprovalError::Requester(id("x")),
            "x asked for this and cannot approve it",
        ),
        (ApprovalError::Twice(id("x")), "x signed twice"),
        (
            ApprovalError::Signature(id("x")),
            "the signature of x is not over these bytes",
        ),
        (
            ApprovalError::TooFew { got: 1, needed: 2 },
            "1 of 2 approvals",
        ),
    ];
    for (refusal, text) in refusals {
        assert_eq!(refusal.to_string(), text);
    }
}
