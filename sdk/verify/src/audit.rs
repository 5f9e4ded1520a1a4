//! The audit: a whole log recomputed from its entries alone.

mod documents;
mod findings;

pub use findings::{Finding, Findings, GrantCount, LotCount, MAX_FINDINGS};

use crate::log_dir::{LogDir, LogDirError};
use crate::reason::Reason;
use crate::register::Register;
use crate::trust::Trust;
use documents::Documents;
use findings::Tally;
use identity::leaf::{Body, Leaf};
use identity::lot::differences;
use identity::rules::Known as _;
use identity::{LeafHash, SpkiHash};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use translog::checkpoint::Checkpoint;
use translog::note::SignedNote;
use translog::proof::TileReader as _;
use translog::tile::{BundleId, RightEdge, Tile, TileId, bundles_between};
use translog::tree::{Hash, leaf_hash};

/// Audits the log in a directory of static files.
///
/// The root and every tile are recomputed from the entries and compared with what the log published; every leaf is
/// replayed under [`identity::rules`]. Memory grows with the number of devices ([`Register`]), not with the files.
/// Partial tiles and bundles that a larger one superseded are read, too, if they are still kept. A log whose checkpoint
/// no trusted log key signed is of somebody else: it is recomputed, and not held against CAs and approvers of this trust.
/// One that a trusted key signed is held against them whatever its checkpoint lacks, a quorum of witnesses for instance.
/// The documents that leaves name are read from `documents/` beside the tiles, held against their leaves, and their
/// approvals verified; of a copy without them [`Scope::Leaves`] judges the rest.
///
/// # Errors
/// [`LogDirError`] if there is no checkpoint to begin with. Whatever else is wrong is a finding.
pub fn audit_log(dir: &Path, trust: &Trust, scope: Scope) -> Result<Findings, LogDirError> {
    audit_log_with(dir, trust, scope, &mut |_, _| ())
}

/// How much of a log is audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Leaves, and the documents behind them with their approvals.
    Whole,
    /// Leaves only: nothing is said about approvals.
    Leaves,
}

/// As [`audit_log`]; `progress` is told the number of entries read and of all, after each bundle.
///
/// # Errors
/// As [`audit_log`].
pub fn audit_log_with(
    dir: &Path,
    trust: &Trust,
    scope: Scope,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Findings, LogDirError> {
    let log = LogDir::new(dir);
    let note = log.checkpoint()?;
    let mut audit = Audit::new(&log, trust);
    let Some(head) = audit.open_checkpoint(&note) else {
        return Ok(audit.tally.finish(None, &audit.register));
    };
    audit.documents = match scope {
        Scope::Whole if !audit.is_foreign => Some(Documents::new(&log, trust, &head)),
        Scope::Whole | Scope::Leaves => None,
    };
    for bundle in bundles_between(0, head.size()) {
        let entries = match log.entries(bundle) {
            Ok(entries) => entries,
            Err(error) => {
                audit.tally.find(
                    Reason::AuditEntries,
                    Some(bundle.entries().start),
                    error.to_string(),
                );
                break;
            }
        };
        audit.compare_bundles(bundle, &entries);
        audit.read_bundle(&entries, head.size());
        progress(audit.edge.size(), head.size());
    }
    audit.compare_root(&head);
    Ok(audit.finish(&head))
}

struct Audit<'a> {
    log: &'a LogDir,
    trust: &'a Trust,
    issuers: BTreeSet<SpkiHash>,
    /// Whether no trusted log key signed the checkpoint.
    is_foreign: bool,
    /// CAs that are not trusted: the first entry of each, and how many more.
    strangers: BTreeMap<SpkiHash, (u64, u64)>,
    register: Register,
    edge: RightEdge,
    tally: Tally,
    documents: Option<Documents<'a>>,
}

impl<'a> Audit<'a> {
    fn new(log: &'a LogDir, trust: &'a Trust) -> Self {
        let issuers = trust
            .issuing()
            .iter()
            .map(|authority| authority.key().spki_hash())
            .collect();
        Self {
            log,
            trust,
            issuers,
            is_foreign: false,
            strangers: BTreeMap::new(),
            register: Register::new(),
            edge: RightEdge::new(),
            tally: Tally::default(),
            documents: None,
        }
    }

    /// The head that was signed. One that is not signed as trusted is a finding, and its tree is audited all the same.
    fn open_checkpoint(&mut self, bytes: &[u8]) -> Option<Checkpoint> {
        match self.trust.policy().open(bytes) {
            Ok(opened) => Some(opened.checkpoint().clone()),
            Err(error) => {
                self.tally
                    .find(Reason::AuditCheckpoint, None, error.to_string());
                let note = SignedNote::parse(bytes).ok()?;
                let mut logs = self.trust.policy().logs().iter();
                self.is_foreign = !logs.any(|log| log.log().is_signer_of(&note));
                note.text().parse().ok()
            }
        }
    }

