//! Step *evidence*: where the fixed key came from, judged again where the caller has the chip vendor's key.

use super::history::History;
use crate::reason::Reason;
use crate::trust::Trust;
use crate::verdict::Miss;
use identity::document::Profile;
use identity::evidence::{Evidence, EvidenceError, EvidenceFacts, Grade, Injected, OnChip};
use identity::field::{Openings, Tag};
use identity::hash::sha256;
use identity::idevid::Parsed;
use identity::leaf::Bytes32;
use identity::message::{Message as _, Transport};
use identity::{P256Key, PartNumber, PortableVerifier, RequestId, VerifyP256 as _};

/// What is known about the evidence.
pub(super) struct Question<'a> {
    /// The evidence as the proof file carries it.
    pub(super) bytes: Option<&'a [u8]>,
    pub(super) parsed: Option<&'a Parsed>,
    /// Openings, if they are the entry's.
    pub(super) openings: Option<&'a Openings>,
    /// The product's profile, if the trust directory has it.
    pub(super) profile: Option<&'a Profile>,
    pub(super) trust: &'a Trust,
}

impl Question<'_> {
    pub(super) fn check(&self, history: Option<&History>) -> Result<String, Miss> {
        let recorded = history
            .ok_or_else(|| Miss::needs("a linked history"))?
            .bind
            .evidence;
        let grade = recorded.grade;
        if let Some(demanded) = self
            .profile
            .map(|profile| profile.grade)
            .filter(|demanded| grade < *demanded)
        {
            let note = format!("{} where {} is demanded", grade.name(), demanded.name());
            return Err(Miss::failed(Reason::GradeTooLow, note));
        }
        let as_recorded =
            |reason| Miss::not_checked(reason, format!("{}, as recorded by the log", grade.name()));
        let vendors = self.vendors();
        // Whoever pins vendors wants the evidence judged: what the presenter leaves out must not spare it.
        let withheld = |reason| {
            if vendors.is_empty() {
                as_recorded(reason)
            } else {
                Miss::failed(reason, format!("{} is only recorded", grade.name()))
            }
        };
        let bytes = self.bytes.ok_or_else(|| withheld(Reason::EvidenceAbsent))?;
        if Bytes32(sha256(bytes)) != recorded.hash {
            return Err(Miss::failed(Reason::OtherEvidence, "its hash differs"));
        }
        let evidence = Evidence::from_bytes(bytes)
            .map_err(|error| Miss::failed(Reason::EvidenceForm, error.to_string()))?;
        if earnable(&evidence) != grade {
            return Err(other_grade(earnable(&evidence), grade));
        }
        if vendors.is_empty() {
            return Err(as_recorded(Reason::NoVendors));
        }
        let parsed = self
            .parsed
            .ok_or_else(|| Miss::needs("an IDevID certificate"))?;
        let part = self.part().ok_or_else(|| withheld(Reason::PartUnknown))?;
        let chip = Chip {
            parsed,
            part,
            vendors: &vendors,
        };
        match &evidence {
            Evidence::OnChip(on_chip) => chip.judge_on_chip(&evidence, on_chip),
            Evidence::Injected(injected) => Err(chip.judge_injected(injected, grade)),
        }
    }

    fn vendors(&self) -> Vec<P256Key> {
        let pinned = self.profile.map_or(&[][..], |profile| &profile.vendors);
        self.trust.vendors().iter().chain(pinned).copied().collect()
    }

    /// Part number of the chip: as opened, else as the profile says.
    fn part(&self) -> Option<PartNumber> {
        let opened = self
            .openings
            .and_then(|openings| openings.value(Tag::ChipPart));
        let opened = opened.and_then(|value| PartNumber::new(str::from_utf8(value).ok()?).ok());
        opened.or_else(|| self.profile.map(|profile| profile.part))
    }
}

/// The chip that the evidence must be about.
struct Chip<'a> {
    parsed: &'a Parsed,
    part: PartNumber,
    vendors: &'a [P256Key],
}

impl Chip<'_> {
    fn judge_on_chip(&self, evidence: &Evidence, on_chip: &OnChip) -> Result<String, Miss> {
        let facts = EvidenceFacts {
            uid: &self.parsed.uid,
            part: &self.part,
            spki: &self.parsed.key.spki_hash(),
            vendors: self.vendors,
            // Neither is part of what is signed for a key made on the chip.
            request: &RequestId([0; 16]),
            receipt_key: &on_chip.chip.attestation,
        };
        let earned = evidence.judge(&facts, &PortableVerifier).map_err(fails)?;
        Ok(format!(
            "{}: the key was made on this chip, by the word of the chip vendor you named",
            earned.name()
        ))
    }

    /// All of an injection's evidence but the station's receipt: that one is over the request id, and under the
    /// station's key, neither of which a device's proof file shows.
    fn judge_injected(&self, injected: &Injected, recorded: Grade) -> Miss {
        let (uid, part) = (&self.parsed.uid, &self.part);
        if let Err(error) = injected
            .chip
            .verify(uid, part, self.vendors, &PortableVerifier)
        {
            return fails(error);
        }
        let digest = Transport {
            uid,
            part,
            ephemeral: injected.ephemeral.sec1(),
            nonce: &injected.nonce.0,
        }
        .digest();
        if !PortableVerifier.verify(&injected.chip.attestation, &digest, &injected.transport.0) {
            return fails(EvidenceError::Transport);
        }
        let note = format!(
            "{}, as recorded by the log; the chip itself is endorsed by the vendor you named",
            recorded.name()
        );
        Miss::not_checked(Reason::StationAsserted, note)
    }
}

/// The only grade that evidence of this form can earn, whoever judges it.
const fn earnable(evidence: &Evidence) -> Grade {
    match evidence {
        Evidence::OnChip(_) => Grade::ChipAttested,
        Evidence::Injected(_) => Grade::StationAsserted,
    }
}

fn fails(error: EvidenceError) -> Miss {
    Miss::failed(Reason::EvidenceFails, error.to_string())
}

fn other_grade(earned: Grade, recorded: Grade) -> Miss {
    Miss::failed(
        Reason::OtherGrade,
        format!("{} earned, {} recorded", earned.name(), recorded.name()),
    )
}
