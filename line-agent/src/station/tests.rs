//! Stories of the line: what may happen to a unit, and that nothing is lost or made twice.

mod ends;
mod grants;
mod room;

use super::bench::{ChipMemory, Enrolled, Fuse, GRANT_END, World, id};
use super::floor::{Stop, lock};

use super::journal::Journal;
use super::scrap::Scrapped;
use crate::verdict::Verdict;
use identity::DeviceSerial;
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
fn a_serial_that_the_lots_order_does_not_have_costs_no_chip() {
    let mut world = World::new(good(2));
    (world.first_serial, world.serials) = (7_999, 2);
    assert_eq!(world.run_to_end(), Verdict::Fail);
    let mut faults = world.faults();
    faults.sort_unstable();
    assert_eq!(faults, ["CA-0207", "PASS"]);
    let burnt = |chip: &ChipMemory| lock(&chip.0).lock != [0xFF; 4];
    assert_eq!(
        world.tray.chips.iter().filter(|chip| burnt(chip)).count(),
        1
    );
    let journal = Journal::open(world.path()).unwrap();
    assert!(journal.with(|history| history.failed_units().next().is_none()));
}

#[test]
fn a_chip_that_left_for_its_serial_was_seen_and_its_clone_is_caught() {
    let mut world = World::new(vec![ChipMemory::new(0), ChipMemory::new(0)]);
    (world.first_serial, world.serials) = (8_000, 2);
    assert_eq!(world.run_to_end(), Verdict::Fail);
    let mut faults = world.faults();
    faults.sort_unstable();
    assert_eq!(faults, ["CA-0207", "LINE-0208"]);
    assert_eq!(lock(&world.register).bound.len(), 0);
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
fn an_envelope_of_a_program_that_is_not_approved_any_more_is_sealed_anew_by_the_one_that_is() {
    for touch in 0.. {
        let world = World::new(good(1));
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        lock(&world.register).unapproved_below = 2;
        assert_eq!(world.run_to_end(), Verdict::Pass, "killed at touch {touch}");
        world.assert_all_made_once();
    }
}

#[test]
fn an_envelope_under_a_key_that_was_replaced_meanwhile_is_sealed_anew_for_the_same_request() {
    let mut refused = 0;
    for touch in 0.. {
        let world = World::new(good(1));
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        lock(&world.register).enrolled = Enrolled::Anew;
        assert_eq!(world.run_to_end(), Verdict::Pass, "killed at touch {touch}");
        world.assert_all_made_once();
        refused += lock(&world.register).refused_signatures;
    }
    assert!(refused > 10, "only {refused} refused");
}

fn killed_at(touch: i64) -> World {
    let world = World::new(good(1));
    assert_eq!(world.run(Fuse::after(touch), &Stop::default()).0, None);
    world
}

#[test]
fn a_confirmation_under_a_key_that_was_replaced_meanwhile_is_signed_anew() {
    // The envelope is sealed anew first; killed behind that, the journal has it beside the old confirmation.
    let is_confirming = |touch: &i64| {
        let open = Journal::peek(killed_at(*touch).path()).unwrap();
        open.open_units().any(|unit| unit.confirming.is_some())
    };
    let behind_the_chips_signature = (0..).find(is_confirming).unwrap();
    let mut refused = Vec::new();
    for touch in 0.. {
        let world = killed_at(behind_the_chips_signature);
        lock(&world.register).enrolled = Enrolled::Anew;
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        assert_eq!(world.run_to_end(), Verdict::Pass, "killed at touch {touch}");
        world.assert_all_made_once();
        refused.push(lock(&world.register).refused_signatures);
    }
    assert!(refused.contains(&2), "{refused:?}");
}

#[test]
fn a_void_under_a_key_that_was_replaced_meanwhile_is_signed_anew() {
    let world = torn_behind_its_binding();
    lock(&world.register).is_down = true;
    assert_eq!(world.run_to_end(), Verdict::Fail);
    lock(&world.register).is_down = false;
    lock(&world.register).enrolled = Enrolled::Anew;
    world.run_to_end();
    let register = lock(&world.register);
    assert!(register.bound.values().all(|bound| bound.voided.is_some()));
    assert_eq!(register.refused_signatures, 1);
    let journal = Journal::open(world.path()).unwrap();
    assert!(journal.with(|history| history.voids().is_empty()));
}

#[test]
fn a_scrapping_under_a_key_that_was_replaced_meanwhile_is_signed_anew() {
    let mut world = World::new(good(1));
    lock(&world.register).refuses_confirm = Some(Fault::Stopped);
    assert_eq!(world.run_to_end(), Verdict::Hold);
    lock(&world.register).is_down = true;
    world.scraps = Some(Scrapped {
        serial: DeviceSerial::new("26480000").unwrap(),
        lot: id("lot"),
        reason: id("dropped"),
        uid: None,
        voided: None,
    });
    world.run_to_end();
    world.scraps = None;
    lock(&world.register).is_down = false;
    lock(&world.register).enrolled = Enrolled::Anew;
    world.run_to_end();
    let register = lock(&world.register);
    assert_eq!(register.refused_signatures, 1);
    let reasons = register.bound.values().map(|bound| bound.voided);
    assert_eq!(reasons.collect::<Vec<_>>(), [Some(id("dropped"))]);
    let journal = Journal::open(world.path()).unwrap();
    assert!(journal.with(|history| history.scrappings().is_empty()));
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
fn what_was_begun_is_finished_after_its_grant_has_ended_and_nothing_new_is_begun() {
    let mut finished = 0;
    for touch in 0.. {
        let mut world = World::new(good(1));
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        let open = Journal::peek(world.path()).unwrap();
        let is_sent = open.open_units().any(|unit| unit.sent.is_some());
        world.morning = GRANT_END.0 + 1;
        let verdict = world.run_to_end();
        if is_sent {
            finished += 1;
            assert_eq!(verdict, Verdict::Pass, "killed at touch {touch}");
            world.assert_all_made_once();
        } else if open.open_units().next().is_none() && open.totals() == (0, 0) {
            assert_eq!(verdict, Verdict::Hold, "killed at touch {touch}");
            assert_eq!(lock(&world.tray.chips[0].0).lock, [0xFF; 4]);
        }
    }
    assert!(finished > 10, "only {finished} finished");
}

#[test]
fn a_unit_of_a_lost_station_is_adopted_after_its_grant_has_ended_and_nothing_new_is_begun() {
    let mut world = World::new(good(2));
    lock(&world.register).refuses_confirm = Some(Fault::Stopped);
    assert_eq!(world.run_to_end(), Verdict::Hold);
    lock(&world.register).refuses_confirm = None;
    world.lose_home();
    world.morning = GRANT_END.0 + 1;
    assert_eq!(world.run_to_end(), Verdict::Hold);
    assert_eq!(world.faults(), ["PASS", "CA-0202"]);
    let register = lock(&world.register);
    assert_eq!((register.adopted, register.bound.len()), (1, 1));
    assert!(
        register
            .bound
            .values()
            .all(|bound| bound.confirmed.is_some())
    );
    assert_eq!(lock(&world.tray.chips[1].0).lock, [0xFF; 4], "burnt");
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

#[test]
fn another_station_finishes_what_a_lost_one_had_bound() {
    let mut adopted = 0;
    for touch in 0.. {
        let mut world = World::new(good(1));
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        let before = lock(&world.register).bound.values().next().cloned();
        let is_burnt = lock(&world.tray.chips[0].0).lock != [0xFF; 4];
        world.lose_home();
        world.tray.position.store(0, Ordering::Relaxed);
        let verdict = world.run_to_end();
        match before {
            Some(bound) if bound.confirmed.is_some() => {
                assert_eq!(verdict, Verdict::Fail, "killed at touch {touch}");
                assert_eq!(world.faults(), ["CA-0403"]);
            }
            Some(bound) => {
                assert_eq!(verdict, Verdict::Pass, "killed at touch {touch}");
                world.assert_all_made_once();
                let register = lock(&world.register);
                let after = register.bound.values().next().unwrap();
                assert_eq!((after.uid, after.serial), (bound.uid, bound.serial));
                assert_eq!(register.adopted, 1);
                adopted += 1;
            }
            // Burnt by a station that never asked the CA: nobody answers for it.
            None if is_burnt => assert_eq!(world.faults(), ["LINE-0104"], "touch {touch}"),
            None => world.assert_all_made_once(),
        }
    }
    assert!(adopted > 5, "only {adopted} adopted");
}

#[test]
fn an_adopting_station_may_be_killed_at_any_touch_too() {
    let mut killed = 0;
    for touch in 0.. {
        let mut world = World::new(good(1));
        lock(&world.register).refuses_confirm = Some(Fault::Stopped);
        assert_eq!(world.run_to_end(), Verdict::Hold);
        lock(&world.register).refuses_confirm = None;
        world.lose_home();
        let (verdict, _) = world.run(Fuse::after(touch), &Stop::default());
        if verdict.is_some() {
            break;
        }
        killed += 1;
        assert_eq!(world.run_to_end(), Verdict::Pass, "killed at touch {touch}");
        world.assert_all_made_once();
        assert_eq!(lock(&world.register).adopted, 1);
    }
    assert!(killed > 15, "only {killed} kills");
}

#[test]
fn an_adopted_chip_keeps_its_serial_and_the_one_whose_turn_it_was_waits() {
    let mut world = World::new(good(2));
    lock(&world.register).refuses_confirm = Some(Fault::Stopped);
    assert_eq!(world.run_to_end(), Verdict::Hold);
    lock(&world.register).refuses_confirm = None;
    world.lose_home();
    // The dead station's chip comes second, when the first serial would be gone but for the exchange.
    world.tray.chips.swap(0, 1);
    world.tray.position.store(1, Ordering::Relaxed);
    assert_eq!(world.run_to_end(), Verdict::Hold, "one serial is left over");
    world.tray.position.store(0, Ordering::Relaxed);
    assert_eq!(world.run_to_end(), Verdict::Pass);
    world.assert_all_made_once();
}

#[test]
fn an_orphan_of_another_lot_is_held() {
    let mut world = World::new(good(2));
    lock(&world.register).refuses_confirm = Some(Fault::Stopped);
    assert_eq!(world.run_to_end(), Verdict::Hold);
    lock(&world.register).refuses_confirm = None;
    world.lose_home();
    world.first_serial = 1;
    world.serials = 1;
    assert_eq!(world.run_to_end(), Verdict::Hold);
    assert_eq!(world.faults(), ["CA-0406"]);
    assert_eq!(lock(&world.register).adopted, 0);
}

/// Makes a unit up to its confirmation, and tears the chip's lock word then.
fn torn_behind_its_binding() -> World {
    let mut world = World::new(good(1));
    lock(&world.register).refuses_confirm = Some(Fault::Stopped);
    assert_eq!(world.run_to_end(), Verdict::Hold);
    lock(&world.register).refuses_confirm = None;
    world.tray.chips[0] = world.tray.chips[0]
        .clone()
        .change(|cells| cells.lock = *b"MAxx");
    world
}

#[test]
fn a_torn_chip_is_voided_and_its_serial_is_made_again() {
    let mut world = torn_behind_its_binding();
    world.tray.chips.push(ChipMemory::new(1));
    assert_eq!(world.run_to_end(), Verdict::Fail);
    let reasons = || -> Vec<_> {
        let register = lock(&world.register);
        let reasons = register.bound.values().filter_map(|bound| bound.voided);
        reasons.map(|reason| reason.to_string()).collect()
    };
    assert_eq!(reasons(), ["LINE-0105"]);
    lock(&world.register)
        .bound
        .retain(|_, bound| bound.voided.is_none());
    assert_eq!(
        world.run_to_end(),
        Verdict::Pass,
        "another chip has the serial"
    );
    let journal = Journal::open(world.path()).unwrap();
    assert_eq!(journal.with(super::journal::History::totals), (1, 1));
    assert_eq!(lock(&world.register).bound.len(), 1);
}

#[test]
fn killed_at_any_touch_of_a_void_the_unit_is_voided_all_the_same() {
    let mut killed = 0;
    for touch in 0.. {
        let world = torn_behind_its_binding();
        let (verdict, _) = world.run(Fuse::after(touch), &Stop::default());
        if verdict.is_some() {
            break;
        }
        killed += 1;
        world.run_to_end();
        let register = lock(&world.register);
        assert!(
            register.bound.values().all(|bound| bound.voided.is_some()),
            "killed at touch {touch}"
        );
        let journal = Journal::open(world.path()).unwrap();
        assert_eq!(journal.with(|history| history.failed_units().count()), 0);
    }
    assert!(killed > 8, "only {killed} kills");
}

#[test]
fn a_void_waits_for_the_ca() {
    let world = torn_behind_its_binding();
    lock(&world.register).is_down = true;
    assert_eq!(world.run_to_end(), Verdict::Fail);
    assert_eq!(world.faults(), ["LINE-0105"]);
    let waiting = || {
        let journal = Journal::open(world.path()).unwrap();
        journal.with(|history| history.voids().len())
    };
    assert_eq!(waiting(), 1);
    lock(&world.register).is_down = false;
    world.run_to_end();
    assert_eq!(waiting(), 0);
    let register = lock(&world.register);
    assert!(register.bound.values().all(|bound| bound.voided.is_some()));
}

#[test]
fn a_unit_waits_in_its_socket_while_the_ca_is_away_and_goes_on_by_itself() {
    // The CA is away for ten questions, from any of the seven on: before the key, the envelope or the confirmation.
    for from in 1..=7 {
        let mut world = World::new(good(2));
        world.hold = 1_000_000;
        lock(&world.register).cut = Some((from, 10));
        assert_eq!(
            world.run_to_end(),
            Verdict::Pass,
            "cut from question {from}"
        );
        world.assert_all_made_once();
        let told = world.told.text();
        let waits = told.matches("\"event\":\"wait\"").count();
        assert_eq!(waits, 1, "said once: {told}");
        let records = std::fs::read_dir(world.path().join("records")).unwrap();
        assert_eq!(records.count(), 2, "one record a unit");
    }
}

#[test]
fn a_unit_that_has_waited_long_enough_is_left_to_the_next_run() {
    let mut world = World::new(good(1));
    world.hold = 50;
    lock(&world.register).is_down = true;
    assert_eq!(world.run_to_end(), Verdict::Hold);
    assert_eq!(world.faults(), ["LINE-0203"]);
    lock(&world.register).is_down = false;
    assert_eq!(world.run_to_end(), Verdict::Pass);
    world.assert_all_made_once();
}

#[test]
fn a_unit_whose_request_is_refused_for_good_is_set_aside_and_the_next_one_made() {
    let world = World::new(good(2));
    let first = world.tray.chips[0].clone();
    let refused = |fault| {
        let mut register = lock(&world.register);
        register.refuses_confirm = fault;
        register.refuses_only = fault.map(|_| koseki_device::Memory::uid(&first));
    };
    refused(Some(Fault::Alarmed));
    assert_eq!(world.run_to_end(), Verdict::Hold);
    let told = world.told.text();
    assert!(told.contains("\"set_aside\":true"), "{told}");
    assert!(told.contains("\"verdict\":\"PASS\""), "{told}");
    let aside = || Journal::peek(world.path()).unwrap().aside().count();
    assert_eq!(aside(), 1);
    // Its chip is put back, into whatever place of the tray, and the CA's people have looked at it.
    refused(None);
    world.tray.position.store(0, Ordering::Relaxed);
    assert_eq!(world.run_to_end(), Verdict::Pass);
    assert_eq!(aside(), 0);
    world.assert_all_made_once();
}

#[test]
fn killed_at_any_touch_a_unit_set_aside_is_neither_lost_nor_made_twice() {
    let mut killed = 0;
    for touch in 0.. {
        let world = World::new(good(1));
        lock(&world.register).refuses_confirm = Some(Fault::Alarmed);
        assert_eq!(world.run_to_end(), Verdict::Hold);
        lock(&world.register).refuses_confirm = None;
        world.tray.position.store(0, Ordering::Relaxed);
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        killed += 1;
        assert_eq!(world.run_to_end(), Verdict::Pass, "killed at touch {touch}");
        world.assert_all_made_once();
    }
    assert!(killed > 8, "only {killed} kills");
}

#[test]
fn a_void_that_the_ca_refuses_keeps_no_other() {
    let mut world = World::new(good(3));
    lock(&world.register).refuses_confirm = Some(Fault::Voided);
    assert_eq!(world.run_to_end(), Verdict::Fail);
    lock(&world.register).refuses_confirm = None;
    world.gives_up = Some(id("scrapped"));
    let given_up: Vec<_> = lock(&world.register).bound.keys().copied().collect();
    assert_eq!(given_up.len(), 3);
    lock(&world.register).refuses_void = Some(given_up[1]);
    world.run_to_end();
    let register = lock(&world.register);
    let voided: Vec<_> = given_up
        .iter()
        .map(|request| register.bound[request].voided.is_some())
        .collect();
    assert_eq!(voided, [true, false, true]);
    let journal = Journal::open(world.path()).unwrap();
    assert!(journal.with(|history| history.voids().is_empty()));
}

/// Makes one unit whose confirmation is refused, so often, and puts its chip back each time.
fn failed_behind_its_binding(times: u32) -> World {
    let world = World::new(good(1));
    lock(&world.register).refuses_confirm = Some(Fault::ConfirmMismatch);
    for _ in 0..times {
        assert_eq!(world.run_to_end(), Verdict::Fail);
        assert_eq!(world.faults(), ["CA-0501"]);
        world.tray.position.store(0, Ordering::Relaxed);
    }
    lock(&world.register).refuses_confirm = None;
    world
}

fn record(world: &World) -> serde_json::Value {
    let mut records = std::fs::read_dir(world.path().join("records")).unwrap();
    let only = records.next().unwrap().unwrap().path();
    assert!(records.next().is_none(), "one request, one record");
    serde_json::from_slice(&std::fs::read(only).unwrap()).unwrap()
}

#[test]
fn a_unit_that_failed_behind_its_binding_goes_on_when_its_chip_is_back() {
    let world = failed_behind_its_binding(2);
    assert_eq!(world.run_to_end(), Verdict::Pass);
    world.assert_all_made_once();
    let record = record(&world);
    let (metadata, earlier) = (&record["metadata"], &record["metadata"]["earlier"]);
    assert_eq!(metadata["attempt"], 3);
    let codes: Vec<_> = (0..2)
        .map(|n| (&earlier[n]["attempt"], &earlier[n]["code"]))
        .collect();
    assert_eq!(
        codes,
        [
            (&1.into(), &"CA-0501".into()),
            (&2.into(), &"CA-0501".into())
        ]
    );
    assert_eq!(earlier[0]["uid"], metadata["uid"]);
    assert!(earlier[0]["end_time_millis"].is_u64());
    let told = world.told.text();
    assert!(told.contains("\"attempt\":3,\"attempts\":3"), "{told}");
}

#[test]
fn a_unit_that_came_back_as_often_as_it_may_is_told_to_be_scrapped() {
    let world = failed_behind_its_binding(3);
    assert_eq!(world.run_to_end(), Verdict::Fail);
    assert_eq!(world.faults(), ["LINE-0220"]);
    let detail = record(&world)["outcome_details"][0]["detail"].to_string();
    assert!(
        detail.contains("3 attempts failed; line-agent unit scrap"),
        "{detail}"
    );
    let register = lock(&world.register);
    assert!(
        register
            .bound
            .values()
            .all(|bound| bound.confirmed.is_none())
    );
}

#[test]
fn killed_at_any_touch_a_unit_that_came_back_is_neither_lost_nor_made_twice() {
    let mut killed = 0;
    for touch in 0.. {
        let world = failed_behind_its_binding(1);
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        killed += 1;
        assert_eq!(world.run_to_end(), Verdict::Pass, "killed at touch {touch}");
        world.assert_all_made_once();
    }
    assert!(killed > 8, "only {killed} kills");
}

#[test]
fn a_chip_put_back_into_another_seat_of_the_same_run_is_the_same_unit_and_a_clone_is_not() {
    let chip = ChipMemory::new(0);
    let mut world = World::new(vec![chip.clone(), chip, ChipMemory::new(0)]);
    world.serials = 2;
    lock(&world.register).refuses_confirm = Some(Fault::ConfirmMismatch);
    assert_eq!(world.run_to_end(), Verdict::Fail);
    let mut faults = world.faults();
    faults.sort_unstable();
    assert_eq!(
        faults,
        ["CA-0501", "LINE-0208"],
        "the record is of the second attempt"
    );
    let told = world.told.text();
    assert_eq!(told.matches("\"code\":\"CA-0501\"").count(), 2, "{told}");
    assert_eq!(lock(&world.register).bound.len(), 1);
}

fn scrapped_by_hand() -> Scrapped {
    Scrapped {
        serial: DeviceSerial::new("26480000").unwrap(),
        lot: id("lot"),
        reason: id("dropped"),
        uid: None,
        voided: None,
    }
}

#[test]
fn a_unit_whose_scrapping_waits_does_not_come_back() {
    let mut world = failed_behind_its_binding(1);
    lock(&world.register).is_down = true;
    world.scraps = Some(scrapped_by_hand());
    world.run_to_end();
    world.scraps = None;
    // Its chip is in the socket, and the CA is still away.
    world.tray.position.store(0, Ordering::Relaxed);
    world.run_to_end();
    let journal = Journal::peek(world.path()).unwrap();
    assert_eq!(journal.open_units().count(), 0, "it is open again");
    assert_eq!(journal.scrappings().len(), 1);
    lock(&world.register).is_down = false;
    world.tray.position.store(0, Ordering::Relaxed);
    world.run_to_end();
    let register = lock(&world.register);
    let ends = register.bound.values();
    let ends: Vec<_> = ends.map(|it| (it.confirmed.is_some(), it.voided)).collect();
    assert_eq!(ends, [(false, Some(id("dropped")))]);
}

#[test]
fn a_unit_that_the_ca_never_heard_of_is_closed_by_its_scrapping() {
    let mut scrapped = 0;
    for touch in 0.. {
        let mut world = World::new(good(1));
        if world.run(Fuse::after(touch), &Stop::default()).0.is_some() {
            break;
        }
        let open = |world: &World| Journal::peek(world.path()).unwrap().open_units().count();
        if open(&world) == 0 || !lock(&world.register).bound.is_empty() {
            continue;
        }
        scrapped += 1;
        world.scraps = Some(scrapped_by_hand());
        world.run_to_end();
        assert_eq!(open(&world), 0, "killed at touch {touch}");
    }
    assert!(scrapped > 2, "only {scrapped} scrapped");
}

#[test]
fn a_chip_that_says_it_is_torn_voids_no_unit_that_failed_before() {
    let mut world = failed_behind_its_binding(1);
    let torn = world.tray.chips[0].clone();
    world.serials = 2;
    world.tray.chips[0] = torn.change(|cells| cells.lock = *b"MAxx");
    assert_eq!(world.run_to_end(), Verdict::Fail);
    assert!(world.faults().contains(&"LINE-0105".to_owned()));
    let register = lock(&world.register);
    let voided = register.bound.values().map(|bound| bound.voided);
    assert_eq!(voided.collect::<Vec<_>>(), [None]);
}
