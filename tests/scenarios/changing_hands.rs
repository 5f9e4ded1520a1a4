//! A unit outlives the station that began it: another station finishes it, a person gives it up, or a stopped station
//! says where it stands and goes on later.

use crate::every_step::{governed_shop, governed_shop_for};
use crate::support::Shop;
use acceptance::chips::Programmer;
use acceptance::faults::{Deed, Plan, Shim};
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, Line, SENSORS};
use acceptance::patience::until;
use acceptance::process::{program, succeed};
use acceptance::station::{Ended, Station};
use identity::CertificateHash;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::path::PathBuf;
use std::process::Command;

const SECOND: &str = "ota-l2-prov-02";
const UNITS: u32 = 16;
const HOUR: i64 = 3_600;

/// A unit that its station left between binding and confirmation.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) serial: String,
    /// Hash of its certificate, from the station's journal.
    certificate: String,
}

/// One socket with a tray, and the lot to be made there.
pub(crate) struct Work {
    pub(crate) programmer: Programmer,
    pub(crate) lot: PathBuf,
}

pub(crate) fn work(shop: &mut Shop, line: Line) -> Work {
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, line.part, 1, UNITS).unwrap();
    Work {
        programmer: tray.present(1).unwrap(),
        lot: shop.lot(line, 0, UNITS),
    }
}

/// Kills the station right behind one call to its files after the other, until a unit is bound for certain and not yet being
/// confirmed.
pub(crate) fn leave_a_bound_unit(shop: &Shop, work: &Work) -> Left {
    let faults = shop.factory.faults().unwrap();
    for call in (1..200).step_by(3) {
        let plan = Plan {
            path: "stations/".to_owned(),
            ..Plan::at(call, Deed::KillAfter)
        };
        faults.arm(&plan).unwrap();
        let run = shop.station.run(&work.lot, &work.programmer.sockets);
        assert_eq!((run.unwrap().code, faults.fired().unwrap()), (None, 1));
        faults.disarm().unwrap();
        if let Some(left) = bound_unit(&shop.station) {
            return left;
        }
    }
    panic!("no call stands between binding and confirmation");
}

fn bound_unit(station: &Station) -> Option<Left> {
    let open = station.open_units().unwrap();
    let line = open.iter().find(|line| line.ends_with("step=issued"))?;
    let word = |at: usize| line.split_whitespace().nth(at).unwrap();
    let request = word(5).strip_prefix("request=").unwrap();
    let journal = station.journal();
    let issued = journal
        .lines()
        .find(|entry| entry.contains(request) && entry.contains("\"step\":\"issued\""))
        .unwrap();
    let (_, json) = issued.split_once(' ').unwrap();
    let entry: serde_json::Value = serde_json::from_str(json).unwrap();
    Some(Left {
        serial: word(1).to_owned(),
        certificate: entry["certificate"].as_str().unwrap().to_owned(),
    })
}

fn counted(shop: &Shop, station: &Station) -> serde_json::Value {
    let mut audit = Command::new(program("koseki-verify").unwrap());
    shop.factory.settle().unwrap();
    audit.arg("log").arg(shop.factory.log_dir()).arg("--json");
    let told = succeed(audit.arg("--trust").arg(station.trust())).unwrap();
    let findings: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(findings["findings"].as_array().unwrap().len(), 0, "{told}");
    findings["kinds"].clone()
}

#[test]
fn a_second_station_finishes_what_a_burnt_down_one_had_bound() {
    finished_by_another(CAMERAS);
}

/// The receipt of the injection was in the lost journal; it comes back with the proof of the binding.
#[test]
fn a_second_station_finishes_a_unit_whose_key_the_first_injected() {
    finished_by_another(SENSORS);
}

