//! The one `SEQUENCE` that all kinds share; which parts a kind has is decided here and nowhere else.

use super::{
    Adopt, Bind, Body, CertificateRef, Confirm, EntryRef, EvidenceRef, GrantTerms, GrantUse, Kind,
    Leaf, LotClose, Refuse, Scrap, Serial20, Void,
};
use crate::hash::{CertificateHash, DocumentHash, RequestHash};
use crate::lot::{LotCounts, LotTally};
use crate::sources::Day;
use crate::subject::SubjectId;
use crate::text::Id;
use crate::wire::{Bytes32, Version1, WireError};
use alloc::vec::Vec;
use der::{DecodeValue, EncodeValue, FixedTag, Header, Length, Reader, Sequence, Tag, Writer};

/// ASN.1 `Leaf`.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct LeafForm {
    version: Version1,
    kind: Kind,
    day: Day,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    subject: Option<SubjectId>,
    #[asn1(
        context_specific = "1",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    previous: Option<EntryRef>,
    #[asn1(
        context_specific = "2",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    certificate: Option<CertificateRef>,
    #[asn1(
        context_specific = "3",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    grant_use: Option<GrantUse>,
    #[asn1(context_specific = "4", tag_mode = "IMPLICIT", optional = "true")]
    request: Option<RequestHash>,
    #[asn1(
        context_specific = "5",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    evidence: Option<EvidenceRef>,
    #[asn1(context_specific = "6", tag_mode = "IMPLICIT", optional = "true")]
    reason: Option<Id>,
    #[asn1(context_specific = "7", tag_mode = "IMPLICIT", optional = "true")]
    fields: Option<Bytes32>,
    #[asn1(context_specific = "8", tag_mode = "IMPLICIT", optional = "true")]
    document: Option<DocumentHash>,
    #[asn1(
        context_specific = "9",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    approvals: Option<Vec<DocumentHash>>,
    #[asn1(
        context_specific = "10",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    terms: Option<GrantTerms>,
    #[asn1(context_specific = "11", tag_mode = "IMPLICIT", optional = "true")]
    grant: Option<DocumentHash>,
    #[asn1(context_specific = "12", tag_mode = "IMPLICIT", optional = "true")]
    count: Option<u32>,
    #[asn1(
        context_specific = "13",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    readback: Option<Readback>,
    #[asn1(context_specific = "14", tag_mode = "IMPLICIT", optional = "true")]
    lot: Option<DocumentHash>,
    #[asn1(context_specific = "15", tag_mode = "IMPLICIT", optional = "true")]
    supersedes: Option<SubjectId>,
    #[asn1(
        context_specific = "16",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    counts: Option<LotCounts>,
    #[asn1(
        context_specific = "17",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    tally: Option<LotTally>,
}

/// ASN.1 `Readback`: what came back from the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Sequence)]
struct Readback {
    certificate: CertificateHash,
    signature: Bytes32,
}

impl LeafForm {
    const fn empty(kind: Kind, day: Day) -> Self {
        Self {
            version: Version1,
            kind,
            day,
            subject: None,
            previous: None,
            certificate: None,
            grant_use: None,
            request: None,
            evidence: None,
            reason: None,
            fields: None,
            document: None,
            approvals: None,
            terms: None,
            grant: None,
            count: None,
            readback: None,
            lot: None,
            supersedes: None,
            counts: None,
            tally: None,
        }
    }
}

impl From<&Leaf> for LeafForm {
    fn from(leaf: &Leaf) -> Self {
        let mut form = Self::empty(leaf.body.kind(), leaf.day);
        form.subject = leaf.body.subject();
        match &leaf.body {
            Body::Ceremony { document } => form.document = Some(*document),
            Body::Station {
                document,
                approvals,
            } => form.put_approved(document, approvals),
            Body::Grant {
                document,
                approvals,
                terms,
            } => {
                form.put_approved(document, approvals);
                form.terms = Some(*terms);
            }
            Body::GrantClose { grant, reason } => {
                form.grant = Some(*grant);
                form.reason = Some(*reason);
            }
            Body::LotOpen {
                document,
                grant,
                quantity,
            } => {
                form.document = Some(*document);
                form.grant = Some(*grant);
                form.count = Some(*quantity);
            }
            Body::LotClose(body) => form.put_lot_close(body),
            Body::Bind(body) => form.put_bind(body),
            Body::Adopt(body) => form.put_adopt(body),
            Body::Confirm(body) => form.put_confirm(body),
            Body::Void(body) => form.put_void(body),
            Body::Scrap(body) => form.put_scrap(body),
            Body::Refuse(body) => form.put_refuse(body),
        }
        form
    }
}

