//! What a station signs and sends: a request to provision or adopt 1 to 64 units, a confirmation, a void.

use crate::evidence::Evidence;
use crate::field::Tag;
use crate::hash::{CertificateHash, DocumentHash, LeafHash, RequestHash, Sink as _, sha256_of};
use crate::key::{P256Key, VerifyP256};
use crate::sources::Timestamp;
use crate::subject::SubjectId;
use crate::text::{ChipUid, DeviceSerial, Id, PartNumber, RequestId};
use crate::wire::require;
pub use crate::wire::{Bytes32, Signature, Version1, WireError};
use alloc::vec::Vec;
use der::asn1::{AnyRef, OctetString};
use der::{Decode, Encode, Enumerated, Reader as _, Sequence, SliceReader};

/// Most units in one envelope.
pub const MAX_UNITS: usize = 64;
/// Longest envelope in bytes.
pub const MAX_ENVELOPE: usize = 256 * 1024;
/// Longest confirmation or void in bytes.
pub const MAX_REQUEST: usize = 16 * 1024;
/// Longest challenge in bytes.
pub const MAX_CHALLENGE: usize = 64;
/// Longest checkpoint that a request may carry, in bytes.
pub const MAX_SEEN: usize = 4096;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumerated)]
#[repr(u8)]
pub enum Purpose {
    /// Certify units that were never seen.
    Provision = 1,
    /// Take over units that another station had bound and not confirmed.
    Adopt = 2,
}

/// A fact about a unit that only the station knows.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Observation {
    /// Which fact; tags that the CA fills itself are refused.
    pub tag: Tag,
    /// Its value.
    pub value: OctetString,
}

/// One unit of a request.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Unit {
    /// Journalled by the station before it was sent.
    pub request: RequestId,
    /// The chip.
    pub uid: ChipUid,
    /// The chip's part number.
    pub part: PartNumber,
    /// Serial that the device will carry.
    pub serial: DeviceSerial,
    /// The fixed key: `SubjectPublicKeyInfo` or SEC 1 point, in whatever encoding the chip gave it.
    pub key: OctetString,
    /// The CA's challenge, verbatim.
    pub challenge: OctetString,
    /// The chip's signature over [`Possession`](crate::message::Possession).
    pub possession: Signature,
    /// Where the key came from.
    pub evidence: Evidence,
    /// Facts that only the station knows.
    pub observations: Vec<Observation>,
}

impl Unit {
    /// The fixed key in its one canonical form.
    ///
    /// # Errors
    /// [`KeyError`](crate::key::KeyError) if it is no P-256 public key.
    pub fn fixed_key(&self) -> Result<P256Key, crate::key::KeyError> {
        match self.key.as_bytes() {
            spki @ [0x30, ..] => P256Key::from_spki(spki),
            point => P256Key::from_sec1(point),
        }
    }
}

impl Unit {
    /// The board that had this serial before, as far as the station knows it.
    #[must_use]
    pub fn supersedes(&self) -> Option<SubjectId> {
        let stated = self
            .observations
            .iter()
            .find(|observed| observed.tag == Tag::Supersedes)?;
        stated.value.as_bytes().try_into().ok().map(SubjectId)
    }
}

/// A station's signed request for 1 to 64 units.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Envelope {
    /// Version of the form.
    pub version: Version1,
    /// What is asked for.
    pub purpose: Purpose,
    /// Who asks.
    pub station: Id,
    /// The station's clock.
    pub time: Timestamp,
    /// The grant all units fall under.
    pub grant: DocumentHash,
    /// The lot all units fall under.
    pub lot: Id,
    /// The newest checkpoint the station saw, as a signed note.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub seen: Option<OctetString>,
    /// The units.
    pub units: Vec<Unit>,
}

impl Envelope {
    /// The evidence of one unit, DER, in an envelope that was read whole before: of the others nothing is read.
    #[must_use]
    pub fn evidence_in(envelope: &[u8], unit: usize) -> Option<&[u8]> {
        let mut units = Elements::of(Elements::of(envelope)?.last()?)?;
        Elements::of(units.nth(unit)?)?.nth(EVIDENCE)
    }
}

/// Where a unit's evidence stands among its fields.
const EVIDENCE: usize = 7;

/// The elements of a DER `SEQUENCE`, with their headers.
struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    fn of(sequence: &'a [u8]) -> Option<Self> {
        let content = AnyRef::from_der(sequence).ok()?;
        SliceReader::new(content.value()).ok().map(Self)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.tlv_bytes().ok()
    }
}

