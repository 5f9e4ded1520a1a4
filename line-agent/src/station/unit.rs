//! One unit from wherever it stands to its end. A fresh unit, one whose chip lost power, and one that a power cut of
//! the station interrupted take the same way: the journal and the chip say where to go on.

use super::adopt::Orphan;
use super::checks::{check_genuine, check_not_passed, check_seated_once};
use super::journal::{Event, History, OpenUnit};
use super::session::{Bench, Burnt, Checked, Issued, Sent};
use super::{Failure, Step};
use crate::sources::day;
use identity::RequestId;
use identity::evidence::Evidence;
use identity::fault::Fault;
use koseki_device::{ChipState, Identification};

/// How often a chip is asked anew after its line was lost.
const CHIP_TRIES: u8 = 3;

/// Works on the unit until it is confirmed.
///
/// # Errors
/// The [`Failure`] that ended it.
pub fn run(bench: &mut Bench<'_>) -> Step<()> {
    let mut last = Ok(());
    for _ in 0..CHIP_TRIES {
        last = attempt(bench);
        match &last {
            Err(failure) if failure.chip_lost => {
                tracing::info!(socket = %bench.task.socket, %failure, "the chip was lost; asking it anew");
            }
            Ok(()) | Err(_) => return last,
        }
    }
    last
}

fn attempt(bench: &mut Bench<'_>) -> Step<()> {
    let chip = bench.identify()?;
    let open = bench
        .floor
        .journal
        .with(|history| history.open_in(&bench.task.socket).cloned());
    let sent = match open {
        Some(open) => resume(&open, chip, bench)?,
        None => fresh(chip, bench)?,
    };
    issue(sent, bench)?
        .write(bench)?
        .confirm(bench)?
        .settle(bench)
        .map(drop)
}

fn fresh(chip: Identification, bench: &mut Bench<'_>) -> Step<Sent> {
    // Before anything else may end the unit: a chip that leaves for its serial's sake was seen, too.
    let seating = (bench.task.socket, bench.task.position);
    check_not_passed(&chip, &bench.floor)?;
    check_seated_once(&chip, seating, &bench.floor)?;
    if let Some(orphan) = Orphan::find(&chip, bench)? {
        let burnt = orphan.adopt(bench)?;
        note_key(bench);
        return burnt.prove(bench);
    }
    // What was bound is finished after the grant's end, by whoever holds the chip; nothing new is begun.
    let grant = &bench.task.order.grant;
    if !grant.valid_at(bench.floor.clock.now()) {
        let (from, until) = (day(grant.not_before), day(grant.not_after));
        let detail = format!("{} holds from {from} to {until}", grant.id);
        return Err(Failure::new(Fault::GrantExpired, detail));
    }
    let keyed = Checked::new(chip, bench)?.make_key(bench)?;
    note_key(bench);
    keyed.burn(bench)?.prove(bench)
}

/// The chip's state decides, held against the journal.
fn resume(open: &OpenUnit, chip: Identification, bench: &mut Bench<'_>) -> Step<Sent> {
    bench.request = open.request;
    if open.keyed.uid != chip.uid {
        let detail = format!("UID {} where the journal says {}", chip.uid, open.keyed.uid);
        return Err(Failure::new(Fault::ChipSwapped, detail));
    }
    check_genuine(&chip, &bench.task.order.profile)?;
    if !bench
        .floor
        .roll
        .enter(chip.uid, (bench.task.socket, bench.task.position))
    {
        return Err(Failure::new(
            Fault::DuplicateUid,
            format!("UID {}: another seat of this run had it", chip.uid),
        ));
    }
    note_key(bench);
    if open.voiding.is_some() {
        let detail = "its void waits for the CA's answer";
        return Err(Failure::new(Fault::CaUnreachable, detail));
    }
    let (lot, serial) = (&open.keyed.lot, &open.keyed.serial);
    let scrapped = |history: &History| history.is_being_scrapped(lot, serial);
    if bench.floor.journal.with(scrapped) {
        let detail = "its scrapping waits for the CA's answer";
        return Err(Failure::new(Fault::CaUnreachable, detail));
    }
    // A torn chip is scrap, however often its serial was tried.
    if chip.state != ChipState::Torn {
        check_attempts(open, bench)?;
    }
    match chip.state {
        ChipState::Torn => Err(Failure::new(Fault::ChipTorn, format!("UID {}", chip.uid))),
        ChipState::Blank if open.sent.is_some() => Err(Failure::new(
            Fault::ChipSwapped,
            "a blank chip where the journal knows a burnt one",
        )),
        // The journalled key was in RAM only, in chip or HSM, and is gone; nobody was told of it.
        ChipState::Blank => {
            bench.journal(Event::Dropped)?;
            bench.request = RequestId(bench.floor.random()?);
            bench.task.attempt = bench.task.attempt.saturating_add(1);
            fresh(chip, bench)
        }
        ChipState::Burnt { key, .. } if key != open.keyed.key => Err(Failure::new(
            Fault::ChipNotBlank,
            "burnt with another key than the journal's",
        )),
        ChipState::Burnt { .. } => {
            Sent::resume(open).map_or_else(|| Burnt::resume(open).prove(bench), Ok)
        }
    }
}

/// A unit that came back is not tried more often than its serial may fail.
fn check_attempts(open: &OpenUnit, bench: &Bench<'_>) -> Step<()> {
    let (lot, serial, most) = (open.keyed.lot, open.keyed.serial, bench.floor.attempts);
    let failures = bench
        .floor
        .journal
        .with(|history| history.failures(&lot, &serial));
    match failures < most.max(1) {
        true => Ok(()),
        false => Err(Failure::new(
            Fault::AttemptsUsedUp,
            format!(
                "{failures} attempts failed; {}",
                bench.floor.orders.scrap_command(&lot, &serial)
            ),
        )),
    }
}

/// A challenge that went stale, as after a long power cut, is answered by a new proof under the same request; so is a
/// signature of a request key that the station had before it was enrolled anew, an envelope of another program than
/// the one that runs now, and one that was sealed while the clock was another.
fn issue(sent: Sent, bench: &mut Bench<'_>) -> Step<Issued> {
    let again = sent.before_proof();
    let is_dated = !sent.is_fresh(bench.floor.clock.now());
    match sent.provision(bench) {
        Err(Failure {
            fault: Fault::StationClock,
            ..
        }) if is_dated => again.prove(bench)?.provision(bench),
        Err(Failure {
            fault:
                Fault::ChallengeStale
                | Fault::ChallengeInvalid
                | Fault::EnvelopeSignature
                | Fault::AgentNotApproved,
            ..
        }) => again.prove(bench)?.provision(bench),
        outcome => outcome,
    }
}

/// Notes the journalled key for the record.
fn note_key(bench: &mut Bench<'_>) {
    let keyed = bench.floor.journal.with(|history| {
        history
            .open_in(&bench.task.socket)
            .map(|open| open.keyed.clone())
    });
    let facts = &mut bench.trail.facts;
    facts.spki_sha256 = keyed.as_ref().map(|keyed| keyed.key.spki_hash());
    facts.origin = keyed.map(|keyed| match keyed.evidence {
        Evidence::OnChip(_) => "on-chip",
        Evidence::Injected(_) => "injected",
    });
}
