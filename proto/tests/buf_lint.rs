//! The .proto files against buf's rules, where buf is installed; a run without it says so.

use std::io::ErrorKind;
use std::process::Command;

#[test]
fn the_proto_files_pass_buf_lint() {
    let ran = Command::new("buf")
        .arg("lint")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
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
            println!("not checked: buf is not installed (npm install @bufbuild/buf)");
        }
        Err(error) => panic!("buf did not start: {error}"),
    }
}
