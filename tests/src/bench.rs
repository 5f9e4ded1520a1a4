//! How fast the path is, beside floors that are measured in the same run on the same machine.
//!
//! A floor is the time of the parts that the promises demand and nobody can leave out, added up: signature checks and
//! signatures of all processors together, rows made durable, one call over mutual TLS. The ratio says how much of that the
//! whole path reaches. Clients run on the same processors, and every promise is kept while it is measured. A call that is
//! refused or fails ends the run.

mod client;
mod floors;
mod growth;
mod injection;
mod issuance;
mod load;
mod overload;
mod plot;
mod report;
mod slow_disk;
mod station;
mod verify;

pub use growth::{grow, grow_inside};
pub use overload::{Overload, overload, overload_inside, print_overload};
pub use plot::plot;
pub use report::{Row, print_table};

use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use crate::hsm::{Hsm, Module};
use crate::process::succeed;
use client::Crew;
use floors::Floors;
use issuance::Course;
use serde::de::DeserializeOwned;
use slow_disk::SlowDisk;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Grant and lot that the units of a run belong to.
const GRANT: &str = "2026-ota-line-2-cam2";
const LOT: &str = "26W48-A";
/// First serial of the lot.
const FIRST_SERIAL: u64 = 26_480_001_000;
/// What rows are called, in their order.
const NAMES: [&str; 7] = [
    "issuance",
    "issuance-gang",
    "issuance-paced",
    "unit",
    "injection",
    "station",
    "verify",
];
/// Largest number of certificates of one run.
const LIMIT: u32 = 5_000_000;

/// What is measured, and how much of it.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Units at the levels of 64 and 256 in flight; the others take a part of it.
    pub units: u32,
    /// Names of rows; all if there is none.
    pub only: Vec<String>,
    /// Numbers in flight; all if there is none.
    pub levels: Vec<u32>,
    /// How much longer each flush takes than on this machine's disk.
    pub flush: Duration,
}

impl Selection {
    /// Whether a row is measured.
    fn takes(&self, name: &str, level: u32) -> bool {
        self.names(name) && (self.levels.is_empty() || self.levels.contains(&level))
    }

    fn names(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--units".to_owned(), self.units.to_string()];
        for name in &self.only {
            arguments.extend(["--only".to_owned(), name.clone()]);
        }
        for level in &self.levels {
            arguments.extend(["--in-flight".to_owned(), level.to_string()]);
        }
        arguments
    }
}

/// Each name in a factory of its own, so that no row pays for the devices of another, and in a process of its own: the
/// module finds its tokens by the environment. Floors are measured for each; the first are shown.
///
/// # Errors
/// [`Failure`] of a step, or of the run with all that it said.
pub fn run(hsm: Hsm, selection: &Selection) -> Outcome<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for name in NAMES.into_iter().filter(|name| selection.names(name)) {
        let alone = Selection {
            only: vec![name.to_owned()],
            ..selection.clone()
        };
        let measured: Vec<Row> = in_its_own_process(hsm, alone.flush, &alone.arguments())?;
        let is_first = rows.is_empty();
        rows.extend(
            measured
                .into_iter()
                .filter(|row| is_first || !row.is_floor()),
        );
    }
    Ok(rows)
}

/// Runs this program again with these arguments, in a directory and with a module of its own, on a disk whose flushes
/// take so much longer.
fn in_its_own_process<T: DeserializeOwned>(
    hsm: Hsm,
    flush: Duration,
    arguments: &[String],
) -> Outcome<T> {
    let home = tempfile::tempdir()?;
    let module = Module::prepare(hsm, &home.path().join("hsm"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--inside", &home.path().to_string_lossy()]);
    command.args(["--hsm", hsm.name()]).args(arguments);
    if !flush.is_zero() {
        SlowDisk::prepare(home.path(), flush)?.tell(&mut command);
    }
    let told = succeed(module.tell(&mut command))?;
    serde_json::from_str(&told).map_err(Failure::new)
}

/// A factory whose lot has room for all units that are ever measured, with its server running.
fn prepare(home: &Path, hsm: Hsm) -> Outcome<Factory> {
    let mut factory = Factory::prepare(home, hsm)?;
    factory.policies.limit_grant(GRANT, LIMIT)?;
    factory.policies.size_lot(LOT, LIMIT)?;
    let lot = factory.policies.file("lots", LOT);
    factory
        .policies
        .edit(&lot, "to = \"26480001999\"", "to = \"26489999999\"")?;
    factory.hold_ceremony()?;
    factory.start_server()?;
    Ok(factory)
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.enable_all().build()?)
}

/// What [`run`] starts: all rows of one module.
///
/// # Errors
/// [`Failure`] of a step, or that a unit was refused.
pub fn run_inside(home: &Path, hsm: Hsm, selection: &Selection) -> Outcome<Vec<Row>> {
    let (mut factory, runtime) = (prepare(home, hsm)?, runtime()?);
    // Channels are made inside the runtime that will drive them.
    let crew = runtime.block_on(async { Crew::enroll(&factory) })?;
    let station = station::enroll(&factory)?;
    factory.load_grant(GRANT)?;
    factory.open_lot(GRANT, LOT)?;
    let floors = runtime.block_on(Floors::measure(&factory, &crew))?;
    let crew = crew.under(&factory)?;
    let mut rows = floors.rows(hsm);
    let course = Course {
        factory: &factory,
        crew: &crew,
        floors: &floors,
        selection,
    };
    rows.extend(runtime.block_on(course.rows())?);
    rows.extend(injection::rows(&factory, &floors, selection)?);
    rows.extend(station::rows(&factory, station, &floors, selection)?);
    if selection.takes("verify", 1) {
        rows.extend(runtime.block_on(verify::rows(&factory, &crew))?);
    }
    factory.stop_server()?;
    Ok(rows)
}
