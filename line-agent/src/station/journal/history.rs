//! What the journal's entries amount to.

use super::form::{Closed, Entry, Event, IssuedFacts, Keyed, SignedRequest};
use crate::verdict::Verdict;
use identity::{ChipUid, DeviceSerial, Id, RequestId};
use std::collections::BTreeMap;

/// A unit whose key exists and that is neither done nor dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUnit {
    /// Its request.
    pub request: RequestId,
    /// Who and where it is.
    pub keyed: Keyed,
    /// The newest envelope that may have been sent.
    pub sent: Option<SignedRequest>,
    /// What the CA answered.
    pub issued: Option<IssuedFacts>,
    /// The confirmation that may have been sent.
    pub confirming: Option<SignedRequest>,
}

impl OpenUnit {
    /// The last step in the journal.
    #[must_use]
    pub const fn step(&self) -> &'static str {
        match (&self.sent, &self.issued, &self.confirming) {
            (_, _, Some(_)) => "confirming",
            (_, Some(_), None) => "issued",
            (Some(_), None, None) => "sent",
            (None, None, None) => "keyed",
        }
    }
}

/// What is known of a chip that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownChip {
    /// It was put aside before it had a key here.
    NeverKeyed,
    /// A key was made for it, and it may be burnt.
    Keyed,
    /// The CA was asked for it: it was burnt.
    Sent,
}

/// The state that the entries lead to.
#[derive(Debug, Default)]
pub struct History {
    open: BTreeMap<RequestId, OpenUnit>,
    chips: BTreeMap<ChipUid, KnownChip>,
    serials: BTreeMap<(Id, DeviceSerial), SerialState>,
    /// The chip that was done last, by socket.
    last: BTreeMap<Id, ChipUid>,
    passed: u64,
    failed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct SerialState {
    attempts: u32,
    /// Passed, or possibly bound: no other chip may have this serial.
    taken: bool,
}

impl History {
    /// Takes the next entry.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        let request = entry.request;
        match &entry.event {
            Event::Keyed(keyed) => self.key(request, keyed),
            Event::Sent(envelope) => {
                let unit = self.unit(request)?;
                unit.sent = Some(envelope.clone());
                let uid = unit.keyed.uid;
                self.chips.insert(uid, KnownChip::Sent);
                Ok(())
            }
            Event::Issued(facts) => self.unit(request).map(|unit| unit.issued = Some(*facts)),
            Event::Confirming(confirm) => self
                .unit(request)
                .map(|unit| unit.confirming = Some(confirm.clone())),
            Event::Dropped => self
                .open
                .remove(&request)
                .map(drop)
                .ok_or_else(|| not_open(request)),
            Event::Closed(closed) => {
                self.close(request, closed);
                Ok(())
            }
        }
    }

    fn key(&mut self, request: RequestId, keyed: &Keyed) -> Result<(), String> {
        let unit = OpenUnit {
            request,
            keyed: keyed.clone(),
            sent: None,
            issued: None,
            confirming: None,
        };
        self.chips.insert(keyed.uid, KnownChip::Keyed);
        let state = self.serials.entry((keyed.lot, keyed.serial)).or_default();
        state.attempts = keyed.attempt;
        match self.open.insert(request, unit) {
            Some(_) => Err(format!("request {request} was open already")),
            None => Ok(()),
        }
    }

    fn unit(&mut self, request: RequestId) -> Result<&mut OpenUnit, String> {
        self.open.get_mut(&request).ok_or_else(|| not_open(request))
    }

    fn close(&mut self, request: RequestId, closed: &Closed) {
        let issued = self
            .open
            .remove(&request)
            .is_some_and(|unit| unit.issued.is_some());
        let passed = closed.verdict == Verdict::Pass;
        let state = self.serials.entry((closed.lot, closed.serial)).or_default();
        state.taken |= passed || issued;
        self.chips
            .entry(closed.uid)
            .or_insert(KnownChip::NeverKeyed);
        self.last.insert(closed.socket, closed.uid);
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Units that are neither done nor dropped, by request.
    pub fn open_units(&self) -> impl Iterator<Item = &OpenUnit> {
        self.open.values()
    }

    /// The unit whose chip must sit in this socket.
    #[must_use]
    pub fn open_in(&self, socket: &Id) -> Option<&OpenUnit> {
        self.open.values().find(|unit| unit.keyed.socket == *socket)
    }

    /// What is known of a chip from units that are done or dropped.
    #[must_use]
    pub fn known(&self, uid: &ChipUid) -> Option<KnownChip> {
        self.chips.get(uid).copied()
    }

    /// Whether this chip was the last that was done in this socket: then it may still sit there.
    #[must_use]
    pub fn was_last_in(&self, socket: &Id, uid: &ChipUid) -> bool {
        self.last.get(socket) == Some(uid)
    }

    /// Whether the serial needs a chip: not passed, not possibly bound, and not open.
    #[must_use]
    pub fn is_wanted(&self, lot: &Id, serial: &DeviceSerial) -> bool {
        let taken = self
            .serials
            .get(&(*lot, *serial))
            .is_some_and(|state| state.taken);
        !taken
            && !self
                .open
                .values()
                .any(|unit| unit.keyed.lot == *lot && unit.keyed.serial == *serial)
    }

    /// Which attempt at a serial the next one is, from 1.
    #[must_use]
    pub fn next_attempt(&self, lot: &Id, serial: &DeviceSerial) -> u32 {
        self.serials
            .get(&(*lot, *serial))
            .map_or(0, |state| state.attempts)
            .saturating_add(1)
    }

    /// Units passed and failed since the journal began.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.passed, self.failed)
    }
}

fn not_open(request: RequestId) -> String {
    format!("request {request} is not open")
}

#[cfg(test)]
mod tests {
    use super::super::form::samples::{closed, issued, keyed, request, sent};
    use super::*;

    fn after(entries: &[Entry]) -> History {
        let mut history = History::default();
        entries
            .iter()
            .for_each(|entry| history.apply(entry).unwrap());
        history
    }

    fn wanted(history: &History) -> bool {
        history.is_wanted(
            &Id::new("26W48-A").unwrap(),
            &DeviceSerial::new("26480001001").unwrap(),
        )
    }

    #[test]
    fn a_serial_is_free_again_after_a_failure_unless_it_may_be_bound() {
        assert!(wanted(&after(&[])));
        assert!(!wanted(&after(&[keyed(1)])));
        assert!(wanted(&after(&[keyed(1), sent(1), closed(1)])));
        assert!(!wanted(&after(&[keyed(1), sent(1), issued(1), closed(1)])));
        let dropped = Entry {
            event: Event::Dropped,
            ..keyed(1)
        };
        assert!(wanted(&after(&[keyed(1), dropped])));
    }

    #[test]
    fn a_step_of_a_unit_that_is_not_open_is_damage() {
        assert!(History::default().apply(&sent(1)).is_err());
        assert!(after(&[keyed(1)]).apply(&keyed(1)).is_err());
    }

    #[test]
    fn the_last_chip_of_a_socket_and_its_past_are_known() {
        let history = after(&[keyed(1), sent(1), closed(1), keyed(2)]);
        let uid = ChipUid::new(&[1, 0x23, 1]).unwrap();
        let socket = Id::new("1").unwrap();
        assert!(history.was_last_in(&socket, &uid));
        assert_eq!(history.known(&uid), Some(KnownChip::Sent));
        assert_eq!(
            history.open_in(&socket).map(|unit| unit.request),
            Some(request(2))
        );
        assert_eq!(history.totals(), (0, 1));
    }
}
