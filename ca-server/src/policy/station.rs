use super::error::PolicyError;
use super::source::Source;
use super::value::{Text, ValidShape};
use identity::document::{
    Bytes32, Document as _, MAX_AGENTS, StationStatement, Version1, WireError,
};
use identity::{Id, P256Key, Timestamp};
use serde::Deserialize;
use std::path::Path;
use std::str::FromStr;
use toml::Spanned;

/// A station as planned, before its keys are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationPlan {
    /// Name of the station.
    pub id: Id,
    /// Site code of its factory.
    pub site: Id,
    /// Line it stands on.
    pub line: Id,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
    /// Who asked for it; never counts as an approver.
    pub requester: Id,
    /// The line agents that may work there; any may, where none is named.
    pub agents: Option<Vec<Bytes32>>,
}

/// The public halves of a station's three keys, from its key request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StationKeys {
    /// Key of its TLS client certificate.
    pub tls: P256Key,
    /// Key that signs its requests.
    pub request: P256Key,
    /// Key that signs injection receipts.
    pub receipt: P256Key,
}

impl StationPlan {
    /// The statement that approvers sign.
    ///
    /// # Errors
    /// [`WireError::Rule`] if two of the keys are one.
    pub fn statement(&self, keys: &StationKeys) -> Result<StationStatement, WireError> {
        let statement = StationStatement {
            version: Version1,
            id: self.id,
            site: self.site,
            line: self.line,
            tls_key: keys.tls,
            request_key: keys.request,
            receipt_key: keys.receipt,
            not_before: self.not_before,
            not_after: self.not_after,
            requester: self.requester,
            agents: self.agents.clone(),
        };
        statement.check().map(|()| statement)
    }
}

/// Loads a station's plan.
///
/// # Errors
/// [`PolicyError`] names the place and the fault.
pub fn load_station(path: &Path) -> Result<StationPlan, PolicyError> {
    let source = Source::read(path)?;
    let shape: Shape = source.parse()?;
    let valid = shape.valid.as_ref();
    source.require(
        valid.from.0 < valid.until.0,
        shape.valid.span(),
        "until is later than from",
    )?;
    Ok(StationPlan {
        id: source.named(&shape.id)?,
        site: shape.site.0,
        line: shape.line.0,
        not_before: valid.from.0,
        not_after: valid.until.0,
        requester: shape.requester.0,
        agents: shape
            .agents
            .map(|named| agents(&source, named))
            .transpose()?,
    })
}

/// The programs in the statement's one order, whatever the order of the file.
fn agents(source: &Source, named: Spanned<Vec<Text<Sha256>>>) -> Result<Vec<Bytes32>, PolicyError> {
    let span = named.span();
    let mut hashes: Vec<_> = named.into_inner().into_iter().map(|it| it.0.0).collect();
    hashes.sort_unstable();
    source.require(
        (1..=MAX_AGENTS).contains(&hashes.len()) && hashes.is_sorted_by(|a, b| a < b),
        span,
        "agents names 1 to 16 programs, each once; leave it out to let any program work",
    )?;
    Ok(hashes)
}

/// SHA-256 in hexadecimal digits.
#[derive(Clone, Copy)]
struct Sha256(Bytes32);

impl FromStr for Sha256 {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map(|()| Self(Bytes32(hash)))
    }
}

#[derive(Deserialize)]
enum Schema {
    #[serde(rename = "station/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "schema")]
    _schema: Schema,
    id: Spanned<Text<Id>>,
    site: Text<Id>,
    line: Text<Id>,
    requester: Text<Id>,
    agents: Option<Spanned<Vec<Text<Sha256>>>>,
    valid: Spanned<ValidShape>,
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const FILE: &str = "stations/ota-l2-prov-01.toml";

    #[test]
    fn a_station_becomes_a_statement_with_three_different_keys() {
        let plan = load_station(&sample::dir().join(FILE)).unwrap();
        let [tls, request, receipt] = sample::keys();
        let statement = plan
            .statement(&StationKeys {
                tls,
                request,
                receipt,
            })
            .unwrap();
        assert_eq!(
            StationStatement::from_bytes(&statement.to_bytes()).unwrap(),
            statement
        );
        assert!(matches!(
            plan.statement(&StationKeys {
                tls,
                request,
                receipt: tls
            }),
            Err(WireError::Rule(_))
        ));
    }

    #[test]
    fn a_statement_names_the_agents_of_its_file_in_one_order() {
        let named = |list: &str| {
            let copy = sample::altered(FILE, "line =", &format!("agents = [{list}]\nline ="));
            load_station(&copy.path().join(FILE))
        };
        let [one, two] = ["11", "ff"].map(|byte| format!("\"{}\"", byte.repeat(32)));
        let plan = named(&format!("{two}, {one}")).unwrap();
        let expected = [Bytes32([0x11; 32]), Bytes32([0xff; 32])];
        assert_eq!(plan.agents.as_deref(), Some(&expected[..]));
        let [tls, request, receipt] = sample::keys();
        let keys = StationKeys {
            tls,
            request,
            receipt,
        };
        assert_eq!(plan.statement(&keys).unwrap().agents, plan.agents);
        for wrong in ["", &format!("{one}, {one}")] {
            let error = named(wrong).unwrap_err().to_string();
            assert!(error.contains("agents names 1 to 16 programs"), "{error}");
        }
        for wrong in ["\"ab\"", &two.replacen('f', "g", 1)] {
            let error = named(wrong).unwrap_err().to_string();
            assert!(error.contains(": agents"), "{error}");
        }
    }

    #[test]
    fn what_the_loader_does_not_read_is_refused() {
        let copy = sample::altered(FILE, "line =", "role = \"provision\"\nline =");
        let error = load_station(&copy.path().join(FILE))
            .unwrap_err()
            .to_string();
        assert!(error.contains(": role: unknown field `role`"), "{error}");
        let copy = sample::altered(FILE, "id = \"ota-l2-prov-01\"", "id = \"ota-l2-prov-02\"");
        assert!(
            load_station(&copy.path().join(FILE))
                .unwrap_err()
                .to_string()
                .contains("named ota-l2-prov-01")
        );
    }
}
