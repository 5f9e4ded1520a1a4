//! How fast the path is on this machine, beside the floors of its parts.

use acceptance::bench::{Effort, Row, print_table, run, run_inside};
use acceptance::failure::{At as _, Outcome};
use acceptance::hsm::Hsm;
use clap::Parser;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures issuance, whole units, injection and verification, beside the floors of their parts.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// hsm-sim or softhsm2; both if none is named
    #[arg(long)]
    hsm: Option<Hsm>,
    /// Units at the levels of 64 and 256 in flight; the others take a part of it
    #[arg(long, default_value_t = 12_000)]
    units: u32,
    /// The rows as a JSON list go here
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    out: PathBuf,
    /// A directory to measure one module in, whose environment is set
    #[arg(long, hide = true, requires = "hsm")]
    inside: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => return ExitCode::SUCCESS,
        // With standard error closed the exit code is all that is left to say.
        Err(failure) => drop(writeln!(io::stderr().lock(), "NG  {failure}")),
    }
    ExitCode::FAILURE
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    let (effort, mut out) = (
        Effort {
            units: arguments.units,
        },
        io::stdout().lock(),
    );
    if let (Some(home), Some(hsm)) = (&arguments.inside, arguments.hsm) {
        let rows = run_inside(home, hsm, effort)?;
        return Ok(serde_json::to_writer(out, &rows).map_err(io::Error::from)?);
    }
    let modules = arguments
        .hsm
        .map_or(vec![Hsm::Simulator, Hsm::SoftHsm2], |hsm| vec![hsm]);
    let mut rows: Vec<Row> = Vec::new();
    for hsm in modules {
        writeln!(io::stderr().lock(), "measuring with {}", hsm.name())?;
        let more = run(hsm, effort)?;
        print_table(&more, &mut out)?;
        rows.extend(more);
    }
    let json = serde_json::to_vec_pretty(&rows).map_err(io::Error::from)?;
    fs::write(&arguments.out, json).at(&arguments.out)
}
