//! The server's wall clock is wrong, or the year is 2050.

use crate::support::{Shop, trust};
use acceptance::faults::Shim;
use acceptance::ground::{Ground, answered};
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::process::succeed;
use acceptance::soft::SoftChip;
use std::fs;
use std::process::Command;

const HOUR: i64 = 3_600;
const YEAR: i64 = 8_766 * HOUR;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_clock_behind_the_log_stops_issuing() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let mut factory = ground.governed_copy(&ground.home("behind")).unwrap();
    let station = ground.station.reconnected(&factory).unwrap();
    let chip = SoftChip::make(&factory.vendor, 2).unwrap();
    let before = station.checkpoint().await.unwrap();
    factory.faults().unwrap().shift_clock(-6 * HOUR).unwrap();
    let signed = ground.prepare(&station, &chip, 1).await.unwrap();
    for started_again in [false, true] {
        if started_again {
            factory.kill_server().unwrap();
            factory.start_server().unwrap();
        }
        let refused = answered(|| station.certify(&signed)).await.unwrap_err();
        assert_eq!(refused.code.as_deref(), Some("CA-0905"), "{refused}");
        assert!(
            refused.retry_after_ms.is_some(),
            "no hint when to come again"
        );
        assert_eq!(
            station.checkpoint().await.unwrap(),
            before,
            "a leaf was written"
        );
    }
    factory.faults().unwrap().shift_clock(0).unwrap();
    finishes(&ground, &mut factory, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_clock_ten_years_off_neither_issues_nor_freezes_the_log() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    for (shift, name) in [
        (10 * YEAR, "ahead"),
        (-10 * YEAR, "behind"),
        (30 * 24 * HOUR, "month"),
    ] {
        let mut factory = ground.governed_copy(&ground.home(name)).unwrap();
        let station = ground.station.reconnected(&factory).unwrap();
        let chip = SoftChip::make(&factory.vendor, 2).unwrap();
        let signed = ground.prepare(&station, &chip, 1).await.unwrap();
        let before = station.checkpoint().await.unwrap();
        factory.faults().unwrap().shift_clock(shift).unwrap();
        // On the connection that is there; the one after a new start does not get through TLS, or no further.
        let refused = station.certify(&signed).await.unwrap_err();
        assert!(refused.code.is_some(), "{name}: {refused}");
        assert_eq!(
            station.checkpoint().await.unwrap(),
            before,
            "{name}: {refused}: a leaf was written"
        );
        factory.kill_server().unwrap();
        factory.start_server().unwrap();
        assert!(
            answered(|| station.certify(&signed)).await.is_err(),
            "{name}"
        );
        factory.faults().unwrap().shift_clock(0).unwrap();
        finishes(&ground, &mut factory, 2).await;
    }
}

/// With the right time, and an operator who says so, the next unit is made at once, and the audit finds nothing.
async fn finishes(ground: &Ground, factory: &mut acceptance::factory::Factory, number: u64) {
    factory.confirm_clock().unwrap();
    let station = ground.station.reconnected(factory).unwrap();
    let chip = SoftChip::make(&factory.vendor, 3).unwrap();
    let mut ledger = ground.ledger.clone();
    let signed = ground.prepare(&station, &chip, number).await.unwrap();
    let given = station.certify(&signed).await.unwrap();
    ledger.certificate(&signed, &given).unwrap();
    let confirmation = station.sealed_confirmation(&signed, &chip, &given).unwrap();
    ledger
        .receipt(&signed, &station.hand_in(&confirmation).await.unwrap())
        .unwrap();
    factory.kill_settled_server().unwrap();
    ledger
        .hold_against(&factory.log_dir(), &ground.trust())
        .unwrap();
}

/// RFC 5280, 4.1.2.5: `UTCTime` until 2049, `GeneralizedTime` from 2050 on.
#[test]
fn the_year_2050_begins() {
    let eve: jiff::Timestamp = "2049-12-31T20:00:00Z".parse().unwrap();
    let shift = eve.as_second() - jiff::Timestamp::now().as_second();
    let mut shop = Shop::open_at(Hsm::of_this_run(), &[CAMERAS], eve, |factory| {
        let shim = Shim::build(&factory.path("")).unwrap();
        factory.govern(&shim).unwrap().shift_clock(shift).unwrap();
    });
    let made = shop.make(CAMERAS, 1, 1);
    assert_eq!(made.code, Some(0), "{}", made.said);
    shop.factory
        .faults()
        .unwrap()
        .shift_clock(shift + 5 * HOUR)
        .unwrap();
    let made = shop.make(CAMERAS, 2, 1);
    assert_eq!(made.code, Some(0), "{}", made.said);
    let (ca, issuing, devices) = trust(&shop);
    assert_eq!(devices.len(), 2);
    for (device, begins) in devices
        .iter()
        .zip([&b"\x17\x0d491231"[..], &b"\x18\x0f20500101"[..]])
    {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-outform", "DER", "-in"]).arg(device);
        let der = shop.factory.path("device.der");
        succeed(openssl.arg("-out").arg(&der)).unwrap();
        let der = fs::read(&der).unwrap();
        assert!(
            der.windows(begins.len()).any(|part| part == begins),
            "{}",
            device.display()
        );
        let at = (eve.as_second() + 6 * HOUR).to_string();
        let mut openssl = Command::new("openssl");
        openssl
            .args(["verify", "-x509_strict", "-attime", &at, "-CAfile"])
            .arg(&ca);
        succeed(openssl.arg("-untrusted").arg(&issuing).arg(device)).unwrap();
        let mut verify = Command::new(acceptance::process::program("koseki-verify").unwrap());
        verify
            .arg(device)
            .arg("--proof")
            .arg(device.with_extension("tlog-proof"));
        succeed(
            verify
                .args(["--at", "2050-01-01T02:00:00Z", "--trust"])
                .arg(shop.station.trust()),
        )
        .unwrap();
    }
}
