//! What follows from the published leaves alone, and whether store, signer and status say the same: quota, lots, stages,
//! claims, documents, refusals. It shares the words of `identity` with the server, and none of the code that counts.
//!
//! What is in the store and does not follow from a leaf is as wrong as what is missing: so a refused request that left more
//! than its refusal is found here, too.

use crate::failure::{At as _, Failure, Outcome, require};
use identity::envelope::{Envelope, StationRequest as _, Unit, request_hash};
use identity::hash::{DocumentHash, RequestHash, sha256};
use identity::leaf::{Bind, Body, EntryRef, GrantTerms, Leaf};
use identity::{LeafHash, SubjectId, TbsHash};
use koseki_verify::{Findings, LogDir};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use translog::tile::bundles_between;
use translog::tree::{leaf_hash, root_of};

/// Stages of a unit, as the store numbers them.
const BOUND: u8 = 1;
const CONFIRMED: u8 = 2;
const VOIDED: u8 = 3;
const SCRAPPED: u8 = 4;

/// All tables of the server's store. One that is not here is recounted by nobody.
const TABLES: [&str; 13] = [
    "binding",
    "claim",
    "document",
    "envelope",
    "grant_state",
    "head",
    "leaf",
    "lot",
    "lot_request",
    "lot_state",
    "past_head",
    "refusal",
    "refusal_count",
];

/// What the store says, in the words of [`Recount::rows`].
const ROWS: [&str; 9] = [
    "SELECT 'head ' || size || ' ' || lower(hex(root)) FROM head",
    "SELECT 'leaf ' || idx || ' ' || lower(hex(entry)) FROM leaf",
    "SELECT 'document ' || idx || ' ' || lower(hex(hash)) FROM document",
    "SELECT 'grant ' || lower(hex(hash)) || ' ' || maximum || ' ' || scrap || ' issued ' || issued
         || ' scrapped ' || scrapped || ' closed ' || ifnull(closed, '-') FROM grant_state",
    "SELECT 'lot ' || lower(hex(hash)) || ' issued ' || issued || ' confirmed ' || confirmed || ' voided ' || voided
         || ' scrapped ' || scrapped FROM lot",
    "SELECT 'lot-state ' || lower(hex(hash)) || ' ' || lower(hex(grant_)) || ' ' || quantity || ' bound ' || bound
         || ' confirmed ' || confirmed || ' voided ' || voided || ' scrapped ' || scrapped || ' keyless ' || keyless
         || ' closed ' || ifnull(closed, '-') FROM lot_state",
    "SELECT 'binding ' || idx || ' stage ' || stage || ' last ' || last_idx || ' ' || lower(hex(last_hash))
         || ' lot ' || lower(hex(lot)) FROM binding",
    "SELECT 'refusal ' || idx || ' ' || reason || ' ' || count FROM refusal",
    "SELECT 'lot-request ' || idx FROM lot_request",
];

/// The published entries, in order.
///
/// # Errors
/// [`Failure`] if a file of the log cannot be read.
pub fn entries(log: &Path) -> Outcome<Vec<Vec<u8>>> {
    let size = published(log)?;
    let log = LogDir::new(log);
    let mut entries = Vec::new();
    for bundle in bundles_between(0, size) {
        entries.extend(log.entries(bundle).map_err(Failure::new)?);
    }
    Ok(entries)
}

/// How many leaves the published checkpoint is for.
///
/// # Errors
/// [`Failure`] if it is none.
pub fn published(log: &Path) -> Outcome<u64> {
    let path = log.join("checkpoint");
    let note = fs::read_to_string(&path).at(&path)?;
    let size = note.lines().nth(1).and_then(|size| size.parse().ok());
    size.ok_or_else(|| Failure::new(format_args!("no checkpoint: {note:?}")))
}

/// A unit as the leaves tell it.
struct Device {
    bind: u64,
    grant: DocumentHash,
    lot: Option<DocumentHash>,
    tbs: TbsHash,
    spki: [u8; 32],
    request: RequestHash,
    stage: u8,
    last: EntryRef,
}

struct GrantRow {
    limit: u32,
    scrap: u32,
    scrapped: u32,
    closed: Option<u64>,
}

