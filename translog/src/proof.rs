//! Inclusion and consistency proofs (RFC 6962 §2.1.1, §2.1.2): verifying and making them.

mod prove;
mod reader;
mod verify;

pub use prove::{ProveError, prove_consistency, prove_inclusion};
pub use reader::{HashReader, Node, TileHashes, TileReadError, TileReader};
pub use verify::{ProofError, inclusion_root, verify_consistency, verify_inclusion};

/// Hashes in the longest proof: trees end at 2⁶³ − 1 leaves, so no path is longer, and the witness
/// protocol takes no more (C2SP tlog-witness v1).
pub const MAX_PROOF_HASHES: usize = 63;
