//! A replayed log as a reader keeps it, and a second, slower reading of the rules that it must agree with.

use identity::hash::{CertificateHash, DocumentHash, LeafHash, RequestHash, SpkiHash, TbsHash};
use identity::leaf::{
    Adopt, Bind, Body, Bytes32, CertificateRef, Confirm, EntryRef, EvidenceRef, GrantTerms,
    GrantUse, Leaf, LotClose, Refuse, Scrap, Serial20, Void,
};
use identity::lot::{LotCounts, LotTally, differences};
use identity::rules::{
    Change, Effect, GrantState, Known, LotState, RuleError, Stage, SubjectState, Violation, check,
};
use identity::{Day, Id, SubjectId};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

pub(crate) const GRANT: DocumentHash = DocumentHash([0x77; 32]);
const SMALL_GRANT: DocumentHash = DocumentHash([0x78; 32]);
/// The lots that random logs open, with the documents of [`some_document`].
const LOTS: [DocumentHash; 2] = [DocumentHash([1; 32]), DocumentHash([2; 32])];

/// A unit of the factory, by number; its subject and key follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unit(pub(crate) u8);

impl Unit {
    fn subject(self) -> SubjectId {
        SubjectId([self.0; 32])
    }

    fn spki(self) -> SpkiHash {
        SpkiHash([self.0; 32])
    }

    pub(crate) fn bind(self, ordinal: u32) -> Body {
        self.bind_with_key_of(self, ordinal)
    }

    pub(crate) fn bind_with_key_of(self, owner: Self, ordinal: u32) -> Body {
        Body::Bind(Bind {
            subject: self.subject(),
            certificate: CertificateRef {
                serial: Serial20([1; 20]),
                tbs: TbsHash([1; 32]),
                spki: owner.spki(),
                issuer: SpkiHash([0xff; 32]),
                epoch: 0,
            },
            grant: GrantUse {
                grant: GRANT,
                ordinal,
            },
            request: RequestHash([1; 32]),
            evidence: EvidenceRef {
                grade: identity::evidence::Grade::ChipAttested,
                hash: Bytes32([1; 32]),
            },
            fields: Bytes32([1; 32]),
            lot: None,
            supersedes: None,
        })
    }

    pub(crate) fn bind_in(self, ordinal: u32, lot: DocumentHash) -> Body {
        self.bind_for(ordinal, lot, None)
    }

    /// In a lot, in place of another board.
    pub(crate) fn bind_for(self, ordinal: u32, lot: DocumentHash, earlier: Option<Self>) -> Body {
        let Body::Bind(mut bind) = self.bind(ordinal) else {
            panic!("a bind")
        };
        bind.lot = Some(lot);
        bind.supersedes = earlier.map(Self::subject);
        Body::Bind(bind)
    }

    pub(crate) fn adopt(self, previous: EntryRef) -> Body {
        let (request, fields) = (RequestHash([2; 32]), Bytes32([2; 32]));
        Body::Adopt(Adopt {
            subject: self.subject(),
            previous,
            request,
            fields,
        })
    }

    pub(crate) fn confirm(self, previous: EntryRef) -> Body {
        let (certificate, signature) = (CertificateHash([3; 32]), Bytes32([3; 32]));
        Body::Confirm(Confirm {
            subject: self.subject(),
            previous,
            request: RequestHash([3; 32]),
            certificate,
            signature,
        })
    }

    pub(crate) fn void(self, previous: EntryRef) -> Body {
        Body::Void(Void {
            subject: self.subject(),
            previous,
            request: None,
            reason: reason(),
        })
    }

    pub(crate) fn scrap(self, previous: EntryRef) -> Body {
        scrap(Some(self.subject()), Some(previous), None)
    }

    pub(crate) fn scrap_in(self, previous: EntryRef, lot: DocumentHash) -> Body {
        scrap(Some(self.subject()), Some(previous), Some(lot))
    }

    pub(crate) fn scrap_without_key() -> Body {
        scrap(None, None, None)
    }

    pub(crate) fn scrap_without_key_in(lot: DocumentHash) -> Body {
        scrap(None, None, Some(lot))
    }