struct LotRow {
    grant: DocumentHash,
    quantity: u32,
    keyless: u32,
    closed: Option<u64>,
}

impl Device {
    const fn of(bind: &Bind, at: EntryRef) -> Self {
        Self {
            bind: at.index,
            grant: bind.grant.grant,
            lot: bind.lot,
            tbs: bind.certificate.tbs,
            spki: bind.certificate.spki.0,
            request: bind.request,
            stage: BOUND,
            last: at,
        }
    }
}

impl GrantRow {
    const fn of(terms: &GrantTerms) -> Self {
        Self {
            limit: terms.limit,
            scrap: terms.scrap,
            scrapped: 0,
            closed: None,
        }
    }
}

impl LotRow {
    const fn of(grant: DocumentHash, quantity: u32) -> Self {
        Self {
            grant,
            quantity,
            keyless: 0,
            closed: None,
        }
    }
}

/// What follows from leaves.
#[derive(Default)]
pub struct Recount {
    entries: Vec<Vec<u8>>,
    devices: BTreeMap<SubjectId, Device>,
    grants: BTreeMap<DocumentHash, GrantRow>,
    lots: BTreeMap<DocumentHash, LotRow>,
    documents: BTreeMap<u64, DocumentHash>,
    /// Envelopes that a leaf was made for.
    requests: BTreeSet<RequestHash>,
    refusals: BTreeMap<u64, (String, u32)>,
    lot_requests: BTreeSet<u64>,
}

impl Recount {
    /// Of these leaves.
    ///
    /// # Errors
    /// [`Failure`] names a leaf that is none, or that moves what is not there.
    pub fn of(entries: Vec<Vec<u8>>) -> Outcome<Self> {
        let mut recount = Self::default();
        for (index, entry) in (0..).zip(&entries) {
            let leaf = Leaf::from_bytes(entry).map_err(Failure::new)?;
            let at = EntryRef {
                index,
                hash: LeafHash::of(entry),
            };
            recount.take(at, &leaf.body)?;
        }
        recount.entries = entries;
        Ok(recount)
    }

    fn take(&mut self, at: EntryRef, body: &Body) -> Outcome<()> {
        match body {
            Body::Ceremony { document } | Body::Station { document, .. } => {
                self.documents.insert(at.index, *document);
            }
            Body::Grant {
                document, terms, ..
            } => {
                self.documents.insert(at.index, *document);
                self.grants.insert(*document, GrantRow::of(terms));
            }
            Body::GrantClose { grant, .. } => {
                known(self.grants.get_mut(grant))?.closed = Some(at.index);
            }
            Body::LotOpen {
                document,
                grant,
                quantity,
            } => {
                self.documents.insert(at.index, *document);
                self.lots.insert(*document, LotRow::of(*grant, *quantity));
            }
            Body::LotClose(close) => {
                self.lot_requests.insert(at.index);
                known(self.lots.get_mut(&close.lot))?.closed = Some(at.index);
            }
            Body::Bind(bind) => {
                self.requests.insert(bind.request);
                let before = self.devices.insert(bind.subject, Device::of(bind, at));
                require(before.is_none(), "I1: a fixed key is bound twice")?;
            }
            Body::Adopt(adopt) => {
                self.requests.insert(adopt.request);
                known(self.devices.get_mut(&adopt.subject))?.last = at;
            }
            Body::Confirm(confirm) => self.move_to(&confirm.subject, CONFIRMED, at)?,
            Body::Void(void) => self.move_to(&void.subject, VOIDED, at)?,
            Body::Scrap(scrap) => {
                self.lot_requests.insert(at.index);
                known(self.grants.get_mut(&scrap.grant))?.scrapped += 1;
                match (&scrap.subject, &scrap.lot) {
                    (Some(subject), _) => self.move_to(subject, SCRAPPED, at)?,
                    (None, Some(lot)) => known(self.lots.get_mut(lot))?.keyless += 1,
                    (None, None) => {}
                }
            }
            Body::Refuse(refuse) => {
                let row = (refuse.reason.to_string(), refuse.count);
                self.refusals.insert(at.index, row);
            }
        }
        Ok(())
    }

    fn move_to(&mut self, subject: &SubjectId, stage: u8, last: EntryRef) -> Outcome<()> {
        let device = known(self.devices.get_mut(subject))?;
        (device.stage, device.last) = (stage, last);
        Ok(())
    }

