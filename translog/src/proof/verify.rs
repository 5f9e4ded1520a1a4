//! Verification: the algorithms of RFC 9162 §2.1.3.2 and §2.1.4.2 over 64-bit sizes.

use super::MAX_PROOF_HASHES;
use crate::tree::{EMPTY_ROOT, Hash, MAX_TREE_SIZE, node_hash};

/// A proof that does not prove. The peer that made it is at fault, or the log that signed the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// More hashes than any tree needs.
    #[error("a proof has at most 63 hashes, not {0}")]
    TooManyHashes(usize),
    /// A size above [`MAX_TREE_SIZE`].
    #[error("tree size {0} is beyond 2^63 - 1")]
    Size(u64),
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
    /// Too few or too many hashes for these positions.
    #[error("{0} hashes are the wrong number for these tree sizes")]
    WrongLength(usize),
    /// The hashes lead to another root than the one given. Two signed roots of one size that
    /// differ are the evidence of a fork.
    #[error("the proof leads to root {computed} but the root given is {given}")]
    RootMismatch {
        /// The root the verifier was given.
        given: Hash,
        /// The root the proof leads to.
        computed: Hash,
    },
    /// The hashes lead to another old root: the new tree does not continue the old one.
    #[error("the proof leads to old root {computed} but the old root given is {given}")]
    OldRootMismatch {
        /// The old root the verifier was given.
        given: Hash,
        /// The old root the proof leads to.
        computed: Hash,
    },
}

/// Verifies that the leaf at `index` of the tree with `size` leaves and this root is `leaf_hash`.
///
/// # Errors
/// [`ProofError`] when it does not follow from `proof`.
pub fn verify_inclusion(
    leaf_hash: Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: Hash,
) -> Result<(), ProofError> {
    same_root(root, inclusion_root(leaf_hash, index, size, proof)?)
}

/// The root that an inclusion proof leads to, to be compared with a trusted one.
///
/// # Errors
/// [`ProofError`] when the position or the number of hashes cannot be right.
pub fn inclusion_root(
    leaf_hash: Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
) -> Result<Hash, ProofError> {
    check_bounds(size, proof)?;
    let last = match size.checked_sub(1) {
        Some(last) if index <= last => last,
        _ => return Err(ProofError::IndexOutOfRange { index, size }),
    };
    let mut climb = Climb { node: index, last };
    let mut root = leaf_hash;
    for sibling in proof {
        root = match climb.step().ok_or(ProofError::WrongLength(proof.len()))? {
            Side::Left => node_hash(*sibling, root),
            Side::Right => node_hash(root, *sibling),
        };
    }
    if climb.last != 0 {
        return Err(ProofError::WrongLength(proof.len()));
    }
    Ok(root)
}

/// Verifies that the tree `new_size`, `new_root` continues the tree `old_size`, `old_root`.
///
/// The empty tree is continued by every tree; its proof is empty, as is that of a tree with itself.
///
/// # Errors
/// [`ProofError`] when it does not follow from `proof`.
pub fn verify_consistency(
    old_size: u64,
    old_root: Hash,
    new_size: u64,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    check_bounds(new_size, proof)?;
    if old_size > new_size {
        return Err(ProofError::Shrinks { old_size, new_size });
    }
    if old_size == 0 || old_size == new_size {
        return verify_trivial(old_size, old_root, new_size, new_root, proof);
    }
    let (computed_old, computed_new) = consistency_roots(old_size, old_root, new_size, proof)?;
    if computed_old != old_root {
        return Err(ProofError::OldRootMismatch {
            given: old_root,
            computed: computed_old,
        });
    }
    same_root(new_root, computed_new)
}

/// The cases that need no hashes: from the empty tree, or from a tree to itself.
fn verify_trivial(
    old_size: u64,
    old_root: Hash,
    new_size: u64,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if !proof.is_empty() {
        return Err(ProofError::WrongLength(proof.len()));
    }
    if old_size == 0 && old_root != EMPTY_ROOT {
        return Err(ProofError::OldRootMismatch {
            given: old_root,
            computed: EMPTY_ROOT,
        });
    }
    if old_size == new_size {
        same_root(new_root, old_root)
    } else {
        Ok(())
    }
}

/// Both roots that the proof leads to, for `0 < old_size < new_size`.
fn consistency_roots(
    old_size: u64,
    old_root: Hash,
    new_size: u64,
    proof: &[Hash],
) -> Result<(Hash, Hash), ProofError> {
    let wrong_length = ProofError::WrongLength(proof.len());
    // A proof from a complete tree starts at that tree's own root, which it leaves out.
    let (start, siblings) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        proof
            .split_first()
            .map(|(first, rest)| (*first, rest))
            .ok_or(wrong_length)?
    };
    let shift = old_size.saturating_sub(1).trailing_ones();
    let mut climb = Climb {
        node: old_size.saturating_sub(1) >> shift,
        last: new_size.saturating_sub(1) >> shift,
    };
    let (mut old, mut new) = (start, start);
    for sibling in siblings {
        match climb.step().ok_or(wrong_length)? {
            Side::Left => {
                old = node_hash(*sibling, old);
                new = node_hash(*sibling, new);
            }
            Side::Right => new = node_hash(new, *sibling),
        }
    }
    if climb.last != 0 {
        return Err(wrong_length);
    }
    Ok((old, new))
}

/// On which side of the node the next sibling stands.
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root: its index and that of the last node, level by level.
struct Climb {
    node: u64,
    last: u64,
}

