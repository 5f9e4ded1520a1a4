//! Lots as the log's rules count them, and what belongs to the leaves that scrap and close.

use super::rows::{document_hash, from_sql, small, to_sql};
use super::{Reader, StoreError, Transaction};
use crate::issuance::LotEnd;
use identity::LeafHash;
use identity::document::{Document as _, LotOrder};
use identity::hash::DocumentHash;
use identity::leaf::{Bind, Body, EntryRef, Leaf, LotClose};
use identity::lot::LotTally;
use identity::rules::{LotState, SubjectState};
use rusqlite::{Connection, OptionalExtension as _, Row};
use std::collections::BTreeMap;

const STATE: &str = "SELECT grant_, quantity, bound, confirmed, voided, scrapped, keyless, closed
    FROM lot_state WHERE hash = ?1";

/// What is stored beside a `scrap` or `lot-close` leaf.
#[derive(Clone, Copy, Debug)]
pub struct LotRequest<'a> {
    /// The station's request, DER.
    pub der: &'a [u8],
    /// Its signature.
    pub signature: &'a [u8],
    /// Openings of the leaf's fields, if it has fields.
    pub openings: Option<&'a [u8]>,
}

impl Transaction<'_> {
    /// State of a lot under the log's rules.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lot_state(&self, lot: &DocumentHash) -> Result<Option<LotState>, StoreError> {
        self.row(STATE, [lot.as_ref()], state)?.transpose()
    }

    pub(super) fn put_lot_state(
        &self,
        lot: &DocumentHash,
        state: &LotState,
    ) -> Result<(), StoreError> {
        put(self.connection(), lot, state)
    }

    /// The `lot-close` leaf of a lot that is closed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lot_close(&self, entry: u64) -> Result<LotClose, StoreError> {
        let Body::LotClose(close) = self.leaf_body(entry)? else {
            return Err(StoreError::Damaged("a lot is closed by another leaf"));
        };
        Ok(close)
    }

    /// Notes that a lot closed with a difference.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn mark_difference(&self, lot: &DocumentHash) -> Result<(), StoreError> {
        let sql = "UPDATE lot_state SET differs = 1 WHERE hash = ?1";
        self.execute_one(sql, [lot.as_ref()])
    }

    /// The body of a `bind` leaf.
    ///
    /// # Errors
    /// [`StoreError`], also if it is another leaf.
    pub fn bind_body(&self, bind: u64) -> Result<Bind, StoreError> {
        let Body::Bind(body) = self.leaf_body(bind)? else {
            return Err(StoreError::Damaged("a binding without its bind leaf"));
        };
        Ok(body)
    }

    /// An entry with its leaf hash.
    ///
    /// # Errors
    /// [`StoreError`], also if there is none.
    pub fn entry_ref(&self, entry: u64) -> Result<EntryRef, StoreError> {
        let hash = LeafHash::of(&self.leaf_bytes(entry)?);
        Ok(EntryRef { index: entry, hash })
    }

    /// Whether so many entries of a unit follow its `bind` entry, or more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn history_reaches(&self, state: &SubjectState, count: usize) -> Result<bool, StoreError> {
        let mut at = state.last.index;
        for _ in 0..count {
            match self.leaf_body(at)?.previous() {
                Some(entry) if at != state.bind => at = entry.index,
                Some(_) | None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn leaf_body(&self, entry: u64) -> Result<Body, StoreError> {
        let leaf = Leaf::from_bytes(&self.leaf_bytes(entry)?);
        leaf.map(|leaf| leaf.body)
            .map_err(|_bad| StoreError::Damaged("a leaf that was appended"))
    }

    fn leaf_bytes(&self, entry: u64) -> Result<Vec<u8>, StoreError> {
        let row = self.row(
            "SELECT entry FROM leaf WHERE idx = ?1",
            [to_sql(entry)?],
            |row| row.get(0),
        )?;
        row.ok_or(StoreError::Damaged("a leaf that was appended"))
    }

    /// Stores what a `scrap` or `lot-close` leaf came from.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_lot_request(&self, entry: u64, request: &LotRequest<'_>) -> Result<(), StoreError> {
        self.execute_one(
            "INSERT INTO lot_request (idx, der, signature, openings) VALUES (?1, ?2, ?3, ?4)",
            (
                to_sql(entry)?,
                request.der,
                request.signature,
                request.openings,
            ),
        )
    }
}

impl Reader {
    /// State of a lot under the log's rules.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lot_state(&self, lot: &DocumentHash) -> Result<Option<LotState>, StoreError> {
        let mut statement = self.connection().prepare_cached(STATE)?;
        let row = statement.query_row([lot.as_ref()], state).optional()?;
        row.transpose()
    }

    /// How a lot ended, if it is closed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lot_end(&self, lot: &DocumentHash) -> Result<Option<LotEnd>, StoreError> {
        let mut statement = self.connection().prepare_cached(
            "SELECT closed, differs FROM lot_state WHERE hash = ?1 AND closed IS NOT NULL",
        )?;
        let row = statement
            .query_row([lot.as_ref()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        row.map(|(entry, differs)| {
            let entry = from_sql(entry)?;
            Ok(LotEnd { entry, differs })
        })
        .transpose()
    }

    /// The lots that are closed, and how.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn closed_lots(&self) -> Result<BTreeMap<DocumentHash, LotEnd>, StoreError> {
        let mut statement = self.connection().prepare_cached(
            "SELECT hash, closed, differs FROM lot_state WHERE closed IS NOT NULL",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, row.get(2)?))
        })?;
        rows.map(|row| {
            let (hash, entry, differs) = row?;
            let entry = from_sql(entry)?;
            Ok((document_hash(&hash)?, LotEnd { entry, differs }))
        })
        .collect()
    }
}

