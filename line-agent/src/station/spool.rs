//! Units that wait for the CA, in the order in which they came to wait.
//!
//! While the CA cannot be reached every socket keeps its unit, and what the journal holds of it. Only the unit that
//! waits longest asks whether the CA is back; when it is, units go on one after another in their order. A unit that the
//! CA then refuses for good leaves the line like one that passed: nobody waits behind it.

use super::floor::{Stop, lock};
use identity::fault::Fault;
use identity::{Clock, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What was signed longer ago, in milliseconds, is dated anew; the CA takes nothing that is a day off its clock. Until then
/// the same bytes go out: they get the same answer.
const FRESH_MS: u64 = 20 * 60 * 60 * 1000;

/// The line of units that wait.
#[derive(Debug)]
pub struct Spool {
    waiting: Mutex<Waiting>,
    moved: Condvar,
    hold: Duration,
    pause: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    places: BTreeSet<u64>,
}

/// A place in the line; given up when dropped.
#[derive(Debug)]
pub struct Place<'a> {
    spool: &'a Spool,
    number: u64,
    until: Timestamp,
}

impl Spool {
    /// A line in which each unit waits for at most `hold`, and asks again after `pause`.
    #[must_use]
    pub fn new(hold: Duration, pause: Duration) -> Self {
        Self {
            waiting: Mutex::default(),
            moved: Condvar::new(),
            hold,
            pause,
        }
    }

    /// Whether units wait here at all.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.hold.is_zero()
    }

    /// How many units wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.waiting).places.len()
    }

    /// Joins the line at its end, and tells of it before anybody joins behind.
    #[must_use]
    pub fn join(&self, clock: &dyn Clock, tell: impl FnOnce()) -> Place<'_> {
        let hold = u64::try_from(self.hold.as_millis()).unwrap_or(u64::MAX);
        let until = clock.now().plus_millis(hold);
        let mut waiting = lock(&self.waiting);
        let number = waiting.next;
        waiting.next = number.saturating_add(1);
        waiting.places.insert(number);
        tell();
        drop(waiting);
        Place {
            spool: self,
            number,
            until,
        }
    }
}

impl Place<'_> {
    /// Waits a pause, then until everybody before is through. False when the unit has waited as long as units wait.
    #[must_use]
    pub fn wait(&self, stop: &Stop, clock: &dyn Clock) -> bool {
        let mut paused = false;
        let mut waiting = lock(&self.spool.waiting);
        loop {
            if stop.is_set() {
                return true;
            }
            if clock.now() >= self.until {
                return false;
            }
            if paused && waiting.places.first() == Some(&self.number) {
                return true;
            }
            let woken = self.spool.moved.wait_timeout(waiting, self.spool.pause);
            let (back, timed) = woken.unwrap_or_else(PoisonError::into_inner);
            waiting = back;
            // Whoever steps up because the one before is through need not pause: the CA was there a moment ago.
            paused |= timed.timed_out() || waiting.places.first() == Some(&self.number);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.spool.waiting).places.remove(&self.number);
        self.spool.moved.notify_all();
    }
}

/// Whether what was signed then is of the present, by the clock that is there now.
#[must_use]
pub const fn is_fresh(then: Timestamp, now: Timestamp) -> bool {
    now.0.abs_diff(then.0) <= FRESH_MS
}

/// Faults that pass by themselves: the unit stays in its socket, and nobody need do anything to it.
#[must_use]
pub const fn passes(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::CaUnreachable
            | Fault::Overloaded
            | Fault::Stopped
            | Fault::HsmUnavailable
            | Fault::StoreUnavailable
            | Fault::ClockBackward
            | Fault::ClockForward
    )
}

/// Refusals that say nothing of what was asked for: a void or a scrapping waits, and is asked for again.
#[must_use]
pub const fn waits(fault: Fault) -> bool {
    passes(fault) || matches!(fault, Fault::StationClock)
}

/// Refusals of what stands in the journal that waiting does not mend: the unit is set aside, for a person to look at. A
/// grant or lot that had room when its key was made, and has none any more, is among them.
#[must_use]
pub const fn lasts(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::EnvelopeMalformed
            | Fault::TooLarge
            | Fault::GrantUnknown
            | Fault::GrantExpired
            | Fault::GrantUsedUp
            | Fault::GrantClosed
            | Fault::WrongLine
            | Fault::LotUnknown
            | Fault::LotFull
            | Fault::LotClosed
            | Fault::RequestConflict
            | Fault::NotHolder
            | Fault::Alarmed
            | Fault::Internal
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;
    use std::sync::mpsc;

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp(1_795_392_000_000)
        }
    }

    #[test]
    fn units_go_on_in_the_order_in_which_they_came_to_wait() {
        let spool = Spool::new(Duration::from_secs(600), Duration::from_millis(1));
        let stop = Stop::default();
        let places: Vec<_> = (0..4).map(|_| spool.join(&Noon, || ())).collect();
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            for (number, place) in places.into_iter().enumerate().rev() {
                let (tell, stop) = (tell.clone(), &stop);
                scope.spawn(move || {
                    assert!(place.wait(stop, &Noon));
                    tell.send(number).unwrap();
                });
            }
        });
        drop(tell);
        assert_eq!(told.iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_unit_waits_no_longer_than_units_wait_and_not_when_the_line_stops() {
        let spool = Spool::new(Duration::from_millis(1), Duration::from_millis(1));
        let stop = Stop::default();
        let first = spool.join(&Noon, || ());
        let second = spool.join(&Noon, || ());
        struct Later;
        impl Clock for Later {
            fn now(&self) -> Timestamp {
                Noon.now().plus_millis(1)
            }
        }
        assert!(!second.wait(&stop, &Later));
        stop.set();
        assert!(
            second.wait(&stop, &Later),
            "its unit says that it was stopped"
        );
        drop(first);
        let nobody = Spool::new(Duration::ZERO, Duration::ZERO);
        assert!(!nobody.is_open());
    }

    #[test]
    fn what_passes_and_what_lasts_is_on_hold_and_nothing_is_both() {
        for fault in Fault::ALL {
            assert!(!(passes(*fault) && lasts(*fault)));
            if passes(*fault) || lasts(*fault) {
                assert_eq!(Verdict::of(*fault), Verdict::Hold, "{fault}");
            }
        }
    }
}
