//! Which leaf may follow which: every transition, and every violation reached.

use crate::rules_model::{Book, GRANT, Unit, grant_close, lot_close, reason};
use identity::hash::DocumentHash;
use identity::leaf::{Body, EntryRef, GrantTerms, Leaf};
use identity::lot::LotTally;
use identity::rules::{Effect, Known, RuleError, Stage, Violation, check};
use identity::{Day, LeafHash, SpkiHash, SubjectId};
use std::collections::BTreeSet;

/// Two binds, one scrap, days 10 to 20.
const TERMS: GrantTerms = GrantTerms {
    limit: 2,
    scrap: 1,
    first: Day(10),
    last: Day(20),
};

fn on(day: u32, body: Body) -> Leaf {
    Leaf {
        day: Day(day),
        body,
    }
}

fn document(seed: u8) -> DocumentHash {
    DocumentHash([seed; 32])
}

/// A log with its ceremony and one grant.
fn begun() -> Book {
    let mut book = Book::default();
    book.must(&on(
        10,
        Body::Ceremony {
            document: document(1),
        },
    ));
    book.must(&on(
        10,
        Body::Grant {
            document: GRANT,
            approvals: vec![],
            terms: TERMS,
        },
    ));
    book
}

/// The log with unit 1 at a stage; none: never bound.
fn with_unit_at(stage: Option<Stage>) -> Book {
    let (mut book, unit) = (begun(), Unit(1));
    if stage.is_some() {
        book.must(&on(11, unit.bind(0)));
    }
    match stage {
        None | Some(Stage::Bound) => {}
        Some(Stage::Confirmed) => book.must(&on(11, unit.confirm(book.last(unit)))),
        Some(Stage::Voided) => book.must(&on(11, unit.void(book.last(unit)))),
        Some(Stage::Scrapped) => book.must(&on(11, unit.scrap(book.last(unit)))),
    }
    book
}

#[test]
fn every_transition_is_allowed_or_refused_as_the_table_says() {
    use Stage::{Bound, Confirmed, Scrapped, Voided};
    type Step = fn(Unit, EntryRef) -> Body;
    let steps: [(&str, Step); 4] = [
        ("adopt", Unit::adopt),
        ("confirm", Unit::confirm),
        ("void", Unit::void),
        ("scrap", Unit::scrap),
    ];
    let table = [
        (None, [None, None, None, None]),
        (
            Some(Bound),
            [Some(Bound), Some(Confirmed), Some(Voided), Some(Scrapped)],
        ),
        (Some(Confirmed), [None, None, None, None]),
        (Some(Voided), [None, None, None, Some(Scrapped)]),
    ];
    for (stage, row) in table {
        for ((name, step), to) in steps.iter().zip(row) {
            let mut book = with_unit_at(stage);
            let outcome = book.add(&on(12, step(Unit(1), book.last(Unit(1)))));
            let refusal = stage.map_or(Violation::UnknownSubject, Violation::Stage);
            assert_eq!(
                outcome,
                if to.is_some() { Ok(()) } else { Err(refusal) },
                "{name} of {stage:?}"
            );
            assert_eq!(book.stage(Unit(1)), to.or(stage), "{name} of {stage:?}");
        }
    }
}

#[test]
fn a_scrapped_unit_stays_scrapped() {
    let book = with_unit_at(Some(Stage::Scrapped));
    let unit = Unit(1);
    for body in [
        unit.adopt(book.last(unit)),
        unit.confirm(book.last(unit)),
        unit.void(book.last(unit)),
    ] {
        assert_eq!(
            book.clone().add(&on(12, body)),
            Err(Violation::Stage(Stage::Scrapped))
        );
    }
}

