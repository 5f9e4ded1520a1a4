//! When the write-ahead log is written back into the database.
//!
//! SQLite does that by itself, after a COMMIT that finds the log long (`wal_autocheckpoint`) and when the last connection
//! is closed, and drops whatever error it meets. A flush that failed is lost then: the system tells of it once, and answers
//! the next flush as good, although what the first one was to write is not on the disk. So it is asked for here, its
//! failure is the COMMIT's, and after a failure this process writes nothing back any more: what the log holds is good, and
//! whoever opens the database anew writes all of it.

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, ffi};
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames of a long write-ahead log; 16 MB. A page that is written again and again goes back once.
pub const LONG_LOG: u32 = 4_000;

/// Gives the database a write-ahead log, if it has none yet. The rollback journal that this is done with is gone for good
/// then: one that a power cut brings back would undo all that follows.
///
/// # Errors
/// SQLite's.
pub fn begin_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")
}

/// Writes the log of one connection back.
#[derive(Clone, Debug, Default)]
pub struct WriteBack(Arc<State>);

#[derive(Debug, Default)]
struct State {
    pauses: AtomicBool,
    failed: AtomicBool,
}

impl WriteBack {
    /// From now on each COMMIT that finds the log so long writes it back. If that fails, the COMMIT fails, although what it
    /// wrote is in the log. A disk without room is no failure: nothing is lost, and the next COMMIT tries again.
    ///
    /// # Errors
    /// SQLite's.
    pub fn begin(connection: &mut Connection, long_log: u32) -> rusqlite::Result<Self> {
        let this = Self::default();
        let (at_commit, long_log) = (
            this.clone(),
            c_int::try_from(long_log).unwrap_or(c_int::MAX),
        );
        connection.wal_hook(Some(move |log: &mut Wal, frames: c_int| {
            if frames < long_log || at_commit.0.pauses.load(Ordering::SeqCst) {
                return Ok(());
            }
            match at_commit.once(|| log.checkpoint()) {
                Err(error) if is_for_later(&error) => Ok(()),
                outcome => outcome,
            }
        }))?;
        Ok(this)
    }

    /// Until it is resumed no COMMIT writes the log back: to write it back is to flush it, and one that need not wait for
    /// the disk must not do so here.
    pub fn pause(&self) {
        self.0.pauses.store(true, Ordering::SeqCst);
    }

    /// From now on COMMITs write the log back again.
    pub fn resume(&self) {
        self.0.pauses.store(false, Ordering::SeqCst);
    }

    /// From now on this process writes nothing back: a COMMIT failed, and what the log holds behind it may stand in the
    /// system's memory only.
    pub fn forbid(&self) {
        self.0.failed.store(true, Ordering::SeqCst);
    }

    /// Writes all of the log back and empties it. False if a reader stands in the way. That the log is empty is on the disk
    /// with the next COMMIT only.
    ///
    /// # Errors
    /// SQLite's, and if it failed before or is forbidden.
    pub fn all(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = self.once(|| connection.query_row(truncate, [], |row| row.get(0)))?;
        Ok(busy == 0)
    }

    /// The same at a start: what an earlier process failed to flush may stand in the system's memory only, so the log is
    /// written anew before a page of the database is. Without that a power cut could find pages half written whose whole
    /// form is nowhere. Nobody else may have the database open to write.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub fn all_anew(&self, connection: &Connection) -> rusqlite::Result<bool> {
        self.once(|| crate::renew::renew(connection))?;
        self.all(connection)
    }

    /// Nothing after a failure.
    fn once<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        if self.0.failed.load(Ordering::SeqCst) {
            let what = "the write-ahead log could not be flushed before".to_owned();
            let code = ffi::Error::new(ffi::SQLITE_IOERR_FSYNC);
            return Err(rusqlite::Error::SqliteFailure(code, Some(what)));
        }
        work().inspect_err(|error| {
            if !is_for_later(error) {
                self.forbid();
            }
        })
    }
}

fn is_for_later(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::OpenFlags;
    use std::path::Path;

    fn frames_in_log(path: &Path) -> u64 {
        let log = std::fs::metadata(path.with_extension("sqlite-wal"));
        log.map_or(0, |it| it.len() / 4_120)
    }

    fn fill(connection: &Connection, rows: u32) {
        for _ in 0..rows {
            let row = "INSERT INTO t VALUES (zeroblob(4000))";
            connection.execute(row, []).unwrap();
        }
    }

    #[test]
    fn a_long_log_is_written_back_and_begun_anew() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sqlite");
        let mut connection = crate::open(&path).unwrap();
        begin_log(&connection).unwrap();
        let write_back = WriteBack::begin(&mut connection, 20).unwrap();
        write_back.pause();
        connection.execute_batch("CREATE TABLE t (b)").unwrap();
        fill(&connection, 50);
        assert!(frames_in_log(&path) > 100);
        // The first COMMIT that finds it long writes it back; the next one begins it anew.
        write_back.resume();
        fill(&connection, 1);
        let longest = frames_in_log(&path);
        fill(&connection, 200);
        assert_eq!(frames_in_log(&path), longest);
        // A reader keeps it from being begun anew, and no COMMIT fails for that.
        let reader = crate::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let snapshot = reader.unchecked_transaction().unwrap();
        let count = "SELECT count(*) FROM t";
        let rows: u32 = snapshot.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 251);
        fill(&connection, 200);
        assert!(frames_in_log(&path) > longest);
        drop(snapshot);
        assert!(write_back.all(&connection).unwrap());
        assert_eq!(frames_in_log(&path), 0);
    }

    #[test]
    fn closing_writes_nothing_back_that_was_not_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sqlite");
        let connection = crate::open(&path).unwrap();
        begin_log(&connection).unwrap();
        connection.execute_batch("CREATE TABLE t (b)").unwrap();
        fill(&connection, 5);
        let frames = frames_in_log(&path);
        drop(connection);
        assert!(frames > 0);
        assert_eq!(frames_in_log(&path), frames);
    }
}
