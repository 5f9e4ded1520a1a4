//! A log as static files (C2SP tlog-tiles v0.1.0).

use crate::files::read_to;
use identity::DocumentHash;
use identity::support::{DIRECTORY, MAX_SUPPORT, file_name};
use std::io;
use std::path::{Path, PathBuf};
use translog::note::MAX_NOTE_BYTES;
use translog::proof::TileReader;
use translog::tile::BundleError;
use translog::tile::{
    BundleId, MAX_ENTRY_BYTES, Resource, Tile, TileError, TileId, Width, decode_entries,
};
use translog::tree::Hash;

/// A directory that holds `checkpoint` and `tile/…`, and in `documents/` what leaves name by hash only.
#[derive(Clone, Debug)]
pub struct LogDir {
    path: PathBuf,
}

/// A file of the log cannot be read, or is malformed.
#[derive(Debug, thiserror::Error)]
pub enum LogDirError {
    /// Not there or not readable.
    #[error("cannot read {resource}: {source}")]
    Unreadable {
        /// Path below the log's directory.
        resource: String,
        /// What the system said.
        source: io::Error,
    },
    /// Not a tile of its width.
    #[error("{resource}: {source}")]
    Tile {
        /// Path below the log's directory.
        resource: String,
        /// What is wrong with it.
        source: TileError,
    },
    /// Not a bundle of its width.
    #[error("{resource}: {source}")]
    Bundle {
        /// Path below the log's directory.
        resource: String,
        /// What is wrong with it.
        source: BundleError,
    },
}

impl LogDir {
    /// The log in this directory. Nothing is read yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Its signed checkpoint, unverified.
    ///
    /// # Errors
    /// [`LogDirError::Unreadable`]
    pub fn checkpoint(&self) -> Result<Vec<u8>, LogDirError> {
        self.read(Resource::Checkpoint, MAX_NOTE_BYTES)
    }

    /// The entries of a bundle. A partial bundle that was deleted once the full one existed is taken from that.
    ///
    /// # Errors
    /// [`LogDirError`]
    pub fn entries(&self, id: BundleId) -> Result<Vec<Vec<u8>>, LogDirError> {
        let (id, bytes) = match self.read_bundle(id) {
            Err(error) if error.is_absent() && !id.width().is_full() => {
                let full = BundleId::new(id.index(), Width::FULL);
                (full, self.read_bundle(full).ok().ok_or(error)?)
            }
            other => (id, other?),
        };
        let malformed = |source| LogDirError::Bundle {
            resource: id.to_string(),
            source,
        };
        Ok(decode_entries(&bytes, id.width())
            .map_err(malformed)?
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect())
    }

    /// The documents behind the leaf that names this one, as bytes.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn support(&self, document: &DocumentHash) -> io::Result<Vec<u8>> {
        let path = self.path.join(DIRECTORY).join(file_name(document));
        read_to(&path, u64::try_from(MAX_SUPPORT).unwrap_or(u64::MAX))
    }

    /// The partial tiles still kept at the place of this tile, narrower than it. They were published once, and must
    /// say what the tile says.
    pub(crate) fn earlier_partials(&self, id: TileId) -> Vec<TileId> {
        let Some(full) = TileId::new(id.level(), id.index(), Width::FULL) else {
            return Vec::new();
        };
        let widths = self.widths(&full.to_string(), id.width()).into_iter();
        widths
            .filter_map(|width| TileId::new(id.level(), id.index(), width))
            .collect()
    }

    /// The partial bundles still kept at the place of this bundle, narrower than it.
    pub(crate) fn earlier_bundles(&self, id: BundleId) -> Vec<BundleId> {
        let full = BundleId::new(id.index(), Width::FULL);
        let widths = self.widths(&full.to_string(), id.width()).into_iter();
        widths
            .map(|width| BundleId::new(id.index(), width))
            .collect()
    }

    /// Widths of the partial files kept beside a full one, below this one, the narrowest first.
    fn widths(&self, full: &str, below: Width) -> Vec<Width> {
        let names = std::fs::read_dir(self.path.join(format!("{full}.p")))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.file_name());
        let widths = names.filter_map(|name| Width::new(name.to_str()?.parse().ok()?));
        let mut widths: Vec<_> = widths.filter(|width| *width < below).collect();
        widths.sort_unstable();
        widths
    }

    fn read_bundle(&self, id: BundleId) -> Result<Vec<u8>, LogDirError> {
        self.read(
            Resource::Entries(id),
            id.width().hashes().saturating_mul(MAX_ENTRY_BYTES + 2),
        )
    }

    fn read_tile(&self, id: TileId) -> Result<Tile, LogDirError> {
        let bytes = self.read(
            Resource::Tile(id),
            Width::FULL.hashes().saturating_mul(Hash::SIZE),
        )?;
        Tile::from_bytes(&bytes, id.width()).map_err(|source| LogDirError::Tile {
            resource: id.to_string(),
            source,
        })
    }

    fn read(&self, resource: Resource, max: usize) -> Result<Vec<u8>, LogDirError> {
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        read_to(&self.path.join(resource.to_string()), max).map_err(|source| {
            LogDirError::Unreadable {
                resource: resource.to_string(),
                source,
            }
        })
    }
}

impl LogDirError {
    /// Whether the file is simply not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl TileReader for LogDir {
    type Error = LogDirError;

    /// As [`LogDir::entries`], a partial tile that is gone is taken from the full one.
    fn tile(&self, id: TileId) -> Result<Tile, LogDirError> {
        let error = match self.read_tile(id) {
            Err(error) if error.is_absent() && !id.width().is_full() => error,
            other => return other,
        };
        let full = TileId::new(id.level(), id.index(), Width::FULL)
            .and_then(|full| self.read_tile(full).ok());
        let hashes = full.and_then(|tile| {
            tile.hashes()
                .get(..id.width().hashes())
                .map(<[Hash]>::to_vec)
        });
        hashes
            .and_then(|hashes| Tile::new(hashes).ok())
            .ok_or(error)
    }
}
