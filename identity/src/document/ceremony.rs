use super::{Document, Version1, WireError, require};
use crate::hash::{CertificateHash, SpkiHash};
use crate::key::P256Key;
use crate::sources::Timestamp;
use crate::text::Id;
use alloc::string::String;
use alloc::vec::Vec;
use der::Sequence;

/// One approver and the key by which approvals are known.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct PinnedApprover {
    /// Name of the approver.
    pub id: Id,
    /// The approver's key.
    pub key: P256Key,
}

/// What the key ceremony brought into being; the first leaf of the log is its hash.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Ceremony {
    /// Version of the form.
    pub version: Version1,
    /// Origin line of the log's checkpoints.
    pub origin: String,
    /// Moment of the ceremony.
    pub time: Timestamp,
    /// The device root certificate.
    pub root: CertificateHash,
    /// The issuing CA's certificate.
    pub issuing: CertificateHash,
    /// The issuing CA's key.
    pub issuing_key: SpkiHash,
    /// The log's verifier key, as in the trust file (C2SP signed-note).
    pub log_vkey: String,
    /// The infrastructure root certificate.
    pub infrastructure: CertificateHash,
    /// Approvals that a grant or station needs.
    pub needed: u8,
    /// All approvers.
    pub approvers: Vec<PinnedApprover>,
}

impl Document for Ceremony {
    const KIND: &'static str = "ceremony";

    fn check(&self) -> Result<(), WireError> {
        let distinct = |(position, approver): (usize, &PinnedApprover)| {
            let earlier = self.approvers.get(..position).unwrap_or_default();
            earlier
                .iter()
                .all(|other| other.id != approver.id && other.key != approver.key)
        };
        require(self.needed > 0, "at least one approval is needed")?;
        require(
            usize::from(self.needed) <= self.approvers.len(),
            "no more approvals are needed than approvers exist",
        )?;
        require(
            self.approvers.iter().enumerate().all(distinct),
            "approvers differ in name and key",
        )
    }
}
