//! The server's configuration: one TOML file, unknown keys refused, paths relative to the file.
//!
//! Nothing here can switch a check off. Secrets are never in it, only the places where PINs are kept.

use keyvault::{Pin, VaultError};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vitals::log::Format;

/// Where the configuration is looked for when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/koseki/ca-server.toml";

/// Longest configuration in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Variable in which systemd names the directory of the service's credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where stations and auditors connect.
    pub listen: Listen,
    /// Where files are.
    pub paths: Paths,
    /// The HSM and the tokens that the server opens; the CA key's token is the signer's alone.
    pub hsm: Hsm,
    /// The signer's own configuration.
    pub signer: SignerFile,
    /// How much a peer may ask at once.
    #[serde(default)]
    pub limits: Limits,
    /// How the log is published as files.
    #[serde(default)]
    pub publication: Publication,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// Where metrics are read; nowhere, if nothing is said.
    #[serde(default)]
    pub metrics: Metrics,
}

/// Where stations and auditors connect.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// Names and addresses in the server's certificate, which `init` makes.
    pub names: Vec<String>,
}

/// Where files are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Directory of the store and the log's tiles.
    pub state: PathBuf,
    /// Directory that `init` writes: certificates, the log's key, the ceremony document.
    pub ceremony: PathBuf,
    /// File of the newest head, on another disk than `state` where possible, and never in a backup.
    pub head: PathBuf,
    /// The operator's socket.
    pub admin_socket: PathBuf,
}

/// The HSM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsm {
    /// PKCS#11 module.
    pub module: PathBuf,
    /// Token of the log's checkpoint key.
    pub log: LogToken,
    /// Token of the infrastructure root, the server's TLS key and the challenge secret.
    pub infrastructure: InfrastructureToken,
}

/// Token of the log's checkpoint key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogToken {
    /// Label of the token.
    pub token: String,
    /// Label of the key.
    pub key: String,
    /// File with the user PIN, readable by its owner only.
    pub pin_file: Option<PathBuf>,
    /// systemd credential with the user PIN, in place of `pin_file`.
    pub pin_credential: Option<String>,
}

/// Token of the infrastructure root, the server's TLS key and the challenge secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfrastructureToken {
    /// Label of the token.
    pub token: String,
    /// Label of the root's key.
    pub root_key: String,
    /// Label of the server's TLS key.
    #[serde(default = "default_server_key")]
    pub server_key: String,
    /// Label of the secret that challenges are made with.
    #[serde(default = "default_challenge_key")]
    pub challenge_key: String,
    /// File with the user PIN, readable by its owner only.
    pub pin_file: Option<PathBuf>,
    /// systemd credential with the user PIN, in place of `pin_file`.
    pub pin_credential: Option<String>,
}

/// The signer's own configuration, which `init` writes and the signer's operator keeps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerFile {
    /// The file.
    pub config: PathBuf,
    /// Where `init` makes the signer's store; the signer's own file says the same afterwards. Never in a backup: what
    /// it remembers must not be rolled back with `state`.
    pub store: PathBuf,
}

/// How much a peer may ask at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Named connections at once; more are closed.
    pub connections: u16,
    /// Named connections of one peer at once; more are closed.
    pub connections_per_peer: u16,
    /// Handshakes at once, of nobody knows whom; more wait unaccepted.
    pub handshakes: u16,
    /// Handshakes at once from one address; more are closed.
    pub handshakes_per_address: u16,
    /// Calls at once on one connection.
    pub calls_per_connection: u16,
    /// Seconds for a TLS handshake.
    pub handshake_seconds: u16,
    /// Seconds for one call, whatever deadline its caller sets.
    pub call_seconds: u16,
    /// Seconds that calls under way are given when the server stops.
    pub drain_seconds: u16,
    /// Units, confirmations, voids, and looks at grants and lots, a second of one station, for longer than its burst lasts.
    pub writes_per_second: u32,
    /// The same of one station at once. An envelope with more units passes, and is waited for after it.
    pub writes_burst: u32,
}

/// How the log is published as files.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publication {
    /// Milliseconds that partial tiles and the checkpoint's file may lag behind the newest head, which every answer
    /// holds; 0 to write them with each batch, before anyone is answered.
    pub lag_ms: u16,
}

