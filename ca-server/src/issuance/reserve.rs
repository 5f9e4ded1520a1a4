//! Door 2: one transaction for the whole batch, decided unit by unit inside it. A unit that is refused changes
//! nothing but the record of its refusal, and never aborts its neighbours.
//!
//! If the power goes before COMMIT returns, either the whole batch is there after restart or none of it. After it,
//! every unit here is bound, its quota is used, and restart finishes it with the same TBS.

use super::admit::{Admitted, Job, SignedEnvelope};
use super::confirm::{self, Moved};
use super::enter;
use super::lots;
use super::{Answer, Refusal, time};
use crate::directory::Directory;
use crate::store::{BindingState, ClaimKey, NewBinding, Store, StoreError, Transaction};
use identity::fault::Fault;
use identity::hash::RequestHash;
use identity::leaf::{
    Adopt, Bind, Body, CertificateRef, EntryRef, EvidenceRef, GrantUse, Leaf, Serial20,
};
use identity::rules::{Known as _, Stage, Violation};
use identity::support::Support;
use identity::{ChipUid, Day, DeviceSerial, Entropy, Id, SubjectId, Timestamp};
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use translog::tree::Hash;

/// How often a unit may be taken over. Each time is a leaf, and stands in every receipt of the unit.
const MOST_ADOPTIONS: usize = 16;

/// A job and whoever waits for it.
#[derive(Debug)]
pub struct Queued {
    /// What to do.
    pub job: Job,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// What is due to whoever waits, once everything before it is done.
#[derive(Debug)]
pub enum Due {
    /// The certificate of this binding.
    Certificate(u64),
    /// Proof of this leaf, which belongs to this binding if any.
    Leaf(EntryRef, Option<u64>),
    /// A refusal.
    Refusal(Refusal),
}

/// Somebody who waits.
#[derive(Debug)]
pub struct Waiting {
    /// What is due.
    pub due: Due,
    /// Where it goes.
    pub reply: oneshot::Sender<Answer>,
}

/// A leaf with the documents behind it, as the signer is shown them.
pub(super) type Entered = (Vec<u8>, Option<Support>);

/// A batch that is committed. Only [`reserve`] and recovery make one.
#[derive(Debug)]
pub struct Reserved {
    first: u64,
    entries: Vec<Entered>,
    size: u64,
    root: Hash,
    unsigned: Vec<u64>,
    waiting: Vec<Waiting>,
}

/// The parts of a [`Reserved`] as the next door takes them.
pub(super) struct ReservedParts {
    pub(super) first: u64,
    pub(super) entries: Vec<Entered>,
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) unsigned: Vec<u64>,
    pub(super) waiting: Vec<Waiting>,
}

impl Reserved {
    pub(super) fn into_parts(self) -> ReservedParts {
        let Self {
            first,
            entries,
            size,
            root,
            unsigned,
            waiting,
        } = self;
        ReservedParts {
            first,
            entries,
            size,
            root,
            unsigned,
            waiting,
        }
    }

    /// What is committed and did not pass the doors that follow: leaves from `first` on, and units without signature.
    pub(super) fn recovered(
        first: u64,
        entries: Vec<Entered>,
        head: (u64, Hash),
        unsigned: Vec<u64>,
    ) -> Self {
        Self {
            first,
            entries,
            size: head.0,
            root: head.1,
            unsigned,
            waiting: Vec::new(),
        }
    }

    /// The same with these who wait.
    pub(super) fn awaited(self, waiting: Vec<Waiting>) -> Self {
        Self { waiting, ..self }
    }

    /// Leaves up to its end.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// How many wait for it.
    pub(super) const fn awaiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing was appended and nobody waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.waiting.is_empty()
    }
}

