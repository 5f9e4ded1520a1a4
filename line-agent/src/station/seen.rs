//! The newest checkpoint this station saw. Every request carries it, so that a CA whose log went back is found out.

use super::floor::lock;
use super::journal::JournalError;
use crate::files::{FileError, read_bounded, write_durably};
use identity::envelope::MAX_SEEN;
use koseki_verify::Trust;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The newest checkpoint, kept in `seen-checkpoint` in the state directory.
#[derive(Debug)]
pub struct SeenCheckpoint {
    path: PathBuf,
    newest: Mutex<Option<Vec<u8>>>,
    /// Size of the tree whose checkpoint is on the disk.
    saved: Mutex<Option<u64>>,
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
        let saved = newest.as_deref().and_then(size_of);
        if newest.is_some() && saved.is_none() {
            return Err(FileError::content(&path, "not a checkpoint"));
        }
        Ok(Self {
            path,
            newest: Mutex::new(newest),
            saved: Mutex::new(saved),
        })
    }

    /// Holds it against the log that is trusted. Damaged, or of a log before this one, it would have the CA refuse everything.
    ///
    /// # Errors
    /// [`JournalError::File`] says what to do.
    pub fn check(&self, trust: &Trust) -> Result<(), JournalError> {
        let Some(note) = self.newest() else {
            return Ok(());
        };
        trust.policy().open(&note).map(|_| ()).map_err(|error| {
            let what = format!(
                "not a checkpoint of the log in the trust directory ({error}); if the CA has begun another log, set this file aside, else restore it"
            );
            FileError::content(&self.path, what).into()
        })
    }

    /// The newest checkpoint, a signed note.
    #[must_use]
    pub fn newest(&self) -> Option<Vec<u8>> {
        lock(&self.newest).clone()
    }

    /// Notes the checkpoint of a `tlog-proof` that was verified, if it is newer. Requests carry it from now on; it outlives
    /// the program when it was saved, which every unit does at its end.
    pub fn note(&self, verified_proof: &[u8]) {
        let Some(note) = checkpoint_of(verified_proof) else {
            return;
        };
        let mut newest = lock(&self.newest);
        if note.len() <= MAX_SEEN && size_of(note) > newest.as_deref().and_then(size_of) {
            *newest = Some(note.to_vec());
        }
    }

    /// Whether a newer checkpoint was noted than the one on the disk.
    #[must_use]
    pub fn is_unsaved(&self) -> bool {
        let newest = lock(&self.newest).as_deref().and_then(size_of);
        newest > *lock(&self.saved)
    }

    /// Puts the newest on the disk. Whoever waits while another saves finds his own saved with it, or saves it then.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn save(&self) -> Result<(), FileError> {
        let mut saved = lock(&self.saved);
        let newest = self.newest();
        let size = newest.as_deref().and_then(size_of);
        if let Some(note) = newest
            && size > *saved
        {
            write_durably(&self.path, &note)?;
            *saved = size;
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
            seen.note(&proof(size));
            assert_eq!(seen.is_unsaved(), size != 2);
            seen.save().unwrap();
            assert!(!seen.is_unsaved());
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
