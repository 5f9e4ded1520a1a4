//! The lots are made, with trouble planted and processes killed.

use super::{CAMERAS, EXTRA_LOT, SENSORS, Teller, UNITS};
use crate::chips::{INJECTED, ON_CHIP, Tray};
use crate::factory::Factory;
use crate::failure::{Failure, Outcome, require};
use crate::patience::{now, pause, until};
use crate::process::Daemon;
use crate::station::{Ended, Station};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Sockets of the programmer.
const SOCKETS: usize = 4;
/// Chips beyond the units, because planted trouble uses some up.
const SPARE: u32 = 12;
/// Most runs of one lot: after a kill, and after units that failed.
const MOST_RUNS: usize = 5;
/// How long the server stays away.
const OUTAGE: Duration = Duration::from_millis(400);
/// A serial that no lot holds.
const FOREIGN_SERIAL: &str = "26480009999";

/// Makes both lots and tries one unit more than the quota.
///
/// # Errors
/// [`Failure`]: the first claim that does not hold.
pub(super) fn make_both_lots(
    factory: &mut Factory,
    station: &mut Station,
    teller: &mut Teller<'_>,
) -> Outcome<()> {
    make_cameras(factory, station, teller)?;
    tell_planted(station, teller)?;
    make_sensors(factory, station, teller)?;
    try_one_more(factory, station, teller)?;
    tell_times(station, teller)
}

/// On-chip keys; the lot file as Windows programs write it; the server is killed in the middle.
fn make_cameras(factory: &mut Factory, station: &Station, teller: &mut Teller<'_>) -> Outcome<()> {
    let mut rows = rows(CAMERAS.1, 26_480_001_000, "見守りカメラ MD-CAM2");
    rows.insert(
        2,
        format!("{},{FOREIGN_SERIAL},見守りカメラ 予備", CAMERAS.1),
    );
    let lot = station.lot_file("26W48-A.csv", csv(&rows, "\r\n").as_bytes())?;
    let mut tray = Tray::new(&factory.path("tray-a"));
    tray.put(&factory.vendor, ON_CHIP, 1, 4)?;
    tray.put(&factory.vendor, INJECTED, 900, 1)?;
    tray.put_clone(&factory.vendor, ON_CHIP, 0)?;
    tray.put(&factory.vendor, ON_CHIP, 5, UNITS.saturating_add(SPARE))?;
    let programmer = tray.present(SOCKETS)?;
    let mut agent = station.start(&lot, &programmer.sockets)?;
    let at = wait_for(station, &mut agent, "closed", 3)?;
    factory.kill_server()?;
    pause(OUTAGE);
    factory.start_server()?;
    let status = agent.wait()?;
    let ended = Ended::of(status, &agent);
    require(
        ended.code == Some(30),
        format_args!("lot A ended with {:?}: {}", ended.code, ended.said),
    )?;
    teller.claim(format_args!(
        "ca-server killed with -9 after {at} units and restarted: the station went on by itself"
    ))?;
    finish(station, &lot, &programmer.sockets, CAMERAS.1)?;
    teller.claim(format_args!(
        "lot {}: {UNITS} PASS, keys made on chip, {SOCKETS} at a time; UTF-8 with Japanese labels and CRLF; exit 30 for its worst unit",
        CAMERAS.1
    ))
}

/// Injected keys; the agent is killed between burn and confirm.
fn make_sensors(factory: &Factory, station: &Station, teller: &mut Teller<'_>) -> Outcome<()> {
    let rows = rows(SENSORS.1, 26_480_002_000, "温度センサー MD-TMP1");
    let lot = station.lot_file("26W48-B.csv", csv(&rows, "\n").as_bytes())?;
    let mut tray = Tray::new(&factory.path("tray-b"));
    tray.put(&factory.vendor, INJECTED, 1, UNITS)?;
    let programmer = tray.present(SOCKETS)?;
    let begin = now();
    let open = interrupt(station, &lot, &programmer.sockets)?;
    teller.claim(format_args!(
        "line-agent killed with -9 with {} units between burn and confirm: all in its journal",
        open.len()
    ))?;
    finish(station, &lot, &programmer.sockets, SENSORS.1)?;
    let passed = passed(station)?;
    let finished = open
        .iter()
        .filter(|line| passed.keys().any(|serial| line.contains(serial.as_str())));
    require(
        finished.count() == open.len(),
        "a unit in the journal was lost",
    )?;
    let seconds = begin.elapsed().as_secs_f64() / f64::from(UNITS);
    teller.claim(format_args!(
        "lot {}: {UNITS} PASS, keys injected and destroyed in the HSM, {seconds:.2} s a unit with kill and restart; interrupted units kept their requests",
        SENSORS.1
    ))
}

/// Kills the agent when at least one chip is burnt and not confirmed; gives the journal's open units.
fn interrupt(station: &Station, lot: &Path, sockets: &[String]) -> Outcome<Vec<String>> {
    for _ in 0..MOST_RUNS {
        let mut agent = station.start(lot, sockets)?;
        let sent = station.journalled("sent");
        wait_for(station, &mut agent, "sent", sent.saturating_add(2))?;
        agent.kill()?;
        let open = station.open_units()?;
        let burnt = open.iter().filter(|line| !line.ends_with("step=keyed"));
        let burnt: Vec<_> = burnt.cloned().collect();
        if !burnt.is_empty() {
            return Ok(burnt);
        }
    }
    Err(Failure::new("no kill came between burn and confirm"))
}

