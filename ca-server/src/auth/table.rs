//! The table: one row an RPC, one column a role. The match has no wildcard, so that an RPC without a row does not
//! compile. `policies/roles/roles.toml` says the same for reviewers; a test holds the two together.

use crate::policy::Role;
use proto::Rpc;

/// An RPC of gRPC itself that is served here. It tells nothing of units, grants or people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// Whether certificates are issued now.
    HealthCheck,
    /// The same, told anew when it changes.
    HealthWatch,
    /// The published interface.
    Reflection,
}

impl Common {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HealthCheck, Self::HealthWatch, Self::Reflection];

    /// The path, for instance `/grpc.health.v1.Health/Check`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::HealthCheck => "/grpc.health.v1.Health/Check",
            Self::HealthWatch => "/grpc.health.v1.Health/Watch",
            Self::Reflection => "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        }
    }
}

/// Whether a role may call what is served at a path. What has no row is open to nobody.
#[must_use]
pub fn allows_path(path: &str, role: Role) -> bool {
    let common = Common::ALL.into_iter().find(|it| it.path() == path);
    match (Rpc::from_path(path), common) {
        (Some(rpc), _) => allows(rpc, role),
        (None, Some(common)) => common_row(common).contains(&role),
        (None, None) => false,
    }
}

/// Whether a role may call an RPC.
#[must_use]
pub fn allows(rpc: Rpc, role: Role) -> bool {
    row(rpc).contains(&role)
}

const STATION: &[Role] = &[Role::Station];
const NETWORK: &[Role] = &[Role::Station, Role::Auditor];
const READERS: &[Role] = &[Role::Auditor, Role::Operator];
const OPERATOR: &[Role] = &[Role::Operator];

/// The roles that may call an RPC of gRPC itself. The local socket serves none of them.
const fn common_row(common: Common) -> &'static [Role] {
    match common {
        Common::HealthCheck | Common::HealthWatch | Common::Reflection => NETWORK,
    }
}

/// The roles that may call an RPC.
const fn row(rpc: Rpc) -> &'static [Role] {
    match rpc {
        Rpc::FactoryGetChallenges
        | Rpc::FactoryProvision
        | Rpc::FactoryConfirm
        | Rpc::FactoryVoid
        | Rpc::FactoryScrapUnit
        | Rpc::FactoryCloseLot
        | Rpc::FactoryAdopt
        | Rpc::FactoryGetChain
        | Rpc::FactoryGetGrant
        | Rpc::FactoryGetLot
        | Rpc::FactoryGetCheckpoint => STATION,
        Rpc::FactoryGetReceipt => &[Role::Station, Role::Auditor],
        Rpc::AuditGetCheckpoint | Rpc::AuditGetEntry | Rpc::AuditListEntries => READERS,
        Rpc::AdminEnrollStation
        | Rpc::AdminLoadGrant
        | Rpc::AdminCloseGrant
        | Rpc::AdminOpenLot
        | Rpc::AdminVoidUnit
        | Rpc::AdminRetryUnit
        | Rpc::AdminGetStatus
        | Rpc::AdminListRefusals
        | Rpc::AdminConfirmClock
        | Rpc::AdminMakeBackup => OPERATOR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load_roles;
    use std::path::Path;

    const ROLES: [Role; 3] = [Role::Station, Role::Auditor, Role::Operator];

    #[test]
    fn the_reviewed_table_says_the_same() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/roles/roles.toml");
        let reviewed = load_roles(&path).unwrap();
        let ours = Rpc::ALL.into_iter().map(Rpc::path);
        let paths: Vec<_> = ours.chain(Common::ALL.map(Common::path)).collect();
        assert_eq!(reviewed.methods().count(), paths.len());
        for path in paths {
            for role in ROLES {
                let expected = reviewed.allows(path, role);
                assert_eq!(expected, Some(allows_path(path, role)), "{path} {role:?}");
            }
        }
    }

    #[test]
    fn only_a_station_asks_for_certificates_and_only_an_operator_administers() {
        for rpc in Rpc::ALL {
            let may = ROLES.map(|role| allows(rpc, role));
            let expected = match rpc.service() {
                // A reader: a station sees its own units, an auditor all.
                _ if rpc == Rpc::FactoryGetReceipt => [true, true, false],
                "koseki.factory.v1.FactoryService" => [true, false, false],
                "koseki.audit.v1.AuditService" => [false, true, true],
                "koseki.admin.v1.AdminService" => [false, false, true],
                other => panic!("no rule for {other}"),
            };
            assert_eq!(may, expected, "{rpc:?}");
        }
    }
}
