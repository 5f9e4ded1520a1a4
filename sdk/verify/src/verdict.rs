//! The verdict over one device: what was checked, what was found, and by whose word it holds.

use crate::reason::Reason;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// What came out of [`crate::verify_device`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether every check that must hold does. A unit bound and not yet confirmed is accepted at [`Level::Bound`]:
    /// whoever takes delivered devices only should use [`Self::requiring_confirmation`].
    pub accepted: bool,
    /// How far the device's history goes; `None` unless that history is this certificate's and in the log.
    pub level: Option<Level>,
    /// Name of the evidence's grade, as the log recorded it; `None` as for `level`.
    pub recorded_grade: Option<&'static str>,
    /// The same, if the evidence was judged here and earned it; `None` if the recorded grade is only the log's word.
    pub proved_grade: Option<&'static str>,
    /// Serial of the device, as the certificate says.
    pub serial: Option<String>,
    /// UID of the chip, lower-case hexadecimal, as the certificate says.
    pub chip: Option<String>,
    /// Subject of the fixed key in the log, lower-case hexadecimal; `None` as for `level`.
    pub subject: Option<String>,
    /// The steps, in order; each stands here once.
    pub checks: Vec<Check>,
}

/// How far a device's history goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Bound, not yet confirmed.
    Bound,
    /// The certificate was read back from the chip, and the chip signed for it.
    Confirmed,
    /// Voided or scrapped: never to be accepted.
    Voided,
}

/// One step of the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which step.
    pub step: Step,
    /// What came out.
    pub state: State,
    /// Why it failed or was not made; `None` if it held.
    pub code: Option<Reason>,
    /// Particulars, English: names what was compared and by whose word it holds.
    pub note: String,
}

/// With the words of the table beside the code: whoever reads the JSON has no table at hand.
impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.code.map(Reason::text);
        let mut check = serializer.serialize_struct("Check", 6)?;
        check.serialize_field("step", &self.step)?;
        check.serialize_field("state", &self.state)?;
        check.serialize_field("code", &self.code)?;
        check.serialize_field("reason", &text.map(|text| text.en))?;
        check.serialize_field("hint", &text.map(|text| text.hint_en))?;
        check.serialize_field("note", &self.note)?;
        check.end()
    }
}

/// Steps in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Certificate and proof can be read.
    Form,
    /// The certificate is issued under the root of the trust directory.
    Chain,
    /// It is an `IDevID`, and that of the product.
    Profile,
    /// The log permitted exactly this certificate.
    Leaf,
    /// The newest entry of the history is in the log.
    Proof,
    /// The opened fields are those of the entry and fit the certificate.
    Openings,
    /// The evidence of the key's origin holds.
    Evidence,
}

/// What came out of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It holds.
    Held,
    /// It does not hold.
    Failed,
    /// It could not be checked.
    NotChecked,
}

impl Verdict {
    /// Whether certificate or proof could not even be read.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.check(Step::Form)
            .is_some_and(|check| check.state == State::Failed)
    }

    /// The same verdict for those who take delivered devices only: it accepts nothing below [`Level::Confirmed`].
    #[must_use]
    pub fn requiring_confirmation(self) -> Self {
        let accepted = self.accepted && self.level == Some(Level::Confirmed);
        Self { accepted, ..self }
    }

    /// The line of one step.
    #[must_use]
    pub fn check(&self, step: Step) -> Option<&Check> {
        self.checks.iter().find(|check| check.step == step)
    }

    /// The first step that failed.
    #[must_use]
    pub fn first_failure(&self) -> Option<&Check> {
        self.checks
            .iter()
            .find(|check| check.state == State::Failed)
    }
}

impl Level {
    /// Stable lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Confirmed => "confirmed",
            Self::Voided => "voided",
        }
    }
}

impl Step {
    /// Stable lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Chain => "chain",
            Self::Profile => "profile",
            Self::Leaf => "leaf",
            Self::Proof => "proof",
            Self::Openings => "openings",
            Self::Evidence => "evidence",
        }
    }

    /// Whether a verdict may accept although this step was not checked.
    pub(crate) const fn may_be_unchecked(self) -> bool {
        match self {
            Self::Evidence => true,
            Self::Form
            | Self::Chain
            | Self::Profile
            | Self::Leaf
            | Self::Proof
            | Self::Openings => false,
        }
    }
}

/// A step that did not hold: failed, or not to be checked.
#[derive(Clone, Debug)]
pub(crate) struct Miss {
    state: State,
    reason: Reason,
    note: String,
}

impl Miss {
    pub(crate) fn failed(reason: Reason, note: impl Into<String>) -> Self {
        Self {
            state: State::Failed,
            reason,
            note: note.into(),
        }
    }

    pub(crate) fn not_checked(reason: Reason, note: impl Into<String>) -> Self {
        Self {
            state: State::NotChecked,
            reason,
            note: note.into(),
        }
    }

    /// Not checked, because what it needs is not known.
    pub(crate) fn needs(what: &str) -> Self {
        Self::not_checked(Reason::Needs, format!("needs {what}"))
    }
}

/// The first of the rules that does not hold, as a failed step: whether it holds, the reason, the particulars.
pub(crate) fn all_hold(rules: &[(bool, Reason, &str)]) -> Result<(), Miss> {
    match rules.iter().find(|(holds, _, _)| !holds) {
        Some((_, reason, note)) => Err(Miss::failed(*reason, *note)),
        None => Ok(()),
    }
}

impl Check {
    pub(crate) fn new(step: Step, outcome: Result<String, Miss>) -> Self {
        match outcome {
            Ok(note) => Self {
                step,
                state: State::Held,
                code: None,
                note,
            },
            Err(miss) => Self {
                step,
                state: miss.state,
                code: Some(miss.reason),
                note: miss.note,
            },
        }
    }

    /// Whether, as far as this step goes, the history is the certificate's and in the log. A voided one is.
    pub(crate) fn lets_history_speak(&self) -> bool {
        match (self.step, self.state, self.code) {
            (Step::Leaf, _, Some(Reason::Voided | Reason::ImpossibleHistory)) => true,
            (Step::Leaf | Step::Proof, state, _) => state == State::Held,
            (Step::Form | Step::Chain | Step::Profile | Step::Openings | Step::Evidence, _, _) => {
                true
            }
        }
    }

    pub(crate) fn permits(&self) -> bool {
        match self.state {
            State::Held => true,
            State::NotChecked => self.step.may_be_unchecked(),
            State::Failed => false,
        }
    }
}

/// A name from outside in quotation marks, safe to show: what steers terminals or turns text around is replaced.
pub(crate) fn quoted(name: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown: String = name
        .chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect();
    format!("‘{shown}’")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(
            quoted("Root\u{1b}[2J\u{202e}R1"),
            "‘Root\u{fffd}[2J\u{fffd}R1’"
        );
    }
}
