//! The ASN.1 module says what the program writes, in the eyes of a compiler that shares no code with it.

use crate::skipped::skipped;
use std::process::Command;

/// Exit code of the script when its compiler is not to be had.
const SKIPPED: i32 = 77;

#[test]
fn the_published_module_decodes_every_golden() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/asn1_check.py");
    let environment = concat!(env!("CARGO_TARGET_TMPDIR"), "/asn1-venv");
    let Ok(output) = Command::new("python3").args([script, environment]).output() else {
        return skipped(
            "the ASN.1 module was NOT compared with the goldens: no python3 on this machine",
        );
    };
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(SKIPPED) => skipped(&format!(
            "the ASN.1 module was NOT compared with the goldens: {said}"
        )),
        code => {
            assert_eq!(code, Some(0), "{said}");
        }
    }
}
