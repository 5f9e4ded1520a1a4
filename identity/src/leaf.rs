//! The leaf: one entry of the log, DER, for ever. ASN.1 module: `docs/asn1/koseki.asn1`; one golden per kind.

mod wire_form;

use crate::evidence::Grade;
use crate::hash::{CertificateHash, DocumentHash, LeafHash, RequestHash, SpkiHash, TbsHash};
use crate::lot::{LotCounts, LotTally};
use crate::sources::Day;
use crate::subject::SubjectId;
use crate::text::Id;
pub use crate::wire::{Bytes32, WireError};
use alloc::vec::Vec;
use der::{Enumerated, Sequence};

/// Longest leaf in bytes.
pub const MAX_LEAF: usize = 4096;

/// Kinds of leaves. Numbers are fixed for ever, also of those not written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumerated)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each kind is described at its body, or reserved"
)]
pub enum Kind {
    Ceremony = 1,
    Policy = 2,
    Station = 3,
    Grant = 4,
    LotOpen = 5,
    LotClose = 6,
    Lease = 7,
    LeaseReturn = 8,
    Bind = 9,
    Adopt = 10,
    Confirm = 11,
    Void = 12,
    Scrap = 13,
    Revoke = 14,
    Refuse = 15,
    Renew = 16,
    Transfer = 17,
    Retire = 18,
    Suspend = 19,
    Incident = 20,
    Redact = 21,
    HsmAudit = 22,
    Anchor = 23,
}

/// Names an entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Sequence)]
pub struct EntryRef {
    /// Index from 0.
    pub index: u64,
    /// Its leaf hash.
    pub hash: LeafHash,
}

/// The certificate that a `bind` leaf permits; nothing else may ever be signed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Sequence)]
pub struct CertificateRef {
    /// Serial number of the certificate: 20 octets, unsigned.
    pub serial: Serial20,
    /// Hash of its `TBSCertificate`.
    pub tbs: TbsHash,
    /// Hash of the certified key.
    pub spki: SpkiHash,
    /// Hash of the issuing CA's key.
    pub issuer: SpkiHash,
    /// Counter of proving keys; an `IDevID`'s is 0.
    pub epoch: u32,
}

/// A certificate serial number of exactly 20 octets (RFC 5280 §4.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial20(pub [u8; 20]);

/// A position inside a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Sequence)]
pub struct GrantUse {
    /// Hash of the grant.
    pub grant: DocumentHash,
    /// Position, from 0, dense, never returned.
    pub ordinal: u32,
}

/// Evidence of the key's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Sequence)]
pub struct EvidenceRef {
    /// The grade it earned.
    pub grade: Grade,
    /// SHA-256 of the evidence.
    pub hash: Bytes32,
}

/// A grant's bounds, in the open so that anyone with the leaves can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Sequence)]
pub struct GrantTerms {
    /// Most certificates, ever.
    pub limit: u32,
    /// Most scrapped units.
    pub scrap: u32,
    /// First day of validity.
    pub first: Day,
    /// Last day of validity.
    pub last: Day,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Coarse time.
    pub day: Day,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The log begins: keys and approvers of the ceremony document.
    Ceremony {
        /// Hash of the ceremony document.
        document: DocumentHash,
    },
    /// A station may act.
    Station {
        /// Hash of the station statement.
        document: DocumentHash,
        /// Hashes of its approvals.
        approvals: Vec<DocumentHash>,
    },
    /// Certificates may be issued.
    Grant {
        /// Hash of the grant.
        document: DocumentHash,
        /// Hashes of its approvals.
        approvals: Vec<DocumentHash>,
        /// Bounds in the open.
        terms: GrantTerms,
    },
    /// A grant is closed before its time: nothing more is bound or opened under it. Written as kind `policy`.
    GrantClose {
        /// Hash of the grant.
        grant: DocumentHash,
        /// Why, in one word.
        reason: Id,
    },
    /// A lot is opened under a grant.
    LotOpen {
        /// Hash of the lot order.
        document: DocumentHash,
        /// The grant it draws on.
        grant: DocumentHash,
        /// Units planned.
        quantity: u32,
    },
    /// A lot is done: nothing more is bound under it.
    LotClose(LotClose),
    /// A fixed key is tied to a device and to one certificate, before that is signed.
    Bind(Bind),
    /// Another station took over a bound unit.
    Adopt(Adopt),
    /// The certificate is in the chip.
    Confirm(Confirm),
    /// A bound unit will never ship.
    Void(Void),
    /// A unit was scrapped.
    Scrap(Scrap),
    /// A request was refused. Never part of a device's history.
    Refuse(Refuse),
}

/// Body of a `bind` leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The fixed key's subject.
    pub subject: SubjectId,
    /// The certificate that may be signed.
    pub certificate: CertificateRef,
    /// The grant and the position in it.
    pub grant: GrantUse,
    /// Hash of the station's signed envelope.
    pub request: RequestHash,
    /// Evidence of the key's origin.
    pub evidence: EvidenceRef,
    /// Root over the fields' commitments.
    pub fields: Bytes32,
    /// Hash of the lot order; none only in leaves from before lots stood in the open.
    pub lot: Option<DocumentHash>,
    /// The voided or scrapped board that had this serial before.
    pub supersedes: Option<SubjectId>,
}

/// Body of a `lot-close` leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotClose {
    /// Hash of the lot order.
    pub lot: DocumentHash,
    /// Hash of the station's request to close it.
    pub request: RequestHash,
    /// What the station counted.
    pub counts: LotCounts,
    /// What the log holds.
    pub tally: LotTally,
    /// Fault code, if the two differ.
    pub reason: Option<Id>,
}

