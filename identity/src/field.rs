//! Facts of a unit behind salted commitments: the leaf holds one root, the openings are kept beside it. Deleting an
//! opening redacts that field for ever, while every proof stays valid.

use crate::hash::{Sink as _, sha256_of};
use crate::sources::{Entropy, EntropyError};
use crate::wire::{Bytes32, WireError};
use alloc::vec;
use alloc::vec::Vec;
use der::asn1::OctetString;
use der::{Choice, Enumerated, Sequence};

/// What a field says. Numbers never change meaning; a leaf's fields stand in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumerated)]
#[repr(u8)]
pub enum Tag {
    /// Serial of the device.
    DeviceSerial = 1,
    /// Product model.
    Model = 2,
    /// Lot.
    Lot = 3,
    /// Work order.
    WorkOrder = 4,
    /// Factory.
    Factory = 5,
    /// Line.
    Line = 6,
    /// Station.
    Station = 7,
    /// Operator at the station.
    Operator = 8,
    /// UID of the chip.
    ChipUid = 9,
    /// Part number of the chip.
    ChipPart = 10,
    /// Date code of the chip.
    DateCode = 11,
    /// Brand owner.
    BrandOwner = 12,
    /// Manufacturer.
    Manufacturer = 13,
    /// Revision of the board.
    BoardRevision = 14,
    /// SHA-256 of the firmware.
    FirmwareDigest = 15,
    /// Panel and socket.
    Placement = 16,
    /// Which attempt at this unit, from 1.
    Attempt = 17,
    /// Exact time, decimal milliseconds since the epoch.
    Time = 18,
    /// Where the time came from and how good it is.
    TimeQuality = 19,
    /// Subject of the board that had this serial before, 32 bytes.
    Supersedes = 20,
    /// SHA-256 of the station's program, in hexadecimal.
    AgentDigest = 21,
}

/// Longest value of a field in bytes.
pub const MAX_VALUE: usize = 256;

/// One field with its salt, or only its commitment where the value is withheld or redacted.
#[derive(Clone, Debug, PartialEq, Eq, Choice)]
#[asn1(tag_mode = "IMPLICIT")]
pub enum Opening {
    /// The value and its salt.
    #[asn1(context_specific = "0", constructed = "true")]
    Open(OpenField),
    /// The commitment alone.
    #[asn1(context_specific = "1", constructed = "true")]
    Withheld(WithheldField),
}

/// A field that can be read.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct OpenField {
    /// What it says.
    pub tag: Tag,
    /// Independent random bytes, kept with the value.
    pub salt: Bytes32,
    /// The value.
    pub value: OctetString,
}

/// A field that cannot be read any more, or not by this reader.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct WithheldField {
    /// What it would say.
    pub tag: Tag,
    /// Its commitment.
    pub commitment: Bytes32,
}

/// A tag's number as it goes into the commitment.
fn tag_number(tag: Tag) -> u16 {
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
    ALL.iter()
        .position(|other| *other == tag)
        .and_then(|at| u16::try_from(at + 1).ok())
        .unwrap_or_default()
}

impl Opening {
    /// What the field says.
    #[must_use]
    pub const fn tag(&self) -> Tag {
        match self {
            Self::Open(field) => field.tag,
            Self::Withheld(field) => field.tag,
        }
    }

    /// SHA-256("koseki/field/v1\n" ‖ u16 tag ‖ u16 len salt ‖ salt ‖ u16 len value ‖ value).
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        match self {
            Self::Withheld(field) => field.commitment.0,
            Self::Open(field) => sha256_of(|h| {
                h.put(b"koseki/field/v1\n");
                h.put(&tag_number(field.tag).to_be_bytes());
                h.put_prefixed(&field.salt.0);
                h.put_prefixed(field.value.as_bytes());
            }),
        }
    }

    /// The same field with its value and salt taken away.
    #[must_use]
    pub fn withhold(&self) -> Self {
        Self::Withheld(WithheldField {
            tag: self.tag(),
            commitment: Bytes32(self.commitment()),
        })
    }
}

