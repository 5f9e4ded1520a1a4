//! Files that must be whole after a power cut, and reading with a bound.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;

static FLUSHES: AtomicU64 = AtomicU64::new(0);

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Longer than its kind may be.
    #[error("{}: longer than {max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Most bytes allowed.
        max: usize,
    },
    /// Not what it should be.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl FileError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn content(path: &Path, reason: impl ToString) -> Self {
        Self::Content {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// How often this program has waited for the disk so far: the benchmark's measure.
#[must_use]
pub fn flushes() -> u64 {
    FLUSHES.load(Ordering::Relaxed)
}

/// Flushes a file, and the directory's entry of its size.
pub(crate) fn flush(file: &File) -> io::Result<()> {
    FLUSHES.fetch_add(1, Ordering::Relaxed);
    file.sync_all()
}

/// Flushes what a file holds.
pub(crate) fn flush_data(file: &File) -> io::Result<()> {
    FLUSHES.fetch_add(1, Ordering::Relaxed);
    file.sync_data()
}

/// Reads a whole file of at most `max` bytes.
///
/// # Errors
/// [`FileError`]
pub fn read_bounded(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(FileError::io(path))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(FileError::io(path))?;
    if bytes.len() > max {
        return Err(FileError::TooLong {
            path: path.to_owned(),
            max,
        });
    }
    Ok(bytes)
}

/// Puts a file in place so that after a power cut either the old or the new one is there, whole: written beside,
/// flushed, renamed, and the directory flushed.
///
/// # Errors
/// [`FileError::Io`]; the file in place is then still the old one, or already the new one.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_all_durably(&[(path, bytes)])
}

/// Puts several files in place, each as [`write_durably`] does: all are flushed at once, then all renamed, and each of
/// their directories is flushed once. If the power goes inside, some may be there and some not.
///
/// # Errors
/// [`FileError::Io`]; each file in place is then still the old one, or already the new one.
pub fn write_all_durably(files: &[(&Path, &[u8])]) -> Result<(), FileError> {
    let mut moves = Vec::new();
    for (path, bytes) in files {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(FileError::content(path, "not the name of a file"));
        };
        let beside = directory.join(format!(".{}.new", name.to_string_lossy()));
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(bytes).map(|()| file))
            .map_err(FileError::io(path))?;
        moves.push((written, beside, *path, directory));
    }
    at_once(&moves, &|(file, _, path, _)| {
        flush(file).map_err(FileError::io(path))
    })?;
    for (_, beside, path, _) in &moves {
        std::fs::rename(beside, path).map_err(FileError::io(path))?;
    }
    let mut directories: Vec<_> = moves.iter().map(|(.., directory)| *directory).collect();
    directories.sort_unstable();
    directories.dedup();
    at_once(&directories, &|directory| sync_directory(directory))
}

/// Does this to all of them, each but the first on a thread of its own: a disk makes several flushes as fast as one.
fn at_once<T: Sync>(
    items: &[T],
    act: &(dyn Fn(&T) -> Result<(), FileError> + Sync),
) -> Result<(), FileError> {
    match items {
        [] => Ok(()),
        [only] => act(only),
        [first, others @ ..] => {
            let (others, first) = beside(|| at_once(others, act), || act(first));
            first.and(others)
        }
    }
}

/// Does two things at once, the first on a thread of its own; one after the other where no thread is to be had.
pub fn beside<A: Send, B>(there: impl Fn() -> A + Sync, here: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().spawn_scoped(scope, &there);
        let here = here();
        let there = match spawned.map(ScopedJoinHandle::join) {
            Ok(Ok(there)) => there,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_no_thread) => there(),
        };
        (there, here)
    })
}

/// Makes a directory with its parents, if it is not there.
///
/// # Errors
/// [`FileError::Io`]
pub fn ensure_directory(path: &Path) -> Result<(), FileError> {
    let is_new = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<_> = path.ancestors().take_while(is_new).collect();
    std::fs::create_dir_all(path).map_err(FileError::io(path))?;
    let mut parents = made.iter().filter_map(|path| path.parent());
    parents.try_for_each(sync_directory)
}

/// Flushes the names in a directory.
///
/// # Errors
/// [`FileError::Io`]
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    OpenOptions::new()
        .read(true)
        .open(path)
        .and_then(|directory| flush(&directory))
        .map_err(FileError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_files_is_there_whole_or_an_error_says_that_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("other")).unwrap();
        let [a, b, c] = ["a", "b", "other/c"].map(path);
        let before = flushes();
        write_all_durably(&[(&a, b"1"), (&b, b"22"), (&c, b"333")]).unwrap();
        assert!(flushes() - before >= 5, "three files, two directories");
        assert_eq!(read_bounded(&b, 2).unwrap(), b"22");
        assert_eq!(read_bounded(&c, 3).unwrap(), b"333");
        let lost = directory.path().join("nowhere/d");
        write_all_durably(&[(&a, b"4"), (&lost, b"5")]).unwrap_err();
        assert_eq!(read_bounded(&a, 1).unwrap(), b"1");
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write_durably(&path, b"old").unwrap();
        write_durably(&path, b"new").unwrap();
        assert_eq!(read_bounded(&path, 3).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(matches!(
            read_bounded(&path, 2),
            Err(FileError::TooLong { max: 2, .. })
        ));
    }
}
