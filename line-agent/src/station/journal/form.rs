//! Entries of the journal as they stand on disk. Field names and step names never change meaning.

use crate::verdict::Verdict;
use base64ct::Base64;
use identity::evidence::Evidence;
use identity::fault::Fault;
use identity::{
    CertificateHash, ChipUid, DeviceSerial, DocumentHash, Id, LeafHash, P256Key, PartNumber,
    RequestHash, RequestId, Timestamp,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Request of the unit.
    #[serde(with = "hexadecimal")]
    pub request: RequestId,
    /// When it was written.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// What happened, or is about to.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened to a unit, or is about to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Event {
    /// A fixed key exists, and is about to be burnt. Written before the key goes to the chip.
    Keyed(Box<Keyed>),
    /// This envelope is about to be sent. A later one takes the place of an earlier one whose challenge went stale.
    Sent(SignedRequest),
    /// The CA's answer was verified.
    Issued(IssuedFacts),
    /// This confirmation is about to be sent.
    Confirming(SignedRequest),
    /// The key was never burnt and is gone; the chip takes another one, under another request.
    Dropped,
    /// The unit is done: PASS or FAIL.
    Closed(Closed),
    /// This void is about to be sent; it is sent again until the CA has answered.
    Voiding(SignedRequest),
    /// The CA has voided the unit.
    Voided,
    /// The CA refused the void: the unit stands as it was.
    VoidRefused,
    /// Nothing was bound under the request whose void was sent.
    NeverBound,
    /// This scrapping is about to be sent; the entry's request is its own id. It is sent again until the CA has answered.
    Scrapping(Box<Scrapping>),
    /// The CA has entered the scrapping.
    Scrapped,
    /// The CA refused the scrapping: the unit stands as it was.
    ScrapRefused,
    /// The CA refuses what stands in the journal, and will go on doing so: the unit leaves its socket and stays open.
    Aside(Aside),
    /// The chip of a unit that was set aside is back.
    Reseated(Reseated),
    /// The chip of a unit that failed behind its binding is back: the unit goes on, as the next attempt.
    Reopened(Reseated),
}

/// Why a unit was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// What the CA says.
    #[serde(with = "fault_code")]
    pub fault: Fault,
}

/// Where a unit's chip sits now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reseated {
    /// The socket.
    #[serde(with = "text")]
    pub socket: Id,
}

/// A unit that is scrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrapping {
    /// Lot.
    #[serde(with = "text")]
    pub lot: Id,
    /// Serial that the unit was to carry.
    #[serde(with = "text")]
    pub serial: DeviceSerial,
    /// Request of the unit, if the CA may know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<HexRequest>,
    /// The unit was voided before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub voided: bool,
    /// What is sent.
    pub signed: SignedRequest,
    /// Names of what was sent under this id before, with other dates: its answer may have been lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<HexHash>,
}

/// The name of a request beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HexHash(#[serde(with = "hexadecimal")] pub RequestHash);

/// A request id beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HexRequest(#[serde(with = "hexadecimal")] pub RequestId);

/// A unit whose key exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// Socket the chip sits in.
    #[serde(with = "text")]
    pub socket: Id,
    /// Lot.
    #[serde(with = "text")]
    pub lot: Id,
    /// Serial the device will carry.
    #[serde(with = "text")]
    pub serial: DeviceSerial,
    /// Label, for people.
    pub label: String,
    /// Which attempt at this serial, from 1.
    pub attempt: u32,
    /// The grant.
    #[serde(with = "hexadecimal")]
    pub grant: DocumentHash,
    /// The chip.
    #[serde(with = "hexadecimal")]
    pub uid: ChipUid,
    /// Its part number.
    #[serde(with = "text")]
    pub part: PartNumber,
    /// The fixed key, SPKI.
    #[serde(with = "base64")]
    pub key: P256Key,
    /// Where the key came from; for an injected key the receipt is in it.
    #[serde(with = "base64")]
    pub evidence: Evidence,
    /// The chip came here burnt and bound, by a station that cannot finish it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopts: bool,
}

/// A request's bytes with the station's signature: what is sent, and sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRequest {
    /// Canonical DER.
    #[serde(with = "base64")]
    pub der: Vec<u8>,
    /// The station's signature, r ‖ s.
    #[serde(with = "base64")]
    pub signature: [u8; 64],
}

