//! One unit is one session: from a chip in a socket to a receipt on disk.
//!
//! | step | type after it | durable after it |
//! |---|---|---|
//! | identify, check | [`session::Checked`] | – |
//! | challenge, key | [`session::Keyed`] | request id, chip, key, evidence, serial: **before** the key goes to the chip |
//! | burn, try to read back | [`session::Burnt`] | the key in the chip |
//! | prove, seal | [`session::Sent`] | the envelope's bytes, before they are sent |
//! | provision, verify | [`session::Issued`] | – (what the CA answered is flushed with the confirmation) |
//! | write, read back | [`session::Written`] | the certificate in the chip |
//! | confirm on chip | [`session::Confirming`] | the confirmation's bytes, before they are sent |
//! | confirm at the CA, verify | [`session::Confirmed`] | certificate and receipt in `devices/`, record, newest checkpoint, all at once; then the verdict |
//!
//! While the CA cannot be reached a unit stays where it is, on hold, and goes on by itself ([`spool`]).
//!
//! After a power cut or a lost line, [`unit::run`] asks the chip who and how it is, and goes on behind the last step in
//! the journal: the same functions, with the same bytes.

pub mod adopt;
pub mod checks;
pub mod close;
pub mod floor;
pub mod inspect;
pub mod journal;
pub mod misfit;
pub mod scrap;
pub mod seen;
pub mod session;
pub mod share;
pub mod socket;
pub mod spool;
pub mod unit;
pub mod void;

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod tests;

use crate::config::Language;
use crate::display::past;
use crate::programmer::ProgrammerError;
use identity::ChipUid;
use identity::fault::Fault;
use identity::sources::EntropyError;
use journal::{ChipEnd, JournalError};
use keyvault::VaultError;
use koseki_device::Refusal;

/// Why a step was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}: {detail}")]
pub struct Failure {
    /// The numbered fault.
    pub fault: Fault,
    /// Particulars, English, for record and log.
    pub detail: String,
    /// Whether the line to the chip was lost: then asking the chip anew may mend it.
    pub chip_lost: bool,
    /// What became of the chip's unit before, where that is why.
    pub chip: Option<Box<ChipEnd>>,
}

/// Result of a step.
pub type Step<T> = Result<T, Failure>;

impl Failure {
    /// A fault with particulars.
    pub fn new(fault: Fault, detail: impl ToString) -> Self {
        Self {
            fault,
            detail: detail.to_string(),
            chip_lost: false,
            chip: None,
        }
    }

    /// A used chip, with what is known of its unit.
    pub(crate) fn used_chip(uid: &ChipUid, end: Option<ChipEnd>) -> Self {
        let detail = end.as_ref().map(|end| past::told(end, Language::En));
        let detail = detail.map_or_else(String::new, |told| format!(": {told}"));
        Self {
            chip: end.map(Box::new),
            ..Self::new(Fault::ChipNotBlank, format_args!("UID {uid}{detail}"))
        }
    }

    /// The failure as `fault`, if the chip refused; otherwise as the error itself says.
    pub(crate) fn of_chip(error: &ProgrammerError, fault: Fault) -> Self {
        match error {
            ProgrammerError::Refused(Refusal::Torn) => Self::new(Fault::ChipTorn, error),
            ProgrammerError::Refused(Refusal::NoChip) => Self::new(Fault::NoChip, error),
            ProgrammerError::Refused(Refusal::NoSession) => Self {
                chip_lost: true,
                ..Self::new(fault, error)
            },
            ProgrammerError::Refused(_) | ProgrammerError::Nonsense(_) => Self::new(fault, error),
            ProgrammerError::Silent(_) => Self {
                chip_lost: true,
                ..Self::new(Fault::NoChip, error)
            },
        }
    }
}

impl From<ProgrammerError> for Failure {
    fn from(error: ProgrammerError) -> Self {
        Self::of_chip(&error, Fault::ChipRefused)
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::new(Fault::Journal, error)
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self::new(Fault::LineHsm, error)
    }
}

impl From<EntropyError> for Failure {
    fn from(error: EntropyError) -> Self {
        Self::new(Fault::LineHsm, error)
    }
}
