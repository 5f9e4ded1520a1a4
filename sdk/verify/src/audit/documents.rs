//! The documents behind leaves: each must be there, be the one named, say what its leaf says in the open, and bear the
//! approvals of those whom the ceremony named.

use crate::log_dir::LogDir;
use crate::reason::Reason;
use crate::trust::Trust;
use identity::approval::ApproverSet;
use identity::document::{Ceremony, Document as _};
use identity::key::PortableVerifier;
use identity::leaf::Body;
use identity::support::{self, Support, SupportError, Supported};
use identity::{DocumentHash, Id};
use std::collections::BTreeMap;
use translog::checkpoint::Checkpoint;
use translog::note::VerifierKey;

/// Whether documents are read, and whom they must be approved by.
pub(super) struct Documents<'a> {
    log: &'a LogDir,
    trust: &'a Trust,
    approvers: ApproverSet,
    /// Whether a ceremony of the log was believed.
    has_begun: bool,
    origin: String,
    names: BTreeMap<DocumentHash, Named>,
}

/// A grant or a lot order by its own name.
struct Named {
    id: Id,
    /// Most units of a lot, of a grant.
    per_lot: u32,
}

/// What is wrong with a leaf's document.
pub(super) type Wrong = (Reason, String);

impl<'a> Documents<'a> {
    /// Before the ceremony nobody may approve anything, unless the trust directory names a ceremony.
    pub(super) fn new(log: &'a LogDir, trust: &'a Trust, head: &Checkpoint) -> Self {
        let nobody = || ApproverSet::new(u8::MAX, Vec::new());
        Self {
            log,
            trust,
            approvers: trust.ceremony().map_or_else(nobody, ApproverSet::from),
            has_begun: false,
            origin: head.origin().to_owned(),
            names: BTreeMap::new(),
        }
    }

    /// Whether approvals can be judged: by the log's ceremony, or by that of the trust directory.
    pub(super) const fn knows_approvers(&self) -> bool {
        self.has_begun || self.trust.ceremony().is_some()
    }

    /// Reads and judges the documents of a leaf. False for a leaf that names none.
    pub(super) fn hold(&mut self, body: &Body) -> Result<bool, Wrong> {
        let Some((hash, _)) = body.document() else {
            return Ok(false);
        };
        let support = self.read(&hash)?;
        let supported = support::check(body, Some(&support), &self.approvers, &PortableVerifier);
        match supported.map_err(|error| (reason(&error), error.to_string()))? {
            Supported::Ceremony(ceremony) => self.begin(&ceremony)?,
            Supported::Grant(grant, _) => self.keep(hash, grant.id, grant.per_lot),
            Supported::LotOrder(order) => {
                let grant = self.names.get(&order.grant);
                if grant.is_some_and(|grant| order.quantity > grant.per_lot) {
                    let why = format!("lot {} has more units than its grant allows", order.id);
                    return Err((Reason::AuditTerms, why));
                }
                self.keep(hash, order.id, order.quantity);
            }
            Supported::Station(_) | Supported::Nothing => {}
        }
        Ok(true)
    }

    /// Its own name of a grant or lot, if its document was read.
    pub(super) fn name(&self, hash: &DocumentHash) -> Option<String> {
        self.names.get(hash).map(|named| named.id.to_string())
    }

    fn keep(&mut self, hash: DocumentHash, id: Id, per_lot: u32) {
        self.names.insert(hash, Named { id, per_lot });
    }

    fn read(&self, hash: &DocumentHash) -> Result<Support, Wrong> {
        let missing = |why: String| (Reason::AuditDocument, format!("{hash}: {why}"));
        let bytes = self.log.support(hash);
        let bytes = bytes.map_err(|error| missing(error.to_string()))?;
        Support::from_bytes(&bytes).map_err(|error| missing(error.to_string()))
    }

    /// Believes the approvers of the ceremony that the log began with, if it is of this maker's root, CA and log. A log
    /// begins once: another ceremony after it names nobody.
    fn begin(&mut self, ceremony: &Ceremony) -> Result<(), Wrong> {
        let mut issuing = self.trust.issuing().iter();
        let known = issuing.any(|authority| authority.hash() == ceremony.issuing);
        let root = self.trust.root().hash() == ceremony.root;
        let key = |key: &VerifierKey| key.to_string() == ceremony.log_vkey;
        let mut logs = self.trust.policy().logs().iter();
        let log =
            self.origin == ceremony.origin && logs.any(|log| log.log().keys().iter().any(key));
        let trusted = self.trust.ceremony();
        let same = trusted.is_none_or(|trusted| trusted.hash() == ceremony.hash());
        let held = [
            (
                !self.has_begun,
                "another one after that which the log began with",
            ),
            (same, "not the one of the trust directory"),
            (log, "for another log"),
            (root, "another root"),
            (known, "another issuing CA"),
        ];
        if let Some((_, what)) = held.iter().find(|(holds, _)| !holds) {
            return Err((Reason::AuditCeremony, (*what).to_owned()));
        }
        self.approvers = ApproverSet::from(ceremony);
        self.has_begun = true;
        Ok(())
    }
}

const fn reason(error: &SupportError) -> Reason {
    match error {
        SupportError::Missing
        | SupportError::Surplus
        | SupportError::Document(_)
        | SupportError::DocumentHash
        | SupportError::Profile => Reason::AuditDocument,
        SupportError::ApprovalList | SupportError::Unapproved(_) => Reason::AuditApproval,
        SupportError::GrantTerms | SupportError::LotTerms => Reason::AuditTerms,
    }
}
