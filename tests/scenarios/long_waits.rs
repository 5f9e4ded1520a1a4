//! What waits for the CA waits for long: challenges expire, and signed times are of another day. Clocks are set forward by the
//! library that stands before the programs' calls.

use crate::every_step::governed_shop;
use crate::lots::audit;
use crate::support::Shop;
use acceptance::cable::Cable;
use acceptance::faults::{Deed, Faults, Kind, Plan};
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::process::{Daemon, said};
use acceptance::station::{Ended, events};

const SOCKETS: usize = 4;
const UNITS: u32 = 16;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
/// Longer than any story: whoever waits goes on because the CA is back.
const LONG: u32 = 7 * 24 * 3_600;

fn faults(shop: &Shop) -> &Faults {
    shop.factory.faults().unwrap()
}

fn wait_for(agent: &mut Daemon, kind: &str, count: usize) {
    until(kind, || {
        let said = agent.said();
        assert!(agent.ended().unwrap().is_none(), "{said}");
        let mut lines = events(&said);
        lines.retain(|line| line["event"] == kind);
        Ok((lines.len() >= count).then_some(()))
    })
    .unwrap();
}

/// A challenge is good for ten minutes.
#[test]
fn a_cut_of_ten_minutes_in_mid_lot_costs_no_unit() {
    let mut shop = governed_shop();
    let cable = Cable::to(shop.factory.address()).unwrap();
    shop.station.dial(&cable.address.to_string(), 1);
    shop.station.hold(LONG);
    let mut tray = shop.tray();
    let vendor = &shop.factory.vendor;
    tray.put(vendor, CAMERAS.part, 1, UNITS).unwrap();
    let programmer = tray.present(SOCKETS).unwrap();
    let lot = shop.lot(CAMERAS, 0, UNITS);
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    wait_for(&mut agent, "unit", 2);
    cable.cut();
    wait_for(&mut agent, "wait", SOCKETS);
    faults(&shop).shift_clock(11 * MINUTE).unwrap();
    cable.mend();
    let ended = Ended::of(agent.wait().unwrap(), &agent);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let units = usize::try_from(UNITS).unwrap();
    assert_eq!(shop.station.devices().unwrap().len(), units);
    assert_eq!(
        shop.station.journalled("dropped"),
        0,
        "a key was made in vain"
    );
    assert!(shop.station.open_units().unwrap().is_empty());
}

/// Sealed on Friday evening while the CA's disk hangs, sent on Monday: everybody's clock is right.
#[test]
fn what_was_sealed_before_a_weekend_is_made_after_it() {
    let mut shop = governed_shop();
    let mut tray = shop.tray();
    let vendor = &shop.factory.vendor;
    tray.put(vendor, CAMERAS.part, 1, 4).unwrap();
    let programmer = tray.present(2).unwrap();
    let lot = shop.lot(CAMERAS, 0, 4);
    let hangs = Plan {
        kinds: vec![Kind::Sync],
        path: "ca.sqlite-wal$".to_owned(),
        ..Plan::at(1, Deed::Stall)
    };
    faults(&shop).arm(&hangs).unwrap();
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    until("sealed units", || {
        let open = shop.station.open_units()?;
        let sealed = open.iter().filter(|line| line.ends_with("step=sent"));
        Ok((sealed.count() == 2).then_some(()))
    })
    .unwrap();
    assert_eq!(faults(&shop).fired().unwrap(), 1);
    agent.kill().unwrap();
    shop.factory.kill_server().unwrap();
    faults(&shop).disarm().unwrap();
    faults(&shop).shift_clock(60 * HOUR).unwrap();
    shop.factory.start_server().unwrap();
    let ended = shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(shop.station.devices().unwrap().len(), 4);
    assert!(shop.station.open_units().unwrap().is_empty());
    let status = shop.factory.status().unwrap();
    assert!(
        status.contains("issuing") && !status.contains("CA-09"),
        "{status}"
    );
}

/// A chip that never had a key is scrapped on Friday evening; the CA takes it, and its machine is off before it says so. On
/// Monday the same is asked for with Monday's date: the leaf that comes names what was asked on Friday.
#[test]
fn a_scrapping_whose_answer_was_lost_before_a_weekend_is_believed_after_it() {
    let mut shop = governed_shop();
    let mut tray = shop.tray();
    let vendor = &shop.factory.vendor;
    tray.put(vendor, CAMERAS.part, 1, 2).unwrap();
    let programmer = tray.present(2).unwrap();
    let lot = shop.lot(CAMERAS, 0, 2);
    let address = shop.factory.address().to_string();
    shop.station.dial(&address, 1);
    let ended = shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let committed = Plan {
        kinds: vec![Kind::Sync],
        path: "ca.sqlite-wal$".to_owned(),
        ..Plan::at(1, Deed::KillAfter)
    };
    faults(&shop).arm(&committed).unwrap();
    let serial = (CAMERAS.first + 2).to_string();
    let words = ["unit", "scrap", &serial, "--lot", CAMERAS.lot];
    let words = [&words[..], &["--reason", "board-broken"]].concat();
    let lost = shop.station.try_words(&words).unwrap();
    assert!(said(&lost.stderr).contains("LINE-0203"), "{lost:?}");
    assert_eq!(faults(&shop).fired().unwrap(), 1);
    faults(&shop).disarm().unwrap();
    assert!(shop.factory.has_ended().unwrap());
    faults(&shop).shift_clock(60 * HOUR).unwrap();
    shop.factory.start_server().unwrap();
    let again = shop.station.try_words(&words).unwrap();
    assert!(again.status.success(), "{}", said(&again.stderr));
    assert_eq!(shop.station.journalled("scrapping"), 2, "signed anew");
    assert_eq!(shop.station.journalled("scrapped"), 1);
    shop.factory.settle().unwrap();
    assert_eq!(audit(&shop)["kinds"]["scrap"], 1);
}
