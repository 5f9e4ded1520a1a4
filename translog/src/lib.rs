//! The transparency log as pure functions: Merkle tree, tiles, notes, checkpoints, proofs.
//!
//! Everything here maps bytes to bytes. There is no clock, no randomness, no file and no private
//! key: time is a parameter, signing goes through [`note::NoteSigner`], storage through
//! [`proof::TileReader`]. The crate knows entries as opaque bytes, never as devices.
//!
//! | module | specification, as read on 2026-11-23 |
//! |---|---|
//! | [`tree`], [`proof`] | RFC 6962 §2.1 with SHA-256; verification as in RFC 9162 §2.1.3.2 and §2.1.4.2 |
//! | [`tile`] | `c2sp.org/tlog-tiles` v0.1.0 |
//! | [`note`] | `c2sp.org/signed-note` v1.0.0 |
//! | [`checkpoint`] | `c2sp.org/tlog-checkpoint` v1.0.0, without extension lines |
//! | [`cosignature`] | `c2sp.org/tlog-cosignature` v1.0.1 |
//! | [`receipt`] | `c2sp.org/tlog-proof@v1`, text of 2026-05-22 |
//! | [`policy`] | `c2sp.org/tlog-policy`, text of 2026-06-22 |
//!
//! Every parser takes untrusted input, caps its size first, accepts exactly one encoding of a value
//! and never panics.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod cosignature;
pub mod note;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod tile;
pub mod tree;

mod text;

#[cfg(test)]
mod test_support;
