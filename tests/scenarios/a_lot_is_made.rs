//! From a lot file to confirmed devices, on both HSMs and with both origins of keys.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, SENSORS};
use acceptance::process::{program, succeed};
use std::process::Command;

#[test]
fn on_the_simulator() {
    a_lot_of_each_kind(Hsm::Simulator);
}

#[test]
fn on_softhsm2() {
    a_lot_of_each_kind(Hsm::SoftHsm2);
}

/// Both kinds of chips at the end of serial lines, as on a real bench.
#[test]
fn over_serial_lines() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS, SENSORS]);
    for line in [CAMERAS, SENSORS] {
        let mut tray = shop.tray();
        tray.put(&shop.factory.vendor, line.part, 1, 3).unwrap();
        let programmer = tray.present_on_serial_lines(2).unwrap();
        assert!(programmer.sockets.iter().all(|it| it.starts_with('/')));
        let lot = shop.lot(line, 1, 3);
        let ended = shop.station.run(&lot, &programmer.sockets).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.said);
    }
    assert_eq!(shop.station.devices().unwrap().len(), 6);
}

fn a_lot_of_each_kind(hsm: Hsm) {
    let mut shop = Shop::open(hsm, &[CAMERAS, SENSORS]);
    for line in [CAMERAS, SENSORS] {
        let ended = shop.make(line, 1, 3);
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        assert!(!ended.said.contains("cryptoki"), "{}", ended.said);
    }
    let devices = shop.station.devices().unwrap();
    assert_eq!(devices.len(), 6);
    for device in &devices {
        let mut verify = Command::new(program("koseki-verify").unwrap());
        verify.arg(device).arg("--trust").arg(shop.station.trust());
        verify
            .arg("--proof")
            .arg(device.with_extension("tlog-proof"));
        succeed(verify.args(["--require", "confirmed"])).unwrap();
    }
    let status = shop.factory.status().unwrap();
    assert_eq!(status.matches(" 3 of ").count(), 2, "{status}");
    shop.factory.stop_server().unwrap();
    let log = shop.factory.server_log();
    assert!(!log.contains("cryptoki"), "{log}");
}
