//! The CA's log goes back behind what a station has seen of it, as when an old copy of the whole CA is brought back: the
//! line agent stops at the first thing it asks, says why and what to do, and nothing is made twice.

use crate::changing_hands::{Work, work};
use crate::every_step::governed_shop;
use crate::support::Shop;
use acceptance::chips::Tray;
use acceptance::factory::copy_all;
use acceptance::faults::{Deed, Kind, Plan};
use acceptance::lines::CAMERAS;
use acceptance::outside::made_once;
use acceptance::process::said;
use acceptance::station::{Ended, events, files};
use serde_json::Value;
use std::fs;

const UNITS: u32 = 16;
/// The server's own files, the head file, the signer's files: all that knows how long the log is.
const STATE: [&str; 3] = ["ca/state", "ca/head", "ca/signer"];
const REASON: (&str, &str) = (
    "a peer has seen a newer log than this CA holds",
    "CA のログより新しいログが存在します",
);
const ACTION: (&str, &str) = (
    "issuing stops; the operator follows the restore ceremony",
    "発行停止。復旧手順に従ってください",
);

/// Stops the CA and keeps a copy of what it is now.
fn keep(shop: &mut Shop, name: &str) {
    shop.factory.kill_settled_server().unwrap();
    for directory in STATE {
        let copy = shop.factory.path(name).join(directory);
        copy_all(&shop.factory.path(directory), &copy).unwrap();
    }
}

/// Starts the CA as it was when this copy was made.
fn bring_back(shop: &mut Shop, name: &str) {
    for directory in STATE {
        let now = shop.factory.path(directory);
        fs::remove_dir_all(&now).unwrap();
        copy_all(&shop.factory.path(name).join(directory), &now).unwrap();
    }
    shop.factory.start_server().unwrap();
}

/// Flushes of the journal, behind that of a start: key, envelope, answer, confirmation.
const ANSWERED: u64 = 4;
const CONFIRMING: u64 = 5;

/// Kills the station when its first unit's confirmation is in the journal, and was not sent. Gives the serial.
fn leave_a_unit(shop: &Shop, work: &Work) -> String {
    kill_behind(shop, work, CONFIRMING);
    let open = shop.station.open_units().unwrap();
    assert!(
        matches!(open.as_slice(), [line] if line.ends_with("step=confirming")),
        "{open:?}"
    );
    CAMERAS.first.to_string()
}

/// Kills the station behind this flush of its journal.
fn kill_behind(shop: &Shop, work: &Work, flush: u64) {
    let faults = shop.factory.faults().unwrap();
    let plan = Plan {
        kinds: vec![Kind::Sync],
        path: "state/journal$".to_owned(),
        ..Plan::at(flush, Deed::KillAfter)
    };
    faults.arm(&plan).unwrap();
    let run = shop.station.run(&work.lot, &work.programmer.sockets);
    assert_eq!((run.unwrap().code, faults.fired().unwrap()), (None, 1));
    faults.disarm().unwrap();
}

fn units(ended: &Ended) -> Vec<Value> {
    let mut lines = events(&ended.said);
    lines.retain(|line| line["event"] == "unit");
    lines
}

#[test]
fn a_station_that_has_seen_more_of_the_log_than_the_ca_has_stops_and_makes_nothing_twice() {
    let mut shop = governed_shop();
    keep(&mut shop, "before");
    shop.factory.start_server().unwrap();
    // A unit that is bound, for certain, and known to the station; the CA that comes back never heard of it.
    let work = work(&mut shop, CAMERAS);
    let serial = leave_a_unit(&shop, &work);
    let made = shop.station.devices().unwrap().len();
    keep(&mut shop, "after");
    bring_back(&mut shop, "before");
    let address = shop.factory.address().to_string();
    shop.station.dial(&address, 2);
    let fresh = shop.factory.path("fresh");
    let mut tray = Tray::new(&fresh);
    tray.put(&shop.factory.vendor, CAMERAS.part, 100, 1)
        .unwrap();
    let other = tray.present(1).unwrap();
    let sockets = [&work.programmer.sockets[..], &other.sockets[..]].concat();

    let open = shop.station.open_units().unwrap();
    let journal = shop.station.journal();
    for run in 1..=2 {
        let ended = shop.station.run(&work.lot, &sockets).unwrap();
        assert_eq!(ended.code, Some(20), "run {run}: {}", ended.said);
        assert!(ended.told("HOLD", &serial), "{}", ended.said);
        let units = units(&ended);
        assert_eq!(units.len(), 2, "one a socket: {}", ended.said);
        for unit in &units {
            let fault = &unit["fault"];
            assert_eq!(
                (&unit["verdict"], &fault["code"]),
                (&"HOLD".into(), &"CA-0904".into())
            );
            assert_eq!(
                (&fault["en"], &fault["ja"]),
                (&REASON.0.into(), &REASON.1.into())
            );
            let hints = (&fault["hint_en"], &fault["hint_ja"]);
            assert_eq!(hints, (&ACTION.0.into(), &ACTION.1.into()));
        }
    }
    // The unit in the middle stays where it was, the fresh chip is blank, nothing was put away.
    assert_eq!(shop.station.open_units().unwrap(), open);
    assert_eq!(shop.station.journal(), journal);
    assert_eq!(shop.station.devices().unwrap().len(), made);
    let chip = fs::read(&files(&fresh, "chip").unwrap()[0]).unwrap();
    assert!(
        chip[512..].iter().all(|byte| *byte == 0xFF),
        "a key was burnt"
    );
    let status = shop.factory.status().unwrap();
    assert!(
        status.contains("CA-0904") && status.contains(" 0 of "),
        "{status}"
    );
    assert_doctor_says(&shop);

    shop.factory.kill_server().unwrap();
    bring_back(&mut shop, "after");
    let ended = shop.station.run(&work.lot, &sockets).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.told("PASS", &serial), "{}", ended.said);
    made_once(&shop.factory, &shop.station, UNITS).unwrap();
}

