//! The log's key of all worlds. It was made once, in a token of hsm-sim, as any log's key is: what comes into a token from
//! outside is no key of a log. The token's file is kept beside the tests, so that the same seed gives the same root in every
//! process and on every machine. `simulate --new-log-key` makes it anew; then every root is another.

use super::ground::ORIGIN;
use crate::failure::{At as _, Failure, Outcome};
use ca_server::ledger::LogKey;
use keyvault::{KeySpec, KeyUse, Module, Pin};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const FILE: &[u8] = include_bytes!("../../vectors/simulation/log-TEST-KEY.token");
/// Where hsm-sim looks for its first token, below its directory.
const PLACE: &str = "slot-0.token";
/// Label of the token and of the key.
const LABEL: &str = "log";
/// The PIN of a test key is no secret.
const PIN: &[u8] = b"log-pin-0815";

/// Lays the token into a directory of the module, before the module is loaded.
///
/// # Errors
/// [`Failure`] names the file.
pub fn lay_token(tokens: &Path) -> Outcome<()> {
    write_own(&tokens.join(PLACE), FILE)
}

/// Makes the token of another key, in a directory of the module that is empty, and keeps its file.
///
/// # Errors
/// [`Failure`] of the module or a file.
pub fn make_token(tokens: &Path, module: &Path, to: &Path) -> Outcome<()> {
    let pin = pin(tokens)?;
    let module = Module::load(module).map_err(Failure::new)?;
    module.init_token(LABEL, &pin, &pin).map_err(Failure::new)?;
    let token = module.open(LABEL, pin).map_err(Failure::new)?;
    let spec = KeySpec::new(LABEL, KeyUse::Log).map_err(Failure::new)?;
    token.generate(&spec).map_err(Failure::new)?;
    fs::copy(tokens.join(PLACE), to).at(to).map(drop)
}

/// The key in the token that was laid.
pub(super) fn log_key(home: &Path, module: &Path) -> Outcome<LogKey> {
    let pin = pin(home)?;
    let module = Module::load(module).map_err(Failure::new)?;
    let token = module.open(LABEL, pin).map_err(Failure::new)?;
    let key = token.key(LABEL, KeyUse::Log).map_err(Failure::new)?;
    LogKey::new(ORIGIN, key).map_err(Failure::new)
}

/// A PIN comes from a file that only its owner reads.
fn pin(home: &Path) -> Outcome<Pin> {
    let path = home.join("log.pin");
    write_own(&path, PIN)?;
    Pin::from_file(&path).map_err(Failure::new)
}

fn write_own(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).at(path)?;
    file.write_all(bytes).at(path)
}
