//! Door 5: one transaction stores the signatures, each only where none is stored yet. The signer holds them durably, so
//! nobody waits for the disk here, but for an alarm: if the power goes before the next COMMIT that does, the next start
//! asks the signer again, and gets the same bytes (decision 0017).

use super::reserve::Waiting;
use super::sign::{Given, Signed};
use crate::store::{Store, StoreError, Transaction};

/// A batch whose signatures are stored. Only [`record`] makes one.
#[derive(Debug)]
pub struct Recorded {
    note: String,
    waiting: Vec<Waiting>,
}

impl Recorded {
    /// How many wait for it.
    pub(super) const fn awaiting(&self) -> usize {
        self.waiting.len()
    }

    /// Of those who wait, under no checkpoint.
    #[cfg(test)]
    pub(super) const fn of(waiting: Vec<Waiting>) -> Self {
        let note = String::new();
        Self { note, waiting }
    }

    pub(super) fn into_parts(self) -> (String, Vec<Waiting>) {
        (self.note, self.waiting)
    }
}

/// Stores a batch's signatures, and the signer's reasons where it refused.
///
/// # Errors
/// [`StoreError`] with those who wait: the signatures are in the signer's store, and restart fetches them.
pub fn record(store: &Store, batch: Signed) -> Result<Recorded, (StoreError, Vec<Waiting>)> {
    let (outcomes, note, waiting) = batch.into_parts();
    if outcomes.is_empty() {
        return Ok(Recorded { note, waiting });
    }
    let all = |transaction: &mut Transaction<'_>| {
        outcomes
            .iter()
            .try_for_each(|(bind, outcome)| record_one(transaction, *bind, outcome))
    };
    let is_alarm = |(_, outcome): &(u64, Given)| matches!(outcome, Given::Never(_));
    let stored = match outcomes.iter().any(is_alarm) {
        false => store.write_unflushed(all),
        true => store.write(all),
    };
    match stored {
        Ok(()) => Ok(Recorded { note, waiting }),
        Err(error) => Err((error, waiting)),
    }
}

fn record_one(transaction: &Transaction<'_>, bind: u64, outcome: &Given) -> Result<(), StoreError> {
    match outcome {
        Given::Signature(signature) => transaction.put_signature(bind, signature),
        Given::Never(reason) => {
            tracing::error!(
                bind,
                reason,
                "ALARM: the signer set a unit aside that door 1 had admitted"
            );
            transaction.put_alarm(bind, reason)
        }
        Given::NotNow(reason) => {
            tracing::error!(
                bind,
                reason,
                "the HSM did not sign; the unit stays reserved"
            );
            Ok(())
        }
    }
}
