use super::LedgerError;
use identity::hash::sha256;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

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
    /// Opens the file; makes an empty one only if `may_create`.
    ///
    /// # Errors
    /// [`LedgerError::HeadFileMissing`], or [`LedgerError::File`].
    #[expect(
        clippy::fn_params_excessive_bools,
        reason = "whether the store is empty is a yes or no"
    )]
    pub fn open(path: &Path, may_create: bool) -> Result<Self, LedgerError> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(may_create)
            .truncate(false)
            .open(path);
        let file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound && !may_create => {
                return Err(LedgerError::HeadFileMissing(path.to_path_buf()));
            }
            opened => opened.map_err(|error| at(path, error))?,
        };
        let mut bytes = [0; 2 * SLOT];
        let read = file
            .read_at(&mut bytes, 0)
            .map_err(|error| at(path, error))?;
        let slots = bytes.get(..read).unwrap_or_default().chunks_exact(SLOT);
        let newest = slots.filter_map(parse).max().unwrap_or((0, [0; 32]));
        if newest.0 == 0 && !may_create {
            return Err(LedgerError::HeadFileMissing(path.to_path_buf()));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            newest,
        })
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
        let offset = if self.slot_of_newest()? == 0 { SLOT } else { 0 };
        let offset = u64::try_from(offset).unwrap_or_default();
        let written = self
            .file
            .write_all_at(&slot(size, &root), offset)
            .and_then(|()| self.file.sync_data());
        written.map_err(|error| at(&self.path, error))?;
        self.newest = (size, root);
        Ok(())
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
        let mut file = HeadFile::open(&path, true).unwrap();
        file.write(1, [1; 32]).unwrap();
        file.write(2, [2; 32]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0x40;
            std::fs::write(&path, &torn).unwrap();
            let newest = HeadFile::open(&path, false).unwrap().newest();
            assert!(newest == (1, [1; 32]) || newest == (2, [2; 32]));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            HeadFile::open(&path, false),
            Err(LedgerError::HeadFileMissing(_))
        ));
    }
}
