//! Making a backup while the server goes on.

use super::examine::examine;
use super::manifest::{Entry, Manifest};
use super::{BackupError, CEREMONY, CHECKPOINT, MANIFEST, STORE, sync_directory};
use crate::ceremony::Artefacts;
use crate::config::Config;
use crate::issuance::Corridor;
use identity::hash::sha256;
use identity::{Clock, Timestamp};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use translog::checkpoint::TrustedLog;

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Leaves in it.
    pub size: u64,
    /// SHA-256 of the manifest: who keeps it elsewhere knows the backup again.
    pub manifest: [u8; 32],
    /// Bytes of all its files.
    pub bytes: u64,
    /// When it was made.
    pub at: Timestamp,
}

/// Copies the store in one moment, holds the copy against the log's newest checkpoint, and names everything in a
/// manifest. Reads only; stations are served meanwhile. The directory appears under its name when it is whole and
/// flushed; if the power goes before, `<name>.part` is left, which is no backup.
///
/// # Errors
/// [`BackupError`].
pub fn make(
    corridor: &Corridor,
    config: &Config,
    (trusted, clock): (&TrustedLog, &dyn Clock),
    out: &Path,
) -> Result<Made, BackupError> {
    let Places { above, out, part } = Places::of(config, out)?;
    crate::private::directory(&part).map_err(|error| BackupError::not_private(&part, &error))?;
    // Taken before the copy: the copy holds the head that it signs.
    let checkpoint = corridor.checkpoint()?;
    write(&part.join(CHECKPOINT), checkpoint.as_bytes())?;
    let copy = part.join(STORE);
    corridor.copy_store(&copy)?;
    close_and_flush(&copy)?;
    let names = [
        vec![STORE.to_owned(), CHECKPOINT.to_owned()],
        copy_ceremony(config, &part)?,
    ];
    let (head, reader) = examine(&copy, trusted, checkpoint.as_bytes())?;
    drop(reader);
    let at = clock.now();
    let mut files = names
        .concat()
        .iter()
        .map(|name| entry(&part, name))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes = files.iter().map(|entry| entry.length).sum();
    let manifest = Manifest {
        origin: trusted.origin().to_owned(),
        made_ms: at.0,
        size: head.size,
        root: *head.root.as_bytes(),
        files,
    };
    let text = manifest.to_string();
    write(&part.join(MANIFEST), text.as_bytes())?;
    sync_directory(&part.join(CEREMONY))?;
    sync_directory(&part)?;
    std::fs::rename(&part, &out).map_err(|error| BackupError::file(&out, error))?;
    sync_directory(&above)?;
    Ok(Made {
        size: head.size,
        manifest: sha256(text.as_bytes()),
        bytes,
        at,
    })
}

/// Where a backup lies.
struct Places {
    /// The directory that is there.
    above: PathBuf,
    /// The backup in it.
    out: PathBuf,
    /// The same until it is whole.
    part: PathBuf,
}

impl Places {
    /// Where the backup is made, if it may be. Nothing is made above it: where a disk is not mounted, it would fill
    /// another.
    fn of(config: &Config, out: &Path) -> Result<Self, BackupError> {
        if !out.is_absolute() {
            return Err(BackupError::place(out, "not a whole path"));
        }
        // Without a slash at its end, whoever wrote one.
        let (Some(above), Some(name)) = (out.parent(), out.file_name()) else {
            return Err(BackupError::place(out, "names no directory of its own"));
        };
        let above = there(above)?;
        let mut part = name.to_owned();
        part.push(".part");
        let (out, part) = (above.join(name), above.join(part));
        if out.starts_with(there(&config.paths.state)?) {
            return Err(BackupError::place(&out, "inside of what is backed up"));
        }
        if out.symlink_metadata().is_ok() {
            return Err(BackupError::place(&out, "is there already"));
        }
        if part.symlink_metadata().is_ok() {
            return Err(BackupError::place(
                &part,
                "a backup broke off here, remove it",
            ));
        }
        Ok(Self { above, out, part })
    }
}

/// A directory that is there, by the one name that it has.
fn there(path: &Path) -> Result<PathBuf, BackupError> {
    match path.canonicalize() {
        Ok(found) if found.is_dir() => Ok(found),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(BackupError::file(path, error)),
        Ok(_) | Err(_) => Err(BackupError::Above(path.to_owned())),
    }
}

/// Copies what the ceremony left; gives the names.
fn copy_ceremony(config: &Config, part: &Path) -> Result<Vec<String>, BackupError> {
    let directory = part.join(CEREMONY);
    crate::private::directory(&directory)
        .map_err(|error| BackupError::not_private(&directory, &error))?;
    let copied = Artefacts::FILES.iter().map(|name| {
        let from = config.paths.ceremony.join(name);
        let bytes = std::fs::read(&from).map_err(|error| BackupError::file(&from, error))?;
        write(&directory.join(name), &bytes)?;
        Ok(format!("{CEREMONY}/{name}"))
    });
    copied.collect()
}

fn entry(part: &Path, name: &str) -> Result<Entry, BackupError> {
    let path = part.join(name);
    Entry::of(name, &path).map_err(|error| BackupError::file(&path, error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(|error| BackupError::file(path, error))
}

/// SQLite made the file, and does not flush a copy.
fn close_and_flush(path: &Path) -> Result<(), BackupError> {
    let flushed = File::open(path).and_then(|file| {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.sync_all()
    });
    flushed.map_err(|error| BackupError::file(path, error))
}
