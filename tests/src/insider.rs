//! The program `insider` with the factory's own infrastructure token.

use crate::factory::Factory;
use crate::failure::{At as _, Failure, Outcome};
use crate::process::{program, succeed};
use crate::soft::SoftKey;
use base64ct::{Base64, Encoding as _};
use identity::{ChipUid, Id};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const DAY: u64 = 86_400;

/// A TLS certificate that no program of the CA would sign.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// `DNS:name` or `URI:name`.
    pub name: &'a str,
    /// For a server, not a client.
    pub server: bool,
    /// First and last day of validity, counted from today.
    pub days: (i64, i64),
}

/// Has a certificate signed under the infrastructure root; gives its file.
///
/// # Errors
/// [`Failure`] of `insider`.
pub fn certify(factory: &Factory, key: &SoftKey, order: &Order<'_>) -> Outcome<PathBuf> {
    let home = factory.path("insider");
    fs::create_dir_all(&home).at(&home)?;
    let name = key.public()?.spki_hash().to_string();
    let (public, out) = (home.join(format!("{name}.pub")), home.join(&name));
    let spki = Base64::encode_string(&key.public()?.spki());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n");
    fs::write(&public, pem).at(&public)?;
    let mut command = insider(factory, "certify")?;
    command
        .arg("--root")
        .arg(factory.path("ca/ceremony/infrastructure.pem"));
    command.args(["--root-key", "infrastructure-root-r1", "--name", order.name]);
    if order.server {
        command.arg("--server");
    }
    let (first, last) = order.days;
    command.arg("--not-before").arg(from_today(first)?);
    command.arg("--not-after").arg(from_today(last)?);
    succeed(command.arg("--key").arg(&public).arg("--out").arg(&out))?;
    Ok(out)
}

/// The challenge that the CA made for a chip so that it expired at this moment, in milliseconds since 1970.
///
/// # Errors
/// [`Failure`] of `insider`.
pub fn challenge(factory: &Factory, station: &Id, uid: &ChipUid, expires: u64) -> Outcome<Vec<u8>> {
    let mut command = insider(factory, "challenge")?;
    command.args(["--station", station.as_str(), "--uid", &uid.to_string()]);
    let told = succeed(command.arg("--expires").arg(expires.to_string()))?;
    let hex = told.trim().as_bytes();
    hex.chunks(2)
        .map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).map_err(Failure::new))
        .collect()
}

fn insider(factory: &Factory, deed: &str) -> Outcome<Command> {
    let token = "koseki-infrastructure";
    let mut command = Command::new(program("insider")?);
    command.arg("--module").arg(factory.module().path());
    command.args(["--token", token]).arg("--pin-file");
    command.arg(factory.path("pins").join(format!("{token}.pin")));
    factory.module().tell(command.arg(deed));
    Ok(command)
}

fn from_today(days: i64) -> Outcome<String> {
    let now = jiff::Timestamp::now().as_second();
    let moment = i64::try_from(DAY).map_err(Failure::new)? * days + now;
    Ok(moment.to_string())
}
