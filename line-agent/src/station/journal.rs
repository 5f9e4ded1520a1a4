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
//!
//! A journal whose entries have grown long is written anew when it is opened: the entries of open units, then
//! [`Summary`] lines of what is done, beside the old file, flushed, and put in its place by one rename. The lock is a file of
//! its own, `journal.lock`, because it must outlive that.

mod done;
mod ends;
mod form;
mod history;
mod rework;

pub use ends::Boards;
#[cfg(test)]
pub(crate) use form::samples;
pub use form::{
    Aside, ChipEnd, Closed, DoneChip, Earlier, Entry, Event, FailedUnit, HexHash, HexRequest,
    HexUid, IssuedFacts, Keyed, KnownChip, Reseated, Resumable, Scrapping, SignedRequest, Summary,
    TextSerial,
};
pub use history::{History, OpenUnit};

use crate::files::{FileError, ensure_directory, flush_data, sync_directory, write_durably};
use identity::hash::{Sink as _, sha256_of};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest line in bytes; an envelope of one unit is below 4 KiB.
const MAX_LINE: usize = 64 * 1024;
const DIGITS: usize = 16;
/// How a summary's JSON begins; no entry's does.
const SUMMARY: &[u8] = br#"{"sum":"#;
/// Bytes of entries from which a journal is compacted: some hundred units.
const COMPACT_ABOVE: u64 = 1024 * 1024;
const LOCK: &str = "journal.lock";
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
    /// Held for the life of the process.
    _lock: File,
}

impl Journal {
    /// Opens the journal in `state`, or begins it, and locks it for the life of the process. One that has grown long
    /// is compacted.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn open(state: &Path) -> Result<Self, JournalError> {
        Self::open_compacting(state, COMPACT_ABOVE)
    }

    fn open_compacting(state: &Path, above: u64) -> Result<Self, JournalError> {
        ensure_directory(state)?;
        let path = state.join("journal");
        let lock = lock(&state.join(LOCK), &path)?;
        let mut file = open_append(&path)?;
        sync_directory(state)?;
        let mut replay = Replay::of_file(&mut file, &path)?;
        // If the power goes now the torn line is still there, and is cut off again.
        file.set_len(replay.good)
            .and_then(|()| file.sync_all())
            .map_err(FileError::io(&path))?;
        if replay.entries > above {
            let (bytes, digest) =
                compact(&replay.history).map_err(|error| FileError::content(&path, error))?;
            write_durably(&path, &bytes)?;
            (file, replay.digest) = (open_append(&path)?, digest);
        }
        let inner = Inner {
            file,
            digest: replay.digest,
            history: replay.history,
            broken: false,
            _lock: lock,
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

    /// Whether an agent works with the journal in `state` now.
    ///
    /// # Errors
    /// [`JournalError::File`]
    pub fn is_in_use(state: &Path) -> Result<bool, JournalError> {
        let path = state.join(LOCK);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(FileError::io(&path))?,
        };
        // Given back when the file is closed; whoever comes in that moment is told that another agent works here.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(FileError::io(&path)(error.into()).into()),
        }
    }

    /// What a journal of these bytes says.
    ///
    /// # Errors
    /// The line, from 1, that is damaged, and what does not fit.
    pub fn read(bytes: &[u8]) -> Result<History, (usize, String)> {
        Replay::read(bytes).map(|replay| replay.history)
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
        let (line, digest) = chained(&inner.digest, &json);
        inner.broken = true;
        let file = &mut inner.file;
        file.write_all(line.as_bytes())
            .and_then(|()| flush_data(file))
            .map_err(FileError::io(&self.path))?;
        inner.broken = false;
        inner.digest = digest;
        inner
            .history
            .apply(entry)
            .map_err(|reason| FileError::content(&self.path, reason).into())
    }

    /// A journal that leads to this state in the fewest lines.
    ///
    /// # Errors
    /// [`JournalError::File`] never happens for a state that a journal led to.
    pub fn compacted(history: &History) -> Result<Vec<u8>, JournalError> {
        let bytes = compact(history).map(|(bytes, _)| bytes);
        Ok(bytes.map_err(|error| FileError::content(Path::new("journal"), error))?)
    }

    /// Asks what the journal knows.
    pub fn with<T>(&self, ask: impl FnOnce(&History) -> T) -> T {
        ask(&self.lock().history)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(lock: &Path, journal: &Path) -> Result<File, JournalError> {
    let file = open_append(lock)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Busy(journal.to_owned())),
        Err(error) => Err(FileError::io(lock)(error.into()).into()),
    }
}

fn open_append(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(FileError::io(path))
}

/// A journal that says the same in the fewest lines, and its last digest.
fn compact(history: &History) -> serde_json::Result<(Vec<u8>, [u8; 32])> {
    let (entries, summary) = history.summary();
    let entries = entries.iter().map(serde_json::to_string);
    let lines = entries.chain(summary.iter().map(serde_json::to_string));
    Ok(seal(&lines.collect::<Result<Vec<_>, _>>()?))
}

/// Lines with the digests that a journal has, and the last of them.
#[must_use]
pub fn seal(lines: &[String]) -> (Vec<u8>, [u8; 32]) {
    let (mut bytes, mut digest) = (Vec::new(), sha256_of(|h| h.put(START)));
    for json in lines {
        let (line, next) = chained(&digest, json);
        bytes.extend_from_slice(line.as_bytes());
        digest = next;
    }
    (bytes, digest)
}

fn chained(before: &[u8; 32], json: &str) -> (String, [u8; 32]) {
    let digest = chain(before, json.as_bytes());
    (format!("{} {json}\n", digits(&digest)), digest)
}