/// All fields of one leaf, tags strictly rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Openings(Vec<Opening>);

/// Longest encoded openings in bytes.
pub const MAX_OPENINGS: usize = 8 * 1024;

impl Openings {
    /// Salts each value afresh. `values` in any order, each tag once.
    ///
    /// # Errors
    /// [`OpeningsError`] if entropy fails, a tag stands twice, or a value is longer than [`MAX_VALUE`].
    pub fn seal(values: &[(Tag, &[u8])], entropy: &dyn Entropy) -> Result<Self, OpeningsError> {
        // One draw for all salts: each is a call of the system.
        let mut salts = vec![[0; 32]; values.len()];
        let drawn = entropy.fill(salts.as_flattened_mut());
        drawn.map_err(OpeningsError::Entropy)?;
        let mut fields = values
            .iter()
            .zip(salts)
            .map(|((tag, value), salt)| open(*tag, value, salt))
            .collect::<Result<Vec<_>, _>>()
            .map_err(OpeningsError::Wire)?;
        fields.sort_by_key(Opening::tag);
        Self::new(fields).map_err(OpeningsError::Wire)
    }

    fn new(fields: Vec<Opening>) -> Result<Self, WireError> {
        let rising = fields
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.tag() < b.tag()));
        let short = fields.iter().all(|field| match field {
            Opening::Open(field) => field.value.as_bytes().len() <= MAX_VALUE,
            Opening::Withheld(_) => true,
        });
        match (rising, short) {
            (true, true) => Ok(Self(fields)),
            (false, _) => Err(WireError::Rule("field tags rise strictly")),
            (_, false) => Err(WireError::Rule("a field's value is at most 256 bytes")),
        }
    }

    /// RFC 6962 §2.1 root over the commitments in tag order.
    #[must_use]
    pub fn root(&self) -> Bytes32 {
        let commitments: Vec<_> = self.0.iter().map(Opening::commitment).collect();
        Bytes32(merkle_root(&commitments))
    }

    /// The value of a field, if it is there and open.
    #[must_use]
    pub fn value(&self, tag: Tag) -> Option<&[u8]> {
        self.0.iter().find_map(|field| match field {
            Opening::Open(field) if field.tag == tag => Some(field.value.as_bytes()),
            Opening::Open(_) | Opening::Withheld(_) => None,
        })
    }

    /// The fields in tag order.
    #[must_use]
    pub fn fields(&self) -> &[Opening] {
        &self.0
    }

    /// The same openings, with all but `keep` withheld.
    #[must_use]
    pub fn disclose(&self, keep: &[Tag]) -> Self {
        let part = |field: &Opening| {
            if keep.contains(&field.tag()) {
                field.clone()
            } else {
                field.withhold()
            }
        };
        Self(self.0.iter().map(part).collect())
    }

    /// Canonical DER.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::wire::encode(&self.0)
    }

    /// Reads canonical DER.
    ///
    /// # Errors
    /// [`WireError`] for anything else, and for tags out of order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        Self::new(crate::wire::decode(bytes, MAX_OPENINGS)?)
    }
}

/// Why fields could not be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpeningsError {
    /// No salt to be had.
    Entropy(EntropyError),
    /// A value or the set of tags is against the rules.
    Wire(WireError),
}

impl core::fmt::Display for OpeningsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Entropy(error) => error.fmt(f),
            Self::Wire(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpeningsError {}

fn open(tag: Tag, value: &[u8], salt: [u8; 32]) -> Result<Opening, WireError> {
    let value = OctetString::new(value)?;
    Ok(Opening::Open(OpenField {
        tag,
        salt: Bytes32(salt),
        value,
    }))
}

/// RFC 6962 §2.1 Merkle tree hash; the leaves are the commitments themselves.
fn merkle_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => crate::hash::sha256(&[]),
        [leaf] => crate::hash::LeafHash::of(leaf).0,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            sha256_of(|h| {
                h.put(&[1]);
                h.put(&merkle_root(left));
                h.put(&merkle_root(right));
            })
        }
    }
}