/// Where metrics are read.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// An address of this machine alone, for plain HTTP.
    pub listen: Option<SocketAddr>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// One line of text or one JSON object an event.
    pub format: Format,
    /// Which events, for instance `info` or `info,ca_server=debug`.
    pub filter: String,
}

/// Where a token's user PIN is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// A credential that systemd hands to the service.
    Credential(String),
}

/// The configuration cannot be used; its author is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Longer than a configuration may be.
    #[error("{}: longer than {MAX_FILE} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, an unknown or missing key, or a wrong value.
    #[error("{}: {text}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Line, column, key and what is wrong.
        text: String,
    },
    /// A rule that the form alone does not show.
    #[error("{}: {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// The rule.
        rule: &'static str,
    },
}

impl Config {
    /// Reads and checks the file. Relative paths in it are taken from the file's directory.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and what is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = read_toml(path)?;
        config.check().map_err(|rule| ConfigError::Rule {
            path: path.to_owned(),
            rule,
        })?;
        config.resolve(&directory_of(path)?);
        config.check_places().map_err(|rule| ConfigError::Rule {
            path: path.to_owned(),
            rule,
        })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), &'static str> {
        let limits = &self.limits;
        let positive = [
            limits.connections,
            limits.connections_per_peer,
            limits.handshakes,
            limits.handshakes_per_address,
            limits.calls_per_connection,
            limits.handshake_seconds,
            limits.call_seconds,
            limits.drain_seconds,
        ];
        let (log, infrastructure) = (&self.hsm.log, &self.hsm.infrastructure);
        if self.listen.names.is_empty() {
            return Err("listen.names holds at least one name");
        }
        if log.pin_file.is_some() == log.pin_credential.is_some() {
            return Err("hsm.log has either pin_file or pin_credential");
        }
        if infrastructure.pin_file.is_some() == infrastructure.pin_credential.is_some() {
            return Err("hsm.infrastructure has either pin_file or pin_credential");
        }
        if log.token == infrastructure.token {
            return Err("hsm.log and hsm.infrastructure are different tokens");
        }
        if self.metrics.listen.is_some_and(|at| !at.ip().is_loopback()) {
            return Err(
                "metrics.listen is an address of this machine alone, such as 127.0.0.1:9464",
            );
        }
        if positive.contains(&0) || limits.writes_per_second == 0 || limits.writes_burst == 0 {
            return Err("each of limits is at least 1");
        }
        Ok(())
    }

    /// What must not be rolled back lies outside of what is backed up.
    fn check_places(&self) -> Result<(), &'static str> {
        let state = &self.paths.state;
        if self.paths.head.starts_with(state) {
            return Err("paths.head lies outside paths.state, which is backed up");
        }
        if self.signer.store.starts_with(state) {
            return Err("signer.store lies outside paths.state, which is backed up");
        }
        Ok(())
    }

    fn resolve(&mut self, base: &Path) {
        let paths = [
            Some(&mut self.paths.state),
            Some(&mut self.paths.ceremony),
            Some(&mut self.paths.head),
            Some(&mut self.paths.admin_socket),
            Some(&mut self.hsm.module),
            Some(&mut self.signer.config),
            Some(&mut self.signer.store),
            self.hsm.log.pin_file.as_mut(),
            self.hsm.infrastructure.pin_file.as_mut(),
        ];
        for path in paths.into_iter().flatten() {
            *path = base.join(&*path);
        }
    }
}

/// The directory of a file, in full: what is written down from it must hold wherever the next program is started.
///
/// # Errors
/// [`ConfigError::Unreadable`] if the path is empty or there is no current directory.
pub(crate) fn directory_of(path: &Path) -> Result<PathBuf, ConfigError> {
    let whole = std::path::absolute(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    Ok(whole.parent().unwrap_or(&whole).to_owned())
}

impl LogToken {
    /// Where its PIN is kept.
    #[must_use]
    pub fn pin(&self) -> PinSource {
        pin_source(self.pin_file.as_ref(), self.pin_credential.as_ref())
    }
}

impl InfrastructureToken {
    /// Where its PIN is kept.
    #[must_use]
    pub fn pin(&self) -> PinSource {
        pin_source(self.pin_file.as_ref(), self.pin_credential.as_ref())
    }
}

impl PinSource {
    /// Reads the PIN.
    ///
    /// # Errors
    /// [`VaultError::Pin`] if it cannot be read or others may read it.
    pub fn read(&self) -> Result<Pin, VaultError> {
        match self {
            Self::File(path) => Pin::from_file(path),
            Self::Credential(name) => {
                let directory = std::env::var_os(CREDENTIALS).unwrap_or_default();
                Pin::from_credential(Path::new(&directory), name)
            }
        }
    }
}

impl Limits {
    /// Time for a TLS handshake.
    #[must_use]
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_seconds.into())
    }

    /// Time for one call.
    #[must_use]
    pub fn call(&self) -> Duration {
        Duration::from_secs(self.call_seconds.into())
    }

    /// Time for calls under way when the server stops.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_peer: 16,
            handshakes: 256,
            handshakes_per_address: 32,
            calls_per_connection: 64,
            handshake_seconds: 10,
            call_seconds: 60,
            drain_seconds: 30,
            writes_per_second: 10_000,
            writes_burst: 20_000,
        }
    }
}

