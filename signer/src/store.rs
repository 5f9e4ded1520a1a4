//! The signer's own store: one SQLite file that no other process opens while the signer runs.
//!
//! Whatever is read back is checked: leaf hashes against the newest checkpoint, leaves and documents against their
//! hashes, states against a seal, signatures against the CA key. SQLite itself does not notice a flipped bit; the pages'
//! checksums do (package `pages`).

pub(crate) mod attempt;
mod bare;
pub(crate) mod document;
pub(crate) mod leaf;
pub(crate) mod lot;
pub(crate) mod state;
mod versions;

use crate::code::Code;
use crate::error::{Fault, SignerError};
use crate::pinned::Pinned;
use identity::Day;
use identity::hash::{Sink as _, sha256_of};
use pages::WriteBack;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use versions::VERSION;

/// Statements kept prepared: more than the signer has.
const STATEMENTS: usize = 64;

/// The open store.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    write_back: WriteBack,
}

impl Store {
    /// Makes the empty store, once in the life of a CA key; readable by its owner only.
    pub(crate) fn make(path: &Path, pinned: &Pinned) -> Result<(), SignerError> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| SignerError::StoreNotMade {
                path: path.to_owned(),
                error,
            })?;
        let failed = |error| SignerError::Store {
            path: path.to_owned(),
            error,
        };
        let connection = connect(path).map_err(failed)?;
        lock_and_read_version(&connection, pages::prepare).map_err(failed)?;
        Self::configured(connection, pages::LONG_LOG)
            .map_err(failed)?
            .create(path, pinned)
    }

    /// Opens the store and keeps every other process out of it. A store that is gone is never made anew: it would
    /// permit once more everything that the lost one knows to be used up.
    pub(crate) fn open(path: &Path, pinned: &Pinned, long_log: u32) -> Result<Self, SignerError> {
        let failed = |error| failed(path, error);
        let missing = || SignerError::StoreMissing(path.to_owned());
        if !path.exists() {
            return Err(missing());
        }
        let connection = bare::connect(path)?;
        let version = lock(&connection, path, pages::prepare)?;
        if version > VERSION {
            return Err(SignerError::NewerStore {
                found: version,
                known: VERSION,
            });
        }
        if version == 0 {
            return Err(missing());
        }
        let store = Self::configured(connection, long_log).map_err(failed)?;
        // Nobody else has the file, so nobody stands in the way.
        store
            .write_back
            .all_anew(&store.connection)
            .map_err(failed)?;
        // That the log is empty is durable, too, before anything is answered from what it held.
        store.touch(version).map_err(failed)?;
        store.check_meta(pinned, failed)?;
        versions::raise(&store, path, version)?;
        Ok(store)
    }

    fn configured(mut connection: Connection, long_log: u32) -> rusqlite::Result<Self> {
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        pages::begin_log(&connection)?;
        connection.pragma_update(None, "trusted_schema", "OFF")?;
        connection.pragma_update(None, "cell_size_check", "ON")?;
        let write_back = WriteBack::begin(&mut connection, long_log)?;
        Ok(Self {
            connection,
            write_back,
        })
    }

    /// Writes what is there already.
    fn touch(&self, version: i64) -> rusqlite::Result<()> {
        let transaction = self.begin()?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()
    }

    /// A transaction that may write.
    pub(crate) fn begin(&self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.unchecked_transaction()
    }

    /// Commits. An error here means unknown, not no: what became durable is only found by opening the store again. Only a
    /// full disk is a plain no: in WAL mode the frame that commits is the last one written.
    pub(crate) fn commit(&self, transaction: Transaction<'_>) -> Result<(), Fault> {
        transaction.commit().map_err(|error| {
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
                return Fault::new(Code::StoreFailed, error);
            }
            self.write_back.forbid();
            Fault::new(Code::OutcomeUnknown, error)
        })
    }

    /// The newest checkpoint followed and the day of its newest leaf, if any leaf was followed.
    pub(crate) fn head(&self) -> rusqlite::Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.connection
            .query_row("SELECT note, last_day FROM head", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
    }

    /// For reading outside a transaction.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Why nothing may be signed from this store any more.
    pub(crate) fn halt(&self) -> rusqlite::Result<Option<Fault>> {
        let row = self
            .connection
            .query_row("SELECT code, text FROM halt", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            });
        // Every code that halts stays in the table for ever; should one be unreadable, the store is damaged and halts too.
        let fault = |(code, text): (String, String)| Fault {
            code: Code::from_code(&code).unwrap_or(Code::StoreDamaged),
            text,
        };
        Ok(row.optional()?.map(fault))
    }

    /// Keeps both sides of the contradiction. The first one stays.
    pub(crate) fn set_halt(
        &self,
        fault: &Fault,
        ours: &[u8],
        theirs: &[u8],
    ) -> rusqlite::Result<()> {
        self.connection.execute(
            "INSERT OR IGNORE INTO halt (id, code, text, ours, theirs) VALUES (1, ?1, ?2, ?3, ?4)",
            params![fault.code.as_str(), fault.text, ours, theirs],
        )?;
        Ok(())
    }

    fn create(&self, path: &Path, pinned: &Pinned) -> Result<(), SignerError> {
        let failed = |error| SignerError::Store {
            path: path.to_owned(),
            error,
        };
        let transaction = self.begin().map_err(failed)?;
        versions::step_through(&transaction, path, 0)?;
        Self::put_meta(&transaction, pinned)
            .and_then(|()| transaction.commit())
            .map_err(failed)
    }

    fn put_meta(connection: &Connection, pinned: &Pinned) -> rusqlite::Result<()> {
        connection.execute(
            "INSERT INTO meta (id, origin, log_vkey, issuer) VALUES (1, ?1, ?2, ?3)",
            params![
                pinned.origin,
                pinned.log_vkey,
                pinned.issuing_key.as_bytes()
            ],
        )?;
        Ok(())
    }

    fn check_meta(
        &self,
        pinned: &Pinned,
        failed: impl Fn(rusqlite::Error) -> SignerError,
    ) -> Result<(), SignerError> {
        let row =
            self.connection
                .query_row("SELECT origin, log_vkey, issuer FROM meta", [], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, Vec<u8>>(2)?,
                    ))
                });
        let (origin, log_vkey, issuer) = row.map_err(failed)?;
        let same = origin == pinned.origin
            && log_vkey == pinned.log_vkey
            && issuer == pinned.issuing_key.as_bytes();
        if same {
            Ok(())
        } else {
            Err(SignerError::OtherStore { origin })
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.write_back.all(&self.connection) {
            tracing::warn!(%error, "the signer's next start has more to read");
        }
    }
}

