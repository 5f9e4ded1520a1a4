//! How fast the path is on this machine, beside the floors of its parts.

use acceptance::bench::{
    Row, Selection, grow, grow_inside, overload, overload_inside, plot, print_overload,
    print_table, run, run_inside,
};
use acceptance::failure::{At as _, Outcome, require};
use acceptance::hsm::Hsm;
use clap::Parser;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Measures issuance, whole units, injection, the station's own time and verification, beside the floors of their parts.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// hsm-sim or softhsm2; both if none is named
    #[arg(long)]
    hsm: Option<Hsm>,
    /// Units at the levels of 64 and 256 in flight; the others take a part of it
    #[arg(long, default_value_t = 12_000)]
    units: u32,
    /// Only rows of this name: issuance, issuance-gang, issuance-paced, unit, injection, station or verify; floors are always there
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only rows with so many in flight
    #[arg(long, value_name = "N")]
    in_flight: Vec<u32>,
    /// Each flush takes so many milliseconds longer than on this machine's disk, those of the floors too
    #[arg(long, value_name = "MS", default_value_t = 0, conflicts_with_all = ["grow_to", "overload"])]
    flush_ms: u64,
    /// Instead: the rate, memory and start of a server with so many devices; in rising order, if several are named
    #[arg(long, value_name = "DEVICES")]
    grow_to: Vec<u64>,
    /// Instead: twice as much as the server can do, for ten seconds; --units are for measuring what it can do. Ends with an error
    /// if less than 90 % of the peak is done meanwhile; the rows are written all the same
    #[arg(long)]
    overload: bool,
    /// The rows as a JSON list go here
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    out: PathBuf,
    /// Measures nothing: draws the rows of --out as SVG into this directory, and copies them beside it
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// A directory to measure one module in, whose environment is set
    #[arg(long, hide = true, requires = "hsm")]
    inside: Option<PathBuf>,
}

fn main() -> ExitCode {
    match work(&Arguments::parse()) {
        Ok(()) => return ExitCode::SUCCESS,
        // With standard error closed the exit code is all that is left to say.
        Err(failure) => drop(writeln!(io::stderr().lock(), "NG  {failure}")),
    }
    ExitCode::FAILURE
}

fn work(arguments: &Arguments) -> Outcome<()> {
    if let Some(directory) = &arguments.plot {
        return draw(arguments, directory);
    }
    let selection = Selection {
        units: arguments.units,
        only: arguments.only.clone(),
        levels: arguments.in_flight.clone(),
        flush: Duration::from_millis(arguments.flush_ms),
    };
    let sizes = &arguments.grow_to;
    if arguments.overload {
        return offer_too_much(arguments);
    }
    if let (Some(home), Some(hsm)) = (&arguments.inside, arguments.hsm) {
        let rows = if sizes.is_empty() {
            run_inside(home, hsm, &selection)?
        } else {
            grow_inside(home, hsm, sizes, arguments.units)?
        };
        let out = io::stdout().lock();
        return Ok(serde_json::to_writer(out, &rows).map_err(io::Error::from)?);
    }
    let mut out = io::stdout().lock();
    let modules = match (arguments.hsm, sizes.is_empty()) {
        (Some(hsm), _) => vec![hsm],
        (None, true) => vec![Hsm::Simulator, Hsm::SoftHsm2],
        (None, false) => vec![Hsm::SoftHsm2],
    };
    let mut rows: Vec<Row> = Vec::new();
    for hsm in modules {
        writeln!(io::stderr().lock(), "measuring with {}", hsm.name())?;
        let more = if sizes.is_empty() {
            run(hsm, &selection)?
        } else {
            grow(hsm, sizes, arguments.units)?
        };
        print_table(&more, &mut out)?;
        rows.extend(more);
    }
    let json = serde_json::to_vec_pretty(&rows).map_err(io::Error::from)?;
    fs::write(&arguments.out, json).at(&arguments.out)
}

fn offer_too_much(arguments: &Arguments) -> Outcome<()> {
    let mut out = io::stdout().lock();
    if let (Some(home), Some(hsm)) = (&arguments.inside, arguments.hsm) {
        let measured = overload_inside(home, hsm, arguments.units)?;
        return Ok(serde_json::to_writer(out, &measured).map_err(io::Error::from)?);
    }
    let modules = arguments
        .hsm
        .map_or_else(|| vec![Hsm::Simulator, Hsm::SoftHsm2], |hsm| vec![hsm]);
    let mut all = Vec::new();
    for hsm in modules {
        let measured = overload(hsm, arguments.units)?;
        print_overload(&measured, &mut out)?;
        all.push(measured);
    }
    let json = serde_json::to_vec_pretty(&all).map_err(io::Error::from)?;
    fs::write(&arguments.out, json).at(&arguments.out)?;
    let short = all.iter().filter(|it| !it.is_enough());
    let short: Vec<_> = short.map(|it| it.hsm.as_str()).collect();
    require(
        short.is_empty(),
        format_args!("short of the goodput that is asked: {}", short.join(", ")),
    )
}

fn draw(arguments: &Arguments, directory: &std::path::Path) -> Outcome<()> {
    let json = fs::read(&arguments.out).at(&arguments.out)?;
    let rows: Vec<Row> = serde_json::from_slice(&json).map_err(io::Error::from)?;
    for (name, bytes) in [
        ("bench.json", json),
        ("bench.svg", plot(&rows).into_bytes()),
    ] {
        let path = directory.join(name);
        fs::write(&path, bytes).at(&path)?;
    }
    Ok(())
}
