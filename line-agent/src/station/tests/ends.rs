//! What the CA cannot take now: voids, scrappings, and what was signed by a wrong clock.

use super::{failed_behind_its_binding, good, scrapped_by_hand, torn_behind_its_binding};
use crate::station::bench::{World, id};
use crate::station::floor::lock;
use crate::station::journal::Journal;
use crate::verdict::Verdict;
use identity::fault::Fault;
use std::sync::atomic::Ordering;

/// What the CA refuses now and takes later.
const NOT_NOW: [Fault; 6] = [
    Fault::Stopped,
    Fault::Overloaded,
    Fault::HsmUnavailable,
    Fault::StoreUnavailable,
    Fault::ClockForward,
    Fault::StationClock,
];

#[test]
fn a_void_that_the_ca_cannot_take_now_waits_and_somebody_hears_of_it() {
    for fault in NOT_NOW {
        let world = torn_behind_its_binding();
        lock(&world.register).refuses_ends = Some(fault);
        assert_eq!(world.run_to_end(), Verdict::Fail);
        let told = world.told.text();
        assert!(told.contains("\"event\":\"alarm\""), "{fault}: {told}");
        let waiting = || Journal::peek(world.path()).unwrap().voids().len();
        assert_eq!(waiting(), 1, "{fault}");
        lock(&world.register).refuses_ends = None;
        world.run_to_end();
        assert_eq!(waiting(), 0, "{fault}");
        let register = lock(&world.register);
        assert!(register.bound.values().all(|bound| bound.voided.is_some()));
    }
}

#[test]
fn a_scrapping_that_the_ca_cannot_take_now_waits() {
    for fault in NOT_NOW {
        let mut world = failed_behind_its_binding(1);
        lock(&world.register).refuses_ends = Some(fault);
        world.scraps = Some(scrapped_by_hand());
        world.run_to_end();
        world.scraps = None;
        let waiting = |world: &World| Journal::peek(world.path()).unwrap().scrappings().len();
        assert_eq!(waiting(&world), 1, "{fault}");
        lock(&world.register).refuses_ends = None;
        world.run_to_end();
        assert_eq!(waiting(&world), 0, "{fault}");
        let register = lock(&world.register);
        assert!(register.bound.values().all(|bound| bound.voided.is_some()));
    }
}

#[test]
fn what_waited_over_a_weekend_is_dated_anew() {
    let (mut torn, mut failed) = (torn_behind_its_binding(), failed_behind_its_binding(1));
    failed.scraps = Some(scrapped_by_hand());
    for world in [&mut torn, &mut failed] {
        lock(&world.register).is_down = true;
        world.run_to_end();
        world.scraps = None;
        world.morning += 3 * 24 * 60 * 60 * 1000;
        let mut register = lock(&world.register);
        (register.is_down, register.day_off_below) = (false, world.morning);
        drop(register);
        world.run_to_end();
        let journal = Journal::peek(world.path()).unwrap();
        assert_eq!((journal.voids().len(), journal.scrappings().len()), (0, 0));
        let register = lock(&world.register);
        assert!(register.bound.values().all(|bound| bound.voided.is_some()));
    }
}

#[test]
fn a_unit_that_was_sealed_by_a_wrong_clock_goes_on_when_the_clock_is_right() {
    let mut world = World::new(good(2));
    lock(&world.register).day_off_below = u64::MAX;
    assert_eq!(world.run_to_end(), Verdict::Hold);
    assert_eq!(world.faults(), ["CA-0106"]);
    // Somebody sets it a day ahead, where the CA's is.
    world.morning += 25 * 60 * 60 * 1000;
    lock(&world.register).day_off_below = world.morning;
    assert_eq!(world.run_to_end(), Verdict::Pass);
    world.assert_all_made_once();
}

#[test]
fn what_is_scrapped_already_uses_up_no_more_of_the_allowance() {
    let mut world = failed_behind_its_binding(1);
    world.scraps = Some(scrapped_by_hand());
    for _ in 0..2 {
        world.tray.position.store(1, Ordering::Relaxed);
        world.run_to_end();
        assert_eq!(lock(&world.register).scrapped, 1);
    }
}

#[test]
fn a_scrapping_that_waits_is_not_announced_again() {
    let mut world = failed_behind_its_binding(1);
    world.scraps = Some(scrapped_by_hand());
    lock(&world.register).refuses_ends = Some(Fault::Stopped);
    for _ in 0..2 {
        world.tray.position.store(1, Ordering::Relaxed);
        world.run_to_end();
        assert_eq!(Journal::peek(world.path()).unwrap().scrappings().len(), 1);
    }
    lock(&world.register).refuses_ends = None;
    world.run_to_end();
    assert_eq!(lock(&world.register).scrapped, 1);
    let boards = Journal::peek(world.path()).unwrap().boards(&id("lot"));
    assert_eq!(boards.scrapped, 1);
}
