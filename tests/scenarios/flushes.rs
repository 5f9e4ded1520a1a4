//! `kill -9` leaves in the system's memory what no flush has put on the disk, and so never shows that a flush is
//! missing. Here every flush of the line agent on the way of one unit is held, one after another: while it is, what
//! must wait for it has not happened; when it is let go, the unit passes (docs/speed.md has the table of the waits).

use crate::every_step::governed_shop_for;
use crate::support::Shop;
use acceptance::chips::{Programmer, Tray};
use acceptance::faults::{Call, Deed, Faults, Kind, Plan};
use acceptance::lines::{CAMERAS, Line, SENSORS, STATION};
use acceptance::outside::made_once;
use acceptance::patience::{pause, until};
use acceptance::process::Daemon;
use acceptance::register::Register;
use acceptance::station::{Ended, events, files};
use identity::leaf::Body;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long a flush is held before anybody looks: what does not wait for it has all that time to happen.
const HELD: Duration = Duration::from_millis(300);

/// Where things stand in a simulated chip's file; what was erased is 0xFF.
const SLOT: Range<usize> = 512..544;
const LOCK: Range<usize> = 1_024..1_028;
const CERTIFICATE: Range<usize> = 2_048..6_144;

/// What becomes of a unit, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happened {
    /// The chip holds a key.
    Burnt,
    /// The CA has bound it.
    Bound,
    /// The chip holds the certificate.
    Written,
    /// The CA has its confirmation.
    Confirmed,
    /// Its files are in their places.
    Stored,
    /// The journal has its verdict.
    Judged,
    /// The operator was told, and the next chip asked for.
    Told,
}

use Happened::{Bound, Burnt, Confirmed, Judged, Stored, Told, Written};

