//! The newest checkpoint this station saw. Every request carries it, so that a CA whose log went back is found out.

use super::floor::lock;
use crate::files::{FileError, read_bounded, write_durably};
use identity::envelope::MAX_SEEN;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The newest checkpoint, kept in `seen-checkpoint` in the state directory.
#[derive(Debug)]
pub struct SeenCheckpoint {
    path: PathBuf,
    newest: Mutex<Option<Vec<u8>>>,
}

impl SeenCheckpoint {
    /// Reads what was seen before.
    ///
    /// # Errors
    /// [`FileError`]; also if the file is no checkpoint.
    pub fn open(state: &Path) -> Result<Self, FileError> {
        let path = state.join("seen-checkpoint");
        let newest = match path.exists() {
            false => None,
            true => Some(read_bounded(&path, MAX_SEEN)?),
        };
        if newest.as_ref().is_some_and(|note| size_of(note).is_none()) {
            return Err(FileError::content(&path, "not a checkpoint"));
        }
        Ok(Self {
            path,
            newest: Mutex::new(newest),
        })
    }

    /// The newest checkpoint, a signed note.
    #[must_use]
    pub fn newest(&self) -> Option<Vec<u8>> {
        lock(&self.newest).clone()
    }

    /// Keeps the checkpoint of a `tlog-proof` that was verified, if it is newer.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn keep(&self, verified_proof: &[u8]) -> Result<(), FileError> {
        let Some(note) = checkpoint_of(verified_proof) else {
            return Ok(());
        };
        let mut newest = lock(&self.newest);
        if note.len() <= MAX_SEEN && size_of(note) > newest.as_deref().and_then(size_of) {
            write_durably(&self.path, note)?;
            *newest = Some(note.to_vec());
        }
        Ok(())
    }
}

/// The checkpoint of a `tlog-proof`: everything behind the first empty line (C2SP tlog-proof).
fn checkpoint_of(proof: &[u8]) -> Option<&[u8]> {
    let blank = proof.windows(2).position(|pair| pair == b"\n\n")?;
    proof.get(blank + 2..)
}

/// The tree's size: second line of a checkpoint (C2SP tlog-checkpoint).
fn size_of(note: &[u8]) -> Option<u64> {
    let line = note.split(|byte| *byte == b'\n').nth(1)?;
    std::str::from_utf8(line).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(size: u64) -> Vec<u8> {
        format!("c2sp.org/tlog-proof@v1\nindex 1\n\norigin\n{size}\nroot\n\n— origin sig\n")
            .into_bytes()
    }

    #[test]
    fn only_a_newer_checkpoint_is_kept_and_it_is_there_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let seen = SeenCheckpoint::open(state.path()).unwrap();
        assert_eq!(seen.newest(), None);
        for size in [9, 10, 2] {
            seen.keep(&proof(size)).unwrap();
        }
        let again = SeenCheckpoint::open(state.path())
            .unwrap()
            .newest()
            .unwrap();
        assert!(again.starts_with(b"origin\n10\nroot\n\n"));
    }

    #[test]
    fn a_file_that_is_no_checkpoint_is_refused() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("seen-checkpoint"), "origin\nx\n").unwrap();
        SeenCheckpoint::open(state.path()).unwrap_err();
    }
}
