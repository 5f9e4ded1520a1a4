//! `koseki-verify`: the verdict over a device and the audit of a log, at the command line. No network.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
