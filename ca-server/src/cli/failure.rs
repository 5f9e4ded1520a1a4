use crate::admin::approval::ApprovalFileError;
use crate::admin::{ClientError, StationRequestError};
use crate::app::AppError;
use crate::ceremony::CeremonyError;
use crate::config::ConfigError;
use crate::issuance::StartError;
use crate::ledger::LedgerError;
use crate::policy::PolicyError;
use keyvault::VaultError;
use signer::SignerError;
use std::fmt;
use std::io;
use std::path::Path;
use tonic::Code;

/// Exit codes: what `status` says of the server, and those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well, or done.
    Done,
    /// The server issues, and something waits for a person.
    Alarm,
    /// Nothing is issued.
    Stopped,
    /// `EX_USAGE`: wrong command line.
    Usage,
    /// `EX_UNAVAILABLE`: a service, token or file is not there.
    Unavailable,
    /// `EX_TEMPFAIL`: the same command may succeed later.
    Temporary,
    /// `EX_NOPERM`: not permitted.
    Permission,
    /// `EX_CONFIG`: a configuration, policy or document is wrong.
    Configuration,
}

/// A command that did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What is wrong.
    pub what: String,
    /// What to do next.
    pub next: String,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Alarm => 1,
            Self::Stopped => 2,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Temporary => 75,
            Self::Permission => 77,
            Self::Configuration => 78,
        }
    }
}

impl Failure {
    /// A failure with what to do next.
    pub(super) fn new(exit: Exit, what: impl fmt::Display, next: &str) -> Self {
        Self {
            exit,
            what: what.to_string(),
            next: next.to_owned(),
        }
    }

    /// A file that cannot be read or written.
    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied {
            Exit::Permission
        } else {
            Exit::Unavailable
        };
        let what = format!("{}: {error}", path.display());
        let next = if error.kind() == io::ErrorKind::AlreadyExists {
            "nothing is written over; move that file away, or name another one"
        } else {
            "check the path, its owner and the free space"
        };
        Self::new(exit, what, next)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nTo do: {}", self.what, self.next)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let next = if matches!(error, ConfigError::Unreadable { .. }) {
            "name the settings with --config FILE; ca-server.example.toml shows what stands in them"
        } else {
            "compare it with ca-server.example.toml"
        };
        Self::new(Exit::Configuration, error, next)
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        let place = error.place.map(|place| format!(":{place}"));
        Self::new(
            Exit::Configuration,
            format!(
                "{}{}: {}",
                error.file.display(),
                place.unwrap_or_default(),
                error.fault
            ),
            error.fault.remedy(),
        )
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let exit = match &error {
            VaultError::Pin(_) => Exit::Permission,
            VaultError::Device { .. } => Exit::Temporary,
            VaultError::Module { .. }
            | VaultError::NotFound { .. }
            | VaultError::AlreadyExists { .. }
            | VaultError::Attribute { .. }
            | VaultError::Mechanism { .. }
            | VaultError::Request { .. }
            | VaultError::Internal { .. } => Exit::Unavailable,
        };
        Self::new(exit, &error, error.hint())
    }
}

impl From<CeremonyError> for Failure {
    fn from(error: CeremonyError) -> Self {
        match error {
            CeremonyError::Vault(error) => error.into(),
            CeremonyError::Disagree { .. } => {
                Self::new(Exit::Configuration, &error, &error.remedy())
            }
            CeremonyError::Held(_)
            | CeremonyError::Begun { .. }
            | CeremonyError::NotPrivate { .. } => {
                Self::new(Exit::Permission, &error, &error.remedy())
            }
            CeremonyError::Certificate(_)
            | CeremonyError::LogKey(_)
            | CeremonyError::Key(_)
            | CeremonyError::Document(_)
            | CeremonyError::Entropy
            | CeremonyError::Signer(_)
            | CeremonyError::Head(_)
            | CeremonyError::File { .. } => Self::new(Exit::Unavailable, &error, &error.remedy()),
        }
    }
}

impl From<StationRequestError> for Failure {
    fn from(error: StationRequestError) -> Self {
        let next = "have the station's agent write its request anew, for the station in the plan";
        Self::new(Exit::Configuration, error, next)
    }
}

impl From<ApprovalFileError> for Failure {
    fn from(error: ApprovalFileError) -> Self {
        match error {
            ApprovalFileError::Vault(error) => error.into(),
            ApprovalFileError::ForeignCard(_) => {
                let next = "put in the approver's own card, or give the name of the card's owner";
                Self::new(Exit::Permission, error, next)
            }
            ApprovalFileError::Unknown { .. } => {
                let next = "give the name of an approver, and the document of the right ceremony";
                Self::new(Exit::Configuration, error, next)
            }
            ApprovalFileError::Unreadable { path, error } => Self::file(&path, &error),
            ApprovalFileError::Pem(_)
            | ApprovalFileError::Form { .. }
            | ApprovalFileError::Key(_)
            | ApprovalFileError::WrongSignature
            | ApprovalFileError::Encoding(_) => {
                let next = "have the approver sign again with `ca-server approve`";
                Self::new(Exit::Configuration, error, next)
            }
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Connect { .. } => {
                let next = "start `ca-server serve`, and run this command as the server's own user";
                Self::new(Exit::Unavailable, &error, next)
            }
            ClientError::Refused(fault) if fault.retry_after_ms.is_some() => {
                Self::new(Exit::Temporary, &error, &fault.hint_en)
            }
            ClientError::Refused(fault) => Self::new(Exit::Permission, &error, &fault.hint_en),
            ClientError::NotDone { next, .. } => Self::new(Exit::Unavailable, &error, next),
            ClientError::Failed(status) => {
                let exit = if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) {
                    Exit::Temporary
                } else {
                    Exit::Unavailable
                };
                Self::new(exit, &error, "see the server's log, then try again")
            }
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Vault(error) => error.into(),
            AppError::NotHeld(_) => Self::new(
                Exit::Configuration,
                error,
                "hold the ceremony first: `ca-server init`. Of a CA that has held it, bring head file, signer's store and \
                 tokens here, then `ca-server restore` (docs/operations.md)",
            ),
            AppError::Artefacts(_)
            | AppError::LogKey(_)
            | AppError::Vkey(_)
            | AppError::Trust(_)
            | AppError::ForeignLogKey
            | AppError::SignerFile(_)
            | AppError::Tls(_)
            | AppError::Root(_) => Self::new(
                Exit::Configuration,
                error,
                "check that configuration, tokens and the ceremony's files belong together",
            ),
            AppError::Signer(SignerError::InUse(_)) => Self::new(
                Exit::Temporary,
                error,
                "a server runs already; `ca-server status` says how it is",
            ),
            AppError::Start(
                StartError::SignerAhead { .. } | StartError::Ledger(LedgerError::Ahead { .. }),
            ) => Self::new(
                Exit::Unavailable,
                error,
                "nothing is signed. Bring back the newest state or a newer backup, and change no other file; if there \
                 is none, this log ends (docs/operations.md, \"Older than what was published\")",
            ),
            AppError::Signer(_) | AppError::Start(_) | AppError::Begin(_) => Self::new(
                Exit::Unavailable,
                error,
                "nothing is issued; see docs/operations.md, and change no file before you know why",
            ),
            AppError::Unknown(_) => Self::new(
                Exit::Temporary,
                error,
                "start it again: it reads what became durable, and answers from that",
            ),
            AppError::System { .. } | AppError::Serve(_) => Self::new(
                Exit::Unavailable,
                error,
                "check addresses, directories and their owners",
            ),
        }
    }
}