/// What the CA answered, as far as a later answer must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedFacts {
    /// Hash of the certificate.
    #[serde(with = "hexadecimal")]
    pub certificate: CertificateHash,
    /// Index of the `bind` leaf.
    pub index: u64,
    /// Hash of the `bind` leaf.
    #[serde(with = "hexadecimal")]
    pub leaf: LeafHash,
}

/// The end of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Socket the chip sat in.
    #[serde(with = "text")]
    pub socket: Id,
    /// Lot.
    #[serde(with = "text")]
    pub lot: Id,
    /// Serial.
    #[serde(with = "text")]
    pub serial: DeviceSerial,
    /// The chip.
    #[serde(with = "hexadecimal")]
    pub uid: ChipUid,
    /// PASS or FAIL.
    #[serde(with = "verdict")]
    pub verdict: Verdict,
    /// Why it is FAIL.
    #[serde(with = "fault", default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What is left of units that are done, in a journal that was compacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sum", rename_all = "kebab-case")]
pub enum Summary {
    /// Units done since the station began.
    Totals {
        /// Passed.
        passed: u64,
        /// Failed.
        failed: u64,
    },
    /// Chips that must not be taken for new ones.
    Chips {
        /// What is known of all of them.
        known: KnownChip,
        /// The chips.
        uids: Vec<HexUid>,
    },
    /// Serials of a lot that were begun.
    Serials {
        /// Lot.
        #[serde(with = "text")]
        lot: Id,
        /// Attempts at each of them.
        attempts: u32,
        /// Whether no other chip may have them.
        taken: bool,
        /// Units with a key that failed since the last scrapping.
        #[serde(default, skip_serializing_if = "is_zero")]
        failures: u32,
        /// The serials.
        serials: Vec<TextSerial>,
    },
    /// The chip that was done last in a socket.
    Last {
        /// Socket.
        #[serde(with = "text")]
        socket: Id,
        /// The chip.
        #[serde(with = "hexadecimal")]
        uid: ChipUid,
    },
    /// A unit that failed behind its request to the CA.
    Failed(Box<FailedUnit>),
    /// Boards of a lot that will never ship.
    Ends {
        /// Lot.
        #[serde(with = "text")]
        lot: Id,
        /// Voided, and not scrapped since.
        voided: u32,
        /// Scrapped.
        scrapped: u32,
        /// Serials whose last unit was scrapped, and how many attempts they had then.
        serials: Vec<(TextSerial, u32)>,
    },
    /// Attempts at a serial that failed.
    Past {
        /// Lot.
        #[serde(with = "text")]
        lot: Id,
        /// The serial.
        #[serde(with = "text")]
        serial: DeviceSerial,
        /// The attempts, the earliest first.
        attempts: Vec<Earlier>,
    },
    /// Chips that had a key here, and how their units ended.
    Done {
        /// The chips.
        chips: Vec<DoneChip>,
    },
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What is known of a chip that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnownChip {
    /// It was put aside before it had a key here.
    NeverKeyed,
    /// A key was made for it, and it may be burnt.
    Keyed,
    /// The CA was asked for it: it was burnt.
    Sent,
}

/// A unit that failed behind its request to the CA: it may be bound, and is until it is voided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedUnit {
    /// Its request.
    #[serde(with = "hexadecimal")]
    pub request: RequestId,
    /// Lot.
    #[serde(with = "text")]
    pub lot: Id,
    /// Serial.
    #[serde(with = "text")]
    pub serial: DeviceSerial,
    /// The chip.
    #[serde(with = "hexadecimal")]
    pub uid: ChipUid,
    /// Whether the CA's answer had come: then it is bound for certain.
    pub issued: bool,
    /// The void that waits for the CA's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voiding: Option<SignedRequest>,
    /// What it needs to go on, if it is bound for certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<Box<Resumable>>,
}

/// A failed unit that can go on when its chip is back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumable {
    /// Who it is, and where it was.
    pub keyed: Keyed,
    /// Its envelope, which gets the same answer again.
    pub sent: SignedRequest,
    /// That answer.
    pub facts: IssuedFacts,
}

