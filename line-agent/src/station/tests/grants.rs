//! Grants that leave a station's settings, and come back.

use super::good;
use crate::station::bench::{ChipMemory, World};
use crate::station::floor::lock;
use crate::station::journal::Journal;
use crate::verdict::Verdict;
use identity::fault::Fault;
use std::sync::atomic::Ordering;

/// Whether it failed or was set aside: nothing of it is touched while its grant is gone, and when that is back it goes on.
#[test]
fn a_unit_of_a_grant_that_is_gone_from_the_settings_keeps_no_socket() {
    for (refused, verdict) in [
        (Fault::ConfirmMismatch, Verdict::Fail),
        (Fault::Alarmed, Verdict::Hold),
    ] {
        let mut world = World::new(good(1));
        let first = world.tray.chips[0].clone();
        lock(&world.register).refuses_confirm = Some(refused);
        assert_eq!(world.run_to_end(), verdict);
        lock(&world.register).refuses_confirm = None;
        let state = |world: &World| {
            let history = Journal::peek(world.path()).unwrap();
            let failed: Vec<_> = history.failed_units().cloned().collect();
            (history.open_units().cloned().collect::<Vec<_>>(), failed)
        };
        let before = state(&world);
        // Its chip is put back, another behind it, and the station works under another grant now.
        (world.limit, world.first_serial, world.serials) = (99, 10, 2);
        world.tray.chips.push(ChipMemory::new(9));
        world.tray.position.store(0, Ordering::Relaxed);
        assert_eq!(world.run_to_end(), Verdict::Fail, "a used chip");
        assert_eq!(world.tray.position.load(Ordering::Relaxed), 2);
        assert_eq!(state(&world), before, "{refused}");
        let confirmed = |world: &World| {
            let register = lock(&world.register);
            let units = register.bound.values();
            units.filter(|unit| unit.confirmed.is_some()).count()
        };
        assert_eq!(confirmed(&world), 1, "the chip behind it");
        (world.limit, world.first_serial, world.serials) = (100, 0, 1);
        world.tray.chips = vec![first];
        world.tray.position.store(0, Ordering::Relaxed);
        assert_eq!(world.run_to_end(), Verdict::Pass, "{refused}");
        assert_eq!(confirmed(&world), 2, "{refused}");
    }
}
