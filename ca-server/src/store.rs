//! The store: one SQLite file, one writer for the process's life, readers beside it.
//!
//! WAL with `synchronous=FULL`: a COMMIT that returned is on the disk. An error from COMMIT means *unknown*, never
//! *no*; the caller stops and finds out by reading (`docs/issuance.md`).

mod read;
mod rows;
mod write;

pub use read::{Reader, StoredBinding, StoredDocument};
pub use rows::{ClaimKey, Head};
pub use write::{BindingState, NewBinding, RefusalPlace, Transaction};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Version of the schema that this program writes.
const SCHEMA_VERSION: i64 = 1;
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
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
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

/// The store of one CA.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    fence: i64,
    _lock: std::fs::File,
}

impl Store {
    /// Opens or creates the store and takes it for the life of the process.
    ///
    /// # Errors
    /// [`StoreError`]: held by another process, of a newer version, not ours, or damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = take_lock(path)?;
        let mut connection = Connection::open(path)?;
        configure(&connection)?;
        prepare_schema(&mut connection, path)?;
        let fence = raise_fence(&connection)?;
        Ok(Self {
            path: path.to_path_buf(),
            writer: Mutex::new(connection),
            fence,
            _lock: lock,
        })
    }

    /// Runs `work` in one transaction and commits it. If the power goes before COMMIT returns, either all of it is
    /// there after restart or nothing.
    ///
    /// # Errors
    /// What `work` returned, after a rollback; [`StoreError::CommitUnknown`] if the COMMIT itself failed.
    pub fn write<T>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let inner = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut transaction = Transaction::new(&inner, self.fence)?;
        let value = work(&mut transaction)?;
        transaction.finish()?;
        inner.commit().map_err(StoreError::CommitUnknown)?;
        Ok(value)
    }

    /// A reader with a connection of its own.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(Reader::new(connection))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
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
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "cache_size", -64_000)?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn prepare_schema(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    match (version, application) {
        (0, 0) => create_schema(connection, path),
        (_, found) if found != APPLICATION_ID => Err(StoreError::Foreign(path.to_path_buf())),
        (found, _) if found > SCHEMA_VERSION => Err(StoreError::Newer {
            found,
            known: SCHEMA_VERSION,
        }),
        _ => Ok(()),
    }
}

fn create_schema(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables != 0 {
        return Err(StoreError::Foreign(path.to_path_buf()));
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(include_str!("store/schema.sql"))?;
    let empty = translog::tree::Frontier::new();
    transaction.execute(
        "INSERT INTO head (id, size, root, frontier, fence, last_ms) VALUES (1, 0, ?1, ?2, 0, 0)",
        (empty.root().as_bytes().as_slice(), empty.to_bytes()),
    )?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit().map_err(StoreError::CommitUnknown)
}

/// Takes the next fence number: whoever opened the file before can commit no head any more.
fn raise_fence(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row(
        "UPDATE head SET fence = fence + 1 RETURNING fence",
        [],
        |row| row.get(0),
    )?)
}
