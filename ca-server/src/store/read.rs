//! Reading beside the writer.

use super::StoreError;
use super::rows::{
    ClaimKey, GRANT, Head, document_hash, from_sql, grant_state, leaf_hash, small, stage, to_sql,
};
use identity::RequestId;
use identity::hash::{DocumentHash, LeafHash};
use identity::leaf::EntryRef;
use identity::rules::{GrantState, Stage};
use rusqlite::{Connection, OptionalExtension as _, Row};
use std::path::Path;

/// A connection that cannot write.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

/// A binding with all that was stored for it.
#[derive(Clone, Debug)]
pub struct StoredBinding {
    /// Index of the `bind` leaf.
    pub bind: u64,
    /// Where the unit stands.
    pub stage: Stage,
    /// Newest entry of the subject.
    pub last: EntryRef,
    /// Request id of the newest holder.
    pub request: RequestId,
    /// Station that may confirm or void.
    pub holder: String,
    /// Lot order.
    pub lot: DocumentHash,
    /// Row of the envelope that brought it.
    pub envelope: i64,
    /// Which unit of it.
    pub unit: u32,
    /// `TBSCertificate`.
    pub tbs: Vec<u8>,
    /// Openings of the leaf's fields.
    pub openings: Vec<u8>,
    /// The signature, once there is one.
    pub signature: Option<[u8; 64]>,
    /// The signer's reason for setting the unit aside.
    pub alarm: Option<String>,
}

/// A document that a leaf entered.
#[derive(Clone, Debug)]
pub struct StoredDocument {
    /// Its hash.
    pub hash: DocumentHash,
    /// Index of the leaf.
    pub index: u64,
    /// Kind, as `Document::KIND`.
    pub kind: String,
    /// As the signer is shown it.
    pub support: Vec<u8>,
}

/// A lot in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LotCounts {
    /// Units bound, void ones included.
    pub issued: u32,
    /// Units that are confirmed.
    pub confirmed: u32,
    /// Units that are void.
    pub voided: u32,
    /// Units that are scrapped.
    pub scrapped: u32,
}

/// A bound unit that the signer refused to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Index of its `bind` leaf.
    pub bind: u64,
    /// Its request.
    pub request: RequestId,
    /// The station that holds it.
    pub holder: String,
    /// The signer's code and reason.
    pub reason: String,
}

const IN_FLIGHT: &str = "SELECT count(*) FROM binding INDEXED BY unsigned
    WHERE signature IS NULL AND alarm IS NULL AND stage = 1";

const SET_ASIDE: &str = "SELECT idx, request, holder, alarm FROM binding INDEXED BY unsigned
    WHERE signature IS NULL AND alarm IS NOT NULL AND stage = 1 ORDER BY idx LIMIT 256";

const BINDING: &str =
    "SELECT idx, stage, last_idx, last_hash, request, holder, lot, envelope, unit, tbs, openings,
    signature, alarm FROM binding";

/// The store as it is at one moment, until this is dropped. As long as it is held, the write-ahead log is not begun anew:
/// for a few readings together, and never for longer work.
#[derive(Debug)]
pub struct Snapshot<'a>(#[expect(dead_code, reason = "held")] rusqlite::Transaction<'a>);

