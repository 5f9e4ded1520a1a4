//! Fields: shown or withheld, the leaf's root stays the same, and nothing of a withheld one can be read.

use crate::samples::{Counting, octets, openings};
use identity::Entropy;
use identity::field::{MAX_OPENINGS, MAX_VALUE, OpenField, Opening, Openings, OpeningsError, Tag};
use identity::hash::sha256;
use identity::leaf::{Bytes32, WireError};
use identity::sources::EntropyError;
use proptest::prelude::{any, proptest};

const ALL: [Tag; 21] = [
    Tag::DeviceSerial,
    Tag::Model,
    Tag::Lot,
    Tag::WorkOrder,
    Tag::Factory,
    Tag::Line,
    Tag::Station,
    Tag::Operator,
    Tag::ChipUid,
    Tag::ChipPart,
    Tag::DateCode,
    Tag::BrandOwner,
    Tag::Manufacturer,
    Tag::BoardRevision,
    Tag::FirmwareDigest,
    Tag::Placement,
    Tag::Attempt,
    Tag::Time,
    Tag::TimeQuality,
    Tag::Supersedes,
    Tag::AgentDigest,
];

fn sealed(tags: &[Tag]) -> Openings {
    let values: Vec<(Tag, &[u8])> = tags.iter().map(|tag| (*tag, b"value".as_slice())).collect();
    Openings::seal(&values, &Counting::default()).unwrap()
}

/// RFC 6962 by pairing neighbours level by level, the odd one moving up: another way to the same root.
fn root_by_levels(commitments: &[[u8; 32]]) -> [u8; 32] {
    let mut level: Vec<[u8; 32]> = commitments
        .iter()
        .map(|leaf| sha256(&[&[0], &leaf[..]].concat()))
        .collect();
    while level.len() > 1 {
        level = level.chunks(2).map(pair_up).collect();
    }
    level.first().copied().unwrap_or_else(|| sha256(&[]))
}

fn pair_up(pair: &[[u8; 32]]) -> [u8; 32] {
    match pair {
        [left, right] => sha256(&[&[1], &left[..], &right[..]].concat()),
        _ => pair[0],
    }
}

#[test]
fn a_commitment_has_the_digest_of_the_written_rule() {
    let field = OpenField {
        tag: Tag::DeviceSerial,
        salt: Bytes32([0; 32]),
        value: octets(b"26480001007"),
    };
    let expected = "d004426f528117ffffba50f1f138c3abbbd2b012b9b2f0ace699f504029d7751";
    assert_eq!(hex::encode(Opening::Open(field).commitment()), expected);
}

#[test]
fn every_tag_goes_into_its_commitment_with_its_number() {
    for (at, tag) in ALL.into_iter().enumerate() {
        let number = u16::try_from(at + 1).unwrap().to_be_bytes();
        let message = [
            b"koseki/field/v1\n",
            &number[..],
            &[0, 32],
            &[7; 32],
            &[0, 2],
            b"ab",
        ]
        .concat();
        let field = OpenField {
            tag,
            salt: Bytes32([7; 32]),
            value: octets(b"ab"),
        };
        assert_eq!(
            Opening::Open(field).commitment(),
            sha256(&message),
            "{tag:?}"
        );
    }
}

#[test]
fn the_root_is_that_of_rfc_6962_for_every_number_of_fields() {
    for count in 0..=ALL.len() {
        let openings = sealed(&ALL[..count]);
        let commitments: Vec<_> = openings.fields().iter().map(Opening::commitment).collect();
        assert_eq!(
            openings.root().0,
            root_by_levels(&commitments),
            "{count} fields"
        );
    }
}

