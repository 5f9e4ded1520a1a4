use super::{Document, Version1, WireError, require};
use crate::hash::DocumentHash;
use crate::sources::{Day, Timestamp};
use crate::text::Id;
use alloc::vec::Vec;
use der::Sequence;

/// Which maker may have which certificates for which product: how many, at which factory and lines, until when.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Grant {
    /// Version of the form.
    pub version: Version1,
    /// Name of the grant, unique at one maker.
    pub id: Id,
    /// The maker in whose name devices are made.
    pub maker: Id,
    /// The factory, own or subcontracted.
    pub factory: Id,
    /// Site code of the factory.
    pub site: Id,
    /// Lines that may use this grant, at least one.
    pub lines: Vec<Id>,
    /// Stations that may use this grant, at least one.
    pub stations: Vec<Id>,
    /// Product whose devices are certified.
    pub product: Id,
    /// Hash of the product's certificate [`Profile`](super::Profile).
    pub profile: DocumentHash,
    /// Most certificates under this grant, ever. Ordinals are 0 to limit − 1.
    pub limit: u32,
    /// Most units in one lot.
    pub per_lot: u32,
    /// Allowance for scrapped units; never refills the limit.
    pub scrap: u32,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
    /// Who asked for it; never counts as an approver.
    pub requester: Id,
}

impl Grant {
    /// Whether the grant is valid at this moment.
    #[must_use]
    pub fn valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// First and last day of validity, as they stand in the open in the leaf.
    #[must_use]
    pub fn days(&self) -> (Day, Day) {
        (self.not_before.day(), self.not_after.day())
    }
}

impl Document for Grant {
    const KIND: &'static str = "grant";

    fn check(&self) -> Result<(), WireError> {
        require(!self.lines.is_empty(), "a grant names at least one line")?;
        require(
            !self.stations.is_empty(),
            "a grant names at least one station",
        )?;
        require(self.limit > 0, "a grant's limit is at least 1")?;
        require(
            self.per_lot > 0 && self.per_lot <= self.limit,
            "per_lot is between 1 and the limit",
        )?;
        require(
            self.not_before < self.not_after,
            "a grant ends after it begins",
        )
    }
}
