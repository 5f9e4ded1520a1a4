//! The store: one SQLite file, one writer for the process's life, readers beside it.
//!
//! WAL with `synchronous=FULL`: a COMMIT that returned is on the disk, but for that of [`Store::write_unflushed`], whose
//! rows somebody else holds. An error from COMMIT means *unknown*, never *no*; the caller stops and finds out by reading
//! (`docs/issuance.md`). Only a full disk is a plain no.

mod bare;
mod lots;
mod read;
mod refusals;
mod rows;
mod write;

pub use lots::LotRequest;
pub use read::{LotCounts, Reader, SetAside, Snapshot, StoredBinding, StoredDocument};
pub use refusals::{ClosedWindow, RefusalPlace, StoredRefusal, WINDOW_MS};
pub use rows::{ClaimKey, Head};
pub use write::{BindingState, NewBinding, Transaction};

use pages::WriteBack;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What makes each version of the schema from the one before. The last is what this program writes.
const VERSIONS: [&str; 5] = [
    include_str!("store/schema.sql"),
    include_str!("store/schema-2.sql"),
    include_str!("store/schema-3.sql"),
    include_str!("store/schema-4.sql"),
    include_str!("store/schema-5.sql"),
];
/// Marks the file as ours ("KOSK").
const APPLICATION_ID: i64 = 0x4B4F_534B;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file, or its directory cannot be used.
    #[error("the store {path} cannot be opened: {reason}")]
    Open {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Written by a newer program.
    #[error(
        "the store has schema version {found}; this program knows {known}. Use the program that wrote it"
    )]
    Newer {
        /// Version in the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// A file of some other program.
    #[error("{0} is not a store of this program")]
    Foreign(PathBuf),
    /// SQLite failed; nothing of the transaction was kept.
    #[error("the store failed: {0}")]
    Sqlite(rusqlite::Error),
    /// A page is not what was written to its place, or is not there. No further attempt makes that good.
    #[error(
        "the store is damaged: {0}. Stop the server and restore a backup onto a sound disk (docs/operations.md)"
    )]
    DamagedPage(rusqlite::Error),
    /// The disk is full; nothing of the transaction was kept.
    #[error("the disk is full: {0}")]
    Full(rusqlite::Error),
    /// A COMMIT failed: what it wrote may or may not be there.
    #[error("the outcome of a commit is unknown: {0}")]
    CommitUnknown(rusqlite::Error),
    /// What is stored does not fit together.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// The head moved under us: another writer, or a writer shut out by the fence.
    #[error("the head was moved by another writer")]
    Fenced,
}

impl StoreError {
    /// Whether nothing was kept and the same may succeed later: no room, a disk that failed before COMMIT, or a file that
    /// the system did not open.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseBusy | ErrorCode::CannotOpen)
            ),
            Self::Open { .. }
            | Self::Newer { .. }
            | Self::Foreign(_)
            | Self::CommitUnknown(_)
            | Self::DamagedPage(_)
            | Self::Damaged(_)
            | Self::Fenced => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if is_full(&error) {
            Self::Full(error)
        } else if pages::is_damage(&error) {
            Self::DamagedPage(error)
        } else {
            Self::Sqlite(error)
        }
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// What a failed COMMIT means. In WAL mode `SQLITE_FULL` comes from a frame that could not be written, and the frame
/// that commits is the last: nothing was committed. Any other error may come after it, from fsync for instance.
fn commit_failed(error: rusqlite::Error) -> StoreError {
    if is_full(&error) {
        StoreError::Full(error)
    } else {
        StoreError::CommitUnknown(error)
    }
}

/// The store of one CA.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    writer: Mutex<Writer>,
    fence: i64,
    _lock: std::fs::File,
}

/// The one connection that writes.
#[derive(Debug)]
struct Writer {
    connection: Connection,
    write_back: WriteBack,
    /// What was asked for last; nothing, if that failed.
    durable: Option<Durable>,
}

