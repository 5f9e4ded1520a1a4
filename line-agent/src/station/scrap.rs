//! A unit is scrapped: a board that is bound and will never ship, or a chip that never had a key. The CA enters it under
//! the grant's scrap allowance, and the serial is free for another board.
//!
//! As a void, it is in the journal before it is sent, and waits there while the CA is away.

use super::floor::Floor;
use super::journal::{Event, HexRequest, History, Scrapping};
use super::{Failure, Step, void};
use crate::ca_link::CaError;
use crate::orders::Order;
use identity::envelope::Version1;
use identity::fault::Fault;
use identity::lot::ScrapRequest;
use identity::{ChipUid, DeviceSerial, Id, RequestId};

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
/// [`Fault::CaUnreachable`]: the scrapping waits for the next run. Any other refusal of the CA: the unit stands as it was.
pub fn scrap(floor: &Floor<'_>, order: &Order, unit: &Scrapped) -> Step<RequestId> {
    let bound = floor.journal.with(|history| bound(history, unit));
    let id = announce(floor, order, unit, bound)?;
    match send(floor, id) {
        Err(failure) if failure.fault == Fault::NotBound && unit.voided.is_none() => {
            // The CA never heard of it: its chip had a key, and no certificate.
            let id = announce(floor, order, unit, None)?;
            send(floor, id).map(|()| id)
        }
        sent => sent.map(|()| id),
    }
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
    let signed = floor.sign(&ScrapRequest {
        version: Version1,
        station: floor.station.id,
        time: floor.clock.now(),
        id,
        grant: order.grant_hash,
        lot: unit.lot,
        request: named,
        uid: unit.uid,
        serial: Some(unit.serial),
        reason: unit.reason,
    })?;
    let scrapping = Scrapping {
        lot: unit.lot,
        serial: unit.serial,
        unit: named.map(HexRequest),
        voided: unit.voided.is_some(),
        signed,
    };
    floor.enter(id, Event::Scrapping(Box::new(scrapping)))?;
    Ok(id)
}

/// Sends a scrapping that was announced, and closes a unit that is still open.
fn send(floor: &Floor<'_>, id: RequestId) -> Step<()> {
    let waiting = floor
        .journal
        .with(|history| history.scrapping(&id).cloned());
    let scrapping = waiting.ok_or_else(|| Failure::new(Fault::NotBound, "no such scrapping"))?;
    match ask(floor, id, &scrapping)? {
        Ok(()) => {
            if let Some(HexRequest(unit)) = scrapping.unit {
                close(floor, unit)?;
            }
            floor.enter(id, Event::Scrapped)
        }
        Err(error @ CaError::Refused(..)) => {
            floor.enter(id, Event::ScrapRefused)?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// As with a void: under a request key that was replaced meanwhile it is signed again, the same bytes.
fn ask(floor: &Floor<'_>, id: RequestId, scrapping: &Scrapping) -> Step<Result<(), CaError>> {
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

/// Sends all scrappings that wait. One that cannot be sent goes on waiting.
///
/// # Errors
/// [`Fault::Journal`]
pub fn send_waiting(floor: &Floor<'_>) -> Step<()> {
    for id in floor.journal.with(History::scrappings) {
        match send(floor, id) {
            Err(failure) if failure.fault == Fault::Journal => return Err(failure),
            Err(failure) => tracing::warn!(%id, %failure, "not scrapped"),
            Ok(()) => tracing::info!(%id, "scrapped"),
        }
    }
    Ok(())
}

fn close(floor: &Floor<'_>, unit: RequestId) -> Step<()> {
    let open = floor
        .journal
        .with(|history| history.open_unit(&unit).cloned());
    let Some(open) = open else {
        return Ok(());
    };
    void::close(floor, &open, Fault::ChipScrapped)
}
