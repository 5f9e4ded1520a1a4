//! What an audit counts and finds.

use crate::reason::Reason;
use crate::register::Register;
use identity::DocumentHash;
use identity::leaf::{Body, Leaf};
use serde::Serialize;
use std::collections::BTreeMap;
use translog::checkpoint::Checkpoint;

/// Most findings that are listed; a log that is wrong from end to end must not fill the memory.
pub const MAX_FINDINGS: usize = 10_000;

/// What came out of [`crate::audit_log`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Identity of the log, as its checkpoint says.
    pub origin: Option<String>,
    /// Number of entries that the checkpoint is for.
    pub size: u64,
    /// Root that the checkpoint is for, base64.
    pub root: Option<String>,
    /// Number of fixed keys bound.
    pub devices: u64,
    /// Entries of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Documents that were read and found as their entries say, approved where they must be; none if they were not
    /// looked at.
    pub documents: Option<u64>,
    /// Entries that name a document.
    pub documents_named: u64,
    /// Whether the approvers are those of the trust directory's `ceremony.der`. Else the log itself named them in its first
    /// entry, and whoever holds the log's key may have begun it with others.
    pub approvers_pinned: bool,
    /// The grants, in the order of their hashes.
    pub grants: Vec<GrantCount>,
    /// The lots, in the order of their hashes.
    pub lots: Vec<LotCount>,
    /// Everything that is wrong: the checkpoint, then entry by entry, then file by file; at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub unlisted: u64,
}

/// A grant, and what was done under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantCount {
    /// Hash of the grant, lower-case hexadecimal.
    pub grant: String,
    /// Its own name, if its document was read and is approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Certificates permitted: `bind` entries under this grant, whether the rules allowed them or not.
    pub issued: u64,
    /// Most certificates.
    pub limit: u32,
    /// Units scrapped.
    pub scrapped: u64,
    /// Most units scrapped.
    pub scrap_limit: u32,
    /// The entry that closed it before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
}

/// A lot, and what became of its boards so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LotCount {
    /// Hash of the lot order, lower-case hexadecimal.
    pub lot: String,
    /// Its own name, if its document was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Hash of its grant, lower-case hexadecimal.
    pub grant: String,
    /// Units planned.
    pub planned: u32,
    /// Boards bound.
    pub bound: u32,
    /// Of these, confirmed.
    pub confirmed: u32,
    /// Of these, bound and undecided.
    pub open: u32,
    /// Of these, voided and not scrapped.
    pub voided: u32,
    /// Boards scrapped, those without a key included.
    pub scrapped: u32,
    /// Its `lot-close` entry, once there is one.
    pub closed: Option<u64>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub code: Reason,
    /// Index of the entry, if it is about one.
    pub entry: Option<u64>,
    /// Particulars, English: the rule, the file.
    pub note: String,
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.unlisted == 0
    }
}

/// Findings in the making.
#[derive(Default)]
pub(super) struct Tally {
    findings: Findings,
    /// `bind` and `scrap` entries under each grant.
    uses: BTreeMap<DocumentHash, (u64, u64)>,
    /// `bind` entries under each grant that name no lot.
    outside_lots: BTreeMap<DocumentHash, u64>,
}

impl Tally {
    pub(super) fn find(&mut self, code: Reason, entry: Option<u64>, note: String) {
        if self.findings.findings.len() < MAX_FINDINGS {
            self.findings.findings.push(Finding { code, entry, note });
        } else {
            self.findings.unlisted = self.findings.unlisted.saturating_add(1);
        }
    }

    /// Counts documents that were found good.
    pub(super) fn documents(&mut self, held: u64) {
        let documents = self.findings.documents.get_or_insert_default();
        *documents = documents.saturating_add(held);
    }

    pub(super) fn count(&mut self, leaf: &Leaf) {
        let kind = self.findings.kinds.entry(name(&leaf.body)).or_default();
        *kind = kind.saturating_add(1);
        let named = &mut self.findings.documents_named;
        *named = named.saturating_add(leaf.body.document().is_some().into());
        let (grant, bound, scrapped) = match &leaf.body {
            Body::Bind(bind) => {
                if bind.lot.is_none() {
                    let outside = self.outside_lots.entry(bind.grant.grant).or_default();
                    *outside = outside.saturating_add(1);
                }
                (bind.grant.grant, 1, 0)
            }
            Body::Scrap(scrap) => (scrap.grant, 0, 1),
            Body::Ceremony { .. }
            | Body::Station { .. }
            | Body::Grant { .. }
            | Body::GrantClose { .. }
            | Body::LotOpen { .. }
            | Body::LotClose(_)
            | Body::Adopt(_)
            | Body::Confirm(_)
            | Body::Void(_)
            | Body::Refuse(_) => return,
        };
        let uses = self.uses.entry(grant).or_default();
        *uses = (
            uses.0.saturating_add(bound),
            uses.1.saturating_add(scrapped),
        );
    }

    /// Certificates under a grant so far that belong to no lot.
    pub(super) fn outside_lots(&self, grant: &DocumentHash) -> u64 {
        self.outside_lots.get(grant).copied().unwrap_or_default()
    }

    pub(super) fn finish(mut self, head: Option<&Checkpoint>, register: &Register) -> Findings {
        self.findings.origin = head.map(|head| head.origin().to_owned());
        self.findings.size = head.map_or(0, Checkpoint::size);
        self.findings.root = head.map(|head| head.root().to_string());
        self.findings.devices = u64::try_from(register.subject_count()).unwrap_or(u64::MAX);
        let count = |(grant, state): (&DocumentHash, &identity::rules::GrantState)| {
            let (issued, scrapped) = self.uses.get(grant).copied().unwrap_or_default();
            let (limit, scrap_limit) = (state.terms.limit, state.terms.scrap);
            GrantCount {
                grant: grant.to_string(),
                name: None,
                issued,
                limit,
                scrapped,
                scrap_limit,
                closed: state.closed,
            }
        };
        self.findings.grants = register.grants().map(count).collect();
        self.findings.lots = register.lots().map(lot_count).collect();
        self.findings.findings.sort_by_key(place);
        self.findings
    }
}

/// Where a finding stands in the list: that of the checkpoint first, those of no entry last.
fn place(finding: &Finding) -> (bool, Option<u64>) {
    let is_last = finding.entry.is_none() && finding.code != Reason::AuditCheckpoint;
    (is_last, finding.entry)
}

fn lot_count((lot, state): (&DocumentHash, &identity::rules::LotState)) -> LotCount {
    LotCount {
        lot: lot.to_string(),
        name: None,
        grant: state.grant.to_string(),
        planned: state.quantity,
        bound: state.tally.bound,
        confirmed: state.tally.confirmed,
        open: state.tally.open(),
        voided: state.tally.voided,
        scrapped: state.tally.boards_scrapped(),
        closed: state.closed,
    }
}

const fn name(body: &Body) -> &'static str {
    match body {
        Body::Ceremony { .. } => "ceremony",
        Body::Station { .. } => "station",
        Body::Grant { .. } => "grant",
        Body::GrantClose { .. } => "policy",
        Body::LotOpen { .. } => "lot-open",
        Body::LotClose(_) => "lot-close",
        Body::Bind(_) => "bind",
        Body::Adopt(_) => "adopt",
        Body::Confirm(_) => "confirm",
        Body::Void(_) => "void",
        Body::Scrap(_) => "scrap",
        Body::Refuse(_) => "refuse",
    }
}
