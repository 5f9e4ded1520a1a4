//! How a lot ends: every serial accounted for, a board scrapped and its serial made with another, and devices that the
//! station does not account for.

use crate::changing_hands::{leave_a_bound_unit, work};
use crate::every_step::governed_shop;
use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::process::{finish, program, said};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Units of the lot's order.
const PLANNED: u32 = 1_000;

/// Closes the lot: how the command ended, and what it said.
fn close(shop: &Shop) -> (Option<i32>, String) {
    let lot = shop.lot(CAMERAS, 0, PLANNED);
    let lot = lot.to_str().unwrap();
    let output = shop.station.try_words(&["lot", "close", lot]).unwrap();
    let told = format!("{}{}", said(&output.stdout), said(&output.stderr));
    (output.status.code(), told)
}

/// What anyone finds who has the log.
fn audit(shop: &Shop) -> Value {
    let mut audit = Command::new(program("koseki-verify").unwrap());
    shop.factory.settle().unwrap();
    audit.arg("log").arg(shop.factory.log_dir()).arg("--json");
    let output = finish(audit.arg("--trust").arg(shop.station.trust())).unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn a_lot_closes_with_every_serial_accounted_for_and_takes_no_more() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    assert_eq!(shop.make(CAMERAS, 0, 3).code, Some(0));
    let (code, told) = close(&shop);
    assert_eq!(code, Some(0), "{told}");
    let sum = "planned 1000 = pass 3 + hold 0 + fail 0 + scrapped 0 + unused 997";
    assert!(told.contains(sum), "{told}");
    // Again is the same leaf.
    assert_eq!(close(&shop), (code, told));
    let found = audit(&shop);
    assert_eq!(found["findings"].as_array().unwrap().len(), 0, "{found:#}");
    let lot = &found["lots"][0];
    assert_eq!((&lot["bound"], &lot["confirmed"]), (&3.into(), &3.into()));
    assert_eq!(found["kinds"]["lot-close"], 1);
    assert!(lot["closed"].is_u64(), "{lot}");
    let status = shop.factory.status().unwrap();
    assert!(!status.contains("ALARM"), "{status}");
    // The next unit of this lot gets no certificate.
    let refused = shop.make(CAMERAS, 3, 1);
    assert_ne!(refused.code, Some(0), "{}", refused.said);
    assert!(refused.said.contains("CA-0212"), "{}", refused.said);
    assert_eq!(audit(&shop)["kinds"]["bind"], 3);
}

/// Somebody with the station's keys makes thirty devices more, and takes them out of its journal.
#[test]
fn thirty_ghosts_are_found_when_the_lot_closes() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    assert_eq!(shop.make(CAMERAS, 0, 2).code, Some(0));
    let journal = shop.station.home().join("state/journal");
    let honest = shop.station.home().join("honest");
    copy(&journal, &honest);
    assert_eq!(shop.make(CAMERAS, 2, 30).code, Some(0));
    copy(&honest, &journal);
    let (code, told) = close(&shop);
    assert_eq!(code, Some(30), "{told}");
    let difference = "difference pass: 2 stated, 32 found";
    assert!(
        told.contains(difference) && told.contains("CA-0214"),
        "{told}"
    );
    let status = shop.factory.status().unwrap();
    let alarm = "pass: 2 stated, 32 in the log";
    assert!(
        status.contains("ALARM") && status.contains(alarm),
        "{status}"
    );
    let found = audit(&shop);
    let findings = found["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{found:#}");
    assert_eq!(findings[0]["code"], "VERIFY-0209");
    assert_eq!(findings[0]["note"], alarm);
}

#[test]
fn a_scrapped_board_makes_room_for_another_and_the_lot_still_adds_up() {
    let mut shop = governed_shop();
    let work = work(&mut shop, CAMERAS);
    let left = leave_a_bound_unit(&shop, &work);
    let scrap = |serial: &str, more: &[&str]| {
        let words = ["unit", "scrap", serial, "--lot", CAMERAS.lot, "--reason"];
        let words = [&words[..], &["board-broken"], more].concat();
        let output = shop.station.try_words(&words).unwrap();
        assert!(output.status.success(), "{}", said(&output.stderr));
    };
    scrap(&left.serial, &[]);
    // Another that never had a key, of a serial that nobody will have.
    let last = (CAMERAS.first + u64::from(PLANNED) - 1).to_string();
    scrap(&last, &[]);
    assert!(shop.station.open_units().unwrap().is_empty());
    let ended = shop
        .station
        .run(&work.lot, &work.programmer.sockets)
        .unwrap();
    assert!(ended.told("PASS", &left.serial), "{}", ended.said);
    let (code, told) = close(&shop);
    assert_eq!(code, Some(0), "{told}");
    let sum = "planned 1000 = pass 15 + hold 0 + fail 0 + scrapped 1 + unused 984";
    assert!(told.contains(sum), "{told}");
    assert!(
        told.contains("boards: open 0, voided 0, scrapped 2"),
        "{told}"
    );
    let found = audit(&shop);
    assert_eq!(found["findings"].as_array().unwrap().len(), 0, "{found:#}");
    assert_eq!(found["kinds"]["scrap"], 2);
    assert_eq!(found["grants"][0]["scrapped"], 2);
}