/// When a COMMIT that returned is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durable {
    AtOnce,
    /// With the next one that is at once: SQLite flushes the whole write-ahead log, which is written in order and read
    /// no further than it is whole.
    WithTheNext,
}

impl Writer {
    const fn new(connection: Connection, write_back: WriteBack) -> Self {
        Self {
            connection,
            write_back,
            durable: None,
        }
    }

    /// What it is to be from now on is set before anything is written, and never only put back afterwards. Only a COMMIT
    /// that flushed the write-ahead log may write it back.
    fn make(&mut self, durable: Durable) -> rusqlite::Result<()> {
        if self.durable == Some(durable) {
            return Ok(());
        }
        self.durable = None;
        let synchronous = match durable {
            Durable::AtOnce => "FULL",
            Durable::WithTheNext => "NORMAL",
        };
        self.connection
            .pragma_update(None, "synchronous", synchronous)?;
        match durable {
            Durable::AtOnce => self.write_back.resume(),
            Durable::WithTheNext => self.write_back.pause(),
        }
        self.durable = Some(durable);
        Ok(())
    }
}

impl Store {
    /// Opens or creates the store and takes it for the life of the process. Its write-ahead log is written back when it
    /// has so many frames ([`pages::LONG_LOG`] unless there is a reason).
    ///
    /// # Errors
    /// [`StoreError`]: held by another process, of a newer version, not ours, or damaged.
    pub fn open(path: &Path, long_log: u32) -> Result<Self, StoreError> {
        let lock = take_lock(path)?;
        let mut connection = bare::connect(path)?;
        pages::prepare(&connection)?;
        configure(&connection)?;
        let write_back = WriteBack::begin(&mut connection, long_log)?;
        // From here on everything that is found is on the disk.
        if !write_back.all_anew(&connection)? {
            return Err(in_use(path));
        }
        prepare_schema(&mut connection, path)?;
        let fence = raise_fence(&mut connection)?;
        Ok(Self {
            path: path.to_path_buf(),
            writer: Mutex::new(Writer::new(connection, write_back)),
            fence,
            _lock: lock,
        })
    }

    /// Runs `work` in one transaction and commits it. If the power goes before COMMIT returns, either all of it is
    /// there after restart or nothing.
    ///
    /// # Errors
    /// What `work` returned, after a rollback; [`StoreError::Full`] if there was no room for the COMMIT, which was
    /// rolled back too; [`StoreError::CommitUnknown`] if it failed otherwise.
    pub fn write<T>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.commit(Durable::AtOnce, work)
    }

    /// As [`Self::write`], for rows that somebody else holds durably and gives again: they are on the disk with the next
    /// [`Self::write`] that changes anything. If the power goes before, all of it is there after restart or nothing.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_unflushed<T>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.commit(Durable::WithTheNext, work)
    }

    fn commit<T>(
        &self,
        durable: Durable,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut writer = self.writer();
        writer.make(durable)?;
        let Writer {
            connection,
            write_back,
            ..
        } = &mut *writer;
        let inner = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut transaction = Transaction::new(&inner, self.fence)?;
        let value = work(&mut transaction)?;
        transaction.finish()?;
        let committed = inner.commit().map_err(commit_failed);
        if let Err(StoreError::CommitUnknown(_)) = &committed {
            write_back.forbid();
        }
        committed.map(|()| value)
    }

    /// Writes what is in the write-ahead log into the database, so that the next start finds nothing to do. Readers
    /// that are still lent out may keep it from being emptied: the next start does it then.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written. Nothing is lost by that.
    pub fn settle(&self) -> Result<(), StoreError> {
        let writer = self.writer();
        match writer.write_back.all(&writer.connection)? {
            true => Ok(()),
            false => Err(in_use(&self.path)),
        }
    }

    /// A reader with a connection of its own.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = pages::connect(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(Reader::new(connection))
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic while the lock was held rolled its transaction back: the connection itself is sound.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_lock(path: &Path) -> Result<std::fs::File, StoreError> {
    let lock_path = path.with_extension("lock");
    let failed = |reason: String| StoreError::Open {
        path: path.to_path_buf(),
        reason,
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| failed(error.to_string()))?;
    file.try_lock().map_err(|error| {
        failed(format!(
            "another process holds {}: {error}",
            lock_path.display()
        ))
    })?;
    Ok(file)
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    pages::begin_log(connection)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "cache_size", -64_000)?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn in_use(path: &Path) -> StoreError {
    StoreError::Open {
        path: path.to_path_buf(),
        reason: "it is being read, and its write-ahead log cannot be emptied".to_owned(),
    }
}

