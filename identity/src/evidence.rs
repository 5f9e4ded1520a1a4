//! Evidence of where a fixed key came from, and the grade it earns.

use crate::hash::{SpkiHash, sha256};
use crate::key::{P256Key, VerifyP256};
use crate::message::{Endorsement, InjectionReceipt, KeyOrigin, Message as _, Transport};
use crate::text::{ChipUid, PartNumber, RequestId};
pub use crate::wire::{Bytes32, Signature, WireError};
use alloc::vec::Vec;
use core::fmt;
use der::{Choice, Enumerated, Sequence};

/// How strongly the key's origin is shown; ordered, the strongest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumerated)]
#[repr(u8)]
pub enum Grade {
    /// A receipt key in the station's HSM says so: use of that HSM is proved, not the key's origin.
    StationAsserted = 1,
    /// The module generated, wrapped and attested in one operation.
    HsmAttested = 2,
    /// Made on the chip, and the chip vendor's attestation key says so.
    ChipAttested = 3,
}

impl Grade {
    /// The name used in policies and verdicts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StationAsserted => "station-asserted",
            Self::HsmAttested => "hsm-attested",
            Self::ChipAttested => "chip-attested",
        }
    }

    /// Reads [`Self::name`] back.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::StationAsserted, Self::HsmAttested, Self::ChipAttested]
            .into_iter()
            .find(|grade| grade.name() == name)
    }
}

/// The chip's attestation key with its vendor's word for it.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct EndorsedChip {
    /// The attestation key in the chip.
    pub attestation: P256Key,
    /// The vendor's signature over [`Endorsement`].
    pub endorsement: Signature,
}

/// A fixed key made on the chip.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct OnChip {
    /// The chip's endorsed attestation key.
    pub chip: EndorsedChip,
    /// The station's nonce.
    pub nonce: Bytes32,
    /// The attestation key's signature over [`KeyOrigin`].
    pub origin: Signature,
}

/// A fixed key made in the line HSM and burnt into the chip.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Injected {
    /// The chip's endorsed attestation key.
    pub chip: EndorsedChip,
    /// The station's nonce.
    pub nonce: Bytes32,
    /// The chip's ephemeral transport key.
    pub ephemeral: P256Key,
    /// The attestation key's signature over [`Transport`].
    pub transport: Signature,
    /// SHA-256 of the wrapped key.
    pub wrapped: Bytes32,
    /// The station receipt key's signature over [`InjectionReceipt`].
    pub receipt: Signature,
}

/// What a station brings to show where the key came from.
#[derive(Clone, Debug, PartialEq, Eq, Choice)]
#[asn1(tag_mode = "IMPLICIT")]
pub enum Evidence {
    /// Made on the chip.
    #[asn1(context_specific = "0", constructed = "true")]
    OnChip(OnChip),
    /// Injected by the line HSM.
    #[asn1(context_specific = "1", constructed = "true")]
    Injected(Injected),
}

/// Longest encoded evidence in bytes.
pub const MAX_EVIDENCE: usize = 1024;

/// Facts of the unit that evidence must fit.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceFacts<'a> {
    /// Request of the unit.
    pub request: &'a RequestId,
    /// The chip.
    pub uid: &'a ChipUid,
    /// Its part number.
    pub part: &'a PartNumber,
    /// Hash of the fixed key.
    pub spki: &'a SpkiHash,
    /// Vendor keys that the profile pins.
    pub vendors: &'a [P256Key],
    /// The station's receipt key.
    pub receipt_key: &'a P256Key,
}

/// Which part of the evidence does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceError {
    /// No pinned vendor endorsed this chip.
    Endorsement,
    /// The attestation key did not sign that the key was made on this chip.
    Origin,
    /// The attestation key did not sign this transport key.
    Transport,
    /// The station's receipt does not fit.
    Receipt,
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endorsement => "no pinned chip vendor endorsed this chip",
            Self::Origin => "the chip did not attest this key as its own",
            Self::Transport => "the chip did not sign this transport key",
            Self::Receipt => "the injection receipt does not fit this unit",
        })
    }
}

impl core::error::Error for EvidenceError {}

impl Evidence {
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
        crate::wire::decode(bytes, MAX_EVIDENCE)
    }

    /// SHA-256 of the DER, as it stands in the leaf.
    #[must_use]
    pub fn hash(&self) -> Bytes32 {
        Bytes32(sha256(&self.to_bytes()))
    }

    /// Checks every signature in the evidence and gives the grade it earns.
    ///
    /// # Errors
    /// [`EvidenceError`] names the part that does not hold.
    pub fn judge(
        &self,
        facts: &EvidenceFacts<'_>,
        verifier: &impl VerifyP256,
    ) -> Result<Grade, EvidenceError> {
        match self {
            Self::OnChip(evidence) => evidence.judge(facts, verifier),
            Self::Injected(evidence) => evidence.judge(facts, verifier),
        }
    }
}

impl EndorsedChip {
    /// Checks that one of the pinned vendors endorsed this attestation key for this chip.
    ///
    /// # Errors
    /// [`EvidenceError::Endorsement`].
    pub fn verify(
        &self,
        uid: &ChipUid,
        part: &PartNumber,
        vendors: &[P256Key],
        verifier: &impl VerifyP256,
    ) -> Result<(), EvidenceError> {
        let digest = Endorsement {
            uid,
            part,
            attestation: &self.attestation.spki_hash(),
        }
        .digest();
        let endorsed = vendors
            .iter()
            .any(|vendor| verifier.verify(vendor, &digest, &self.endorsement.0));
        endorsed.then_some(()).ok_or(EvidenceError::Endorsement)
    }
}

impl OnChip {
    fn judge(
        &self,
        facts: &EvidenceFacts<'_>,
        verifier: &impl VerifyP256,
    ) -> Result<Grade, EvidenceError> {
        self.chip
            .verify(facts.uid, facts.part, facts.vendors, verifier)?;
        let digest = KeyOrigin {
            uid: facts.uid,
            part: facts.part,
            spki: facts.spki,
            nonce: &self.nonce.0,
        }
        .digest();
        let held = verifier.verify(&self.chip.attestation, &digest, &self.origin.0);
        held.then_some(Grade::ChipAttested)
            .ok_or(EvidenceError::Origin)
    }
}

impl Injected {
    fn judge(
        &self,
        facts: &EvidenceFacts<'_>,
        verifier: &impl VerifyP256,
    ) -> Result<Grade, EvidenceError> {
        self.chip
            .verify(facts.uid, facts.part, facts.vendors, verifier)?;
        let ephemeral = self.ephemeral.sec1();
        let transport = Transport {
            uid: facts.uid,
            part: facts.part,
            ephemeral,
            nonce: &self.nonce.0,
        };
        if !verifier.verify(
            &self.chip.attestation,
            &transport.digest(),
            &self.transport.0,
        ) {
            return Err(EvidenceError::Transport);
        }
        let receipt = InjectionReceipt {
            request: facts.request,
            uid: facts.uid,
            spki: facts.spki,
            ephemeral,
            wrapped: &self.wrapped.0,
        };
        let held = verifier.verify(facts.receipt_key, &receipt.digest(), &self.receipt.0);
        held.then_some(Grade::StationAsserted)
            .ok_or(EvidenceError::Receipt)
    }
}
