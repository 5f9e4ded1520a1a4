//! A backup of the running server, and its return into an empty place.
//!
//! | file | what it is |
//! |---|---|
//! | `MANIFEST` | names every other file with length and SHA-256, and ends with the hash of itself |
//! | `ca.sqlite` | the store in one moment: leaves, documents, envelopes, bindings |
//! | `checkpoint` | the log's newest checkpoint when the copy began |
//! | `ceremony/` | certificates, ceremony document and log key, as `init` wrote them |
//!
//! What is never in it: the head file and the signer's store, because what they remember must not be rolled back with
//! the rest; tokens and PINs, because they are secrets; the log's tiles, because they are rebuilt from the rows. The
//! copy is no secret key, but it says which device is which: it is closed to everybody but the server's user.

mod examine;
mod make;
mod manifest;
mod restore;

pub use make::{Made, make};
pub use manifest::{Entry, Manifest, ManifestError};
pub use restore::{Restored, manifest_hash, restore};

use crate::ceremony::ArtefactError;
use crate::issuance::Refusal;
use crate::private::NotPrivate;
use crate::store::StoreError;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the store's copy.
const STORE: &str = "ca.sqlite";
/// Name of the checkpoint.
const CHECKPOINT: &str = "checkpoint";
/// Name of the ceremony's directory.
const CEREMONY: &str = "ceremony";
/// Name of the manifest.
const MANIFEST: &str = "MANIFEST";

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or directory cannot be used.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The target is there already, or holds something.
    #[error("{}: {what}", path.display())]
    Place {
        /// The target.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The directory in which the backup is to lie is not there.
    #[error("{}: no such directory", .0.display())]
    Above(PathBuf),
    /// A directory that others may read or write.
    #[error("{}: {error}", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Who may.
        error: String,
    },
    /// The log has not begun, or the store cannot be read.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The manifest is none.
    #[error("{}: {error}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// A file is not the one that the manifest names.
    #[error("{}: not what the manifest says: {what}", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// The store's copy cannot be opened or read.
    #[error("{}: {error}", path.display())]
    Store {
        /// The copy.
        path: PathBuf,
        /// What is wrong.
        error: StoreError,
    },
    /// The copy does not hold together.
    #[error("the copy of the store does not hold together: {0}")]
    Unsound(String),
    /// The ceremony's files cannot be used.
    #[error("{0}")]
    Artefacts(#[from] ArtefactError),
    /// Another ceremony's backup.
    #[error("{}: the backup is of another ceremony than the one that is here", .0.display())]
    OtherCeremony(PathBuf),
    /// The head file has seen more than the backup holds.
    #[error(
        "{}: a head of {head} leaves is known here, and the backup of {size} leaves does not hold it: it is older than what was published",
        path.display()
    )]
    Older {
        /// The head file.
        path: PathBuf,
        /// Leaves it knows of.
        head: u64,
        /// Leaves in the backup.
        size: u64,
    },
    /// The head file cannot be read.
    #[error("{0}")]
    Head(#[from] crate::ledger::LedgerError),
}

impl BackupError {
    fn file(path: &Path, error: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            error,
        }
    }

    fn place(path: &Path, what: &'static str) -> Self {
        Self::Place {
            path: path.to_owned(),
            what,
        }
    }

    fn not_private(path: &Path, error: &NotPrivate) -> Self {
        Self::NotPrivate {
            path: path.to_owned(),
            error: error.to_string(),
        }
    }

    /// What to do next.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::NotPrivate { .. } => {
                "check the path, its owner, its permissions and the free space"
            }
            Self::Place { .. } => {
                "name a directory that is not there yet; to restore, move what is in the place aside, never delete it"
            }
            Self::Above(_) => {
                "mount the disk, or make this directory: only the backup itself is made, so that it never fills another disk"
            }
            Self::Refused(_) => "see `ca-server status`",
            Self::Manifest { .. } | Self::Altered { .. } | Self::Unsound(_) => {
                "this backup is not to be trusted; take another, and find out what altered it"
            }
            Self::Store { .. } => "use the program that made the backup, or a newer one",
            Self::Artefacts(_) => "check the ceremony's files",
            Self::OtherCeremony(_) => "use the configuration of the CA that the backup was made of",
            Self::Older { .. } => {
                "restore a newer backup, or the state itself; with this one nothing would be signed. If there is none, \
                 the log ends here and a ceremony opens its successor (docs/operations.md)"
            }
            Self::Head(_) => "see docs/operations.md; without the head file nothing is signed",
        }
    }
}

impl From<Refusal> for BackupError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

/// Flushes a directory's names to the disk.
fn sync_directory(path: &Path) -> Result<(), BackupError> {
    std::fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| BackupError::file(path, error))
}
