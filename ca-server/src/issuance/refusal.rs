use crate::ledger::LedgerError;
use crate::store::StoreError;
use identity::fault::Fault;
use std::fmt;

/// When to ask again a CA that people or a restart must mend first.
const MENDED_MS: u64 = 2000;
/// When to ask again for what could not be read just now.
const READ_AGAIN_MS: u64 = 1000;

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

    /// What is stored could not be read, and nothing was decided by that: the same request is worth sending again, once a
    /// damaged page is mended or at once. What does not fit together gets no better by that.
    #[must_use]
    pub(crate) fn unread(error: impl Into<LedgerError>) -> Self {
        let error = error.into();
        if error.passes() {
            return Self::passing(Fault::StoreUnavailable, error, READ_AGAIN_MS);
        }
        let is_page = matches!(error, LedgerError::Store(StoreError::DamagedPage(_)));
        let fault = if is_page {
            Fault::StoreUnavailable
        } else {
            Fault::Internal
        };
        Self::new(fault, error)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_just_now_is_worth_asking_for_again_and_what_does_not_fit_is_not() {
        let told = |error: LedgerError| {
            let refusal = Refusal::unread(error);
            (refusal.fault, refusal.retry_after_ms)
        };
        let error = std::io::Error::other("no more files");
        let (path, unread) = ("tile/0/000".into(), Fault::StoreUnavailable);
        assert_eq!(
            told(LedgerError::File { path, error }),
            (unread, Some(1000))
        );
        let full = StoreError::Full(rusqlite::Error::InvalidQuery);
        assert_eq!(told(full.into()), (unread, Some(1000)));
        let page = StoreError::DamagedPage(rusqlite::Error::InvalidQuery);
        assert_eq!(told(page.into()), (unread, Some(MENDED_MS)));
        let claim = StoreError::Damaged("a request's claim is gone");
        assert_eq!(told(claim.into()), (Fault::Internal, None));
        let other = LedgerError::Differs("tile/0/000".into());
        assert_eq!(told(other), (Fault::Internal, None));
    }
}
