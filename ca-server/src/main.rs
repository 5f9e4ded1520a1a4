//! `ca-server`: see `ca-server --help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ca_server::cli::main()
}