/// What a journal's bytes say.
struct Replay {
    history: History,
    digest: [u8; 32],
    /// Bytes up to the end of the last good line.
    good: u64,
    /// Bytes of them that are entries.
    entries: u64,
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
            entries: 0,
        };
        for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if is_torn(line) {
                // Nothing can follow: a line without end is the last, and zeros end no line.
                if replay.is_altered_at_its_end(line) {
                    return Err((
                        at + 1,
                        "something else stands where the line ended".to_owned(),
                    ));
                }
                break;
            }
            replay.take(line).map_err(|reason| (at + 1, reason))?;
        }
        Ok(replay)
    }

    /// A whole entry with one byte behind it that is neither its end nor a zero: no power cut leaves that.
    fn is_altered_at_its_end(&self, line: &[u8]) -> bool {
        line.split_last()
            .is_some_and(|(last, text)| *last != 0 && self.next(text).is_ok())
    }

    /// The entry in this line, if it is the next, and the digest up to it.
    fn next<'a>(&self, text: &'a [u8]) -> Result<(&'a [u8], [u8; 32]), &'static str> {
        if text.len() > MAX_LINE {
            return Err("longer than any entry");
        }
        let (head, json) = text.split_at_checked(DIGITS).ok_or("too short")?;
        let json = json.strip_prefix(b" ").ok_or("no blank after the digest")?;
        let digest = chain(&self.digest, json);
        match head == digits(&digest).as_bytes() {
            true => Ok((json, digest)),
            false => Err("the digest does not fit"),
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let (json, digest) = self.next(line.strip_suffix(b"\n").unwrap_or(line))?;
        let len = u64::try_from(line.len()).unwrap_or_default();
        if json.starts_with(SUMMARY) {
            let summary = serde_json::from_slice(json).map_err(|error| error.to_string())?;
            self.history.take(summary);
        } else {
            let entry: Entry = serde_json::from_slice(json).map_err(|error| error.to_string())?;
            self.history.apply(&entry)?;
            self.entries += len;
        }
        self.digest = digest;
        self.good += len;
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
    use super::form::samples::{closed, confirming, issued, keyed, passed, request, sent, voiding};
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
    fn whether_an_agent_works_with_it_is_known_without_keeping_it_from_any() {
        let home = tempfile::tempdir().unwrap();
        assert!(!Journal::is_in_use(home.path()).unwrap(), "none is there");
        let journal = Journal::open(home.path()).unwrap();
        assert!(Journal::is_in_use(home.path()).unwrap());
        drop(journal);
        assert!(!Journal::is_in_use(home.path()).unwrap());
        Journal::open(home.path()).unwrap();
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
        let last = bytes.len() - 1;
        for at in (0..last).step_by(3).chain([last]) {
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

    fn long_lived() -> (tempfile::TempDir, History) {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        let done = [keyed(1), sent(1), issued(1), passed(1), closed(2)];
        let failed = [keyed(3), sent(3), issued(3), closed(3), voiding(3)];
        let open = [keyed(4), sent(4), issued(4), confirming(4), keyed(5)];
        for entry in done.iter().chain(&failed).chain(&open) {
            journal.append(entry).unwrap();
        }
        let history = journal.with(History::clone);
        (directory, history)
    }

    #[test]
    fn a_compacted_journal_says_the_same_and_goes_on() {
        let (directory, before) = long_lived();
        let path = directory.path().join("journal");
        let long = std::fs::read(&path).unwrap();
        let journal = Journal::open_compacting(directory.path(), 0).unwrap();
        assert_eq!(journal.with(History::clone), before);
        let short = std::fs::read(&path).unwrap();
        assert!(short.len() < long.len());
        assert!(matches!(
            Journal::open(directory.path()),
            Err(JournalError::Busy(_))
        ));
        journal.append(&sent(5)).unwrap();
        let after = journal.with(History::clone);
        drop(journal);
        let again = Journal::open(directory.path()).unwrap();
        assert_eq!(again.with(History::clone), after);
        assert!(std::fs::read(&path).unwrap().starts_with(&short));
    }

    #[test]
    fn the_power_may_go_anywhere_in_compacting() {
        let (directory, before) = long_lived();
        let old = std::fs::read(directory.path().join("journal")).unwrap();
        let (new, _) = compact(&before).unwrap();
        for cut in (0..=new.len()).step_by(61) {
            let state = tempfile::tempdir().unwrap();
            std::fs::write(state.path().join("journal"), &old).unwrap();
            std::fs::write(state.path().join(".journal.new"), &new[..cut]).unwrap();
            let journal = Journal::open_compacting(state.path(), 0).unwrap();
            assert_eq!(journal.with(History::clone), before, "cut at {cut}");
            assert_eq!(std::fs::read(state.path().join("journal")).unwrap(), new);
        }
    }

    #[test]
    fn a_journal_that_cannot_be_compacted_stays_as_it_was() {
        let (directory, before) = long_lived();
        let path = directory.path().join("journal");
        let old = std::fs::read(&path).unwrap();
        std::fs::create_dir(directory.path().join(".journal.new")).unwrap();
        assert!(matches!(
            Journal::open_compacting(directory.path(), 0),
            Err(JournalError::File(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), old);
        let journal = Journal::open(directory.path()).unwrap();
        assert_eq!(journal.with(History::clone), before);
    }

    #[test]
    fn every_flipped_bit_of_a_compacted_journal_is_noticed() {
        let (_keep, history) = long_lived();
        let (bytes, _) = compact(&history).unwrap();
        for at in (0..bytes.len() - 1).step_by(3) {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(
                matches!(reopen(&altered), Err(JournalError::Damaged { .. })),
                "byte {at}"
            );
        }
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
