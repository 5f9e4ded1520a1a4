//! The line agent is killed at every call that makes something durable on the way of one unit; so is the server under
//! a real agent. The same agent, started again where it was killed, finishes the unit: once, and with nothing lost.

use crate::support::Shop;
use acceptance::chips::Programmer;
use acceptance::faults::{Call, Deed, Faults, Kind, Plan, Shim};
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, Line};
use acceptance::outside::{HandedOver, made_once};
use acceptance::process::Daemon;
use acceptance::station::Ended;
use std::path::PathBuf;

/// Where the station keeps its files, below the factory's directory.
const STATION_FILES: &str = "stations/";

#[test]
fn the_line_agent_is_killed_at_every_step() {
    let mut shop = governed_shop();
    let (mut handed, mut units) = (HandedOver::default(), 2);
    // The first unit finds no directories yet; the second is like all others.
    faults(&shop)
        .arm(&of_the_station(1, 0, Deed::Watch))
        .unwrap();
    assert_eq!(shop.make(CAMERAS, 1, 1).code, Some(0));
    assert_directories_are_durable(&faults(&shop).trace().unwrap());
    faults(&shop)
        .arm(&of_the_station(1, 0, Deed::Watch))
        .unwrap();
    let made = shop.make(CAMERAS, units, 1);
    assert_eq!(made.code, Some(0), "{}", made.said);
    let calls = faults(&shop).trace().unwrap();
    let mut fired = 0;
    for (call, number) in calls.iter().zip(1..) {
        // What was only opened or written is nothing yet: a write is torn, what makes it durable is done.
        let deed = match call.name.as_str() {
            "fsync" | "fdatasync" | "rename" => Deed::KillAfter,
            "write" | "writev" => Deed::Tear,
            _ => continue,
        };
        units += 1;
        faults(&shop).arm(&of_the_station(number, 1, deed)).unwrap();
        let (mut killed, programmer, lot) = start_one(&mut shop, units);
        let ended = Ended::of(killed.wait().unwrap(), &killed);
        let place = format!("{deed:?} at {call:?}: {}", ended.said);
        assert_eq!(
            (ended.code, faults(&shop).fired().unwrap()),
            (None, 1),
            "{place}"
        );
        fired += 1;
        faults(&shop).disarm().unwrap();
        handed.hold_against(&shop.station).unwrap();
        let resumed = shop.station.run(&lot, &programmer.sockets).unwrap();
        assert_eq!(resumed.code, Some(0), "{place}\n{}", resumed.said);
        handed.hold_against(&shop.station).unwrap();
        assert_eq!(
            shop.station.devices().unwrap().len(),
            units as usize,
            "{place}"
        );
    }
    assert!(fired > 10, "only {fired} calls of the agent are durable");
    made_once(&shop.factory, &shop.station, units).unwrap();
    println!("{fired} kills of the line agent, none lost, none twice");
}

/// A directory that was made is nothing yet: its name is durable when the directory it stands in is flushed, before
/// anything but its parents is written elsewhere.
fn assert_directories_are_durable(calls: &[Call]) {
    let is_made = |call: &&Call| call.name.starts_with("mkdir");
    let made: Vec<_> = calls.iter().filter(is_made).collect();
    assert!(made.len() >= 3, "state, records and devices: {calls:?}");
    for directory in made {
        let at = calls.iter().position(|call| call == directory).unwrap();
        let (parent, _) = directory.path.rsplit_once('/').unwrap();
        let is_other = |call: &&Call| !is_made(call) && call.name != "fsync";
        let before_others = calls[at..].iter().take_while(|call| !is_other(call));
        let mut flushed = before_others.filter(|call| call.name == "fsync");
        assert!(
            flushed.any(|call| call.path == parent),
            "{parent} was not flushed behind {directory:?}: {calls:?}"
        );
    }
}

#[test]
fn the_server_is_killed_at_its_commits_under_a_real_agent() {
    let mut shop = governed_shop();
    let mut handed = HandedOver::default();
    // Reserve and confirm are flushed in the server's store, the attempt and the signature in the signer's.
    let commits = [
        ("ca.sqlite-wal", 1),
        ("ca.sqlite-wal", 2),
        ("signer.sqlite-wal", 1),
        ("signer.sqlite-wal", 2),
    ];
    let mut units = 0;
    for (file, commit) in commits {
        units += 1;
        let plan = Plan {
            kinds: vec![Kind::Sync],
            path: file.to_owned(),
            ..Plan::at(commit, Deed::KillAfter)
        };
        faults(&shop).arm(&plan).unwrap();
        let (mut agent, _programmer, _lot) = start_one(&mut shop, units);
        shop.factory.await_end().unwrap();
        assert_eq!(faults(&shop).fired().unwrap(), 1, "{plan:?}");
        faults(&shop).disarm().unwrap();
        handed.hold_against(&shop.station).unwrap();
        shop.factory.start_server().unwrap();
        let ended = Ended::of(agent.wait().unwrap(), &agent);
        assert_eq!(ended.code, Some(0), "{plan:?}: {}", ended.said);
        handed.hold_against(&shop.station).unwrap();
    }
    made_once(&shop.factory, &shop.station, units).unwrap();
}

/// A shop whose programs run under a page of faults.
pub(crate) fn governed_shop() -> Shop {
    governed_shop_for(CAMERAS)
}

pub(crate) fn governed_shop_for(line: Line) -> Shop {
    Shop::open_with(Hsm::of_this_run(), &[line], |factory| {
        let shim = Shim::build(&factory.path("")).unwrap();
        factory.govern(&shim).unwrap();
    })
}

fn faults(shop: &Shop) -> &Faults {
    shop.factory.faults().unwrap()
}

fn of_the_station(first: u64, count: u64, deed: Deed) -> Plan {
    Plan {
        path: STATION_FILES.to_owned(),
        count,
        ..Plan::at(first, deed)
    }
}

/// An agent at the work of one fresh chip.
fn start_one(shop: &mut Shop, unit: u32) -> (Daemon, Programmer, PathBuf) {
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, unit, 1)
        .unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(CAMERAS, u64::from(unit), 1);
    let agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    (agent, programmer, lot)
}