impl Climb {
    /// Goes up past one sibling; `None` at the root.
    fn step(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // The last node of a level without a sibling there stands unchanged one level up.
            let lonely = self.node.trailing_zeros().min(63);
            self.node >>= lonely;
            self.last >>= lonely;
            Side::Left
        } else {
            Side::Right
        };
        self.node >>= 1;
        self.last >>= 1;
        Some(side)
    }
}

fn check_bounds(size: u64, proof: &[Hash]) -> Result<(), ProofError> {
    if proof.len() > MAX_PROOF_HASHES {
        return Err(ProofError::TooManyHashes(proof.len()));
    }
    if size > MAX_TREE_SIZE {
        return Err(ProofError::Size(size));
    }
    Ok(())
}

fn same_root(given: Hash, computed: Hash) -> Result<(), ProofError> {
    if given == computed {
        Ok(())
    } else {
        Err(ProofError::RootMismatch { given, computed })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::leaves;
    use crate::tree::{node_hash, root_of};

    #[test]
    fn positions_and_lengths_are_bounded() {
        let leaf = leaves(1)[0];
        let out = ProofError::IndexOutOfRange { index: 0, size: 0 };
        assert_eq!(verify_inclusion(leaf, 0, 0, &[], EMPTY_ROOT), Err(out));
        let out = ProofError::IndexOutOfRange { index: 1, size: 1 };
        assert_eq!(verify_inclusion(leaf, 1, 1, &[], leaf), Err(out));
        assert_eq!(verify_inclusion(leaf, 0, 1, &[], leaf), Ok(()));
        let long = ProofError::TooManyHashes(64);
        assert_eq!(verify_inclusion(leaf, 0, 1, &[leaf; 64], leaf), Err(long));
        assert_eq!(verify_consistency(1, leaf, 2, leaf, &[leaf; 64]), Err(long));
        let size = ProofError::Size(u64::MAX);
        assert_eq!(verify_inclusion(leaf, 0, u64::MAX, &[], leaf), Err(size));
        assert_eq!(
            verify_consistency(1, leaf, u64::MAX, leaf, &[leaf]),
            Err(size)
        );
    }

    #[test]
    fn the_longest_path_has_63_hashes() {
        let leaf = leaves(1)[0];
        let path = [leaf; MAX_PROOF_HASHES];
        inclusion_root(leaf, 0, MAX_TREE_SIZE, &path).unwrap();
        let short = inclusion_root(leaf, 0, MAX_TREE_SIZE, &path[1..]);
        assert_eq!(short, Err(ProofError::WrongLength(62)));
    }

    #[test]
    fn a_mismatch_carries_both_roots() {
        let leaves = leaves(2);
        let (given, computed) = (EMPTY_ROOT, root_of(&leaves));
        let refused = verify_inclusion(leaves[0], 0, 2, &leaves[1..], given);
        assert_eq!(refused, Err(ProofError::RootMismatch { given, computed }));
        let refused = verify_consistency(1, leaves[0], 2, given, &leaves[1..]);
        assert_eq!(refused, Err(ProofError::RootMismatch { given, computed }));
    }

    #[test]
    fn a_new_tree_that_rewrites_the_old_one_is_told() {
        let leaves = leaves(4);
        let computed = root_of(&leaves[..3]);
        let proof = [leaves[2], leaves[3], node_hash(leaves[0], leaves[1])];
        assert_eq!(
            verify_consistency(3, computed, 4, root_of(&leaves), &proof),
            Ok(())
        );
        let given = EMPTY_ROOT;
        let refused = verify_consistency(3, given, 4, root_of(&leaves), &proof);
        assert_eq!(
            refused,
            Err(ProofError::OldRootMismatch { given, computed })
        );
    }

    #[test]
    fn trivial_consistency_needs_no_hashes_and_takes_none() {
        let root = root_of(&leaves(5));
        assert_eq!(verify_consistency(0, EMPTY_ROOT, 5, root, &[]), Ok(()));
        assert_eq!(verify_consistency(5, root, 5, root, &[]), Ok(()));
        let extra = Err(ProofError::WrongLength(1));
        assert_eq!(verify_consistency(0, EMPTY_ROOT, 5, root, &[root]), extra);
        assert_eq!(verify_consistency(5, root, 5, root, &[root]), extra);
        let old = ProofError::OldRootMismatch {
            given: root,
            computed: EMPTY_ROOT,
        };
        assert_eq!(verify_consistency(0, root, 5, root, &[]), Err(old));
        let fork = ProofError::RootMismatch {
            given: EMPTY_ROOT,
            computed: root,
        };
        assert_eq!(verify_consistency(5, root, 5, EMPTY_ROOT, &[]), Err(fork));
        let shrinks = ProofError::Shrinks {
            old_size: 6,
            new_size: 5,
        };
        assert_eq!(verify_consistency(6, root, 5, root, &[]), Err(shrinks));
    }

    proptest! {
        #[test]
        fn arbitrary_proofs_never_panic(old: u64, new: u64, hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..66)) {
            let hashes: Vec<_> = hashes.into_iter().map(Hash::new).collect();
            let root = EMPTY_ROOT;
            prop_assert!(verify_inclusion(root, old, new, &hashes, root).is_err());
            let trivial = hashes.is_empty() && (old == 0 || old == new) && new <= MAX_TREE_SIZE;
            prop_assert_eq!(verify_consistency(old, root, new, root, &hashes).is_ok(), trivial);
        }
    }
}
