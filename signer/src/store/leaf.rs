//! Hashes of all leaves, and the `bind` leaves themselves.

use super::{damaged, row_id};
use crate::error::Fault;
use identity::leaf::{Bind, Body, Leaf};
use identity::{Day, LeafHash};
use rusqlite::{Connection, OptionalExtension as _, params};
use translog::tree::{Frontier, Hash};

/// Adds the hash of the next leaf.
pub(crate) fn put_hash(
    connection: &Connection,
    entry: u64,
    hash: &LeafHash,
) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached("INSERT INTO leaf (entry, hash) VALUES (?1, ?2)")?;
    put.execute(params![row_id(entry), hash.as_bytes()])?;
    Ok(())
}

/// Hash of a leaf that was followed.
pub(crate) fn hash(connection: &Connection, entry: u64) -> Result<Option<LeafHash>, Fault> {
    let mut get = connection.prepare_cached("SELECT hash FROM leaf WHERE entry = ?1")?;
    Ok(get
        .query_row([row_id(entry)], |row| row.get(0))
        .optional()?
        .map(LeafHash))
}

/// The tree over the first `size` leaves, from their hashes.
pub(crate) fn frontier(connection: &Connection, size: u64) -> rusqlite::Result<Frontier> {
    let mut all =
        connection.prepare_cached("SELECT hash FROM leaf WHERE entry < ?1 ORDER BY entry")?;
    let hashes = all.query_map([row_id(size)], |row| row.get(0).map(Hash::new))?;
    hashes.collect()
}

/// Keeps a `bind` leaf.
pub(crate) fn put_bind(connection: &Connection, entry: u64, leaf: &[u8]) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached("INSERT INTO bind (entry, leaf) VALUES (?1, ?2)")?;
    put.execute(params![row_id(entry), leaf])?;
    Ok(())
}

/// A `bind` leaf that was followed, and its day.
pub(crate) fn bind(connection: &Connection, entry: u64) -> Result<Option<(Day, Bind)>, Fault> {
    let mut get = connection.prepare_cached("SELECT leaf FROM bind WHERE entry = ?1")?;
    let Some(bytes) = get
        .query_row([row_id(entry)], |row| row.get::<_, Vec<u8>>(0))
        .optional()?
    else {
        return Ok(None);
    };
    let is_followed = hash(connection, entry)? == Some(LeafHash::of(&bytes));
    match Leaf::from_bytes(&bytes) {
        Ok(Leaf {
            day,
            body: Body::Bind(bind),
        }) if is_followed => Ok(Some((day, bind))),
        _ => Err(damaged(format_args!(
            "bind {entry} is not the leaf that was followed"
        ))),
    }
}
