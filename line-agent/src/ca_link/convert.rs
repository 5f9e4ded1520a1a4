//! The CA's messages as domain types, and its failures as faults.

use super::{Answer, Attempt, CaError, ClosedLot, Found, LeafProof, Quota};
use identity::document::SerialRange;
use identity::envelope::MAX_CHALLENGE;
use identity::fault::Fault;
use identity::idevid::MAX_CERTIFICATE;
use identity::lot::{LotSeen, LotTally};
use identity::{DeviceSerial, DocumentHash, Id, LeafHash};
use proto::common;
use proto::factory::{
    CloseLotResponse, ConfirmResponse, GetChallengesResponse, GetGrantResponse, GetLotResponse,
    GetReceiptResponse, Issued, LeafReceipt, LotState, LotSummary, ScrapUnitResponse, UnitResult,
    VoidResponse, confirm_response, scrap_unit_response, unit_result, void_response,
};
use std::time::Duration;
use tonic::{Code, Status};

pub(super) fn challenge(answer: GetChallengesResponse) -> Result<Vec<u8>, Attempt> {
    match <[Vec<u8>; 1]>::try_from(answer.challenges) {
        Ok([challenge]) if (1..=MAX_CHALLENGE).contains(&challenge.len()) => Ok(challenge),
        Ok(_) | Err(_) => Err(malformed("not one challenge of at most 64 bytes")),
    }
}

/// The serials of a lot that units may be made of.
pub(super) fn open_serials(answer: &GetLotResponse) -> Result<SerialRange, Attempt> {
    if answer.lot.as_ref().is_some_and(is_closed) {
        let detail = "nothing new is begun for it".to_owned();
        return Err(Attempt {
            error: CaError::Refused(Fault::LotClosed, detail),
            again: None,
        });
    }
    serials(answer)
}

/// Not of one that does not say how it is.
fn is_closed(lot: &LotSummary) -> bool {
    matches!(lot.state(), LotState::Closed | LotState::Differs)
}

fn serials(answer: &GetLotResponse) -> Result<SerialRange, Attempt> {
    let read = |text: &str| DeviceSerial::new(text).map_err(|_bad| malformed("a lot's serials"));
    Ok(SerialRange {
        first: read(&answer.first_serial)?,
        last: read(&answer.last_serial)?,
    })
}

/// The lot that was asked for, with numbers that can be.
pub(super) fn lot(
    answer: &GetLotResponse,
    (grant, lot): (&DocumentHash, &Id),
) -> Result<LotSeen, Attempt> {
    let summary = answer.lot.as_ref();
    let summary = summary.ok_or_else(|| malformed("a lot without its numbers"))?;
    if answer.grant_hash != grant.as_bytes() || summary.lot_id != lot.as_str() {
        return Err(malformed("another lot"));
    }
    let small = |n: u64| u32::try_from(n).map_err(|_large| malformed("a lot's numbers"));
    if summary.state() == LotState::Unspecified {
        return Err(malformed("a lot without its state"));
    }
    let tally = answer.tally.as_ref().ok_or(Attempt {
        error: CaError::Older("it does not say what its log holds of a lot"),
        again: None,
    })?;
    Ok(LotSeen {
        quantity: small(summary.planned)?,
        serials: serials(answer)?,
        tally: LotTally {
            bound: small(tally.bound)?,
            confirmed: small(tally.confirmed)?,
            voided: small(tally.voided)?,
            scrapped: small(tally.scrapped)?,
            keyless: small(tally.keyless)?,
        },
        closed: is_closed(summary),
    })
}

pub(super) fn issued(results: Vec<UnitResult>) -> Result<Answer, Attempt> {
    let [result] = <[_; 1]>::try_from(results).map_err(|_other| malformed("not one result"))?;
    match result.outcome {
        Some(unit_result::Outcome::Issued(issued)) => read_issued(issued),
        Some(unit_result::Outcome::Refused(fault)) => Err(refusal(&fault)),
        None => Err(malformed("a result without outcome")),
    }
}

pub(super) fn receipt(answer: ConfirmResponse) -> Result<Vec<u8>, Attempt> {
    match answer.outcome {
        Some(confirm_response::Outcome::Receipt(receipt)) => Ok(receipt.tlog_proof),
        Some(confirm_response::Outcome::Refused(fault)) => Err(refusal(&fault)),
        None => Err(malformed("a confirmation without outcome")),
    }
}

pub(super) fn voided(answer: VoidResponse) -> Result<LeafProof, Attempt> {
    match answer.outcome {
        Some(void_response::Outcome::Receipt(receipt)) => Ok(leaf_proof(receipt)),
        Some(void_response::Outcome::Refused(fault)) => Err(refusal(&fault)),
        None => Err(malformed("a void without outcome")),
    }
}

