//! A burnt chip that nobody here knows: another station bound it and cannot finish it, or this one did before it lost
//! its journal. Whoever holds the chip may adopt the unit, if the CA says it is bound and not confirmed, and if its
//! serial is one of the lot in work; the same bytes come back, and only the newest holder confirms or voids.
//!
//! A key made on the chip is attested again. The receipt of an injected key was in the lost journal; it comes back with
//! the proof of the binding, and is held against the leaf.

use super::checks::{check_genuine, endorsed};
use super::journal::Event;
use super::session::{Bench, Burnt, UnitFacts};
use super::{Failure, Step};
use identity::envelope::Purpose;
use identity::evidence::{Bytes32, Evidence, OnChip, Signature};
use identity::fault::Fault;
use identity::key::AwsLcVerifier;
use identity::{DeviceSerial, P256Key};
use koseki_device::{ChipState, Identification, Origin};

/// A genuine chip whose unit is bound and not confirmed, and unknown here.
#[derive(Debug)]
pub struct Orphan {
    chip: Identification,
    key: P256Key,
    serial: DeviceSerial,
    /// Of an injected key, as it was bound.
    evidence: Option<Evidence>,
}

impl Orphan {
    /// Finds out whether this chip can be adopted. `None` if it is blank, ours, bound nowhere, or injected and bound without
    /// its evidence.
    ///
    /// # Errors
    /// [`Fault::UidSeen`] for a finished device or a clone of one, [`Fault::Voided`], [`Fault::CaUnreachable`],
    /// [`Fault::ProofInvalid`], or the chip's.
    pub fn find(chip: &Identification, bench: &Bench<'_>) -> Step<Option<Self>> {
        let ChipState::Burnt { key, origin } = chip.state else {
            return Ok(None);
        };
        let floor = &bench.floor;
        check_genuine(chip, &bench.task.order.profile)?;
        if floor
            .journal
            .with(|history| history.known(&chip.uid))
            .is_some()
        {
            return Ok(None);
        }
        let Some(found) = floor.ca.find_chip(&chip.uid)? else {
            return Ok(None);
        };
        if found.confirmed {
            let detail = format!("UID {}: its device is finished", chip.uid);
            return Err(Failure::new(Fault::UidSeen, detail));
        }
        let (serial, bound_with) =
            floor
                .inspector
                .inspect_orphan(&found.certificate, &found.proof, &chip.uid, &key)?;
        let evidence = match (origin, bound_with) {
            (Origin::Made, _) => None,
            (Origin::Injected, Some(evidence)) => Some(evidence),
            (Origin::Injected, None) => return Ok(None),
        };
        Ok(Some(Self {
            chip: *chip,
            key,
            serial,
            evidence,
        }))
    }

    /// Takes the unit over under a request of our own. When this returns, the journal knows it.
    ///
    /// # Errors
    /// [`Fault::NotHolder`] if the serial is not one of this lot that still needs a chip, [`Fault::ChipNotGenuine`],
    /// [`Fault::Journal`], or the chip's.
    pub fn adopt(self, bench: &mut Bench<'_>) -> Step<Burnt> {
        bench.floor.stop.check()?;
        self.take_serial(bench)?;
        let evidence = match self.evidence.clone() {
            Some(evidence) => evidence,
            None => self.attest(bench)?,
        };
        let unit = UnitFacts {
            request: bench.request,
            purpose: Purpose::Adopt,
            uid: self.chip.uid,
            part: self.chip.part,
            key: self.key,
            evidence,
        };
        bench.journal(Event::Keyed(Box::new(unit.entry(&bench.task))))?;
        bench.done("adopt");
        Ok(Burnt::adopted(unit))
    }

    fn attest(&self, bench: &mut Bench<'_>) -> Step<Evidence> {
        let nonce = bench.floor.random()?;
        let made = bench.programmer.attest(&nonce)?;
        if made.key != self.key || !made.is_attested_by(&self.chip, &nonce, &AwsLcVerifier) {
            return Err(Failure::new(
                Fault::ChipNotGenuine,
                "the chip did not attest the key as its own",
            ));
        }
        Ok(Evidence::OnChip(OnChip {
            chip: endorsed(&self.chip),
            nonce: Bytes32(nonce),
            origin: Signature(made.origin),
        }))
    }

    /// The unit was bound with its own serial, not with the one whose turn it is.
    fn take_serial(&self, bench: &mut Bench<'_>) -> Step<()> {
        let task = &mut bench.task;
        if task.serial == self.serial {
            return Ok(());
        }
        let Some(row) = bench.queue.exchange(task.row(), &self.serial) else {
            let detail = format!("bound as {}, which this lot does not wait for", self.serial);
            return Err(Failure::new(Fault::NotHolder, detail));
        };
        let history = |h: &super::journal::History| {
            let attempt = h.next_attempt(&task.lot, &row.serial);
            (attempt, h.failures(&task.lot, &row.serial))
        };
        (task.attempt, task.failures) = bench.floor.journal.with(history);
        (task.serial, task.label) = (row.serial, row.label);
        Ok(())
    }
}
