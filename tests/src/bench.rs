//! How fast the path is, beside floors that are measured in the same run on the same machine.
//!
//! A floor is the time of the parts that the promises demand and nobody can leave out, added up and divided by the
//! processors: signature checks, signatures, rows made durable, one call over mutual TLS. The ratio says how much of
//! that the whole path reaches.

mod client;
mod floors;
mod injection;
mod issuance;
mod load;
mod report;
mod verify;

pub use report::{Row, print_table};

use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use crate::hsm::{Hsm, Module};
use crate::process::succeed;
use client::Crew;
use floors::Floors;
use std::path::Path;
use std::process::Command;

/// Grant and lot that the units of a run belong to.
const GRANT: &str = "2026-ota-line-2-cam2";
const LOT: &str = "26W48-A";
/// First serial of the lot.
const FIRST_SERIAL: u64 = 26_480_001_000;
/// Largest number of certificates of one run.
const LIMIT: u32 = 900_000;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Units for each second that a level is expected to take; small for a look, larger for figures to publish.
    pub units: u32,
}

/// A factory with room for all units, in a process of its own: the module finds its tokens by the environment.
///
/// # Errors
/// [`Failure`] of a step, or of the run with all that it said.
pub fn run(hsm: Hsm, effort: Effort) -> Outcome<Vec<Row>> {
    let home = tempfile::tempdir()?;
    let module = Module::prepare(hsm, &home.path().join("hsm"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--inside", &home.path().to_string_lossy()]);
    command.args(["--hsm", hsm.name(), "--units", &effort.units.to_string()]);
    let told = succeed(module.tell(&mut command))?;
    serde_json::from_str(&told).map_err(Failure::new)
}

/// What [`run`] starts: all rows of one module.
///
/// # Errors
/// [`Failure`] of a step, or that a unit was refused.
pub fn run_inside(home: &Path, hsm: Hsm, effort: Effort) -> Outcome<Vec<Row>> {
    let mut factory = Factory::prepare(home, hsm)?;
    factory.policies.limit_grant(GRANT, LIMIT)?;
    factory.policies.size_lot(LOT, LIMIT)?;
    let lot = factory.policies.file("lots", LOT);
    factory
        .policies
        .edit(&lot, "to = \"26480001999\"", "to = \"26489999999\"")?;
    factory.hold_ceremony()?;
    factory.start_server()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // Channels are made inside the runtime that will drive them.
    let crew = runtime.block_on(async { Crew::enroll(&factory) })?;
    factory.load_grant(GRANT)?;
    factory.open_lot(GRANT, LOT)?;
    let floors = runtime.block_on(Floors::measure(&factory, &crew))?;
    let crew = crew.under(&factory)?;
    let mut rows = floors.rows(hsm);
    rows.extend(runtime.block_on(issuance::rows(&factory, &crew, &floors, effort))?);
    rows.extend(injection::rows(&factory, &floors)?);
    rows.extend(runtime.block_on(verify::rows(&factory, &crew))?);
    factory.stop_server()?;
    Ok(rows)
}