pub(super) fn scrapped(answer: ScrapUnitResponse) -> Result<LeafProof, Attempt> {
    match answer.outcome {
        Some(scrap_unit_response::Outcome::Receipt(receipt)) => Ok(leaf_proof(receipt)),
        Some(scrap_unit_response::Outcome::Refused(fault)) => Err(refusal(&fault)),
        None => Err(malformed("a scrapping without outcome")),
    }
}

pub(super) fn closed(answer: CloseLotResponse) -> Result<ClosedLot, Attempt> {
    let receipt = answer
        .receipt
        .ok_or_else(|| malformed("a lot closed without its leaf"))?;
    // What differs is counted anew from the leaf.
    Ok(ClosedLot {
        entry: leaf_proof(receipt),
        order: answer.order,
    })
}

fn leaf_proof(receipt: LeafReceipt) -> LeafProof {
    let LeafReceipt {
        tlog_proof: proof,
        leaf,
        index: _,
    } = receipt;
    LeafProof {
        proof,
        leaf: (!leaf.is_empty()).then_some(leaf),
    }
}

pub(super) fn found(answer: GetReceiptResponse) -> Result<Found, Attempt> {
    let confirmed = answer.confirmed.is_some();
    let issued = answer
        .issued
        .ok_or_else(|| malformed("a receipt of nothing"))?;
    let Answer {
        certificate, proof, ..
    } = read_issued(issued)?;
    Ok(Found {
        certificate,
        proof,
        confirmed,
    })
}

/// The grant that was asked for, and numbers that add up.
pub(super) fn quota(answer: &GetGrantResponse, grant: &DocumentHash) -> Result<Quota, Attempt> {
    let (limit, remaining) = (answer.limit, answer.remaining);
    if answer.grant_hash != grant.as_bytes() {
        return Err(malformed("another grant"));
    }
    match limit.checked_sub(answer.issued) == Some(remaining) {
        true => Ok(Quota { limit, remaining }),
        false => Err(malformed("a grant's numbers do not add up")),
    }
}

/// A failure of the whole call. What the transport or a busy CA says may pass; a lasting fault is the CA's refusal.
pub(super) fn failure(status: &Status) -> Attempt {
    if let Some(fault) = proto::fault::fault_from_status(status) {
        let mut attempt = refusal(&fault);
        attempt.again = attempt
            .again
            .or_else(|| is_passing(status.code()).then_some(Duration::ZERO));
        return attempt;
    }
    let detail = format!("{:?}: {}", status.code(), status.message());
    if is_passing(status.code()) {
        let why = super::channel::refusal_of_tls(status);
        return Attempt {
            error: CaError::Unreachable(why.unwrap_or(detail)),
            again: Some(Duration::ZERO),
        };
    }
    Attempt {
        error: CaError::Refused(lasting(status.code()), detail),
        again: None,
    }
}

/// The fault that a lasting failure without details of ours stands for.
const fn lasting(code: Code) -> Fault {
    if matches!(code, Code::PermissionDenied | Code::Unauthenticated) {
        Fault::NotAuthorized
    } else if matches!(code, Code::InvalidArgument | Code::OutOfRange) {
        Fault::EnvelopeMalformed
    } else {
        Fault::Internal
    }
}

const fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::Unknown
    )
}

fn read_issued(issued: Issued) -> Result<Answer, Attempt> {
    let leaf = issued
        .leaf_hash
        .try_into()
        .map_err(|_other| malformed("a leaf hash is 32 bytes"))?;
    let nonce = issued
        .confirm_nonce
        .try_into()
        .map_err(|_other| malformed("a nonce is 32 bytes"))?;
    if issued.certificate.len() > MAX_CERTIFICATE {
        return Err(malformed("the certificate is too long"));
    }
    let Issued {
        index,
        certificate,
        tlog_proof: proof,
        ..
    } = issued;
    Ok(Answer {
        index,
        leaf: LeafHash(leaf),
        certificate,
        proof,
        nonce,
    })
}

/// A fault that this version does not know is judged by its blame.
fn refusal(fault: &common::Fault) -> Attempt {
    let known = Fault::from_code(&fault.code).unwrap_or_else(|| by_blame(fault.blame()));
    let text = known.text();
    let more = fault.text_en.strip_prefix(text.en);
    let more = more.filter(|_| text.code == fault.code);
    // The fault's own words stand beside it wherever it is told.
    let detail = match more.map(|more| more.trim_start_matches(": ")) {
        Some("") => "the CA says so".to_owned(),
        Some(more) => format!("the CA says: {more}"),
        None => format!("the CA says {}: {}", fault.code, fault.text_en),
    };
    Attempt {
        error: CaError::Refused(known, detail),
        again: fault.retry_after_ms.map(Duration::from_millis),
    }
}

