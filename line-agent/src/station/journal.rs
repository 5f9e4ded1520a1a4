//! The write-ahead journal: what a power cut must not lose, on disk before the step that needs it.
//!
//! One file, `journal`, one line an entry:
//! ```text
//! <16 hexadecimal digits> <JSON>\n
//! ```
//! The digits are the first 8 bytes of SHA-256(digest of the line before ‖ JSON); before the first line stands the
//! digest of `koseki/journal/v1\n`. A line is flushed before [`Journal::append`] returns. A power cut can therefore
//! tear only the last line (a part of it, or zeros in its place): it was not acknowledged, and is cut off. Anything
//! else that does not fit, anywhere, is damage, and the journal is refused.

mod form;
mod history;

pub use form::{Closed, Entry, Event, IssuedFacts, Keyed, SignedRequest};
pub use history::{History, KnownChip, OpenUnit};

use crate::files::{FileError, ensure_directory, sync_directory};
use identity::hash::{Sink as _, sha256_of};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest line in bytes; an envelope of one unit is below 4 KiB.
const MAX_LINE: usize = 64 * 1024;
const DIGITS: usize = 16;
const START: &[u8] = b"koseki/journal/v1\n";

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another agent has it open.
    #[error("{}: another agent works with this journal", .0.display())]
    Busy(PathBuf),
    /// A line before the last, or a whole last line, is not what was written.
    #[error("{}: line {line} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What does not fit.
        reason: String,
    },
    /// An earlier write failed, so that the end of the file is unknown; the program must start again.
    #[error("an earlier write to the journal failed")]
    Broken,
}

/// The open journal, shared by all sockets.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    digest: [u8; 32],
    history: History,
    broken: bool,
}

impl Journal {
    /// Opens the journal in `state`, or begins it, and locks it for the life of the process.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn open(state: &Path) -> Result<Self, JournalError> {
        ensure_directory(state)?;
        let path = state.join("journal");
        let mut file = open_locked(&path)?;
        sync_directory(state)?;
        let replay = Replay::of_file(&mut file, &path)?;
        // If the power goes now the torn line is still there, and is cut off again.
        file.set_len(replay.good)
            .and_then(|()| file.sync_all())
            .map_err(FileError::io(&path))?;
        let inner = Inner {
            file,
            digest: replay.digest,
            history: replay.history,
            broken: false,
        };
        Ok(Self {
            path,
            inner: Mutex::new(inner),
        })
    }

    /// What the journal in `state` says now, nothing if there is none; without locking it, for another agent may be at
    /// work.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn peek(state: &Path) -> Result<History, JournalError> {
        let path = state.join("journal");
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
            opened => opened.map_err(FileError::io(&path))?,
        };
        Replay::of_file(&mut file, &path).map(|replay| replay.history)
    }

    /// Writes an entry. When this returns `Ok`, the entry outlives a power cut; after an error nothing is known of it,
    /// and nothing more is written.
    ///
    /// # Errors
    /// [`JournalError::File`], then [`JournalError::Broken`].
    pub fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        let json =
            serde_json::to_string(entry).map_err(|error| FileError::content(&self.path, error))?;
        let mut inner = self.lock();
        if inner.broken {
            return Err(JournalError::Broken);
        }
        let digest = chain(&inner.digest, json.as_bytes());
        let line = format!("{} {json}\n", digits(&digest));
        inner.broken = true;
        let file = &mut inner.file;
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(FileError::io(&self.path))?;
        inner.broken = false;
        inner.digest = digest;
        inner
            .history
            .apply(entry)
            .map_err(|reason| FileError::content(&self.path, reason).into())
    }

    /// Asks what the journal knows.
    pub fn with<T>(&self, ask: impl FnOnce(&History) -> T) -> T {
        ask(&self.lock().history)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_locked(path: &Path) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(FileError::io(path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Busy(path.to_owned())),
        Err(error) => Err(FileError::io(path)(error.into()).into()),
    }
}

/// What a journal's bytes say.
struct Replay {
    history: History,
    digest: [u8; 32],
    /// Bytes up to the end of the last good line.
    good: u64,
}

