//! What Cargo knows of the workspace and of everything it is built from.

use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Root of the project.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `cargo metadata`, with or without the packages of others.
///
/// # Errors
/// Cargo cannot be run, or refuses.
pub fn cargo_metadata(with_others: bool) -> io::Result<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    // Packages for other systems are not on this machine.
    match with_others {
        true => cargo.arg("--filter-platform").arg(host()?),
        false => cargo.arg("--no-deps"),
    };
    let output = cargo.current_dir(root()).output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(why));
    }
    serde_json::from_slice(&output.stdout).map_err(io::Error::other)
}

/// The packages in it.
#[must_use]
pub fn packages(metadata: &Value) -> &[Value] {
    metadata
        .get("packages")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A text of a package; empty if it has none.
#[must_use]
pub fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// This machine's target triple.
fn host() -> io::Result<String> {
    let rustc = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8_lossy(&rustc.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other("rustc does not name its host"))
}