impl Reader {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Begins several readings of one moment: each alone would take and give back SQLite's locks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        Ok(Snapshot(self.connection.unchecked_transaction()?))
    }

    /// Opens the file of a store that nobody writes to, such as a backup's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::new(super::bare::connect_to_read(path)?))
    }

    /// Copies the store as it is in this moment into a file that must not be there. The writer goes on meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; what was written of the file is left.
    pub fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        let file = file
            .to_str()
            .ok_or(StoreError::Damaged("the name of the copy is not text"))?;
        self.connection.execute("VACUUM INTO ?1", [file])?;
        Ok(())
    }

    /// What SQLite says of its pages and indexes: `ok`, or what is wrong first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn check(&self) -> Result<String, StoreError> {
        let check = "PRAGMA integrity_check(1)";
        Ok(self.connection.query_row(check, [], |row| row.get(0))?)
    }

    /// The damage that this reader met, if it met any.
    #[must_use]
    pub fn damage(&self) -> Option<StoreError> {
        pages::met_damage(&self.connection).map(StoreError::from)
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The committed head.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn head(&self) -> Result<Head, StoreError> {
        self.connection
            .query_row(Head::SELECT, [], Head::from_row)?
    }

    /// Root that was committed at this size, if a head of this size was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn past_root(&self, size: u64) -> Result<Option<[u8; 32]>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT root FROM past_head WHERE size = ?1")?;
        let root: Option<Vec<u8>> = statement
            .query_row([to_sql(size)?], |row| row.get(0))
            .optional()?;
        root.map(|root| super::rows::hash32(&root)).transpose()
    }

    /// Leaves from `first`, at most `count`, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leaves(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let query = "SELECT entry FROM leaf WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        let mut statement = self.connection.prepare_cached(query)?;
        let end = first.saturating_add(count);
        let rows = statement.query_map([to_sql(first)?, to_sql(end)?], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Owner of a claim.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn owner(&self, key: &ClaimKey) -> Result<Option<u64>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT idx FROM claim WHERE key = ?1")?;
        let owner: Option<i64> = statement
            .query_row([key.as_slice()], |row| row.get(0))
            .optional()?;
        owner.map(from_sql).transpose()
    }

    /// A binding by the index of its `bind` leaf.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn binding(&self, bind: u64) -> Result<Option<StoredBinding>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{BINDING} WHERE idx = ?1"))?;
        // A caller may ask for any number; none beyond 2^63 was ever given.
        let Ok(bind) = i64::try_from(bind) else {
            return Ok(None);
        };
        statement
            .query_row([bind], binding_row)
            .optional()?
            .transpose()
    }

    /// An envelope, DER, and its station's signature.
    ///
    /// # Errors
    /// [`StoreError`], also if there is none.
    pub fn envelope(&self, row: i64) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT der, signature FROM envelope WHERE id = ?1")?;
        let found = statement.query_row([row], |row| Ok((row.get(0)?, row.get(1)?)));
        found
            .optional()?
            .ok_or(StoreError::Damaged("a binding without its envelope"))
    }

    /// Bindings that still wait for their signature, oldest first. Voided and alarmed ones do not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_bindings(&self) -> Result<Vec<u64>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT idx FROM binding WHERE signature IS NULL AND alarm IS NULL AND stage = 1 ORDER BY idx",
        )?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.map(|row| from_sql(row?)).collect()
    }

    /// The newest head that was committed at a size above `above` and at most `most`; else the first above.
    ///
    /// # Errors
    /// [`StoreError`], also if there is none above.
    pub fn committed_head(&self, above: u64, most: u64) -> Result<(u64, [u8; 32]), StoreError> {
        let within = "SELECT size, root FROM past_head WHERE size > ?1 AND size <= ?2 ORDER BY size DESC LIMIT 1";
        let first =
            "SELECT size, root FROM past_head WHERE size > ?1 AND ?2 >= 0 ORDER BY size LIMIT 1";
        let bounds = (to_sql(above)?, to_sql(most)?);
        for query in [within, first] {
            let mut statement = self.connection.prepare_cached(query)?;
            let row = statement
                .query_row(bounds, |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))
                .optional()?;
            if let Some((size, root)) = row {
                return Ok((from_sql(size)?, super::rows::hash32(&root)?));
            }
        }
        Err(StoreError::Damaged("no head is committed"))
    }

    /// All documents in the order they were entered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn documents(&self) -> Result<Vec<StoredDocument>, StoreError> {
        let mut statement = self
            .connection
            .prepare("SELECT hash, idx, kind, support FROM document ORDER BY idx")?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get::<_, Vec<u8>>(0)?,
                row.get::<_, i64>(1)?,
                row.get(2)?,
                row.get(3)?,
            ))
        })?;
        rows.map(|row| {
            let (hash, index, kind, support) = row?;
            Ok(StoredDocument {
                hash: document_hash(&hash)?,
                index: from_sql(index)?,
                kind,
                support,
            })
        })
        .collect()
    }

    /// What a grant has used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn grant(&self, grant: &DocumentHash) -> Result<Option<GrantState>, StoreError> {
        let mut statement = self.connection.prepare_cached(GRANT)?;
        let row = statement
            .query_row([grant.as_ref()], grant_state)
            .optional()?;
        row.transpose()
    }

    /// A lot in numbers; none if it is not open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lot(&self, lot: &DocumentHash) -> Result<Option<LotCounts>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT issued, confirmed, voided, scrapped FROM lot WHERE hash = ?1",
        )?;
        let counts: Option<(i64, i64, i64, i64)> = statement
            .query_row([lot.as_ref()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let read = |(issued, confirmed, voided, scrapped)| {
            Ok(LotCounts {
                issued: small(issued)?,
                confirmed: small(confirmed)?,
                voided: small(voided)?,
                scrapped: small(scrapped)?,
            })
        };
        counts.map(read).transpose()
    }

    /// How many bindings wait for their signature. Looks only at those that have none, however many have one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_flight(&self) -> Result<u64, StoreError> {
        let mut statement = self.connection.prepare_cached(IN_FLIGHT)?;
        from_sql(statement.query_row([], |row| row.get(0))?)
    }

    /// Units that the signer set aside, oldest first, at most 256.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        let mut statement = self.connection.prepare_cached(SET_ASIDE)?;
        let rows = statement.query_map([], |row| {
            let (bind, request): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            Ok((bind, request, row.get(2)?, row.get(3)?))
        })?;
        rows.map(|row| {
            let (bind, request, holder, reason) = row?;
            let request = request.try_into().map(RequestId);
            Ok(SetAside {
                bind: from_sql(bind)?,
                request: request.map_err(|_length| StoreError::Damaged("a request id"))?,
                holder,
                reason,
            })
        })
        .collect()
    }

    /// Leaf hash and bytes of one entry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leaf(&self, index: u64) -> Result<Option<(LeafHash, Vec<u8>)>, StoreError> {
        let leaf = self.leaves(index, 1)?.pop();
        Ok(leaf.map(|bytes| (LeafHash::of(&bytes), bytes)))
    }
}