/// The chip's word that certificate and binding arrived, passed on by the station.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct ConfirmRequest {
    /// Version of the form.
    pub version: Version1,
    /// Who asks.
    pub station: Id,
    /// The station's clock.
    pub time: Timestamp,
    /// Request of the unit.
    pub request: RequestId,
    /// Leaf hash of its `bind` entry.
    pub leaf: LeafHash,
    /// Hash of the certificate as read back from the chip.
    pub certificate: CertificateHash,
    /// The chip's signature over [`Confirmation`](crate::message::Confirmation).
    pub signature: Signature,
}

/// The station's verdict that a bound unit will never ship.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct VoidRequest {
    /// Version of the form.
    pub version: Version1,
    /// Who asks.
    pub station: Id,
    /// The station's clock.
    pub time: Timestamp,
    /// Request of the unit.
    pub request: RequestId,
    /// Fault code that made the station give up.
    pub reason: Id,
}

/// A request as bytes that a station signs under a label of its own.
pub trait StationRequest: for<'a> Decode<'a, Error = der::Error> + Encode {
    /// The label, with a version and a line feed.
    const LABEL: &'static [u8];
    /// Longest request in bytes.
    const LIMIT: usize;

    /// Who asks.
    fn station(&self) -> &Id;

    /// Rules that the DER alone does not show.
    ///
    /// # Errors
    /// The first rule that does not hold.
    fn check(&self) -> Result<(), WireError>;

    /// Canonical DER.
    fn to_bytes(&self) -> Vec<u8> {
        crate::wire::encode(self)
    }

    /// Reads canonical DER and checks the rules.
    ///
    /// # Errors
    /// [`WireError`]: too long, not DER, not canonical, or against a rule.
    fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let request: Self = crate::wire::decode(bytes, Self::LIMIT)?;
        request.check()?;
        Ok(request)
    }
}

/// SHA-256(label ‖ DER): what the station signs, and the request's name in the log.
#[must_use]
pub fn request_hash<R: StationRequest>(der: &[u8]) -> RequestHash {
    RequestHash(sha256_of(|h| {
        h.put(R::LABEL);
        h.put(der);
    }))
}

/// True if `signature` over these request bytes is the station's.
#[must_use]
pub fn signed_by<R: StationRequest>(
    der: &[u8],
    signature: &[u8],
    key: &P256Key,
    verifier: &impl VerifyP256,
) -> bool {
    verifier.verify(key, &request_hash::<R>(der).0, signature)
}

impl StationRequest for Envelope {
    const LABEL: &'static [u8] = b"koseki/envelope/v1\n";
    const LIMIT: usize = MAX_ENVELOPE;

    fn station(&self) -> &Id {
        &self.station
    }

    fn check(&self) -> Result<(), WireError> {
        let bounded = |unit: &Unit| {
            unit.challenge.as_bytes().len() <= MAX_CHALLENGE
                && unit
                    .observations
                    .iter()
                    .all(|o| o.value.as_bytes().len() <= crate::field::MAX_VALUE)
                && unit
                    .observations
                    .iter()
                    .all(|o| STATION_TAGS.contains(&o.tag))
                && unit
                    .observations
                    .windows(2)
                    .all(|pair| matches!(pair, [a, b] if a.tag < b.tag))
        };
        let seen = self.seen.as_ref().map_or(0, |note| note.as_bytes().len());
        require(
            (1..=MAX_UNITS).contains(&self.units.len()),
            "an envelope holds 1 to 64 units",
        )?;
        require(seen <= MAX_SEEN, "a seen checkpoint is at most 4096 bytes")?;
        require(
            self.units.iter().all(bounded),
            "a unit's challenge or observations are out of bounds",
        )?;
        let named = |observed: &Observation| {
            observed.tag != Tag::Supersedes || observed.value.as_bytes().len() == 32
        };
        require(
            self.units
                .iter()
                .all(|unit| unit.observations.iter().all(named)),
            "the board that a unit supersedes is named by 32 bytes",
        )
    }
}

/// Facts a station may state itself; all others are known to the CA.
pub const STATION_TAGS: [Tag; 9] = [
    Tag::Operator,
    Tag::DateCode,
    Tag::BoardRevision,
    Tag::FirmwareDigest,
    Tag::Placement,
    Tag::Attempt,
    Tag::TimeQuality,
    Tag::Supersedes,
    Tag::AgentDigest,
];

impl StationRequest for ConfirmRequest {
    const LABEL: &'static [u8] = b"koseki/confirm-request/v1\n";
    const LIMIT: usize = MAX_REQUEST;

    fn station(&self) -> &Id {
        &self.station
    }

    fn check(&self) -> Result<(), WireError> {
        Ok(())
    }
}

impl StationRequest for VoidRequest {
    const LABEL: &'static [u8] = b"koseki/void-request/v1\n";
    const LIMIT: usize = MAX_REQUEST;

    fn station(&self) -> &Id {
        &self.station
    }

    fn check(&self) -> Result<(), WireError> {
        Ok(())
    }
}
