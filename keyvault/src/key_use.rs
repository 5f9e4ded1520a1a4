//! What each key is for, and what it must therefore be.

use sha2::{Digest, Sha256};

use crate::error::{Result, VaultError};

/// Longest label of a key, in bytes.
const LONGEST_LABEL: usize = 64;

/// Length of a `CKA_ID`, in bytes.
const ID_LENGTH: usize = 16;

/// What a key is for. The use fixes the algorithm and, through `CKA_ID`, binds the key to that one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyUse {
    /// Signs issuing CA certificates; put away after the ceremony.
    RootCa,
    /// Signs device certificates and revocation lists; only the signer has its token.
    IssuingCa,
    /// Signs certificates of servers, stations and people.
    Infrastructure,
    /// Signs checkpoints of the log (C2SP signed-note, Ed25519).
    Log,
    /// Approves grants and dangerous writes.
    Approver,
    /// A server's TLS key.
    ServerTls,
    /// A station's TLS client key.
    StationTls,
    /// Signs a station's request envelopes.
    StationRequest,
    /// Signs a station's injection receipts.
    StationReceipt,
}

/// Signature algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA on NIST P-256 (FIPS 186-5), with SHA-256.
    P256,
    /// Ed25519 (RFC 8032), pure.
    Ed25519,
}

/// A key to be generated: a label, unique on its token, and a use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    label: String,
    usage: KeyUse,
}

impl KeyUse {
    /// Every use.
    pub const ALL: [Self; 9] = [
        Self::RootCa,
        Self::IssuingCa,
        Self::Infrastructure,
        Self::Log,
        Self::Approver,
        Self::ServerTls,
        Self::StationTls,
        Self::StationRequest,
        Self::StationReceipt,
    ];

    /// The algorithm this use demands.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        self.row().1
    }

    /// Name of the use, as it goes into [`KeyUse::object_id`]. Never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// `CKA_ID` of both halves of the key pair with this label and use: the first 16 bytes of
    /// SHA-256("keyvault/id/v1\n" ‖ name ‖ "\n" ‖ label). A key that was made for another use has another one.
    #[must_use]
    pub fn object_id(self, label: &str) -> [u8; ID_LENGTH] {
        let digest = Sha256::new()
            .chain_update("keyvault/id/v1\n")
            .chain_update(self.name())
            .chain_update("\n");
        let digest = digest.chain_update(label).finalize();
        let mut id = [0; ID_LENGTH];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        id
    }

    /// The table: name and algorithm of each use. The attributes that all uses demand are in [`crate::object`].
    const fn row(self) -> (&'static str, Algorithm) {
        match self {
            Self::RootCa => ("root-ca", Algorithm::P256),
            Self::IssuingCa => ("issuing-ca", Algorithm::P256),
            Self::Infrastructure => ("infrastructure", Algorithm::P256),
            Self::Log => ("log", Algorithm::Ed25519),
            Self::Approver => ("approver", Algorithm::P256),
            Self::ServerTls => ("server-tls", Algorithm::P256),
            Self::StationTls => ("station-tls", Algorithm::P256),
            Self::StationRequest => ("station-request", Algorithm::P256),
            Self::StationReceipt => ("station-receipt", Algorithm::P256),
        }
    }
}

impl KeySpec {
    /// A key to generate.
    ///
    /// # Errors
    /// [`VaultError::Request`] if the label is empty, over 64 bytes, or not of printable ASCII characters.
    pub fn new(label: &str, usage: KeyUse) -> Result<Self> {
        let printable = label.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if label.is_empty() || label.len() > LONGEST_LABEL || !printable {
            return Err(VaultError::Request {
                reason: "a key's label is 1 to 64 printable ASCII characters",
            });
        }
        Ok(Self {
            label: label.to_owned(),
            usage,
        })
    }

    /// Label of both halves of the key pair.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What the key is for.
    #[must_use]
    pub const fn usage(&self) -> KeyUse {
        self.usage
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_differ_by_use_and_by_label() {
        let ids: BTreeSet<_> = KeyUse::ALL
            .iter()
            .flat_map(|usage| [usage.object_id("a"), usage.object_id("b")])
            .collect();
        assert_eq!(ids.len(), 2 * KeyUse::ALL.len());
    }

    #[test]
    fn labels_are_short_and_printable() {
        KeySpec::new("issuing CA 2026", KeyUse::IssuingCa).unwrap();
        for label in ["", "a\nb", "鍵", &"x".repeat(65)] {
            assert!(KeySpec::new(label, KeyUse::IssuingCa).is_err(), "{label}");
        }
    }
}
