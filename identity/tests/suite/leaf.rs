//! The leaf: each kind has exactly its parts, and each leaf exactly one encoding.

use crate::samples::{bind, leaves, lot_order};
use identity::leaf::{Bytes32, Kind, Leaf, MAX_LEAF, WireError};
use proptest::prelude::{any, proptest};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const MISSING: WireError = WireError::Rule("a part that this kind of leaf must have is missing");
const FOREIGN: WireError = WireError::Rule("a part that this kind of leaf does not have");
const RESERVED: WireError = WireError::Rule("a kind that is reserved and not written yet");
const NOT_CANONICAL: WireError = WireError::Rule("not the canonical encoding");

/// Context tags of the parts that a kind must have, and of those it may have. Written down here a second time on
/// purpose: this is the table at `Leaf` in the ASN.1 module.
const PARTS: [(Kind, &[u8], &[u8]); 12] = [
    (Kind::Ceremony, &[8], &[]),
    (Kind::Station, &[8, 9], &[]),
    (Kind::Grant, &[8, 9, 10], &[]),
    (Kind::Policy, &[6, 11], &[]),
    (Kind::LotOpen, &[8, 11, 12], &[]),
    (Kind::LotClose, &[4, 14, 16, 17], &[6]),
    (Kind::Bind, &[0, 2, 3, 4, 5, 7], &[14, 15]),
    (Kind::Adopt, &[0, 1, 4, 7], &[]),
    (Kind::Confirm, &[0, 1, 4, 13], &[]),
    (Kind::Void, &[0, 1, 6], &[4]),
    (Kind::Scrap, &[6, 7, 11], &[0, 1, 4, 14]),
    (Kind::Refuse, &[6, 7, 12], &[4]),
];

/// A leaf taken apart: version, kind and day, then the parts by context tag, each a whole TLV.
struct Taken {
    head: Vec<Vec<u8>>,
    parts: BTreeMap<u8, Vec<u8>>,
}

/// The TLVs in `content`; lengths up to two octets.
fn tlvs(mut content: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let [_, length, rest @ ..] = content {
        let total = match length {
            0x81 => 3 + usize::from(rest[0]),
            0x82 => 4 + usize::from(u16::from_be_bytes([rest[0], rest[1]])),
            short => 2 + usize::from(*short),
        };
        let (tlv, after) = content.split_at(total);
        found.push(tlv.to_vec());
        content = after;
    }
    found
}

fn content(tlv: &[u8]) -> &[u8] {
    match tlv[1] {
        0x81 => &tlv[3..],
        0x82 => &tlv[4..],
        _ => &tlv[2..],
    }
}

/// A `SEQUENCE` of whole TLVs, its length in the shortest form.
fn sequence<'a>(parts: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let content: Vec<u8> = parts.into_iter().flatten().copied().collect();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match length {
        [0, low] if low < 0x80 => vec![0x30, low],
        [0, low] => vec![0x30, 0x81, low],
        [high, low] => vec![0x30, 0x82, high, low],
    };
    [header, content].concat()
}

impl Taken {
    fn apart(leaf: &Leaf) -> Self {
        let mut head = tlvs(content(&leaf.to_bytes()));
        let parts = head
            .split_off(3)
            .into_iter()
            .map(|part| (part[0] & 0x1f, part))
            .collect();
        Self { head, parts }
    }

    fn together(&self) -> Vec<u8> {
        sequence(self.head.iter().chain(self.parts.values()))
    }

    fn read(&self) -> Result<Leaf, WireError> {
        Leaf::from_bytes(&self.together())
    }
}

fn required_and_optional(kind: Kind) -> (&'static [u8], &'static [u8]) {
    PARTS
        .iter()
        .find(|row| row.0 == kind)
        .map(|row| (row.1, row.2))
        .unwrap()
}

/// Every sample, written once: signatures take their time.
static BYTES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| leaves().iter().map(|(_, leaf)| leaf.to_bytes()).collect());

/// One specimen of each part, from whatever leaf has it.
fn specimens() -> BTreeMap<u8, Vec<u8>> {
    leaves()
        .iter()
        .flat_map(|(_, leaf)| Taken::apart(leaf).parts)
        .collect()
}

#[test]
fn every_kind_round_trips() {
    for (kind, leaf) in leaves() {
        assert_eq!(
            Leaf::from_bytes(&leaf.to_bytes()),
            Ok(leaf.clone()),
            "{kind}"
        );
        assert_eq!(Taken::apart(&leaf).together(), leaf.to_bytes(), "{kind}");
    }
}

