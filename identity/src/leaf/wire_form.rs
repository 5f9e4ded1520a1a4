//! The one `SEQUENCE` that all kinds share; which parts a kind has is decided here and nowhere else.

use super::{
    Adopt, Bind, Body, CertificateRef, Confirm, EntryRef, EvidenceRef, GrantTerms, GrantUse, Kind, Leaf, Refuse, Scrap, Serial20,
    Void,
};
use crate::hash::{CertificateHash, DocumentHash, RequestHash};
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
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    previous: Option<EntryRef>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    certificate: Option<CertificateRef>,
    #[asn1(context_specific = "3", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    grant_use: Option<GrantUse>,
    #[asn1(context_specific = "4", tag_mode = "IMPLICIT", optional = "true")]
    request: Option<RequestHash>,
    #[asn1(context_specific = "5", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    evidence: Option<EvidenceRef>,
    #[asn1(context_specific = "6", tag_mode = "IMPLICIT", optional = "true")]
    reason: Option<Id>,
    #[asn1(context_specific = "7", tag_mode = "IMPLICIT", optional = "true")]
    fields: Option<Bytes32>,
    #[asn1(context_specific = "8", tag_mode = "IMPLICIT", optional = "true")]
    document: Option<DocumentHash>,
    #[asn1(context_specific = "9", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    approvals: Option<Vec<DocumentHash>>,
    #[asn1(context_specific = "10", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    terms: Option<GrantTerms>,
    #[asn1(context_specific = "11", tag_mode = "IMPLICIT", optional = "true")]
    grant: Option<DocumentHash>,
    #[asn1(context_specific = "12", tag_mode = "IMPLICIT", optional = "true")]
    count: Option<u32>,
    #[asn1(context_specific = "13", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    readback: Option<Readback>,
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
        }
    }
}

impl From<&Leaf> for LeafForm {
    fn from(leaf: &Leaf) -> Self {
        let mut form = Self::empty(leaf.body.kind(), leaf.day);
        form.subject = leaf.body.subject();
        match &leaf.body {
            Body::Ceremony { document } => form.document = Some(*document),
            Body::Station { document, approvals } => {
                form.document = Some(*document);
                form.approvals = Some(approvals.clone());
            }
            Body::Grant { document, approvals, terms } => {
                form.document = Some(*document);
                form.approvals = Some(approvals.clone());
                form.terms = Some(*terms);
            }
            Body::LotOpen { document, grant, quantity } => {
                form.document = Some(*document);
                form.grant = Some(*grant);
                form.count = Some(*quantity);
            }
            Body::Bind(body) => form.put_bind(body),
            Body::Adopt(body) => {
                form.previous = Some(body.previous);
                form.request = Some(body.request);
                form.fields = Some(body.fields);
            }
            Body::Confirm(body) => {
                form.previous = Some(body.previous);
                form.request = Some(body.request);
                form.readback = Some(Readback { certificate: body.certificate, signature: body.signature });
            }
            Body::Void(body) => {
                form.previous = Some(body.previous);
                form.request = body.request;
                form.reason = Some(body.reason);
            }
            Body::Scrap(body) => {
                form.previous = body.previous;
                form.grant = Some(body.grant);
                form.reason = Some(body.reason);
                form.fields = Some(body.fields);
            }
            Body::Refuse(body) => {
                form.reason = Some(body.reason);
                form.count = Some(body.count);
                form.request = body.request;
                form.fields = Some(body.fields);
            }
        }
        form
    }
}

impl LeafForm {
    fn put_bind(&mut self, body: &Bind) {
        self.certificate = Some(body.certificate);
        self.grant_use = Some(body.grant);
        self.request = Some(body.request);
        self.evidence = Some(body.evidence);
        self.fields = Some(body.fields);
    }

    /// Takes the parts out that the kind has. What is left over afterwards does not belong to it.
    fn take_body(&mut self) -> Result<Body, WireError> {
        Ok(match self.kind {
            Kind::Ceremony => Body::Ceremony { document: take(&mut self.document)? },
            Kind::Station => Body::Station { document: take(&mut self.document)?, approvals: take(&mut self.approvals)? },
            Kind::Grant => Body::Grant {
                document: take(&mut self.document)?,
                approvals: take(&mut self.approvals)?,
                terms: take(&mut self.terms)?,
            },
            Kind::LotOpen => Body::LotOpen {
                document: take(&mut self.document)?,
                grant: take(&mut self.grant)?,
                quantity: take(&mut self.count)?,
            },
            Kind::Bind => Body::Bind(Bind {
                subject: take(&mut self.subject)?,
                certificate: take(&mut self.certificate)?,
                grant: take(&mut self.grant_use)?,
                request: take(&mut self.request)?,
                evidence: take(&mut self.evidence)?,
                fields: take(&mut self.fields)?,
            }),
            Kind::Adopt | Kind::Confirm | Kind::Void | Kind::Scrap => self.take_later_entry()?,
            Kind::Refuse => Body::Refuse(Refuse {
                reason: take(&mut self.reason)?,
                count: take(&mut self.count)?,
                request: self.request.take(),
                fields: take(&mut self.fields)?,
            }),
            _ => return Err(WireError::Rule("a kind that is reserved and not written yet")),
        })
    }

    /// The kinds that follow a `bind`.
    fn take_later_entry(&mut self) -> Result<Body, WireError> {
        if self.kind == Kind::Scrap {
            return Ok(Body::Scrap(Scrap {
                subject: self.subject.take(),
                previous: self.previous.take(),
                grant: take(&mut self.grant)?,
                reason: take(&mut self.reason)?,
                fields: take(&mut self.fields)?,
            }));
        }
        let (subject, previous) = (take(&mut self.subject)?, take(&mut self.previous)?);
        Ok(match self.kind {
            Kind::Adopt => {
                Body::Adopt(Adopt { subject, previous, request: take(&mut self.request)?, fields: take(&mut self.fields)? })
            }
            Kind::Confirm => {
                let Readback { certificate, signature } = take(&mut self.readback)?;
                Body::Confirm(Confirm { subject, previous, request: take(&mut self.request)?, certificate, signature })
            }
            _ => Body::Void(Void { subject, previous, request: self.request.take(), reason: take(&mut self.reason)? }),
        })
    }
}

fn take<T>(part: &mut Option<T>) -> Result<T, WireError> {
    part.take().ok_or(WireError::Rule("a part that this kind of leaf must have is missing"))
}

impl TryFrom<LeafForm> for Leaf {
    type Error = WireError;

    fn try_from(mut form: LeafForm) -> Result<Self, WireError> {
        let body = form.take_body()?;
        match form == LeafForm::empty(form.kind, form.day) {
            true => Ok(Self { day: form.day, body }),
            false => Err(WireError::Rule("a part that this kind of leaf does not have")),
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
        let bytes = reader.read_vec(header.length())?;
        bytes.as_slice().try_into().map(Self).map_err(|_| der::ErrorKind::Value { tag: Tag::OctetString }.into())
    }
}
