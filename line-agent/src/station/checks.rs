//! Checks of a chip before anything is done to it; the first that fails decides.

use super::floor::{Floor, Seating};
use super::journal::KnownChip;
use super::{Failure, Step};
use identity::document::Profile;
use identity::evidence::{EndorsedChip, Signature};
use identity::fault::Fault;
use identity::key::AwsLcVerifier;
use koseki_device::{ChipState, Identification};

/// The chip's attestation key as it goes into evidence.
#[must_use]
pub fn endorsed(chip: &Identification) -> EndorsedChip {
    EndorsedChip {
        attestation: chip.attestation,
        endorsement: Signature(chip.endorsement),
    }
}

/// That this is the product's chip: part, form of the UID, a pinned vendor's word.
///
/// # Errors
/// [`Fault::ChipWrongPart`], [`Fault::ChipWrongUid`], [`Fault::ChipNotGenuine`].
pub fn check_genuine(chip: &Identification, profile: &Profile) -> Step<()> {
    if chip.part != profile.part {
        return Err(Failure::new(
            Fault::ChipWrongPart,
            format!("{} where {} is wanted", chip.part, profile.part),
        ));
    }
    if !profile.uid.allows(&chip.uid) {
        return Err(Failure::new(
            Fault::ChipWrongUid,
            format!("UID {}", chip.uid),
        ));
    }
    endorsed(chip)
        .verify(&chip.uid, &chip.part, &profile.vendors, &AwsLcVerifier)
        .map_err(|error| Failure::new(Fault::ChipNotGenuine, error))
}

/// That the chip is none of a unit that passed: such a one is told as what it is, in whatever socket it sits now.
///
/// # Errors
/// [`Fault::ChipNotBlank`]
pub fn check_not_passed(chip: &Identification, floor: &Floor<'_>) -> Step<()> {
    let end = floor.journal.with(|history| history.end_of(&chip.uid));
    match (&chip.state, end) {
        (ChipState::Burnt { .. }, Some(end)) if end.fault.is_none() => {
            Err(Failure::used_chip(&chip.uid, Some(end)))
        }
        (ChipState::Burnt { .. } | ChipState::Blank | ChipState::Torn, _) => Ok(()),
    }
}

/// That no other seat has a chip with this UID.
///
/// # Errors
/// [`Fault::DuplicateUid`]
pub fn check_seated_once(chip: &Identification, seating: Seating, floor: &Floor<'_>) -> Step<()> {
    if !floor.roll.enter(chip.uid, seating) {
        return duplicate(chip, "another seat of this run had it");
    }
    if floor
        .journal
        .with(|history| history.open_units().any(|unit| unit.keyed.uid == chip.uid))
    {
        return duplicate(chip, "it is open in another socket");
    }
    Ok(())
}

/// That this chip may take a key: blank, and never burnt for us.
///
/// # Errors
/// [`Fault::DuplicateUid`], [`Fault::ChipNotBlank`], [`Fault::ChipTorn`].
pub fn check_unused(chip: &Identification, floor: &Floor<'_>) -> Step<()> {
    match (
        &chip.state,
        floor.journal.with(|history| history.known(&chip.uid)),
    ) {
        (ChipState::Torn, _) => Err(Failure::new(Fault::ChipTorn, format!("UID {}", chip.uid))),
        (ChipState::Burnt { .. }, _) => {
            let end = floor.journal.with(|history| history.end_of(&chip.uid));
            Err(Failure::used_chip(&chip.uid, end))
        }
        // What was burnt never becomes blank: this is another chip with the same UID.
        (ChipState::Blank, Some(KnownChip::Sent)) => duplicate(chip, "a burnt chip has it"),
        (ChipState::Blank, Some(KnownChip::Keyed | KnownChip::NeverKeyed) | None) => Ok(()),
    }
}

fn duplicate(chip: &Identification, detail: &str) -> Step<()> {
    let detail = format!("UID {}: {detail}", chip.uid);
    Err(Failure::new(Fault::DuplicateUid, detail))
}
