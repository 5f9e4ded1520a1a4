//! Door 3: the committed head is signed, and tiles and checkpoint are written. If the power goes here, the next start
//! publishes from the rows.

use super::reserve::{Entered, Reserved, Waiting};
use crate::ledger::{Ledger, LedgerError, New, Partials};

/// A batch below a signed checkpoint. Only [`publish`] makes one.
#[derive(Debug)]
pub struct Published {
    note: String,
    size: u64,
    first: u64,
    entries: Vec<Entered>,
    unsigned: Vec<u64>,
    waiting: Vec<Waiting>,
}

/// The parts of a [`Published`] as the next door takes them.
pub(super) struct PublishedParts {
    pub(super) note: String,
    pub(super) size: u64,
    pub(super) first: u64,
    pub(super) entries: Vec<Entered>,
    pub(super) unsigned: Vec<u64>,
    pub(super) waiting: Vec<Waiting>,
}

impl Published {
    /// Index of the first leaf of the batch.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn into_parts(self) -> PublishedParts {
        let Self {
            note,
            size,
            first,
            entries,
            unsigned,
            waiting,
        } = self;
        PublishedParts {
            note,
            size,
            first,
            entries,
            unsigned,
            waiting,
        }
    }
}

/// Publishes a reserved batch.
///
/// # Errors
/// [`LedgerError`] with those who wait: their units stay reserved, and restart finishes them.
pub fn publish(
    ledger: &mut Ledger,
    batch: Reserved,
    partials: Partials,
) -> Result<Published, (LedgerError, Vec<Waiting>)> {
    let parts = batch.into_parts();
    let published =
        usize::try_from(ledger.size().saturating_sub(parts.first)).unwrap_or(usize::MAX);
    let mut new = New::default();
    for (leaf, support) in parts.entries.iter().skip(published) {
        new.entries.push(leaf.clone());
        new.documents.extend(support.clone());
    }
    let unchanged = ledger
        .note()
        .filter(|_| ledger.size() == parts.size)
        .map(ToString::to_string);
    let note = match unchanged {
        Some(note) if partials == Partials::Now => ledger.write_partials().map(|()| note),
        Some(note) => Ok(note),
        None => ledger
            .publish(parts.size, parts.root, &new, partials)
            .map(ToString::to_string),
    };
    match note {
        Ok(note) => Ok(Published {
            note,
            size: parts.size,
            first: parts.first,
            entries: parts.entries,
            unsigned: parts.unsigned,
            waiting: parts.waiting,
        }),
        Err(error) => Err((error, parts.waiting)),
    }
}