#[test]
fn no_stage_lets_a_subject_or_a_key_be_bound_again() {
    for stage in [
        Stage::Bound,
        Stage::Confirmed,
        Stage::Voided,
        Stage::Scrapped,
    ] {
        let mut book = with_unit_at(Some(stage));
        assert_eq!(
            book.add(&on(12, Unit(1).bind(1))),
            Err(Violation::SubjectTwice { bind: 2 }),
            "{stage:?}"
        );
        assert_eq!(
            book.add(&on(12, Unit(2).bind_with_key_of(Unit(1), 1))),
            Err(Violation::KeyTwice),
            "{stage:?}"
        );
    }
}

/// Each row: what the log holds, the leaf that comes, and the rule it breaks.
#[expect(clippy::too_many_lines, reason = "a table")]
fn violations() -> Vec<(Book, Leaf, Violation)> {
    let ended = with(begun(), &[grant_close(GRANT)]);
    let is_ended = Violation::GrantClosed { entry: 2 };
    let unit = Unit(1);
    let bound = with_unit_at(Some(Stage::Bound));
    let last = bound.last(unit);
    let stale = EntryRef {
        index: last.index,
        hash: LeafHash([9; 32]),
    };
    let full = {
        let mut book = bound.clone();
        book.must(&on(11, Unit(2).bind(1)));
        book
    };
    let granting = |document, terms| Body::Grant {
        document,
        approvals: vec![],
        terms,
    };
    let lot = |grant| Body::LotOpen {
        document: document(5),
        grant,
        quantity: 1,
    };
    let second_epoch = {
        let Body::Bind(mut bind) = unit.bind(0) else {
            panic!("a bind")
        };
        bind.certificate.epoch = 1;
        Body::Bind(bind)
    };
    let half = {
        let Body::Scrap(mut scrap) = unit.scrap(last) else {
            panic!("a scrap")
        };
        scrap.previous = None;
        Body::Scrap(scrap)
    };
    vec![
        (
            begun(),
            on(
                9,
                Body::Station {
                    document: document(2),
                    approvals: vec![],
                },
            ),
            Violation::DayBackward,
        ),
        (
            Book::default(),
            on(10, Unit::refuse(1)),
            Violation::CeremonyPlace,
        ),
        (
            begun(),
            on(
                10,
                Body::Ceremony {
                    document: document(3),
                },
            ),
            Violation::CeremonyPlace,
        ),
        (
            begun(),
            on(
                10,
                Body::Station {
                    document: document(1),
                    approvals: vec![],
                },
            ),
            Violation::DocumentTwice,
        ),
        (
            begun(),
            on(10, granting(GRANT, TERMS)),
            Violation::DocumentTwice,
        ),
        (
            begun(),
            on(10, granting(document(4), GrantTerms { limit: 0, ..TERMS })),
            Violation::EmptyGrant,
        ),
        (
            begun(),
            on(
                10,
                granting(
                    document(4),
                    GrantTerms {
                        last: Day(9),
                        ..TERMS
                    },
                ),
            ),
            Violation::EmptyGrant,
        ),
        (begun(), on(10, lot(document(4))), Violation::UnknownGrant),
        (begun(), on(21, lot(GRANT)), Violation::GrantDays),
        (begun(), on(21, unit.bind(0)), Violation::GrantDays),
        (full, on(12, Unit(3).bind(2)), Violation::GrantUsedUp),
        (
            begun(),
            on(10, grant_close(document(4))),
            Violation::UnknownGrant,
        ),
        (ended.clone(), on(11, unit.bind(0)), is_ended),
        (ended.clone(), on(11, lot(GRANT)), is_ended),
        (ended, on(11, grant_close(GRANT)), is_ended),
        (
            begun(),
            on(10, unit.bind(1)),
            Violation::Ordinal { next: 0 },
        ),
        (
            bound.clone(),
            on(12, Unit(2).bind(0)),
            Violation::Ordinal { next: 1 },
        ),
        (
            bound.clone(),
            on(12, unit.bind(1)),
            Violation::SubjectTwice { bind: 2 },
        ),
        (
            bound.clone(),
            on(12, Unit(2).bind_with_key_of(unit, 1)),
            Violation::KeyTwice,
        ),
        (begun(), on(10, second_epoch), Violation::Epoch),
        (
            begun(),
            on(10, unit.confirm(last)),
            Violation::UnknownSubject,
        ),
        (
            bound.clone(),
            on(12, unit.confirm(stale)),
            Violation::Previous { last },
        ),
        (
            with_unit_at(Some(Stage::Confirmed)),
            on(12, unit.void(last)),
            Violation::Stage(Stage::Confirmed),
        ),
        (bound.clone(), on(12, half), Violation::ScrapForm),
        (
            with_unit_at(Some(Stage::Scrapped)),
            on(12, Unit::scrap_without_key()),
            Violation::ScrapUsedUp,
        ),
        (bound, on(12, Unit::refuse(0)), Violation::EmptyRefusal),
    ]
}

