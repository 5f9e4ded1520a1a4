//! Reconciling a lot: equal where it ought to be, and every other difference named with both numbers.

use crate::samples::{counts, tally};
use identity::lot::{Compared, Difference, LotCounts, LotTally, differences};

/// Puts one number off.
type Off<T> = fn(&mut T);

fn found(counts: LotCounts, tally: LotTally) -> Vec<Difference> {
    differences(1000, &counts, &tally).collect()
}

#[test]
fn a_lot_that_is_reconciled_has_no_difference() {
    assert_eq!(found(counts(), tally()), []);
    assert_eq!((tally().live(), tally().open()), (957, 7));
    assert_eq!(tally().boards_scrapped(), 18);
}

#[test]
fn every_number_of_the_log_that_is_off_by_one_is_named() {
    let rows: [(Off<LotTally>, Compared); 4] = [
        (|tally| tally.bound += 1, Compared::Open),
        (|tally| tally.keyless += 1, Compared::Scrapped),
        (
            |tally| {
                tally.bound += 1;
                tally.confirmed += 1;
            },
            Compared::Pass,
        ),
        (
            |tally| {
                tally.bound += 1;
                tally.voided += 1;
            },
            Compared::Voided,
        ),
    ];
    for (change, what) in rows {
        let mut tally = tally();
        change(&mut tally);
        let found = found(counts(), tally);
        assert_eq!(found.len(), 1, "{what:?}: {found:?}");
        assert_eq!(found[0].what, what);
        assert_eq!(found[0].found, found[0].stated + 1);
        assert!(found[0].to_string().starts_with(what.name()));
    }
}

#[test]
fn every_number_of_the_station_that_is_off_by_one_is_named() {
    let rows: [(Off<LotCounts>, &[Compared]); 9] = [
        (|it| it.planned += 1, &[Compared::Planned, Compared::Sum]),
        (|it| it.pass += 1, &[Compared::Sum, Compared::Pass]),
        (|it| it.hold += 1, &[Compared::Sum]),
        (|it| it.fail += 1, &[Compared::Sum]),
        (|it| it.scrapped += 1, &[Compared::Sum]),
        (|it| it.unused += 1, &[Compared::Sum]),
        (|it| it.open += 1, &[Compared::Open]),
        (|it| it.voided += 1, &[Compared::Voided]),
        (|it| it.boards_scrapped += 1, &[Compared::Scrapped]),
    ];
    for (change, expected) in rows {
        let mut counts = counts();
        change(&mut counts);
        let whats: Vec<_> = found(counts, tally()).iter().map(|it| it.what).collect();
        assert_eq!(whats, expected);
    }
}

#[test]
fn no_numbers_however_large_overflow() {
    let counts = LotCounts {
        planned: u32::MAX,
        pass: u32::MAX,
        hold: u32::MAX,
        fail: u32::MAX,
        scrapped: u32::MAX,
        unused: u32::MAX,
        open: u32::MAX,
        voided: u32::MAX,
        boards_scrapped: u32::MAX,
    };
    let tally = LotTally {
        bound: 0,
        confirmed: u32::MAX,
        voided: u32::MAX,
        scrapped: u32::MAX,
        keyless: u32::MAX,
    };
    let sum = found(counts, tally)
        .into_iter()
        .find(|difference| difference.what == Compared::Sum)
        .unwrap();
    assert_eq!(sum.stated, 5 * u64::from(u32::MAX));
}