/// An attempt at a serial that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The chip.
    #[serde(with = "hexadecimal")]
    pub uid: ChipUid,
    /// When it ended.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Why.
    #[serde(with = "fault", default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// A chip whose unit is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneChip {
    /// The chip.
    #[serde(with = "hexadecimal")]
    pub uid: ChipUid,
    /// How its unit ended.
    #[serde(flatten)]
    pub end: ChipEnd,
}

/// How the unit of a chip ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChipEnd {
    /// Serial that it had.
    #[serde(with = "text")]
    pub serial: DeviceSerial,
    /// When.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Why it did not pass; none if it did.
    #[serde(with = "fault", default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// A UID in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HexUid(#[serde(with = "hexadecimal")] pub ChipUid);

/// A serial in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TextSerial(#[serde(with = "text")] pub DeviceSerial);

/// Values that stand as bytes.
trait AsBytes: Sized {
    fn bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! as_bytes {
    ($($name:ty: |$value:ident| $bytes:expr, |$content:ident| $parse:expr;)*) => {$(
        impl AsBytes for $name {
            fn bytes(&self) -> Vec<u8> {
                let $value = self;
                $bytes
            }
            fn from_bytes($content: &[u8]) -> Option<Self> {
                $parse
            }
        }
    )*};
}

as_bytes! {
    Vec<u8>: |value| value.clone(), |content| Some(content.to_vec());
    [u8; 64]: |value| value.to_vec(), |content| content.try_into().ok();
    RequestId: |value| value.0.to_vec(), |content| content.try_into().ok().map(Self);
    ChipUid: |value| value.as_bytes().to_vec(), |content| Self::new(content).ok();
    P256Key: |value| value.spki().to_vec(), |content| Self::from_spki(content).ok();
    Evidence: |value| value.to_bytes(), |content| Self::from_bytes(content).ok();
    DocumentHash: |value| value.0.to_vec(), |content| content.try_into().ok().map(Self);
    RequestHash: |value| value.0.to_vec(), |content| content.try_into().ok().map(Self);
    CertificateHash: |value| value.0.to_vec(), |content| content.try_into().ok().map(Self);
    LeafHash: |value| value.0.to_vec(), |content| content.try_into().ok().map(Self);
}

mod hexadecimal {
    use super::{AsBytes, Deserialize as _, Deserializer, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<T: AsBytes, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(value.bytes()))
    }

    pub(super) fn deserialize<'de, T: AsBytes, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text).map_err(D::Error::custom)?;
        T::from_bytes(&bytes).ok_or_else(|| D::Error::custom("the bytes are not of this kind"))
    }
}

mod base64 {
    use super::{AsBytes, Base64, Deserialize as _, Deserializer, Serializer};
    use base64ct::Encoding as _;
    use serde::de::Error as _;

    pub(super) fn serialize<T: AsBytes, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Base64::encode_string(&value.bytes()))
    }

    pub(super) fn deserialize<'de, T: AsBytes, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = Base64::decode_vec(&text).map_err(D::Error::custom)?;
        T::from_bytes(&bytes).ok_or_else(|| D::Error::custom("the bytes are not of this kind"))
    }
}

mod text {
    use super::{Deserialize as _, Deserializer, Serializer};
    use serde::de::Error as _;
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

mod millis {
    use super::{Deserialize as _, Deserializer, Serializer, Timestamp};

    pub(super) fn serialize<S: Serializer>(
        value: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp)
    }
}