/// The log with a lot of one, and unit 1 bound in it.
fn in_lot() -> Book {
    let mut book = begun();
    for lot in [LOT, document(6)] {
        book.must(&on(
            10,
            Body::LotOpen {
                document: lot,
                grant: GRANT,
                quantity: 1,
            },
        ));
    }
    book.must(&on(11, Unit(1).bind_in(0, LOT)));
    book
}

const LOT: DocumentHash = DocumentHash([5; 32]);

fn with(mut book: Book, bodies: &[Body]) -> Book {
    for body in bodies {
        book.must(&on(11, body.clone()));
    }
    book
}

/// As [`violations`], for lots.
#[expect(clippy::too_many_lines, reason = "a table")]
fn lot_violations() -> Vec<(Book, Leaf, Violation)> {
    let unit = Unit(1);
    let book = in_lot();
    let last = book.last(unit);
    let one = LotTally {
        bound: 1,
        ..LotTally::default()
    };
    let none = LotTally::default();
    let closed = with(book.clone(), &[lot_close(LOT, 0, one, None)]);
    let is_closed = Violation::LotClosed { entry: 5 };
    let opened = Body::LotOpen {
        document: LOT,
        grant: GRANT,
        quantity: 1,
    };
    let closed_unused = with(begun(), &[opened, lot_close(LOT, 0, none, None)]);
    let rows = [
        (
            &book,
            Unit(2).bind_in(1, document(7)),
            Violation::UnknownLot,
        ),
        (
            &book,
            lot_close(document(7), 0, none, None),
            Violation::UnknownLot,
        ),
        (
            &book,
            Unit::scrap_without_key_in(document(7)),
            Violation::UnknownLot,
        ),
        (&book, Unit(2).bind_in(1, LOT), Violation::LotFull),
        (&book, Unit(2).bind(1), Violation::OtherLot),
        (&book, unit.scrap(last), Violation::OtherLot),
        (&book, unit.scrap_in(last, document(6)), Violation::OtherLot),
        (&book, lot_close(LOT, 0, none, None), Violation::LotTally),
        (
            &book,
            lot_close(LOT, 0, one, Some(reason())),
            Violation::LotReason,
        ),
        (&book, lot_close(LOT, 1, one, None), Violation::LotReason),
        (&closed, Unit(2).bind_in(1, LOT), is_closed),
        (&closed, Unit::scrap_without_key_in(LOT), is_closed),
        (&closed_unused, Unit(2).bind(0), Violation::OtherLot),
        (&closed, lot_close(LOT, 0, one, None), is_closed),
        (
            &book,
            Unit(2).bind_for(1, document(6), Some(unit)),
            Violation::Superseded,
        ),
        (
            &book,
            Unit(2).bind_for(1, document(6), Some(Unit(3))),
            Violation::Superseded,
        ),
    ];
    rows.into_iter()
        .map(|(book, body, violation)| (book.clone(), on(12, body), violation))
        .collect()
}