#[test]
fn the_numbers_of_the_kinds_are_what_they_always_were() {
    for (kind, leaf) in leaves() {
        let number = match leaf.body.kind() {
            Kind::Ceremony => 1,
            Kind::Policy => 2,
            Kind::Station => 3,
            Kind::Grant => 4,
            Kind::LotOpen => 5,
            Kind::LotClose => 6,
            Kind::Bind => 9,
            Kind::Adopt => 10,
            Kind::Confirm => 11,
            Kind::Void => 12,
            Kind::Scrap => 13,
            Kind::Refuse => 15,
            reserved => panic!("{reserved:?} is not written yet"),
        };
        assert_eq!(Taken::apart(&leaf).head[1], [0x0a, 1, number], "{kind}");
    }
}

#[test]
fn each_part_that_a_kind_must_have_is_missed() {
    for (kind, leaf) in leaves() {
        for tag in required_and_optional(leaf.body.kind()).0 {
            let mut taken = Taken::apart(&leaf);
            assert!(taken.parts.remove(tag).is_some(), "{kind} has part {tag}");
            assert_eq!(taken.read(), Err(MISSING), "{kind} without part {tag}");
        }
    }
}

#[test]
fn each_part_that_a_kind_does_not_have_is_refused() {
    let specimens = specimens();
    assert!(
        specimens.keys().copied().eq(0..=17),
        "a specimen of every part"
    );
    for (kind, leaf) in leaves() {
        let (required, optional) = required_and_optional(leaf.body.kind());
        for (tag, part) in specimens.iter().filter(|(tag, _)| !required.contains(tag)) {
            let mut taken = Taken::apart(&leaf);
            taken.parts.insert(*tag, part.clone());
            match optional.contains(tag) {
                true => assert_eq!(
                    taken.read().map(|leaf| leaf.body.kind()),
                    Ok(leaf.body.kind()),
                    "{kind}, {tag}"
                ),
                false => assert_eq!(taken.read(), Err(FOREIGN), "{kind} with part {tag}"),
            }
        }
    }
}

#[test]
fn a_part_beyond_the_last_is_refused() {
    for (kind, leaf) in leaves() {
        let mut taken = Taken::apart(&leaf);
        taken.parts.insert(18, vec![0x92, 1, 0]);
        assert!(matches!(taken.read(), Err(WireError::Der(_))), "{kind}");
    }
}

#[test]
fn reserved_kinds_are_refused_and_unknown_ones_too() {
    let mut taken = Taken::apart(&bind());
    for number in [7, 8, 14, 16, 17, 18, 19, 20, 21, 22, 23] {
        taken.head[1][2] = number;
        assert_eq!(taken.read(), Err(RESERVED), "kind {number}");
    }
    for number in [0, 24, 0x7f, 0x80, 0xff] {
        taken.head[1][2] = number;
        assert!(
            matches!(taken.read(), Err(WireError::Der(_))),
            "kind {number}"
        );
    }
}

#[test]
fn another_version_is_refused() {
    for number in [0, 2, 0x7f] {
        let mut taken = Taken::apart(&bind());
        taken.head[0][2] = number;
        assert!(
            matches!(taken.read(), Err(WireError::Der(_))),
            "version {number}"
        );
    }
}

#[test]
fn the_same_leaf_in_any_other_encoding_is_refused() {
    let bytes = lot_open().to_bytes();
    let body = content(&bytes);
    let low = u8::try_from(body.len()).unwrap();
    let long_length = [&[0x30, 0x82, 0, low], body].concat();
    let indefinite = [&[0x30, 0x80], body, &[0, 0]].concat();
    let trailing = [bytes.as_slice(), &[0]].concat();
    for (what, other) in [
        ("long length", long_length),
        ("indefinite", indefinite),
        ("trailing byte", trailing),
    ] {
        assert!(
            matches!(Leaf::from_bytes(&other), Err(WireError::Der(_))),
            "{what}"
        );
    }
}

#[test]
fn a_number_with_a_needless_zero_is_refused() {
    for at in [0, 1, 2] {
        let mut taken = Taken::apart(&lot_open());
        taken.head[at][1] += 1;
        taken.head[at].insert(2, 0);
        let refused = taken.read().unwrap_err();
        assert!(
            matches!(refused, WireError::Der(_)) || refused == NOT_CANONICAL,
            "element {at}: {refused}"
        );
    }
}

