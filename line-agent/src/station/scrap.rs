//! A unit is scrapped: a board that is bound and will never ship, or a chip that never had a key. The CA enters it under
//! the grant's scrap allowance, and the serial is free for another board.
//!
//! As a void, it is in the journal before it is sent, waits there while the CA is away or cannot take it, and is dated
//! anew when it waited long.

use super::close::Outcome;
use super::floor::Floor;
use super::journal::{Event, HexHash, HexRequest, History, OpenUnit, Scrapping};
use super::spool::{is_fresh, waits};
use super::{Failure, Step, void};
use crate::ca_link::{CaError, LeafProof};
use crate::orders::Order;
use identity::envelope::{StationRequest as _, Version1, request_hash};
use identity::fault::Fault;
use identity::lot::ScrapRequest;
use identity::{ChipUid, DeviceSerial, Id, RequestId};

/// Most names of what was sent before that a scrapping keeps; each is of another day.
const EARLIER: usize = 64;

/// A unit that a person scraps.
#[derive(Clone, Copy, Debug)]
pub struct Scrapped {
    /// The serial it was to carry.
    pub serial: DeviceSerial,
    /// Its lot.
    pub lot: Id,
    /// Why, as it goes into the log.
    pub reason: Id,
    /// The chip, where it still says who it is; for one that never had a key.
    pub uid: Option<ChipUid>,
    /// Request of a board that was voided before.
    pub voided: Option<RequestId>,
}

/// Scraps a unit: the board that is bound under its serial, else a chip that never had a key. Gives the scrapping's id.
///
/// # Errors
/// [`Fault::CaUnreachable`], what the CA cannot take now ([`waits`]), or [`Fault::ProofInvalid`] if the answer is not
/// believed: the scrapping waits for the next run. [`Fault::ChipScrapped`] if nothing was made under the serial since it
/// was scrapped. Any other refusal of the CA: the unit stands as it was.
pub fn scrap(floor: &Floor<'_>, order: &Order, unit: &Scrapped) -> Step<RequestId> {
    check_not_twice(floor, unit)?;
    if let Some(waiting) = floor.journal.with(|history| waiting(history, unit)) {
        return send(floor, waiting);
    }
    let bound = floor.journal.with(|history| bound(history, unit));
    let id = announce(floor, order, unit, bound)?;
    send(floor, id)
}

/// A serial is scrapped once, unless a board or a chip is named that only has it on its label.
fn check_not_twice(floor: &Floor<'_>, unit: &Scrapped) -> Step<()> {
    let is_named = unit.uid.is_some() || unit.voided.is_some();
    let outcome = |history: &History| history.outcome(&unit.lot, &unit.serial);
    if is_named || floor.journal.with(outcome) != Outcome::Scrapped {
        return Ok(());
    }
    let detail = format!(
        "{} of lot {} is scrapped already, and no chip got a key for it since",
        unit.serial, unit.lot
    );
    Err(Failure::new(Fault::ChipScrapped, detail))
}

/// The scrapping of this serial that waits for the CA's answer already.
fn waiting(history: &History, unit: &Scrapped) -> Option<RequestId> {
    let is_it = |id: &RequestId| {
        let of = history.scrapping(id);
        of.is_some_and(|it| (it.lot, it.serial) == (unit.lot, unit.serial))
    };
    let is_named = unit.uid.is_some() || unit.voided.is_some();
    let mut ids = history.scrappings().into_iter();
    ids.find(is_it).filter(|_| !is_named)
}

/// The request under which the CA may know the unit.
fn bound(history: &History, unit: &Scrapped) -> Option<RequestId> {
    let open = history.open_units().filter(|open| open.sent.is_some());
    let open = open.map(|open| (open.keyed.lot, open.keyed.serial, open.request));
    let failed = history.failed_units();
    let failed = failed.map(|failed| (failed.lot, failed.serial, failed.request));
    open.chain(failed)
        .find(|(lot, serial, _)| *lot == unit.lot && *serial == unit.serial)
        .map(|(_, _, request)| request)
}

/// Signs a scrapping and journals it; nothing was sent.
fn announce(
    floor: &Floor<'_>,
    order: &Order,
    unit: &Scrapped,
    bound: Option<RequestId>,
) -> Step<RequestId> {
    let id = RequestId(floor.random()?);
    let named = unit.voided.or(bound);
    // A chip that the CA never heard of is named by its UID, so that no other station ever makes a unit of it.
    let in_work = |history: &History| uid_under(history, &unit.lot, &unit.serial);
    let uid = match named {
        Some(_) => unit.uid,
        None => unit.uid.or_else(|| floor.journal.with(in_work)),
    };
    let signed = floor.sign(&ScrapRequest {
        version: Version1,
        station: floor.station.id,
        time: floor.clock.now(),
        id,
        grant: order.grant_hash,
        lot: unit.lot,
        request: named,
        uid,
        serial: Some(unit.serial),
        reason: unit.reason,
    })?;
    let scrapping = Scrapping {
        lot: unit.lot,
        serial: unit.serial,
        unit: named.map(HexRequest),
        voided: unit.voided.is_some(),
        signed,
        earlier: Vec::new(),
    };
    floor.enter(id, Event::Scrapping(Box::new(scrapping)))?;
    Ok(id)
}

