//! Stories of the line: what may happen to a unit, and that nothing is lost or made twice.

use super::bench::{ChipMemory, Fuse, World};
use super::floor::{Stop, lock};
use super::journal::Journal;
use crate::verdict::Verdict;
use identity::fault::Fault;
use std::sync::atomic::Ordering;

fn good(count: u8) -> Vec<ChipMemory> {
    (0..count).map(ChipMemory::new).collect()
}

#[test]
fn a_lot_of_good_chips_passes() {
    let world = World::new(good(3));
    assert_eq!(world.run_to_end(), Verdict::Pass);
    world.assert_all_made_once();
    assert_eq!(world.tray.position.load(Ordering::Relaxed), 3);
    assert_eq!(
        world.run_to_end(),
        Verdict::Pass,
        "a second run finds nothing to do"
    );
}

#[test]
fn killed_at_any_touch_the_agent_goes_on_and_makes_nothing_twice() {
    let mut killed = 0;
    for touch in 0.. {
        let world = World::new(good(2));
        let (verdict, fuse) = world.run(Fuse::after(touch), &Stop::default());
        if verdict.is_some() {
            assert!(!fuse.blew());
            break;
        }
        killed += 1;
        assert_eq!(world.run_to_end(), Verdict::Pass, "killed at touch {touch}");
        world.assert_all_made_once();
    }
    assert!(killed > 60, "only {killed} kills");
}

#[test]
fn killed_again_and_again_the_lot_is_made_all_the_same() {
    let world = World::new(good(2));
    let mut kills = 0;
    // Just enough touches for a resumed session to reach its next entry, so that every run gets a little further.
    while world
        .run(Fuse::after(18 + kills % 7), &Stop::default())
        .0
        .is_none()
    {
        kills += 1;
        assert!(kills < 500, "no progress");
    }
    assert!(kills > 3, "only {kills} kills");
    world.assert_all_made_once();
}

#[test]
fn each_planted_fault_has_its_own_code() {
    let twin = ChipMemory::new(0);
    let chips = vec![
        ChipMemory::new(0),
        ChipMemory::new(1).change(|cells| cells.part = "sim-x"),
        ChipMemory::new(2).change(|cells| cells.uid = vec![9; 9]),
        ChipMemory::new(3).change(|cells| cells.vendor = [0x66; 32]),
        ChipMemory::new(4).change(|cells| (cells.slot, cells.lock) = ([7; 32], *b"MADE")),
        ChipMemory::new(5).change(|cells| cells.lock = *b"MAxx"),
        twin,
    ];
    let world = World::new(chips);
    assert_eq!(world.run_to_end(), Verdict::Fail);
    assert_eq!(
        world.faults(),
        [
            "PASS",
            "LINE-0102",
            "LINE-0103",
            "LINE-0106",
            "LINE-0104",
            "LINE-0105",
            "LINE-0208"
        ]
    );
    assert_eq!(lock(&world.register).bound.len(), 1);
}

#[test]
fn without_the_ca_nothing_is_burnt_and_the_unit_waits() {
    let world = World::new(good(1));
    lock(&world.register).is_down = true;
    assert_eq!(world.run_to_end(), Verdict::Hold);
    assert_eq!(lock(&world.tray.chips[0].0).lock, [0xFF; 4]);
    lock(&world.register).is_down = false;
    assert_eq!(world.run_to_end(), Verdict::Pass);
    world.assert_all_made_once();
}

#[test]
fn a_challenge_gone_stale_is_proved_anew_under_the_same_request() {
    // Killed at every touch, and every challenge given before is stale at the restart.
    for touch in 0.. {
        let world = World::new(good(1));
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        let stale_below = 2;
        lock(&world.register).stale_below = stale_below;
        assert_eq!(world.run_to_end(), Verdict::Pass, "killed at touch {touch}");
        world.assert_all_made_once();
    }
}

#[test]
fn another_chip_in_the_socket_holds_until_the_right_one_is_back() {
    let mut held = 0;
    for touch in 0.. {
        let mut world = World::new(good(1));
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        let is_open = Journal::peek(world.path())
            .unwrap()
            .open_units()
            .next()
            .is_some();
        let right = std::mem::replace(&mut world.tray.chips[0], ChipMemory::new(9));
        let verdict = world.run_to_end();
        if !is_open {
            continue;
        }
        held += 1;
        assert_eq!(verdict, Verdict::Hold, "killed at touch {touch}");
        assert_eq!(lock(&world.tray.chips[0].0).lock, [0xFF; 4]);
        world.tray.chips[0] = right;
        assert_eq!(world.run_to_end(), Verdict::Pass);
        world.assert_all_made_once();
    }
    assert!(held > 10, "only {held} held");
}

#[test]
fn an_unbelievable_answer_stops_the_line() {
    let mut world = World::new(good(2));
    world.inspector.refuses = true;
    let stop = Stop::default();
    let (verdict, _) = world.run(Fuse::after(-1), &stop);
    assert_eq!(verdict, Some(Verdict::Error));
    assert!(stop.is_set());
    assert_eq!(world.faults(), ["LINE-0204"]);
    assert!(world.tray.chips[0].certificate().is_empty());
    world.inspector.refuses = false;
    assert_eq!(
        world.run_to_end(),
        Verdict::Pass,
        "the unit is still in its socket"
    );
    world.assert_all_made_once();
}

#[test]
fn a_confirmation_that_lost_against_a_void_fails() {
    let world = World::new(good(1));
    lock(&world.register).refuses_confirm = Some(Fault::Voided);
    assert_eq!(world.run_to_end(), Verdict::Fail);
    assert_eq!(world.faults(), ["CA-0405"]);
    assert!(
        !world
            .path()
            .join("devices")
            .read_dir()
            .unwrap()
            .any(|_| true),
        "nothing ships"
    );
}

#[test]
fn a_stopped_line_begins_no_unit() {
    let world = World::new(good(1));
    let stop = Stop::default();
    stop.set();
    let (verdict, _) = world.run(Fuse::after(-1), &stop);
    assert_eq!(verdict, Some(Verdict::Abort));
    assert_eq!(lock(&world.tray.chips[0].0).lock, [0xFF; 4]);
}
