//! Making proofs: PATH and SUBPROOF of RFC 6962 §2.1, unrolled into ranges of leaves.

use core::ops::Range;

use super::{HashReader, Node};
use crate::tree::{Hash, node_hash};

/// Why no proof could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// The tree of this size has no such leaf.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexOutOfRange {
        /// Index of the leaf.
        index: u64,
        /// Number of leaves.
        size: u64,
    },
    /// The new tree is smaller than the old one.
    #[error("a log of {old_size} leaves cannot become one of {new_size}")]
    Shrinks {
        /// Leaves in the old tree.
        old_size: u64,
        /// Leaves in the new tree.
        new_size: u64,
    },
    /// A hash could not be read.
    #[error(transparent)]
    Reader(E),
}

/// The proof that leaf `index` is in the tree with `size` leaves, the leaf's sibling first.
///
/// # Errors
/// [`ProveError`] when there is no such leaf, or a hash cannot be read.
pub fn prove_inclusion<R: HashReader>(
    reader: &R,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    if index >= size {
        return Err(ProveError::IndexOutOfRange { index, size });
    }
    read_ranges(reader, &inclusion_ranges(index, size))
}

/// The proof that the tree with `new_size` leaves continues the one with `old_size`.
///
/// It is empty where there is nothing to prove: from the empty tree, or from a tree to itself.
///
/// # Errors
/// [`ProveError`] when the tree would shrink, or a hash cannot be read.
pub fn prove_consistency<R: HashReader>(
    reader: &R,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    if old_size > new_size {
        return Err(ProveError::Shrinks { old_size, new_size });
    }
    if old_size == 0 {
        return Ok(Vec::new());
    }
    read_ranges(reader, &consistency_ranges(old_size, new_size))
}

/// The siblings on the way from the leaf to the root, lowest first.
fn inclusion_ranges(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut siblings = Vec::new();
    let mut tree = 0..size;
    while let Some((left, right)) = split(&tree) {
        let (inside, sibling) = if left.contains(&index) {
            (left, right)
        } else {
            (right, left)
        };
        siblings.push(sibling);
        tree = inside;
    }
    siblings.reverse();
    siblings
}

/// The subtrees that lead to both roots, lowest first.
fn consistency_ranges(old_size: u64, new_size: u64) -> Vec<Range<u64>> {
    let mut subtrees = Vec::new();
    let mut tree = 0..new_size;
    while tree.end != old_size {
        let Some((left, right)) = split(&tree) else {
            break;
        };
        let (inside, sibling) = if old_size <= left.end {
            (left, right)
        } else {
            (right, left)
        };
        subtrees.push(sibling);
        tree = inside;
    }
    // The verifier already knows this subtree when it is the whole old tree.
    if tree.start != 0 {
        subtrees.push(tree);
    }
    subtrees.reverse();
    subtrees
}

/// Splits a tree of two leaves or more where RFC 6962 does: at the largest power of two below its
/// size.
fn split(tree: &Range<u64>) -> Option<(Range<u64>, Range<u64>)> {
    let leaves = tree.end.saturating_sub(tree.start);
    let last = leaves.checked_sub(1).filter(|last| *last > 0)?;
    let middle = tree.start.saturating_add(1 << last.ilog2());
    Some((tree.start..middle, middle..tree.end))
}

fn read_ranges<R: HashReader>(
    reader: &R,
    ranges: &[Range<u64>],
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    ranges
        .iter()
        .map(|range| range_root(reader, range.clone()))
        .collect()
}

/// Root over a range of leaves that starts at a multiple of a power of two not below its length.
fn range_root<R: HashReader>(reader: &R, range: Range<u64>) -> Result<Hash, ProveError<R::Error>> {
    let mut peaks = Vec::new();
    let mut start = range.start;
    while let Some(level) = range.end.saturating_sub(start).checked_ilog2() {
        let node = Node {
            level,
            index: start >> level,
        };
        peaks.push(reader.hash(node).map_err(ProveError::Reader)?);
        start = start.saturating_add(1 << level);
    }
    let root = peaks
        .into_iter()
        .rev()
        .reduce(|right, left| node_hash(left, right));
    Ok(root.unwrap_or(crate::tree::EMPTY_ROOT))
}