fn binding_row(row: &Row<'_>) -> rusqlite::Result<Result<StoredBinding, StoreError>> {
    let numbers: (i64, i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(8)?);
    let (last_hash, request, lot): (Vec<u8>, Vec<u8>, Vec<u8>) =
        (row.get(3)?, row.get(4)?, row.get(6)?);
    let signature: Option<Vec<u8>> = row.get(11)?;
    let (holder, envelope) = (row.get(5)?, row.get(7)?);
    let (tbs, openings, alarm) = (row.get(9)?, row.get(10)?, row.get(12)?);
    let read = || {
        let wrong = |_length| StoreError::Damaged("a fixed-length column");
        let request = request.as_slice().try_into().map_err(wrong)?;
        let signature = signature
            .as_deref()
            .map(<[u8; 64]>::try_from)
            .transpose()
            .map_err(wrong)?;
        Ok(StoredBinding {
            bind: from_sql(numbers.0)?,
            stage: stage(numbers.1)?,
            last: EntryRef {
                index: from_sql(numbers.2)?,
                hash: leaf_hash(&last_hash)?,
            },
            request: RequestId(request),
            holder,
            lot: document_hash(&lot)?,
            envelope,
            unit: small(numbers.3)?,
            tbs,
            openings,
            signature,
            alarm,
        })
    };
    Ok(read())
}