fn finished_by_another(line: Line) {
    let mut shop = governed_shop_for(line);
    let work = work(&mut shop, line);
    let left = leave_a_bound_unit(&shop, &work);
    let mut second = Station::enroll(&shop.factory, SECOND).unwrap();
    second
        .take_grant(&shop.factory, line.grant, &[line.lot])
        .unwrap();
    let before = counted(&shop, &second);
    let lost = std::mem::replace(&mut shop.station, second);
    lost.lose_home().unwrap();
    // What the execution system still waits for.
    let rest = format!("lot,serial,label\n{},{},unit\n", line.lot, left.serial);
    let lot = shop.station.lot_file("rest.csv", rest.as_bytes()).unwrap();
    let ended = shop.station.run(&lot, &work.programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let devices = shop.station.devices().unwrap();
    let pem = std::fs::read(devices.first().unwrap()).unwrap();
    let der = CertificateDer::from_pem_slice(&pem).unwrap();
    assert_eq!(CertificateHash::of(&der).to_string(), left.certificate);
    let after = counted(&shop, &shop.station);
    assert_eq!(after["adopt"], 1);
    assert_eq!(after["bind"], before["bind"], "nothing was bound anew");
}

/// A grant ends while one of its units is bound and not confirmed, and its station burns down. What was bound is
/// finished; for a blank chip the answer is that the grant is over.
#[test]
fn after_the_grants_end_a_bound_unit_is_finished_and_nothing_new_is_begun() {
    let mut shop = Shop::open_with(Hsm::of_this_run(), &[CAMERAS], |factory| {
        let shim = Shim::build(&factory.path("")).unwrap();
        factory.govern(&shim).unwrap();
        let grant = factory.policies.file("grants", CAMERAS.grant);
        let text = std::fs::read_to_string(&grant).unwrap();
        let ends = text.lines().find(|line| line.starts_with("until = "));
        let soon = jiff::Timestamp::now().as_second() + 2 * HOUR;
        let soon = jiff::Timestamp::from_second(soon).unwrap();
        let soon = format!("until = {soon}");
        factory.policies.edit(&grant, ends.unwrap(), &soon).unwrap();
    });
    let work = work(&mut shop, CAMERAS);
    let left = leave_a_bound_unit(&shop, &work);
    let mut second = Station::enroll(&shop.factory, SECOND).unwrap();
    second
        .take_grant(&shop.factory, CAMERAS.grant, &[CAMERAS.lot])
        .unwrap();
    let before = counted(&shop, &second);
    let faults = shop.factory.faults().unwrap();
    faults.shift_clock(3 * HOUR).unwrap();
    let last = CAMERAS.first + u64::from(UNITS) - 1;
    let (name, bound) = (CAMERAS.lot, &left.serial);
    let rest = format!("lot,serial,label\n{name},{bound},unit\n{name},{last},unit\n");
    let lot = second.lot_file("rest.csv", rest.as_bytes()).unwrap();
    let ended = second.run(&lot, &work.programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(20), "{}", ended.said);
    assert!(ended.told("PASS", bound), "{}", ended.said);
    assert!(ended.told("HOLD", &last.to_string()), "{}", ended.said);
    assert!(ended.said.contains("CA-0202"), "{}", ended.said);
    assert_eq!(second.journalled("keyed"), 1);
    assert_eq!(second.devices().unwrap().len(), 1);
    let after = counted(&shop, &second);
    assert_eq!(after["adopt"], 1);
    assert_eq!(after["bind"], before["bind"], "nothing was bound anew");
}

#[test]
fn a_unit_given_up_is_void_and_its_serial_is_made_with_another_chip() {
    let mut shop = governed_shop();
    let work = work(&mut shop, CAMERAS);
    let left = leave_a_bound_unit(&shop, &work);
    let told = shop.station.void(&left.serial, "board-broken").unwrap();
    assert!(told.trim_end().ends_with(" void"), "{told}");
    assert!(shop.station.open_units().unwrap().is_empty());
    let ended = shop
        .station
        .run(&work.lot, &work.programmer.sockets)
        .unwrap();
    // One chip of the tray is spent, so one serial is left without.
    assert_eq!(ended.code, Some(20), "{}", ended.said);
    assert!(ended.told("PASS", &left.serial), "{}", ended.said);
    let counted = counted(&shop, &shop.station);
    assert_eq!(counted["void"], 1);
    assert_eq!(counted["bind"], UNITS);
    assert_eq!(counted["confirm"], UNITS - 1);
}

#[test]
fn a_station_asked_to_stop_says_what_is_open_and_goes_on_later() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, UNITS)
        .unwrap();
    let programmer = tray.present(4).unwrap();
    let lot = shop.lot(CAMERAS, 0, UNITS);
    let mut said_open = 0;
    for _ in 0..3 {
        let before = shop.station.journalled("keyed");
        let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
        until("a key in the journal", || {
            let begun = shop.station.journalled("keyed") > before;
            Ok((begun || agent.ended()?.is_some()).then_some(()))
        })
        .unwrap();
        let status = agent.stop().unwrap();
        let ended = Ended::of(status, &agent);
        let open = shop.station.open_units().unwrap();
        for line in &open {
            let serial = line.split_whitespace().nth(1).unwrap();
            assert!(ended.told("ABORT", serial), "{serial}: {}", ended.said);
        }
        if !open.is_empty() {
            assert_eq!(ended.code, Some(40), "{}", ended.said);
        }
        said_open += open.len();
    }
    assert!(said_open > 0, "no stop came while a unit was under work");
    let ended = shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let counted = counted(&shop, &shop.station);
    assert_eq!(
        (&counted["bind"], &counted["confirm"]),
        (&UNITS.into(), &UNITS.into())
    );
}
