//! The rules of lots: what may be bound, what is counted, and how a lot ends.

use super::{
    Change, Checked, Effect, GrantState, Known, LotState, RuleError, Stage, SubjectState, Violation,
};
use crate::hash::DocumentHash;
use crate::leaf::{Bind, EntryRef, LotClose, Scrap};
use crate::lot::{LotTally, differences};

/// A lot and its new state, if one is concerned.
type Counted<K> = Result<Option<(DocumentHash, LotState)>, RuleError<<K as Known>::Error>>;

/// A lot begins.
pub(super) fn opened(
    effect: Effect,
    lot: DocumentHash,
    grant: DocumentHash,
    quantity: u32,
) -> Change {
    let state = LotState {
        grant,
        quantity,
        tally: LotTally::default(),
        closed: None,
    };
    Change {
        effect,
        lot: Some((lot, state)),
    }
}

/// A lot ends once, with the tally that the log holds; a difference from what the station counted never prevents that,
/// and is never hidden.
pub(super) fn close<K: Known>(body: &LotClose, entry: EntryRef, known: &K) -> Checked<K> {
    let state = known
        .lot(&body.lot)
        .map_err(RuleError::Lookup)?
        .ok_or(Violation::UnknownLot)?;
    if let Some(entry) = state.closed {
        return Err(Violation::LotClosed { entry }.into());
    }
    if body.tally != state.tally {
        return Err(Violation::LotTally.into());
    }
    let differs = differences(state.quantity, &body.counts, &body.tally)
        .next()
        .is_some();
    if differs != body.reason.is_some() {
        return Err(Violation::LotReason.into());
    }
    let closed = LotState {
        closed: Some(entry.index),
        ..state
    };
    Ok(Change {
        effect: Effect::InLots(state.grant),
        lot: Some((body.lot, closed)),
    })
}

/// A superseded board will never ship: it is voided or scrapped, and another than this one.
pub(super) fn superseded<K: Known>(body: &Bind, known: &K) -> Result<(), RuleError<K::Error>> {
    let Some(earlier) = body.supersedes else {
        return Ok(());
    };
    let stage = known
        .subject(&earlier)
        .map_err(RuleError::Lookup)?
        .map(|state| state.stage);
    match stage {
        Some(Stage::Voided | Stage::Scrapped) => Ok(()),
        Some(Stage::Bound | Stage::Confirmed) | None => Err(Violation::Superseded.into()),
    }
}

/// A board is bound in its lot: one of the grant, open, and not full of boards that hold a serial.
pub(super) fn bound<K: Known>(body: &Bind, grant: &GrantState, known: &K) -> Counted<K> {
    let Some(lot) = body.lot else {
        return match grant.in_lots {
            true => Err(Violation::OtherLot.into()),
            false => Ok(None),
        };
    };
    let state = open_lot(&lot, &body.grant.grant, known)?;
    state.left()?;
    let tally = LotTally {
        bound: state.tally.bound.saturating_add(1),
        ..state.tally
    };
    Ok(Some((lot, LotState { tally, ..state })))
}

/// A board moves to another stage, also after its lot was closed: what was put aside may still be decided.
pub(super) fn moved<K: Known>(from: &SubjectState, to: Stage, known: &K) -> Counted<K> {
    let Some(lot) = from.lot else {
        return Ok(None);
    };
    let state = known
        .lot(&lot)
        .map_err(RuleError::Lookup)?
        .ok_or(Violation::UnknownLot)?;
    let mut tally = state.tally;
    if let Some(count) = at_stage(&mut tally, from.stage) {
        *count = count.saturating_sub(1);
    }
    if let Some(count) = at_stage(&mut tally, to) {
        *count = count.saturating_add(1);
    }
    Ok(Some((lot, LotState { tally, ..state })))
}

/// A chip that never had a key is scrapped; once its lot is closed that would go uncounted.
pub(super) fn scrapped_keyless<K: Known>(body: &Scrap, known: &K) -> Counted<K> {
    let Some(lot) = body.lot else {
        return Ok(None);
    };
    let state = open_lot(&lot, &body.grant, known)?;
    let tally = LotTally {
        keyless: state.tally.keyless.saturating_add(1),
        ..state.tally
    };
    Ok(Some((lot, LotState { tally, ..state })))
}

/// The lot, if one is named, draws on this grant.
pub(super) fn of_grant<K: Known>(
    lot: Option<&DocumentHash>,
    grant: &DocumentHash,
    known: &K,
) -> Result<(), RuleError<K::Error>> {
    let Some(lot) = lot else {
        return Ok(());
    };
    let state = known.lot(lot).map_err(RuleError::Lookup)?;
    match state.filter(|state| state.grant == *grant) {
        Some(_) => Ok(()),
        None => Err(Violation::UnknownLot.into()),
    }
}

fn open_lot<K: Known>(
    lot: &DocumentHash,
    grant: &DocumentHash,
    known: &K,
) -> Result<LotState, RuleError<K::Error>> {
    let state = known
        .lot(lot)
        .map_err(RuleError::Lookup)?
        .filter(|state| state.grant == *grant)
        .ok_or(Violation::UnknownLot)?;
    match state.closed {
        Some(entry) => Err(Violation::LotClosed { entry }.into()),
        None => Ok(state),
    }
}

/// The count of boards at a stage; those that are bound and nothing else are what is left.
const fn at_stage(tally: &mut LotTally, stage: Stage) -> Option<&mut u32> {
    match stage {
        Stage::Bound => None,
        Stage::Confirmed => Some(&mut tally.confirmed),
        Stage::Voided => Some(&mut tally.voided),
        Stage::Scrapped => Some(&mut tally.scrapped),
    }
}