    pub(crate) fn refuse(count: u32) -> Body {
        Body::Refuse(Refuse {
            reason: reason(),
            count,
            request: None,
            fields: Bytes32([5; 32]),
        })
    }
}

pub(crate) fn reason() -> Id {
    Id::new("LINE-0105").unwrap()
}

pub(crate) fn grant_close(grant: DocumentHash) -> Body {
    Body::GrantClose {
        grant,
        reason: reason(),
    }
}

/// The end of a lot of one, of which the station counted `pass` as confirmed.
pub(crate) fn lot_close(lot: DocumentHash, pass: u32, tally: LotTally, reason: Option<Id>) -> Body {
    let counts = LotCounts {
        planned: 1,
        pass,
        unused: 1_u32.saturating_sub(pass),
        open: tally.open(),
        voided: tally.voided,
        boards_scrapped: tally.boards_scrapped(),
        ..LotCounts::default()
    };
    Body::LotClose(LotClose {
        lot,
        request: RequestHash([6; 32]),
        counts,
        tally,
        reason,
    })
}

fn scrap(
    subject: Option<SubjectId>,
    previous: Option<EntryRef>,
    lot: Option<DocumentHash>,
) -> Body {
    Body::Scrap(Scrap {
        subject,
        previous,
        grant: GRANT,
        request: None,
        reason: reason(),
        fields: Bytes32([4; 32]),
        lot,
    })
}

/// What a reader keeps: [`check`] decides, this writes down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    leaves: Vec<Leaf>,
    subjects: BTreeMap<SubjectId, SubjectState>,
    keys: BTreeSet<SpkiHash>,
    grants: BTreeMap<DocumentHash, GrantState>,
    lots: BTreeMap<DocumentHash, LotState>,
    documents: BTreeSet<DocumentHash>,
}

impl Known for Book {
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
        u64::try_from(self.leaves.len()).unwrap()
    }
    fn last_day(&self) -> Day {
        self.leaves.last().map_or(Day(0), |leaf| leaf.day)
    }
}

impl Book {
    pub(crate) fn add(&mut self, leaf: &Leaf) -> Result<(), Violation> {
        let change =
            check(leaf, LeafHash::of(&leaf.to_bytes()), self).map_err(|error| match error {
                RuleError::Violation(violation) => violation,
                RuleError::Lookup(never) => match never {},
            })?;
        self.write(change);
        self.leaves.push(leaf.clone());
        Ok(())
    }

    pub(crate) fn must(&mut self, leaf: &Leaf) {
        assert_eq!(self.add(leaf), Ok(()), "{leaf:?}");
    }

