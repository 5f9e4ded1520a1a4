//! The commands by which units and lots end, and the serials that were tried often enough.

use super::{AppError, on_floor};
use crate::config::Config;
use crate::display::{Words, complain};
use crate::files::write_durably;
use crate::lot::Lot;
use crate::orders::{Order, Orders};
use crate::station::close::{self, Ending, Look, Outcome};
use crate::station::floor::Floor;
use crate::station::inspect::LotEnd;
use crate::station::journal::History;
use crate::station::misfit::Misfit;
use crate::station::scrap::{self, Scrapped};
use crate::station::{Failure, share};
use crate::verdict::{Exit, Verdict};
use identity::fault::Fault;
use identity::lot::{Difference, LotCounts};
use identity::{DeviceSerial, Id};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Told of a serial that passed: no station takes back what is confirmed.
const STILL_GOOD: &str =
    "that was a chip without certificate: the device that passed with this serial stays as it was";

/// Scraps a unit.
///
/// # Errors
/// [`AppError::Ended`] if the CA refused or did not answer: then the scrapping waits in the journal for the next run.
pub fn scrap_unit(config: &Config, unit: &Scrapped, out: &mut dyn Write) -> Result<Exit, AppError> {
    let orders = Orders::of(config)?;
    let order = order_of(&orders, &unit.lot)?;
    on_floor(config, &orders, |floor, _| {
        // One that waits already is this one: it is asked for before the others that wait.
        let id = scrap::scrap(&floor, order, unit).map_err(AppError::Ended)?;
        drop(scrap::send_waiting(&floor).map_err(AppError::Ended)?);
        writeln!(out, "{} scrapping={id} scrapped", unit.serial)?;
        let outcome = |history: &History| history.outcome(&unit.lot, &unit.serial);
        if unit.voided.is_none() && floor.journal.with(outcome) == Outcome::Passed {
            writeln!(out, "{STILL_GOOD}")?;
        }
        Ok(Exit::Done)
    })
}

/// Before a lot is counted, the CA hears of every scrapping and void.
fn send_what_waits(floor: &Floor<'_>) -> Result<(), AppError> {
    drop(scrap::send_waiting(floor).map_err(AppError::Ended)?);
    let refused = crate::station::void::send_waiting(floor);
    refused.map(drop).map_err(AppError::Ended)
}

/// Writes this station's share of a lot that another station closes.
///
/// # Errors
/// [`AppError::Ended`] if the CA did not answer; [`AppError::File`] if the file cannot be written.
pub fn share_lot(
    config: &Config,
    (lot, to): (&Path, &Path),
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let orders = Orders::of(config)?;
    let lot = Lot::read(lot, &orders)?;
    let order = order_of(&orders, &lot.id)?;
    on_floor(config, &orders, |floor, _| {
        send_what_waits(&floor)?;
        let (text, serials) = share::write(&floor, order, &lot).map_err(AppError::Ended)?;
        write_durably(to, text.as_bytes())?;
        writeln!(out, "{} share of {serials} serials", lot.id)?;
        Ok(Exit::Done)
    })
}

/// How a lot is to be closed.
#[derive(Clone, Copy, Debug)]
pub struct Closing<'a> {
    /// The lot file.
    pub lot: &'a Path,
    /// Shares of other stations.
    pub shares: &'a [PathBuf],
    /// What is known to differ: the lot is closed only if that does, by these numbers, and nothing else.
    pub differs: &'a [Misfit],
}

/// Closes a lot with what this station's journal says of it, and the shares of others. It stays open if it would close
/// with a difference that nobody named, or if it moved on since the station looked. One that is closed already is told
/// again with what it was closed with.
///
/// # Errors
/// [`AppError::Ended`] if the CA refused or did not answer; [`Fault::LotWouldDiffer`], [`Fault::LotMoved`];
/// [`Fault::LotClosed`] if it is closed with other counts, or not with what is named.
pub fn close_lot(
    config: &Config,
    closing: Closing<'_>,
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    let Closing {
        lot,
        shares,
        differs,
    } = closing;
    let orders = Orders::of(config)?;
    let lot = Lot::read(lot, &orders)?;
    let order = order_of(&orders, &lot.id)?;
    on_floor(config, &orders, |floor, _| {
        send_what_waits(&floor)?;
        let shares = shares.iter().map(|path| share::read(path, order, &lot));
        let shares = shares.collect::<Result<Vec<_>, _>>()?;
        let counts = close::count(&floor, &lot, &shares).map_err(AppError::Ended)?;
        let Look { seen, misfits } =
            close::look(&floor, order, &lot, &counts).map_err(AppError::Ended)?;
        if !seen.closed
            && let Some(unnamed) = would_differ(&misfits, differs)
        {
            writeln!(out, "{} still open", lot.id)?;
            tell(&counts, misfits.into_values(), out)?;
            return Err(unnamed);
        }
        let ending = Ending {
            lot: &lot.id,
            counts,
            seen,
            shares: &shares,
        };
        let closed = close::close(&floor, order, &ending).map_err(not_closed)?;
        writeln!(out, "{} closed leaf={}", lot.id, closed.index)?;
        if seen.closed {
            writeln!(out, "it was closed before, and nothing is changed now")?;
        }
        let with = closed_with(&closed, misfits);
        tell(&counts, with.values().cloned(), out)?;
        if !differs.is_empty() && !with.keys().eq(BTreeSet::from_iter(differs)) {
            return Err(closed_otherwise(&with));
        }
        if with.is_empty() {
            return Ok(Exit::Done);
        }
        let detail = format!("lot {}, leaf {}", lot.id, closed.index);
        let mut stderr = io::stderr().lock();
        complain(
            &mut stderr,
            Words::of(Fault::LotDiffers, config.language),
            &detail,
        )?;
        Ok(Exit::Lot(Verdict::Fail))
    })
}

