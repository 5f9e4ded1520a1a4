//! Refusals of known stations: counted, and kept beside their leaves so that people can read them.

use super::rows::{from_sql, small, to_sql};
use super::{Reader, StoreError, Transaction};
use identity::Timestamp;
use rusqlite::Row;

/// Refusals of one station in one window that get a leaf of their own.
const OWN_LEAVES: i64 = 20;
/// Length of a window.
pub const WINDOW_MS: u64 = 60_000;

/// How a refusal is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalPlace {
    /// In a leaf of its own.
    Leaf,
    /// Only counted; the window's aggregate will say so.
    Counted,
}

/// A window that is over, with refusals that were only counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClosedWindow {
    /// Whose.
    pub station: String,
    /// When it began, milliseconds.
    pub began_ms: u64,
    /// Code of the newest of them.
    pub reason: String,
    /// How many.
    pub count: u32,
}

/// A `refuse` leaf as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRefusal {
    /// Index of the leaf.
    pub index: u64,
    /// When, milliseconds; of an aggregated leaf, when its window began.
    pub at_ms: u64,
    /// Who asked.
    pub station: String,
    /// Code of the fault.
    pub reason: String,
    /// How many refusals it stands for.
    pub count: u32,
    /// Openings of its fields, canonical DER.
    pub openings: Vec<u8>,
}

impl Transaction<'_> {
    /// Counts a refusal of a station in its window and says whether it gets a leaf of its own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count_refusal(
        &self,
        station: &str,
        now: Timestamp,
        reason: &str,
    ) -> Result<RefusalPlace, StoreError> {
        let (minute, day) = (to_sql(now.0 / WINDOW_MS)?, i64::from(now.day().0));
        let query = "SELECT own FROM refusal_count WHERE station = ?1 AND minute = ?2";
        let own: Option<i64> = self.row(query, (station, minute), |row| row.get(0))?;
        let place = if own.unwrap_or(0) < OWN_LEAVES {
            RefusalPlace::Leaf
        } else {
            RefusalPlace::Counted
        };
        let (own, counted) = match place {
            RefusalPlace::Leaf => (1, 0),
            RefusalPlace::Counted => (0, 1),
        };
        self.execute_one(
            "INSERT INTO refusal_count (station, day, minute, own, counted, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET own = own + ?4, counted = counted + ?5, reason = ?6",
            (station, day, minute, own, counted, reason),
        )?;
        Ok(place)
    }

    /// Whether a window is over and had more refusals than leaves.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_closed_windows(&self, now: Timestamp) -> Result<bool, StoreError> {
        let query = "SELECT 1 FROM refusal_count WHERE minute <> ?1 AND counted > 0 LIMIT 1";
        let minute = to_sql(now.0 / WINDOW_MS)?;
        Ok(self
            .row(query, [minute], |row| row.get::<_, i64>(0))?
            .is_some())
    }

    /// Takes the windows that are over and had more refusals than leaves. A window of a later minute is over too: the
    /// clock was set back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_closed_windows(&self, now: Timestamp) -> Result<Vec<ClosedWindow>, StoreError> {
        let query = "DELETE FROM refusal_count WHERE minute <> ?1 RETURNING station, minute, reason, counted";
        let mut statement = self.prepare(query)?;
        let rows = statement.query_map([to_sql(now.0 / WINDOW_MS)?], |row| {
            let (minute, counted): (i64, i64) = (row.get(1)?, row.get(3)?);
            Ok((row.get(0)?, minute, row.get(2)?, counted))
        })?;
        let mut windows = Vec::new();
        for row in rows {
            let (station, minute, reason, counted) = row?;
            windows.push(ClosedWindow {
                station,
                began_ms: from_sql(minute)?.saturating_mul(WINDOW_MS),
                reason,
                count: small(counted)?,
            });
        }
        windows.retain(|window| window.count > 0);
        windows.sort();
        Ok(windows)
    }

    /// Keeps a refusal beside its leaf.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_refusal(&self, refusal: &StoredRefusal) -> Result<(), StoreError> {
        self.execute_one(
            "INSERT INTO refusal (idx, at_ms, station, reason, count, openings) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                to_sql(refusal.index)?,
                to_sql(refusal.at_ms)?,
                &refusal.station,
                &refusal.reason,
                refusal.count,
                &refusal.openings,
            ),
        )
    }
}

impl Reader {
    /// The newest refusals below a leaf, newest first, at most `count`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn refusals(&self, below: u64, count: u32) -> Result<Vec<StoredRefusal>, StoreError> {
        let query = "SELECT idx, at_ms, station, reason, count, openings FROM refusal
                     WHERE idx < ?1 ORDER BY idx DESC LIMIT ?2";
        let mut statement = self.connection().prepare_cached(query)?;
        // No index is beyond 2^63.
        let below = i64::try_from(below).unwrap_or(i64::MAX);
        let rows = statement.query_map((below, count), refusal)?;
        rows.map(|row| row?).collect()
    }
}

fn refusal(row: &Row<'_>) -> rusqlite::Result<Result<StoredRefusal, StoreError>> {
    let (index, at, count): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(4)?);
    let (station, reason, openings) = (row.get(2)?, row.get(3)?, row.get(5)?);
    let read = || {
        Ok(StoredRefusal {
            index: from_sql(index)?,
            at_ms: from_sql(at)?,
            station,
            reason,
            count: small(count)?,
            openings,
        })
    };
    Ok(read())
}
