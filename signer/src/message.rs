//! What crosses the signer's interface, as DER: a [`SignRequest`] in, a [`SignReply`] out.
//!
//! A request brings the newest checkpoint, every leaf since the signer's last one with the documents those leaves
//! name, and the certificates to sign. Nothing in it is believed: leaves are held against the checkpoint, documents
//! against the leaves, certificates against both.

use der::asn1::OctetString;
use der::{Choice, Decode, Encode, Sequence};
use identity::document::Version1;
use identity::envelope::Signature;
use identity::support::Support;

/// Longest request in bytes. A log that is further ahead than fits is sent in parts, each with a checkpoint of its own.
pub const MAX_REQUEST: usize = 64 * 1024 * 1024;
/// Most leaves in one request.
pub const MAX_ENTRIES: usize = 262_144;
/// Most certificates in one request.
pub const MAX_ITEMS: usize = 4096;
/// Longest reply in bytes.
pub const MAX_REPLY: usize = 4 * 1024 * 1024;

/// ASN.1 `SignRequest`: follow the log up to this checkpoint, then sign these.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct SignRequest {
    /// Version of the form.
    pub version: Version1,
    /// The committed head as a signed note (C2SP tlog-checkpoint).
    pub checkpoint: OctetString,
    /// Index of the first entry; at most the signer's size. What it has already is held against what it has.
    pub first: u64,
    /// All leaves from `first` to the checkpoint's size. Empty if the signer's size is the checkpoint's.
    pub entries: Vec<Entry>,
    /// The envelopes that the items come from, each once.
    pub envelopes: Vec<SignedEnvelope>,
    /// Certificates to sign, in any order.
    pub items: Vec<Item>,
}

/// ASN.1 `SignedEnvelope`: what a station asked for.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct SignedEnvelope {
    /// The envelope, DER.
    pub der: OctetString,
    /// The station's signature over it, r ‖ s, 64 bytes.
    pub signature: OctetString,
}

/// ASN.1 `Entry`: one leaf of the log.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Entry {
    /// The leaf, DER.
    pub leaf: OctetString,
    /// Documents behind it: for `ceremony`, `station`, `grant` and `lot-open` leaves, and for no others. May be left
    /// out where the signer has the leaf already.
    #[asn1(
        context_specific = "0",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    pub support: Option<Support>,
}

/// ASN.1 `Item`: one certificate to sign.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Item {
    /// Index of its `bind` leaf.
    pub index: u64,
    /// The `TBSCertificate`, DER.
    pub tbs: OctetString,
    /// Openings of the leaf's fields (`identity::field::Openings`), DER: all of them, none withheld.
    pub openings: OctetString,
    /// Which of the request's envelopes it comes from, from 0.
    pub envelope: u32,
    /// Which unit of that envelope, from 0.
    pub unit: u32,
}

/// ASN.1 `SignReply`.
#[derive(Clone, Debug, PartialEq, Eq, Choice)]
#[asn1(tag_mode = "IMPLICIT")]
pub enum SignReply {
    /// One outcome an item, in the order of the request.
    #[asn1(context_specific = "0", constructed = "true")]
    Outcomes(Vec<Outcome>),
    /// Nothing was signed.
    #[asn1(context_specific = "1", constructed = "true")]
    Stopped(Stopped),
}

/// ASN.1 `Outcome`: what became of one item.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Outcome {
    /// Index of its `bind` leaf.
    pub index: u64,
    /// Signature or refusal.
    pub answer: Answer,
}

/// ASN.1 `Answer`.
#[derive(Clone, Debug, PartialEq, Eq, Choice)]
#[asn1(tag_mode = "IMPLICIT")]
pub enum Answer {
    /// The CA's signature over the TBS, durable in the signer's store; the same for ever.
    #[asn1(context_specific = "0")]
    Signed(Signature),
    /// Not signed.
    #[asn1(context_specific = "1", constructed = "true")]
    Refused(Refused),
}

/// ASN.1 `Refused`: why one item was not signed.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Refused {
    /// Stable code, see [`crate::code`].
    pub code: String,
    /// For people.
    pub text: String,
}

/// ASN.1 `Stopped`: why nothing in the request was signed.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Stopped {
    /// Stable code, see [`crate::code`].
    pub code: String,
    /// For people.
    pub text: String,
    /// Leaves the signer has followed.
    pub size: u64,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than this message may be; nothing was parsed.
    #[error("{got} bytes where at most {max} are allowed")]
    TooLong {
        /// Bytes given.
        got: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// Not the DER of this message.
    #[error("not the expected DER: {0}")]
    Der(#[from] der::Error),
    /// More parts than are allowed.
    #[error("{got} {what} where at most {max} are allowed")]
    TooMany {
        /// Which part.
        what: &'static str,
        /// Parts given.
        got: usize,
        /// Most parts allowed.
        max: usize,
    },
}

impl SignRequest {
    /// DER.
    ///
    /// # Errors
    /// [`MessageError`] if it is larger than the signer takes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MessageError> {
        self.check()?;
        encode(self, MAX_REQUEST)
    }

    /// Reads DER.
    ///
    /// # Errors
    /// [`MessageError`]: too long, too many parts, not DER.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        cap(bytes, MAX_REQUEST)?;
        let request = Self::from_der(bytes)?;
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), MessageError> {
        count("entries", self.entries.len(), MAX_ENTRIES)?;
        count("envelopes", self.envelopes.len(), MAX_ITEMS)?;
        count("items", self.items.len(), MAX_ITEMS)
    }
}

impl SignReply {
    /// DER.
    ///
    /// # Errors
    /// [`MessageError`] if it is too large.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MessageError> {
        encode(self, MAX_REPLY)
    }

    /// Reads DER.
    ///
    /// # Errors
    /// [`MessageError`]: too long, not DER.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        cap(bytes, MAX_REPLY)?;
        Ok(Self::from_der(bytes)?)
    }
}

fn encode(message: &impl Encode, max: usize) -> Result<Vec<u8>, MessageError> {
    let bytes = message.to_der()?;
    cap(&bytes, max)?;
    Ok(bytes)
}

const fn cap(bytes: &[u8], max: usize) -> Result<(), MessageError> {
    if bytes.len() > max {
        Err(MessageError::TooLong {
            got: bytes.len(),
            max,
        })
    } else {
        Ok(())
    }
}

const fn count(what: &'static str, got: usize, max: usize) -> Result<(), MessageError> {
    if got > max {
        Err(MessageError::TooMany { what, got, max })
    } else {
        Ok(())
    }
}
