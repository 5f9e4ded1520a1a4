//! The demonstration: two lots made, killed in the middle, and everything about them checked by others.

mod inspection;
mod production;

use crate::factory::{Factory, copy_all};
use crate::failure::{At as _, Failure, Outcome};
use crate::hsm::Hsm;
use crate::patience::now;
use crate::station::{Station, files};
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Name of the station that makes both lots.
pub const STATION: &str = "ota-l2-prov-01";
/// Grant and lots of the cameras, whose chips make their own keys.
pub const CAMERAS: (&str, &str) = ("2026-ota-line-2-cam2", "26W48-A");
/// Grant and lots of the sensors, whose keys are injected.
pub const SENSORS: (&str, &str) = ("2026-ota-line-2-tmp1", "26W48-B");
/// A second lot of the sensors' grant, opened when the grant is used up.
pub const EXTRA_LOT: &str = "26W48-C";
/// Units that are certified in each lot.
pub const UNITS: u32 = 12;

/// What to do.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The HSM.
    pub hsm: Hsm,
    /// Where the results go.
    pub out: PathBuf,
}

/// Prints claims, and counts them.
pub struct Teller<'a> {
    out: &'a mut dyn Write,
    lines: usize,
}

impl fmt::Debug for Teller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller")
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Teller<'_> {
    /// Says something that was checked.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be printed.
    pub fn claim(&mut self, text: impl fmt::Display) -> Outcome<()> {
        self.lines = self.lines.saturating_add(1);
        writeln!(self.out, "ok  {text}").map_err(Failure::from)
    }
}

/// Lives the morning.
///
/// # Errors
/// [`Failure`]: the first claim that does not hold.
pub fn morning(orders: &Orders, out: &mut dyn Write) -> Outcome<()> {
    let begin = now();
    let is_empty = fs::read_dir(&orders.out).map_or(true, |mut entries| entries.next().is_none());
    crate::failure::require(
        is_empty,
        format_args!(
            "{} is not empty: name another directory",
            orders.out.display()
        ),
    )?;
    let mut teller = Teller { out, lines: 0 };
    // The factory lies in a short path of its own: a socket's name has at most 107 bytes.
    let home = tempfile::tempdir()?;
    let mut factory = open(home.path(), orders.hsm, &mut teller)?;
    let mut station = admit_station(&factory, &mut teller)?;
    production::make_both_lots(&mut factory, &mut station, &mut teller)?;
    let results = gather(&factory, &station, &orders.out)?;
    inspection::inspect(&results, &factory, &station, &mut teller)?;
    factory.stop_server()?;
    let lines = teller.lines;
    teller.claim(format_args!(
        "{lines} claims held in {:.1} s; results: {}",
        begin.elapsed().as_secs_f64(),
        orders.out.display()
    ))
}

fn open(home: &Path, hsm: Hsm, teller: &mut Teller<'_>) -> Outcome<Factory> {
    let mut factory = Factory::prepare(home, hsm)?;
    for (grant, lot) in [CAMERAS, SENSORS] {
        factory.policies.limit_grant(grant, UNITS)?;
        factory.policies.size_lot(lot, UNITS)?;
    }
    add_extra_lot(&factory)?;
    let transcript = factory.hold_ceremony()?;
    let name = match hsm {
        Hsm::Simulator => "hsm-sim",
        Hsm::SoftHsm2 => "SoftHSM2",
    };
    let tokens = files(&factory.path("pins/offline"), "so-pin")?.len();
    teller.claim(format_args!(
        "ceremony held in {name}: {tokens} tokens, transcript of {} lines",
        transcript.lines().count()
    ))?;
    factory.start_server()?;
    teller.claim(format_args!(
        "server answers on {} and on its local socket",
        factory.address()
    ))?;
    Ok(factory)
}

/// The same grant, one more lot, with serials of its own.
fn add_extra_lot(factory: &Factory) -> Outcome<()> {
    let (first, extra) = (
        factory.policies.file("lots", SENSORS.1),
        factory.policies.file("lots", EXTRA_LOT),
    );
    let text = fs::read_to_string(&first).at(&first)?;
    let text = text
        .replace(SENSORS.1, EXTRA_LOT)
        .replace("26480002", "26480003")
        .replace("WO-118821", "WO-118822");
    fs::write(&extra, text).at(&extra)
}

fn admit_station(factory: &Factory, teller: &mut Teller<'_>) -> Outcome<Station> {
    let mut station = Station::enroll(factory, STATION)?;
    teller.claim(format_args!(
        "{STATION} enrolled with 2 of 3 approvals over its three keys"
    ))?;
    for (grant, lot) in [CAMERAS, SENSORS] {
        factory.load_grant(grant)?;
        factory.open_lot(grant, lot)?;
        teller.claim(format_args!(
            "grant {grant} in force with 2 of 3 approvals: {UNITS} certificates; lot {lot} open"
        ))?;
    }
    factory.open_lot(SENSORS.0, EXTRA_LOT)?;
    station.take_grant(factory, CAMERAS.0, &[CAMERAS.1])?;
    station.take_grant(factory, SENSORS.0, &[SENSORS.1, EXTRA_LOT])?;
    Ok(station)
}

/// Everything that a relying party needs, and the records, in one directory.
fn gather(factory: &Factory, station: &Station, out: &Path) -> Outcome<PathBuf> {
    fs::create_dir_all(out).at(out)?;
    factory.publish_trust(out, &[CAMERAS.0, SENSORS.0])?;
    factory.settle()?;
    copy_all(&factory.log_dir(), &out.join("log"))?;
    copy_all(&station.out(), out)?;
    let lots = station.lot_file("lot.csv", &[])?;
    let lots = lots.parent().unwrap_or(out);
    let text = [CAMERAS.1, SENSORS.1]
        .iter()
        .map(|lot| fs::read_to_string(lots.join(format!("{lot}.csv"))))
        .collect::<Result<String, _>>()?;
    let csv = out.join("lot.csv");
    fs::write(&csv, text).at(&csv)?;
    Ok(out.to_owned())
}
