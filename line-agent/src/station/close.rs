//! A lot is closed: every serial of the lot file has one outcome, and the CA holds their numbers against the log. That is
//! for good, so the station looks first what the log holds, and closes the lot with that or not at all.

use super::floor::Floor;
use super::inspect::LotEnd;
use super::journal::History;
use super::misfit::Misfit;
use super::share::{self, Share};
use super::{Failure, Step};
use crate::lot::Lot;
use crate::orders::Order;
use identity::document::SerialRange;
use identity::envelope::{Version1, request_hash};
use identity::fault::Fault;
use identity::lot::{LotCloseRequest, LotCounts, LotSeen, LotShare, differences};
use identity::{ChipUid, Id};
use std::collections::BTreeMap;

/// Counts the lot, with the shares of other stations that made units of it.
///
/// # Errors
/// [`Fault::CaUnreachable`]
pub fn count(floor: &Floor<'_>, lot: &Lot, shares: &[Share]) -> Step<LotCounts> {
    if shares.is_empty() {
        return count_alone(floor, lot);
    }
    let boards = floor.journal.with(|history| history.boards(&lot.id));
    let own = (share::outcomes(floor, lot)?, boards);
    Ok(share::together(lot, own, shares))
}

/// A lot at the CA, beside what was counted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What the station was shown.
    pub seen: LotSeen,
    /// What does not fit, each in words for people. No numbers of a lot that is closed already: the CA knows with what.
    pub misfits: BTreeMap<Misfit, String>,
}

/// Looks what does not fit between lot file and counts here, and order and log there.
///
/// # Errors
/// [`Fault::CaUnreachable`], [`Fault::CaOlder`], or the CA's.
pub fn look(floor: &Floor<'_>, order: &Order, lot: &Lot, counts: &LotCounts) -> Step<Look> {
    let seen = floor.ca.lot(&order.grant_hash, &lot.id)?;
    let differ = differences(seen.quantity, counts, &seen.tally);
    let differ = differ.map(|it| (Misfit::Numbers(it), it.to_string()));
    let misfits = strangers(lot, &seen.serials).into_iter().chain(differ);
    // Of serials the CA does not know, and they are the same whenever one asks.
    let misfits =
        misfits.filter(|(misfit, _)| !seen.closed || matches!(misfit, Misfit::Serials(_)));
    let misfits = misfits.collect();
    Ok(Look { seen, misfits })
}

/// Serials of the lot file that are not of the order.
fn strangers(lot: &Lot, range: &SerialRange) -> Option<(Misfit, String)> {
    let mut strangers = lot.units.iter().filter(|it| !range.holds(&it.serial));
    let first = strangers.next()?.serial;
    let others = strangers.count();
    let SerialRange {
        first: from,
        last: to,
    } = range;
    let who = match others {
        0 => format!("{first} is"),
        _ => format!("{first} and {others} more are"),
    };
    let words = format!("serials: {who} not of the order's {from} to {to}");
    Some((Misfit::Serials(others.saturating_add(1)), words))
}

/// What a lot is closed with.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// Its name.
    pub lot: &'a Id,
    /// What was counted.
    pub counts: LotCounts,
    /// What the station was shown when it looked. If that is not so, or not so any more, the lot stays open.
    pub seen: LotSeen,
    /// The shares of other stations that are in the counts.
    pub shares: &'a [Share],
}

/// Closes the lot. The same counts again get the same answer.
///
/// # Errors
/// [`Fault::CaUnreachable`]: nothing is closed, or that is not known; closing again tells. [`Fault::LotMoved`]: nothing is
/// closed. [`Fault::LotClosed`]: it was closed with other counts. [`Fault::ProofInvalid`]: the answer is not believed; closing
/// again tells.
pub fn close(floor: &Floor<'_>, order: &Order, ending: &Ending<'_>) -> Step<LotEnd> {
    let signed = ending.shares.iter().map(|share| &share.signed);
    let named: Vec<_> = signed
        .clone()
        .map(|it| request_hash::<LotShare>(&it.der))
        .collect();
    let request = LotCloseRequest {
        version: Version1,
        station: floor.station.id,
        time: floor.clock.now(),
        grant: order.grant_hash,
        lot: *ending.lot,
        counts: ending.counts,
        shares: (!named.is_empty()).then_some(named),
        seen: Some(ending.seen),
    };
    let signed: Vec<_> = signed.cloned().collect();
    let closed = floor.ca.close_lot(&floor.sign(&request)?, &signed)?;
    let end = floor.inspector.inspect_close(&closed, &request)?;
    floor.seen.note(&closed.entry.proof);
    let saved = floor.seen.save();
    saved.map_err(|error| Failure::new(Fault::Journal, error))?;
    Ok(end)
}

/// What this station's journal says of the serials of a lot and of its boards. Whether a unit is bound whose answer was
/// lost, only the CA knows.
fn count_alone(floor: &Floor<'_>, lot: &Lot) -> Step<LotCounts> {
    let (mut counts, in_doubt) = floor
        .journal
        .with(|history| (outcomes(history, lot), in_doubt(history, lot)));
    for uid in in_doubt {
        let found = floor.ca.find_chip(&uid);
        let bound = match found {
            Ok(found) => found.is_some(),
            Err(crate::ca_link::CaError::Refused(Fault::Voided, _)) => false,
            Err(error) => return Err(error.into()),
        };
        counts.open = counts.open.saturating_add(u32::from(bound));
    }
    Ok(counts)
}

fn outcomes(history: &History, lot: &Lot) -> LotCounts {
    let boards = history.boards(&lot.id);
    let mut counts = LotCounts {
        planned: u32::try_from(lot.units.len()).unwrap_or(u32::MAX),
        voided: boards.voided,
        boards_scrapped: boards.scrapped,
        open: u32::try_from(certain(history, lot)).unwrap_or(u32::MAX),
        ..LotCounts::default()
    };
    for unit in &lot.units {
        let count = match history.outcome(&lot.id, &unit.serial) {
            Outcome::Passed => &mut counts.pass,
            Outcome::Held => &mut counts.hold,
            Outcome::Failed => &mut counts.fail,
            Outcome::Scrapped => &mut counts.scrapped,
            Outcome::Unused => &mut counts.unused,
        };
        *count = count.saturating_add(1);
    }
    counts
}

/// Where a serial of a lot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its device ships.
    Passed,
    /// A unit with it is open.
    Held,
    /// Its last unit failed.
    Failed,
    /// Its last unit was scrapped.
    Scrapped,
    /// No unit ever had it.
    Unused,
}

/// Boards that are bound for certain, and undecided.
fn certain(history: &History, lot: &Lot) -> usize {
    let open = history.open_units();
    let open = open.filter(|unit| unit.keyed.lot == lot.id && unit.issued.is_some());
    let failed = history.failed_units();
    let failed = failed.filter(|unit| unit.lot == lot.id && unit.issued);
    open.count().saturating_add(failed.count())
}

/// Chips of which the CA was asked to bind them, and whose answer never came.
fn in_doubt(history: &History, lot: &Lot) -> Vec<ChipUid> {
    let open = history.open_units();
    let open = open
        .filter(|unit| unit.keyed.lot == lot.id && unit.sent.is_some() && unit.issued.is_none());
    let failed = history.failed_units();
    let failed = failed.filter(|unit| unit.lot == lot.id && !unit.issued);
    open.map(|unit| unit.keyed.uid)
        .chain(failed.map(|unit| unit.uid))
        .collect()
}
