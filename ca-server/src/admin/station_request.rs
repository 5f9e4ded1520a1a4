//! A station's key request, as its agent writes it: who it is, its three public keys, and until when it asks to be
//! valid. What counts is the approved statement; the request only brings the keys.

use crate::config::{ConfigError, read_toml};
use crate::policy::{StationKeys, StationPlan};
use base64ct::{Base64, Encoding as _};
use identity::P256Key;
use identity::document::{StationStatement, WireError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The request, as written.
#[derive(Clone, Debug)]
pub struct StationRequest {
    path: PathBuf,
    shape: Shape,
    keys: StationKeys,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "schema")]
    _schema: Schema,
    id: String,
    site: String,
    line: String,
    /// The name it would like in its TLS certificate; the reviewed plan decides.
    #[serde(rename = "identity")]
    _identity: Option<String>,
    keys: KeysShape,
    /// What the station asks for; the reviewed plan decides.
    #[serde(rename = "valid")]
    _valid: Option<toml::Table>,
}

/// Base64 of each key's DER `SubjectPublicKeyInfo`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysShape {
    tls: String,
    request: String,
    receipt: String,
}

#[derive(Clone, Debug, Deserialize)]
enum Schema {
    #[serde(rename = "station-request/v1")]
    V1,
}

/// The request and the reviewed plan make no statement.
#[derive(Debug, thiserror::Error)]
pub enum StationRequestError {
    /// The file cannot be read.
    #[error("{0}")]
    File(#[from] ConfigError),
    /// A key in it is not a P-256 key.
    #[error("{}: {key}: {what}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The request is of another station than the plan.
    #[error("{}: {what} is {found:?} here and {planned:?} in the plan", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// `id`, `site` or `line`.
        what: &'static str,
        /// Value in the request.
        found: String,
        /// Value in the plan.
        planned: String,
    },
    /// Together they break a rule of statements.
    #[error("the statement: {0}")]
    Statement(#[from] WireError),
}

impl StationRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`StationRequestError`] names the file and key.
    pub fn load(path: &Path) -> Result<Self, StationRequestError> {
        let shape: Shape = read_toml(path)?;
        let key = |name: &'static str, text: &str| {
            parse_key(text).map_err(|what| StationRequestError::Key {
                path: path.to_owned(),
                key: name,
                what,
            })
        };
        let keys = StationKeys {
            tls: key("keys.tls", &shape.keys.tls)?,
            request: key("keys.request", &shape.keys.request)?,
            receipt: key("keys.receipt", &shape.keys.receipt)?,
        };
        Ok(Self {
            path: path.to_owned(),
            shape,
            keys,
        })
    }

    /// The statement that approvers sign: the reviewed plan with this request's keys.
    ///
    /// # Errors
    /// [`StationRequestError`] if the two are of different stations, or two of the keys are one.
    pub fn statement(&self, plan: &StationPlan) -> Result<StationStatement, StationRequestError> {
        let shape = &self.shape;
        let pairs = [
            ("id", &shape.id, plan.id),
            ("site", &shape.site, plan.site),
            ("line", &shape.line, plan.line),
        ];
        for (what, found, planned) in pairs {
            if found != planned.as_str() {
                return Err(StationRequestError::Other {
                    path: self.path.clone(),
                    what,
                    found: found.clone(),
                    planned: planned.to_string(),
                });
            }
        }
        Ok(plan.statement(&self.keys)?)
    }
}

fn parse_key(text: &str) -> Result<P256Key, String> {
    let spki = Base64::decode_vec(text).map_err(|error| error.to_string())?;
    P256Key::from_spki(&spki).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load_station;

    /// What `line-agent enroll` writes, with the points 1·G, 2·G and 3·G.
    const REQUEST: &str = r#"schema = "station-request/v1"
id = "ota-l2-prov-01"
site = "JP-13-OTA"
line = "line-2"
identity = "spiffe://maker.example/site/ota/line-2/prov-01"

[keys]                                  # DER SubjectPublicKeyInfo, base64
tls = "TLS"
request = "REQUEST"
receipt = "RECEIPT"

[valid]                                 # asked for; approvers decide
from = 2026-11-23T00:00:00Z
until = 2027-11-23T00:00:00Z
"#;

    const POINTS: [(&str, &str); 3] = [
        (
            "TLS",
            "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        ),
        (
            "REQUEST",
            "037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978",
        ),
        (
            "RECEIPT",
            "025ecbe4d1a6330a44c8f7ef951d4bf165e6c6b721efada985fb41661bc6e7fd6c",
        ),
    ];

    fn spki(point: &str) -> String {
        let key = P256Key::from_sec1(&hex::decode(point).unwrap()).unwrap();
        Base64::encode_string(&key.spki())
    }

    fn statement(from: &str, to: &str) -> Result<StationStatement, StationRequestError> {
        assert!(REQUEST.contains(from), "{from}");
        let mut text = REQUEST.replacen(from, to, 1);
        for (name, point) in POINTS {
            text = text.replace(&format!("\"{name}\""), &format!("\"{}\"", spki(point)));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("station-request.toml");
        std::fs::write(&path, text).unwrap();
        let plan =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/stations/ota-l2-prov-01.toml");
        StationRequest::load(&path)?.statement(&load_station(&plan).unwrap())
    }

    #[test]
    fn plan_and_request_make_a_statement() {
        let statement = statement("line-2", "line-2").unwrap();
        let keys = [
            statement.tls_key,
            statement.request_key,
            statement.receipt_key,
        ];
        assert_eq!(
            keys.map(|key| Base64::encode_string(&key.spki())),
            POINTS.map(|(_, point)| spki(point))
        );
        // The station asks until 23 November; the reviewed plan says 22 November.
        assert_eq!(statement.not_after.day().0, 21_144);
    }

    #[test]
    fn another_station_and_other_keys_are_refused() {
        for (from, to, expected) in [
            ("ota-l2-prov-01", "ota-l2-prov-02", "id is"),
            ("JP-13-OTA", "JP-14-OTA", "site is"),
            ("\"line-2\"", "\"line-3\"", "line is"),
            ("\"TLS\"", "\"REQUEST\"", "three keys differ"),
            ("\"TLS\"", "\"AAAA\"", "keys.tls"),
            ("[keys]", "[keys]\nspare = 1", "unknown field"),
        ] {
            let error = statement(from, to).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
