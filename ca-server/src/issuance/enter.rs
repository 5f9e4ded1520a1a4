//! Documents that people approved enter the log by the same doors as certificates.

use super::Refusal;
use super::reserve::{Due, Round, refusal_of};
use crate::directory::Directory;
use crate::policy::SerialPattern;
use crate::store::StoreError;
use identity::Id;
use identity::approval::{Approval, ApproverSet};
use identity::document::{Ceremony, Document, Grant, LotOrder, Profile, StationStatement};
use identity::fault::Fault;
use identity::hash::DocumentHash;
use identity::key::AwsLcVerifier;
use identity::leaf::{Body, Leaf};
use identity::rules::Known as _;
use identity::support::{Support, terms_of};

/// A document whose approvals hold.
#[derive(Debug)]
pub struct DocumentJob {
    hash: DocumentHash,
    kind: &'static str,
    name: String,
    body: Body,
    support: Support,
    /// Of a lot.
    order: Option<LotOrder>,
}

impl DocumentJob {
    /// The ceremony, first of all leaves.
    ///
    /// # Errors
    /// [`Refusal`] if it cannot be packed.
    pub(super) fn ceremony(ceremony: &Ceremony) -> Result<Self, Refusal> {
        let body = Body::Ceremony {
            document: ceremony.hash(),
        };
        Self::new(ceremony, ceremony.origin.clone(), body, &[], None)
    }

    /// A station with its approvals.
    ///
    /// # Errors
    /// [`Refusal`] if it is not approved.
    pub(super) fn station(
        statement: &StationStatement,
        approvals: &[Approval],
        approvers: &ApproverSet,
    ) -> Result<Self, Refusal> {
        approved(statement, &statement.requester, approvals, approvers)?;
        let body = Body::Station {
            document: statement.hash(),
            approvals: hashes(approvals),
        };
        Self::new(statement, statement.id.to_string(), body, approvals, None)
    }

    /// A grant with its profile and approvals.
    ///
    /// # Errors
    /// [`Refusal`] if it is not approved, or names another profile.
    pub(super) fn grant(
        grant: &Grant,
        profile: &Profile,
        approvals: &[Approval],
        approvers: &ApproverSet,
    ) -> Result<Self, Refusal> {
        approved(grant, &grant.requester, approvals, approvers)?;
        if profile.hash() != grant.profile
            || profile.product != grant.product
            || profile.maker != grant.maker
        {
            return Err(Refusal::new(
                Fault::GrantUnknown,
                "the profile is not the one that the grant names",
            ));
        }
        // What cannot be loaded again must not be committed: the next start would fail on it for ever.
        SerialPattern::of(profile).map_err(|error| {
            Refusal::new(
                Fault::GrantUnknown,
                format!("the profile's serial pattern: {error}"),
            )
        })?;
        let body = Body::Grant {
            document: grant.hash(),
            approvals: hashes(approvals),
            terms: terms_of(grant),
        };
        Self::new(grant, grant.id.to_string(), body, approvals, Some(profile))
    }

    /// A lot order.
    ///
    /// # Errors
    /// [`Refusal`] if it cannot be packed.
    pub(super) fn lot(order: &LotOrder) -> Result<Self, Refusal> {
        let body = Body::LotOpen {
            document: order.hash(),
            grant: order.grant,
            quantity: order.quantity,
        };
        let job = Self::new(order, order.id.to_string(), body, &[], None)?;
        let order = Some(order.clone());
        Ok(Self { order, ..job })
    }

    fn new<D: Document>(
        document: &D,
        name: String,
        body: Body,
        approvals: &[Approval],
        profile: Option<&Profile>,
    ) -> Result<Self, Refusal> {
        document
            .check()
            .map_err(|error| Refusal::new(Fault::GrantUnknown, error))?;
        let support = Support::pack(document, profile, approvals)
            .map_err(|error| Refusal::new(Fault::TooLarge, error))?;
        Ok(Self {
            hash: document.hash(),
            kind: D::KIND,
            name,
            body,
            support,
            order: None,
        })
    }

