//! The .proto files against buf's rules, where buf could be installed; a run without it says so.

#[path = "../../tests/shared/skipped.rs"]
#[cfg(test)]
mod skipped;

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

#[test]
fn the_proto_files_pass_buf_lint() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new(package.join("../target/checkers/bin/buf"))
        .arg("lint")
        .current_dir(package)
        .output();
    match ran {
        Ok(output) => {
            let findings = [output.stdout, output.stderr].concat();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&findings)
            );
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skipped::skipped("buf is not there; scripts/setup.sh installs it from PyPI");
        }
        Err(error) => panic!("buf did not start: {error}"),
    }
}
