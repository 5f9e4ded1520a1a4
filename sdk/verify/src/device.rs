//! The verdict over one device, step by step.

mod chain;
mod evidence;
mod history;
mod openings;
mod profile;

use crate::reason::Reason;
use crate::trust::Trust;
use crate::verdict::{Check, Miss, State, Step, Verdict, quoted};
use history::History;
use identity::evidence::Grade;
use identity::field::Openings;
use identity::idevid::{self, IdevidError, Parsed};
use identity::receipt::ReceiptExtra;
use identity::{CertificateHash, TbsHash, Timestamp};
use translog::receipt::{TlogProof, VerifyError};
use translog::tree::Hash;

/// Judges a device's certificate by its proof file and by what the caller trusts, as of the moment `at`.
///
/// `certificate` is DER, at most 4,096 bytes; `proof` is the text of a C2SP `tlog-proof` file whose `extra` holds a
/// [`ReceiptExtra`]. Both may come from anybody. Every step is made that can be; the verdict accepts only if all of
/// them hold, save that the evidence of the key's origin may stand as the log recorded it where nobody's key is at hand
/// to judge it by. With a chip vendor's key, evidence that is left out, or that nobody can relate to a chip, fails.
#[must_use]
pub fn verify_device(certificate: &[u8], proof: &[u8], trust: &Trust, at: Timestamp) -> Verdict {
    match Case::read(certificate, proof) {
        Ok(case) => case.judge(trust, at),
        Err(miss) => unreadable(miss),
    }
}

/// Certificate and proof, read and not yet believed.
struct Case {
    certificate: CertificateHash,
    tbs: Vec<u8>,
    signature: [u8; 64],
    parsed: Result<Parsed, IdevidError>,
    proof: TlogProof,
    extra: ReceiptExtra,
}

impl Case {
    fn read(certificate: &[u8], proof: &[u8]) -> Result<Self, Miss> {
        let refuse = |reason| move |error: &dyn ToString| Miss::failed(reason, error.to_string());
        let (tbs, signature) =
            idevid::split(certificate).map_err(|e| refuse(Reason::CertificateForm)(&e))?;
        let proof = TlogProof::parse(proof).map_err(|e| refuse(Reason::ProofForm)(&e))?;
        let extra = proof
            .extra()
            .ok_or_else(|| Miss::failed(Reason::HistoryForm, "the file has no extra line"))?;
        let extra = ReceiptExtra::from_bytes(extra).map_err(|e| refuse(Reason::HistoryForm)(&e))?;
        Ok(Self {
            certificate: CertificateHash::of(certificate),
            parsed: idevid::parse_tbs(&tbs),
            tbs,
            signature,
            proof,
            extra,
        })
    }

    fn judge(&self, trust: &Trust, at: Timestamp) -> Verdict {
        let (parsed, tbs) = (self.parsed.as_ref(), TbsHash::of(&self.tbs));
        let issuer = parsed
            .ok()
            .and_then(|parsed| chain::issuer_of(parsed, trust));
        let chain = parsed
            .ok()
            .ok_or_else(|| Miss::needs("an IDevID certificate"))
            .and_then(|parsed| {
                chain::check(
                    &chain::Signed {
                        parsed,
                        tbs: &tbs,
                        signature: &self.signature,
                    },
                    trust,
                    issuer,
                    at,
                )
            });
        let (profile_check, profile) = profile::check(parsed, issuer, trust);
        let history = History::read(&self.extra);
        let leaf = match (&history, parsed) {
            (Ok(history), Ok(parsed)) => history.check(parsed, &tbs, &self.certificate, issuer),
            (Ok(_), Err(_)) => Err(Miss::needs("an IDevID certificate")),
            (Err(miss), _) => Err(miss.clone()),
        };
        let history = history.as_ref().ok();
        let openings = Openings::from_bytes(self.extra.openings.as_bytes());
        let openings_check = openings::check(openings.as_ref(), history, parsed.ok());
        let evidence = evidence::Question {
            bytes: self
                .extra
                .evidence
                .as_ref()
                .map(der::asn1::OctetString::as_bytes),
            parsed: parsed.ok(),
            // Only openings that are the entry's may say which chip was judged.
            openings: openings.as_ref().ok().filter(|_| openings_check.is_ok()),
            profile,
            trust,
        };
        let evidence_check = evidence.check(history);
        let checks = vec![
            Check::new(
                Step::Form,
                Ok("certificate, proof and history can be read".to_owned()),
            ),
            Check::new(Step::Chain, chain),
            Check::new(Step::Profile, profile_check),
            Check::new(Step::Leaf, leaf),
            Check::new(Step::Proof, self.prove(history, trust)),
            Check::new(Step::Openings, openings_check),
            Check::new(Step::Evidence, evidence_check),
        ];
        self.verdict(history, checks)
    }

    /// That the newest entry of the history is in a log that the caller trusts.
    fn prove(&self, history: Option<&History>, trust: &Trust) -> Result<String, Miss> {
        let newest = history
            .ok_or_else(|| Miss::needs("a linked history"))?
            .newest;
        match self.proof.verify(Hash::new(newest.0), trust.policy()) {
            Ok(opened) => {
                let (head, witnesses) = (opened.checkpoint(), opened.cosigned().len());
                let origin = quoted(head.origin());
                let (index, size) = (self.proof.index(), head.size());
                Ok(format!(
                    "entry {index} of {size} in log {origin}, signed by that log's own key; witnesses of yours that cosigned: {witnesses}"
                ))
            }
            Err(VerifyError::Checkpoint(error)) => Err(Miss::failed(
                Reason::CheckpointNotTrusted,
                error.to_string(),
            )),
            Err(VerifyError::Inclusion(error)) => {
                Err(Miss::failed(Reason::NotInLog, error.to_string()))
            }
        }
    }

    /// What the history says is told only if it is this certificate's and proved to be in the log.
    fn verdict(&self, history: Option<&History>, checks: Vec<Check>) -> Verdict {
        let parsed = self.parsed.as_ref().ok();
        let history = history.filter(|_| checks.iter().all(Check::lets_history_speak));
        let recorded_grade = history.map(|history| Grade::name(history.bind.evidence.grade));
        // Evidence holds only if it earned what is recorded.
        let proved = |check: &Check| (check.step, check.state) == (Step::Evidence, State::Held);
        Verdict {
            accepted: checks.iter().all(Check::permits),
            level: history.map(|history| history.level),
            recorded_grade,
            proved_grade: recorded_grade.filter(|_| checks.iter().any(proved)),
            serial: parsed.map(|parsed| parsed.device_serial.to_string()),
            chip: parsed.map(|parsed| parsed.uid.to_string()),
            subject: history.map(|history| history.bind.subject.to_string()),
            checks,
        }
    }
}

/// Nothing but the form was looked at.
fn unreadable(miss: Miss) -> Verdict {
    let rest = [
        Step::Chain,
        Step::Profile,
        Step::Leaf,
        Step::Proof,
        Step::Openings,
        Step::Evidence,
    ];
    let rest = rest.map(|step| {
        Check::new(
            step,
            Err(Miss::needs("a certificate and a proof that can be read")),
        )
    });
    let checks = [Check::new(Step::Form, Err(miss))]
        .into_iter()
        .chain(rest)
        .collect();
    Verdict {
        accepted: false,
        level: None,
        recorded_grade: None,
        proved_grade: None,
        serial: None,
        chip: None,
        subject: None,
        checks,
    }
}
