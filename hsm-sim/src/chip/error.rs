//! What goes wrong around simulated chips.

use identity::text::TextError;
use koseki_device::Refusal;
use std::io;
use std::path::{Path, PathBuf};

/// What went wrong, and with which file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChipError {
    /// A file or a line failed.
    #[error("{path}: {source}")]
    Io {
        /// The file, address or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a chip of this simulator.
    #[error("{0}: not a chip file")]
    NotAChip(PathBuf),
    /// Another process holds the chip.
    #[error("{0}: another process has this chip in a socket")]
    InUse(PathBuf),
    /// The file is not what it should be.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A part number or identifier that is none.
    #[error("{0}")]
    Name(#[from] TextError),
    /// The identifiers asked for do not fit into their bytes.
    #[error("the identifiers do not fit into {bytes} bytes")]
    UidRange {
        /// Bytes of an identifier.
        bytes: usize,
    },
    /// The chip does not wake up.
    #[error("{path}: the chip does not wake up: {refusal}")]
    PowerOn {
        /// The chip's file.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// A key could not be made, read or written.
    #[error("vendor's key: {0}")]
    Key(String),
}

impl ChipError {
    /// For `map_err` on what a file or a line does.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
