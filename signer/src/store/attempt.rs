//! What the CA key was asked to sign, and what it signed.

use super::{damaged, row_id};
use crate::error::Fault;
use identity::TbsHash;
use rusqlite::{Connection, OptionalExtension as _, params};

/// What was attempted for a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) tbs: TbsHash,
    pub(crate) signature: Option<[u8; 64]>,
}

/// The attempt for a leaf, if there was one.
pub(crate) fn get(connection: &Connection, entry: u64) -> Result<Option<Attempt>, Fault> {
    let mut get =
        connection.prepare_cached("SELECT tbs, signature FROM attempt WHERE entry = ?1")?;
    let row = get.query_row([row_id(entry)], |row| {
        Ok((
            row.get::<_, [u8; 32]>(0)?,
            row.get::<_, Option<[u8; 64]>>(1)?,
        ))
    });
    Ok(row.optional()?.map(|(tbs, signature)| Attempt {
        tbs: TbsHash(tbs),
        signature,
    }))
}

/// Notes that this TBS will be signed. A further attempt at the same one changes nothing.
pub(crate) fn put(connection: &Connection, entry: u64, tbs: &TbsHash) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(
        "INSERT INTO attempt (entry, tbs) VALUES (?1, ?2) ON CONFLICT (entry) DO NOTHING",
    )?;
    put.execute(params![row_id(entry), tbs.as_bytes()])?;
    Ok(())
}

/// Keeps a signature, only where there is an attempt and no signature yet.
pub(crate) fn put_signature(
    connection: &Connection,
    entry: u64,
    signature: &[u8; 64],
) -> Result<(), Fault> {
    let mut put = connection.prepare_cached(
        "UPDATE attempt SET signature = ?2 WHERE entry = ?1 AND signature IS NULL",
    )?;
    match put.execute(params![row_id(entry), signature])? {
        1 => Ok(()),
        _ => Err(damaged(format_args!("entry {entry} has no open attempt"))),
    }
}