proptest! {
    #[test]
    fn disclosing_any_fields_keeps_the_root(keep in any::<[bool; 19]>()) {
        let all = sealed(&ALL);
        let kept: Vec<Tag> = ALL.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(tag, _)| tag).collect();
        let disclosed = Openings::from_bytes(&all.disclose(&kept).to_bytes()).unwrap();
        assert_eq!(disclosed.root(), all.root());
        for (tag, keep) in ALL.into_iter().zip(keep) {
            assert_eq!(disclosed.value(tag), keep.then_some(b"value".as_slice()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(openings) = Openings::from_bytes(&bytes) {
            assert_eq!(openings.to_bytes(), bytes);
        }
    }
}

#[test]
fn what_is_withheld_cannot_be_shown_again() {
    let withheld = openings().disclose(&[]);
    assert_eq!(withheld.disclose(&ALL), withheld);
    let (bytes, secret) = (withheld.to_bytes(), b"26480001007");
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
}

#[test]
fn another_value_salt_or_tag_changes_the_root() {
    let field = |tag, salt, value: &[u8]| {
        Opening::Open(OpenField {
            tag,
            salt: Bytes32([salt; 32]),
            value: octets(value),
        })
        .commitment()
    };
    let base = field(Tag::Lot, 1, b"L1");
    for other in [
        field(Tag::Model, 1, b"L1"),
        field(Tag::Lot, 2, b"L1"),
        field(Tag::Lot, 1, b"L2"),
    ] {
        assert_ne!(base, other);
    }
}

#[test]
fn salts_are_fresh_for_each_field() {
    let openings = sealed(&ALL);
    let distinct: std::collections::BTreeSet<_> =
        openings.fields().iter().map(Opening::commitment).collect();
    assert_eq!(distinct.len(), ALL.len());
    assert_ne!(openings.fields()[0], sealed(&ALL[1..]).fields()[0]);
}

#[test]
fn values_come_in_any_order_and_stand_in_one() {
    let tags: Vec<Tag> = sealed(&[Tag::Time, Tag::Lot, Tag::ChipUid])
        .fields()
        .iter()
        .map(Opening::tag)
        .collect();
    assert_eq!(tags, [Tag::Lot, Tag::ChipUid, Tag::Time]);
}

#[test]
fn one_tag_twice_is_refused() {
    let twice: [(Tag, &[u8]); 2] = [(Tag::Lot, b"L1"), (Tag::Lot, b"L2")];
    let refused = Openings::seal(&twice, &Counting::default());
    assert_eq!(
        refused,
        Err(OpeningsError::Wire(WireError::Rule(
            "field tags rise strictly"
        )))
    );
}

#[test]
fn a_value_is_at_most_256_bytes() {
    let seal = |length| Openings::seal(&[(Tag::Lot, &vec![b'x'; length])], &Counting::default());
    assert_eq!(
        seal(MAX_VALUE).map(|openings| openings.fields().len()),
        Ok(1)
    );
    let rule = WireError::Rule("a field's value is at most 256 bytes");
    assert_eq!(seal(MAX_VALUE + 1), Err(OpeningsError::Wire(rule)));
}

/// A source that has failed.
struct Broken;

impl Entropy for Broken {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

#[test]
fn without_entropy_nothing_is_sealed() {
    assert_eq!(
        Openings::seal(&[(Tag::Lot, b"L1")], &Broken),
        Err(OpeningsError::Entropy(EntropyError))
    );
}

#[test]
fn fields_out_of_order_or_twice_are_refused_on_the_wire() {
    let one = |tag| sealed(&[tag]).to_bytes()[2..].to_vec();
    let read = |fields: [Vec<u8>; 2]| {
        let content = fields.concat();
        Openings::from_bytes(&[vec![0x30, u8::try_from(content.len()).unwrap()], content].concat())
    };
    assert_eq!(
        read([one(Tag::Lot), one(Tag::Line)]).map(|openings| openings.fields().len()),
        Ok(2)
    );
    let rule = WireError::Rule("field tags rise strictly");
    assert_eq!(read([one(Tag::Line), one(Tag::Lot)]), Err(rule.clone()));
    assert_eq!(read([one(Tag::Lot), one(Tag::Lot)]), Err(rule));
}

#[test]
fn long_openings_are_not_parsed() {
    let long = vec![0x30; MAX_OPENINGS + 1];
    assert_eq!(
        Openings::from_bytes(&long),
        Err(WireError::TooLong {
            got: 8193,
            max: 8192
        })
    );
}
