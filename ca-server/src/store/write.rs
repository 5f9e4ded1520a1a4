//! The writing transaction: leaves, claims and states change together or not at all.

use super::StoreError;
use super::rows::{
    ClaimKey, GRANT, Head, document_hash, from_sql, grant_state, leaf_hash, small, stage,
    stage_number, to_sql,
};
use identity::hash::{DocumentHash, LeafHash, SpkiHash};
use identity::leaf::{EntryRef, GrantTerms, Leaf};
use identity::rules::{
    Change, Effect, GrantState, Known, LotState, RuleError, SubjectState, Violation, check,
};
use identity::{Day, RequestId, SubjectId, Timestamp};
use rusqlite::{CachedStatement, OptionalExtension as _, Params};
use translog::tree::Hash;

/// One transaction of the single writer.
#[derive(Debug)]
pub struct Transaction<'c> {
    inner: &'c rusqlite::Transaction<'c>,
    fence: i64,
    before: u64,
    head: Head,
}

/// What is stored of a new binding beside its leaf.
#[derive(Clone, Copy, Debug)]
pub struct NewBinding<'a> {
    /// Request id.
    pub request: &'a RequestId,
    /// Station that asked.
    pub holder: &'a str,
    /// Row of the envelope.
    pub envelope: i64,
    /// Which unit of it.
    pub unit: u32,
    /// Hash of the lot order.
    pub lot: &'a DocumentHash,
    /// Hash of what a retry must repeat.
    pub facts: &'a [u8; 32],
    /// `TBSCertificate`.
    pub tbs: &'a [u8],
    /// Openings of the leaf's fields.
    pub openings: &'a [u8],
}

impl<'c> Transaction<'c> {
    pub(super) fn new(
        inner: &'c rusqlite::Transaction<'c>,
        fence: i64,
    ) -> Result<Self, StoreError> {
        let mut select = inner.prepare_cached(Head::SELECT)?;
        let head = select.query_row([], Head::from_row)??;
        Ok(Self {
            inner,
            fence,
            before: head.size,
            head,
        })
    }

    /// The head as it will be committed.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Appends a leaf if the rules of the log allow it, and makes its effect.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails; a rule broken is `Ok(Err(violation))` and leaves nothing behind.
    pub fn append(
        &mut self,
        leaf: &Leaf,
        now: Timestamp,
    ) -> Result<Result<EntryRef, Violation>, StoreError> {
        let bytes = leaf.to_bytes();
        let hash = LeafHash::of(&bytes);
        let change = match check(leaf, hash, &*self) {
            Ok(change) => change,
            Err(RuleError::Violation(violation)) => return Ok(Err(violation)),
            Err(RuleError::Lookup(error)) => return Err(error),
        };
        let entry = EntryRef {
            index: self.head.size,
            hash,
        };
        self.execute(
            "INSERT INTO leaf (idx, entry) VALUES (?1, ?2)",
            (to_sql(entry.index)?, &bytes),
        )?;
        self.make(&change)?;
        self.head.frontier.append(Hash::new(hash.0));
        self.head.size += 1;
        self.head.last_ms = self.head.last_ms.max(now.0);
        self.head.wall_ms = self.head.wall_ms.max(now.0);
        Ok(Ok(entry))
    }

    fn make(&self, Change { effect, lot }: &Change) -> Result<(), StoreError> {
        if let Some((lot, state)) = lot {
            self.put_lot_state(lot, state)?;
        }
        match effect {
            Effect::None | Effect::Document(_) => Ok(()),
            Effect::Grant(hash, terms) => self.put_grant(hash, terms),
            Effect::GrantClosed(grant, entry) => self.execute_one(
                "UPDATE grant_state SET closed = ?2 WHERE hash = ?1",
                (grant.as_ref(), to_sql(*entry)?),
            ),
            Effect::InLots(grant) => self.execute_one(
                "UPDATE grant_state SET in_lots = 1 WHERE hash = ?1",
                [grant.as_ref()],
            ),
            Effect::Bound {
                subject,
                spki,
                grant,
                issued,
                state,
            } => {
                self.claim(&ClaimKey::subject(subject), state.bind)?;
                // A fixed key that is certified itself is claimed once, as what it is.
                if *subject != SubjectId::of_p256(spki) {
                    self.claim(&ClaimKey::spki(spki), state.bind)?;
                }
                self.execute_one(
                    "UPDATE grant_state SET issued = ?2, in_lots = in_lots OR ?3 WHERE hash = ?1",
                    (grant.as_ref(), issued, state.lot.is_some()),
                )
            }
            Effect::Moved(_, state) => self.move_binding(state),
            Effect::Scrapped {
                subject,
                grant,
                scrapped,
            } => {
                if let Some((_, state)) = subject {
                    self.move_binding(state)?;
                }
                self.execute_one(
                    "UPDATE grant_state SET scrapped = ?2 WHERE hash = ?1",
                    (grant.as_ref(), scrapped),
                )
            }
        }
    }