#[test]
fn parts_out_of_order_or_twice_are_refused() {
    for (kind, leaf) in leaves() {
        let all: Vec<_> = tlvs(content(&leaf.to_bytes()));
        for at in 0..all.len() - 1 {
            let mut swapped = all.clone();
            swapped.swap(at, at + 1);
            assert!(
                Leaf::from_bytes(&sequence(&swapped)).is_err(),
                "{kind}, elements {at} and {}",
                at + 1
            );
        }
        for at in 0..all.len() {
            let mut doubled = all.clone();
            doubled.insert(at, all[at].clone());
            assert!(
                Leaf::from_bytes(&sequence(&doubled)).is_err(),
                "{kind}, element {at} twice"
            );
        }
    }
}

#[test]
fn a_leaf_cut_short_anywhere_is_refused() {
    for (kind, leaf) in leaves() {
        let bytes = leaf.to_bytes();
        for end in 0..bytes.len() {
            assert!(
                matches!(Leaf::from_bytes(&bytes[..end]), Err(WireError::Der(_))),
                "{kind}, first {end} bytes"
            );
        }
    }
}

/// Either refused, or another leaf: never the same leaf under other bytes.
fn one_leaf_one_encoding(bytes: &[u8]) {
    if let Ok(leaf) = Leaf::from_bytes(bytes) {
        assert_eq!(leaf.to_bytes(), bytes);
    }
}

#[test]
fn a_flipped_bit_is_refused_or_makes_another_leaf() {
    for (_, leaf) in leaves() {
        let bytes = leaf.to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                one_leaf_one_encoding(&flipped);
                assert_ne!(Leaf::from_bytes(&flipped).as_ref(), Ok(&leaf));
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        one_leaf_one_encoding(&bytes);
    }

    #[test]
    fn arbitrary_bytes_in_a_leaf_never_panic(
        which in 0..17_usize,
        at in any::<proptest::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut leaf = BYTES[which].clone();
        let start = at.index(leaf.len());
        leaf.splice(start..(start + bytes.len()).min(leaf.len()), bytes);
        one_leaf_one_encoding(&leaf);
    }
}

#[test]
fn what_is_too_long_is_not_parsed() {
    let long = vec![0x30; MAX_LEAF + 1];
    assert_eq!(
        Leaf::from_bytes(&long),
        Err(WireError::TooLong {
            got: 4097,
            max: 4096
        })
    );
}

#[test]
fn a_bind_leaf_has_the_size_that_a_log_of_millions_can_bear() {
    let size = bind().to_bytes().len();
    assert!((250..=400).contains(&size), "{size} bytes");
    assert!(
        leaves()
            .iter()
            .all(|(_, leaf)| leaf.to_bytes().len() <= 400)
    );
}

#[test]
fn a_leaf_names_its_subject_only_where_it_has_a_history() {
    for (kind, leaf) in leaves() {
        let expected = matches!(
            kind,
            "bind"
                | "bind-in-lot"
                | "adopt"
                | "confirm"
                | "void"
                | "void-by-operator"
                | "scrap"
                | "scrap-in-lot"
        );
        assert_eq!(leaf.body.subject().is_some(), expected, "{kind}");
    }
}

#[test]
fn a_name_in_a_leaf_keeps_its_alphabet() {
    let (_, leaf) = leaves()
        .into_iter()
        .find(|(kind, _)| *kind == "refuse")
        .unwrap();
    let mut taken = Taken::apart(&leaf);
    taken.parts.get_mut(&6).unwrap()[2] = b' ';
    assert!(matches!(taken.read(), Err(WireError::Der(_))));
}

fn lot_open() -> Leaf {
    leaves()
        .into_iter()
        .find(|(kind, _)| *kind == "lot-open")
        .map(|(_, leaf)| leaf)
        .unwrap()
}

#[test]
fn hashes_of_another_length_are_refused() {
    let mut taken = Taken::apart(&lot_open());
    let document = taken.parts.get_mut(&8).unwrap();
    document[1] -= 1;
    document.pop();
    assert!(matches!(taken.read(), Err(WireError::Der(_))));
    assert_eq!(
        Bytes32(identity::document::Document::hash(&lot_order()).0)
            .0
            .len(),
        32
    );
}