    /// How many units of a lot are at a stage; at any, if none is given.
    fn in_lot(&self, lot: &DocumentHash, stage: Option<u8>) -> usize {
        let units = self.devices.values().filter(|it| it.lot == Some(*lot));
        units
            .filter(|it| stage.is_none_or(|stage| it.stage == stage))
            .count()
    }

    /// What the store must say, and no more.
    fn rows(&self) -> BTreeSet<String> {
        let hashes: Vec<_> = self.entries.iter().map(|entry| leaf_hash(entry)).collect();
        let root = hex::encode(root_of(&hashes).as_bytes());
        let mut rows = BTreeSet::from([format!("head {} {root}", self.entries.len())]);
        for (index, entry) in self.entries.iter().enumerate() {
            rows.insert(format!("leaf {index} {}", hex::encode(entry)));
        }
        for (index, document) in &self.documents {
            rows.insert(format!("document {index} {}", hex::encode(document.0)));
        }
        rows.extend(self.counts());
        for device in self.devices.values() {
            rows.insert(format!(
                "binding {} stage {} last {} {} lot {}",
                device.bind,
                device.stage,
                device.last.index,
                hex::encode(device.last.hash.0),
                device
                    .lot
                    .map_or_else(String::new, |lot| hex::encode(lot.0))
            ));
        }
        for (index, (reason, count)) in &self.refusals {
            rows.insert(format!("refusal {index} {reason} {count}"));
        }
        rows.extend(
            self.lot_requests
                .iter()
                .map(|at| format!("lot-request {at}")),
        );
        rows
    }

    /// Quota and lots.
    fn counts(&self) -> BTreeSet<String> {
        let or_none =
            |entry: Option<u64>| entry.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let mut rows = BTreeSet::new();
        for (hash, row) in &self.grants {
            let issued = self.devices.values().filter(|it| it.grant == *hash).count();
            rows.insert(format!(
                "grant {} {} {} issued {issued} scrapped {} closed {}",
                hex::encode(hash.0),
                row.limit,
                row.scrap,
                row.scrapped,
                or_none(row.closed)
            ));
        }
        for (hash, row) in &self.lots {
            let all = self.in_lot(hash, None);
            let [confirmed, voided, scrapped] =
                [CONFIRMED, VOIDED, SCRAPPED].map(|stage| self.in_lot(hash, Some(stage)));
            let (lot, grant) = (hex::encode(hash.0), hex::encode(row.grant.0));
            let moved = format!("confirmed {confirmed} voided {voided} scrapped {scrapped}");
            rows.insert(format!("lot {lot} issued {all} {moved}"));
            rows.insert(format!(
                "lot-state {lot} {grant} {} bound {all} {moved} keyless {} closed {}",
                row.quantity,
                row.keyless,
                or_none(row.closed)
            ));
        }
        rows
    }

    /// Holds a copy of the server's store against the leaves.
    ///
    /// # Errors
    /// [`Failure`] names what one has and the other has not.
    pub fn hold_store(&self, store: &Connection) -> Outcome<()> {
        let tables = texts(
            store,
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )?;
        let unknown = tables.iter().find(|it| !TABLES.contains(&it.as_str()));
        require(
            unknown.is_none(),
            format_args!("nobody recounts the table {unknown:?}"),
        )?;
        let mut found = BTreeSet::new();
        for query in ROWS {
            found.extend(texts(store, query)?);
        }
        same(&found, &self.rows(), "the store")?;
        self.hold_heads(store)?;
        let units = self.hold_envelopes(store)?;
        self.hold_claims(store, &units)
    }

    /// Every head that was committed is of this one history.
    fn hold_heads(&self, store: &Connection) -> Outcome<()> {
        let hashes: Vec<_> = self.entries.iter().map(|entry| leaf_hash(entry)).collect();
        let heads = texts(
            store,
            "SELECT size || ' ' || lower(hex(root)) FROM past_head",
        )?;
        for head in heads {
            let (size, root) = head.split_once(' ').unwrap_or_default();
            let begun = size.parse().ok().and_then(|size: usize| hashes.get(..size));
            let is_ours = begun.is_some_and(|begun| hex::encode(root_of(begun).as_bytes()) == root);
            require(is_ours, format_args!("I5: the store committed {head}"))?;
        }
        Ok(())
    }

