//! Units that failed and come back: what was tried before, and how a unit that is bound for certain goes on.

use super::form::{Earlier, Entry, Event, FailedUnit, Reseated, Resumable};
use super::history::{History, OpenUnit};
use identity::{ChipUid, DeviceSerial, DocumentHash, Id, RequestId, Timestamp};
use koseki_device::{ChipState, Identification};
use std::collections::BTreeMap;

/// Attempts of a serial that are remembered: the newest.
const REMEMBERED: usize = 16;

/// Attempts that failed, by lot and serial, until a unit passes.
pub(super) type Past = BTreeMap<(Id, DeviceSerial), Vec<Earlier>>;

/// Remembers an attempt that failed.
pub(super) fn remember(past: &mut Past, of: (Id, DeviceSerial), earlier: Earlier) {
    let attempts = past.entry(of).or_default();
    if attempts.len() >= REMEMBERED {
        attempts.remove(0);
    }
    attempts.push(earlier);
}

impl OpenUnit {
    /// What the unit needs to go on if it fails now: it is bound for certain. Its confirmation is made anew then, for the CA
    /// may have refused it.
    pub(super) fn resumable(&self) -> Option<Box<Resumable>> {
        let (sent, facts) = (self.sent.clone()?, self.issued?);
        Some(Box::new(Resumable {
            keyed: self.keyed.clone(),
            sent,
            facts,
        }))
    }
}

impl Resumable {
    /// The unit, open again in this socket.
    pub(super) fn reopened(self, request: RequestId, since: Timestamp, socket: Id) -> OpenUnit {
        let Self { keyed, sent, facts } = self;
        OpenUnit {
            request,
            since,
            keyed: super::form::Keyed {
                socket,
                attempt: keyed.attempt.saturating_add(1),
                ..keyed
            },
            sent: Some(sent),
            issued: Some(facts),
            confirming: None,
            voiding: None,
            aside: None,
        }
    }
}

impl History {
    /// Whether any unit may come back whose chip is in no socket.
    #[must_use]
    pub fn waits_for_chips(&self) -> bool {
        let mut failed = self.failed_units();
        self.aside().next().is_some() || failed.any(|unit| unit.resumes.is_some())
    }

    /// The unit whose chip this is, if it was set aside, or failed behind its binding and is not given up; with the entry by
    /// which it sits in this socket again. A chip that does not hold the unit's key is no such chip.
    #[must_use]
    pub fn comes_back(&self, chip: &Identification, socket: Id) -> Option<(RequestId, Event)> {
        let seat = Reseated { socket };
        if let Some(unit) = self.aside().find(|unit| unit.keyed.uid == chip.uid) {
            return Some((unit.request, Event::Reseated(seat)));
        }
        let mut failed = self.failed_units();
        let unit = failed.find(|unit| unit.uid == chip.uid && !self.is_given_up(unit))?;
        let burnt = unit.resumes.as_ref()?.keyed.key;
        // One that says it is torn shows no key: anybody's chip may say so, and a void is for ever.
        let is_its = match chip.state {
            ChipState::Burnt { key, .. } => key == burnt,
            ChipState::Torn | ChipState::Blank => false,
        };
        is_its.then_some((unit.request, Event::Reopened(seat)))
    }

    /// Whether a failed unit with this chip can go on.
    #[must_use]
    pub fn may_go_on(&self, uid: &ChipUid) -> bool {
        let mut failed = self.failed_units();
        failed.any(|unit| unit.uid == *uid && !self.is_given_up(unit) && unit.resumes.is_some())
    }

    /// Whether a person gave the failed unit up: its void or its scrapping is under way.
    fn is_given_up(&self, unit: &FailedUnit) -> bool {
        unit.voiding.is_some() || self.is_being_scrapped(&unit.lot, &unit.serial)
    }

    /// Whether a scrapping of the board under this serial waits for the CA. One of a board that was void before is not of
    /// the board that took its place.
    #[must_use]
    pub fn is_being_scrapped(&self, lot: &Id, serial: &DeviceSerial) -> bool {
        let mut waiting = self.ends.waiting();
        waiting.any(|(_, _, it)| !it.voided && it.lot == *lot && it.serial == *serial)
    }