fn prepare_schema(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let version = version_of_ours(connection, path)?;
    raise_schema(connection, version, newest())
}

/// The version of the schema, of a file that is ours or empty.
fn version_of_ours(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = (version, application, tables) == (0, 0, 0);
    if !empty && application != APPLICATION_ID {
        return Err(StoreError::Foreign(path.to_path_buf()));
    }
    if version > newest() {
        return Err(StoreError::Newer {
            found: version,
            known: newest(),
        });
    }
    Ok(version)
}

fn newest() -> i64 {
    i64::try_from(VERSIONS.len()).unwrap_or(i64::MAX)
}

/// Brings the schema from one version to another, in one transaction.
fn raise_schema(connection: &mut Connection, from: i64, to: i64) -> Result<(), StoreError> {
    if from == to {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for (version, step) in (1..).zip(VERSIONS) {
        if version > from && version <= to {
            transaction.execute_batch(step)?;
        }
        if version == 3 && from < 3 && to >= 3 {
            lots::begin_counting(&transaction)?;
        }
        if version == 1 && from == 0 {
            let empty = translog::tree::Frontier::new();
            transaction.execute(
                "INSERT INTO head (id, size, root, frontier, fence, last_ms) VALUES (1, 0, ?1, ?2, 0, 0)",
                (empty.root().as_bytes().as_slice(), empty.to_bytes()),
            )?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit().map_err(commit_failed)
}

/// Takes the next fence number: whoever opened the file before can commit no head any more. Its COMMIT is asked for by
/// name, because an error of the one that ends a statement by itself would be lost with the statement.
fn raise_fence(connection: &mut Connection) -> Result<i64, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let raise = "UPDATE head SET fence = fence + 1 RETURNING fence";
    let fence = transaction.query_row(raise, [], |row| row.get(0))?;
    transaction.commit().map_err(commit_failed)?;
    Ok(fence)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store as version 1 left it, without checksums: one lot with a bound, two confirmed and a voided unit, another with a bound one.
    fn of_version_one(path: &Path) {
        let mut connection = Connection::open(path).unwrap();
        configure(&connection).unwrap();
        raise_schema(&mut connection, 0, 1).unwrap();
        connection
            .execute_batch(
                "UPDATE head SET size = 5, last_ms = 1795426215250;
                 INSERT INTO lot (hash, issued) VALUES (x'AA', 4), (x'BB', 1);
                 INSERT INTO envelope (id, der, signature) VALUES (1, x'30', x'00');",
            )
            .unwrap();
        for (index, stage, lot) in [
            (0, 1, 0xAA),
            (1, 2, 0xAA),
            (2, 2, 0xAA),
            (3, 3, 0xAA),
            (4, 1, 0xBB),
        ] {
            let insert = "INSERT INTO binding (idx, stage, last_idx, last_hash, request, holder, envelope, unit, lot, facts, tbs, openings)
                 VALUES (?1, ?2, ?1, x'00', x'00', 'station', 1, 0, ?3, x'00', x'00', x'00')";
            let lot: [u8; 1] = [lot];
            connection.execute(insert, (index, stage, &lot)).unwrap();
        }
    }

    fn counts(path: &Path) -> Vec<(i64, i64, i64)> {
        let connection = pages::open(path).unwrap();
        let query = "SELECT issued, confirmed, voided FROM lot ORDER BY hash";
        let mut query = connection.prepare(query).unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_filled_store_of_version_one_is_raised_with_its_numbers() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.sqlite");
        of_version_one(&path);
        pages::open(&path).unwrap_err();
        drop(Store::open(&path, pages::LONG_LOG).unwrap());
        assert_eq!(counts(&path), [(4, 2, 1), (1, 0, 0)]);
        let connection = pages::open(&path).unwrap();
        let believed: i64 = connection
            .query_row("SELECT wall_ms FROM head", [], |row| row.get(0))
            .unwrap();
        assert_eq!(
            believed, 1_795_426_215_250,
            "what was believed is the newest leaf's time"
        );
        drop(connection);
        drop(Store::open(&path, pages::LONG_LOG).unwrap());
        assert_eq!(counts(&path), [(4, 2, 1), (1, 0, 0)], "raised once");
    }

    /// What SQLite does at a COMMIT: 2 is FULL, 1 is NORMAL.
    #[test]
    fn a_commit_waits_for_the_disk_unless_it_need_not() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("ca.sqlite"), pages::LONG_LOG).unwrap();
        let synchronous = |transaction: &mut Transaction<'_>| {
            let asked = transaction.connection();
            let level = asked.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
            Ok(level?)
        };
        assert_eq!(store.write(synchronous).unwrap(), 2);
        assert_eq!(store.write_unflushed(synchronous).unwrap(), 1);
        assert_eq!(store.write_unflushed(synchronous).unwrap(), 1);
        assert_eq!(store.write(synchronous).unwrap(), 2);
        // One that comes to nothing leaves none behind that does not wait.
        let fails = |_: &mut Transaction<'_>| Err::<(), _>(StoreError::Fenced);
        store.write_unflushed(fails).unwrap_err();
        assert_eq!(store.write(synchronous).unwrap(), 2);
    }

    /// One bit of the header says how many bytes are left for the checksum, and none covers the header by itself.
    #[test]
    fn a_header_that_denies_the_checksums_is_no_store_of_before() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.sqlite");
        drop(Store::open(&path, pages::LONG_LOG).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[20], 8);
        bytes[20] = 0;
        std::fs::write(&path, &bytes).unwrap();
        let refused = Store::open(&path, pages::LONG_LOG).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged(_)), "{refused}");
        let refused = Reader::open(&path).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged(_)), "{refused}");
        assert!(std::fs::read(&path).unwrap() == bytes, "it was written to");
    }

    #[test]
    fn a_backup_of_before_can_be_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.sqlite");
        of_version_one(&path);
        let connection = Connection::open(&path).unwrap();
        for step in VERSIONS.iter().skip(1) {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", 3).unwrap();
        drop(connection);
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.in_flight().unwrap(), 2);
        let copy = home.path().join("copy.sqlite");
        reader.copy_to(&copy).unwrap();
    }

    #[test]
    fn a_store_of_a_newer_version_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.sqlite");
        of_version_one(&path);
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(
            Store::open(&path, pages::LONG_LOG).unwrap_err(),
            StoreError::Newer { found: 99, .. }
        ));
        assert!(std::fs::read(&path).unwrap() == before, "it was written to");
    }

    #[test]
    fn readings_of_a_snapshot_know_nothing_of_what_is_committed_meanwhile() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.sqlite");
        of_version_one(&path);
        let store = Store::open(&path, pages::LONG_LOG).unwrap();
        let reader = store.reader().unwrap();
        let together = reader.snapshot().unwrap();
        let before = reader.open_bindings().unwrap();
        let writer = pages::open(&path).unwrap();
        let sign = "UPDATE binding SET signature = zeroblob(64) WHERE idx = 0";
        assert_eq!(writer.execute(sign, []).unwrap(), 1);
        assert_eq!(reader.open_bindings().unwrap(), before);
        drop(together);
        assert!(before.contains(&0));
        assert!(!reader.open_bindings().unwrap().contains(&0));
    }
}
