//! The table: one row an RPC, one column a role. The match has no wildcard, so that an RPC without a row does not
//! compile. `policies/roles/roles.toml` says the same for reviewers; a test holds the two together.

use crate::policy::Role;
use proto::Rpc;

/// Whether a role may call an RPC.
#[must_use]
pub fn allows(rpc: Rpc, role: Role) -> bool {
    row(rpc).contains(&role)
}

const STATION: &[Role] = &[Role::Station];
const READERS: &[Role] = &[Role::Auditor, Role::Operator];
const OPERATOR: &[Role] = &[Role::Operator];

/// The roles that may call an RPC.
const fn row(rpc: Rpc) -> &'static [Role] {
    match rpc {
        Rpc::FactoryGetChallenges
        | Rpc::FactoryProvision
        | Rpc::FactoryConfirm
        | Rpc::FactoryVoid
        | Rpc::FactoryAdopt
        | Rpc::FactoryGetChain
        | Rpc::FactoryGetGrant
        | Rpc::FactoryGetLot
        | Rpc::FactoryGetCheckpoint => STATION,
        Rpc::FactoryGetReceipt => &[Role::Station, Role::Auditor],
        Rpc::AuditGetCheckpoint | Rpc::AuditGetEntry | Rpc::AuditListEntries => READERS,
        Rpc::AdminEnrollStation
        | Rpc::AdminLoadGrant
        | Rpc::AdminOpenLot
        | Rpc::AdminVoidUnit
        | Rpc::AdminGetStatus
        | Rpc::AdminListRefusals
        | Rpc::AdminConfirmClock => OPERATOR,
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
        assert_eq!(reviewed.methods().count(), Rpc::ALL.len());
        for rpc in Rpc::ALL {
            for role in ROLES {
                let expected = reviewed.allows(rpc.path(), role);
                assert_eq!(expected, Some(allows(rpc, role)), "{rpc:?} {role:?}");
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