    /// The envelopes are those that leaves name; gives the unit of each binding, with its grant.
    fn hold_envelopes(&self, store: &Connection) -> Outcome<BTreeMap<u64, Unit>> {
        let stored = blobs(store, "SELECT id, der FROM envelope")?;
        let names: BTreeSet<_> = stored
            .values()
            .map(|der| request_hash::<Envelope>(der))
            .collect();
        require(
            stored.len() == names.len() && names == self.requests,
            format_args!(
                "I9, I12: {} envelopes in the store, {} named by leaves, and not the same",
                stored.len(),
                self.requests.len()
            ),
        )?;
        let mut units = BTreeMap::new();
        for device in self.devices.values() {
            let der = stored
                .values()
                .find(|der| request_hash::<Envelope>(der) == device.request);
            let envelope = Envelope::from_bytes(known(der)?).map_err(Failure::new)?;
            let of_key = |unit: &&Unit| sha256(unit.key.as_bytes()) == device.spki;
            let unit = envelope.units.iter().find(of_key);
            units.insert(device.bind, known(unit)?.clone());
        }
        Ok(units)
    }

    /// One claim each on request, key, chip and serial, of what is bound and of nothing else. Which product a serial is of is
    /// in no leaf: of that claim the owner is held, and how many there are.
    fn hold_claims(&self, store: &Connection, units: &BTreeMap<u64, Unit>) -> Outcome<()> {
        let mut wanted = BTreeSet::new();
        for (subject, device) in &self.devices {
            let bind = device.bind;
            let unit = known(units.get(&bind))?;
            wanted.insert(claim(1, &sha256(&unit.request.0), bind));
            wanted.insert(claim(2, &subject.0, bind));
            wanted.insert(claim(4, &sha256(unit.uid.as_bytes()), bind));
            wanted.insert(format!("5 {bind}"));
            let spki = identity::SpkiHash(device.spki);
            if *subject != SubjectId::of_p256(&spki) {
                wanted.insert(claim(3, &device.spki, bind));
            }
        }
        let found = texts(
            store,
            "SELECT CASE substr(key, 1, 1) WHEN x'05' THEN '5 ' || idx
                 ELSE lower(hex(key)) || ' ' || idx END FROM claim",
        )?;
        let count = found.len();
        let found: BTreeSet<_> = found.into_iter().collect();
        same(&found, &wanted, "the claims")?;
        require(
            count == wanted.len(),
            format_args!("I9, I12: {count} claims, {} follow", wanted.len()),
        )
    }

    /// At most one signature for a TBS, and that over the one that its leaf permits, whoever keeps it: server, signer, and
    /// whoever was given the certificate.
    ///
    /// # Errors
    /// [`Failure`] says which leaf has two, or none.
    pub fn hold_signatures<'a>(
        &self,
        [store, signer]: [&Connection; 2],
        given: impl Iterator<Item = (u64, &'a [u8])>,
    ) -> Outcome<()> {
        // The server keeps the TBS, the signer its hash.
        let tbs = blobs(store, "SELECT idx, tbs FROM binding")?;
        let tbs = tbs
            .into_iter()
            .map(|(index, tbs)| (index, sha256(&tbs).to_vec()));
        let attempts = blobs(signer, "SELECT entry, tbs FROM attempt")?;
        let permitted: BTreeMap<_, _> = self.devices.values().map(|it| (it.bind, it.tbs)).collect();
        for (index, tbs) in tbs.chain(attempts) {
            let is_permitted = permitted.get(&index).is_some_and(|it| it.0[..] == tbs[..]);
            require(
                is_permitted,
                format_args!("I1, I8: leaf {index} permits another TBS"),
            )?;
        }
        let signed = [
            blobs(
                store,
                "SELECT idx, signature FROM binding WHERE signature IS NOT NULL",
            )?,
            blobs(
                signer,
                "SELECT entry, signature FROM attempt WHERE signature IS NOT NULL",
            )?,
        ];
        for (index, certificate) in given {
            let (tbs, signature) = identity::idevid::split(certificate).map_err(Failure::new)?;
            require(
                permitted.get(&index) == Some(&TbsHash::of(&tbs)),
                format_args!("I8: leaf {index} does not permit what was released for it"),
            )?;
            let kept: Vec<_> = signed.iter().filter_map(|by| by.get(&index)).collect();
            require(
                !kept.is_empty() && kept.iter().all(|kept| kept[..] == signature[..]),
                format_args!(
                    "I1, I11: the signature released for leaf {index} is not the one that is kept"
                ),
            )?;
        }
        Ok(())
    }

