//! The settings: one TOML file, unknown keys refused. `line-agent.example.toml` explains every key.
//!
//! Relative paths are taken from the directory of the file.

use crate::agent::Pinned;
use crate::files::{FileError, read_bounded};
use identity::Id;
use keyvault::{Pin, VaultError};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Variable in which systemd names the directory of the service's credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Longest settings file in bytes.
pub const MAX_FILE: usize = 256 * 1024;
/// Most sockets of one station.
pub const MAX_SOCKETS: usize = 64;

/// The settings of a station.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file that they stand in.
    #[serde(skip)]
    pub file: PathBuf,
    /// Language of texts for the operator.
    #[serde(default)]
    pub language: Language,
    /// Whether a unit's turn comes only when its serial was scanned.
    #[serde(default)]
    pub scan: bool,
    /// Who the station is.
    pub station: Station,
    /// Where it keeps and puts files.
    pub paths: Paths,
    /// The CA.
    pub ca: Ca,
    /// The line HSM.
    pub hsm: Hsm,
    /// What is pinned of this program.
    #[serde(default)]
    pub agent: Pinned,
    /// Most units with a key that may fail under one serial; then it is to be scrapped.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Where metrics are read; nowhere, if nothing is said.
    #[serde(default)]
    pub metrics: Metrics,
    /// What `enroll` asks for.
    pub enroll: Option<Enroll>,
    /// The programmer's sockets.
    #[serde(rename = "socket")]
    pub sockets: Vec<Socket>,
    /// Grants to work under.
    #[serde(rename = "grant", default)]
    pub grants: Vec<Grant>,
}

const fn default_attempts() -> u32 {
    3
}

/// Where metrics are read.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// An address of this machine alone, for plain HTTP.
    pub listen: Option<SocketAddr>,
}

/// Language of texts for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Japanese.
    #[default]
    Ja,
    /// English.
    En,
}

/// Who the station is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Name of the station, as enrolled.
    #[serde(deserialize_with = "text")]
    pub id: Id,
    /// Site code of its factory.
    #[serde(deserialize_with = "text")]
    pub site: Id,
    /// Line it stands on.
    #[serde(deserialize_with = "text")]
    pub line: Id,
}

/// Where the station keeps and puts files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Journal and newest checkpoint; never shared by two agents.
    pub state: PathBuf,
    /// `devices/` and `records/`.
    pub out: PathBuf,
    /// What certificates and proofs are checked against; see `koseki_verify::Trust::load`.
    pub trust: PathBuf,
}

/// The CA.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ca {
    /// Host and port.
    pub address: String,
    /// Name in the server's certificate.
    pub server_name: String,
    /// Infrastructure root, PEM: the only root that the server's certificate is checked against.
    pub infrastructure_root: PathBuf,
    /// The station's TLS certificate with its chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// Seconds that one call may take.
    #[serde(default = "default_deadline")]
    pub deadline_seconds: u16,
    /// Seconds after which a unit is put on hold while the CA does not answer.
    #[serde(default = "default_give_up")]
    pub give_up_seconds: u16,
    /// Seconds that a unit then waits in its socket for the CA, and goes on by itself; 0 ends the socket's run at once.
    #[serde(default = "default_hold")]
    pub hold_seconds: u32,
}

/// The line HSM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsm {
    /// PKCS#11 module.
    pub module: PathBuf,
    /// Label of the station's token.
    pub token: String,
    /// File with the user PIN, readable by its owner only.
    pub pin_file: Option<PathBuf>,
    /// systemd credential with the user PIN, in place of `pin_file`.
    pub pin_credential: Option<String>,
    /// File with the security officer's PIN; only `enroll` needs it, and only to make the token.
    pub so_pin_file: Option<PathBuf>,
    /// Label of the TLS key.
    #[serde(default = "default_tls_key")]
    pub tls_key: String,
    /// Label of the key that signs requests.
    #[serde(default = "default_request_key")]
    pub request_key: String,
    /// Label of the key that signs injection receipts.
    #[serde(default = "default_receipt_key")]
    pub receipt_key: String,
}

impl Hsm {
    /// Reads the user PIN.
    ///
    /// # Errors
    /// [`VaultError::Pin`] if it cannot be read or others may read it.
    pub fn pin(&self) -> Result<Pin, VaultError> {
        match (&self.pin_file, &self.pin_credential) {
            (Some(file), _) => Pin::from_file(file),
            (None, name) => {
                let directory = std::env::var_os(CREDENTIALS).unwrap_or_default();
                Pin::from_credential(Path::new(&directory), name.as_deref().unwrap_or_default())
            }
        }
    }
}

