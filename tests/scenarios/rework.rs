//! A unit that failed behind its binding comes back: it is the same unit, with its history, and it is finished with the bytes
//! that were made for it.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::process::{program, said, succeed};
use acceptance::station::events;
use serde_json::Value;
use std::fs;
use std::process::Command;

const SERIAL: &str = "26480001000";
const CHIP: &str = "012300000000000001.chip";

/// Somebody puts a good unit back: in the same run it is no clone, and in a later one no riddle.
#[test]
fn a_chip_that_passed_is_told_as_the_good_unit_that_it_is() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 2).unwrap();
    let other = "012300000000000002.chip";
    let order = shop.factory.path("tray-1/order.txt");
    fs::write(order, format!("{CHIP}\n{other}\n{CHIP}\n")).unwrap();
    let lot = shop.lot(CAMERAS, 0, 9);
    for (run, wanted) in [["PASS", "PASS", "FAIL"], ["FAIL"; 3]].iter().enumerate() {
        if run > 0 {
            // The chip that was done last in its socket is not asked again where it sits.
            tray.rewind().unwrap();
            shop.make(CAMERAS, 8, 1);
        }
        let programmer = tray.present(1).unwrap();
        let ended = shop.station.run(&lot, &programmer.sockets).unwrap();
        let lines = events(&ended.said);
        let units: Vec<_> = lines.iter().filter(|it| it["event"] == "unit").collect();
        let verdicts: Vec<_> = units.iter().map(|it| it["verdict"].as_str()).collect();
        assert_eq!(verdicts, wanted.map(Some), "{}", ended.said);
        let fault = &units[2]["fault"];
        assert_eq!(fault["code"], "LINE-0104", "{fault}");
        let detail = fault["detail"].as_str().unwrap();
        let passed = format!("it passed as {SERIAL} on 20");
        assert!(detail.contains(&passed), "{fault}");
        for (key, word) in [("hint_en", "with the good ones"), ("hint_ja", "良品に")] {
            assert!(fault[key].as_str().unwrap().contains(word), "{fault}");
        }
    }
}

#[test]
fn a_chip_that_stored_no_certificate_is_finished_when_it_is_put_back() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
    let lot = shop.lot(CAMERAS, 0, 1);
    let mut ended = Vec::new();
    for trouble in [&["--refuse-certificate", CHIP][..], &[]] {
        let programmer = tray.present_in_trouble(1, trouble).unwrap();
        ended.push(shop.station.run(&lot, &programmer.sockets).unwrap());
        drop(programmer);
        tray.rewind().unwrap();
    }
    assert_eq!(ended[0].code, Some(30), "{}", ended[0].said);
    assert!(ended[0].said.contains("LINE-0112"), "{}", ended[0].said);
    assert_eq!(ended[1].code, Some(0), "{}", ended[1].said);
    let lines = events(&ended[1].said);
    let unit = lines.iter().find(|line| line["event"] == "unit").unwrap();
    assert_eq!(
        (&unit["serial"], &unit["verdict"]),
        (&SERIAL.into(), &"PASS".into())
    );
    assert_eq!(
        (&unit["attempt"], &unit["attempts"]),
        (&2.into(), &3.into())
    );

    let records = shop.station.records().unwrap();
    assert_eq!(records.len(), 1, "one unit, one request, one record");
    let metadata = &records[0]["metadata"];
    assert_eq!(metadata["attempt"], 2);
    let earlier = metadata["earlier"].as_array().unwrap();
    assert_eq!(earlier.len(), 1);
    assert_eq!(
        (&earlier[0]["attempt"], &earlier[0]["code"]),
        (&1.into(), &"LINE-0112".into())
    );
    assert_eq!(earlier[0]["uid"], metadata["uid"]);

    let mut audit = Command::new(program("koseki-verify").unwrap());
    shop.factory.settle().unwrap();
    audit.arg("log").arg(shop.factory.log_dir()).arg("--json");
    let told = succeed(audit.arg("--trust").arg(shop.station.trust())).unwrap();
    let found: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(found["findings"].as_array().unwrap().len(), 0, "{found:#}");
    let kinds = &found["kinds"];
    assert_eq!((&kinds["bind"], &kinds["confirm"]), (&1.into(), &1.into()));

    let whole = shop.lot(CAMERAS, 0, 1_000);
    let words = ["lot", "close", whole.to_str().unwrap()];
    let output = shop.station.try_words(&words).unwrap();
    let told = said(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{told}{}",
        said(&output.stderr)
    );
    assert!(told.contains("pass 1 + hold 0 + fail 0"), "{told}");
}
