//! The state rules of the log: one pure function for server, signer, auditor and mirror.
//!
//! [`check`] decides, given what the reader knows so far, whether a leaf may follow, and says what changes. Whoever
//! replays a log calls it leaf by leaf and writes each [`Change`] into what [`Known`] answers from.

mod lots;

use crate::hash::{DocumentHash, LeafHash, SpkiHash};
use crate::leaf::{Body, EntryRef, GrantTerms, Leaf};
use crate::lot::LotTally;
use crate::sources::Day;
use crate::subject::SubjectId;
use core::fmt;

/// Where a subject stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bound, not yet confirmed.
    Bound,
    /// The certificate is in the chip.
    Confirmed,
    /// Will never ship.
    Voided,
    /// Scrapped.
    Scrapped,
}

/// What is known of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectState {
    /// Its `bind` entry.
    pub bind: u64,
    /// Its newest entry.
    pub last: EntryRef,
    /// Where it stands.
    pub stage: Stage,
    /// The lot that its `bind` entry names.
    pub lot: Option<DocumentHash>,
}

/// What is known of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantState {
    /// Its bounds.
    pub terms: GrantTerms,
    /// Certificates bound so far; also the next ordinal.
    pub issued: u32,
    /// Units scrapped so far.
    pub scrapped: u32,
    /// Whether a `bind` entry under it has named its lot, or a lot of it was closed; from then on each one must.
    pub in_lots: bool,
    /// The entry that closed it, once there is one.
    pub closed: Option<u64>,
}

impl GrantState {
    /// How many more certificates may be bound under it; at least one.
    ///
    /// # Errors
    /// [`Violation::GrantClosed`], [`Violation::GrantUsedUp`].
    pub fn left(&self) -> Result<u32, Violation> {
        match (self.closed, self.terms.limit.saturating_sub(self.issued)) {
            (Some(entry), _) => Err(Violation::GrantClosed { entry }),
            (None, 0) => Err(Violation::GrantUsedUp),
            (None, left) => Ok(left),
        }
    }
}

/// What is known of a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotState {
    /// The grant it draws on.
    pub grant: DocumentHash,
    /// Units planned.
    pub quantity: u32,
    /// Its boards by stage, as far as their `bind` entries name it.
    pub tally: LotTally,
    /// Its `lot-close` entry, once there is one.
    pub closed: Option<u64>,
}

impl LotState {
    /// How many more boards may be bound in it; at least one.
    ///
    /// # Errors
    /// [`Violation::LotClosed`], [`Violation::LotFull`].
    pub fn left(&self) -> Result<u32, Violation> {
        match (self.closed, self.quantity.saturating_sub(self.tally.live())) {
            (Some(entry), _) => Err(Violation::LotClosed { entry }),
            (None, 0) => Err(Violation::LotFull),
            (None, left) => Ok(left),
        }
    }
}

/// What a reader of the log has gathered from the leaves before this one.
pub trait Known {
    /// Why a look-up failed; nothing to do with the rules.
    type Error;

    /// State of a subject, if it was ever bound.
    ///
    /// # Errors
    /// The look-up failed.
    fn subject(&self, subject: &SubjectId) -> Result<Option<SubjectState>, Self::Error>;

    /// Whether a key was ever certified.
    ///
    /// # Errors
    /// The look-up failed.
    fn is_certified(&self, spki: &SpkiHash) -> Result<bool, Self::Error>;

    /// State of a grant, if it was ever approved.
    ///
    /// # Errors
    /// The look-up failed.
    fn grant(&self, grant: &DocumentHash) -> Result<Option<GrantState>, Self::Error>;

    /// State of a lot, if it was ever opened.
    ///
    /// # Errors
    /// The look-up failed.
    fn lot(&self, lot: &DocumentHash) -> Result<Option<LotState>, Self::Error>;

    /// Whether a document of this hash was entered by an earlier leaf.
    ///
    /// # Errors
    /// The look-up failed.
    fn has_document(&self, document: &DocumentHash) -> Result<bool, Self::Error>;

    /// Number of leaves so far.
    fn size(&self) -> u64;

    /// Day of the newest leaf; days never run backward.
    fn last_day(&self) -> Day;
}

/// What a permitted leaf changes: one thing, and the lot that this is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The one thing.
    pub effect: Effect,
    /// A lot and its new state.
    pub lot: Option<(DocumentHash, LotState)>,
}

