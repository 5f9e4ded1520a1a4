//! A retry gives the same bytes, a crowd gets one certificate, a quota is a quota, and a unit can change hands once.

use acceptance::factory::Factory;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::soft::{Answer, Order, SoftChip, SoftStation};
use identity::envelope::Purpose;
use std::collections::BTreeSet;
use tempfile::TempDir;
use tokio::task::JoinSet;

const FIRST: &str = "ota-l2-prov-01";
const SECOND: &str = "ota-l2-prov-02";

struct Floor {
    factory: Factory,
    station: SoftStation,
    order: Order,
    _home: TempDir,
}

fn floor(limit: u32) -> Floor {
    let home = tempfile::tempdir().unwrap();
    let mut factory = Factory::prepare(home.path(), Hsm::of_this_run()).unwrap();
    factory.policies.limit_grant(CAMERAS.grant, limit).unwrap();
    factory.policies.size_lot(CAMERAS.lot, limit).unwrap();
    factory.hold_ceremony().unwrap();
    factory.start_server().unwrap();
    factory.load_grant(CAMERAS.grant).unwrap();
    factory.open_lot(CAMERAS.grant, CAMERAS.lot).unwrap();
    let station = SoftStation::enroll(&factory, FIRST).unwrap();
    let order = Order::under(&factory, CAMERAS.grant, CAMERAS.lot).unwrap();
    Floor {
        factory,
        station,
        order,
        _home: home,
    }
}

#[tokio::test]
async fn a_retry_gives_the_same_bytes_also_after_a_kill() {
    let mut floor = floor(10);
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let prepared = floor
        .station
        .prepare(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let signed = prepared.await.unwrap();
    let first = floor.station.provision(&signed).await.unwrap();
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(floor.station.provision(&signed).await.unwrap(), first);
    floor.factory.kill_server().unwrap();
    floor.factory.start_server().unwrap();
    let again = retry(&floor.station, &signed).await;
    assert_eq!(again, first);
    assert!(floor.factory.status().unwrap().contains(" 1 of 10 "));
}

/// The first call after a kill may find the old connection.
async fn retry(station: &SoftStation, signed: &acceptance::soft::Signed) -> Answer {
    match station.provision(signed).await {
        Ok(answer) => answer,
        Err(_lost) => station.provision(signed).await.unwrap(),
    }
}

#[tokio::test]
async fn many_identical_requests_at_once_make_one_certificate() {
    let floor = floor(10);
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let prepared = floor
        .station
        .prepare(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let signed = prepared.await.unwrap();
    let mut crowd = JoinSet::new();
    for _ in 0..256 {
        let (station, signed) = (floor.station.clone(), signed.clone());
        crowd.spawn(async move { station.provision(&signed).await.unwrap() });
    }
    let answers: BTreeSet<Answer> = crowd.join_all().await.into_iter().collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers.first().unwrap().is_ok());
    assert!(floor.factory.status().unwrap().contains(" 1 of 10 "));
}

#[tokio::test]
async fn another_station_adopts_and_gets_the_same_bytes() {
    let floor = floor(10);
    let second = SoftStation::enroll(&floor.factory, SECOND).unwrap();
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let prepared = floor
        .station
        .prepare(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let first = floor
        .station
        .provision(&prepared.await.unwrap())
        .await
        .unwrap();
    assert!(first.is_ok(), "{first:?}");
    let adopting = second.prepare(Purpose::Adopt, floor.order, &chip, CAMERAS.first);
    let adopted = second.adopt(&adopting.await.unwrap()).await.unwrap();
    assert_eq!(adopted, first);
    assert!(floor.factory.status().unwrap().contains(" 1 of 10 "));
    // Another serial is another fact.
    let other = second.prepare(Purpose::Adopt, floor.order, &chip, CAMERAS.first + 1);
    let refused = second.adopt(&other.await.unwrap()).await.unwrap();
    assert_eq!(refused, Err("CA-0401".to_owned()));
}

#[tokio::test]
async fn key_chip_and_serial_are_bound_once() {
    let floor = floor(10);
    let (station, order) = (&floor.station, floor.order);
    let vendor = &floor.factory.vendor;
    let chip = SoftChip::make(vendor, 1).unwrap();
    assert!(ask(station, order, &chip, CAMERAS.first).await.is_ok());
    let mut same_key = SoftChip::make(vendor, 2).unwrap();
    same_key.key = chip.key.clone();
    let same_uid = SoftChip::make(vendor, 1).unwrap();
    let same_serial = SoftChip::make(vendor, 3).unwrap();
    for (chip, serial, code) in [
        (&same_key, CAMERAS.first + 1, "CA-0402"),
        (&same_uid, CAMERAS.first + 2, "CA-0403"),
        (&same_serial, CAMERAS.first, "CA-0404"),
        (&same_serial, 26_480_009_999, "CA-0207"),
        (&same_serial, 1, "CA-0208"),
    ] {
        let answer = ask(station, order, chip, serial).await;
        assert_eq!(answer, Err(code.to_owned()), "{serial}");
    }
    assert!(floor.factory.status().unwrap().contains(" 1 of 10 "));
}

async fn ask(station: &SoftStation, order: Order, chip: &SoftChip, serial: u64) -> Answer {
    let signed = station
        .prepare(Purpose::Provision, order, chip, serial)
        .await
        .unwrap();
    station.provision(&signed).await.unwrap()
}
