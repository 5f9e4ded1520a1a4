use super::{Document, Version1, WireError, require};
use crate::hash::DocumentHash;
use crate::text::{DeviceSerial, Id};
use der::Sequence;

/// A lot order: a child of a grant that arrives from the factory's planning system.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct LotOrder {
    /// Version of the form.
    pub version: Version1,
    /// Name of the lot, unique under its grant.
    pub id: Id,
    /// The grant it draws on.
    pub grant: DocumentHash,
    /// Work order of the factory.
    pub work_order: Id,
    /// Units planned.
    pub quantity: u32,
    /// First serial of the range.
    pub first_serial: DeviceSerial,
    /// Last serial of the range; as long as the first, compared as text.
    pub last_serial: DeviceSerial,
}

/// The serials of a lot, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Sequence)]
pub struct SerialRange {
    /// First serial.
    pub first: DeviceSerial,
    /// Last serial, as long as the first.
    pub last: DeviceSerial,
}

impl SerialRange {
    /// Whether a serial lies in the range: same length, and between first and last as text.
    #[must_use]
    pub fn holds(&self, serial: &DeviceSerial) -> bool {
        let (first, last) = (self.first.as_str(), self.last.as_str());
        serial.as_str().len() == first.len() && first <= serial.as_str() && serial.as_str() <= last
    }
}

impl LotOrder {
    /// Its serials.
    #[must_use]
    pub const fn serials(&self) -> SerialRange {
        SerialRange {
            first: self.first_serial,
            last: self.last_serial,
        }
    }
}

impl Document for LotOrder {
    const KIND: &'static str = "lot-order";

    fn check(&self) -> Result<(), WireError> {
        let (first, last) = (self.first_serial.as_str(), self.last_serial.as_str());
        require(self.quantity > 0, "a lot has at least one unit")?;
        require(
            first.len() == last.len() && first <= last,
            "a lot's serial range runs upward at one length",
        )
    }
}
