//! What stands in the `extra` line of a device's `tlog-proof` file, so that this one file is enough offline: the
//! device's history from its `bind` leaf to the leaf that the proof is for, the openings and the evidence.

use crate::hash::LeafHash;
use crate::leaf::{Body, Leaf};
use crate::wire::{Version1, WireError};
use alloc::vec::Vec;
use der::Sequence;
use der::asn1::OctetString;

/// Longest encoded extra in bytes.
pub const MAX_EXTRA: usize = 64 * 1024;

/// ASN.1 `ReceiptExtra`. Unauthenticated by itself: every part is held against the proved leaf.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct ReceiptExtra {
    /// Version of the form.
    pub version: Version1,
    /// The subject's entries, each linked to the one before by `previous`; the last is the one proved.
    pub history: Vec<OctetString>,
    /// Openings of the `bind` leaf's fields.
    pub openings: OctetString,
    /// Evidence of the key's origin, as the station brought it.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub evidence: Option<OctetString>,
}

impl ReceiptExtra {
    /// Canonical DER.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::wire::encode(self)
    }

    /// Reads canonical DER.
    ///
    /// # Errors
    /// [`WireError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        crate::wire::decode(bytes, MAX_EXTRA)
    }

    /// The history as leaves: begins with a `bind`, is of one subject, and each `previous` names the hash of the leaf
    /// before it. Returns the leaves and the hash of the last, which the inclusion proof is for.
    ///
    /// # Errors
    /// [`WireError`] names the first link that does not hold.
    pub fn linked_history(&self) -> Result<(Vec<Leaf>, LeafHash), WireError> {
        let mut leaves = Vec::new();
        let mut newest: Option<LeafHash> = None;
        for entry in &self.history {
            let leaf = Leaf::from_bytes(entry.as_bytes())?;
            match (leaf.body.previous(), newest) {
                (None, None) if matches!(leaf.body, Body::Bind(_)) => {}
                (Some(link), Some(hash)) if link.hash == hash => {}
                _ => return Err(WireError::Rule("the history's entries are not linked")),
            }
            newest = Some(LeafHash::of(entry.as_bytes()));
            leaves.push(leaf);
        }
        match (newest, one_subject(&leaves)) {
            (Some(hash), true) => Ok((leaves, hash)),
            _ => Err(WireError::Rule(
                "the history is empty or of several subjects",
            )),
        }
    }
}

fn one_subject(leaves: &[Leaf]) -> bool {
    leaves
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.body.subject() == b.body.subject()))
}