    /// The grant that a unit was begun under which is set aside, or failed and may go on.
    #[must_use]
    pub fn grant_of(&self, request: &RequestId) -> Option<DocumentHash> {
        if let Some(unit) = self.open_unit(request) {
            return Some(unit.keyed.grant);
        }
        let mut failed = self.failed_units();
        let unit = failed.find(|unit| unit.request == *request)?;
        Some(unit.resumes.as_ref()?.keyed.grant)
    }

    /// Opens a unit again that failed.
    pub(super) fn reopen(&mut self, entry: &Entry, socket: Id) -> Result<(), String> {
        let request = entry.request;
        let cannot = || format!("request {request} cannot go on");
        if self.open.contains_key(&request) {
            return Err(cannot());
        }
        let failed = self.failed.remove(&request).ok_or_else(cannot)?;
        let unit = failed.resumes.ok_or_else(cannot)?;
        let unit = unit.reopened(request, entry.at, socket);
        let of = (unit.keyed.lot, unit.keyed.serial);
        let state = self.serials.entry(of).or_default();
        state.attempts = state.attempts.max(unit.keyed.attempt);
        self.failed_units = self.failed_units.saturating_sub(1);
        self.open.insert(request, unit);
        Ok(())
    }

    /// What was tried before with this serial, the earliest first; nothing once a unit has passed.
    #[must_use]
    pub fn earlier(&self, lot: &Id, serial: &DeviceSerial) -> Vec<Earlier> {
        self.past.get(&(*lot, *serial)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::samples::{
        after, closed, confirming, issued, keyed, reopened, sent, voiding,
    };
    use super::*;

    #[test]
    fn a_failed_unit_is_open_again_with_its_bytes_and_the_summary_leads_there_too() {
        let failed = [keyed(1), sent(1), issued(1), confirming(1), closed(1)];
        let mut history = after(&failed);
        assert!(history.waits_for_chips());
        let mut compacted = History::default();
        let (entries, summary) = history.summary();
        assert!(entries.is_empty());
        summary.into_iter().for_each(|line| compacted.take(line));
        assert_eq!(compacted, history);
        history.apply(&reopened(1, "3")).unwrap();
        let unit = history.open_in(&Id::new("3").unwrap()).unwrap();
        assert_eq!((unit.step(), unit.keyed.attempt), ("issued", 2));
        assert_eq!(history.totals(), (0, 0));
        assert!(history.apply(&reopened(1, "3")).is_err(), "it is open");
        let (lot, serial) = (unit_of(&history).0, unit_of(&history).1);
        assert_eq!(history.earlier(&lot, &serial).len(), 1);
        history.apply(&closed(1)).unwrap();
        assert_eq!(history.totals(), (0, 1));
        assert_eq!(history.failures(&lot, &serial), 2);
        assert_eq!(history.earlier(&lot, &serial)[1].attempt, 2);
    }

    fn unit_of(history: &History) -> (Id, DeviceSerial) {
        let unit = history.open_units().next().unwrap();
        (unit.keyed.lot, unit.keyed.serial)
    }

    #[test]
    fn what_may_not_be_bound_or_is_given_up_does_not_come_back() {
        for entries in [
            vec![keyed(1), closed(1)],
            vec![keyed(1), sent(1), closed(1)],
        ] {
            let mut history = after(&entries);
            assert!(!history.waits_for_chips());
            assert!(history.apply(&reopened(1, "3")).is_err());
        }
        let given_up = [keyed(1), sent(1), issued(1), voiding(1), closed(1)];
        let history = after(&given_up);
        assert!(!history.may_go_on(&ChipUid::new(&[1, 0x23, 1]).unwrap()));
    }

    #[test]
    fn only_the_newest_attempts_are_remembered() {
        let mut past = Past::default();
        let of = (Id::new("lot").unwrap(), DeviceSerial::new("1").unwrap());
        for attempt in 1..=20 {
            let earlier = Earlier {
                attempt,
                uid: ChipUid::new(&[1]).unwrap(),
                at: Timestamp(0),
                fault: None,
            };
            remember(&mut past, of, earlier);
        }
        let kept: Vec<_> = past[&of].iter().map(|earlier| earlier.attempt).collect();
        assert_eq!(kept, (5..=20).collect::<Vec<_>>());
    }
}