/// Kinds and packed bytes of documents that are in force from this commit on.
pub(super) type NewDocuments = Vec<(&'static str, Vec<u8>)>;

/// Reserves a batch, and gives the documents that it entered.
///
/// # Errors
/// [`ReserveError`], and those who wait must be told; nothing of the batch was decided, or with
/// [`StoreError::CommitUnknown`] that is not known.
pub(super) fn reserve(
    store: &Store,
    (directory, entropy): (&Directory, &dyn Entropy),
    jobs: Vec<Queued>,
    now: Timestamp,
) -> Result<(Reserved, NewDocuments), (ReserveError, Vec<Queued>)> {
    let outcome = store.write(|transaction| {
        if let Err(refusal) = time::judge(now, transaction.head().wall_ms) {
            return Ok(Err(refusal));
        }
        let mut round = Round::new(now, (directory, entropy), transaction);
        let dues = jobs
            .iter()
            .map(|queued| round.decide(&queued.job))
            .collect::<Result<Vec<_>, _>>()?;
        round.close_windows()?;
        let head = round.transaction.head();
        Ok(Ok((
            round.first,
            head.size,
            head.frontier.root(),
            round.entries,
            round.unsigned,
            (dues, round.documents),
        )))
    });
    match outcome {
        Ok(Ok((first, size, root, entries, unsigned, (dues, documents)))) => {
            let waiting = dues
                .into_iter()
                .zip(jobs)
                .map(|(due, queued)| Waiting {
                    due,
                    reply: queued.reply,
                })
                .collect();
            let reserved = Reserved {
                first,
                entries,
                size,
                root,
                unsigned,
                waiting,
            };
            Ok((reserved, documents))
        }
        Ok(Err(refusal)) => Err((ReserveError::Clock(refusal), jobs)),
        Err(error) => Err((ReserveError::Store(error), jobs)),
    }
}

/// Why a batch was not reserved.
#[derive(Debug)]
pub enum ReserveError {
    /// The store failed.
    Store(StoreError),
    /// The clock cannot be believed; nothing was decided.
    Clock(Refusal),
}

/// One batch inside its transaction.
pub(super) struct Round<'t, 'c> {
    /// What the clock shows.
    pub(super) now: Timestamp,
    /// What leaves are dated: days of the log never run backward.
    pub(super) day: Day,
    pub(super) entropy: &'t dyn Entropy,
    pub(super) transaction: &'t mut Transaction<'c>,
    pub(super) directory: &'t Directory,
    documents: NewDocuments,
    first: u64,
    entries: Vec<Entered>,
    envelopes: BTreeMap<[u8; 32], i64>,
    unsigned: Vec<u64>,
}

type Decided = Result<Due, StoreError>;

impl<'t, 'c> Round<'t, 'c> {
    fn new(
        now: Timestamp,
        (directory, entropy): (&'t Directory, &'t dyn Entropy),
        transaction: &'t mut Transaction<'c>,
    ) -> Self {
        Self {
            now,
            day: now.day().max(transaction.last_day()),
            entropy,
            directory,
            documents: Vec::new(),
            first: transaction.head().size,
            transaction,
            entries: Vec::new(),
            envelopes: BTreeMap::new(),
            unsigned: Vec::new(),
        }
    }

    /// Notes a document that was entered.
    pub(super) fn entered(&mut self, kind: &'static str, packed: Vec<u8>) {
        self.documents.push((kind, packed));
    }

    fn decide(&mut self, job: &Job) -> Decided {
        match job {
            Job::Bind(admitted) => self.bind(admitted),
            Job::Repeat(admitted) => self.repeat(admitted),
            Job::Adopt(admitted) => self.adopt(admitted),
            Job::Confirm(job) => {
                let moved = confirm::confirm(self, job)?;
                self.move_on(moved, Some((&job.station, job.hash)), job.unit)
            }
            Job::Void(job) => {
                let moved = confirm::void(self, job)?;
                let asked = job.asked.as_ref();
                self.move_on(moved, asked.map(|(id, hash)| (id, *hash)), job.unit)
            }
            Job::Retry(bind) => {
                self.transaction.lift_alarm(*bind)?;
                Ok(Due::Certificate(*bind))
            }
            Job::Scrap(job) => lots::scrap(self, job),
            Job::CloseLot(job) => lots::close(self, job),
            Job::CloseGrant(grant, reason) => enter::close_grant(self, *grant, *reason),
            Job::Enter(job) => enter::enter(self, job),
            Job::Refuse(job) => {
                self.record_refusal(&job.station, job.refusal.clone(), job.request, job.unit)
            }
        }
    }

    /// A retry gets what it got; then every claim is looked up before anything is written.
    fn bind(&mut self, unit: &Admitted) -> Decided {
        if self
            .transaction
            .owner(&ClaimKey::request(&unit.unit.request))?
            .is_some()
        {
            return self.repeat(unit);
        }
        // The signer goes by the statement before the leaf; so it must be the one that door 1 went by.
        if self.directory.station(&unit.station.id).as_deref() != Some(unit.station.as_ref()) {
            return Ok(Due::Refusal(Refusal::passing(
                Fault::Overloaded,
                "the station was entered anew meanwhile",
                0,
            )));
        }
        // The signer would refuse it for ever, and the unit with it.
        if !unit.envelope.day.fits_leaf(self.day) {
            let Day(day) = self.day;
            let detail = format!(
                "the log is dated {day} days after 1970-01-01, the request more than a month before"
            );
            return self.settle(unit, Err(Refusal::new(Fault::ClockBackward, detail)));
        }
        let earlier = match self.claimed(unit)? {
            Ok(earlier) => earlier,
            Err(fault) => return self.settle(unit, Err(fault.into())),
        };
        let grant = self.transaction.grant(&unit.grant.hash)?;
        let ordinal = grant.map_or(0, |grant| grant.issued);
        let leaf = Leaf {
            day: self.day,
            body: Body::Bind(bind_body(unit, ordinal, earlier)),
        };
        match self.append(&leaf, None)? {
            Ok(entry) => self.keep(unit, entry),
            Err(violation) => self.settle(unit, Err(refusal_of(violation))),
        }
    }

    /// The same request again gets what it got, if it repeats the same facts.
    fn repeat(&mut self, unit: &Admitted) -> Decided {
        let bind = self
            .transaction
            .owner(&ClaimKey::request(&unit.unit.request))?;
        let known = self
            .transaction
            .binding(bind.ok_or(StoreError::Damaged("a request's claim is gone"))?)?;
        self.settle(unit, repeated(unit, &known))
    }

    /// The first claim of this unit that somebody else holds; else the board that had its serial before, if any.
    fn claimed(&self, unit: &Admitted) -> Result<Result<Option<SubjectId>, Fault>, StoreError> {
        let transaction = &*self.transaction;
        if transaction.is_certified(&unit.key.spki_hash())? {
            return Ok(Err(Fault::KeySeen));
        }
        if transaction.owner(&ClaimKey::uid(&unit.unit.uid))?.is_some() {
            return Ok(Err(Fault::UidSeen));
        }
        let scrapped = ClaimKey::scrapped_chip(&unit.unit.uid);
        if transaction.owner(&scrapped)?.is_some() {
            return Ok(Err(Fault::ChipScrapped));
        }
        let serial = ClaimKey::serial(&unit.grant.grant.product, &unit.unit.serial);
        let earlier = match transaction.owner(&serial)? {
            None => None,
            Some(bind) => match transaction.binding(bind)?.state.stage {
                Stage::Bound | Stage::Confirmed => return Ok(Err(Fault::SerialSeen)),
                Stage::Voided | Stage::Scrapped => Some(transaction.bind_body(bind)?.subject),
            },
        };
        // A station that lost its journal does not know the board before; one that knows it is held to its word.
        let stated = unit.unit.supersedes();
        if stated.is_some() && stated != earlier {
            return Ok(Err(Fault::OtherSuperseded));
        }
        let (quantity, per_lot) = (unit.lot.order.quantity, unit.grant.grant.per_lot);
        Ok(match transaction.lot_issued(&unit.lot.hash)? {
            None => Err(Fault::LotUnknown),
            Some((issued, live)) if live >= quantity || issued >= per_lot => Err(Fault::LotFull),
            Some(_) => Ok(earlier),
        })
    }

    fn keep(&mut self, unit: &Admitted, entry: EntryRef) -> Decided {
        let envelope = self.envelope(&unit.envelope)?;
        let (openings, facts) = (unit.openings.to_bytes(), unit.facts());
        self.transaction.put_binding(
            entry,
            &NewBinding {
                request: &unit.unit.request,
                holder: unit.station.id.as_str(),
                envelope,
                unit: unit.position,
                lot: &unit.lot.hash,
                facts: &facts,
                tbs: &unit.tbs,
                openings: &openings,
            },
        )?;
        self.transaction
            .claim(&ClaimKey::request(&unit.unit.request), entry.index)?;
        self.transaction
            .claim(&ClaimKey::uid(&unit.unit.uid), entry.index)?;
        let serial = ClaimKey::serial(&unit.grant.grant.product, &unit.unit.serial);
        self.transaction.claim(&serial, entry.index)?;
        self.unsigned.push(entry.index);
        Ok(Due::Certificate(entry.index))
    }

    /// The row of an envelope, stored once for all its units.
    fn envelope(&mut self, envelope: &SignedEnvelope) -> Result<i64, StoreError> {
        if let Some(row) = self.envelopes.get(&envelope.hash.0) {
            return Ok(*row);
        }
        let row = self
            .transaction
            .put_envelope(&envelope.der, &envelope.signature)?;
        self.envelopes.insert(envelope.hash.0, row);
        Ok(row)
    }

    /// Another station takes over, or the request id was lost: same facts, fresh proof, before the confirmation.
    fn adopt(&mut self, unit: &Admitted) -> Decided {
        if self
            .transaction
            .owner(&ClaimKey::request(&unit.unit.request))?
            .is_some()
        {
            return self.repeat(unit);
        }
        let Some(bind) = self.transaction.owner(&ClaimKey::uid(&unit.unit.uid))? else {
            return self.settle(unit, Err(Fault::NotBound.into()));
        };
        let known = self.transaction.binding(bind)?;
        if known.facts != unit.facts() {
            return self.settle(unit, Err(Fault::RequestConflict.into()));
        }
        if self
            .transaction
            .history_reaches(&known.state, MOST_ADOPTIONS)?
        {
            return self.settle(unit, Err(Fault::AdoptedOften.into()));
        }
        if let Some(doubt) = &unit.doubt
            && self.transaction.bind_body(bind)?.evidence.hash != unit.unit.evidence.hash()
        {
            return self.settle(unit, Err(doubt.clone()));
        }
        let body = Adopt {
            subject: unit.subject(),
            previous: known.state.last,
            request: unit.envelope.hash,
            fields: unit.openings.root(),
        };
        match self.append(
            &Leaf {
                day: self.day,
                body: Body::Adopt(body),
            },
            None,
        )? {
            Err(violation) => self.settle(unit, Err(refusal_of(violation))),
            Ok(_) => {
                self.envelope(&unit.envelope)?;
                self.transaction.pass_binding(
                    bind,
                    &unit.unit.request,
                    unit.station.id.as_str(),
                )?;
                self.transaction
                    .claim(&ClaimKey::request(&unit.unit.request), bind)?;
                Ok(Due::Certificate(bind))
            }
        }
    }

    /// Turns a refused unit into its record.
    fn settle(&mut self, unit: &Admitted, decided: Result<Due, Refusal>) -> Decided {
        match decided {
            Ok(due) => Ok(due),
            Err(refusal) => {
                let about = Some((unit.unit.uid, unit.unit.serial));
                self.record_refusal(&unit.station.id, refusal, Some(unit.envelope.hash), about)
            }
        }
    }

    /// Turns a refused confirmation or void of a station into its record; an operator's is only answered.
    fn move_on(
        &mut self,
        moved: Result<Moved, Refusal>,
        asked: Option<(&Id, RequestHash)>,
        unit: (ChipUid, DeviceSerial),
    ) -> Decided {
        match (moved, asked) {
            (Ok(moved), _) => Ok(moved.into_due()),
            (Err(refusal), Some((station, request))) => {
                self.record_refusal(station, refusal, Some(request), Some(unit))
            }
            (Err(refusal), None) => Ok(Due::Refusal(refusal)),
        }
    }

    /// Appends a leaf and keeps it for the signer.
    pub(super) fn append(
        &mut self,
        leaf: &Leaf,
        support: Option<Support>,
    ) -> Result<Result<EntryRef, Violation>, StoreError> {
        let appended = self.transaction.append(leaf, self.now)?;
        if appended.is_ok() {
            self.entries.push((leaf.to_bytes(), support));
        }
        Ok(appended)
    }
}

fn bind_body(unit: &Admitted, ordinal: u32, supersedes: Option<SubjectId>) -> Bind {
    Bind {
        subject: unit.subject(),
        certificate: CertificateRef {
            serial: Serial20(*unit.certificate_serial.as_bytes()),
            tbs: identity::TbsHash::of(&unit.tbs),
            spki: unit.key.spki_hash(),
            issuer: unit.issuer_key,
            epoch: 0,
        },
        grant: GrantUse {
            grant: unit.grant.hash,
            ordinal,
        },
        request: unit.envelope.hash,
        evidence: EvidenceRef {
            grade: unit.grade,
            hash: unit.unit.evidence.hash(),
        },
        fields: unit.openings.root(),
        lot: Some(unit.lot.hash),
        supersedes,
    }
}

/// What a request gets that was made before.
fn repeated(unit: &Admitted, known: &BindingState) -> Result<Due, Refusal> {
    if known.facts != unit.facts() {
        return Err(Fault::RequestConflict.into());
    }
    if known.request != unit.unit.request || known.holder != unit.station.id.as_str() {
        return Err(Refusal::new(Fault::NotHolder, &known.holder));
    }
    match known.state.stage {
        Stage::Bound | Stage::Confirmed => Ok(Due::Certificate(known.state.bind)),
        Stage::Voided | Stage::Scrapped => Err(Fault::Voided.into()),
    }
}

/// The fault that a broken rule of the log is to whoever asked.
pub(super) fn refusal_of(violation: Violation) -> Refusal {
    let fault = match violation {
        Violation::GrantUsedUp => Fault::GrantUsedUp,
        Violation::GrantClosed { .. } => Fault::GrantClosed,
        Violation::GrantDays => Fault::GrantExpired,
        Violation::UnknownGrant => Fault::GrantUnknown,
        Violation::SubjectTwice { .. } | Violation::KeyTwice => Fault::KeySeen,
        Violation::UnknownSubject => Fault::NotBound,
        Violation::Stage(Stage::Voided | Stage::Scrapped) => Fault::Voided,
        Violation::Stage(Stage::Bound | Stage::Confirmed) => Fault::ConfirmMismatch,
        Violation::DayBackward => Fault::ClockBackward,
        Violation::UnknownLot => Fault::LotUnknown,
        Violation::LotClosed { .. } => Fault::LotClosed,
        Violation::LotFull => Fault::LotFull,
        Violation::ScrapUsedUp => Fault::ScrapUsedUp,
        Violation::Superseded => Fault::OtherSuperseded,
        Violation::CeremonyPlace
        | Violation::DocumentTwice
        | Violation::EmptyGrant
        | Violation::Ordinal { .. }
        | Violation::Epoch
        | Violation::Previous { .. }
        | Violation::ScrapForm
        | Violation::OtherLot
        | Violation::LotTally
        | Violation::LotReason
        | Violation::EmptyRefusal => Fault::Internal,
    };
    Refusal::new(fault, violation)
}
