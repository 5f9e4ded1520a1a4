use super::{Document, Version1, WireError, require};
use crate::key::P256Key;
use crate::sources::Timestamp;
use crate::text::Id;
use crate::wire::Bytes32;
use alloc::vec::Vec;
use der::Sequence;

/// Most line agents that one statement names.
pub const MAX_AGENTS: usize = 16;

/// A station and its three keys, each made in the line's HSM. They never stand in for one another.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct StationStatement {
    /// Version of the form.
    pub version: Version1,
    /// Name of the station.
    pub id: Id,
    /// Site code of its factory.
    pub site: Id,
    /// Line it stands on.
    pub line: Id,
    /// Key of its TLS client certificate.
    pub tls_key: P256Key,
    /// Key that signs its requests.
    pub request_key: P256Key,
    /// Key that signs injection receipts.
    pub receipt_key: P256Key,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
    /// Who asked for it; never counts as an approver.
    pub requester: Id,
    /// SHA-256 of each line agent that may work there, ascending; any may, where none is named.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub agents: Option<Vec<Bytes32>>,
}

impl StationStatement {
    /// Whether the station may act at this moment.
    #[must_use]
    pub fn valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether the line agent that the station says it runs may work there.
    #[must_use]
    pub fn approves(&self, agent: Option<&Bytes32>) -> bool {
        let named = self.agents.as_ref();
        named.is_none_or(|named| agent.is_some_and(|agent| named.contains(agent)))
    }
}

impl Document for StationStatement {
    const KIND: &'static str = "station";

    fn check(&self) -> Result<(), WireError> {
        let keys = [&self.tls_key, &self.request_key, &self.receipt_key];
        require(
            keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2],
            "a station's three keys differ",
        )?;
        require(
            self.not_before < self.not_after,
            "a station's statement ends after it begins",
        )?;
        let agents = self.agents.as_ref();
        require(
            agents.is_none_or(|named| (1..=MAX_AGENTS).contains(&named.len())),
            "a station's agents are 1 to 16, where any are named",
        )?;
        require(
            agents.is_none_or(|named| named.is_sorted_by(|a, b| a < b)),
            "a station's agents are in ascending order, each once",
        )
    }
}