/// A flush: of which file, which one of that file's, and what waits for it.
type Flush = (&'static str, usize, Happened);

const JOURNAL: &str = "state/journal";
/// The station's directory, not the server's of the same name.
const STATE: &str = "ota-l2-prov-01/state";
/// Those of a start are not counted.
const FLUSHES: [Flush; 14] = [
    (JOURNAL, 1, Burnt),
    (JOURNAL, 2, Bound),
    (JOURNAL, 3, Written),
    ("state/.seen-checkpoint.new", 1, Written),
    (STATE, 1, Written),
    (JOURNAL, 4, Confirmed),
    (".pem.new", 1, Stored),
    (".tlog-proof.new", 1, Stored),
    (".json.new", 1, Stored),
    ("state/.seen-checkpoint.new", 2, Judged),
    ("out/devices", 1, Judged),
    ("out/records", 1, Judged),
    (STATE, 2, Judged),
    (JOURNAL, 5, Told),
];

#[test]
fn what_must_wait_for_a_flush_waits_for_it() {
    let mut line = Governed::open(CAMERAS);
    let calls = line.watch();
    assert_all_are_known(&calls);
    for flush in FLUSHES {
        line.hold(&calls, flush);
    }
    line.made_once();
}

/// A key that is injected is in the line HSM and in the chip before it is burnt: the journal comes first there, too.
#[test]
fn an_injected_key_waits_for_the_journal() {
    let mut line = Governed::open(SENSORS);
    let calls = line.watch();
    assert_all_are_known(&calls);
    for flush in FLUSHES.into_iter().filter(|flush| flush.0 == JOURNAL) {
        line.hold(&calls, flush);
    }
    line.made_once();
}

/// No flush between a unit's first entry and its end that is not in the table, and none in the table that is not there.
fn assert_all_are_known(calls: &[Call]) {
    let unit = calls.iter().position(is_entry).unwrap();
    let mut found = BTreeMap::new();
    for call in &calls[unit..] {
        let name = FLUSHES
            .iter()
            .map(|flush| flush.0)
            .find(|name| is_of(call, name));
        let name = name.unwrap_or_else(|| panic!("{call:?} is in no table: {calls:?}"));
        *found.entry(name).or_insert(0) += 1;
    }
    let mut known = BTreeMap::new();
    for (name, ..) in FLUSHES {
        *known.entry(name).or_insert(0) += 1;
    }
    assert_eq!(found, known, "{calls:?}");
}

/// An entry's flush. A start flushes the journal whole.
fn is_entry(call: &Call) -> bool {
    call.name == "fdatasync" && is_of(call, JOURNAL)
}

fn is_of(call: &Call, file: &str) -> bool {
    call.path.ends_with(file)
}

/// A line whose programs run under a page of faults.
struct Governed {
    shop: Shop,
    line: Line,
    units: u32,
    runtime: Runtime,
}

/// A unit that is being made.
struct Unit {
    agent: Daemon,
    chips: PathBuf,
    _programmer: Programmer,
    entries: usize,
    devices: usize,
    register: Register,
    leaves: Vec<Body>,
}

impl Governed {
    fn open(line: Line) -> Self {
        let mut shop = governed_shop_for(line);
        // The first unit finds no directories yet; those that follow are like all others.
        let made = shop.make(line, 1, 1);
        assert_eq!(made.code, Some(0), "{}", made.said);
        Self {
            shop,
            line,
            units: 1,
            runtime: Runtime::new().unwrap(),
        }
    }

    fn faults(&self) -> &Faults {
        self.shop.factory.faults().unwrap()
    }

    fn begin(&mut self) -> Unit {
        self.units += 1;
        let (first, factory) = (self.units, &self.shop.factory);
        let chips = factory.path(&format!("chips-{first}"));
        let mut tray = Tray::new(&chips);
        tray.put(&factory.vendor, self.line.part, first, 1).unwrap();
        let programmer = tray.present(1).unwrap();
        let lot = self.shop.lot(self.line, u64::from(first), 1);
        let register = self.runtime.block_on(Register::open(factory)).unwrap();
        let station = &self.shop.station;
        Unit {
            entries: station.journal().lines().count(),
            devices: station.devices().unwrap().len(),
            agent: station.start(&lot, &programmer.sockets).unwrap(),
            _programmer: programmer,
            chips,
            register,
            leaves: Vec::new(),
        }
    }

    /// The flushes of a unit that nobody holds.
    fn watch(&mut self) -> Vec<Call> {
        self.faults()
            .arm(&flushes(&format!("stations/{STATION}/"), 1, Deed::Watch))
            .unwrap();
        let mut unit = self.begin();
        let status = unit.agent.wait().unwrap();
        let ended = Ended::of(status, &unit.agent);
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        let calls = self.faults().trace().unwrap();
        self.faults().disarm().unwrap();
        calls
    }

    fn hold(&mut self, calls: &[Call], (file, which, waits): Flush) {
        let place = format!("{file}, flush {which}");
        let of_start = calls.iter().take_while(|call| !is_entry(call));
        let of_start = of_start.filter(|call| is_of(call, file)).count();
        let number = u64::try_from(of_start + which).unwrap();
        let plan = flushes(&format!("{file}$"), number, Deed::Stall);
        self.faults().arm(&plan).unwrap();
        let mut unit = self.begin();
        until(&place, || match unit.agent.ended()? {
            Some(status) => panic!("{place} was never made: {status} {}", unit.agent.said()),
            None => Ok((self.faults().fired()? == 1).then_some(())),
        })
        .unwrap();
        let trace = self.faults().trace().unwrap();
        let held = trace.iter().find(|call| call.hit).unwrap();
        assert!(is_of(held, file), "{held:?}");
        pause(HELD);
        self.assert_waits(&mut unit, waits, &place);
        if file == JOURNAL {
            let entries = self.shop.station.journal().lines().count();
            assert_eq!(entries - unit.entries, which, "{place} is another entry's");
        }
        assert_eq!(self.faults().fired().unwrap(), 1, "{place}");
        self.faults().disarm().unwrap();
        let status = unit.agent.wait().unwrap();
        let ended = Ended::of(status, &unit.agent);
        assert_eq!(ended.code, Some(0), "{place}: {}", ended.said);
        for what in [Burnt, Bound, Written, Confirmed, Stored, Judged, Told] {
            assert!(self.has(&mut unit, what), "{place}: never {what:?}");
        }
        println!("{place}: {waits:?} waited for it");
    }

    /// Nothing from `waits` on has happened, and all before has, so that nothing is missed by looking too early.
    fn assert_waits(&self, unit: &mut Unit, waits: Happened, place: &str) {
        for what in [Burnt, Bound, Written, Confirmed, Stored, Judged, Told] {
            // The newest checkpoint is saved beside the unit's files: neither waits for the other.
            if what != Stored || waits != Judged {
                let has = self.has(unit, what);
                assert_eq!(has, what < waits, "{place} is held: {what:?}?");
            }
        }
    }

    fn has(&self, unit: &mut Unit, what: Happened) -> bool {
        match what {
            Burnt => unit.is_written(SLOT) || unit.is_written(LOCK),
            Bound => self.is_in_log(unit, |body| matches!(body, Body::Bind(_))),
            Written => unit.is_written(CERTIFICATE),
            Confirmed => self.is_in_log(unit, |body| matches!(body, Body::Confirm(_))),
            Stored => self.shop.station.devices().unwrap().len() > unit.devices,
            Judged => {
                let journal = self.shop.station.journal();
                let mut new = journal.lines().skip(unit.entries);
                new.any(|line| line.contains(r#""step":"closed""#))
            }
            Told => {
                let said = events(&unit.agent.said());
                let told = said.iter().any(|line| line["event"] == "unit");
                let moved = !files(&unit.chips, "position").unwrap().is_empty();
                assert_eq!(told, moved, "{said:?}");
                told
            }
        }
    }

    fn is_in_log(&self, unit: &mut Unit, is_it: fn(&Body) -> bool) -> bool {
        let news = self.runtime.block_on(unit.register.news()).unwrap();
        unit.leaves.extend(news.into_iter().map(|leaf| leaf.body));
        unit.leaves.iter().any(is_it)
    }

    fn made_once(&self) {
        made_once(&self.shop.factory, &self.shop.station, self.units).unwrap();
    }
}

impl Unit {
    /// Whether anything stands in a part of the chip's memory.
    fn is_written(&self, part: Range<usize>) -> bool {
        let chips = files(&self.chips, "chip").unwrap();
        let memory = fs::read(&chips[0]).unwrap();
        memory[part].iter().any(|byte| *byte != 0xFF)
    }
}

fn flushes(file: &str, first: u64, deed: Deed) -> Plan {
    Plan {
        kinds: vec![Kind::Sync],
        path: file.to_owned(),
        ..Plan::at(first, deed)
    }
}