    fn write(&mut self, Change { effect, lot }: Change) {
        self.lots.extend(lot);
        match effect {
            Effect::None => {}
            Effect::Document(document) => drop(self.documents.insert(document)),
            Effect::Grant(document, terms) => {
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
            Effect::GrantClosed(grant, entry) => {
                self.grants.get_mut(&grant).unwrap().closed = Some(entry);
            }
            Effect::InLots(grant) => self.grants.get_mut(&grant).unwrap().in_lots = true,
            Effect::Bound {
                subject,
                spki,
                grant,
                issued,
                state,
            } => {
                self.keys.insert(spki);
                self.subjects.insert(subject, state);
                let grant = self.grants.get_mut(&grant).unwrap();
                grant.issued = issued;
                grant.in_lots |= state.lot.is_some();
            }
            Effect::Moved(subject, state) => drop(self.subjects.insert(subject, state)),
            Effect::Scrapped {
                subject,
                grant,
                scrapped,
            } => {
                self.subjects.extend(subject);
                self.grants.get_mut(&grant).unwrap().scrapped = scrapped;
            }
        }
    }

    /// The unit's newest entry; some entry that is not in the log if it has none.
    pub(crate) fn last(&self, unit: Unit) -> EntryRef {
        let nowhere = EntryRef {
            index: 0,
            hash: LeafHash([0; 32]),
        };
        self.subjects
            .get(&unit.subject())
            .map_or(nowhere, |state| state.last)
    }

    pub(crate) fn stage(&self, unit: Unit) -> Option<Stage> {
        self.subjects.get(&unit.subject()).map(|state| state.stage)
    }
}

// --- the reference: the rules read off the whole list of leaves, with nothing kept between them ---------------------

fn permitted(log: &[Leaf], next: &Leaf) -> bool {
    let in_place = log.is_empty() == matches!(next.body, Body::Ceremony { .. });
    in_place && log.iter().all(|leaf| leaf.day <= next.day) && body_permitted(log, next)
}

fn body_permitted(log: &[Leaf], next: &Leaf) -> bool {
    match &next.body {
        Body::Ceremony { document } | Body::Station { document, .. } => is_new(log, document),
        Body::LotOpen {
            document, grant, ..
        } => is_new(log, document) && in_force(log, grant, next.day).is_some(),
        Body::Grant {
            document, terms, ..
        } => terms_of(log, document).is_none() && terms.limit > 0 && terms.first <= terms.last,
        Body::GrantClose { grant, .. } => terms_of(log, grant).is_some() && !is_ended(log, grant),
        Body::LotClose(body) => close_permitted(log, body),
        Body::Bind(bind) => {
            bind_permitted(log, bind, next.day) && bind_fits(log, bind) && may_supersede(log, bind)
        }
        Body::Adopt(body) => follows(log, body.subject, body.previous, &[Stage::Bound]),
        Body::Confirm(body) => follows(log, body.subject, body.previous, &[Stage::Bound]),
        Body::Void(body) => follows(log, body.subject, body.previous, &[Stage::Bound]),
        Body::Scrap(body) => scrap_permitted(log, body),
        Body::Refuse(body) => body.count > 0,
    }
}

fn bind_permitted(log: &[Leaf], bind: &Bind, day: Day) -> bool {
    let used = binds(log)
        .filter(|other| other.grant.grant == bind.grant.grant)
        .count();
    let fresh = binds(log).all(|other| {
        other.subject != bind.subject && other.certificate.spki != bind.certificate.spki
    });
    let allowed =
        in_force(log, &bind.grant.grant, day).is_some_and(|terms| bind.grant.ordinal < terms.limit);
    fresh
        && allowed
        && usize::try_from(bind.grant.ordinal) == Ok(used)
        && bind.certificate.epoch == 0
}

fn scrap_permitted(log: &[Leaf], scrap: &Scrap) -> bool {
    let used = log
        .iter()
        .filter(|leaf| matches!(&leaf.body, Body::Scrap(other) if other.grant == scrap.grant));
    let allowance =
        terms_of(log, &scrap.grant).map_or(0, |terms| usize::try_from(terms.scrap).unwrap());
    let fits = match (scrap.subject, scrap.previous) {
        (None, None) => scrap.lot.is_none_or(|lot| is_open(log, &lot, &scrap.grant)),
        (Some(subject), Some(previous)) => {
            follows(log, subject, previous, &[Stage::Bound, Stage::Voided])
                && lot_of(log, subject) == scrap.lot
                && scrap
                    .lot
                    .is_none_or(|lot| order_of(log, &lot, &scrap.grant).is_some())
        }
        _ => false,
    };
    used.count() < allowance && fits
}

/// Quantity of a lot under this grant.
fn order_of(log: &[Leaf], lot: &DocumentHash, under: &DocumentHash) -> Option<u32> {
    log.iter().find_map(|leaf| match &leaf.body {
        Body::LotOpen {
            document,
            grant,
            quantity,
        } if document == lot && grant == under => Some(*quantity),
        _ => None,
    })
}

fn is_closed(log: &[Leaf], lot: &DocumentHash) -> bool {
    log.iter()
        .any(|leaf| matches!(&leaf.body, Body::LotClose(close) if close.lot == *lot))
}

fn is_open(log: &[Leaf], lot: &DocumentHash, under: &DocumentHash) -> bool {
    order_of(log, lot, under).is_some() && !is_closed(log, lot)
}

fn lot_of(log: &[Leaf], subject: SubjectId) -> Option<DocumentHash> {
    binds(log)
        .find(|bind| bind.subject == subject)
        .and_then(|bind| bind.lot)
}

fn stage_of(log: &[Leaf], subject: SubjectId) -> Option<Stage> {
    let newest = log
        .iter()
        .rfind(|leaf| leaf.body.subject() == Some(subject))?;
    Some(match newest.body {
        Body::Confirm(_) => Stage::Confirmed,
        Body::Void(_) => Stage::Voided,
        Body::Scrap(_) => Stage::Scrapped,
        _ => Stage::Bound,
    })
}

/// A lot's boards, counted one by one.
fn tally_of(log: &[Leaf], lot: &DocumentHash) -> LotTally {
    let mut tally = LotTally::default();
    for bind in binds(log).filter(|bind| bind.lot == Some(*lot)) {
        tally.bound += 1;
        match stage_of(log, bind.subject) {
            Some(Stage::Confirmed) => tally.confirmed += 1,
            Some(Stage::Voided) => tally.voided += 1,
            Some(Stage::Scrapped) => tally.scrapped += 1,
            Some(Stage::Bound) | None => {}
        }
    }
    let keyless = log.iter().filter(|leaf| {
        matches!(&leaf.body, Body::Scrap(scrap) if scrap.lot == Some(*lot) && scrap.subject.is_none())
    });
    tally.keyless = u32::try_from(keyless.count()).unwrap();
    tally
}

fn bind_fits(log: &[Leaf], bind: &Bind) -> bool {
    let grant = bind.grant.grant;
    match bind.lot {
        None => {
            !binds(log).any(|other| other.grant.grant == grant && other.lot.is_some())
                && !LOTS
                    .iter()
                    .any(|lot| order_of(log, lot, &grant).is_some() && is_closed(log, lot))
        }
        Some(lot) => {
            let quantity = order_of(log, &lot, &grant).unwrap_or(0);
            let tally = tally_of(log, &lot);
            is_open(log, &lot, &grant) && tally.confirmed + tally.open() < quantity
        }
    }
}

fn may_supersede(log: &[Leaf], bind: &Bind) -> bool {
    bind.supersedes.is_none_or(|earlier| {
        matches!(
            stage_of(log, earlier),
            Some(Stage::Voided | Stage::Scrapped)
        )
    })
}

fn close_permitted(log: &[Leaf], close: &LotClose) -> bool {
    let quantity = log.iter().find_map(|leaf| match &leaf.body {
        Body::LotOpen {
            document, quantity, ..
        } if *document == close.lot => Some(*quantity),
        _ => None,
    });
    let differs = |quantity| differences(quantity, &close.counts, &close.tally).count() > 0;
    !is_closed(log, &close.lot)
        && close.tally == tally_of(log, &close.lot)
        && quantity.is_some_and(|quantity| differs(quantity) == close.reason.is_some())
}

fn binds(log: &[Leaf]) -> impl Iterator<Item = &Bind> {
    log.iter().filter_map(|leaf| {
        if let Body::Bind(bind) = &leaf.body {
            Some(bind)
        } else {
            None
        }
    })
}

fn is_new(log: &[Leaf], wanted: &DocumentHash) -> bool {
    !log.iter().any(|leaf| match &leaf.body {
        Body::Ceremony { document }
        | Body::Station { document, .. }
        | Body::LotOpen { document, .. } => document == wanted,
        _ => false,
    })
}

fn terms_of(log: &[Leaf], grant: &DocumentHash) -> Option<GrantTerms> {
    log.iter().find_map(|leaf| match &leaf.body {
        Body::Grant {
            document, terms, ..
        } if document == grant => Some(*terms),
        _ => None,
    })
}

fn in_force(log: &[Leaf], grant: &DocumentHash, day: Day) -> Option<GrantTerms> {
    terms_of(log, grant)
        .filter(|terms| terms.first <= day && day <= terms.last)
        .filter(|_| !is_ended(log, grant))
}

fn is_ended(log: &[Leaf], ended: &DocumentHash) -> bool {
    log.iter()
        .any(|leaf| matches!(&leaf.body, Body::GrantClose { grant, .. } if grant == ended))
}

/// Whether `previous` is the subject's newest entry, and that left it at one of these stages.
fn follows(log: &[Leaf], subject: SubjectId, previous: EntryRef, from: &[Stage]) -> bool {
    let newest = log
        .iter()
        .enumerate()
        .rev()
        .find(|(_, leaf)| leaf.body.subject() == Some(subject));
    newest.is_some_and(|(index, leaf)| {
        let stage = match leaf.body {
            Body::Confirm(_) => Stage::Confirmed,
            Body::Void(_) => Stage::Voided,
            Body::Scrap(_) => Stage::Scrapped,
            _ => Stage::Bound,
        };
        let entry = EntryRef {
            index: u64::try_from(index).unwrap(),
            hash: LeafHash::of(&leaf.to_bytes()),
        };
        entry == previous && from.contains(&stage)
    })
}

// --- random logs ----------------------------------------------------------------------------------------------------

/// What somebody tries next. Mostly sensible, so that long histories come about.
#[derive(Clone, Debug)]
enum Try {
    Document(u8, u8),
    Grant {
        grant: DocumentHash,
        limit: u32,
        scrap: u32,
    },
    Bind {
        unit: Unit,
        key: Unit,
        grant: DocumentHash,
        skip: u32,
        epoch: u32,
        lot: Option<usize>,
        earlier: Option<Unit>,
    },
    Close {
        lot: usize,
        pass: u32,
        has_reason: bool,
        off: u32,
    },
    Later {
        what: u8,
        unit: Unit,
        ahead: u64,
    },
    ScrapWithoutKey(Option<usize>),
    GrantClose(DocumentHash),
    Refuse(u32),
}

fn rarely(odd: u32) -> impl Strategy<Value = u32> {
    prop_oneof![9 => Just(0), 1 => Just(odd)]
}

fn grants() -> impl Strategy<Value = DocumentHash> {
    prop_oneof![3 => Just(GRANT), 1 => Just(SMALL_GRANT)]
}

fn tries() -> impl Strategy<Value = Try> {
    let unit = || (1..6_u8).prop_map(Unit);
    let key = proptest::option::weighted(0.2, unit());
    let lot = || proptest::option::weighted(0.6, 0..2_usize);
    prop_oneof![
        1 => (0..3_u8, 1..4_u8).prop_map(|(kind, seed)| Try::Document(kind, seed)),
        2 => (grants(), 0..5_u32, 0..3_u32).prop_map(|(grant, limit, scrap)| Try::Grant { grant, limit, scrap }),
        6 => (unit(), key, grants(), rarely(1), rarely(1), lot(), proptest::option::weighted(0.3, unit()))
            .prop_map(|(unit, key, grant, skip, epoch, lot, earlier)| Try::Bind {
                unit, key: key.unwrap_or(unit), grant, skip, epoch, lot, earlier,
            }),
        1 => (0..2_usize, 0..3_u32, any::<bool>(), rarely(1))
            .prop_map(|(lot, pass, has_reason, off)| Try::Close { lot, pass, has_reason, off }),
        8 => (0..6_u8, unit(), prop_oneof![9 => Just(0_u64), 1 => Just(1)])
            .prop_map(|(what, unit, ahead)| Try::Later { what, unit, ahead }),
        1 => lot().prop_map(Try::ScrapWithoutKey),
        1 => prop_oneof![1 => Just(GRANT), 4 => Just(SMALL_GRANT)].prop_map(Try::GrantClose),
        1 => (0..2_u32).prop_map(Try::Refuse),
    ]
}

impl Try {
    fn body(&self, book: &Book) -> Body {
        match *self {
            Self::Document(kind, seed) => some_document(kind, DocumentHash([seed; 32])),
            Self::Grant {
                grant,
                limit,
                scrap,
            } => {
                let terms = GrantTerms {
                    limit,
                    scrap,
                    first: Day(2),
                    last: Day(20),
                };
                Body::Grant {
                    document: grant,
                    approvals: vec![],
                    terms,
                }
            }
            Self::Bind {
                unit,
                key,
                grant,
                skip,
                epoch,
                lot,
                earlier,
            } => {
                let next = book.grants.get(&grant).map_or(0, |state| state.issued);
                let Body::Bind(mut bind) = unit.bind_with_key_of(key, next + skip) else {
                    panic!("a bind")
                };
                bind.grant.grant = grant;
                bind.certificate.epoch = epoch;
                bind.lot = lot.map(|lot| LOTS[lot]);
                bind.supersedes = earlier.map(Unit::subject);
                Body::Bind(bind)
            }
            Self::Later { what, unit, ahead } => {
                let lot = lot_of(&book.leaves, unit.subject());
                later(what, unit, previous(book, unit, ahead), lot)
            }
            Self::Close {
                lot,
                pass,
                has_reason,
                off,
            } => {
                let mut tally = tally_of(&book.leaves, &LOTS[lot]);
                tally.bound += off;
                lot_close(LOTS[lot], pass, tally, has_reason.then(reason))
            }
            Self::ScrapWithoutKey(lot) => scrap(None, None, lot.map(|lot| LOTS[lot])),
            Self::GrantClose(grant) => grant_close(grant),
            Self::Refuse(count) => Unit::refuse(count),
        }
    }
}

fn some_document(kind: u8, document: DocumentHash) -> Body {
    match kind {
        0 => Body::Ceremony { document },
        1 => Body::Station {
            document,
            approvals: vec![],
        },
        _ => Body::LotOpen {
            document,
            grant: GRANT,
            quantity: 2,
        },
    }
}

fn previous(book: &Book, unit: Unit, ahead: u64) -> EntryRef {
    let last = book.last(unit);
    EntryRef {
        index: last.index + ahead,
        ..last
    }
}

fn later(what: u8, unit: Unit, previous: EntryRef, lot: Option<DocumentHash>) -> Body {
    match what {
        0 => unit.adopt(previous),
        1 => unit.confirm(previous),
        2 => unit.void(previous),
        3 => scrap(Some(unit.subject()), Some(previous), lot),
        4 => unit.scrap(previous),
        _ => scrap(Some(unit.subject()), None, None),
    }
}

/// What must hold of any log, however it came about.
fn sound(log: &[Leaf]) {
    let all: Vec<&Bind> = binds(log).collect();
    assert_eq!(
        all.iter()
            .map(|bind| bind.subject)
            .collect::<BTreeSet<_>>()
            .len(),
        all.len()
    );
    assert_eq!(
        all.iter()
            .map(|bind| bind.certificate.spki)
            .collect::<BTreeSet<_>>()
            .len(),
        all.len()
    );
    for grant in [GRANT, SMALL_GRANT] {
        let ordinals = all
            .iter()
            .map(|bind| bind.grant)
            .filter(|used| used.grant == grant)
            .map(|used| used.ordinal);
        let count = u32::try_from(ordinals.clone().count()).unwrap();
        assert!(ordinals.eq(0..count));
        assert!(count <= terms_of(log, &grant).map_or(0, |terms| terms.limit));
    }
    for lot in LOTS {
        let tally = tally_of(log, &lot);
        let quantity = order_of(log, &lot, &GRANT).unwrap_or(0);
        assert!(tally.live() <= quantity, "{tally:?}");
    }
    assert!(log.windows(2).all(|pair| pair[0].day <= pair[1].day));
}

proptest! {
    #[test]
    fn random_logs_agree_with_the_reference(
        tries in proptest::collection::vec((tries(), prop_oneof![8 => Just(0_i32), 1 => Just(1), 1 => Just(-1)]), 1..60),
        begun in any::<bool>(),
    ) {
        let mut book = Book::default();
        if begun {
            book.must(&Leaf { day: Day(2), body: some_document(0, DocumentHash([9; 32])) });
            let terms = GrantTerms { limit: 4, scrap: 2, first: Day(2), last: Day(6) };
            book.must(&Leaf { day: Day(2), body: Body::Grant { document: GRANT, approvals: vec![], terms } });
        }
        for (attempt, days) in tries {
            let leaf = Leaf { day: Day(book.last_day().0.saturating_add_signed(days)), body: attempt.body(&book) };
            let expected = permitted(&book.leaves, &leaf);
            let outcome = book.add(&leaf);
            assert_eq!(outcome.is_ok(), expected, "{leaf:?}: {outcome:?}");
        }
        sound(&book.leaves);
    }
}
