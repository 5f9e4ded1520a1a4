//! A receipt's history is one unbroken chain from the `bind` leaf of one subject.

use crate::samples::{adopt, bind, confirm, receipt_extra};
use identity::leaf::{Body, Leaf, WireError};
use identity::receipt::{MAX_EXTRA, ReceiptExtra};
use identity::{LeafHash, SubjectId};

const UNLINKED: WireError = WireError::Rule("the history's entries are not linked");
const NO_ONE: WireError = WireError::Rule("the history is empty or of several subjects");

#[test]
fn a_linked_history_ends_at_the_leaf_that_is_proved() {
    for history in [
        vec![bind()],
        vec![bind(), adopt()],
        vec![bind(), adopt(), confirm()],
    ] {
        let last = LeafHash::of(&history.last().unwrap().to_bytes());
        assert_eq!(
            receipt_extra(&history).linked_history(),
            Ok((history, last))
        );
    }
}

#[test]
fn a_history_with_a_gap_or_out_of_order_is_refused() {
    let broken = [
        vec![bind(), confirm()],
        vec![adopt(), bind()],
        vec![adopt()],
        vec![bind(), bind()],
        vec![bind(), adopt(), adopt()],
    ];
    for history in broken {
        assert_eq!(receipt_extra(&history).linked_history(), Err(UNLINKED));
    }
}

#[test]
fn an_empty_history_is_refused() {
    assert_eq!(receipt_extra(&[]).linked_history(), Err(NO_ONE));
}

#[test]
fn a_history_of_two_subjects_is_refused() {
    let mut other = adopt();
    let Body::Adopt(body) = &mut other.body else {
        panic!("an adopt leaf")
    };
    body.subject = SubjectId([9; 32]);
    assert_eq!(
        receipt_extra(&[bind(), other]).linked_history(),
        Err(NO_ONE)
    );
}

#[test]
fn leaves_without_a_history_have_no_place_in_it() {
    for (kind, leaf) in crate::samples::leaves() {
        if leaf.body.subject().is_none() {
            assert_eq!(
                receipt_extra(&[leaf]).linked_history(),
                Err(UNLINKED),
                "{kind}"
            );
        }
    }
}

#[test]
fn what_is_no_leaf_is_refused() {
    let mut extra = receipt_extra(&[bind()]);
    extra.history[0] = crate::samples::octets(b"no leaf");
    assert_eq!(
        extra
            .linked_history()
            .map_err(|error| matches!(error, WireError::Der(_))),
        Err(true)
    );
    assert_eq!(
        Leaf::from_bytes(b"").map_err(|error| matches!(error, WireError::Der(_))),
        Err(true)
    );
}

#[test]
fn a_long_extra_is_not_parsed() {
    let long = vec![0x30; MAX_EXTRA + 1];
    assert_eq!(
        ReceiptExtra::from_bytes(&long),
        Err(WireError::TooLong {
            got: 65537,
            max: 65536
        })
    );
}
