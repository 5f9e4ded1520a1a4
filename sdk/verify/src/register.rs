//! The register in memory: what a reader of the log has gathered so far.

use core::convert::Infallible;
use identity::leaf::{Bind, Body, EntryRef, Leaf, Serial20};
use identity::rules::{
    self, Change, Effect, GrantState, Known, LotState, RuleError, Stage, SubjectState, Violation,
};
use identity::{Day, DocumentHash, LeafHash, SpkiHash, SubjectId};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// State of a whole log, rebuilt from its leaves. About 250 bytes a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    subjects: BTreeMap<SubjectId, SubjectState>,
    keys: BTreeSet<SpkiHash>,
    serials: BTreeSet<Serial20>,
    grants: BTreeMap<DocumentHash, GrantState>,
    lots: BTreeMap<DocumentHash, LotState>,
    documents: BTreeSet<DocumentHash>,
    size: u64,
    last_day: Day,
}

impl Default for Register {
    fn default() -> Self {
        Self::new()
    }
}

impl Register {
    /// The empty register, before the ceremony.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            subjects: BTreeMap::new(),
            keys: BTreeSet::new(),
            serials: BTreeSet::new(),
            grants: BTreeMap::new(),
            lots: BTreeMap::new(),
            documents: BTreeSet::new(),
            size: 0,
            last_day: Day(0),
        }
    }

    /// Enters the next leaf, if the rules allow it.
    ///
    /// # Errors
    /// [`Violation`] names the rule; the register is then unchanged.
    pub fn enter(&mut self, leaf: &Leaf, hash: LeafHash) -> Result<Change, Violation> {
        match rules::check(leaf, hash, self) {
            Ok(change) => {
                self.apply(leaf, change);
                Ok(change)
            }
            Err(RuleError::Violation(violation)) => Err(violation),
            Err(RuleError::Lookup(never)) => match never {},
        }
    }

    /// Steps over an entry that breaks a rule, keeping of it what lets later entries be judged on their own: one
    /// skipped ordinal is one finding, not one for each certificate after it.
    pub fn pass_over(&mut self, leaf: Option<&Leaf>, hash: LeafHash) {
        if let Some(Leaf {
            body: Body::Bind(bind),
            ..
        }) = leaf
        {
            self.pass_over_bind(
                bind,
                EntryRef {
                    index: self.size,
                    hash,
                },
            );
        }
        self.advance(leaf.map_or(self.last_day, |leaf| leaf.day));
    }

    /// Whether a certificate serial was used.
    #[must_use]
    pub fn has_serial(&self, serial: &Serial20) -> bool {
        self.serials.contains(serial)
    }

    /// The grants with their counts, in the order of their hashes.
    pub fn grants(&self) -> impl Iterator<Item = (&DocumentHash, &GrantState)> {
        self.grants.iter()
    }

    /// The lots with their tallies, in the order of their hashes.
    pub fn lots(&self) -> impl Iterator<Item = (&DocumentHash, &LotState)> {
        self.lots.iter()
    }

    /// Number of fixed keys ever bound.
    #[must_use]
    pub fn subject_count(&self) -> usize {
        self.subjects.len()
    }

    fn apply(&mut self, leaf: &Leaf, Change { effect, lot }: Change) {
        self.lots.extend(lot);
        match effect {
            Effect::None => {}
            Effect::Document(document) => {
                self.documents.insert(document);
            }
            Effect::Grant(document, terms) => {
                self.documents.insert(document);
                self.grants.insert(
                    document,
                    GrantState {
                        terms,
                        issued: 0,
                        scrapped: 0,
                        in_lots: false,
                        closed: None,
                    },
                );
            }
            Effect::InLots(grant) => self.alter(&grant, |grant| grant.in_lots = true),
            Effect::GrantClosed(grant, entry) => {
                self.alter(&grant, |grant| grant.closed = Some(entry));
            }
            Effect::Bound {
                subject,
                spki,
                grant,
                issued,
                state,
            } => {
                self.subjects.insert(subject, state);
                self.keys.insert(spki);
                if let Some(grant) = self.grants.get_mut(&grant) {
                    grant.issued = issued;
                    grant.in_lots |= state.lot.is_some();
                }
                if let Body::Bind(bind) = &leaf.body {
                    self.serials.insert(bind.certificate.serial);
                }
            }
            Effect::Moved(subject, state) => {
                self.subjects.insert(subject, state);
            }
            Effect::Scrapped {
                subject,
                grant,
                scrapped,
            } => {
                self.subjects.extend(subject);
                self.alter(&grant, |grant| grant.scrapped = scrapped);
            }
        }
        self.advance(leaf.day);
    }

    /// The rules found this grant a moment ago.
    fn alter(&mut self, grant: &DocumentHash, change: impl FnOnce(&mut GrantState)) {
        if let Some(grant) = self.grants.get_mut(grant) {
            change(grant);
        }
    }

    fn advance(&mut self, day: Day) {
        self.size = self.size.saturating_add(1);
        self.last_day = self.last_day.max(day);
    }

    fn pass_over_bind(&mut self, bind: &Bind, entry: EntryRef) {
        let state = SubjectState {
            bind: entry.index,
            last: entry,
            stage: Stage::Bound,
            lot: bind.lot.filter(|lot| self.lots.contains_key(lot)),
        };
        if let Entry::Vacant(place) = self.subjects.entry(bind.subject) {
            place.insert(state);
            if let Some(lot) = state.lot.and_then(|lot| self.lots.get_mut(&lot)) {
                lot.tally.bound = lot.tally.bound.saturating_add(1);
            }
        }
        self.keys.insert(bind.certificate.spki);
        self.serials.insert(bind.certificate.serial);
        if let Some(grant) = self.grants.get_mut(&bind.grant.grant) {
            grant.issued = grant.issued.max(bind.grant.ordinal.saturating_add(1));
        }
    }
}

impl Known for Register {
    type Error = Infallible;

    fn subject(&self, subject: &SubjectId) -> Result<Option<SubjectState>, Infallible> {
        Ok(self.subjects.get(subject).copied())
    }

    fn is_certified(&self, spki: &SpkiHash) -> Result<bool, Infallible> {
        Ok(self.keys.contains(spki))
    }

    fn grant(&self, grant: &DocumentHash) -> Result<Option<GrantState>, Infallible> {
        Ok(self.grants.get(grant).copied())
    }

    fn lot(&self, lot: &DocumentHash) -> Result<Option<LotState>, Infallible> {
        Ok(self.lots.get(lot).copied())
    }

    fn has_document(&self, document: &DocumentHash) -> Result<bool, Infallible> {
        Ok(self.documents.contains(document))
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn last_day(&self) -> Day {
        self.last_day
    }
}
