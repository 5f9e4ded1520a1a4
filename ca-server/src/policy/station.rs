use super::error::PolicyError;
use super::source::Source;
use super::value::{Text, ValidShape};
use identity::document::{Document as _, StationStatement, Version1, WireError};
use identity::{Id, P256Key, Timestamp};
use serde::Deserialize;
use std::path::Path;
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
    })
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
