//! One factory morning with real processes. Every line that is printed is a claim that was checked.

use acceptance::demo::{Orders, morning};
use acceptance::hsm::Hsm;
use clap::Parser;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Lives one factory morning and checks every claim about it.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// hsm-sim or softhsm2
    #[arg(long, default_value = "hsm-sim")]
    hsm: Hsm,
    /// What is left behind goes here
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let orders = Orders {
        hsm: arguments.hsm,
        out: arguments.out,
    };
    let told = match morning(&orders, &mut io::stdout().lock()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => writeln!(io::stderr().lock(), "NG  {failure}"),
    };
    // With standard error closed the exit code is all that is left to say.
    drop(told);
    ExitCode::FAILURE
}
