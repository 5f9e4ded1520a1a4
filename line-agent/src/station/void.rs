//! A unit that is bound and will never ship is voided: its certificate will stand on the revocation list when one is
//! published, its serial is free for another board, its chip and key never are.
//!
//! The void is in the journal before it is sent. If the CA cannot be reached, or cannot take it now, it waits there and
//! goes out with the next run. The CA takes none that is a day off its clock, so one that waited long is dated anew.

use super::floor::Floor;
use super::journal::{Closed, Event, OpenUnit, SignedRequest};
use super::spool::{is_fresh, waits};
use super::{Failure, Step};
use crate::ca_link::{CaError, LeafProof};
use crate::verdict::Verdict;
use identity::envelope::{StationRequest as _, Version1, VoidRequest};
use identity::fault::Fault;
use identity::{DeviceSerial, Id, RequestId};

/// What came of a void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The CA has voided the unit.
    Voided,
    /// Nothing was bound under the request; the unit is given up all the same.
    NeverBound,
}

/// Requests of units with this serial, in any lot or in this one, that may be bound and are not confirmed.
#[must_use]
pub fn candidates(floor: &Floor<'_>, serial: &DeviceSerial, lot: Option<&Id>) -> Vec<RequestId> {
    let is_meant =
        |of: &DeviceSerial, under: &Id| of == serial && lot.is_none_or(|lot| lot == under);
    floor.journal.with(|history| {
        let open = history.open_units();
        let open = open.filter(|unit| is_meant(&unit.keyed.serial, &unit.keyed.lot));
        let failed = history.failed_units();
        let failed = failed.filter(|unit| is_meant(&unit.serial, &unit.lot));
        open.map(|unit| unit.request)
            .chain(failed.map(|unit| unit.request))
            .collect()
    })
}

/// Signs a void and journals it; nothing was sent.
///
/// # Errors
/// [`Fault::LineHsm`], [`Fault::Journal`].
pub fn announce(floor: &Floor<'_>, request: RequestId, reason: Id) -> Step<()> {
    let void = floor.sign(&VoidRequest {
        version: Version1,
        station: floor.station.id,
        time: floor.clock.now(),
        request,
        reason,
    })?;
    floor.enter(request, Event::Voiding(void))
}

/// Sends a void that was announced, and closes a unit that is still open.
///
/// # Errors
/// [`Fault::CaUnreachable`], what the CA cannot take now ([`waits`]), or [`Fault::ProofInvalid`] if the answer is not
/// believed: the void waits. Any other refusal of the CA: the unit stands as it was, but for [`Fault::NotHolder`], which
/// ends it here.
pub fn send(floor: &Floor<'_>, request: RequestId) -> Step<Outcome> {
    let known = floor.journal.with(|history| {
        let open = history.open_unit(&request).cloned();
        history.void_of(&request).cloned().map(|void| (void, open))
    });
    let Some((void, open)) = known else {
        return Err(Failure::new(Fault::NotBound, "no void of it was announced"));
    };
    let void = dated(floor, request, void)?;
    let ended = |fault| {
        open.as_ref()
            .map_or(Ok(()), |open| close(floor, open, fault))
    };
    match ask(floor, request, &void)? {
        Ok(given) => {
            let uid = floor.journal.with(|history| history.chip_of(&request));
            let inspected = floor.inspector.inspect_void(&given, &void, uid.as_ref());
            inspected?;
            floor.seen.note(&given.proof);
            ended(Fault::Voided)?;
            floor.enter_with_seen(request, Event::Voided)?;
            Ok(Outcome::Voided)
        }
        Err(CaError::Refused(Fault::NotBound, _)) => {
            ended(Fault::NotBound)?;
            // A unit whose request was never sealed is not among the failed ones.
            if floor
                .journal
                .with(|history| history.void_of(&request).is_some())
            {
                floor.enter(request, Event::NeverBound)?;
            }
            Ok(Outcome::NeverBound)
        }
        Err(error @ CaError::Refused(fault, _)) if !waits(fault) => {
            let failure = Failure::from(error);
            if failure.fault == Fault::NotHolder {
                ended(Fault::NotHolder)?;
            }
            floor.enter(request, Event::VoidRefused)?;
            Err(failure)
        }
        Err(error) => Err(error.into()),
    }
}

/// A void that waited long, signed anew with the present time and in the journal before it is sent. If the CA had taken
/// the earlier one, its answer proves that the unit is void all the same.
fn dated(floor: &Floor<'_>, request: RequestId, void: SignedRequest) -> Step<SignedRequest> {
    let Ok(asked) = VoidRequest::from_bytes(&void.der) else {
        return Ok(void);
    };
    let now = floor.clock.now();
    if is_fresh(asked.time, now) {
        return Ok(void);
    }
    let again = floor.sign(&VoidRequest { time: now, ..asked })?;
    floor.enter(request, Event::Voiding(again.clone()))?;
    Ok(again)
}

/// What was signed with a request key that the station had before it was enrolled anew is signed again, the same bytes,
/// and in the journal before it is sent.
fn ask(
    floor: &Floor<'_>,
    request: RequestId,
    void: &SignedRequest,
) -> Step<Result<LeafProof, CaError>> {
    let answer = floor.ca.void(void);
    if !matches!(answer, Err(CaError::Refused(Fault::EnvelopeSignature, _))) {
        return Ok(answer);
    }
    let again = floor.sign_bytes::<VoidRequest>(void.der.clone())?;
    floor.enter(request, Event::Voiding(again.clone()))?;
    Ok(floor.ca.void(&again))
}

/// Sends all voids that wait, the earliest first. One that the CA refuses does not keep the others; while the CA cannot
/// be reached, or takes nothing, all of them go on waiting. Gives those that were not answered as they should be.
///
/// # Errors
/// [`Fault::Journal`]
pub fn send_waiting(floor: &Floor<'_>) -> Step<Vec<(RequestId, Failure)>> {
    let mut failed = Vec::new();
    for request in floor.journal.with(super::journal::History::voids) {
        match send(floor, request) {
            Err(failure) if failure.fault == Fault::Journal => return Err(failure),
            Err(failure) => {
                let is_away = waits(failure.fault);
                if is_away {
                    tracing::info!(%request, %failure, "not voided yet");
                } else {
                    tracing::warn!(%request, %failure, "not voided");
                }
                failed.push((request, failure));
                if is_away {
                    break;
                }
            }
            Ok(outcome) => tracing::info!(%request, ?outcome, "void answered"),
        }
    }
    Ok(failed)
}

/// Closes an open unit that a person has given up.
pub(super) fn close(floor: &Floor<'_>, open: &OpenUnit, fault: Fault) -> Step<()> {
    let keyed = &open.keyed;
    floor.enter(
        open.request,
        Event::Closed(Closed {
            socket: keyed.socket,
            lot: keyed.lot,
            serial: keyed.serial,
            uid: keyed.uid,
            verdict: Verdict::Fail,
            fault: Some(fault),
        }),
    )
}