/// What `enroll` asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    /// URI that the TLS certificate shall carry, for instance `spiffe://maker.example/site/ota/line-2/prov-01`.
    pub identity: String,
    /// Days of validity to ask for.
    pub days: u16,
}

/// One socket of the programmer.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "SocketShape")]
pub struct Socket {
    /// Name of the socket: stands in journal and records, and on the socket.
    pub name: Id,
    /// Line to it.
    pub line: Line,
}

/// Line to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Host and port of a terminal server or simulator.
    Tcp(String),
    /// A serial device or pseudo-terminal.
    Serial(PathBuf),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Serial(device) => write!(f, "{}", device.display()),
        }
    }
}

/// A grant to work under, as the CA's operator hands it out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The grant document, DER.
    pub file: PathBuf,
    /// The product's profile document, DER.
    pub profile: PathBuf,
    /// Lots that may be made under it.
    #[serde(deserialize_with = "texts")]
    pub lots: Vec<Id>,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not TOML, an unknown or missing key, or a value out of form; says where.
    #[error("{}: {reason}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, column and fault.
        reason: String,
    },
    /// Well-formed, but against a rule.
    #[error("{}: {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// The rule.
        rule: &'static str,
    },
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the place.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read_bounded(path, MAX_FILE)?;
        let text = String::from_utf8(bytes).map_err(|error| FileError::content(path, error))?;
        let refuse = |error: toml::de::Error| ConfigError::Toml {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut config: Self = toml::from_str(&text).map_err(refuse)?;
        config.check().map_err(|rule| ConfigError::Rule {
            path: path.to_owned(),
            rule,
        })?;
        let whole = std::path::absolute(path).map_err(FileError::io(path))?;
        config.resolve(whole.parent().unwrap_or(&whole));
        config.file = whole;
        Ok(config)
    }

    fn check(&self) -> Result<(), &'static str> {
        let rule = |holds: bool, rule: &'static str| if holds { Ok(()) } else { Err(rule) };
        let distinct = |(at, socket): (usize, &Socket)| {
            self.sockets
                .iter()
                .take(at)
                .all(|other| other.name != socket.name && other.line != socket.line)
        };
        rule(
            (1..=MAX_SOCKETS).contains(&self.sockets.len()),
            "there are 1 to 64 sockets",
        )?;
        rule(
            self.sockets.iter().enumerate().all(distinct),
            "sockets differ in name and line",
        )?;
        rule(
            self.hsm.pin_file.is_some() != self.hsm.pin_credential.is_some(),
            "hsm has either pin_file or pin_credential",
        )?;
        rule(
            has_port(&self.ca.address),
            "ca.address is host and port, such as ca.example:8443",
        )?;
        rule(self.attempts > 0, "attempts is at least 1")?;
        rule(
            self.ca.deadline_seconds > 0,
            "ca.deadline_seconds is at least 1",
        )?;
        rule(
            self.metrics.listen.is_none_or(|at| at.ip().is_loopback()),
            "metrics.listen is an address of this machine alone, such as 127.0.0.1:9465",
        )?;
        rule(
            self.enroll.as_ref().is_none_or(|enroll| enroll.days > 0),
            "enroll.days is at least 1",
        )
    }

    fn resolve(&mut self, base: &Path) {
        let grants = self
            .grants
            .iter_mut()
            .flat_map(|grant| [&mut grant.file, &mut grant.profile]);
        let sockets = self
            .sockets
            .iter_mut()
            .filter_map(|socket| match &mut socket.line {
                Line::Serial(path) => Some(path),
                Line::Tcp(_) => None,
            });
        let Paths { state, out, trust } = &mut self.paths;
        let ca = [&mut self.ca.infrastructure_root, &mut self.ca.certificate];
        let hsm = [&mut self.hsm.module]
            .into_iter()
            .chain(self.hsm.pin_file.as_mut())
            .chain(self.hsm.so_pin_file.as_mut());
        for path in [state, out, trust]
            .into_iter()
            .chain(ca)
            .chain(hsm)
            .chain(grants)
            .chain(sockets)
        {
            *path = base.join(&*path);
        }
    }
}

