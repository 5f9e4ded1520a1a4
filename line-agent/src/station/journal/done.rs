//! Chips whose units are done: whoever seats one again is told what became of it.

use super::form::{ChipEnd, Closed, DoneChip, Summary};
use super::history::{History, OpenUnit};
use identity::fault::Fault;
use identity::{ChipUid, Timestamp};
use std::collections::BTreeMap;

/// Most chips in one line of a compacted journal.
const LIST: usize = 256;

/// How units ended, by chip. A chip that never had a key here is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done(BTreeMap<ChipUid, ChipEnd>);

impl Done {
    pub(super) fn close(&mut self, unit: &OpenUnit, closed: &Closed, at: Timestamp) {
        let end = ChipEnd {
            serial: closed.serial,
            at,
            fault: closed.fault,
        };
        self.0.insert(unit.keyed.uid, end);
    }

    /// A unit that failed was given up.
    pub(super) fn give_up(&mut self, uid: &ChipUid, at: Timestamp, fault: Fault) {
        if let Some(end) = self.0.get_mut(uid) {
            (end.at, end.fault) = (at, Some(fault));
        }
    }

    pub(super) fn take(&mut self, chips: Vec<DoneChip>) {
        self.0
            .extend(chips.into_iter().map(|chip| (chip.uid, chip.end)));
    }

    /// The lines that lead to the same state.
    pub(super) fn summary(&self) -> Vec<Summary> {
        let chips = self.0.iter();
        let chips: Vec<_> = chips
            .map(|(uid, end)| DoneChip {
                uid: *uid,
                end: *end,
            })
            .collect();
        let lists = chips.chunks(LIST).map(<[_]>::to_vec);
        lists.map(|chips| Summary::Done { chips }).collect()
    }
}

impl History {
    /// What became of the unit that this chip was of, if it had a key here and is done.
    #[must_use]
    pub fn end_of(&self, uid: &ChipUid) -> Option<ChipEnd> {
        self.done.0.get(uid).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::Event;
    use super::super::form::samples::{after, bare, closed, issued, keyed, passed, sent, voiding};
    use super::*;

    #[test]
    fn what_became_of_a_chip_is_known_also_from_a_compacted_journal() {
        let uid = |n| ChipUid::new(&[1, 0x23, n]).unwrap();
        let history = after(&[
            keyed(1),
            passed(1),
            keyed(2),
            sent(2),
            issued(2),
            closed(2),
            closed(3),
            keyed(4),
        ]);
        let (_, summary) = history.summary();
        let mut compacted = after(&[keyed(4)]);
        for line in summary {
            let text = serde_json::to_string(&line).unwrap();
            compacted.take(serde_json::from_str(&text).unwrap());
        }
        assert_eq!(compacted, history);
        for history in [&history, &compacted] {
            let end = history.end_of(&uid(1)).unwrap();
            assert_eq!(
                (end.serial.as_str(), end.fault, end.at),
                ("26480001001", None, passed(1).at)
            );
            let failed = history.end_of(&uid(2)).and_then(|end| end.fault);
            assert_eq!(failed, Some(Fault::CertificateReadback));
            assert_eq!(history.end_of(&uid(3)), None, "it never had a key");
            assert_eq!(history.end_of(&uid(4)), None, "it is open");
        }
        let mut given_up = history;
        given_up.apply(&voiding(2)).unwrap();
        given_up.apply(&bare(2, Event::Voided)).unwrap();
        let end = given_up.end_of(&uid(2)).and_then(|end| end.fault);
        assert_eq!(end, Some(Fault::Voided));
    }
}
