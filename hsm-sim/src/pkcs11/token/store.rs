//! The token file on the disk: read whole, replaced whole, one writer at a time.

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::codec::DAMAGED;
use super::file::TokenFile;
use crate::pkcs11::rv::Result;

/// Tells one written state of a file from another: every write makes a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// Where one token is kept.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    directory: PathBuf,
}

/// The right to replace any token of the directory, held against all other processes and threads.
#[derive(Debug)]
pub(super) struct WriteLock {
    /// Closing it gives the lock up.
    _file: File,
}

impl Store {
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        Self {
            path: directory.join(name),
            directory: directory.to_path_buf(),
        }
    }

    pub(super) fn exists(&self) -> Result<bool> {
        Ok(self.path.try_exists()?)
    }

    /// The stamp of the state on the disk.
    pub(super) fn stamp(&self) -> Result<Stamp> {
        Ok(Stamp::of(&fs::metadata(&self.path)?))
    }

    /// The state on the disk and its stamp.
    pub(super) fn load(&self) -> Result<(TokenFile, Stamp)> {
        let mut file = File::open(&self.path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok((TokenFile::decode(&bytes)?, stamp))
    }

    /// Waits for the right to write.
    pub(super) fn lock(&self) -> Result<WriteLock> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.directory.join("lock"))?;
        retry_on_intr(|| flock(&file, FlockOperation::LockExclusive)).map_err(io::Error::from)?;
        Ok(WriteLock { _file: file })
    }

    /// Replaces the file. If the power goes before the rename, the old state is there and the
    /// temporary file is overwritten by the next write; after it, the new one is.
    pub(super) fn save(&self, _lock: &WriteLock, token: &TokenFile) -> Result<Stamp> {
        let bytes = token.encode()?;
        let name = self.path.file_name().ok_or(DAMAGED)?;
        let mut temporary = self.directory.join(name);
        temporary.set_extension("new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        let stamp = Stamp::of(&file.metadata()?);
        fs::rename(&temporary, &self.path)?;
        File::open(&self.directory)?.sync_all()?;
        Ok(stamp)
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
