//! The transparency log as pure functions: Merkle tree, tiles, notes, checkpoints, proofs.
