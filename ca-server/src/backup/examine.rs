//! Whether a copy of the store holds together, by its own leaves and a checkpoint that the log's key signed.

use super::BackupError;
use crate::store::{Head, Reader};
use std::path::Path;
use translog::checkpoint::TrustedLog;
use translog::tree::{Frontier, leaf_hash};

/// Leaves read at once.
const STEP: u64 = 4096;

/// Opens a copy and holds it against the checkpoint: SQLite finds its pages in order, the leaves make the root of the
/// head, and the head continues what was signed.
///
/// # Errors
/// [`BackupError::Store`] or [`BackupError::Unsound`].
pub(super) fn examine(
    copy: &Path,
    trusted: &TrustedLog,
    checkpoint: &[u8],
) -> Result<(Head, Reader), BackupError> {
    let failed = |error| BackupError::Store {
        path: copy.to_owned(),
        error,
    };
    let unsound = |what: &str| BackupError::Unsound(what.to_owned());
    let reader = Reader::open(copy).map_err(failed)?;
    let found = reader.check().map_err(failed)?;
    if found != "ok" {
        return Err(unsound(&found));
    }
    let head = reader.head().map_err(failed)?;
    let mut tree = Frontier::new();
    while tree.size() < head.size {
        let leaves = reader
            .leaves(tree.size(), STEP.min(head.size - tree.size()))
            .map_err(failed)?;
        if leaves.is_empty() {
            return Err(unsound("leaves are missing"));
        }
        tree.extend(leaves.iter().map(|leaf| leaf_hash(leaf)));
    }
    if tree.root() != head.root {
        return Err(unsound("the leaves do not make the root of the head"));
    }
    let opened = trusted
        .open(checkpoint)
        .map_err(|error| BackupError::Unsound(format!("checkpoint: {error}")))?;
    let signed = opened.checkpoint();
    let known = reader.past_root(signed.size()).map_err(failed)?;
    if known != Some(*signed.root().as_bytes()) {
        return Err(unsound("the signed checkpoint is none of its heads"));
    }
    Ok((head, reader))
}
