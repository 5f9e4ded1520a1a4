use super::error::{PolicyError, PolicyFault};
use super::source::Source;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Spanned;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A provisioning station, within its own grants.
    Station,
    /// Reads, never writes.
    Auditor,
    /// Proposes through the local socket, and reads.
    Operator,
}

/// Which role may call which method: one row a method, one cell a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleTable(BTreeMap<String, Row>);

impl RoleTable {
    /// Whether the role may call the method (`package.Service/Method`, a leading slash as in the HTTP/2 path is
    /// allowed). `None` if the table has no row for it: then nobody may.
    #[must_use]
    pub fn allows(&self, method: &str, role: Role) -> Option<bool> {
        self.0
            .get(method.strip_prefix('/').unwrap_or(method))
            .map(|row| row.allows(role))
    }

    /// Every method that has a row, in order.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Loads the table of methods and roles.
///
/// # Errors
/// [`PolicyError`] names the place and the fault: a missing cell, a second row for one method, not a method's name.
pub fn load_roles(path: &Path) -> Result<RoleTable, PolicyError> {
    let source = Source::read(path)?;
    let shape: Shape = source.parse()?;
    let mut rows = BTreeMap::new();
    for row in shape.rpc {
        let span = row.method.span();
        source.require(
            is_method(row.method.as_ref()),
            span.clone(),
            "a method is package.Service/Method",
        )?;
        let cells = Row {
            station: row.station,
            auditor: row.auditor,
            operator: row.operator,
        };
        if rows.insert(row.method.into_inner(), cells).is_some() {
            return Err(source.refuse(span, PolicyFault::Rule("a method has one row")));
        }
    }
    Ok(RoleTable(rows))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    station: Cell,
    auditor: Cell,
    operator: Cell,
}

impl Row {
    fn allows(self, role: Role) -> bool {
        let cell = match role {
            Role::Station => self.station,
            Role::Auditor => self.auditor,
            Role::Operator => self.operator,
        };
        cell == Cell::Allow
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Cell {
    Allow,
    Deny,
}

#[derive(Deserialize)]
enum Schema {
    #[serde(rename = "roles/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "schema")]
    _schema: Schema,
    rpc: Vec<RowShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowShape {
    method: Spanned<String>,
    station: Cell,
    auditor: Cell,
    operator: Cell,
}

fn is_method(name: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.split_once('/').is_some_and(|(service, method)| {
        service.contains('.') && service.split('.').all(word) && word(method)
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const FILE: &str = "roles/roles.toml";
    const PROVISION: &str = "koseki.factory.v1.FactoryService/Provision";

    #[test]
    fn the_sample_table_lets_only_stations_provision() {
        let table = load_roles(&sample::dir().join(FILE)).unwrap();
        assert_eq!(table.allows(PROVISION, Role::Station), Some(true));
        assert_eq!(
            table.allows(&format!("/{PROVISION}"), Role::Auditor),
            Some(false)
        );
        assert_eq!(
            table.allows("koseki.factory.v1.FactoryService/Nothing", Role::Operator),
            None
        );
        assert!(table.methods().any(|method| method == PROVISION));
    }

    #[test]
    fn a_missing_cell_a_second_row_and_a_wrong_word_are_refused() {
        let refused = |from: &str, to: &str| {
            let copy = sample::altered(FILE, from, to);
            load_roles(&copy.path().join(FILE)).unwrap_err().to_string()
        };
        assert!(refused("auditor = \"deny\"\n", "").contains("missing field `auditor`"));
        assert!(
            refused("FactoryService/Confirm", "FactoryService/Provision")
                .contains("a method has one row")
        );
        assert!(
            refused("auditor = \"deny\"", "auditor = \"perhaps\"")
                .contains("rpc[0].auditor: unknown variant")
        );
        assert!(refused(PROVISION, "Provision").contains("package.Service/Method"));
    }
}
