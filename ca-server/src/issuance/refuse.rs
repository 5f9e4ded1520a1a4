//! How a refusal gets into the log: a leaf of its own, or a share in the one leaf of its station's window.

use super::Refusal;
use super::reserve::{Due, Round};
use crate::store::{RefusalPlace, StoreError, StoredRefusal, WINDOW_MS};
use identity::fault::Fault;
use identity::field::{Openings, Tag};
use identity::hash::RequestHash;
use identity::leaf::{Body, Leaf, Refuse};
use identity::rules::Violation;
use identity::{ChipUid, DeviceSerial, Id};

impl Round<'_, '_> {
    /// Records a refusal of a known station. It touches no device's history.
    pub(super) fn record_refusal(
        &mut self,
        station: &Id,
        refusal: Refusal,
        request: Option<RequestHash>,
        unit: Option<(ChipUid, DeviceSerial)>,
    ) -> Result<Due, StoreError> {
        let reason = code_id(refusal.fault);
        let place = self
            .transaction
            .count_refusal(station.as_str(), self.now, reason.as_str())?;
        if place == RefusalPlace::Leaf {
            let time = self.now.0.to_string();
            let mut fields: Vec<(Tag, &[u8])> = vec![
                (Tag::Station, station.as_bytes()),
                (Tag::Time, time.as_bytes()),
            ];
            if let Some((uid, serial)) = &unit {
                fields.push((Tag::ChipUid, uid.as_bytes()));
                fields.push((Tag::DeviceSerial, serial.as_bytes()));
            }
            let record = Record {
                station: station.as_str(),
                at_ms: self.now.0,
                reason,
                count: 1,
                request,
            };
            self.append_refusal(&record, &fields)?;
        }
        Ok(Due::Refusal(refusal))
    }

    /// One aggregated leaf for each station whose window is over. Its openings name the station and the window.
    pub(super) fn close_windows(&mut self) -> Result<(), StoreError> {
        for window in self.transaction.take_closed_windows(self.now)? {
            let reason =
                Id::new(&window.reason).map_err(|_bad| StoreError::Damaged("a fault code"))?;
            let (time, quality) = (window.began_ms.to_string(), window_quality());
            let fields: [(Tag, &[u8]); 3] = [
                (Tag::Station, window.station.as_bytes()),
                (Tag::Time, time.as_bytes()),
                (Tag::TimeQuality, quality.as_bytes()),
            ];
            let record = Record {
                station: &window.station,
                at_ms: window.began_ms,
                reason,
                count: window.count,
                request: None,
            };
            self.append_refusal(&record, &fields)?;
        }
        Ok(())
    }

    fn append_refusal(
        &mut self,
        record: &Record<'_>,
        fields: &[(Tag, &[u8])],
    ) -> Result<(), StoreError> {
        // Without randomness for its salts a refusal is recorded, and names nobody.
        let openings = Openings::seal(fields, self.entropy).unwrap_or_default();
        let body = Refuse {
            reason: record.reason,
            count: record.count,
            request: record.request,
            fields: openings.root(),
        };
        let leaf = Leaf {
            day: self.day,
            body: Body::Refuse(body),
        };
        match self.append(&leaf, None)? {
            Ok(entry) => self.transaction.put_refusal(&StoredRefusal {
                index: entry.index,
                at_ms: record.at_ms,
                station: record.station.to_owned(),
                reason: record.reason.to_string(),
                count: record.count,
                openings: openings.to_bytes(),
            }),
            // Before the ceremony there is no log to write a refusal to.
            Err(Violation::CeremonyPlace) => Ok(()),
            Err(_) => Err(StoreError::Damaged("a refusal that the rules do not allow")),
        }
    }
}

struct Record<'a> {
    station: &'a str,
    at_ms: u64,
    reason: Id,
    count: u32,
    request: Option<RequestHash>,
}

/// What an aggregated leaf says of its time.
fn window_quality() -> String {
    format!("begin of a window of {WINDOW_MS} ms")
}

/// A fault's code as a leaf's reason.
#[expect(
    clippy::expect_used,
    reason = "codes are short ASCII; a test reads every one of them"
)]
pub(super) fn code_id(fault: Fault) -> Id {
    Id::new(fault.code()).expect("a fault code is an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_code_can_be_a_reason() {
        for fault in Fault::ALL {
            assert_eq!(code_id(*fault).as_str(), fault.code());
        }
    }
}
