//! The Merkle tree of RFC 6962 §2.1 with SHA-256.

mod frontier;
mod hash;

pub use frontier::{Frontier, FrontierError};
pub use hash::{Hash, HashError};

use sha2::{Digest, Sha256};

/// The largest tree this crate handles: 2⁶³ − 1 leaves, so that a size fits a signed 64-bit
/// integer and a proof never has more than [`crate::proof::MAX_PROOF_HASHES`] hashes.
pub const MAX_TREE_SIZE: u64 = (1 << 63) - 1;

/// Root of the empty tree: SHA-256 of the empty string (RFC 6962 §2.1).
pub const EMPTY_ROOT: Hash = Hash::new([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// Hash of a log entry: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let digest = Sha256::new().chain_update([0x00]).chain_update(entry);
    Hash::new(digest.finalize().into())
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    let digest = Sha256::new()
        .chain_update([0x01])
        .chain_update(left)
        .chain_update(right);
    Hash::new(digest.finalize().into())
}

/// Root of the tree over these leaf hashes, in order.
#[must_use]
pub fn root_of(leaf_hashes: &[Hash]) -> Hash {
    leaf_hashes.iter().copied().collect::<Frontier>().root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_root_is_the_hash_of_nothing() {
        assert_eq!(EMPTY_ROOT, Hash::new(Sha256::digest([]).into()));
        assert_eq!(root_of(&[]), EMPTY_ROOT);
    }

    #[test]
    fn leaf_and_node_are_told_apart() {
        let (left, right) = (leaf_hash(b"l"), leaf_hash(b"r"));
        let forged = [left.as_ref(), right.as_ref()].concat();
        assert_ne!(leaf_hash(&forged), node_hash(left, right));
    }
}
