//! A database that was made before its pages had checksums gets them: it is copied, page by page anew, into a file
//! beside it, which then takes its name.
//!
//! | if the power goes | what is there |
//! |---|---|
//! | while it is copied | the database as it was, and a `.part` that the next attempt removes |
//! | before the directory is flushed | one or the other, each whole |
//!
//! It is not rewritten in its place, because a rollback after a power cut writes old pages back, which have no room for
//! a checksum.

use crate::{damage, vfs};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a database got no checksums. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// SQLite failed: no room for a second copy, for instance.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A file beside it failed.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The copy did not hold together.
    #[error("{}: the copy does not hold together: {found}", path.display())]
    Unsound {
        /// The copy.
        path: PathBuf,
        /// What SQLite said of it.
        found: String,
    },
}

/// Opens a database without checksums. Ending the connection writes nothing that was not asked for.
///
/// # Errors
/// SQLite's.
pub fn connect_bare(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_URI)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Rewrites a database with checksums. Needs room for a second one.
///
/// # Errors
/// [`RewriteError`]. Somebody else who has it open is one.
pub fn rewrite(bare: Connection, path: &Path) -> Result<(), RewriteError> {
    let path = &fs::canonicalize(path).map_err(|error| failed(path, error))?;
    // Everything into the one file, because the write-ahead log of the old would be taken for one of the new.
    bare.pragma_update(None, "journal_mode", "DELETE")?;
    let mode: String = bare.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("delete") {
        return Err(damage("its write-ahead log does not end").into());
    }
    let part = part_of(path)?;
    bare.execute("VACUUM INTO ?1", [uri(&part)?])?;
    drop(bare);
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(&part).map_err(|error| failed(&part, error))?;
    check(&part)?;
    fs::rename(&part, path).map_err(|error| failed(path, error))?;
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    sync(directory).map_err(|error| failed(directory, error))
}

/// An empty file for the copy, readable by whoever may read the original.
fn part_of(path: &Path) -> Result<PathBuf, RewriteError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let made = fs::metadata(path).and_then(|metadata| {
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(metadata.permissions().mode())
            .open(&part)
    });
    made.map_err(|error| failed(&part, error))?;
    Ok(part)
}

/// The path as a URI that names our file system and the bytes to leave free (sqlite.org/uri.html).
fn uri(path: &Path) -> rusqlite::Result<String> {
    let path = path
        .to_str()
        .ok_or_else(|| damage("the path is not text"))?;
    let name = vfs::NAME.to_string_lossy();
    let mut uri = String::from("file:");
    for character in path.chars() {
        match character {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            other => uri.push(other),
        }
    }
    uri.push_str(&format!("?vfs={name}&reserve={}", crate::CHECKSUM));
    Ok(uri)
}

fn check(part: &Path) -> Result<(), RewriteError> {
    let copy = crate::connect(part, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    crate::insist(&copy)?;
    let check = "PRAGMA integrity_check(1)";
    let found: String = copy.query_row(check, [], |row| row.get(0))?;
    match found.as_str() {
        "ok" => Ok(()),
        _ => Err(RewriteError::Unsound {
            path: part.to_owned(),
            found,
        }),
    }
}

fn failed(path: &Path, error: io::Error) -> RewriteError {
    RewriteError::File {
        path: path.to_owned(),
        error,
    }
}
