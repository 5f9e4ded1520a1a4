//! Verdicts over units, and the exit codes of the program.

use identity::fault::{Blame, Fault};
use std::process::ExitCode;

/// What became of one unit; ordered, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Certified, confirmed, receipt stored.
    Pass,
    /// Nothing is wrong with the unit; it stays in its socket and goes on by itself later.
    Hold,
    /// The unit is put aside.
    Fail,
    /// A person or a power switch stopped the station in the middle; the unit goes on later.
    Abort,
    /// The station or the CA cannot be trusted to go on.
    Error,
}

impl Verdict {
    /// All verdicts, the worst last.
    pub const ALL: [Self; 5] = [Self::Pass, Self::Hold, Self::Fail, Self::Abort, Self::Error];

    /// The verdict that a fault leads to.
    #[must_use]
    pub const fn of(fault: Fault) -> Self {
        match fault.blame() {
            _ if matches!(fault, Fault::Interrupted) => Self::Abort,
            // The chip on record is fine; it is only not here.
            _ if matches!(fault, Fault::ChipSwapped) => Self::Hold,
            _ if is_broken_station(fault) => Self::Error,
            Blame::Unit => Self::Fail,
            Blame::Station | Blame::Policy | Blame::Ca => Self::Hold,
            Blame::Peer => Self::Error,
        }
    }

    /// Stable upper-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Hold => "HOLD",
            Self::Fail => "FAIL",
            Self::Abort => "ABORT",
            Self::Error => "ERROR",
        }
    }

    /// Reads [`Self::name`] back.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }

    /// Whether the unit is done and may leave its socket.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Pass | Self::Fail)
    }

    /// Exit code of a lot whose worst unit this is.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Hold => 20,
            Self::Fail => 30,
            Self::Abort => 40,
            Self::Error => 50,
        }
    }
}

/// Faults after which the station itself cannot be relied on.
const fn is_broken_station(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::ProofInvalid
            | Fault::LineHsm
            | Fault::Journal
            | Fault::Config
            | Fault::LotFile
            | Fault::StationExpired
            | Fault::StationUnknown
            | Fault::AgentAltered
            | Fault::AgentNotApproved
    )
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Units were worked on; the worst verdict counts.
    Lot(Verdict),
    /// Done.
    Done,
    /// Wrong arguments (sysexits `EX_USAGE`).
    Usage,
    /// The lot file is wrong (`EX_DATAERR`).
    Data,
    /// HSM, CA or programmer cannot be reached (`EX_UNAVAILABLE`).
    Unavailable,
    /// A file cannot be written (`EX_IOERR`).
    Io,
    /// Another agent runs on this journal: try again later (`EX_TEMPFAIL`).
    Busy,
    /// A PIN or a permission is refused (`EX_NOPERM`).
    Refused,
    /// The settings are wrong (`EX_CONFIG`).
    Config,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Lot(verdict) => verdict.exit_code(),
            Self::Done => 0,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Io => 74,
            Self::Busy => 75,
            Self::Refused => 77,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_table() {
        let verdicts: Vec<_> = Verdict::ALL
            .iter()
            .map(|verdict| (verdict.name(), verdict.exit_code()))
            .collect();
        assert_eq!(
            verdicts,
            [
                ("PASS", 0),
                ("HOLD", 20),
                ("FAIL", 30),
                ("ABORT", 40),
                ("ERROR", 50)
            ]
        );
        let others = [
            Exit::Usage,
            Exit::Data,
            Exit::Unavailable,
            Exit::Io,
            Exit::Busy,
            Exit::Refused,
            Exit::Config,
        ];
        assert_eq!(others.map(Exit::code), [64, 65, 69, 74, 75, 77, 78]);
        assert!(Verdict::ALL.is_sorted_by_key(|verdict| verdict.exit_code()));
    }

    #[test]
    fn every_fault_leads_to_one_verdict() {
        let of = |fault| Verdict::of(fault).name();
        assert_eq!(of(Fault::CaUnreachable), "HOLD");
        assert_eq!(of(Fault::UidSeen), "FAIL");
        assert_eq!(of(Fault::ChipSwapped), "HOLD");
        assert_eq!(of(Fault::Interrupted), "ABORT");
        assert_eq!(of(Fault::ProofInvalid), "ERROR");
        assert_eq!(of(Fault::StationExpired), "ERROR");
        assert_eq!(of(Fault::GrantUsedUp), "HOLD");
        assert_eq!(of(Fault::Voided), "FAIL");
        assert!(
            Fault::ALL
                .iter()
                .all(|fault| Verdict::of(*fault) != Verdict::Pass)
        );
    }
}
