//! The room's own tests: damage of every kind, and databases of before.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod rewriting;

#[cfg(test)]
mod sample {
    use rusqlite::Connection;
    use std::path::Path;

    /// Bytes of a page.
    pub(crate) const PAGE: usize = 4096;

    /// Rows whose keys are in an index, and some that go on over several pages. The connection is not closed by a
    /// checkpoint of ours: SQLite does that.
    pub(crate) fn fill(connection: &mut Connection) {
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .unwrap();
        let transaction = connection.transaction().unwrap();
        transaction
            .execute_batch(
                "CREATE TABLE claim (key BLOB PRIMARY KEY, idx INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                 CREATE TABLE entry (idx INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
                 PRAGMA user_version = 7; PRAGMA application_id = 77;",
            )
            .unwrap();
        for row in 0..300_u32 {
            let key = row.wrapping_mul(2_654_435_761).to_be_bytes();
            let claim = "INSERT INTO claim VALUES (?1, ?2)";
            transaction.execute(claim, (key, row)).unwrap();
        }
        for row in 0..6_u8 {
            let bytes = vec![row; 100 + 3000 * usize::from(row)];
            let entry = "INSERT INTO entry VALUES (?1, ?2)";
            transaction.execute(entry, (row, bytes)).unwrap();
        }
        transaction.commit().unwrap();
    }

    /// A filled database with checksums, at rest.
    pub(crate) fn filled(path: &Path) {
        let mut connection = pages::open(path).unwrap();
        fill(&mut connection);
        let write_back = pages::WriteBack::begin(&mut connection, pages::LONG_LOG).unwrap();
        assert!(write_back.all(&connection).unwrap());
    }

    /// All that is in a sample.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Contents {
        pub(crate) version: i64,
        pub(crate) claims: Vec<(Vec<u8>, i64)>,
        pub(crate) entries: Vec<Vec<u8>>,
    }

    /// All that is in it.
    pub(crate) fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let mut claims = connection.prepare("SELECT key, idx FROM claim")?;
        let claims = claims.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut entries = connection.prepare("SELECT bytes FROM entry")?;
        let entries = entries.query_map([], |row| row.get(0))?;
        Ok(Contents {
            version,
            claims: claims.collect::<Result<_, _>>()?,
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}