impl Replay {
    fn of_file(file: &mut File, path: &Path) -> Result<Self, JournalError> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(FileError::io(path))?;
        Self::read(&bytes).map_err(|(line, reason)| JournalError::Damaged {
            path: path.to_owned(),
            line,
            reason,
        })
    }

    fn read(bytes: &[u8]) -> Result<Self, (usize, String)> {
        let mut replay = Self {
            history: History::default(),
            digest: sha256_of(|h| h.put(START)),
            good: 0,
        };
        for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if is_torn(line) {
                // Nothing can follow: a line without end is the last, and zeros end no line.
                break;
            }
            replay.take(line).map_err(|reason| (at + 1, reason))?;
        }
        Ok(replay)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text.len() > MAX_LINE {
            return Err("longer than any entry".to_owned());
        }
        let (head, json) = text.split_at_checked(DIGITS).ok_or("too short")?;
        let json = json.strip_prefix(b" ").ok_or("no blank after the digest")?;
        let digest = chain(&self.digest, json);
        if head != digits(&digest).as_bytes() {
            return Err("the digest does not fit".to_owned());
        }
        let entry: Entry = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        self.history.apply(&entry)?;
        self.digest = digest;
        self.good += u64::try_from(line.len()).unwrap_or_default();
        Ok(())
    }
}

/// A line that was being written when the power went: it has no end, be it cut short or zeros.
fn is_torn(line: &[u8]) -> bool {
    !line.ends_with(b"\n")
}

fn chain(before: &[u8; 32], json: &[u8]) -> [u8; 32] {
    sha256_of(|hasher| {
        hasher.put(before);
        hasher.put(json);
    })
}

fn digits(digest: &[u8; 32]) -> String {
    hex::encode(digest.first_chunk::<8>().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::form::samples::{closed, issued, keyed, request, sent};
    use super::*;

    fn written() -> (tempfile::TempDir, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        for entry in [keyed(1), sent(1), issued(1), keyed(2), closed(1)] {
            journal.append(&entry).unwrap();
        }
        let bytes = std::fs::read(directory.path().join("journal")).unwrap();
        (directory, bytes)
    }

    fn reopen(bytes: &[u8]) -> Result<Journal, JournalError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("journal"), bytes).unwrap();
        Journal::open(directory.path())
    }

    #[test]
    fn what_was_appended_is_known_after_opening_again() {
        let (_keep, bytes) = written();
        let journal = reopen(&bytes).unwrap();
        let open = journal.with(|history| history.open_units().cloned().collect::<Vec<_>>());
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].request, request(2));
    }

    #[test]
    fn a_line_torn_at_any_byte_is_cut_off_and_the_rest_stands() {
        let (_keep, bytes) = written();
        let ends: Vec<usize> = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1)
            .collect();
        for cut in 0..bytes.len() {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("journal");
            std::fs::write(&path, &bytes[..cut]).unwrap();
            drop(Journal::open(directory.path()).unwrap());
            let whole = ends
                .iter()
                .copied()
                .filter(|end| *end <= cut)
                .max()
                .unwrap_or(0);
            assert_eq!(
                std::fs::read(&path).unwrap(),
                bytes[..whole],
                "cut at {cut}"
            );
        }
        let last = ends[ends.len() - 2];
        let mut zeros = bytes[..last].to_vec();
        zeros.resize(bytes.len(), 0);
        reopen(&zeros).unwrap();
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (_keep, bytes) = written();
        let last_end = bytes.len() - 1;
        for at in (0..last_end).step_by(3) {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(
                matches!(reopen(&altered), Err(JournalError::Damaged { .. })),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_line_taken_out_or_moved_is_noticed() {
        let (_keep, bytes) = written();
        let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        lines.swap(1, 2);
        assert!(matches!(
            reopen(&lines.concat()),
            Err(JournalError::Damaged { line: 2, .. })
        ));
        lines.remove(0);
        assert!(matches!(
            reopen(&lines.concat()),
            Err(JournalError::Damaged { line: 1, .. })
        ));
    }

    #[test]
    fn a_second_agent_is_kept_out() {
        let (directory, _) = written();
        let journal = Journal::open(directory.path()).unwrap();
        assert!(matches!(
            Journal::open(directory.path()),
            Err(JournalError::Busy(_))
        ));
        drop(journal);
        Journal::open(directory.path()).unwrap();
    }

    #[test]
    fn the_form_of_a_line() {
        let (_keep, bytes) = written();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            include_str!("../../golden/journal")
        );
    }
}
