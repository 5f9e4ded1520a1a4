//! Approvals: detached signatures of m of n approvers over exactly the bytes of a document.

use crate::document::{Ceremony, Document, PinnedApprover, Signature, WireError};
use crate::hash::{DocumentHash, Sink as _, sha256, sha256_of};
use crate::key::VerifyP256;
use crate::text::Id;
use alloc::vec::Vec;
use core::fmt;
use der::Sequence;

/// One approver's detached signature over one document.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Approval {
    /// Who approves.
    pub approver: Id,
    /// ECDSA P-256 over [`approval_digest`].
    pub signature: Signature,
}

/// Longest encoded approval in bytes.
pub const MAX_APPROVAL: usize = 256;

impl Approval {
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
        crate::wire::decode(bytes, MAX_APPROVAL)
    }

    /// SHA-256 of the DER, as it stands in the leaf.
    #[must_use]
    pub fn hash(&self) -> DocumentHash {
        DocumentHash(sha256(&self.to_bytes()))
    }
}

/// What an approver signs: SHA-256("koseki/approval/v1\n" ‖ kind ‖ hash of the document), each behind its length.
#[must_use]
pub fn approval_digest(kind: &str, document: &DocumentHash) -> [u8; 32] {
    sha256_of(|h| {
        h.put(b"koseki/approval/v1\n");
        h.put_prefixed(kind.as_bytes());
        h.put_prefixed(&document.0);
    })
}

/// Who may approve, and how many must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApproverSet {
    needed: u8,
    approvers: Vec<PinnedApprover>,
}

impl From<&Ceremony> for ApproverSet {
    fn from(ceremony: &Ceremony) -> Self {
        Self {
            needed: ceremony.needed,
            approvers: ceremony.approvers.clone(),
        }
    }
}

/// Why a document is not approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalError {
    /// Nobody of that name is an approver.
    Stranger(Id),
    /// The one who asked for it signed it.
    Requester(Id),
    /// The same approver twice.
    Twice(Id),
    /// The signature does not fit the bytes and the approver's key.
    Signature(Id),
    /// Too few approvals.
    TooFew {
        /// Valid approvals given.
        got: usize,
        /// Approvals needed.
        needed: u8,
    },
}

impl fmt::Display for ApprovalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger(id) => write!(f, "{id} is no approver"),
            Self::Requester(id) => write!(f, "{id} asked for this and cannot approve it"),
            Self::Twice(id) => write!(f, "{id} signed twice"),
            Self::Signature(id) => write!(f, "the signature of {id} is not over these bytes"),
            Self::TooFew { got, needed } => write!(f, "{got} of {needed} approvals"),
        }
    }
}

impl core::error::Error for ApprovalError {}

impl ApproverSet {
    /// From a configuration that pins keys itself.
    #[must_use]
    pub const fn new(needed: u8, approvers: Vec<PinnedApprover>) -> Self {
        Self { needed, approvers }
    }

    /// Checks that enough distinct approvers, none of them the requester, signed exactly this document. One bad
    /// approval refuses the whole.
    ///
    /// # Errors
    /// [`ApprovalError`] names the first approval that fails, or how many are missing.
    pub fn verify<D: Document>(
        &self,
        document: &D,
        requester: &Id,
        approvals: &[Approval],
        verifier: &impl VerifyP256,
    ) -> Result<(), ApprovalError> {
        let digest = approval_digest(D::KIND, &document.hash());
        for (position, approval) in approvals.iter().enumerate() {
            let id = approval.approver;
            let pinned = self
                .approvers
                .iter()
                .find(|a| a.id == id)
                .ok_or(ApprovalError::Stranger(id))?;
            let earlier = approvals.get(..position).unwrap_or_default();
            if id == *requester {
                return Err(ApprovalError::Requester(id));
            }
            if earlier.iter().any(|other| other.approver == id) {
                return Err(ApprovalError::Twice(id));
            }
            if !verifier.verify(&pinned.key, &digest, &approval.signature.0) {
                return Err(ApprovalError::Signature(id));
            }
        }
        match approvals.len() >= usize::from(self.needed) {
            true => Ok(()),
            false => Err(ApprovalError::TooFew {
                got: approvals.len(),
                needed: self.needed,
            }),
        }
    }
}
