//! SQLite databases whose every page carries a checksum in its last bytes: a page that is not what was written to its
//! place is an error when it is read, and never an answer.
//!
//! It is against damage, not against an attacker, who can compute a checksum too. Only the database's own file is
//! covered: frames of the write-ahead log have SQLite's checksums, which it verifies when the log is read after a kill.
//! Nobody may open such a file without this package: what another program writes into it has no checksum. Why it is
//! made so: `docs/decisions/0013-page-checksums.md`.

mod checksum;
mod renew;
mod rewrite;
mod vfs;
mod write_back;

pub use rewrite::{RewriteError, connect_bare, rewrite};
pub use write_back::{LONG_LOG, WriteBack, begin_log};

use checksum::{CHECKSUM, PAGE};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::path::Path;

/// Opens a database through the checksums. Nothing of it is read yet but its header, and closing it writes nothing.
///
/// # Errors
/// SQLite's.
pub fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    vfs::register().map_err(|code| {
        let what = "the file system with checksums cannot be registered";
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(what.to_owned()))
    })?;
    let connection = Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Opens a database through the checksums, to read and write; makes it if it is not there.
///
/// # Errors
/// SQLite's; [damage](is_damage) if the database has no checksums or its first page is damaged.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::default())?;
    prepare(&connection)?;
    Ok(connection)
}

/// Whether the file was there when it was opened, and is of before its pages had checksums (or the header, which
/// nothing covers until its page is read, is damaged). Through [`connect`] nothing of it is read or written; see
/// [`rewrite()`].
///
/// # Errors
/// SQLite's.
pub fn is_bare(connection: &Connection) -> rusqlite::Result<bool> {
    vfs::is_bare(connection)
}

/// Makes the pages of an empty database such that there is room for checksums; insists on them in any other.
///
/// # Errors
/// As [`insist`].
pub fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    if is_bare(connection)? {
        return Err(damage(NO_ROOM));
    }
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages == 0 {
        connection.pragma_update(None, "page_size", i64::try_from(PAGE).unwrap_or_default())?;
        let wanted = u8::try_from(CHECKSUM).unwrap_or_default();
        vfs::reserved(connection, Some(wanted))?;
    }
    insist(connection)
}

/// Insists that the pages have checksums, so that no byte of the header turns them off.
///
/// # Errors
/// SQLite's, and [damage](is_damage).
pub fn insist(connection: &Connection) -> rusqlite::Result<()> {
    let reserved = vfs::reserved(connection, None)?;
    match usize::try_from(reserved) == Ok(CHECKSUM) {
        true => Ok(()),
        false => Err(damage(NO_ROOM)),
    }
}

/// Whether the file is not what was written: a page with another checksum, a page that is missing or cut off, or no
/// database at all. No further attempt makes that good.
#[must_use]
pub fn is_damage(error: &rusqlite::Error) -> bool {
    let Some(error) = error.sqlite_error() else {
        return false;
    };
    error.extended_code == ffi::SQLITE_IOERR_DATA
        || matches!(
            error.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
        )
}

/// The damage that was met through this connection, if any was: for whoever no longer has the error itself.
#[must_use]
pub fn met_damage(connection: &Connection) -> Option<rusqlite::Error> {
    match vfs::met_damage(connection) {
        Ok(false) | Err(_) => None,
        Ok(true) => Some(damage("a page is not what was written to its place")),
    }
}

const NO_ROOM: &str = "its pages have no checksums";

fn damage(what: &str) -> rusqlite::Error {
    let code = ffi::Error::new(ffi::SQLITE_IOERR_DATA);
    rusqlite::Error::SqliteFailure(code, Some(what.to_owned()))
}