/// Sends a scrapping that was announced, and closes a unit that is still open. Gives the id under which it was taken.
fn send(floor: &Floor<'_>, id: RequestId) -> Step<RequestId> {
    let waiting = floor
        .journal
        .with(|history| history.scrapping(&id).cloned());
    let scrapping = waiting.ok_or_else(|| Failure::new(Fault::NotBound, "no such scrapping"))?;
    let scrapping = dated(floor, id, scrapping)?;
    match ask(floor, id, &scrapping)? {
        Ok(given) => {
            let board = |HexRequest(unit)| floor.journal.with(|history| history.chip_of(&unit));
            let uid = scrapping.unit.and_then(board);
            let inspected = floor.inspector.inspect_scrap(
                &given,
                &scrapping.signed,
                &scrapping.earlier,
                uid.as_ref(),
            );
            inspected?;
            floor.seen.note(&given.proof);
            close(floor, &scrapping)?;
            floor.enter_with_seen(id, Event::Scrapped)?;
            Ok(id)
        }
        Err(CaError::Refused(Fault::NotBound, _)) if of_no_certificate(&scrapping) => {
            let instead = without_certificate(floor, id, &scrapping)?;
            send(floor, instead)
        }
        Err(error @ CaError::Refused(fault, _)) if !waits(fault) => {
            floor.enter(id, Event::ScrapRefused)?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a refusal as not bound means that the CA never heard of the unit: its chip had a key, and no certificate.
const fn of_no_certificate(scrapping: &Scrapping) -> bool {
    scrapping.unit.is_some() && !scrapping.voided
}

/// The same scrapping as one of a chip without a certificate, journalled before the other is given up.
fn without_certificate(
    floor: &Floor<'_>,
    refused: RequestId,
    scrapping: &Scrapping,
) -> Step<RequestId> {
    let request = ScrapRequest::from_bytes(&scrapping.signed.der)
        .map_err(|error| Failure::new(Fault::Journal, error))?;
    let id = RequestId(floor.random()?);
    let in_work = |history: &History| uid_under(history, &scrapping.lot, &scrapping.serial);
    let signed = floor.sign(&ScrapRequest {
        id,
        request: None,
        uid: request.uid.or_else(|| floor.journal.with(in_work)),
        ..request
    })?;
    let instead = Scrapping {
        unit: None,
        signed,
        earlier: Vec::new(),
        ..scrapping.clone()
    };
    floor.enter(id, Event::Scrapping(Box::new(instead)))?;
    floor.enter(refused, Event::ScrapRefused)?;
    Ok(id)
}

/// As with a void: one that waited long is signed anew with the present time. If what was sent before was taken and its
/// answer lost, the leaf names that.
fn dated(floor: &Floor<'_>, id: RequestId, mut scrapping: Scrapping) -> Step<Scrapping> {
    let Ok(asked) = ScrapRequest::from_bytes(&scrapping.signed.der) else {
        return Ok(scrapping);
    };
    let now = floor.clock.now();
    if is_fresh(asked.time, now) {
        return Ok(scrapping);
    }
    let before = HexHash(request_hash::<ScrapRequest>(&scrapping.signed.der));
    if scrapping.earlier.len() >= EARLIER {
        scrapping.earlier.remove(0);
    }
    scrapping.earlier.push(before);
    scrapping.signed = floor.sign(&ScrapRequest { time: now, ..asked })?;
    floor.enter(id, Event::Scrapping(Box::new(scrapping.clone())))?;
    Ok(scrapping)
}

/// As with a void: under a request key that was replaced meanwhile it is signed again, the same bytes.
fn ask(
    floor: &Floor<'_>,
    id: RequestId,
    scrapping: &Scrapping,
) -> Step<Result<LeafProof, CaError>> {
    let answer = floor.ca.scrap(&scrapping.signed);
    if !matches!(answer, Err(CaError::Refused(Fault::EnvelopeSignature, _))) {
        return Ok(answer);
    }
    let signed = floor.sign_bytes::<ScrapRequest>(scrapping.signed.der.clone())?;
    let again = Scrapping {
        signed,
        ..scrapping.clone()
    };
    floor.enter(id, Event::Scrapping(Box::new(again.clone())))?;
    Ok(floor.ca.scrap(&again.signed))
}

/// Sends all scrappings that wait, as voids are sent. Gives those that were not answered as they should be.
///
/// # Errors
/// [`Fault::Journal`]
pub fn send_waiting(floor: &Floor<'_>) -> Step<Vec<(RequestId, Failure)>> {
    let mut failed = Vec::new();
    for id in floor.journal.with(History::scrappings) {
        match send(floor, id) {
            Err(failure) if failure.fault == Fault::Journal => return Err(failure),
            Err(failure) => {
                let is_away = waits(failure.fault);
                if is_away {
                    tracing::info!(%id, %failure, "not scrapped yet");
                } else {
                    tracing::warn!(%id, %failure, "not scrapped");
                }
                failed.push((id, failure));
                if is_away {
                    break;
                }
            }
            Ok(taken) => tracing::info!(%taken, "scrapped"),
        }
    }
    Ok(failed)
}

/// Closes the unit that was scrapped, if it is still open: by its request, or as the board under its serial when the CA
/// never heard of it.
fn close(floor: &Floor<'_>, scrapping: &Scrapping) -> Step<()> {
    let find = |history: &History| match scrapping.unit {
        Some(HexRequest(unit)) => history.open_unit(&unit).cloned(),
        None => open_under(history, &scrapping.lot, &scrapping.serial).cloned(),
    };
    let Some(open) = floor.journal.with(find) else {
        return Ok(());
    };
    void::close(floor, &open, Fault::ChipScrapped)
}

/// The unit that is open under a serial.
fn open_under<'a>(history: &'a History, lot: &Id, serial: &DeviceSerial) -> Option<&'a OpenUnit> {
    let mut open = history.open_units();
    open.find(|open| open.keyed.lot == *lot && open.keyed.serial == *serial)
}

/// The chip of the unit that is open under a serial.
fn uid_under(history: &History, lot: &Id, serial: &DeviceSerial) -> Option<ChipUid> {
    open_under(history, lot, serial).map(|open| open.keyed.uid)
}