impl From<Effect> for Change {
    fn from(effect: Effect) -> Self {
        Self { effect, lot: None }
    }
}

/// The one thing that a permitted leaf changes, beside a lot's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// A document is in force: ceremony, station or lot order.
    Document(DocumentHash),
    /// A grant is in force.
    Grant(DocumentHash, GrantTerms),
    /// Every further `bind` entry under this grant names its lot.
    InLots(DocumentHash),
    /// A grant is closed by this entry.
    GrantClosed(DocumentHash, u64),
    /// A subject and a key are bound; the grant's count is now `issued`, and it is in lots if the subject is.
    Bound {
        /// The subject.
        subject: SubjectId,
        /// The certified key.
        spki: SpkiHash,
        /// The grant.
        grant: DocumentHash,
        /// Its count after this leaf.
        issued: u32,
        /// The new state.
        state: SubjectState,
    },
    /// A subject moves on.
    Moved(SubjectId, SubjectState),
    /// A unit is scrapped; the grant's scrap count is now `scrapped`.
    Scrapped {
        /// The subject and its new state, if the chip ever had a key.
        subject: Option<(SubjectId, SubjectState)>,
        /// The grant.
        grant: DocumentHash,
        /// Its scrap count after this leaf.
        scrapped: u32,
    },
}

/// Which rule a leaf breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The day is before that of an earlier leaf.
    DayBackward,
    /// The first leaf is the ceremony, and no other is.
    CeremonyPlace,
    /// The document was entered before.
    DocumentTwice,
    /// A grant's terms allow nothing.
    EmptyGrant,
    /// The grant was never entered.
    UnknownGrant,
    /// The day lies outside the grant's.
    GrantDays,
    /// The grant is used up.
    GrantUsedUp,
    /// The grant is closed.
    GrantClosed {
        /// The entry that closed it.
        entry: u64,
    },
    /// The ordinal is not the next one.
    Ordinal {
        /// The one that is next.
        next: u32,
    },
    /// The subject was bound before.
    SubjectTwice {
        /// Its `bind` entry.
        bind: u64,
    },
    /// The key was certified before.
    KeyTwice,
    /// A first binding has epoch 0.
    Epoch,
    /// The subject was never bound.
    UnknownSubject,
    /// `previous` is not the subject's newest entry.
    Previous {
        /// The newest entry.
        last: EntryRef,
    },
    /// Not possible at this stage.
    Stage(Stage),
    /// `subject` and `previous` come together.
    ScrapForm,
    /// The scrap allowance is used up.
    ScrapUsedUp,
    /// A refusal counts at least one.
    EmptyRefusal,
    /// The lot was never opened, or not under this grant.
    UnknownLot,
    /// The lot is closed.
    LotClosed {
        /// Its `lot-close` entry.
        entry: u64,
    },
    /// As many units hold a serial of the lot as are planned.
    LotFull,
    /// Another lot than the unit's, or none where one must be named.
    OtherLot,
    /// The tally of a `lot-close` is not what the log holds.
    LotTally,
    /// A `lot-close` says that there is a difference where there is none, or hides one.
    LotReason,
    /// The board that is superseded is neither voided nor scrapped.
    Superseded,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DayBackward => f.write_str("its day is before that of an earlier leaf"),
            Self::CeremonyPlace => f.write_str("the first leaf is the ceremony, and no other is"),
            Self::DocumentTwice => f.write_str("the document was entered before"),
            Self::EmptyGrant => f.write_str("the grant's terms allow nothing"),
            Self::UnknownGrant => f.write_str("the grant was never entered"),
            Self::GrantDays => f.write_str("the day lies outside the grant's validity"),
            Self::GrantUsedUp => f.write_str("the grant is used up"),
            Self::GrantClosed { entry } => write!(f, "the grant was closed at entry {entry}"),
            Self::Ordinal { next } => write!(f, "the next ordinal of the grant is {next}"),
            Self::SubjectTwice { bind } => write!(f, "the fixed key was bound at entry {bind}"),
            Self::KeyTwice => f.write_str("the key was certified before"),
            Self::Epoch => f.write_str("a first binding has epoch 0"),
            Self::UnknownSubject => f.write_str("the fixed key was never bound"),
            Self::Previous { last } => {
                write!(f, "the newest entry of this fixed key is {}", last.index)
            }
            Self::Stage(stage) => write!(f, "not possible for a unit that is {stage:?}"),
            Self::ScrapForm => {
                f.write_str("a scrap leaf has both subject and previous entry, or neither")
            }
            Self::ScrapUsedUp => f.write_str("the scrap allowance of the grant is used up"),
            Self::EmptyRefusal => f.write_str("a refusal counts at least one"),
            Self::UnknownLot => f.write_str("the lot was never opened under this grant"),
            Self::LotClosed { entry } => write!(f, "the lot was closed at entry {entry}"),
            Self::LotFull => f.write_str("as many units hold a serial of the lot as are planned"),
            Self::OtherLot => f.write_str("the lot is not the unit's, or none is named"),
            Self::LotTally => f.write_str("the tally of the lot is not what the log holds"),
            Self::LotReason => {
                f.write_str("the leaf has a reason if and only if counts and tally differ")
            }
            Self::Superseded => {
                f.write_str("the board that is superseded is neither voided nor scrapped")
            }
        }
    }
}

