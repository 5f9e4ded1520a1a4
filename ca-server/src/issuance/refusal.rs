use identity::fault::Fault;
use std::fmt;

/// When to ask again a CA that people or a restart must mend first.
const MENDED_MS: u64 = 2000;

/// A typed refusal: nothing was changed but the record of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The numbered fault.
    pub fault: Fault,
    /// What exactly, for people; no secrets.
    pub detail: String,
    /// When the same request is worth sending again.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with its detail.
    #[must_use]
    pub fn new(fault: Fault, detail: impl fmt::Display) -> Self {
        Self {
            detail: detail.to_string(),
            ..Self::from(fault)
        }
    }

    /// One that will pass: the same request may be sent again after this time.
    #[must_use]
    pub fn passing(fault: Fault, detail: impl fmt::Display, retry_after_ms: u64) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(fault, detail)
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            detail: String::new(),
            retry_after_ms: passes(fault).then_some(MENDED_MS),
        }
    }
}

/// Faults that say nothing about the request: the same one is worth sending again once the CA is mended.
const fn passes(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Stopped | Fault::HsmUnavailable | Fault::StoreUnavailable | Fault::ClockBackward
    )
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => self.fault.fmt(f),
            detail => write!(f, "{}: {detail}", self.fault),
        }
    }
}

impl std::error::Error for Refusal {}
