//! The program `line-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    line_agent::cli::main()
}
