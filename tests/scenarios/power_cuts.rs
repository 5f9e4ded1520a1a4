//! Server and station are killed without warning at seeded moments. What was acknowledged before is there afterwards,
//! with the same bytes; nothing is there twice.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::patience::{pause, until};
use acceptance::process::{program, succeed};
use acceptance::station::Station;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const UNITS: u32 = 16;
const KILLS: usize = 5;

/// Certificates and receipts that the station was given and has put away: kept by us, outside of both programs.
#[derive(Default)]
pub(crate) struct OutsideLedger(BTreeMap<PathBuf, Vec<u8>>);

impl OutsideLedger {
    /// Takes in what is new; what is known must be as it was.
    pub(crate) fn hold_against(&mut self, station: &Station) {
        for path in station.devices().unwrap() {
            let bytes = fs::read(&path).unwrap();
            let known = self.0.entry(path).or_insert_with(|| bytes.clone());
            assert_eq!(*known, bytes);
        }
        let present: BTreeSet<_> = station.devices().unwrap().into_iter().collect();
        assert!(self.0.keys().all(|path| present.contains(path)));
    }
}

#[test]
fn the_server_is_killed_at_seeded_moments() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, UNITS)
        .unwrap();
    let programmer = tray.present(4).unwrap();
    let lot = shop.lot(CAMERAS, 0, UNITS);
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    let mut ledger = OutsideLedger::default();
    let (mut moments, mut fired) = (Seeded(0x6B6F_7365_6B69), 0);
    while agent.ended().unwrap().is_none() && fired < KILLS {
        pause(Duration::from_millis(20 + moments.below(160)));
        shop.factory.kill_server().unwrap();
        fired += 1;
        ledger.hold_against(&shop.station);
        shop.factory.start_server().unwrap();
    }
    assert!(fired > 1, "too few kills came in time: {fired}");
    agent.wait().unwrap();
    for _ in 0..3 {
        shop.station.run(&lot, &programmer.sockets).unwrap();
    }
    ledger.hold_against(&shop.station);
    assert_made_once(&shop, UNITS);
}

#[test]
fn the_station_is_killed_at_seeded_moments() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, UNITS)
        .unwrap();
    let programmer = tray.present(4).unwrap();
    let lot = shop.lot(CAMERAS, 0, UNITS);
    let mut ledger = OutsideLedger::default();
    let (mut moments, mut interrupted) = (Seeded(0x0F_AC70), 0);
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
        ledger.hold_against(&shop.station);
    }
    assert!(interrupted > 0, "no kill hit a unit under work");
    shop.station.run(&lot, &programmer.sockets).unwrap();
    ledger.hold_against(&shop.station);
    assert_made_once(&shop, UNITS);
}

/// Counted by the station, by the server and from the leaves.
pub(crate) fn assert_made_once(shop: &Shop, count: u32) {
    let units = usize::try_from(count).unwrap();
    assert_eq!(shop.station.devices().unwrap().len(), units);
    let status = shop.factory.status().unwrap();
    assert!(status.contains(&format!(" {count} of ")), "{status}");
    let mut audit = Command::new(program("koseki-verify").unwrap());
    audit.arg("log").arg(shop.factory.log_dir()).arg("--json");
    let told = succeed(audit.arg("--trust").arg(shop.station.trust())).unwrap();
    let findings: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(findings["findings"].as_array().unwrap().len(), 0, "{told}");
    assert_eq!(findings["kinds"]["bind"], count, "{told}");
    assert_eq!(findings["kinds"]["confirm"], count, "{told}");
}

/// The same moments in every run (Vigna, splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
