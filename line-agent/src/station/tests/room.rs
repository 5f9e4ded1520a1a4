//! Grants and lots without room for one more unit.

use super::good;
use crate::station::bench::{ChipMemory, World};
use crate::station::floor::lock;
use crate::station::journal::Journal;
use crate::verdict::Verdict;
use identity::fault::Fault;
use std::sync::atomic::Ordering;

const NO_ROOM: [Fault; 5] = [
    Fault::GrantExpired,
    Fault::GrantUsedUp,
    Fault::GrantClosed,
    Fault::LotFull,
    Fault::LotClosed,
];

#[test]
fn where_there_is_no_room_no_chip_gets_a_key() {
    for fault in NO_ROOM {
        let world = World::new(good(2));
        lock(&world.register).has_no_room = Some(fault);
        assert_eq!(world.run_to_end(), Verdict::Hold);
        assert_eq!(world.faults(), [fault.code()]);
        let blank = |chip: &ChipMemory| lock(&chip.0).lock == [0xFF; 4];
        assert!(world.tray.chips.iter().all(blank), "{fault}");
        let journal = Journal::peek(world.path()).unwrap();
        assert_eq!(journal.open_units().count(), 0, "{fault}");
        // A new grant, or another lot: the same chips are made.
        lock(&world.register).has_no_room = None;
        assert_eq!(world.run_to_end(), Verdict::Pass);
        world.assert_all_made_once();
    }
}

#[test]
fn a_unit_whose_place_another_station_took_leaves_its_socket() {
    for fault in NO_ROOM {
        let mut world = World::new(good(2));
        lock(&world.register).refuses_bind = Some(fault);
        assert_eq!(world.run_to_end(), Verdict::Hold);
        let told = world.told.text();
        assert_eq!(told.matches("\"set_aside\":true").count(), 2, "{told}");
        let aside = |world: &World| Journal::peek(world.path()).unwrap().aside().count();
        assert_eq!(aside(&world), 2, "{fault}");
        // Other serials, other chips, the same socket.
        lock(&world.register).refuses_bind = None;
        (world.first_serial, world.tray.chips) = (10, good(4).split_off(2));
        world.tray.position.store(0, Ordering::Relaxed);
        assert_eq!(world.run_to_end(), Verdict::Pass, "{fault}");
        assert_eq!(aside(&world), 2, "{fault}: they are a person's to decide");
    }
}