/// Puts a body's parts in their places; the subject is in its place already.
impl LeafForm {
    fn put_approved(&mut self, document: &DocumentHash, approvals: &[DocumentHash]) {
        self.document = Some(*document);
        self.approvals = Some(approvals.to_vec());
    }

    const fn put_bind(&mut self, body: &Bind) {
        self.certificate = Some(body.certificate);
        self.grant_use = Some(body.grant);
        self.request = Some(body.request);
        self.evidence = Some(body.evidence);
        self.fields = Some(body.fields);
        self.lot = body.lot;
        self.supersedes = body.supersedes;
    }

    const fn put_lot_close(&mut self, body: &LotClose) {
        self.lot = Some(body.lot);
        self.request = Some(body.request);
        self.counts = Some(body.counts);
        self.tally = Some(body.tally);
        self.reason = body.reason;
    }

    const fn put_adopt(&mut self, body: &Adopt) {
        self.previous = Some(body.previous);
        self.request = Some(body.request);
        self.fields = Some(body.fields);
    }

    const fn put_confirm(&mut self, body: &Confirm) {
        self.previous = Some(body.previous);
        self.request = Some(body.request);
        self.readback = Some(Readback {
            certificate: body.certificate,
            signature: body.signature,
        });
    }

    const fn put_void(&mut self, body: &Void) {
        self.previous = Some(body.previous);
        self.request = body.request;
        self.reason = Some(body.reason);
    }

    const fn put_scrap(&mut self, body: &Scrap) {
        self.previous = body.previous;
        self.grant = Some(body.grant);
        self.request = body.request;
        self.reason = Some(body.reason);
        self.fields = Some(body.fields);
        self.lot = body.lot;
    }

    const fn put_refuse(&mut self, body: &Refuse) {
        self.reason = Some(body.reason);
        self.count = Some(body.count);
        self.request = body.request;
        self.fields = Some(body.fields);
    }
}

/// Takes a body's parts out of their places.
impl LeafForm {
    /// Takes the parts out that the kind has. What is left over afterwards does not belong to it.
    fn take_body(&mut self) -> Result<Body, WireError> {
        match self.kind {
            Kind::Ceremony => Ok(Body::Ceremony {
                document: take(&mut self.document)?,
            }),
            Kind::Station => self.take_station(),
            Kind::Grant => self.take_grant(),
            Kind::Policy => Ok(Body::GrantClose {
                grant: take(&mut self.grant)?,
                reason: take(&mut self.reason)?,
            }),
            Kind::LotOpen => self.take_lot_open(),
            Kind::LotClose => self.take_lot_close().map(Body::LotClose),
            Kind::Bind => self.take_bind().map(Body::Bind),
            Kind::Adopt => self.take_adopt().map(Body::Adopt),
            Kind::Confirm => self.take_confirm().map(Body::Confirm),
            Kind::Void => self.take_void().map(Body::Void),
            Kind::Scrap => self.take_scrap().map(Body::Scrap),
            Kind::Refuse => self.take_refuse().map(Body::Refuse),
            Kind::Lease
            | Kind::LeaseReturn
            | Kind::Revoke
            | Kind::Renew
            | Kind::Transfer
            | Kind::Retire
            | Kind::Suspend
            | Kind::Incident
            | Kind::Redact
            | Kind::HsmAudit
            | Kind::Anchor => Err(WireError::Rule(
                "a kind that is reserved and not written yet",
            )),
        }
    }

    fn take_station(&mut self) -> Result<Body, WireError> {
        Ok(Body::Station {
            document: take(&mut self.document)?,
            approvals: take(&mut self.approvals)?,
        })
    }

