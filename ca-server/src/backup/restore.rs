//! Bringing a backup back, with no server running.

use super::examine::examine;
use super::manifest::{Entry, LONGEST, Manifest};
use super::{BackupError, CEREMONY, CHECKPOINT, MANIFEST, STORE, sync_directory};
use crate::ceremony::Artefacts;
use crate::config::Config;
use crate::ledger::{HeadFile, LedgerError};
use crate::store::Reader;
use identity::hash::sha256;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use translog::checkpoint::TrustedLog;

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The backup's manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's file.
    pub hash: [u8; 32],
    /// Whether the head file is here; without it nothing is signed.
    pub head_is_here: bool,
}

/// Checks every byte of a backup, holds it against the head file, and puts it into the empty directory of the state.
/// Nothing is written before all of it was checked. Whether the signer or a station has seen more, the server finds
/// out when it starts.
///
/// # Errors
/// [`BackupError`]; the state's directory is still empty then, but for a `.part` file if the power goes.
pub fn restore(config: &Config, from: &Path) -> Result<Restored, BackupError> {
    let (manifest, hash) = read_manifest(from)?;
    check_files(from, &manifest)?;
    let state = &config.paths.state;
    crate::private::directory(state).map_err(|error| BackupError::not_private(state, &error))?;
    if entries(state)?.next().is_some() {
        return Err(BackupError::place(state, "not empty"));
    }
    let backed_up = Artefacts::load(&from.join(CEREMONY))?;
    let trusted = trusted(&backed_up)?;
    let path = from.join(CHECKPOINT);
    let checkpoint = std::fs::read(&path).map_err(|error| BackupError::file(&path, error))?;
    let (head, reader) = examine(&from.join(STORE), &trusted, &checkpoint)?;
    if (head.size, *head.root.as_bytes()) != (manifest.size, manifest.root) {
        return Err(BackupError::Unsound(
            "another head than the manifest's".to_owned(),
        ));
    }
    let head_is_here = hold_against_head(config, &reader, head.size)?;
    drop(reader);
    bring_ceremony(config, from, &backed_up)?;
    bring_store(from, state, &manifest)?;
    Ok(Restored {
        manifest,
        hash,
        head_is_here,
    })
}

/// SHA-256 of a backup's manifest.
///
/// # Errors
/// [`BackupError`] if there is no whole manifest.
pub fn manifest_hash(from: &Path) -> Result<[u8; 32], BackupError> {
    Ok(read_manifest(from)?.1)
}

fn read_manifest(from: &Path) -> Result<(Manifest, [u8; 32]), BackupError> {
    let path = from.join(MANIFEST);
    let failed = |error| BackupError::file(&path, error);
    let length = std::fs::metadata(&path).map_err(failed)?.len();
    let refused = |error| BackupError::Manifest {
        path: path.clone(),
        error,
    };
    if length > LONGEST {
        return Err(refused(super::ManifestError::Form));
    }
    let bytes = std::fs::read(&path).map_err(failed)?;
    let manifest = Manifest::parse(&bytes).map_err(refused)?;
    Ok((manifest, sha256(&bytes)))
}

/// Exactly the files of the manifest are there, with exactly their bytes.
fn check_files(from: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let mut expected: BTreeSet<PathBuf> = BTreeSet::from([from.join(MANIFEST)]);
    for entry in &manifest.files {
        let path = from.join(&entry.name);
        let found =
            Entry::of(&entry.name, &path).map_err(|error| BackupError::file(&path, error))?;
        if found != *entry {
            let what = "other bytes";
            return Err(BackupError::Altered { path, what });
        }
        expected.insert(path);
    }
    for directory in [from.to_owned(), from.join(CEREMONY)] {
        for path in entries(&directory)? {
            let path = path?;
            if path != from.join(CEREMONY) && !expected.contains(&path) {
                let what = "it names no such file";
                return Err(BackupError::Altered { path, what });
            }
        }
    }
    Ok(())
}

fn entries(
    directory: &Path,
) -> Result<impl Iterator<Item = Result<PathBuf, BackupError>>, BackupError> {
    let failed = |error| BackupError::file(directory, error);
    let listed = std::fs::read_dir(directory).map_err(failed)?;
    Ok(listed.map(move |entry| entry.map(|entry| entry.path()).map_err(failed)))
}

fn trusted(artefacts: &Artefacts) -> Result<TrustedLog, BackupError> {
    let ceremony = &artefacts.ceremony;
    let unsound = |error: &dyn std::fmt::Display| BackupError::Unsound(format!("log key: {error}"));
    let key = ceremony.log_vkey.parse().map_err(|error| unsound(&error))?;
    TrustedLog::new(&ceremony.origin, vec![key]).map_err(|error| unsound(&error))
}

/// A head that was published and is not in the backup means that the backup is too old to go on with.
fn hold_against_head(config: &Config, reader: &Reader, size: u64) -> Result<bool, BackupError> {
    let path = &config.paths.head;
    let (head, root) = match HeadFile::open(path) {
        Ok(file) => file.newest(),
        Err(LedgerError::HeadFileMissing(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let known = reader.past_root(head).map_err(|error| BackupError::Store {
        path: config.paths.state.join(STORE),
        error,
    })?;
    match head == 0 || known == Some(root) {
        true => Ok(true),
        false => Err(BackupError::Older {
            path: path.clone(),
            head,
            size,
        }),
    }
}

/// The ceremony's files, if they are lost; those that are here must be of the same ceremony.
fn bring_ceremony(config: &Config, from: &Path, backed_up: &Artefacts) -> Result<(), BackupError> {
    use identity::document::Document as _;
    let directory = &config.paths.ceremony;
    if directory.symlink_metadata().is_ok() {
        let here = Artefacts::load(directory)?;
        return match here.ceremony.hash() == backed_up.ceremony.hash() {
            true => Ok(()),
            false => Err(BackupError::OtherCeremony(directory.clone())),
        };
    }
    std::fs::create_dir_all(directory).map_err(|error| BackupError::file(directory, error))?;
    for name in Artefacts::FILES {
        let to = directory.join(name);
        let copied = std::fs::copy(from.join(CEREMONY).join(name), &to)
            .and_then(|_bytes| File::open(&to)?.sync_all());
        copied.map_err(|error| BackupError::file(&to, error))?;
    }
    sync_directory(directory)
}

/// Copies the store, reads the copy again, and only then gives it its name.
fn bring_store(from: &Path, state: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let part = state.join("ca.sqlite.part");
    let failed = |error| BackupError::file(&part, error);
    std::fs::copy(from.join(STORE), &part).map_err(failed)?;
    File::open(&part)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    let written = Entry::of(STORE, &part).map_err(failed)?;
    if manifest.entry(STORE) != Some(&written) {
        let (path, what) = (part, "the copy of it differs");
        return Err(BackupError::Altered { path, what });
    }
    std::fs::rename(&part, state.join(STORE)).map_err(failed)?;
    sync_directory(state)
}
