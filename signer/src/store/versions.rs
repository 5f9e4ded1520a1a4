//! The versions of the store, and how each is made from the one before.

use super::Store;
use crate::error::{Fault, SignerError};
use rusqlite::Connection;
use std::path::Path;

/// Makes a version from the one before.
type Step = fn(&Connection) -> Result<(), Fault>;

/// The first step makes version 1 of an empty file.
const STEPS: [Step; 4] = [
    |connection| Ok(connection.execute_batch(SCHEMA)?),
    |connection| {
        connection.execute_batch(LOTS)?;
        super::lot::begin_counting(connection)
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
    let failed = |error| SignerError::Store {
        path: path.to_owned(),
        error,
    };
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
            step(connection).map_err(|fault| SignerError::Damaged(fault.text))?;
        }
    }
    let named = connection.pragma_update(None, "user_version", VERSION);
    named.map_err(|error| SignerError::Store {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::{STEPS, VERSION};

    #[test]
    fn every_version_has_its_step() {
        assert_eq!(i64::try_from(STEPS.len()), Ok(VERSION));
    }
}
