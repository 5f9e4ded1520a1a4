//! Documents behind the leaves, held against the leaf and against what is pinned.

use crate::code::Code;
use crate::error::Fault;
use crate::pinned::Pinned;
use identity::approval::ApproverSet;
use identity::document::Ceremony;
use identity::leaf::Body;
use identity::support::{self, Support, SupportError, Supported};

/// Holds a leaf's documents against the leaf and against what is pinned.
pub(crate) fn check(
    body: &Body,
    support: Option<&Support>,
    pinned: &Pinned,
) -> Result<Supported, Fault> {
    let supported = support::check(body, support, &pinned.approvers, &pinned.verifier);
    let supported = supported.map_err(|error| Fault::new(code(&error), error))?;
    if let Supported::Ceremony(ceremony) = &supported {
        pinned_ceremony(ceremony, pinned)?;
    }
    Ok(supported)
}

const fn code(error: &SupportError) -> Code {
    match error {
        SupportError::Missing => Code::SupportMissing,
        SupportError::Surplus => Code::SupportSurplus,
        SupportError::Document(_) => Code::Document,
        SupportError::DocumentHash => Code::DocumentHash,
        SupportError::ApprovalList => Code::ApprovalList,
        SupportError::Unapproved(_) => Code::Unapproved,
        SupportError::GrantTerms => Code::GrantTerms,
        SupportError::Profile => Code::ProfileHash,
        SupportError::LotTerms => Code::LotTerms,
    }
}

fn pinned_ceremony(ceremony: &Ceremony, pinned: &Pinned) -> Result<(), Fault> {
    let named = [
        (ceremony.origin == pinned.origin, "origin"),
        (ceremony.log_vkey == pinned.log_vkey, "log key"),
        (ceremony.issuing == pinned.issuing, "issuing certificate"),
        (ceremony.issuing_key == pinned.issuing_key, "issuing key"),
        (ApproverSet::from(ceremony) == pinned.approvers, "approvers"),
    ];
    for (same, what) in named {
        if !same {
            return Err(Fault::new(Code::Ceremony, what));
        }
    }
    Ok(())
}
