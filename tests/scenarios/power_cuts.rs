//! Server and station are killed without warning at seeded moments. What was acknowledged before is there afterwards,
//! with the same bytes; nothing is there twice.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::outside::{HandedOver, Seeded, made_once};
use acceptance::patience::{pause, until};
use std::time::Duration;

const UNITS: u32 = 16;
const KILLS: usize = 5;

#[test]
fn the_server_is_killed_at_seeded_moments() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, UNITS)
        .unwrap();
    let programmer = tray.present(4).unwrap();
    let lot = shop.lot(CAMERAS, 0, UNITS);
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    let mut handed = HandedOver::default();
    let (mut moments, mut fired) = (Seeded::from(0x6B6F_7365_6B69), 0);
    while agent.ended().unwrap().is_none() && fired < KILLS {
        pause(Duration::from_millis(20 + moments.below(160)));
        shop.factory.kill_server().unwrap();
        fired += 1;
        handed.hold_against(&shop.station).unwrap();
        shop.factory.start_server().unwrap();
    }
    assert!(fired > 1, "too few kills came in time: {fired}");
    agent.wait().unwrap();
    for _ in 0..3 {
        shop.station.run(&lot, &programmer.sockets).unwrap();
    }
    handed.hold_against(&shop.station).unwrap();
    made_once(&shop.factory, &shop.station, UNITS).unwrap();
}

#[test]
fn the_station_is_killed_at_seeded_moments() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, UNITS)
        .unwrap();
    let programmer = tray.present(4).unwrap();
    let lot = shop.lot(CAMERAS, 0, UNITS);
    let mut handed = HandedOver::default();
    let (mut moments, mut interrupted) = (Seeded::from(0x0F_AC70), 0);
    for _ in 0..KILLS {
        let before = shop.station.journalled("keyed");
        let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
        until("a key in the journal", || {
            let begun = shop.station.journalled("keyed") > before || agent.ended()?.is_some();
            Ok(begun.then_some(()))
        })
        .unwrap();
        pause(Duration::from_millis(moments.below(60)));
        agent.kill().unwrap();
        interrupted += shop.station.open_units().unwrap().len();
        handed.hold_against(&shop.station).unwrap();
    }
    assert!(interrupted > 0, "no kill hit a unit under work");
    shop.station.run(&lot, &programmer.sockets).unwrap();
    handed.hold_against(&shop.station).unwrap();
    made_once(&shop.factory, &shop.station, UNITS).unwrap();
}