    fn put_grant(&self, hash: &DocumentHash, terms: &GrantTerms) -> Result<(), StoreError> {
        self.execute_one(
            "INSERT INTO grant_state (hash, maximum, scrap, first, last, issued, scrapped) VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)",
            (hash.as_ref(), terms.limit, terms.scrap, terms.first.0, terms.last.0),
        )
    }

    /// Moves a unit to its new stage, and counts it there in its lot.
    fn move_binding(&self, state: &SubjectState) -> Result<(), StoreError> {
        self.execute_one(
            "UPDATE lot SET confirmed = confirmed - (unit.stage = 2) + (?2 = 2), voided = voided - (unit.stage = 3) + (?2 = 3),
                 scrapped = scrapped - (unit.stage = 4) + (?2 = 4)
             FROM binding unit WHERE unit.idx = ?1 AND lot.hash = unit.lot",
            (to_sql(state.bind)?, stage_number(state.stage)),
        )?;
        self.execute_one(
            "UPDATE binding SET stage = ?2, last_idx = ?3, last_hash = ?4 WHERE idx = ?1",
            (
                to_sql(state.bind)?,
                stage_number(state.stage),
                to_sql(state.last.index)?,
                state.last.hash.as_ref(),
            ),
        )
    }

    /// The owner of a claim.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn owner(&self, key: &ClaimKey) -> Result<Option<u64>, StoreError> {
        let row = self.row(
            "SELECT idx FROM claim WHERE key = ?1",
            [key.as_slice()],
            |row| row.get(0),
        )?;
        row.map(from_sql).transpose()
    }

    /// Takes a claim for an entry; one that is taken already passes to the new owner, so look first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn claim(&self, key: &ClaimKey, owner: u64) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO claim (key, idx) VALUES (?1, ?2)",
            (key.as_slice(), to_sql(owner)?),
        )
    }

    /// Stores an envelope and gives its row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_envelope(&self, der: &[u8], signature: &[u8]) -> Result<i64, StoreError> {
        self.execute(
            "INSERT INTO envelope (der, signature) VALUES (?1, ?2)",
            (der, signature),
        )?;
        Ok(self.inner.last_insert_rowid())
    }

    /// Stores what belongs to a `bind` leaf just appended, which names its lot, and counts it there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_binding(&self, entry: EntryRef, binding: &NewBinding<'_>) -> Result<(), StoreError> {
        let index = to_sql(entry.index)?;
        self.execute_one(
            "INSERT INTO binding (idx, stage, last_idx, last_hash, request, holder, envelope, unit, lot, in_lot, tbs, openings, facts)
             VALUES (?1, 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9, ?10)",
            (
                index,
                entry.hash.as_ref(),
                binding.request.0.as_slice(),
                binding.holder,
                binding.envelope,
                binding.unit,
                binding.lot.as_ref(),
                binding.tbs,
                binding.openings,
                binding.facts.as_slice(),
            ),
        )?;
        self.execute_one(
            "UPDATE lot SET issued = issued + 1 WHERE hash = ?1",
            [binding.lot.as_ref()],
        )
    }

    /// Passes a bound unit to another holder and request.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pass_binding(
        &self,
        bind: u64,
        request: &RequestId,
        holder: &str,
    ) -> Result<(), StoreError> {
        self.execute_one(
            "UPDATE binding SET request = ?2, holder = ?3 WHERE idx = ?1",
            (to_sql(bind)?, request.0.as_slice(), holder),
        )
    }

    /// Units counted in a lot, and how many of them hold a serial; none if the lot was never opened.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lot_issued(&self, lot: &DocumentHash) -> Result<Option<(u32, u32)>, StoreError> {
        let row = self.row(
            "SELECT issued, issued - voided - scrapped FROM lot WHERE hash = ?1",
            [lot.as_ref()],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )?;
        row.map(|(issued, live)| Ok((small(issued)?, small(live)?)))
            .transpose()
    }

    /// Opens a lot for counting.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_lot(&self, lot: &DocumentHash) -> Result<(), StoreError> {
        self.execute_one(
            "INSERT INTO lot (hash, issued) VALUES (?1, 0)",
            [lot.as_ref()],
        )
    }

    /// Stores a document that a leaf entered, as the signer is shown it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_document(
        &self,
        hash: &DocumentHash,
        entry: EntryRef,
        kind_and_name: (&str, &str),
        support: &[u8],
    ) -> Result<(), StoreError> {
        self.execute_one(
            "INSERT INTO document (hash, idx, kind, name, support) VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                hash.as_ref(),
                to_sql(entry.index)?,
                kind_and_name.0,
                kind_and_name.1,
                support,
            ),
        )
    }

    /// Newest entry, stage, holder and request of a binding.
    ///
    /// # Errors
    /// [`StoreError`], also if there is none.
    pub fn binding(&self, bind: u64) -> Result<BindingState, StoreError> {
        let query = "SELECT stage, last_idx, last_hash, holder, request, signature IS NOT NULL, facts, in_lot, lot FROM binding WHERE idx = ?1";
        let row = self.row(query, [to_sql(bind)?], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get::<_, Vec<u8>>(2)?,
                row.get(3)?,
                row.get::<_, Vec<u8>>(4)?,
                row.get(5)?,
                row.get::<_, Vec<u8>>(6)?,
                (row.get::<_, bool>(7)?, row.get::<_, Vec<u8>>(8)?),
            ))
        })?;
        let (number, last, hash, holder, request, signed, facts, (in_lot, lot)) =
            row.ok_or(StoreError::Damaged("a claim without its binding"))?;
        let last = EntryRef {
            index: from_sql(last)?,
            hash: leaf_hash(&hash)?,
        };
        let request = request
            .as_slice()
            .try_into()
            .map_err(|_length| StoreError::Damaged("a request id's length"))?;
        let state = SubjectState {
            bind,
            last,
            stage: stage(number)?,
            lot: in_lot.then(|| document_hash(&lot)).transpose()?,
        };
        Ok(BindingState {
            state,
            holder,
            request: RequestId(request),
            signed,
            facts: super::rows::hash32(&facts)?,
        })
    }

    /// Stores a signature where none is stored yet. Storing the same again is nothing; another is refused.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if another signature is there already.
    pub fn put_signature(&self, bind: u64, signature: &[u8; 64]) -> Result<(), StoreError> {
        let index = to_sql(bind)?;
        let sql = "UPDATE binding SET signature = ?2 WHERE idx = ?1 AND signature IS NULL";
        let stored = self
            .inner
            .prepare_cached(sql)?
            .execute((index, signature.as_slice()))?;
        if stored == 1 {
            return Ok(());
        }
        let sql = "SELECT signature FROM binding WHERE idx = ?1";
        let present: Option<Vec<u8>> = self.row(sql, [index], |row| row.get(0))?;
        match present.as_deref() == Some(signature.as_slice()) {
            true => Ok(()),
            false => Err(StoreError::Damaged("a second signature for one binding")),
        }
    }

    /// Sets a unit aside with the signer's reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_alarm(&self, bind: u64, reason: &str) -> Result<(), StoreError> {
        self.execute_one(
            "UPDATE binding SET alarm = ?2 WHERE idx = ?1",
            (to_sql(bind)?, reason),
        )
    }

    /// Takes back that a unit is set aside, so that the signer is asked again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lift_alarm(&self, bind: u64) -> Result<(), StoreError> {
        self.execute_one(
            "UPDATE binding SET alarm = NULL WHERE idx = ?1",
            [to_sql(bind)?],
        )
    }

    /// Believes this time from now on, although the one believed before may be later.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn believe(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.head.wall_ms = now.0;
        self.execute_one("UPDATE head SET wall_ms = ?1", [to_sql(now.0)?])
    }

    /// Writes as a batch would and changes nothing: whether the disk takes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn touch(&self) -> Result<(), StoreError> {
        self.execute_one("UPDATE head SET fence = fence", [])
    }

    /// Moves the head by compare-and-swap under the fence; to be committed next.
    pub(super) fn finish(&self) -> Result<(), StoreError> {
        if self.head.size == self.before {
            return Ok(());
        }
        let root = self.head.frontier.root();
        let mut update = self.inner.prepare_cached(
            "UPDATE head SET size = ?1, root = ?2, frontier = ?3, last_ms = ?4, wall_ms = ?7 WHERE size = ?5 AND fence = ?6",
        )?;
        let moved = update.execute((
            to_sql(self.head.size)?,
            root.as_bytes().as_slice(),
            self.head.frontier.to_bytes(),
            to_sql(self.head.last_ms)?,
            to_sql(self.before)?,
            self.fence,
            to_sql(self.head.wall_ms)?,
        ))?;
        if moved != 1 {
            return Err(StoreError::Fenced);
        }
        self.execute_one(
            "INSERT INTO past_head (size, root) VALUES (?1, ?2)",
            (to_sql(self.head.size)?, root.as_bytes().as_slice()),
        )
    }

    pub(super) fn connection(&self) -> &rusqlite::Connection {
        self.inner
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, StoreError> {
        Ok(self.inner.prepare_cached(sql)?)
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<(), StoreError> {
        self.inner.prepare_cached(sql)?.execute(params)?;
        Ok(())
    }

    pub(super) fn execute_one(&self, sql: &str, params: impl Params) -> Result<(), StoreError> {
        match self.inner.prepare_cached(sql)?.execute(params)? {
            1 => Ok(()),
            _ => Err(StoreError::Damaged("a row that must be there is not")),
        }
    }

    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self
            .inner
            .prepare_cached(sql)?
            .query_row(params, map)
            .optional()?)
    }
}