#[test]
fn a_swapped_board_takes_its_place_in_the_lot() {
    let mut book = in_lot();
    let unit = Unit(1);
    book.must(&on(11, unit.void(book.last(unit))));
    book.must(&on(11, Unit(2).bind_for(1, LOT, Some(unit))));
    book.must(&on(11, unit.scrap_in(book.last(unit), LOT)));
    let tally = book.lot(&LOT).unwrap().unwrap().tally;
    assert_eq!(
        (tally.bound, tally.scrapped, tally.live(), tally.open()),
        (2, 1, 1, 1)
    );
}

#[test]
fn what_was_put_aside_is_decided_after_its_lot_is_closed() {
    let unit = Unit(1);
    let one = LotTally {
        bound: 1,
        ..LotTally::default()
    };
    for confirms in [true, false] {
        let mut book = with(in_lot(), &[lot_close(LOT, 0, one, None)]);
        let last = book.last(unit);
        book.must(&on(
            12,
            match confirms {
                true => unit.confirm(last),
                false => unit.scrap_in(last, LOT),
            },
        ));
        let state = book.lot(&LOT).unwrap().unwrap();
        assert_eq!((state.tally.open(), state.closed), (0, Some(5)));
    }
}

/// A board that the station does not know of.
#[test]
fn a_difference_is_named_and_never_prevents_the_end() {
    let unit = Unit(1);
    let mut book = in_lot();
    book.must(&on(11, unit.confirm(book.last(unit))));
    let tally = book.lot(&LOT).unwrap().unwrap().tally;
    let close = lot_close(LOT, 0, tally, Some(reason()));
    book.must(&on(11, close.clone()));
    let Body::LotClose(close) = close else {
        panic!("a close")
    };
    let named: Vec<_> = identity::lot::differences(1, &close.counts, &close.tally)
        .map(|difference| difference.to_string())
        .collect();
    assert_eq!(named, ["pass: 0 stated, 1 in the log"]);
}

#[test]
fn what_is_bound_under_a_grant_is_finished_after_it_was_closed() {
    let mut book = with(
        begun(),
        &[Unit(1).bind(0), Unit(2).bind(1), grant_close(GRANT)],
    );
    let (first, second) = (book.last(Unit(1)), book.last(Unit(2)));
    for body in [
        Unit(1).adopt(first),
        Unit(2).void(second),
        Unit::scrap_without_key(),
    ] {
        book.must(&on(11, body));
    }
    let adopted = book.last(Unit(1));
    book.must(&on(12, Unit(1).confirm(adopted)));
}

/// Number of a violation. A new one does not compile until it stands here, and fails until it is reached.
const fn number(violation: Violation) -> u8 {
    match violation {
        Violation::DayBackward => 0,
        Violation::CeremonyPlace => 1,
        Violation::DocumentTwice => 2,
        Violation::EmptyGrant => 3,
        Violation::UnknownGrant => 4,
        Violation::GrantDays => 5,
        Violation::GrantUsedUp => 6,
        Violation::Ordinal { .. } => 7,
        Violation::SubjectTwice { .. } => 8,
        Violation::KeyTwice => 9,
        Violation::Epoch => 10,
        Violation::UnknownSubject => 11,
        Violation::Previous { .. } => 12,
        Violation::Stage(_) => 13,
        Violation::ScrapForm => 14,
        Violation::ScrapUsedUp => 15,
        Violation::EmptyRefusal => 16,
        Violation::UnknownLot => 17,
        Violation::LotClosed { .. } => 18,
        Violation::LotFull => 19,
        Violation::OtherLot => 20,
        Violation::LotTally => 21,
        Violation::LotReason => 22,
        Violation::Superseded => 23,
        Violation::GrantClosed { .. } => 24,
    }
}