    /// The leaves that came behind those before are one refusal, of this request for this reason, and nothing else.
    ///
    /// # Errors
    /// [`Failure`] says what came.
    pub fn hold_refusal(&self, before: u64, code: &str, request: &RequestHash) -> Outcome<()> {
        let before = usize::try_from(before).map_err(Failure::new)?;
        let new = self.entries.get(before..).unwrap_or_default();
        let new: Result<Vec<_>, _> = new.iter().map(|entry| Leaf::from_bytes(entry)).collect();
        let new = new.map_err(Failure::new)?;
        let is_one = match new.as_slice() {
            [
                Leaf {
                    body: Body::Refuse(refuse),
                    ..
                },
            ] => {
                refuse.reason.as_str() == code
                    && refuse.count == 1
                    && refuse.request.as_ref() == Some(request)
            }
            _ => false,
        };
        require(
            is_one,
            format_args!("I9: a refusal ({code}) is all that should have come, and came: {new:?}"),
        )
    }

    /// The leaves.
    #[must_use]
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }
}

/// Holds what the server says of itself against what an auditor counts from the leaves.
///
/// # Errors
/// [`Failure`] names the first line that differs.
pub fn hold_status(status: &str, findings: &Findings, root: &str) -> Outcome<()> {
    let mut wanted = BTreeSet::from([
        format!("log      {} leaves, root {root}", findings.size),
        "issuing  yes, 0 in flight".to_owned(),
        "HSM      ready".to_owned(),
    ]);
    for grant in &findings.grants {
        let name = known(grant.name.as_ref())?;
        let closed = if grant.closed.is_some() {
            ", closed"
        } else {
            ""
        };
        let (issued, limit) = (grant.issued, grant.limit);
        wanted.insert(format!(
            "grant    {name} {issued} of {limit} issued{closed}"
        ));
    }
    let told = status.lines().filter(|line| !line.starts_with("version "));
    same(&told.map(str::to_owned).collect(), &wanted, "the status")
}

/// Root over these entries, hexadecimal.
#[must_use]
pub fn root(entries: &[Vec<u8>]) -> String {
    let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    hex::encode(root_of(&hashes).as_bytes())
}

fn claim(kind: u8, hash: &[u8; 32], owner: u64) -> String {
    format!("{kind:02x}{} {owner}", hex::encode(&hash[..16]))
}

fn same(found: &BTreeSet<String>, wanted: &BTreeSet<String>, what: &str) -> Outcome<()> {
    let [more, less] = [
        found.difference(wanted).next(),
        wanted.difference(found).next(),
    ];
    require(
        more.is_none() && less.is_none(),
        format_args!("I9, I12: {what}: {more:?} does not follow from the leaves, {less:?} does"),
    )
}

fn known<T>(found: Option<T>) -> Outcome<T> {
    found.ok_or_else(|| Failure::new("I12: the leaves name what is not there"))
}

fn texts(store: &Connection, query: &str) -> Outcome<Vec<String>> {
    let mut query = store.prepare(query).map_err(Failure::new)?;
    let rows = query
        .query_map([], |row| row.get(0))
        .map_err(Failure::new)?;
    rows.collect::<Result<_, _>>().map_err(Failure::new)
}

fn blobs(store: &Connection, query: &str) -> Outcome<BTreeMap<u64, Vec<u8>>> {
    let mut query = store.prepare(query).map_err(Failure::new)?;
    let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
    let rows: Result<Vec<_>, _> = rows.map_err(Failure::new)?.collect();
    let rows = rows.map_err(Failure::new)?;
    rows.into_iter()
        .map(|(index, bytes)| Ok((u64::try_from(index).map_err(Failure::new)?, bytes)))
        .collect()
}