/// The grant is used up; its extra lot is empty, and a good chip is in the socket.
fn try_one_more(factory: &Factory, station: &Station, teller: &mut Teller<'_>) -> Outcome<()> {
    let row = format!("{EXTRA_LOT},26480003000,温度センサー 余り");
    let lot = station.lot_file("26W48-C.csv", csv(&[row], "\n").as_bytes())?;
    let mut tray = Tray::new(&factory.path("tray-c"));
    tray.put(&factory.vendor, INJECTED, 800, 1)?;
    let programmer = tray.present(1)?;
    let keys = station.journalled("keyed");
    let ended = station.run(&lot, &programmer.sockets)?;
    require(
        ended.code == Some(20) && ended.said.contains("CA-0203"),
        format_args!("one more ended with {:?}: {}", ended.code, ended.said),
    )?;
    require(station.journalled("keyed") == keys, "its chip got a key")?;
    teller.claim(
        "one unit more than the quota: HOLD CA-0203, exit 20, no certificate, no key in its chip",
    )
}

/// Each kind of planted trouble under its own code, and no certificate for it.
fn tell_planted(station: &Station, teller: &mut Teller<'_>) -> Outcome<()> {
    let records = station.records()?;
    let caught = |code: &str| {
        records
            .iter()
            .filter(|record| record["outcome_details"][0]["code"] == code)
            .count()
    };
    for (what, codes) in [
        ("a chip of the wrong part", ["LINE-0102", "LINE-0102"]),
        (
            "a second chip with a UID that is in use",
            ["LINE-0208", "CA-0403"],
        ),
        ("a serial outside its lot", ["CA-0207", "CA-0207"]),
    ] {
        let code = codes.into_iter().find(|code| caught(code) > 0);
        let code = code.ok_or_else(|| Failure::new(format_args!("{what} was not caught")))?;
        teller.claim(format_args!("{what}: FAIL {code}"))?;
    }
    require(
        !passed(station)?.contains_key(FOREIGN_SERIAL),
        "the serial outside its lot passed",
    )
}

fn tell_times(station: &Station, teller: &mut Teller<'_>) -> Outcome<()> {
    let passed = passed(station)?;
    let twice: Vec<_> = passed.iter().filter(|(_, times)| **times != 1).collect();
    let all = usize::try_from(UNITS)
        .map_err(Failure::new)?
        .saturating_mul(2);
    require(
        passed.len() == all && twice.is_empty(),
        format_args!("{} serials passed; more than once: {twice:?}", passed.len()),
    )?;
    teller.claim(format_args!(
        "{all} units passed, each exactly once; one record file a unit"
    ))
}

/// Serials that passed, and how many records say so.
///
/// # Errors
/// [`Failure`] of the records.
fn passed(station: &Station) -> Outcome<BTreeMap<String, usize>> {
    let mut passed = BTreeMap::new();
    for record in station.records()? {
        if record["outcome"] == "PASS" {
            let serial = record["dut_id"].as_str().unwrap_or_default().to_owned();
            *passed.entry(serial).or_default() += 1;
        }
    }
    Ok(passed)
}

/// Runs until every good serial of the lot has passed.
fn finish(station: &Station, lot: &Path, sockets: &[String], name: &str) -> Outcome<()> {
    let wanted = usize::try_from(UNITS).map_err(Failure::new)?;
    let mut said = String::new();
    for _ in 0..MOST_RUNS {
        if certified(&station.records()?, name) == wanted {
            return Ok(());
        }
        said = station.run(lot, sockets)?.said;
    }
    Err(Failure::new(format_args!(
        "lot {name} was not finished: {said}"
    )))
}

fn certified(records: &[Value], lot: &str) -> usize {
    records
        .iter()
        .filter(|record| record["metadata"]["lot"] == lot && record["outcome"] == "PASS")
        .count()
}

/// Waits until the journal holds so many entries of a kind; gives how many.
fn wait_for(station: &Station, agent: &mut Daemon, step: &str, count: usize) -> Outcome<usize> {
    until("the station's journal", || {
        let now = station.journalled(step);
        match (now >= count, agent.ended()?) {
            (true, _) => Ok(Some(now)),
            (false, None) => Ok(None),
            (false, Some(status)) => Err(Failure::new(format_args!(
                "the agent ended with {status}: {}",
                agent.said()
            ))),
        }
    })
}

fn rows(lot: &str, first: u64, label: &str) -> Vec<String> {
    (first..)
        .zip(1..=UNITS)
        .map(|(serial, number)| format!("{lot},{serial},{label} #{number}"))
        .collect()
}

fn csv(rows: &[String], end: &str) -> String {
    let header = "lot,serial,label".to_owned();
    let lines = std::iter::once(&header).chain(rows);
    lines.map(|line| format!("{line}{end}")).collect()
}