/// Never makes the file.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    pages::connect(path, FLAGS)
}

/// Takes the store for the life of the process and reads its version. No waiting: whoever holds the lock holds it for
/// life. Nothing is written before the version is known.
fn lock(
    connection: &Connection,
    path: &Path,
    first: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<i64, SignerError> {
    lock_and_read_version(connection, first).map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy) => SignerError::InUse(path.to_owned()),
        _ => failed(path, error),
    })
}

/// Why SQLite did not open the store.
pub(crate) fn failed(path: &Path, error: rusqlite::Error) -> SignerError {
    match pages::is_damage(&error) {
        true => SignerError::Damaged(error.to_string()),
        false => SignerError::Store {
            path: path.to_owned(),
            error,
        },
    }
}

fn lock_and_read_version(
    connection: &Connection,
    first: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<i64> {
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    first(connection)?;
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes this the head that the signer has followed.
pub(crate) fn put_head(
    connection: &Connection,
    note: &[u8],
    last_day: Day,
) -> rusqlite::Result<()> {
    let day = sealed("head", note, last_day.0.to_be_bytes().to_vec());
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO head (id, note, last_day) VALUES (1, ?1, ?2)")?;
    put.execute(params![note, day])?;
    Ok(())
}

/// The number under which SQLite knows an entry. No log has more than 2^63 − 1, so what is above names no row.
pub(crate) fn row_id(entry: u64) -> i64 {
    i64::try_from(entry).unwrap_or(i64::MAX)
}

/// Bytes of a seal.
const SEAL: usize = 8;

/// A value with a seal over table, key and value, so that a flipped bit is noticed. No defence against a writer.
pub(crate) fn sealed(table: &str, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let seal = seal(table, key, &value);
    value.extend_from_slice(&seal);
    value
}

/// The value under a seal.
pub(crate) fn unseal<'a>(table: &str, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], Fault> {
    match stored.split_last_chunk::<SEAL>() {
        Some((value, found)) if *found == seal(table, key, value) => Ok(value),
        _ => Err(damaged(format_args!(
            "a row of {table} does not fit its seal"
        ))),
    }
}

/// The store says something that it was never told.
pub(crate) fn damaged(what: impl std::fmt::Display) -> Fault {
    Fault::new(Code::StoreDamaged, what)
}

fn seal(table: &str, key: &[u8], value: &[u8]) -> [u8; SEAL] {
    let digest = sha256_of(|hasher| {
        hasher.put_prefixed(table.as_bytes());
        hasher.put_prefixed(key);
        hasher.put_prefixed(value);
    });
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}
