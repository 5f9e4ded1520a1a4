//! Documents behind the leaves: each must be the one its leaf names, approved by the pinned approvers where it needs
//! approval, and say what the leaf says in the open.

use crate::code::Code;
use crate::error::{Fault, ensure};
use crate::message::Support;
use crate::pinned::Pinned;
use identity::approval::{Approval, ApproverSet};
use identity::document::{Ceremony, Document, Grant, LotOrder, Profile, StationStatement};
use identity::leaf::{Body, GrantTerms};
use identity::{DocumentHash, Id};

/// Documents that were found good.
#[derive(Debug)]
pub(crate) enum Supported {
    Nothing,
    Ceremony(Ceremony),
    Station(StationStatement),
    Grant(Box<Grant>, Box<Profile>),
    LotOrder(LotOrder),
}

/// Holds a leaf's documents against the leaf and against what is pinned.
pub(crate) fn check(
    body: &Body,
    support: Option<&Support>,
    pinned: &Pinned,
) -> Result<Supported, Fault> {
    let needed = || support.ok_or_else(|| Fault::bare(Code::SupportMissing));
    match body {
        Body::Ceremony { document } => ceremony(needed()?, document, pinned),
        Body::Station {
            document,
            approvals,
        } => station(needed()?, document, approvals, pinned),
        Body::Grant {
            document,
            approvals,
            terms,
        } => grant(needed()?, (document, terms), approvals, pinned),
        Body::LotOpen {
            document,
            grant,
            quantity,
        } => {
            let order: LotOrder = read(needed()?, document)?;
            unapproved_kind(needed()?)?;
            ensure!(
                order.grant == *grant && order.quantity == *quantity,
                Code::LotTerms,
            );
            Ok(Supported::LotOrder(order))
        }
        Body::GrantClose { .. }
        | Body::LotClose(_)
        | Body::Bind(_)
        | Body::Adopt(_)
        | Body::Confirm(_)
        | Body::Void(_)
        | Body::Scrap(_)
        | Body::Refuse(_) => {
            ensure!(support.is_none(), Code::SupportSurplus);
            Ok(Supported::Nothing)
        }
    }
}

fn ceremony(support: &Support, hash: &DocumentHash, pinned: &Pinned) -> Result<Supported, Fault> {
    let ceremony: Ceremony = read(support, hash)?;
    unapproved_kind(support)?;
    let differs = |holds: bool, what: &str| {
        if holds {
            Ok(())
        } else {
            Err(Fault::new(Code::Ceremony, what))
        }
    };
    differs(ceremony.origin == pinned.origin, "origin")?;
    differs(ceremony.log_vkey == pinned.log_vkey, "log key")?;
    differs(ceremony.issuing == pinned.issuing, "issuing certificate")?;
    differs(ceremony.issuing_key == pinned.issuing_key, "issuing key")?;
    differs(
        ApproverSet::from(&ceremony) == pinned.approvers,
        "approvers",
    )?;
    Ok(Supported::Ceremony(ceremony))
}

fn station(
    support: &Support,
    hash: &DocumentHash,
    approvals: &[DocumentHash],
    pinned: &Pinned,
) -> Result<Supported, Fault> {
    let statement: StationStatement = read(support, hash)?;
    ensure!(support.profile.is_none(), Code::SupportSurplus);
    approved(
        &statement,
        &statement.requester,
        (support, approvals),
        pinned,
    )?;
    Ok(Supported::Station(statement))
}

fn grant(
    support: &Support,
    (hash, terms): (&DocumentHash, &GrantTerms),
    approvals: &[DocumentHash],
    pinned: &Pinned,
) -> Result<Supported, Fault> {
    let grant: Grant = read(support, hash)?;
    approved(&grant, &grant.requester, (support, approvals), pinned)?;
    let (first, last) = grant.days();
    ensure!(
        *terms
            == GrantTerms {
                limit: grant.limit,
                scrap: grant.scrap,
                first,
                last,
            },
        Code::GrantTerms,
    );
    let der = support
        .profile
        .as_ref()
        .ok_or_else(|| Fault::bare(Code::SupportMissing))?;
    let profile =
        Profile::from_bytes(der.as_bytes()).map_err(|error| Fault::new(Code::Document, error))?;
    ensure!(profile.hash() == grant.profile, Code::ProfileHash);
    ensure!(
        profile.product == grant.product && profile.maker == grant.maker,
        Code::ProfileHash,
    );
    Ok(Supported::Grant(Box::new(grant), Box::new(profile)))
}

fn read<D: Document>(support: &Support, hash: &DocumentHash) -> Result<D, Fault> {
    let document = D::from_bytes(support.document.as_bytes())
        .map_err(|error| Fault::new(Code::Document, error))?;
    ensure!(document.hash() == *hash, Code::DocumentHash);
    Ok(document)
}

/// Ceremonies and lot orders bear no approvals.
fn unapproved_kind(support: &Support) -> Result<(), Fault> {
    ensure!(
        support.approvals.is_empty() && support.profile.is_none(),
        Code::SupportSurplus,
    );
    Ok(())
}

/// Enough pinned approvers signed exactly this document, and exactly their approvals stand in the leaf.
fn approved<D: Document>(
    document: &D,
    requester: &Id,
    (support, listed): (&Support, &[DocumentHash]),
    pinned: &Pinned,
) -> Result<(), Fault> {
    let read = |der: &der::asn1::OctetString| Approval::from_bytes(der.as_bytes());
    let approvals: Result<Vec<_>, _> = support.approvals.iter().map(read).collect();
    let approvals = approvals.map_err(|error| Fault::new(Code::Document, error))?;
    ensure!(
        approvals
            .iter()
            .map(Approval::hash)
            .eq(listed.iter().copied()),
        Code::ApprovalList,
    );
    let verdict = pinned
        .approvers
        .verify(document, requester, &approvals, &pinned.verifier);
    verdict.map_err(|error| Fault::new(Code::Unapproved, error))
}