/// Body of an `adopt` leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopt {
    /// The fixed key's subject.
    pub subject: SubjectId,
    /// Its previous entry.
    pub previous: EntryRef,
    /// Hash of the adopting station's envelope.
    pub request: RequestHash,
    /// Root over the fields' commitments.
    pub fields: Bytes32,
}

/// Body of a `confirm` leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// The fixed key's subject.
    pub subject: SubjectId,
    /// Its previous entry.
    pub previous: EntryRef,
    /// Hash of the station's confirm request.
    pub request: RequestHash,
    /// Certificate as read back from the chip.
    pub certificate: CertificateHash,
    /// SHA-256 of the chip's signature.
    pub signature: Bytes32,
}

/// Body of a `void` leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// The fixed key's subject.
    pub subject: SubjectId,
    /// Its previous entry.
    pub previous: EntryRef,
    /// Hash of the station's void request; none if an operator decided.
    pub request: Option<RequestHash>,
    /// Fault code.
    pub reason: Id,
}

/// Body of a `scrap` leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrap {
    /// The fixed key's subject, if the chip ever had a key.
    pub subject: Option<SubjectId>,
    /// Its previous entry, with the subject.
    pub previous: Option<EntryRef>,
    /// The grant whose allowance it uses.
    pub grant: DocumentHash,
    /// Hash of the station's scrap request; none if an operator decided.
    pub request: Option<RequestHash>,
    /// Fault code.
    pub reason: Id,
    /// Root over the fields' commitments.
    pub fields: Bytes32,
    /// Hash of the lot order that the unit was to belong to.
    pub lot: Option<DocumentHash>,
}

/// Body of a `refuse` leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    /// Fault code.
    pub reason: Id,
    /// How many refusals this leaf stands for; more than one only in an aggregate.
    pub count: u32,
    /// Hash of the refused request; none in an aggregate.
    pub request: Option<RequestHash>,
    /// Root over the fields' commitments.
    pub fields: Bytes32,
}

/// What a leaf says of the document that it names by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// A ceremony.
    Ceremony,
    /// A station statement, with the hashes of its approvals.
    Station(&'a [DocumentHash]),
    /// A grant, with the hashes of its approvals and its bounds.
    Grant(&'a [DocumentHash], GrantTerms),
    /// A lot order, with its grant and the units planned.
    LotOrder(DocumentHash, u32),
}

impl Body {
    /// The document that stands behind the leaf, if one does, and what the leaf says of it.
    #[must_use]
    pub const fn document(&self) -> Option<(DocumentHash, Named<'_>)> {
        match self {
            Self::Ceremony { document } => Some((*document, Named::Ceremony)),
            Self::Station {
                document,
                approvals,
            } => Some((*document, Named::Station(approvals.as_slice()))),
            Self::Grant {
                document,
                approvals,
                terms,
            } => Some((*document, Named::Grant(approvals.as_slice(), *terms))),
            Self::LotOpen {
                document,
                grant,
                quantity,
            } => Some((*document, Named::LotOrder(*grant, *quantity))),
            Self::GrantClose { .. }
            | Self::LotClose(_)
            | Self::Bind(_)
            | Self::Adopt(_)
            | Self::Confirm(_)
            | Self::Void(_)
            | Self::Scrap(_)
            | Self::Refuse(_) => None,
        }
    }

    /// Kind of the leaf.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ceremony { .. } => Kind::Ceremony,
            Self::Station { .. } => Kind::Station,
            Self::Grant { .. } => Kind::Grant,
            Self::GrantClose { .. } => Kind::Policy,
            Self::LotOpen { .. } => Kind::LotOpen,
            Self::LotClose(_) => Kind::LotClose,
            Self::Bind(_) => Kind::Bind,
            Self::Adopt(_) => Kind::Adopt,
            Self::Confirm(_) => Kind::Confirm,
            Self::Void(_) => Kind::Void,
            Self::Scrap(_) => Kind::Scrap,
            Self::Refuse(_) => Kind::Refuse,
        }
    }

    /// The subject whose history this leaf belongs to.
    #[must_use]
    pub const fn subject(&self) -> Option<SubjectId> {
        match self {
            Self::Bind(body) => Some(body.subject),
            Self::Adopt(body) => Some(body.subject),
            Self::Confirm(body) => Some(body.subject),
            Self::Void(body) => Some(body.subject),
            Self::Scrap(body) => body.subject,
            Self::Ceremony { .. }
            | Self::Station { .. }
            | Self::Grant { .. }
            | Self::GrantClose { .. }
            | Self::LotOpen { .. }
            | Self::LotClose(_)
            | Self::Refuse(_) => None,
        }
    }

    /// The entry before this one in its subject's history.
    #[must_use]
    pub const fn previous(&self) -> Option<EntryRef> {
        match self {
            Self::Adopt(body) => Some(body.previous),
            Self::Confirm(body) => Some(body.previous),
            Self::Void(body) => Some(body.previous),
            Self::Scrap(body) => body.previous,
            Self::Ceremony { .. }
            | Self::Station { .. }
            | Self::Grant { .. }
            | Self::GrantClose { .. }
            | Self::LotOpen { .. }
            | Self::LotClose(_)
            | Self::Bind(_)
            | Self::Refuse(_) => None,
        }
    }
}

impl Leaf {
    /// Canonical DER: the log entry.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::wire::encode(&wire_form::LeafForm::from(self))
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`WireError`]: too long, not canonical DER, a reserved kind, or parts that its kind does not have.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        crate::wire::decode::<wire_form::LeafForm>(bytes, MAX_LEAF)?.try_into()
    }
}
