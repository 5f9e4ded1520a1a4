//! Small shared pieces of reading and writing rows.

use super::StoreError;
use identity::hash::{DocumentHash, LeafHash, SpkiHash, sha256};
use identity::leaf::GrantTerms;
use identity::rules::{GrantState, Stage};
use identity::{ChipUid, Day, DeviceSerial, Id, RequestId, SubjectId};
use rusqlite::Row;
use translog::tree::Frontier;

/// The committed head of the log.
#[derive(Clone, Debug)]
pub struct Head {
    /// Number of leaves.
    pub size: u64,
    /// Root over them.
    pub root: translog::tree::Hash,
    /// Right edge, to append to.
    pub frontier: Frontier,
    /// Time of the newest leaf, milliseconds.
    pub last_ms: u64,
    /// Newest time that was believed, milliseconds. Behind [`Self::last_ms`] only after an operator set it back.
    pub wall_ms: u64,
}

impl Head {
    pub(super) const SELECT: &'static str =
        "SELECT size, root, frontier, last_ms, wall_ms FROM head WHERE id = 1";

    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Result<Self, StoreError>> {
        let (size, root, frontier): (i64, Vec<u8>, Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let times = (row.get(3)?, row.get(4)?);
        Ok(Self::assemble(size, &root, &frontier, times))
    }

    fn assemble(
        size: i64,
        root: &[u8],
        frontier: &[u8],
        (last_ms, wall_ms): (i64, i64),
    ) -> Result<Self, StoreError> {
        let frontier = Frontier::from_bytes(frontier)
            .map_err(|_bad| StoreError::Damaged("the head's frontier"))?;
        let root = translog::tree::Hash::new(hash32(root)?);
        let size = from_sql(size)?;
        match frontier.size() == size && frontier.root() == root {
            true => Ok(Self {
                size,
                root,
                frontier,
                last_ms: from_sql(last_ms)?,
                wall_ms: from_sql(wall_ms)?,
            }),
            false => Err(StoreError::Damaged(
                "the head's root is not that of its frontier",
            )),
        }
    }
}

/// A claim: one kind byte and the first 16 bytes of a hash. A false match, which takes 2^64 work on purpose, only
/// refuses a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey([u8; 17]);

impl ClaimKey {
    fn new(kind: u8, hash: &[u8; 32]) -> Self {
        let mut key = [kind; 17];
        for (target, byte) in key.iter_mut().skip(1).zip(hash) {
            *target = *byte;
        }
        Self(key)
    }

    /// A request id.
    #[must_use]
    pub fn request(id: &RequestId) -> Self {
        Self::new(1, &sha256(&id.0))
    }

    /// A subject (fixed key).
    #[must_use]
    pub fn subject(subject: &SubjectId) -> Self {
        Self::new(2, &subject.0)
    }

    /// A certified key.
    #[must_use]
    pub fn spki(spki: &SpkiHash) -> Self {
        Self::new(3, &spki.0)
    }

    /// A chip.
    #[must_use]
    pub fn uid(uid: &ChipUid) -> Self {
        Self::new(4, &sha256(uid.as_bytes()))
    }

    /// A live serial of one product.
    #[must_use]
    pub fn serial(product: &Id, serial: &DeviceSerial) -> Self {
        Self::new(
            5,
            &sha256(&[product.as_bytes(), b"\n", serial.as_bytes()].concat()),
        )
    }

    /// A scrapping, by the id that its station gave it.
    #[must_use]
    pub fn scrapping(id: &RequestId) -> Self {
        Self::new(6, &sha256(&id.0))
    }

    /// A chip that was scrapped without ever having a key.
    #[must_use]
    pub fn scrapped_chip(uid: &ChipUid) -> Self {
        Self::new(7, &sha256(uid.as_bytes()))
    }

    pub(super) const fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a grant's state; columns as [`grant_state`] takes them.
pub(super) const GRANT: &str = "SELECT maximum, scrap, first, last, issued, scrapped, in_lots, closed FROM grant_state WHERE hash = ?1";

pub(super) fn grant_state(row: &Row<'_>) -> rusqlite::Result<Result<GrantState, StoreError>> {
    let columns: [i64; 6] = [
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
    ];
    let (in_lots, closed): (bool, Option<i64>) = (row.get(6)?, row.get(7)?);
    let read = || {
        let [limit, scrap, first, last, issued, scrapped] = columns;
        let (first, last) = (Day(small(first)?), Day(small(last)?));
        let terms = GrantTerms {
            limit: small(limit)?,
            scrap: small(scrap)?,
            first,
            last,
        };
        Ok(GrantState {
            terms,
            issued: small(issued)?,
            scrapped: small(scrapped)?,
            in_lots,
            closed: closed.map(from_sql).transpose()?,
        })
    };
    Ok(read())
}

/// A stage as it is stored.
pub(super) const fn stage_number(stage: Stage) -> i64 {
    match stage {
        Stage::Bound => 1,
        Stage::Confirmed => 2,
        Stage::Voided => 3,
        Stage::Scrapped => 4,
    }
}

pub(super) fn stage(number: i64) -> Result<Stage, StoreError> {
    [
        Stage::Bound,
        Stage::Confirmed,
        Stage::Voided,
        Stage::Scrapped,
    ]
    .into_iter()
    .find(|stage| stage_number(*stage) == number)
    .ok_or(StoreError::Damaged("a stage out of range"))
}

pub(super) fn hash32(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_wrong_length| StoreError::Damaged("a hash is not 32 bytes long"))
}

pub(super) fn leaf_hash(bytes: &[u8]) -> Result<LeafHash, StoreError> {
    hash32(bytes).map(LeafHash)
}

pub(super) fn document_hash(bytes: &[u8]) -> Result<DocumentHash, StoreError> {
    hash32(bytes).map(DocumentHash)
}

/// SQLite's integers are signed; our counts stay far below 2^63.
pub(super) fn to_sql(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_too_big| StoreError::Damaged("a number beyond 2^63"))
}

pub(super) fn from_sql(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_negative| StoreError::Damaged("a negative number"))
}

pub(super) fn small(number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|_range| StoreError::Damaged("a count out of range"))
}
