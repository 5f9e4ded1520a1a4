//! Documents that leaves named, and which station has which statement.

use super::{damaged, row_id};
use crate::error::Fault;
use identity::document::{Document, Profile};
use identity::{DocumentHash, Id};
use rusqlite::{Connection, OptionalExtension as _, params};

/// Keeps a document. A profile may come with several grants; every other kind is entered once, by the log's rules.
pub(crate) fn put<D: Document>(connection: &Connection, document: &D) -> rusqlite::Result<()> {
    let mut put = connection
        .prepare_cached("INSERT OR IGNORE INTO document (hash, kind, der) VALUES (?1, ?2, ?3)")?;
    put.execute(params![
        document.hash().as_bytes(),
        D::KIND,
        document.to_bytes()
    ])?;
    Ok(())
}

/// A document that was kept.
pub(crate) fn get<D: Document>(connection: &Connection, hash: &DocumentHash) -> Result<D, Fault> {
    let mut get =
        connection.prepare_cached("SELECT der FROM document WHERE hash = ?1 AND kind = ?2")?;
    let der = get
        .query_row(params![hash.as_bytes(), D::KIND], |row| {
            row.get::<_, Vec<u8>>(0)
        })
        .optional()?;
    let document = der
        .and_then(|der| D::from_bytes(&der).ok())
        .filter(|document| document.hash() == *hash);
    document.ok_or_else(|| damaged(format_args!("{} {hash} is not there", D::KIND)))
}

/// Whether a leaf entered this document. Profiles come with their grant and have no leaf of their own.
pub(crate) fn is_entered(connection: &Connection, hash: &DocumentHash) -> rusqlite::Result<bool> {
    let mut get =
        connection.prepare_cached("SELECT 1 FROM document WHERE hash = ?1 AND kind <> ?2")?;
    get.exists(params![hash.as_bytes(), Profile::KIND])
}

/// Notes at which leaf a station's statement was entered.
pub(crate) fn put_station(
    connection: &Connection,
    id: &Id,
    entry: u64,
    statement: &DocumentHash,
) -> rusqlite::Result<()> {
    let mut put = connection
        .prepare_cached("INSERT INTO station (id, entry, document) VALUES (?1, ?2, ?3)")?;
    put.execute(params![id.as_str(), row_id(entry), statement.as_bytes()])?;
    Ok(())
}

/// A station's statements, each with the entry that brought it, oldest first.
pub(crate) fn statements(
    connection: &Connection,
    id: &Id,
) -> rusqlite::Result<Vec<(u64, DocumentHash)>> {
    let mut get = connection
        .prepare_cached("SELECT entry, document FROM station WHERE id = ?1 ORDER BY entry")?;
    let rows = get.query_map([id.as_str()], |row| {
        // Entries are never negative; one that were is after all others.
        let entry = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(u64::MAX);
        Ok((entry, row.get(1).map(DocumentHash)?))
    })?;
    rows.collect()
}
