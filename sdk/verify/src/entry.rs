//! One entry of the log, with the proof that it is there.

use crate::trust::Trust;
use identity::LeafHash;
use identity::evidence::Evidence;
use identity::field::Openings;
use identity::leaf::{Body, Leaf, WireError};
use identity::receipt::ReceiptExtra;
use translog::receipt::{ReceiptError, TlogProof, VerifyError};
use translog::tree::Hash;

/// An entry that was proved to be in a log that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedEntry {
    /// Its index, from 0.
    pub index: u64,
    /// The entry.
    pub leaf: Leaf,
    /// Openings of its device's `bind` entry, if the proof brings the device's history.
    pub openings: Option<Openings>,
}

/// An entry is not proved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The proof cannot be read.
    #[error("the proof: {0}")]
    Proof(#[from] ReceiptError),
    /// The entry, the history or its openings cannot be read.
    #[error("the entry: {0}")]
    Entry(#[from] WireError),
    /// The proof brings a history, and another entry stands beside it.
    #[error("an entry stands beside the history that ends with it")]
    TwoEntries,
    /// The openings are not those of the `bind` entry.
    #[error("the openings are not those of the device's first entry")]
    Openings,
    /// The evidence is not the one that the `bind` entry names.
    #[error("the evidence is not the one that was bound")]
    Evidence,
    /// The entry is in no log that is trusted.
    #[error(transparent)]
    NotInLog(#[from] VerifyError),
}

/// Proves an entry from its `tlog-proof`: the last of the history that the proof brings, else the one beside it.
///
/// # Errors
/// [`EntryError`]
pub fn verify_entry(
    proof: &[u8],
    beside: Option<&[u8]>,
    trust: &Trust,
) -> Result<ProvedEntry, EntryError> {
    let proof = TlogProof::parse(proof)?;
    let (leaf, hash, openings) = match (proof.extra(), beside) {
        (Some(_), Some(_)) => return Err(EntryError::TwoEntries),
        (Some(extra), None) => last_of(extra)?,
        (None, beside) => {
            let bytes = beside.unwrap_or_default();
            (Leaf::from_bytes(bytes)?, LeafHash::of(bytes), None)
        }
    };
    proof.verify(Hash::new(hash.0), trust.policy())?;
    Ok(ProvedEntry {
        index: proof.index(),
        leaf,
        openings,
    })
}

/// The last entry of a history, its hash, and the openings of the first.
fn last_of(extra: &[u8]) -> Result<(Leaf, LeafHash, Option<Openings>), EntryError> {
    let extra = ReceiptExtra::from_bytes(extra)?;
    let (leaves, hash) = extra.linked_history()?;
    let openings = Openings::from_bytes(extra.openings.as_bytes())?;
    let mut leaves = leaves.into_iter();
    let first = leaves.next().ok_or(EntryError::Openings)?;
    let Body::Bind(bind) = &first.body else {
        return Err(EntryError::Openings);
    };
    let evidence = extra.evidence.as_ref();
    let evidence = evidence.map(|der| Evidence::from_bytes(der.as_bytes()));
    if bind.fields != openings.root() {
        return Err(EntryError::Openings);
    }
    if (evidence.transpose()?).is_some_and(|evidence| evidence.hash() != bind.evidence.hash) {
        return Err(EntryError::Evidence);
    }
    Ok((leaves.next_back().unwrap_or(first), hash, Some(openings)))
}
