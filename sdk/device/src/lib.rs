//! For firmware: factory protocol, proofs and keys without an allocator.