/// The lots of a store from before lots were counted: open, and with nothing in them, because no leaf names one.
pub(super) fn begin_counting(transaction: &rusqlite::Transaction<'_>) -> Result<(), StoreError> {
    let mut query = transaction.prepare(
        "SELECT document.hash, entry FROM document JOIN leaf ON leaf.idx = document.idx WHERE kind = ?1",
    )?;
    let rows = query.query_map([LotOrder::KIND], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    for row in rows {
        let (hash, entry) = row?;
        let leaf = Leaf::from_bytes(&entry).map_err(|_bad| StoreError::Damaged("a lot's leaf"))?;
        let Body::LotOpen {
            grant, quantity, ..
        } = leaf.body
        else {
            return Err(StoreError::Damaged("a lot that another leaf opened"));
        };
        let state = LotState {
            grant,
            quantity,
            tally: LotTally::default(),
            closed: None,
        };
        put(transaction, &document_hash(&hash)?, &state)?;
    }
    Ok(())
}

fn put(connection: &Connection, lot: &DocumentHash, state: &LotState) -> Result<(), StoreError> {
    let LotTally {
        bound,
        confirmed,
        voided,
        scrapped,
        keyless,
    } = state.tally;
    let mut statement = connection.prepare_cached(
        "INSERT INTO lot_state (hash, grant_, quantity, bound, confirmed, voided, scrapped, keyless, closed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (hash) DO UPDATE SET bound = ?4, confirmed = ?5, voided = ?6, scrapped = ?7, keyless = ?8, closed = ?9",
    )?;
    statement.execute((
        lot.as_ref(),
        state.grant.as_ref(),
        state.quantity,
        bound,
        confirmed,
        voided,
        scrapped,
        keyless,
        state.closed.map(to_sql).transpose()?,
    ))?;
    Ok(())
}

fn state(row: &Row<'_>) -> rusqlite::Result<Result<LotState, StoreError>> {
    let grant: Vec<u8> = row.get(0)?;
    let numbers: [i64; 6] = [
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
    ];
    let closed: Option<i64> = row.get(7)?;
    let read = || {
        let [quantity, bound, confirmed, voided, scrapped, keyless] = numbers;
        Ok(LotState {
            grant: document_hash(&grant)?,
            quantity: small(quantity)?,
            tally: LotTally {
                bound: small(bound)?,
                confirmed: small(confirmed)?,
                voided: small(voided)?,
                scrapped: small(scrapped)?,
                keyless: small(keyless)?,
            },
            closed: closed.map(from_sql).transpose()?,
        })
    };
    Ok(read())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, configure, raise_schema};
    use identity::Day;
    use std::path::Path;

    const LOT: DocumentHash = DocumentHash([0x10; 32]);
    const GRANT: DocumentHash = DocumentHash([0x20; 32]);

    /// A store as version 2 left it: a lot of 7 with two bound units, whose leaves name no lot.
    fn of_version_two(path: &Path) {
        let mut connection = Connection::open(path).unwrap();
        configure(&connection).unwrap();
        raise_schema(&mut connection, 0, 2).unwrap();
        let opened = Leaf {
            day: Day(20_000),
            body: Body::LotOpen {
                document: LOT,
                grant: GRANT,
                quantity: 7,
            },
        };
        let leaf = "INSERT INTO leaf (idx, entry) VALUES (0, ?1)";
        connection.execute(leaf, [opened.to_bytes()]).unwrap();
        let document =
            "INSERT INTO document (hash, idx, kind, name, support) VALUES (?1, 0, ?2, 'l', x'30')";
        let row = (LOT.as_ref(), LotOrder::KIND);
        connection.execute(document, row).unwrap();
        let lot = "INSERT INTO lot (hash, issued) VALUES (?1, 2)";
        connection.execute(lot, [LOT.as_ref()]).unwrap();
    }

    #[test]
    fn a_filled_store_of_version_two_is_raised_and_its_lots_stay_open() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.sqlite");
        of_version_two(&path);
        let open = LotState {
            grant: GRANT,
            quantity: 7,
            tally: LotTally::default(),
            closed: None,
        };
        for _ in 0..2 {
            let store = Store::open(&path, pages::LONG_LOG).unwrap();
            let reader = store.reader().unwrap();
            assert_eq!(reader.lot_state(&LOT).unwrap(), Some(open));
            assert!(reader.closed_lots().unwrap().is_empty());
            assert_eq!(reader.lot_end(&LOT).unwrap(), None);
            let counts = reader.lot(&LOT).unwrap().unwrap();
            assert_eq!((counts.issued, counts.scrapped), (2, 0));
        }
    }

    #[test]
    fn what_is_known_of_a_lot_is_read_as_it_was_written() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("ca.sqlite"), pages::LONG_LOG).unwrap();
        let state = LotState {
            grant: GRANT,
            quantity: 1,
            tally: LotTally {
                bound: 2,
                confirmed: 3,
                voided: 4,
                scrapped: 5,
                keyless: 6,
            },
            closed: Some(8),
        };
        let written = store.write(|transaction| {
            transaction.put_lot_state(
                &LOT,
                &LotState {
                    closed: None,
                    ..state
                },
            )?;
            transaction.put_lot_state(&LOT, &state)?;
            transaction.mark_difference(&LOT)
        });
        written.unwrap();
        let reader = store.reader().unwrap();
        assert_eq!(reader.lot_state(&LOT).unwrap(), Some(state));
        let end = LotEnd {
            entry: 8,
            differs: true,
        };
        assert_eq!(reader.closed_lots().unwrap(), BTreeMap::from([(LOT, end)]));
        assert_eq!(reader.lot_end(&LOT).unwrap(), Some(end));
    }
}
