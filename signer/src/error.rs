//! Why the signer could not be opened, and why it did not sign.

use crate::code::{Code, Reach};
use identity::idevid::IdevidError;
use std::path::PathBuf;
use translog::checkpoint::TrustError;
use translog::note::VerifierKeyError;

/// Why the signer was not opened.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The log key is no key of a log.
    #[error("log key: {0}")]
    LogKey(#[from] VerifierKeyError),
    /// The log cannot be trusted under this origin and key.
    #[error("log: {0}")]
    Log(#[from] TrustError),
    /// The issuing CA's certificate is not fit.
    #[error("issuing certificate: {0}")]
    Certificate(#[from] IdevidError),
    /// The key handed over is not the one in the issuing CA's certificate.
    #[error("the CA key is not the key of the issuing certificate")]
    ForeignKey,
    /// The store is open in another process, and never in two.
    #[error("the signer's store {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The store could not be opened, read or created.
    #[error("store {}: {error}", path.display())]
    Store {
        /// File of the store.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        error: rusqlite::Error,
    },
    /// The store could not be made: the file is there already, for instance.
    #[error("store {}: {error}", path.display())]
    StoreNotMade {
        /// File of the store.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// The store is gone or empty. It is made once, at the ceremony.
    #[error("the signer's store {} is missing or empty; without its memory nothing is signed", .0.display())]
    StoreMissing(PathBuf),
    /// The store was written by a newer release.
    #[error("the store has version {found}; this release knows {known}")]
    NewerStore {
        /// Version of the store.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// The store belongs to another log or another CA key.
    #[error(
        "the store is of log {origin:?} with another origin, log key or CA key than the configuration"
    )]
    OtherStore {
        /// Origin of the store's log.
        origin: String,
    },
    /// The store contradicts itself.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Longest explanation in characters.
const MAX_TEXT: usize = 400;

/// Why an item, or a whole exchange, was not signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) text: String,
}

impl Fault {
    /// The code's own text.
    pub(crate) fn bare(code: Code) -> Self {
        Self {
            code,
            text: code.row().text.to_owned(),
        }
    }

    /// The code's text and what was found.
    pub(crate) fn new(code: Code, detail: impl core::fmt::Display) -> Self {
        let text = format!("{}: {detail}", code.row().text);
        Self {
            code,
            text: text.chars().take(MAX_TEXT).collect(),
        }
    }

    /// Whether the neighbours of the item may still be signed.
    pub(crate) fn is_of_item(&self) -> bool {
        self.code.reach() == Reach::Item
    }
}

/// A failed statement: the transaction is rolled back and nothing has changed. A damaged page stays damaged.
impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match pages::is_damage(&error) {
            true => Self::new(Code::StoreDamaged, error),
            false => Self::new(Code::StoreFailed, error),
        }
    }
}

/// Leaves with this code unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $code:expr $(,)?) => {
        if !$holds {
            return Err($crate::error::Fault::bare($code));
        }
    };
}
pub(crate) use ensure;