/// A leaf may not follow, or that could not be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError<E> {
    /// The leaf breaks a rule.
    Violation(Violation),
    /// A look-up failed.
    Lookup(E),
}

impl<E> From<Violation> for RuleError<E> {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl<E: fmt::Display> fmt::Display for RuleError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Lookup(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for RuleError<E> {}

/// Whether `leaf`, whose leaf hash is `hash`, may be the next entry, and what it changes.
///
/// Approvals are not judged here: they need the documents, see [`ApproverSet::verify`](crate::approval::ApproverSet).
///
/// # Errors
/// [`RuleError`] names the rule, or the look-up that failed.
pub fn check<K: Known>(
    leaf: &Leaf,
    hash: LeafHash,
    known: &K,
) -> Result<Change, RuleError<K::Error>> {
    if leaf.day < known.last_day() {
        return Err(Violation::DayBackward.into());
    }
    if (known.size() == 0) != matches!(leaf.body, Body::Ceremony { .. }) {
        return Err(Violation::CeremonyPlace.into());
    }
    let entry = EntryRef {
        index: known.size(),
        hash,
    };
    match &leaf.body {
        Body::Ceremony { document } | Body::Station { document, .. } => {
            new_document(document, known).map(Change::from)
        }
        Body::Grant {
            document, terms, ..
        } => check_grant(document, *terms, known),
        Body::GrantClose { grant, .. } => {
            open_grant(grant, known)?;
            Ok(Effect::GrantClosed(*grant, entry.index).into())
        }
        Body::LotOpen {
            document,
            grant,
            quantity,
        } => {
            grant_in_force(grant, leaf.day, known)?;
            let effect = new_document(document, known)?;
            Ok(lots::opened(effect, *document, *grant, *quantity))
        }
        Body::LotClose(body) => lots::close(body, entry, known),
        Body::Bind(body) => check_bind(body, leaf.day, entry, known),
        Body::Adopt(body) => move_on(&body.subject, &body.previous, entry, Stage::Bound, known),
        Body::Confirm(body) => move_on(
            &body.subject,
            &body.previous,
            entry,
            Stage::Confirmed,
            known,
        ),
        Body::Void(body) => move_on(&body.subject, &body.previous, entry, Stage::Voided, known),
        Body::Scrap(body) => check_scrap(body, entry, known),
        Body::Refuse(body) if body.count == 0 => Err(Violation::EmptyRefusal.into()),
        Body::Refuse(_) => Ok(Effect::None.into()),
    }
}

type Checked<K> = Result<Change, RuleError<<K as Known>::Error>>;

fn new_document<K: Known>(
    document: &DocumentHash,
    known: &K,
) -> Result<Effect, RuleError<K::Error>> {
    match known.has_document(document).map_err(RuleError::Lookup)? {
        true => Err(Violation::DocumentTwice.into()),
        false => Ok(Effect::Document(*document)),
    }
}

fn check_grant<K: Known>(document: &DocumentHash, terms: GrantTerms, known: &K) -> Checked<K> {
    if terms.limit == 0 || terms.last < terms.first {
        return Err(Violation::EmptyGrant.into());
    }
    match known.grant(document).map_err(RuleError::Lookup)? {
        Some(_) => Err(Violation::DocumentTwice.into()),
        None => Ok(Effect::Grant(*document, terms).into()),
    }
}

fn open_grant<K: Known>(
    grant: &DocumentHash,
    known: &K,
) -> Result<GrantState, RuleError<K::Error>> {
    let state = known
        .grant(grant)
        .map_err(RuleError::Lookup)?
        .ok_or(Violation::UnknownGrant)?;
    match state.closed {
        Some(entry) => Err(Violation::GrantClosed { entry }.into()),
        None => Ok(state),
    }
}

fn grant_in_force<K: Known>(
    grant: &DocumentHash,
    day: Day,
    known: &K,
) -> Result<GrantState, RuleError<K::Error>> {
    let state = open_grant(grant, known)?;
    match (state.terms.first..=state.terms.last).contains(&day) {
        true => Ok(state),
        false => Err(Violation::GrantDays.into()),
    }
}

fn check_bind<K: Known>(
    body: &crate::leaf::Bind,
    day: Day,
    entry: EntryRef,
    known: &K,
) -> Checked<K> {
    let grant = grant_in_force(&body.grant.grant, day, known)?;
    if let Some(earlier) = known.subject(&body.subject).map_err(RuleError::Lookup)? {
        return Err(Violation::SubjectTwice { bind: earlier.bind }.into());
    }
    if known
        .is_certified(&body.certificate.spki)
        .map_err(RuleError::Lookup)?
    {
        return Err(Violation::KeyTwice.into());
    }
    grant.left()?;
    if body.grant.ordinal != grant.issued {
        return Err(Violation::Ordinal { next: grant.issued }.into());
    }
    if body.certificate.epoch != 0 {
        return Err(Violation::Epoch.into());
    }
    lots::superseded(body, known)?;
    let lot = lots::bound(body, &grant, known)?;
    let effect = Effect::Bound {
        subject: body.subject,
        spki: body.certificate.spki,
        grant: body.grant.grant,
        issued: grant.issued.saturating_add(1),
        state: SubjectState {
            bind: entry.index,
            last: entry,
            stage: Stage::Bound,
            lot: body.lot,
        },
    };
    Ok(Change { effect, lot })
}

/// The subject's next state, if `previous` is its newest entry and its stage is one of `from`.
fn next_state<K: Known>(
    subject: &SubjectId,
    previous: &EntryRef,
    from: &[Stage],
    known: &K,
) -> Result<SubjectState, RuleError<K::Error>> {
    let state = known
        .subject(subject)
        .map_err(RuleError::Lookup)?
        .ok_or(Violation::UnknownSubject)?;
    if !from.contains(&state.stage) {
        return Err(Violation::Stage(state.stage).into());
    }
    if *previous != state.last {
        return Err(Violation::Previous { last: state.last }.into());
    }
    Ok(state)
}

/// Adoption, confirmation and voiding all start from a unit that is bound.
fn move_on<K: Known>(
    subject: &SubjectId,
    previous: &EntryRef,
    entry: EntryRef,
    to: Stage,
    known: &K,
) -> Checked<K> {
    let state = next_state(subject, previous, &[Stage::Bound], known)?;
    let moved = SubjectState {
        last: entry,
        stage: to,
        ..state
    };
    Ok(Change {
        effect: Effect::Moved(*subject, moved),
        lot: lots::moved(&state, to, known)?,
    })
}

fn check_scrap<K: Known>(body: &crate::leaf::Scrap, entry: EntryRef, known: &K) -> Checked<K> {
    let grant = known
        .grant(&body.grant)
        .map_err(RuleError::Lookup)?
        .ok_or(Violation::UnknownGrant)?;
    if grant.scrapped >= grant.terms.scrap {
        return Err(Violation::ScrapUsedUp.into());
    }
    let (subject, lot) = match (&body.subject, &body.previous) {
        (None, None) => (None, lots::scrapped_keyless(body, known)?),
        (Some(subject), Some(previous)) => {
            let state = next_state(subject, previous, &[Stage::Bound, Stage::Voided], known)?;
            if body.lot != state.lot {
                return Err(Violation::OtherLot.into());
            }
            let scrapped = SubjectState {
                last: entry,
                stage: Stage::Scrapped,
                ..state
            };
            lots::of_grant(body.lot.as_ref(), &body.grant, known)?;
            let lot = lots::moved(&state, Stage::Scrapped, known)?;
            (Some((*subject, scrapped)), lot)
        }
        (Some(_), None) | (None, Some(_)) => return Err(Violation::ScrapForm.into()),
    };
    let effect = Effect::Scrapped {
        subject,
        grant: body.grant,
        scrapped: grant.scrapped.saturating_add(1),
    };
    Ok(Change { effect, lot })
}