mod verdict {
    use super::{Deserialize as _, Deserializer, Serializer, Verdict};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(
        value: &Verdict,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Verdict, D::Error> {
        let name = String::deserialize(deserializer)?;
        Verdict::from_name(&name).ok_or_else(|| D::Error::custom("no such verdict"))
    }
}

mod fault {
    use super::{Deserialize as _, Deserializer, Fault, Serialize as _, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Fault>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Fault::code).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Fault>, D::Error> {
        let Some(code) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        Fault::from_code(&code)
            .map(Some)
            .ok_or_else(|| D::Error::custom("no such fault"))
    }
}

mod fault_code {
    use super::{Deserialize as _, Deserializer, Fault, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(
        value: &Fault,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.code())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Fault, D::Error> {
        let code = String::deserialize(deserializer)?;
        Fault::from_code(&code).ok_or_else(|| D::Error::custom("no such fault"))
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::super::history::History;
    use super::*;
    use identity::evidence::{Bytes32, EndorsedChip, OnChip, Signature};

    pub(crate) fn request(n: u8) -> RequestId {
        RequestId([n; 16])
    }

    /// The base point of P-256 (FIPS 186-5): a key that anybody can write down.
    pub(crate) fn key() -> P256Key {
        let point = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
        P256Key::from_sec1(&hex::decode(point).unwrap()).unwrap()
    }

    /// What these entries lead to.
    pub(crate) fn after(entries: &[Entry]) -> History {
        let mut history = History::default();
        entries
            .iter()
            .for_each(|entry| history.apply(entry).unwrap());
        history
    }

    fn entry(n: u8, event: Event) -> Entry {
        Entry {
            request: request(n),
            at: Timestamp(1_795_392_000_000 + u64::from(n)),
            event,
        }
    }

    pub(crate) fn keyed(n: u8) -> Entry {
        let chip = EndorsedChip {
            attestation: key(),
            endorsement: Signature([1; 64]),
        };
        let on_chip = OnChip {
            chip,
            nonce: Bytes32([2; 32]),
            origin: Signature([3; 64]),
        };
        let keyed = Keyed {
            socket: Id::new("1").unwrap(),
            lot: Id::new("26W48-A").unwrap(),
            serial: DeviceSerial::new(&format!("2648000100{n}")).unwrap(),
            label: "見守りカメラ".to_owned(),
            attempt: 1,
            grant: DocumentHash([9; 32]),
            uid: ChipUid::new(&[1, 0x23, n]).unwrap(),
            part: PartNumber::new("sim-se-a1").unwrap(),
            key: key(),
            evidence: Evidence::OnChip(on_chip),
            adopts: false,
        };
        entry(n, Event::Keyed(Box::new(keyed)))
    }

    pub(crate) fn sent(n: u8) -> Entry {
        entry(
            n,
            Event::Sent(SignedRequest {
                der: vec![0x30, 0],
                signature: [4; 64],
            }),
        )
    }

    pub(crate) fn issued(n: u8) -> Entry {
        let facts = IssuedFacts {
            certificate: CertificateHash([5; 32]),
            index: 6,
            leaf: LeafHash([7; 32]),
        };
        entry(n, Event::Issued(facts))
    }

    pub(crate) fn confirming(n: u8) -> Entry {
        let Event::Sent(request) = sent(n).event else {
            panic!("a sample is what it is called");
        };
        entry(n, Event::Confirming(request))
    }

    pub(crate) fn voiding(n: u8) -> Entry {
        let Event::Sent(request) = sent(n).event else {
            panic!("a sample is what it is called");
        };
        entry(n, Event::Voiding(request))
    }

    pub(crate) fn aside(n: u8) -> Entry {
        let fault = Fault::Alarmed;
        entry(n, Event::Aside(Aside { fault }))
    }

    pub(crate) fn reseated(n: u8, socket: &str) -> Entry {
        let socket = Id::new(socket).unwrap();
        entry(n, Event::Reseated(Reseated { socket }))
    }

    pub(crate) fn passed(n: u8) -> Entry {
        let mut entry = closed(n);
        if let Event::Closed(closed) = &mut entry.event {
            (closed.verdict, closed.fault) = (Verdict::Pass, None);
        }
        entry
    }

    pub(crate) fn reopened(n: u8, socket: &str) -> Entry {
        let socket = Id::new(socket).unwrap();
        entry(n, Event::Reopened(Reseated { socket }))
    }

    pub(crate) fn bare(n: u8, event: Event) -> Entry {
        entry(n, event)
    }

    pub(crate) fn closed(n: u8) -> Entry {
        let closed = Closed {
            socket: Id::new("1").unwrap(),
            lot: Id::new("26W48-A").unwrap(),
            serial: DeviceSerial::new(&format!("2648000100{n}")).unwrap(),
            uid: ChipUid::new(&[1, 0x23, n]).unwrap(),
            verdict: Verdict::Fail,
            fault: Some(Fault::CertificateReadback),
        };
        entry(n, Event::Closed(closed))
    }
}
