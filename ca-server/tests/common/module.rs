//! The PKCS#11 module of this run: `SoftHSM2` if `KOSEKI_HSM` is `softhsm2`, otherwise the simulator.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the module is.
pub(crate) fn path() -> PathBuf {
    match std::env::var_os("KOSEKI_HSM") {
        Some(name) if name == "softhsm2" => "/usr/lib/softhsm/libsofthsm2.so".into(),
        Some(name) if name != "hsm-sim" => panic!("KOSEKI_HSM is hsm-sim or softhsm2"),
        Some(_) | None => simulator(),
    }
}

fn simulator() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_ca-server"));
    let path = program.with_file_name("libhsm_sim.so");
    assert!(
        path.exists(),
        "run `make build`: {} is not there",
        path.display()
    );
    path
}

/// Makes a directory for tokens below `room`.
pub(crate) fn prepare(room: &Path) {
    let tokens = room.join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let softhsm = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(room.join("softhsm2.conf"), softhsm).unwrap();
}

/// Tells a program where the tokens of [`prepare`] are.
pub(crate) fn tell<'a>(command: &'a mut Command, room: &Path) -> &'a mut Command {
    command
        .env("SOFTHSM2_CONF", room.join("softhsm2.conf"))
        .env("HSM_SIM_TOKENS", room.join("tokens"))
}
