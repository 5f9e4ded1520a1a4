//! Backup of the running server, and its return.

use super::operate::at_server;
use super::watch::moment;
use super::{Backup, Exit, Failure, Restore, say};
use crate::backup::{self, BackupError, Restored};
use crate::config::Config;
use std::path::Path;

pub(super) fn back_up(order: &Backup) -> Result<(), Failure> {
    // The server has another current directory.
    let out = std::path::absolute(&order.out).map_err(|error| Failure::file(&order.out, &error))?;
    let name = out.to_str().ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "--out: not UTF-8",
            "name a directory in plain text",
        )
    })?;
    let directory = name.to_owned();
    let made = at_server(&order.at, |mut client| async move {
        Ok(client.back_up(directory).await?)
    })?;
    say(&format!(
        "backup   {}\nmade     {}, {} leaves, {} bytes, read again and held against the checkpoint\nSHA-256  {} of its MANIFEST; keep this line elsewhere\nnot in it: head file, signer's store, tokens, PINs\n",
        out.display(),
        moment(made.time_ms),
        made.log_size,
        made.size_bytes,
        hex::encode(&made.manifest_hash),
    ))
}

pub(super) fn restore(order: &Restore) -> Result<(), Failure> {
    let config = Config::load(&order.at.config)?;
    if let Some(expected) = &order.manifest_sha256 {
        expect(&order.from, expected)?;
    }
    let restored = backup::restore(&config, &order.from)?;
    say(&describe(&restored))
}

fn expect(from: &Path, expected: &str) -> Result<(), Failure> {
    let found = backup::manifest_hash(from)?;
    if hex::encode(found).eq_ignore_ascii_case(expected.trim()) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Configuration,
        format!("{}: its manifest has another SHA-256", from.display()),
        "this is not the backup that was made; find out which it is before you use it",
    ))
}

fn describe(restored: &Restored) -> String {
    let Restored {
        manifest,
        head_is_here,
        ..
    } = restored;
    let head = if *head_is_here {
        "head     its head file is level with it, or behind\n"
    } else {
        "head     MISSING: the server signs nothing without its head file; put it back from where it was kept\n"
    };
    format!(
        "restored {} leaves of {}, made {}\nroot     {}\n{head}next     `ca-server serve`; it signs nothing if its signer or a station has seen more\n",
        manifest.size,
        manifest.origin,
        moment(manifest.made_ms),
        hex::encode(manifest.root),
    )
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let exit = match &error {
            BackupError::NotPrivate { .. } | BackupError::Place { .. } => Exit::Permission,
            BackupError::Manifest { .. }
            | BackupError::Altered { .. }
            | BackupError::Unsound(_)
            | BackupError::Artefacts(_)
            | BackupError::OtherCeremony(_)
            | BackupError::Older { .. } => Exit::Configuration,
            BackupError::File { .. }
            | BackupError::Above(_)
            | BackupError::Refused(_)
            | BackupError::Store { .. }
            | BackupError::Head(_) => Exit::Unavailable,
        };
        Self::new(exit, &error, error.remedy())
    }
}