/// The one moment at which no checkpoint warns the CA: the station is killed when its journal holds the answer, the head that
/// came with it is not saved, and an old copy of the whole CA is brought back besides. That CA certifies the same request
/// anew, and believes itself. The journal knows better: the second answer is not the first, the line stops, and nothing of
/// it gets into the chip. With the true CA back the unit is finished with what it got first.
#[test]
fn a_second_answer_from_a_ca_that_went_back_unseen_stops_the_line_and_reaches_no_chip() {
    let mut shop = governed_shop();
    keep(&mut shop, "before");
    shop.factory.start_server().unwrap();
    let work = work(&mut shop, CAMERAS);
    let saved = shop.station.home().join("state/seen-checkpoint");
    let seen = fs::read(&saved).ok();
    kill_behind(&shop, &work, ANSWERED);
    // The file is written beside the journal; without its directory's flush a power cut takes it back.
    match &seen {
        Some(bytes) => fs::write(&saved, bytes).unwrap(),
        None if saved.exists() => fs::remove_file(&saved).unwrap(),
        None => {}
    }
    keep(&mut shop, "after");
    bring_back(&mut shop, "before");
    let address = shop.factory.address().to_string();
    shop.station.dial(&address, 10);

    let (open, made) = (
        shop.station.open_units().unwrap(),
        shop.station.devices().unwrap().len(),
    );
    let serial = CAMERAS.first.to_string();
    assert!(matches!(open.as_slice(), [line] if line.contains(&serial)));
    for run in 1..=2 {
        let ended = shop
            .station
            .run(&work.lot, &work.programmer.sockets)
            .unwrap();
        assert_eq!(ended.code, Some(50), "run {run}: {}", ended.said);
        let units = units(&ended);
        assert_eq!(units.len(), 1, "the line stops: {}", ended.said);
        assert_eq!(units[0]["serial"], serial);
        assert_eq!(units[0]["fault"]["code"], "LINE-0204");
        // Not even the head of that log is remembered, which the true CA would stop at.
        assert_eq!(fs::read(&saved).ok(), seen);
    }
    assert_eq!(shop.station.open_units().unwrap(), open);
    assert_eq!(shop.station.devices().unwrap().len(), made);
    let chips = files(&shop.factory.path("tray-1"), "chip").unwrap();
    for chip in chips {
        let chip = fs::read(chip).unwrap();
        let certificate = &chip[2_048..6_144];
        assert!(certificate.iter().all(|byte| *byte == 0xFF), "written");
    }
    // It cannot know, and goes on: whoever sees LINE-0204 must look.
    let status = shop.factory.status().unwrap();
    assert!(!status.contains("CA-0904"), "{status}");

    shop.factory.kill_server().unwrap();
    bring_back(&mut shop, "after");
    shop.station.dial(&shop.factory.address().to_string(), 60);
    let ended = shop
        .station
        .run(&work.lot, &work.programmer.sockets)
        .unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.told("PASS", &serial), "{}", ended.said);
    made_once(&shop.factory, &shop.station, UNITS).unwrap();
}

/// Whoever looks after the station is told the same, in its language.
fn assert_doctor_says(shop: &Shop) {
    let settings = shop.station.home().join("line-agent.toml");
    let english = fs::read_to_string(&settings).unwrap();
    let japanese = english.replace("language = \"en\"", "language = \"ja\"");
    assert_ne!(english, japanese);
    for (text, reason, action) in [
        (&english, REASON.0, ACTION.0),
        (&japanese, REASON.1, ACTION.1),
    ] {
        fs::write(&settings, text).unwrap();
        let output = shop.station.try_agent("doctor", &[]).unwrap();
        let told = said(&output.stdout) + &said(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{told}");
        for words in ["CA-0904", reason, action] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }
}