impl Ca {
    /// How long one call may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.into())
    }

    /// How long a call is repeated before its unit is on hold.
    #[must_use]
    pub fn give_up(&self) -> Duration {
        Duration::from_secs(self.give_up_seconds.into())
    }

    /// How long a unit on hold waits for the CA.
    #[must_use]
    pub fn hold(&self) -> Duration {
        Duration::from_secs(self.hold_seconds.into())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SocketShape {
    #[serde(deserialize_with = "text")]
    name: Id,
    tcp: Option<String>,
    serial: Option<PathBuf>,
}

impl TryFrom<SocketShape> for Socket {
    type Error = &'static str;

    fn try_from(shape: SocketShape) -> Result<Self, Self::Error> {
        let line = match (shape.tcp, shape.serial) {
            (Some(address), None) if has_port(&address) => Line::Tcp(address),
            (Some(_), None) => return Err("`tcp` is host and port, such as 127.0.0.1:7401"),
            (None, Some(path)) => Line::Serial(path),
            (Some(_), Some(_)) | (None, None) => {
                return Err("a socket has either `tcp` or `serial`");
            }
        };
        Ok(Self {
            name: shape.name,
            line,
        })
    }
}

/// Whether this is host and port; an IPv6 address stands in brackets.
fn has_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_host = !host.is_empty() && (is_bracketed || !host.contains(':'));
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    Id::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Id>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names
        .iter()
        .map(|name| Id::new(name).map_err(serde::de::Error::custom))
        .collect()
}

const fn default_deadline() -> u16 {
    10
}

const fn default_give_up() -> u16 {
    10
}

const fn default_hold() -> u32 {
    4 * 60 * 60
}

fn default_tls_key() -> String {
    "station-tls".to_owned()
}

fn default_request_key() -> String {
    "station-request".to_owned()
}

fn default_receipt_key() -> String {
    "station-receipt".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../line-agent.example.toml");

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("line-agent.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_complete_and_paths_are_taken_from_its_directory() {
        let config = load(EXAMPLE).unwrap();
        assert_eq!(config.station.id.as_str(), "ota-l2-prov-01");
        assert_eq!(config.sockets.len(), 4);
        assert_eq!(
            config.sockets[0].line,
            Line::Tcp("127.0.0.1:7401".to_owned())
        );
        assert_eq!(config.sockets[3].line, Line::Serial("/dev/ttyUSB3".into()));
        assert!(config.grants[0].file.is_absolute());
        assert!(config.enroll.is_some());
    }

    #[test]
    fn unknown_missing_and_wrong_keys_are_named() {
        let unknown = load(&EXAMPLE.replace("language =", "colour = 1\nlanguage =")).unwrap_err();
        assert!(unknown.contains("colour"), "{unknown}");
        let missing = load(&EXAMPLE.replace("server_name", "# server_name")).unwrap_err();
        assert!(missing.contains("server_name"), "{missing}");
        let wrong = load(&EXAMPLE.replace("\"ota-l2-prov-01\"", "\"ota l2\"")).unwrap_err();
        assert!(wrong.contains("not allowed"), "{wrong}");
        let twice = load(&EXAMPLE.replace("name = \"2\"", "name = \"1\"")).unwrap_err();
        assert!(twice.contains("sockets differ"), "{twice}");
        let both = load(&EXAMPLE.replace(
            "tcp = \"127.0.0.1:7401\"",
            "tcp = \"127.0.0.1:7401\"\nbaud = 9600",
        ))
        .unwrap_err();
        let open = EXAMPLE.replace("#[metrics]", "[metrics]\nlisten = \"0.0.0.0:9465\"\n#");
        let open = load(&open).unwrap_err();
        assert!(open.contains("this machine alone"), "{open}");
        assert!(both.contains("baud") || both.contains("unknown"), "{both}");
    }

    #[test]
    fn an_address_without_its_port_is_no_address() {
        for (good, bad) in [
            ("127.0.0.1:7401", "127.0.0.1"),
            ("127.0.0.1:7401", "::1"),
            ("127.0.0.1:7401", ":7401"),
            ("127.0.0.1:7401", "127.0.0.1:0"),
            ("ca.mihon-denki.example:8443", "ca.mihon-denki.example"),
        ] {
            let refused = load(&EXAMPLE.replace(good, bad)).unwrap_err();
            assert!(refused.contains("host and port"), "{refused}");
        }
        load(&EXAMPLE.replace("127.0.0.1:7401", "[::1]:7401")).unwrap();
    }
}