const fn by_blame(blame: common::Blame) -> Fault {
    match blame {
        common::Blame::Chip | common::Blame::Unit => Fault::EvidenceInvalid,
        common::Blame::Station => Fault::EnvelopeMalformed,
        common::Blame::Policy => Fault::GrantUnknown,
        common::Blame::Peer => Fault::NotAuthorized,
        common::Blame::Ca | common::Blame::Unspecified => Fault::Internal,
    }
}

fn malformed(what: &'static str) -> Attempt {
    Attempt {
        error: CaError::Malformed(what),
        again: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &str, blame: common::Blame, retry_after_ms: Option<u64>) -> common::Fault {
        common::Fault {
            code: code.to_owned(),
            blame: blame.into(),
            retry_after_ms,
            ..common::Fault::default()
        }
    }

    fn outcome(fault: &common::Fault) -> (Option<Fault>, bool) {
        let attempt = refusal(fault);
        let known = match attempt.error {
            CaError::Refused(fault, _) => Some(fault),
            CaError::Unreachable(_)
            | CaError::Malformed(_)
            | CaError::Older(_)
            | CaError::Interrupted => None,
        };
        (known, attempt.again.is_some())
    }

    #[test]
    fn faults_keep_their_code_and_say_whether_to_try_again() {
        assert_eq!(
            outcome(&fault("CA-0403", common::Blame::Unit, None)),
            (Some(Fault::UidSeen), false)
        );
        assert_eq!(
            outcome(&fault("CA-0901", common::Blame::Ca, Some(50))),
            (Some(Fault::Stopped), true)
        );
        assert_eq!(
            outcome(&fault("CA-0888", common::Blame::Ca, None)),
            (Some(Fault::Internal), false)
        );
        assert_eq!(
            outcome(&fault("CA-0888", common::Blame::Unit, None)),
            (Some(Fault::EvidenceInvalid), false)
        );
    }

    #[test]
    fn what_a_fault_says_of_itself_is_not_said_twice() {
        let of = |code: &str, text_en: &str| {
            let mut fault = fault(code, common::Blame::Policy, None);
            text_en.clone_into(&mut fault.text_en);
            crate::station::Failure::from(refusal(&fault).error).detail
        };
        let used_up = "the grant is used up";
        assert_eq!(of("CA-0203", used_up), "the CA says so");
        let more = format!("{used_up}: of 24");
        assert_eq!(of("CA-0203", &more), "the CA says: of 24");
        let unknown = of("CA-0299", "no more");
        assert_eq!(unknown, "the CA says CA-0299: no more");
    }

    #[test]
    fn failures_of_the_transport_pass_and_refusals_last() {
        let again = |status: Status| failure(&status).again.is_some();
        assert!(again(Status::unavailable("refused")));
        assert!(again(Status::deadline_exceeded("late")));
        assert!(!again(Status::permission_denied("no")));
        assert_eq!(
            failure(&Status::permission_denied("no")).error,
            CaError::Refused(Fault::NotAuthorized, "PermissionDenied: no".to_owned())
        );
        let stopped = fault("CA-0901", common::Blame::Ca, None);
        assert!(again(proto::fault::status_from_fault(
            Code::Unavailable,
            &stopped
        )));
        assert!(!again(proto::fault::status_from_fault(
            Code::PermissionDenied,
            &stopped
        )));
    }

    /// Known before a chip is burnt for it.
    #[test]
    fn nothing_is_begun_for_a_lot_that_is_closed() {
        let answer = |state: LotState| GetLotResponse {
            lot: Some(LotSummary {
                state: state.into(),
                ..LotSummary::default()
            }),
            first_serial: "100".to_owned(),
            last_serial: "199".to_owned(),
            ..GetLotResponse::default()
        };
        // An older CA may not say.
        for state in [LotState::Open, LotState::Unspecified] {
            assert!(open_serials(&answer(state)).is_ok(), "{state:?}");
        }
        for state in [LotState::Closed, LotState::Differs] {
            let refused = open_serials(&answer(state)).unwrap_err();
            let CaError::Refused(fault, _) = refused.error else {
                panic!("{state:?}")
            };
            assert_eq!((fault, refused.again), (Fault::LotClosed, None));
        }
    }

    #[test]
    fn answers_of_the_wrong_shape_are_refused() {
        challenge(GetChallengesResponse::default()).unwrap_err();
        let long = GetChallengesResponse {
            challenges: vec![vec![0; 65]],
            ..GetChallengesResponse::default()
        };
        challenge(long).unwrap_err();
        issued(Vec::new()).unwrap_err();
        voided(VoidResponse::default()).unwrap_err();
        found(GetReceiptResponse::default()).unwrap_err();
        read_issued(Issued {
            leaf_hash: vec![0; 31],
            confirm_nonce: vec![0; 32],
            ..Issued::default()
        })
        .unwrap_err();
        receipt(ConfirmResponse::default()).unwrap_err();
    }
}