    fn take_grant(&mut self) -> Result<Body, WireError> {
        Ok(Body::Grant {
            document: take(&mut self.document)?,
            approvals: take(&mut self.approvals)?,
            terms: take(&mut self.terms)?,
        })
    }

    fn take_lot_open(&mut self) -> Result<Body, WireError> {
        Ok(Body::LotOpen {
            document: take(&mut self.document)?,
            grant: take(&mut self.grant)?,
            quantity: take(&mut self.count)?,
        })
    }

    fn take_bind(&mut self) -> Result<Bind, WireError> {
        Ok(Bind {
            subject: take(&mut self.subject)?,
            certificate: take(&mut self.certificate)?,
            grant: take(&mut self.grant_use)?,
            request: take(&mut self.request)?,
            evidence: take(&mut self.evidence)?,
            fields: take(&mut self.fields)?,
            lot: self.lot.take(),
            supersedes: self.supersedes.take(),
        })
    }

    fn take_lot_close(&mut self) -> Result<LotClose, WireError> {
        Ok(LotClose {
            lot: take(&mut self.lot)?,
            request: take(&mut self.request)?,
            counts: take(&mut self.counts)?,
            tally: take(&mut self.tally)?,
            reason: self.reason.take(),
        })
    }

    fn take_adopt(&mut self) -> Result<Adopt, WireError> {
        Ok(Adopt {
            subject: take(&mut self.subject)?,
            previous: take(&mut self.previous)?,
            request: take(&mut self.request)?,
            fields: take(&mut self.fields)?,
        })
    }

    fn take_confirm(&mut self) -> Result<Confirm, WireError> {
        let Readback {
            certificate,
            signature,
        } = take(&mut self.readback)?;
        Ok(Confirm {
            subject: take(&mut self.subject)?,
            previous: take(&mut self.previous)?,
            request: take(&mut self.request)?,
            certificate,
            signature,
        })
    }

    fn take_void(&mut self) -> Result<Void, WireError> {
        Ok(Void {
            subject: take(&mut self.subject)?,
            previous: take(&mut self.previous)?,
            request: self.request.take(),
            reason: take(&mut self.reason)?,
        })
    }

    fn take_scrap(&mut self) -> Result<Scrap, WireError> {
        Ok(Scrap {
            subject: self.subject.take(),
            previous: self.previous.take(),
            grant: take(&mut self.grant)?,
            request: self.request.take(),
            reason: take(&mut self.reason)?,
            fields: take(&mut self.fields)?,
            lot: self.lot.take(),
        })
    }

    fn take_refuse(&mut self) -> Result<Refuse, WireError> {
        Ok(Refuse {
            reason: take(&mut self.reason)?,
            count: take(&mut self.count)?,
            request: self.request.take(),
            fields: take(&mut self.fields)?,
        })
    }
}

fn take<T>(part: &mut Option<T>) -> Result<T, WireError> {
    part.take().ok_or(WireError::Rule(
        "a part that this kind of leaf must have is missing",
    ))
}

impl TryFrom<LeafForm> for Leaf {
    type Error = WireError;

    fn try_from(mut form: LeafForm) -> Result<Self, WireError> {
        let body = form.take_body()?;
        match form == LeafForm::empty(form.kind, form.day) {
            true => Ok(Self {
                day: form.day,
                body,
            }),
            false => Err(WireError::Rule(
                "a part that this kind of leaf does not have",
            )),
        }
    }
}

impl FixedTag for Serial20 {
    const TAG: Tag = Tag::OctetString;
}

impl EncodeValue for Serial20 {
    fn value_len(&self) -> der::Result<Length> {
        Length::try_from(self.0.len())
    }
    fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
        writer.write(&self.0)
    }
}

impl<'a> DecodeValue<'a> for Serial20 {
    type Error = der::Error;
    fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
        let bytes = reader.read_slice(header.length())?;
        bytes.try_into().map(Self).map_err(|_cause| {
            der::ErrorKind::Value {
                tag: Tag::OctetString,
            }
            .into()
        })
    }
}
