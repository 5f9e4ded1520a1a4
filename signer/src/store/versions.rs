//! The versions of the store, and how each is made from the one before.

use super::{Store, failed};
use crate::error::{Fault, SignerError};
use rusqlite::Connection;
use std::path::Path;

/// Makes a version from the one before.
type Step = fn(&Connection) -> Result<(), StepError>;

/// Why a step could not be taken. The store is as it was.
enum StepError {
    /// SQLite: no room for a second table, for instance.
    Sqlite(rusqlite::Error),
    /// What is stored does not hold together.
    Unsound(Fault),
}

impl From<rusqlite::Error> for StepError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn failed_step(path: &Path, error: StepError) -> SignerError {
    match error {
        StepError::Sqlite(error) => failed(path, error),
        StepError::Unsound(fault) => SignerError::Damaged(fault.text),
    }
}

/// The first step makes version 1 of an empty file.
const STEPS: [Step; 4] = [
    |connection| Ok(connection.execute_batch(SCHEMA)?),
    |connection| {
        connection.execute_batch(LOTS)?;
        super::lot::begin_counting(connection).map_err(StepError::Unsound)
    },
    // Version 3 has the same tables. From here on every page of the file ends with its checksum (package `pages`).
    |_connection| Ok(()),
    |connection| Ok(connection.execute_batch(NARROW)?),
];

/// The version that this program writes.
pub(super) const VERSION: i64 = 4;

const SCHEMA: &str = "
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), origin TEXT NOT NULL, log_vkey TEXT NOT NULL, issuer BLOB NOT NULL);
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), note BLOB NOT NULL, last_day BLOB NOT NULL);
CREATE TABLE halt (id INTEGER PRIMARY KEY CHECK (id = 1), code TEXT NOT NULL, text TEXT NOT NULL, ours BLOB NOT NULL, theirs BLOB NOT NULL);
CREATE TABLE leaf (entry INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TABLE bind (entry INTEGER PRIMARY KEY, leaf BLOB NOT NULL);
CREATE TABLE subject (id BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE spki (hash BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE grant_state (document BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE document (hash BLOB PRIMARY KEY, kind TEXT NOT NULL, der BLOB NOT NULL);
CREATE TABLE station (id TEXT NOT NULL, entry INTEGER NOT NULL, document BLOB NOT NULL, PRIMARY KEY (id, entry)) WITHOUT ROWID;
CREATE TABLE attempt (entry INTEGER PRIMARY KEY, tbs BLOB NOT NULL UNIQUE, signature BLOB);
";

/// Version 2 counts lots.
const LOTS: &str = "
CREATE TABLE lot_state (document BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
";

/// Version 4 keeps fewer indexes whose rows lie anywhere. A TBS names its key and its certificate's serial, so no two
/// entries have the same; and a fixed key that is certified itself is a subject, and no row of `spki` from here on.
const NARROW: &str = "
CREATE TABLE narrow (entry INTEGER PRIMARY KEY, tbs BLOB NOT NULL, signature BLOB);
INSERT INTO narrow SELECT entry, tbs, signature FROM attempt;
DROP TABLE attempt;
ALTER TABLE narrow RENAME TO attempt;
";

/// Brings an opened store to the newest version, in one transaction: if the power goes, it is the old one or the new.
pub(super) fn raise(store: &Store, path: &Path, from: i64) -> Result<(), SignerError> {
    if from == VERSION {
        return Ok(());
    }
    let failed = |error| failed(path, error);
    let transaction = store.begin().map_err(failed)?;
    step_through(&transaction, path, from)?;
    transaction.commit().map_err(failed)
}

/// The steps after a version, inside the caller's transaction.
pub(super) fn step_through(
    connection: &Connection,
    path: &Path,
    from: i64,
) -> Result<(), SignerError> {
    for (version, step) in (1..).zip(STEPS) {
        if version > from {
            step(connection).map_err(|error| failed_step(path, error))?;
        }
    }
    let named = connection.pragma_update(None, "user_version", VERSION);
    named.map_err(|error| failed(path, error))
}

#[cfg(test)]
mod tests {
    use super::{STEPS, SignerError, VERSION, step_through};
    use rusqlite::{Connection, ErrorCode};
    use std::path::Path;

    #[test]
    fn every_version_has_its_step() {
        assert_eq!(i64::try_from(STEPS.len()), Ok(VERSION));
    }

    /// Nothing is wrong with the store then, and nobody must restore a backup of a signer's.
    #[test]
    fn a_disk_without_room_for_the_next_version_is_no_damage() {
        let connection = Connection::open_in_memory().unwrap();
        for step in &STEPS[..3] {
            assert!(step(&connection).is_ok());
        }
        for entry in 0..200 {
            let attempt = "INSERT INTO attempt VALUES (?1, randomblob(32), randomblob(64))";
            connection.execute(attempt, [entry]).unwrap();
        }
        let limit = |pages: i64| {
            let limited = connection.pragma_update(None, "max_page_count", pages);
            limited.unwrap();
        };
        let pages = connection.pragma_query_value(None, "page_count", |row| row.get(0));
        limit(pages.unwrap());
        let path = Path::new("signer.sqlite");
        let full = {
            let transaction = connection.unchecked_transaction().unwrap();
            step_through(&transaction, path, 3).unwrap_err()
        };
        let SignerError::Store { error, .. } = full else {
            panic!("{full}");
        };
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull));
        limit(1_000_000);
        step_through(&connection, path, 3).unwrap();
    }
}
