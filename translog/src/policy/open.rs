//! Judging a signed checkpoint by a policy.

use super::{Policy, Witness};
use crate::checkpoint::{Checkpoint, OpenError, VerifiedCheckpoint};
use crate::cosignature;
use crate::note::{KeyName, SignedNote};

/// A checkpoint that its log has signed and the quorum has cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessedCheckpoint {
    verified: VerifiedCheckpoint,
    cosigned: Vec<Cosigned>,
}

/// A witness of the policy, and when it says that it cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Name of the witness's key.
    pub witness: KeyName,
    /// Seconds since the epoch; the earliest, where there are several.
    pub timestamp: u64,
}

impl Policy {
    /// Parses a signed checkpoint and judges it.
    ///
    /// # Errors
    /// [`OpenError`] when the origin is unknown, a key of the log has not signed, any known key's
    /// signature does not verify, or the quorum is not met.
    pub fn open(&self, bytes: &[u8]) -> Result<WitnessedCheckpoint, OpenError> {
        self.open_note(SignedNote::parse(bytes)?)
    }

    /// [`Policy::open`] for a note that is parsed already.
    ///
    /// # Errors
    /// As [`Policy::open`].
    pub fn open_note(&self, note: SignedNote) -> Result<WitnessedCheckpoint, OpenError> {
        let checkpoint: Checkpoint = note.text().parse()?;
        let trusted = self
            .logs
            .iter()
            .find(|entry| entry.log.origin() == checkpoint.origin());
        let unknown = || OpenError::UnknownOrigin(checkpoint.origin().to_owned());
        let verified = trusted.ok_or_else(unknown)?.log.open_note(note)?;
        let mut cosigned = Vec::new();
        let mut keys = Vec::new();
        for witness in &self.witnesses {
            if let Some(timestamp) = witness.cosigned_at(&verified)? {
                cosigned.push(Cosigned {
                    witness: witness.key.name().clone(),
                    timestamp,
                });
                keys.push(&witness.key);
            }
        }
        if !self.is_quorum(|witness| keys.contains(&&witness.key)) {
            return Err(OpenError::Quorum);
        }
        Ok(WitnessedCheckpoint { verified, cosigned })
    }
}

impl Witness {
    /// When the witness cosigned, if it did.
    fn cosigned_at(&self, verified: &VerifiedCheckpoint) -> Result<Option<u64>, OpenError> {
        let bad = || OpenError::BadSignature {
            name: self.key.name().clone(),
            key_id: self.key.id(),
        };
        let mut earliest = None;
        for line in verified.note().signatures_by(&self.key) {
            let timestamp = cosignature::verify(&self.key, verified.checkpoint(), line);
            let timestamp = timestamp.ok().ok_or_else(bad)?;
            earliest = Some(earliest.map_or(timestamp, |other: u64| other.min(timestamp)));
        }
        Ok(earliest)
    }
}

impl WitnessedCheckpoint {
    /// The head that was signed.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        self.verified.checkpoint()
    }

    /// The whole note.
    #[must_use]
    pub const fn note(&self) -> &SignedNote {
        self.verified.note()
    }

    /// The witnesses of the policy that cosigned, in the policy's order.
    #[must_use]
    pub fn cosigned(&self) -> &[Cosigned] {
        &self.cosigned
    }
}