    /// Why it cannot stand beside what is in force. Asked inside the transaction: each document is in force before the
    /// next is decided.
    fn conflict(&self, directory: &Directory) -> Option<String> {
        if self.is_named_like_another(directory) {
            return Some(format!("another {} {} is in force", self.kind, self.name));
        }
        let (lot, grant) = directory.lot_sharing(self.order.as_ref()?)?;
        let (lot, grant) = (&lot.order, &grant.grant);
        Some(format!(
            "it has serials of lot {} under {}, {} to {}; give it a range of its own",
            lot.id, grant.id, lot.first_serial, lot.last_serial
        ))
    }

    /// Whether another grant, or another lot of the same grant, has this name. A station's statement takes the place of
    /// its last one.
    fn is_named_like_another(&self, directory: &Directory) -> bool {
        let Ok(name) = Id::new(&self.name) else {
            return false;
        };
        if let Body::LotOpen { grant, .. } = &self.body {
            return directory.lot(grant, &name).is_some();
        }
        let is_grant = matches!(self.body, Body::Grant { .. });
        is_grant && directory.grant_of_name(&name).is_some()
    }
}

fn hashes(approvals: &[Approval]) -> Vec<DocumentHash> {
    approvals.iter().map(Approval::hash).collect()
}

fn approved<D: Document>(
    document: &D,
    requester: &Id,
    approvals: &[Approval],
    approvers: &ApproverSet,
) -> Result<(), Refusal> {
    let verified = approvers.verify(document, requester, approvals, &AwsLcVerifier);
    verified.map_err(|error| Refusal::new(Fault::NotApproved, error))
}

/// Enters a document inside the transaction. The same document again gets a refusal that names the rule.
pub(super) fn enter(round: &mut Round<'_, '_>, job: &DocumentJob) -> Result<Due, StoreError> {
    let leaf = Leaf {
        day: round.day,
        body: job.body.clone(),
    };
    if round.transaction.has_document(&job.hash)? {
        return Ok(Due::Refusal(Refusal::new(
            Fault::DocumentConflict,
            "this document was entered before",
        )));
    }
    if let Some(conflict) = job.conflict(round.directory) {
        let refusal = Refusal::new(Fault::DocumentConflict, conflict);
        return Ok(Due::Refusal(refusal));
    }
    let entry = match round.append(&leaf, Some(job.support.clone()))? {
        Ok(entry) => entry,
        Err(violation) => return Ok(Due::Refusal(refusal_of(violation))),
    };
    let packed = job.support.to_bytes();
    round
        .transaction
        .put_document(&job.hash, entry, (job.kind, &job.name), &packed)?;
    if job.kind == LotOrder::KIND {
        round.transaction.open_lot(&job.hash)?;
    }
    round.entered(job.kind, packed);
    Ok(Due::Leaf(entry, None))
}

/// Closes a grant inside the transaction. What is bound under it is finished all the same.
pub(super) fn close_grant(
    round: &mut Round<'_, '_>,
    grant: DocumentHash,
    reason: Id,
) -> Result<Due, StoreError> {
    let leaf = Leaf {
        day: round.day,
        body: Body::GrantClose { grant, reason },
    };
    let appended = round.append(&leaf, None)?;
    Ok(appended.map_or_else(
        |violation| Due::Refusal(refusal_of(violation)),
        |entry| Due::Leaf(entry, None),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load_grant;
    use std::path::Path;

    /// The project's own grant under a profile with this pattern, approved by nobody, as nobody need approve it here.
    fn grant_with(serial_pattern: &str) -> Result<DocumentJob, Refusal> {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let file = policies.join("grants/2026-ota-line-2-cam2.toml");
        let proposal = load_grant(&policies, &file).unwrap();
        let mut profile = proposal.product.profile;
        profile.serial_pattern = serial_pattern.to_owned();
        let mut grant = proposal.grant;
        grant.profile = profile.hash();
        DocumentJob::grant(&grant, &profile, &[], &ApproverSet::new(0, Vec::new()))
    }

    #[test]
    fn a_grant_that_no_start_could_load_is_never_entered() {
        grant_with("[0-9]{11}").unwrap();
        for pattern in ["", "[0-9", "(a{99}){99}"] {
            let refusal = grant_with(pattern).unwrap_err();
            assert_eq!(refusal.fault, Fault::GrantUnknown);
            assert!(refusal.to_string().contains("serial pattern"), "{refusal}");
        }
    }
}