impl Default for Publication {
    fn default() -> Self {
        Self { lag_ms: 50 }
    }
}

impl Publication {
    /// How long files may lag.
    #[must_use]
    pub fn lag(self) -> Duration {
        Duration::from_millis(self.lag_ms.into())
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: Format::default(),
            filter: "info".to_owned(),
        }
    }
}

/// Reads a TOML file of at most 64 KiB.
///
/// # Errors
/// [`ConfigError`] names the file and what is wrong.
pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE {
        return Err(ConfigError::TooLong {
            path: path.to_owned(),
        });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str(&text).map_err(|error| ConfigError::Form {
        path: path.to_owned(),
        text: error.to_string().trim_end().to_owned(),
    })
}

/// From a checked configuration, in which exactly one of the two is set.
fn pin_source(file: Option<&PathBuf>, credential: Option<&String>) -> PinSource {
    match (file, credential) {
        (Some(file), _) => PinSource::File(file.clone()),
        (None, credential) => PinSource::Credential(credential.cloned().unwrap_or_default()),
    }
}

fn default_server_key() -> String {
    "server-tls".to_owned()
}

fn default_challenge_key() -> String {
    "challenge".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../ca-server.example.toml");

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca-server.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    fn refused(from: &str, to: &str) -> String {
        assert!(EXAMPLE.contains(from), "the example holds no {from:?}");
        load(&EXAMPLE.replacen(from, to, 1))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_example_is_complete() {
        let config = load(EXAMPLE).unwrap();
        assert_eq!(config.hsm.log.token, "koseki-log");
        assert_eq!(config.limits.call(), Duration::from_secs(60));
        assert_eq!(config.log.format, Format::Json);
    }

    #[test]
    fn relative_paths_are_taken_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca-server.toml");
        std::fs::write(&path, EXAMPLE.replace("/var/lib/koseki/ca\"", "state\"")).unwrap();
        assert_eq!(
            Config::load(&path).unwrap().paths.state,
            dir.path().join("state")
        );
    }

    #[test]
    fn what_is_not_known_or_not_possible_is_refused() {
        for (from, to, expected) in [
            ("[listen]", "[listen]\nverify = false", "unknown field"),
            ("[limits]", "[limits]\nconnection = 1", "unknown field"),
            (
                "pin_file = ",
                "pin_credential = \"a\"\npin_file = ",
                "either pin_file",
            ),
            (
                "token = \"koseki-log\"",
                "token = \"koseki-infrastructure\"",
                "different tokens",
            ),
            ("call_seconds = 60", "call_seconds = 0", "at least 1"),
            (
                "names = [\"ca.mihon-denki.example\"]",
                "names = []",
                "at least one name",
            ),
            (
                "/var/lib/koseki-head/head",
                "/var/lib/koseki/ca/head",
                "paths.head lies outside",
            ),
            (
                "/var/lib/koseki-signer/signer.sqlite",
                "/var/lib/koseki/ca/signer/signer.sqlite",
                "signer.store lies outside",
            ),
            (
                "[log]",
                "[metrics]\nlisten = \"192.0.2.1:9464\"\n[log]",
                "this machine alone",
            ),
            ("writes_burst = 20000", "writes_burst = 0", "at least 1"),
            (
                "format = \"json\"",
                "format = \"xml\"",
                "unknown variant `xml`",
            ),
        ] {
            let error = refused(from, to);
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
