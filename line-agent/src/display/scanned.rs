//! What is said of a serial that was scanned.

use crate::config::Language;
use crate::station::close::Outcome;
use crate::station::floor::{Called, Queue};
use crate::station::journal::Journal;
use identity::DeviceSerial;

/// Where scans go.
#[derive(Clone, Copy, Debug)]
pub struct ScanDesk<'a> {
    /// Units of the lot that nobody works on.
    pub queue: &'a Queue,
    /// What became of the others.
    pub journal: &'a Journal,
}

/// What came of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The unit is next.
    Next,
    /// Its unit is good already.
    Passed,
    /// Its unit is open: in a socket, or set aside.
    Open,
    /// The lot does not wait for it.
    NotWaiting,
}

impl ScanDesk<'_> {
    /// Calls the unit of this serial, and says what came of it.
    #[must_use]
    pub fn call(&self, serial: &DeviceSerial) -> Answer {
        let lot = self.queue.lot();
        let outcome = || self.journal.with(|history| history.outcome(lot, serial));
        match self.queue.call(serial) {
            Called::Next => Answer::Next,
            Called::NotWaiting => match outcome() {
                Outcome::Passed => Answer::Passed,
                Outcome::Held => Answer::Open,
                Outcome::Failed | Outcome::Scrapped | Outcome::Unused => Answer::NotWaiting,
            },
        }
    }
}

impl Answer {
    /// What stands behind the serial.
    #[must_use]
    pub const fn words(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Next, Language::Ja) => "次に作業します",
            (Self::Next, Language::En) => "is next",
            (Self::Passed, Language::Ja) => "合格済みです",
            (Self::Passed, Language::En) => "is PASS already",
            (Self::Open, Language::Ja) => "作業中か保留中です",
            (Self::Open, Language::En) => "is under work or on hold already",
            (Self::NotWaiting, Language::Ja) => "このロットの残りにありません",
            (Self::NotWaiting, Language::En) => "is not among those that this lot waits for",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lot::{Lot, LotUnit};
    use crate::station::journal::samples::{closed, keyed, passed};
    use identity::Id;

    #[test]
    fn a_serial_that_passed_or_is_open_is_said_to_be() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::open(home.path()).unwrap();
        for entry in [keyed(1), passed(1), keyed(2), keyed(3), closed(3)] {
            journal.append(&entry).unwrap();
        }
        let serial = |n: u8| DeviceSerial::new(&format!("2648000100{n}")).unwrap();
        let lot = Lot {
            id: Id::new("26W48-A").unwrap(),
            units: (1..=4)
                .map(|n| LotUnit {
                    serial: serial(n),
                    label: String::new(),
                })
                .collect(),
        };
        let id = lot.id;
        let queue = Queue::new(lot, |row| {
            journal.with(|history| history.is_wanted(&id, &row.serial))
        });
        let desk = ScanDesk {
            queue: &queue,
            journal: &journal,
        };
        let answers = [1, 2, 3, 4, 5].map(|n| desk.call(&serial(n)));
        let (passed, open) = (Answer::Passed, Answer::Open);
        let (next, other) = (Answer::Next, Answer::NotWaiting);
        assert_eq!(answers, [passed, open, next, next, other]);
        assert_eq!(Answer::Passed.words(Language::En), "is PASS already");
    }
}
