//! Refusals as the wire says them: the only place where a fault becomes a gRPC code.
//!
//! Detail of a fault of the caller's own request goes with it; detail of the CA's own faults is logged and not sent.

use crate::issuance::Refusal;
use crate::metrics::Meters;
use identity::fault::{Blame, Fault};
use proto::common;
use std::sync::Arc;
use tonic::{Code, Status};

const INVALID: [Fault; 2] = [Fault::EnvelopeMalformed, Fault::TooLarge];
const NOT_FOUND: [Fault; 3] = [Fault::NotBound, Fault::GrantUnknown, Fault::LotUnknown];
const DENIED: [Fault; 4] = [
    Fault::StationUnknown,
    Fault::StationExpired,
    Fault::NotApproved,
    Fault::AgentNotApproved,
];

/// The refusal of a whole call.
#[must_use]
pub fn status(refusal: &Refusal) -> Status {
    proto::fault::status_from_fault(code(refusal.fault), &fault(refusal))
}

/// Who refuses calls, and counts them where there are meters.
#[derive(Clone, Debug, Default)]
pub(super) struct Refuser(pub(super) Option<Arc<Meters>>);

impl Refuser {
    /// The refusal of a whole call, counted.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Status {
        if let Some(meters) = &self.0 {
            meters.refuse(refusal.fault);
        }
        status(refusal)
    }
}

/// The refusal of one unit.
#[must_use]
pub fn fault(refusal: &Refusal) -> common::Fault {
    let text = refusal.fault.text();
    let private = matches!(text.blame, Blame::Ca | Blame::Peer);
    if text.blame == Blame::Ca && refusal.fault != Fault::Overloaded {
        tracing::error!(
            code = text.code,
            detail = refusal.detail,
            "a call failed by the CA's fault"
        );
    }
    let with_detail = |said: &str| match refusal.detail.as_str() {
        // A detail in the fault's own words says nothing more.
        detail if !private && !detail.is_empty() && detail != text.en => {
            format!("{said}: {detail}")
        }
        _ => said.to_owned(),
    };
    common::Fault {
        code: text.code.to_owned(),
        blame: blame(text.blame).into(),
        text_en: with_detail(text.en),
        text_ja: with_detail(text.ja),
        hint_en: text.hint_en.to_owned(),
        hint_ja: text.hint_ja.to_owned(),
        retry_after_ms: refusal.retry_after_ms,
    }
}

/// A message that is not what the service takes.
#[must_use]
pub fn malformed(what: &str) -> Status {
    status(&Refusal::new(Fault::EnvelopeMalformed, what))
}

fn code(fault: Fault) -> Code {
    if INVALID.contains(&fault) {
        return Code::InvalidArgument;
    }
    if NOT_FOUND.contains(&fault) {
        return Code::NotFound;
    }
    if DENIED.contains(&fault) {
        return Code::PermissionDenied;
    }
    match fault.blame() {
        Blame::Ca if fault == Fault::Overloaded => Code::ResourceExhausted,
        Blame::Peer => Code::PermissionDenied,
        Blame::Ca if fault == Fault::Internal => Code::Internal,
        Blame::Ca => Code::Unavailable,
        Blame::Unit | Blame::Station | Blame::Policy => Code::FailedPrecondition,
    }
}

const fn blame(blame: Blame) -> common::Blame {
    match blame {
        Blame::Unit => common::Blame::Unit,
        Blame::Station => common::Blame::Station,
        Blame::Policy => common::Blame::Policy,
        Blame::Ca => common::Blame::Ca,
        Blame::Peer => common::Blame::Peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_the_services_promise() {
        for (fault, expected) in [
            (Fault::EnvelopeMalformed, Code::InvalidArgument),
            (Fault::EnvelopeSignature, Code::PermissionDenied),
            (Fault::StationMismatch, Code::PermissionDenied),
            (Fault::StationUnknown, Code::PermissionDenied),
            (Fault::NotAuthorized, Code::PermissionDenied),
            (Fault::NotApproved, Code::PermissionDenied),
            (Fault::AgentNotApproved, Code::PermissionDenied),
            (Fault::GrantUnknown, Code::NotFound),
            (Fault::NotBound, Code::NotFound),
            (Fault::Stopped, Code::Unavailable),
            (Fault::Overloaded, Code::ResourceExhausted),
            (Fault::StoreUnavailable, Code::Unavailable),
            (Fault::Internal, Code::Internal),
            (Fault::GrantUsedUp, Code::FailedPrecondition),
        ] {
            assert_eq!(code(fault), expected, "{fault}");
        }
    }

    #[test]
    fn the_cas_own_detail_stays_inside() {
        let secret = "row 7 of /var/lib/koseki";
        let inner = fault(&Refusal::new(Fault::StoreUnavailable, secret));
        assert!(!format!("{inner:?}").contains(secret));
        let own = fault(&Refusal::new(Fault::SerialMalformed, "serial 12"));
        assert!(own.text_en.ends_with(": serial 12"), "{own:?}");
        let passing = status(&Refusal::passing(Fault::Overloaded, "", 200));
        let read = proto::fault::fault_from_status(&passing).unwrap();
        assert_eq!(read.retry_after_ms, Some(200));
    }
}