#[test]
fn every_violation_is_reached_and_changes_nothing() {
    let mut reached = BTreeSet::new();
    for (mut book, leaf, violation) in violations().into_iter().chain(lot_violations()) {
        let size = book.size();
        assert_eq!(book.add(&leaf), Err(violation), "{:?}", leaf.body.kind());
        assert_eq!(book.size(), size);
        assert!(!violation.to_string().is_empty());
        reached.insert(number(violation));
    }
    assert!(reached.into_iter().eq(0..=24));
}

#[test]
fn a_refusal_and_a_scrap_without_a_key_need_no_subject() {
    let mut book = begun();
    book.must(&on(10, Unit::refuse(41)));
    book.must(&on(10, Unit::scrap_without_key()));
    book.must(&on(
        10,
        Body::LotOpen {
            document: document(5),
            grant: GRANT,
            quantity: 10,
        },
    ));
    assert_eq!(book.size(), 5);
}

#[test]
fn a_scrapped_unit_frees_nothing() {
    let mut book = with_unit_at(Some(Stage::Scrapped));
    book.must(&on(12, Unit(2).bind(1)));
    assert_eq!(
        book.add(&on(12, Unit(3).bind(2))),
        Err(Violation::GrantUsedUp)
    );
}

#[test]
fn the_first_committed_wins() {
    let mut book = with_unit_at(Some(Stage::Bound));
    let seen_by_both = book.last(Unit(1));
    book.must(&on(12, Unit(1).adopt(seen_by_both)));
    let newest = book.last(Unit(1));
    assert_eq!(
        book.add(&on(12, Unit(1).confirm(seen_by_both))),
        Err(Violation::Previous { last: newest })
    );
    book.must(&on(12, Unit(1).confirm(newest)));
}

#[test]
fn a_binding_starts_at_its_own_entry() {
    let leaf = on(11, Unit(1).bind(0));
    let hash = LeafHash::of(&leaf.to_bytes());
    let effect = check(&leaf, hash, &begun()).unwrap().effect;
    let Effect::Bound { state, issued, .. } = effect else {
        panic!("{effect:?}")
    };
    assert_eq!(
        (state.bind, state.last, state.stage, issued),
        (2, EntryRef { index: 2, hash }, Stage::Bound, 1)
    );
}

/// A store that does not answer.
struct Silent;

impl Known for Silent {
    type Error = &'static str;

    fn subject(
        &self,
        _: &SubjectId,
    ) -> Result<Option<identity::rules::SubjectState>, &'static str> {
        Err("no answer")
    }
    fn is_certified(&self, _: &SpkiHash) -> Result<bool, &'static str> {
        Err("no answer")
    }
    fn grant(&self, _: &DocumentHash) -> Result<Option<identity::rules::GrantState>, &'static str> {
        Err("no answer")
    }
    fn lot(&self, _: &DocumentHash) -> Result<Option<identity::rules::LotState>, &'static str> {
        Err("no answer")
    }
    fn has_document(&self, _: &DocumentHash) -> Result<bool, &'static str> {
        Err("no answer")
    }
    fn size(&self) -> u64 {
        7
    }
    fn last_day(&self) -> Day {
        Day(0)
    }
}

#[test]
fn a_store_that_does_not_answer_permits_nothing_and_accuses_nobody() {
    let last = EntryRef {
        index: 2,
        hash: LeafHash([9; 32]),
    };
    let unit = Unit(1);
    for body in [
        unit.bind(0),
        unit.adopt(last),
        unit.confirm(last),
        unit.void(last),
        unit.scrap(last),
        lot_close(document(5), 0, LotTally::default(), None),
    ] {
        let outcome = check(&on(11, body), LeafHash([1; 32]), &Silent);
        assert_eq!(outcome, Err(RuleError::Lookup("no answer")));
    }
    let station = Body::Station {
        document: document(2),
        approvals: vec![],
    };
    assert_eq!(
        check(&on(11, station), LeafHash([1; 32]), &Silent),
        Err(RuleError::Lookup("no answer"))
    );
}
