use super::LedgerError;
use identity::hash::sha256;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use translog::tree::Frontier;

const SLOT: usize = 56;

/// The newest head, outside the database and never part of a backup. Two slots, written in turn and flushed, so that
/// a torn write leaves the older one.
#[derive(Debug)]
pub struct HeadFile {
    path: PathBuf,
    file: File,
    newest: (u64, [u8; 32]),
}

impl HeadFile {
    /// Makes the file of a log that has no leaf yet. Once, at the ceremony.
    ///
    /// # Errors
    /// [`LedgerError::File`]: it is there already, or cannot be written.
    pub fn make(path: &Path) -> Result<(), LedgerError> {
        let root = *Frontier::new().root().as_bytes();
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|file| {
                file.write_all_at(&slot(0, &root), 0)?;
                file.sync_all()
            });
        written.map_err(|error| at(path, error))
    }

    /// Opens the file. One that is gone or empty is never made anew: a second log could begin under the same name.
    ///
    /// # Errors
    /// [`LedgerError::HeadFileMissing`], or [`LedgerError::File`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let missing = || LedgerError::HeadFileMissing(path.to_path_buf());
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            opened => opened.map_err(|error| at(path, error))?,
        };
        let mut bytes = [0; 2 * SLOT];
        let read = file
            .read_at(&mut bytes, 0)
            .map_err(|error| at(path, error))?;
        let slots = bytes.get(..read).unwrap_or_default().chunks_exact(SLOT);
        let newest = slots.filter_map(parse).max().ok_or_else(missing)?;
        let opened = Self {
            path: path.to_path_buf(),
            file,
            newest,
        };
        // If a flush failed before, it may stand in the system's memory only.
        opened.write_slot(opened.slot_of_newest()?, newest)?;
        Ok(opened)
    }

    /// Size and root that were written last.
    #[must_use]
    pub const fn newest(&self) -> (u64, [u8; 32]) {
        self.newest
    }

    /// Writes a head and flushes it. A head that stands there already costs nothing.
    ///
    /// # Errors
    /// [`LedgerError::File`]; the older slot is untouched.
    pub fn write(&mut self, size: u64, root: [u8; 32]) -> Result<(), LedgerError> {
        if self.newest == (size, root) {
            return Ok(());
        }
        // The slot that holds the older head is overwritten: sizes alternate between the two by count of writes.
        let other = 1 - self.slot_of_newest()?;
        self.write_slot(other, (size, root))?;
        self.newest = (size, root);
        Ok(())
    }

    fn write_slot(&self, number: usize, (size, root): (u64, [u8; 32])) -> Result<(), LedgerError> {
        let offset = u64::try_from(number * SLOT).unwrap_or_default();
        let written = self
            .file
            .write_all_at(&slot(size, &root), offset)
            .and_then(|()| self.file.sync_data());
        written.map_err(|error| at(&self.path, error))
    }

    fn slot_of_newest(&self) -> Result<usize, LedgerError> {
        let mut bytes = [0; SLOT];
        let read = self
            .file
            .read_at(&mut bytes, 0)
            .map_err(|error| at(&self.path, error))?;
        let first = bytes.get(..read).and_then(parse);
        Ok(usize::from(first != Some(self.newest)))
    }
}

/// size ‖ root ‖ 16 bytes of SHA-256 over both.
fn slot(size: u64, root: &[u8; 32]) -> Vec<u8> {
    let mut bytes = [size.to_be_bytes().as_slice(), root].concat();
    let check = sha256(&bytes);
    bytes.extend(check.iter().take(16));
    bytes
}

fn parse(bytes: &[u8]) -> Option<(u64, [u8; 32])> {
    let (size, rest) = bytes.split_first_chunk::<8>()?;
    let (root, _) = rest.split_first_chunk::<32>()?;
    let head = (u64::from_be_bytes(*size), *root);
    (slot(head.0, &head.1) == bytes).then_some(head)
}

fn at(path: &Path, error: std::io::Error) -> LedgerError {
    LedgerError::File {
        path: path.to_path_buf(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_older_head() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        HeadFile::make(&path).unwrap();
        let mut file = HeadFile::open(&path).unwrap();
        file.write(1, [1; 32]).unwrap();
        file.write(2, [2; 32]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0x40;
            std::fs::write(&path, &torn).unwrap();
            let newest = HeadFile::open(&path).unwrap().newest();
            assert!(newest == (1, [1; 32]) || newest == (2, [2; 32]));
        }
    }

    #[test]
    fn a_file_that_is_gone_is_never_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        let refused = || match HeadFile::open(&path) {
            Err(LedgerError::HeadFileMissing(named)) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        };
        refused();
        assert!(!path.exists());
        std::fs::write(&path, b"").unwrap();
        refused();
        assert!(HeadFile::make(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        HeadFile::make(&path).unwrap();
        assert_eq!(HeadFile::open(&path).unwrap().newest().0, 0);
    }
}