/// A binding as the writer needs it.
#[derive(Clone, Debug)]
pub struct BindingState {
    /// State under the log's rules.
    pub state: SubjectState,
    /// Station that may confirm or void.
    pub holder: String,
    /// Its request.
    pub request: RequestId,
    /// Whether the certificate is signed.
    pub signed: bool,
    /// Hash of what a retry must repeat.
    pub facts: [u8; 32],
}

impl Known for Transaction<'_> {
    type Error = StoreError;

    fn subject(&self, subject: &SubjectId) -> Result<Option<SubjectState>, StoreError> {
        match self.owner(&ClaimKey::subject(subject))? {
            Some(bind) => self.binding(bind).map(|binding| Some(binding.state)),
            None => Ok(None),
        }
    }

    fn is_certified(&self, spki: &SpkiHash) -> Result<bool, StoreError> {
        if self.owner(&ClaimKey::spki(spki))?.is_some() {
            return Ok(true);
        }
        let fixed = SubjectId::of_p256(spki);
        match self.owner(&ClaimKey::subject(&fixed))? {
            Some(bind) => Ok(self.bind_body(bind)?.certificate.spki == *spki),
            None => Ok(false),
        }
    }

    fn grant(&self, grant: &DocumentHash) -> Result<Option<GrantState>, StoreError> {
        self.row(GRANT, [grant.as_ref()], grant_state)?.transpose()
    }

    fn lot(&self, lot: &DocumentHash) -> Result<Option<LotState>, StoreError> {
        self.lot_state(lot)
    }

    fn has_document(&self, document: &DocumentHash) -> Result<bool, StoreError> {
        let found = self.row(
            "SELECT hash FROM document WHERE hash = ?1",
            [document.as_ref()],
            |row| row.get::<_, Vec<u8>>(0),
        )?;
        found
            .map(|hash| document_hash(&hash))
            .transpose()
            .map(|hash| hash.is_some())
    }

    fn size(&self) -> u64 {
        self.head.size
    }

    fn last_day(&self) -> Day {
        Timestamp(self.head.last_ms).day()
    }
}
