use crate::ledger::LedgerError;
use identity::document::WireError;
use identity::key::KeyError;
use keyvault::VaultError;
use keyvault::rcgen_key::RcgenFault;
use signer::SignerError;
use std::io;
use std::path::PathBuf;

/// Why the ceremony was not held.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// Plan and configuration speak of different tokens or keys.
    #[error("{key} is {configured:?} in the configuration and {planned:?} in the plan")]
    Disagree {
        /// Key of the configuration.
        key: &'static str,
        /// Its value there.
        configured: String,
        /// Its value in the plan.
        planned: String,
    },
    /// The ceremony was held; nothing was changed.
    #[error("the ceremony has been held: {} is there", .0.display())]
    Held(PathBuf),
    /// A ceremony was begun and broke off, or the tokens belong to another one; nothing was changed.
    #[error("a ceremony was begun before: {}", left(tokens, files))]
    Begun {
        /// Tokens of the plan that are there.
        tokens: Vec<String>,
        /// Files that are there.
        files: Vec<PathBuf>,
    },
    /// The HSM refused or failed.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The log's key cannot be used.
    #[error("log key: {0}")]
    LogKey(&'static str),
    /// A public key from a token cannot be used.
    #[error("public key: {0}")]
    Key(#[from] KeyError),
    /// The ceremony document breaks a rule.
    #[error("ceremony document: {0}")]
    Document(#[from] WireError),
    /// The signer's store could not be made.
    #[error("signer: {0}")]
    Signer(#[from] SignerError),
    /// The head file could not be made.
    #[error("{0}")]
    Head(#[from] LedgerError),
    /// The source of randomness failed.
    #[error("the source of randomness failed")]
    Entropy,
    /// A file or directory could not be written or read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A directory of PINs or of what must not be rolled back is not private.
    #[error("{}: {why}", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

impl CeremonyError {
    /// What to do next.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Disagree { .. } => "make plan and configuration agree".to_owned(),
            Self::Held(_) => "go on with `ca-server serve`; a ceremony is held once".to_owned(),
            Self::Begun { tokens, files } => undo(tokens, files),
            Self::Vault(error) => error.hint().to_owned(),
            Self::NotPrivate { path, .. } => format!(
                "see that {} is this user's and closed to others, and that nobody put files into it",
                path.display()
            ),
            Self::File { .. } | Self::Head(_) | Self::Signer(_) => "check the path, its owner and the free space".to_owned(),
            Self::Certificate(_)
            | Self::LogKey(_)
            | Self::Key(_)
            | Self::Document(_)
            | Self::Entropy => {
                "keep the message; remove what this run made, as a new run will list it, and begin anew"
                    .to_owned()
            }
        }
    }
}

impl From<RcgenFault> for CeremonyError {
    fn from(fault: RcgenFault) -> Self {
        match fault {
            RcgenFault::Vault(error) => Self::Vault(error),
            RcgenFault::Contents(error) => Self::Certificate(error.to_string()),
        }
    }
}

impl From<rcgen::Error> for CeremonyError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

impl From<der::Error> for CeremonyError {
    fn from(error: der::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

impl From<x509_cert::builder::Error> for CeremonyError {
    fn from(error: x509_cert::builder::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

fn left(tokens: &[String], files: &[PathBuf]) -> String {
    let tokens = tokens.iter().map(|token| format!("token {token}"));
    let files = files.iter().map(|file| file.display().to_string());
    tokens.chain(files).collect::<Vec<_>>().join(", ")
}

fn undo(tokens: &[String], files: &[PathBuf]) -> String {
    format!(
        "if certificates were ever issued with these tokens, stop and restore {}; otherwise remove exactly {} \
         (SoftHSM: softhsm2-util --delete-token --token LABEL) and begin anew; PIN files may stay",
        "the ceremony directory from its copy",
        left(tokens, files)
    )
}
