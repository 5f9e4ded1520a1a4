//! The documents that people approve: canonical DER, named by their hash. Policy files are turned into these once,
//! at the edge; what is signed, logged and checked is only ever this form. ASN.1 module: `docs/asn1/koseki.asn1`.

mod ceremony;
mod grant;
mod lot;
mod profile;
mod station;

pub use ceremony::{Ceremony, PinnedApprover};
pub use grant::Grant;
pub use lot::{LotOrder, SerialRange};
pub use profile::{KeyOriginRule, Profile, SubjectAttribute, UidRule};
pub use station::{MAX_AGENTS, StationStatement};

use crate::hash::{DocumentHash, sha256};
use crate::wire::require;
pub use crate::wire::{Bytes32, Signature, Version1, WireError};
use alloc::string::String;
use alloc::vec::Vec;
use der::{Decode, Encode};

/// Longest document in bytes.
pub const MAX_DOCUMENT: usize = 32 * 1024;

/// A document with one canonical encoding.
pub trait Document: for<'a> Decode<'a, Error = der::Error> + Encode {
    /// What the approval message calls this kind of document.
    const KIND: &'static str;

    /// Rules that the DER alone does not show.
    ///
    /// # Errors
    /// The first rule that does not hold.
    fn check(&self) -> Result<(), WireError>;

    /// Canonical DER.
    fn to_bytes(&self) -> Vec<u8> {
        crate::wire::encode(self)
    }

    /// Reads canonical DER and checks the rules.
    ///
    /// # Errors
    /// [`WireError`]: too long, not DER, not canonical, or against a rule.
    fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let document: Self = crate::wire::decode(bytes, MAX_DOCUMENT)?;
        document.check()?;
        Ok(document)
    }

    /// SHA-256 of the canonical DER: the document's name everywhere else.
    fn hash(&self) -> DocumentHash {
        DocumentHash(sha256(&self.to_bytes()))
    }
}

/// Replaces `{serial}` and `{uid}` in a template of subject or URI.
pub(crate) fn fill_template(template: &str, serial: &str, uid: &str) -> String {
    template.replace("{serial}", serial).replace("{uid}", uid)
}
