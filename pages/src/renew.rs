//! The write-ahead log is written anew, byte for byte.
//!
//! After a flush that failed, what the system reads back of a file may stand in its memory only: it holds these bytes for
//! written, and no later flush writes them. Only bytes that are written again are flushed again.
#![expect(
    unsafe_code,
    reason = "the log is SQLite's own file, with methods that are C function pointers"
)]

use rusqlite::Connection;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods};
use std::ffi::{c_int, c_void};
use std::ptr;

/// Bytes read and written at once.
const PIECE: usize = 64 * 1024;
const PIECE_LENGTH: c_int = 64 * 1024;

/// Writes the log of this connection again as it is and flushes it. Nobody else may write to the database meanwhile.
///
/// # Errors
/// SQLite's. The log is as it was: its bytes were replaced by themselves.
pub(crate) fn renew(connection: &Connection) -> rusqlite::Result<()> {
    // The first reading finds the log.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_row| Ok(()))?;
    let Some((file, methods)) = log(connection)? else {
        return Ok(());
    };
    // SAFETY: `log` found the file open with these methods, and the connection is borrowed until the end.
    unsafe { copy_onto_itself(file, methods) }.map_err(failed)
}

/// The file of the log, open, with its methods; none if there is none.
fn log(
    connection: &Connection,
) -> rusqlite::Result<Option<(*mut sqlite3_file, &sqlite3_io_methods)>> {
    let mut file: *mut sqlite3_file = ptr::null_mut();
    let out = ptr::from_mut(&mut file).cast::<c_void>();
    // SAFETY: the handle is used while the connection is borrowed, and not closed.
    let database = unsafe { connection.handle() };
    let what = ffi::SQLITE_FCNTL_JOURNAL_POINTER;
    // SAFETY: this question writes one pointer.
    match unsafe { ffi::sqlite3_file_control(database, c"main".as_ptr(), what, out) } {
        ffi::SQLITE_OK => {}
        code => return Err(failed(code)),
    }
    // SAFETY: null, or the file of the connection's log, which stays as long as the connection.
    let methods = unsafe { file.as_ref() }.and_then(|file| {
        // SAFETY: null if it is not open, or its methods, which live as long as it is open.
        unsafe { file.pMethods.as_ref() }
    });
    Ok(methods.map(|methods| (file, methods)))
}

/// # Safety
/// `file` is open with these methods, and nobody else uses it meanwhile.
unsafe fn copy_onto_itself(
    file: *mut sqlite3_file,
    methods: &sqlite3_io_methods,
) -> Result<(), c_int> {
    let (Some(size), Some(read)) = (methods.xFileSize, methods.xRead) else {
        return Err(ffi::SQLITE_IOERR_READ);
    };
    let (Some(write), Some(sync)) = (methods.xWrite, methods.xSync) else {
        return Err(ffi::SQLITE_IOERR_WRITE);
    };
    let (mut end, mut at): (sqlite3_int64, sqlite3_int64) = (0, 0);
    // SAFETY: the caller's promise; it writes one number.
    done(unsafe { size(file, &raw mut end) })?;
    let mut piece = vec![0_u8; PIECE];
    while at < end {
        let length = c_int::try_from(end - at).map_or(PIECE_LENGTH, |left| left.min(PIECE_LENGTH));
        let bytes = piece.as_mut_ptr().cast::<c_void>();
        // SAFETY: the caller's promise; there is room for so many bytes.
        done(unsafe { read(file, bytes, length, at) })?;
        // SAFETY: the caller's promise; so many bytes were read.
        done(unsafe { write(file, bytes, length, at) })?;
        at += sqlite3_int64::from(length);
    }
    // SAFETY: the caller's promise.
    done(unsafe { sync(file, ffi::SQLITE_SYNC_NORMAL) })
}

const fn done(code: c_int) -> Result<(), c_int> {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

fn failed(code: c_int) -> rusqlite::Error {
    let what = "the write-ahead log could not be written anew".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(what))
}