/// What a lot was closed with: numbers that the log holds, and what the CA, which counts boards, does not hear of.
fn closed_with(closed: &LotEnd, misfits: BTreeMap<Misfit, String>) -> BTreeMap<Misfit, String> {
    let numbers = closed.differences.iter();
    let numbers = numbers.map(|it| (Misfit::Numbers(*it), said(it)));
    let strange = misfits
        .into_iter()
        .filter(|(misfit, _)| matches!(misfit, Misfit::Serials(_)));
    numbers.chain(strange).collect()
}

/// A lot that is closed, and not with what was named.
fn closed_otherwise(with: &BTreeMap<Misfit, String>) -> AppError {
    let flags = flags(with);
    let detail = match flags.is_empty() {
        true => "nothing differed when it was closed, and something is named".to_owned(),
        false => format!("what was named is not what it was closed with: {flags}"),
    };
    let failure = Failure::new(Fault::LotClosed, detail);
    let exit = Exit::Data;
    AppError::Found { failure, exit }
}

fn flags(misfits: &BTreeMap<Misfit, String>) -> String {
    let flags = misfits.keys().map(|it| format!("--differs {it}"));
    flags.collect::<Vec<_>>().join(" ")
}

/// Why a lot stays open: something differs that was not named, or was named and does not differ.
fn would_differ(misfits: &BTreeMap<Misfit, String>, named: &[Misfit]) -> Option<AppError> {
    if misfits.keys().eq(BTreeSet::from_iter(named)) {
        return None;
    }
    let flags = flags(misfits);
    let detail = match flags.is_empty() {
        true => "nothing differs; close it without --differs".to_owned(),
        false => format!("if that is so, and is known: {flags}"),
    };
    Some(stays_open(Failure::new(Fault::LotWouldDiffer, detail)))
}

fn not_closed(failure: Failure) -> AppError {
    match failure.fault == Fault::LotMoved {
        true => stays_open(failure),
        false => AppError::Ended(failure),
    }
}

const fn stays_open(failure: Failure) -> AppError {
    let exit = Exit::Data;
    AppError::Found { failure, exit }
}

fn said(difference: &Difference) -> String {
    let Difference {
        what,
        stated,
        found,
    } = difference;
    format!("{}: {stated} stated, {found} found", what.name())
}

fn tell(
    counts: &LotCounts,
    differences: impl Iterator<Item = String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let LotCounts {
        planned,
        pass,
        hold,
        fail,
        scrapped,
        unused,
        open,
        voided,
        boards_scrapped,
    } = counts;
    writeln!(
        out,
        "planned {planned} = pass {pass} + hold {hold} + fail {fail} + scrapped {scrapped} + unused {unused}"
    )?;
    writeln!(
        out,
        "boards: open {open}, voided {voided}, scrapped {boards_scrapped}"
    )?;
    for difference in differences {
        writeln!(out, "difference {difference}")?;
    }
    Ok(())
}

fn order_of<'a>(orders: &'a Orders, lot: &Id) -> Result<&'a Order, AppError> {
    orders.for_lot(lot).ok_or(AppError::UnknownLot(*lot))
}

/// Serials that failed as often as they may: each is told, and gets no further chip until it is scrapped.
pub(crate) fn tell_used_up(
    config: &Config,
    floor: &Floor<'_>,
    lot: &Lot,
) -> Result<BTreeSet<DeviceSerial>, AppError> {
    let (id, most) = (lot.id, config.attempts);
    let used_up: BTreeSet<_> = floor.journal.with(|history| {
        let is_used_up = |serial: &DeviceSerial| history.is_used_up(&id, serial, most);
        let serials = lot.units.iter().map(|unit| unit.serial);
        serials.filter(is_used_up).collect()
    });
    for serial in &used_up {
        let command = floor.orders.scrap_command(&id, serial);
        let detail = format!("{serial}: {most} attempts; {command}");
        let mut stderr = io::stderr().lock();
        complain(
            &mut stderr,
            Words::of(Fault::AttemptsUsedUp, config.language),
            &detail,
        )?;
    }
    Ok(used_up)
}