    fn read_bundle(&mut self, entries: &[Vec<u8>], size: u64) {
        let first = self.edge.size();
        let wanted = usize::try_from(size.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut hashes = Vec::with_capacity(entries.len());
        for (index, entry) in (first..).zip(entries.iter().take(wanted)) {
            self.replay(index, entry);
            hashes.push(leaf_hash(entry));
        }
        for (id, tile) in self.edge.append(&hashes) {
            // Partial tiles on the way to the final ones were never published at this size.
            if TileId::in_tree(id.level(), id.index(), size) == Some(id) {
                self.compare_tile(id, &tile);
            }
        }
    }

    fn replay(&mut self, index: u64, entry: &[u8]) {
        let hash = LeafHash::of(entry);
        let leaf = match Leaf::from_bytes(entry) {
            Ok(leaf) => leaf,
            Err(error) => {
                self.tally
                    .find(Reason::AuditLeaf, Some(index), error.to_string());
                return self.register.pass_over(None, hash);
            }
        };
        self.tally.count(&leaf);
        self.hold_documents(index, &leaf.body);
        self.check_certificate(index, &leaf);
        self.reconcile(index, &leaf);
        if let Err(violation) = self.register.enter(&leaf, hash) {
            self.tally
                .find(Reason::AuditRule, Some(index), violation.to_string());
            self.register.pass_over(Some(&leaf), hash);
        }
    }

    fn hold_documents(&mut self, index: u64, body: &Body) {
        let Some(documents) = &mut self.documents else {
            return;
        };
        match documents.hold(body) {
            Ok(held) => self.tally.documents(held.into()),
            Err((reason, why)) => {
                self.tally.find(reason, Some(index), why);
                // While nobody's approvers are known: one finding, and not one a document.
                if reason == Reason::AuditCeremony && !documents.knows_approvers() {
                    self.documents = None;
                }
            }
        }
    }

    fn finish(mut self, head: &Checkpoint) -> Findings {
        for (issuer, (first, more)) in std::mem::take(&mut self.strangers) {
            let note = match more {
                0 => format!("key {issuer}"),
                more => format!("key {issuer}, and so in {more} more entries"),
            };
            self.tally.find(Reason::AuditIssuer, Some(first), note);
        }
        let mut findings = self.tally.finish(Some(head), &self.register);
        // What was read before they were given up says nothing about approvals.
        let held = findings.documents.take();
        if let Some(documents) = &self.documents {
            findings.documents = Some(held.unwrap_or_default());
            findings.approvers_pinned = self.trust.ceremony().is_some();
            let grants = self
                .register
                .grants()
                .map(|(grant, _)| documents.name(grant));
            for (count, name) in findings.grants.iter_mut().zip(grants) {
                count.name = name;
            }
            let lots = self.register.lots().map(|(lot, _)| documents.name(lot));
            for (count, name) in findings.lots.iter_mut().zip(lots) {
                count.name = name;
            }
        }
        findings
    }

    /// What the rules leave to the reader: certificate serials are unique, and the CA is one of this maker's.
    fn check_certificate(&mut self, index: u64, leaf: &Leaf) {
        let Body::Bind(bind) = &leaf.body else { return };
        let certificate = &bind.certificate;
        if self.register.has_serial(&certificate.serial) {
            self.tally
                .find(Reason::AuditSerial, Some(index), String::new());
        }
        if !self.is_foreign && !self.issuers.contains(&certificate.issuer) {
            let met = self.strangers.entry(certificate.issuer);
            met.and_modify(|(_, more)| *more = more.saturating_add(1))
                .or_insert((index, 0));
        }
    }

    /// A lot that closed with a difference is no broken rule: the leaf says so. It is found all the same, and so is
    /// what could not be reconciled because certificates of its grant name no lot.
    fn reconcile(&mut self, index: u64, leaf: &Leaf) {
        let Body::LotClose(close) = &leaf.body else {
            return;
        };
        let Ok(lot) = self.register.lot(&close.lot);
        // A lot that was never opened is a broken rule.
        let Some(lot) = lot else { return };
        let mut named: Vec<_> = differences(lot.quantity, &close.counts, &close.tally)
            .map(|difference| difference.to_string())
            .collect();
        let outside = self.tally.outside_lots(&lot.grant);
        if outside > 0 {
            named.push(format!("{outside} certificates of its grant name no lot"));
        }
        if !named.is_empty() {
            self.tally
                .find(Reason::AuditLot, Some(index), named.join("; "));
        }
    }

    /// What a superseded bundle says that is still kept, against what the newer one says.
    fn compare_bundles(&mut self, id: BundleId, entries: &[Vec<u8>]) {
        for kept in self.log.earlier_bundles(id) {
            let wanted = entries.get(..kept.width().hashes()).unwrap_or_default();
            let differs = match self.log.entries(kept) {
                Ok(said) if said == wanted => continue,
                Ok(said) => {
                    let mut pairs = said.iter().zip(wanted);
                    let at = pairs.position(|(a, b)| a != b).unwrap_or_default();
                    format!("{kept}, entry {at} of it")
                }
                Err(error) => error.to_string(),
            };
            self.tally.find(Reason::AuditTile, None, differs);
        }
    }

    fn compare_tile(&mut self, id: TileId, computed: &Tile) {
        for kept in self.log.earlier_partials(id).into_iter().chain([id]) {
            let wanted = computed
                .hashes()
                .get(..kept.width().hashes())
                .unwrap_or_default();
            match self.log.tile(kept) {
                Ok(tile) if tile.hashes() == wanted => {}
                Ok(tile) => {
                    let at = tile
                        .hashes()
                        .iter()
                        .zip(wanted)
                        .position(|(a, b)| a != b)
                        .unwrap_or_default();
                    self.tally
                        .find(Reason::AuditTile, None, format!("{kept}, hash {at}"));
                }
                Err(error) => self.tally.find(Reason::AuditTile, None, error.to_string()),
            }
        }
    }

    /// Only a tree that was read to its end has a root to compare.
    fn compare_root(&mut self, head: &Checkpoint) {
        let computed: Hash = self.edge.frontier().root();
        if self.edge.size() == head.size() && computed != head.root() {
            self.tally.find(
                Reason::AuditRoot,
                None,
                format!("{computed} computed, {} signed", head.root()),
            );
        }
    }
}
