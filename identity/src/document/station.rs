use super::{Document, Version1, WireError, require};
use crate::key::P256Key;
use crate::sources::Timestamp;
use crate::text::Id;
use der::Sequence;

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
}

impl StationStatement {
    /// Whether the station may act at this moment.
    #[must_use]
    pub fn valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
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
        )
    }
}
