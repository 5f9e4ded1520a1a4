//! What all sockets of a station share.

use super::inspect::Inspect;
use super::journal::{Entry, Event, Journal, SignedRequest};
use super::seen::SeenCheckpoint;
use super::spool::Spool;
use super::{Failure, Step};
use crate::agent::ProgramHash;
use crate::ca_link::Ca;
use crate::config::Station;
use crate::files::beside;
use crate::injector::LineHsm;
use crate::lot::{Lot, LotUnit};
use crate::orders::Orders;
use crate::records::Output;
use crate::verdict::Verdict;
use identity::document::SerialRange;
use identity::envelope::{StationRequest, request_hash};
use identity::fault::Fault;
use identity::{ChipUid, Clock, DeviceSerial, DocumentHash, Entropy, Id, RequestId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often a socket that waits for a call looks whether the line stops.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What all sockets share.
#[derive(Clone, Copy)]
pub struct Floor<'a> {
    /// Who the station is.
    pub station: &'a Station,
    /// What may be made.
    pub orders: &'a Orders,
    /// The line HSM.
    pub hsm: &'a dyn LineHsm,
    /// The CA.
    pub ca: &'a dyn Ca,
    /// Checks what the CA answers.
    pub inspector: &'a dyn Inspect,
    /// The journal.
    pub journal: &'a Journal,
    /// Where records and devices' files go.
    pub output: &'a Output,
    /// The newest checkpoint seen.
    pub seen: &'a SeenCheckpoint,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Randomness.
    pub entropy: &'a dyn Entropy,
    /// Says when to stop.
    pub stop: &'a Stop,
    /// Chips of this run.
    pub roll: &'a Roll,
    /// Serials of the lots of this run.
    pub serials: &'a Serials,
    /// Most units with a key that may fail under one serial.
    pub attempts: u32,
    /// Units that wait for the CA.
    pub spool: &'a Spool,
    /// The program, as it was measured when the session began.
    pub agent: ProgramHash,
}

impl Floor<'_> {
    /// Fresh random bytes.
    ///
    /// # Errors
    /// [`Fault::LineHsm`] without randomness.
    pub fn random<const N: usize>(&self) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes to the journal.
    ///
    /// # Errors
    /// [`Fault::Journal`]
    pub fn enter(&self, request: RequestId, event: Event) -> Step<()> {
        let at = self.clock.now();
        Ok(self.journal.append(&Entry { request, at, event })?)
    }

    /// Writes to the journal, and the newest checkpoint seen to its file, in the time of one.
    ///
    /// # Errors
    /// [`Fault::Journal`]
    pub fn enter_with_seen(&self, request: RequestId, event: Event) -> Step<()> {
        let save = || self.seen.save();
        let (saved, entered) = beside(save, || self.enter(request, event));
        saved.map_err(|error| Failure::new(Fault::Journal, error))?;
        entered
    }

    /// Signs a request with the station's request key.
    ///
    /// # Errors
    /// [`Fault::LineHsm`]
    pub fn sign<R: StationRequest>(&self, request: &R) -> Step<SignedRequest> {
        self.sign_bytes::<R>(request.to_bytes())
    }

    /// Signs a request's bytes, also once more under the request key that the station has now.
    ///
    /// # Errors
    /// [`Fault::LineHsm`]
    pub fn sign_bytes<R: StationRequest>(&self, der: Vec<u8>) -> Step<SignedRequest> {
        let signature = self.hsm.sign_request(&request_hash::<R>(&der).0)?;
        Ok(SignedRequest { der, signature })
    }
}

impl std::fmt::Debug for Floor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Floor")
            .field("station", &self.station.id)
            .finish_non_exhaustive()
    }
}

/// Tells all sockets to stop after the step they are in.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stop {
    /// Stops the line.
    pub fn set(&self) {
        self.0.send_replace(true);
    }

    /// Whether the line is to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the line is to stop.
    pub async fn wait(&self) {
        // The sender lives in `self`, so waiting ends only with the value.
        let mut receiver = self.0.subscribe();
        if receiver.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What units are that were not begun when the sockets ended.
    #[must_use]
    pub fn rest(&self) -> Verdict {
        if self.is_set() {
            Verdict::Abort
        } else {
            Verdict::Hold
        }
    }

    /// Fails if the line is to stop.
    ///
    /// # Errors
    /// [`Fault::Interrupted`]
    pub fn check(&self) -> Step<()> {
        if self.is_set() {
            Err(Failure::new(Fault::Interrupted, "the line was stopped"))
        } else {
            Ok(())
        }
    }
}

/// The chips that were seen in this run, each with its seat.
#[derive(Debug, Default)]
pub struct Roll(Mutex<BTreeMap<ChipUid, Seating>>);

/// Socket, and position in its tray.
pub type Seating = (Id, u32);

impl Roll {
    /// Enters a chip; false if another seat had a chip with this UID in this run.
    #[must_use]
    pub fn enter(&self, uid: ChipUid, seating: Seating) -> bool {
        *lock(&self.0).entry(uid).or_insert(seating) == seating
    }

    /// The chip of a unit that was put aside is back, in this seat.
    pub fn reseat(&self, uid: ChipUid, seating: Seating) {
        lock(&self.0).insert(uid, seating);
    }
}

/// The units of the lot that still need a chip, handed out in the order of the file, those that were called by their
/// serial first.
#[derive(Debug)]
pub struct Queue {
    lot: Id,
    rows: Mutex<Rows>,
    changed: Condvar,
    by_call: bool,
}

#[derive(Debug)]
struct Rows {
    waiting: VecDeque<LotUnit>,
    /// How many of them, from the front, were called.
    called: usize,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The unit is the next, behind those that were called before it.
    Next,
    /// No unit of the lot that still needs a chip has this serial.
    NotWaiting,
}

impl Queue {
    /// The units of `lot` that `is_wanted`.
    pub fn new(lot: Lot, is_wanted: impl Fn(&LotUnit) -> bool) -> Self {
        let waiting = lot.units.into_iter().filter(is_wanted).collect();
        Self {
            lot: lot.id,
            rows: Mutex::new(Rows { waiting, called: 0 }),
            changed: Condvar::new(),
            by_call: false,
        }
    }

    /// From now on hands out only units that were called.
    #[must_use]
    pub fn by_call(self) -> Self {
        Self {
            by_call: true,
            ..self
        }
    }

    /// The lot.
    #[must_use]
    pub const fn lot(&self) -> &Id {
        &self.lot
    }

    /// Calls a unit by its serial, as the scanner does.
    pub fn call(&self, serial: &DeviceSerial) -> Called {
        let mut rows = lock(&self.rows);
        let Some(at) = rows.position(serial) else {
            return Called::NotWaiting;
        };
        if at >= rows.called {
            let (Some(row), to) = (rows.waiting.remove(at), rows.called) else {
                return Called::NotWaiting;
            };
            rows.waiting.insert(to, row);
            rows.called += 1;
        }
        drop(rows);
        self.changed.notify_all();
        Called::Next
    }

    /// Takes the next unit; where units are called, waits for a call. `None` when no unit is left or the line stops.
    pub fn take(&self, stop: &Stop) -> Option<LotUnit> {
        let mut rows = lock(&self.rows);
        while self.by_call && rows.called == 0 && !rows.waiting.is_empty() {
            if stop.is_set() {
                return None;
            }
            let woken = self.changed.wait_timeout(rows, LOOK_UP);
            (rows, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        rows.called = rows.called.saturating_sub(1);
        let taken = rows.waiting.pop_front();
        drop(rows);
        self.changed.notify_all();
        taken
    }

    /// Takes the unit of this serial and puts the drawn one back at the front. `None` if nobody waits for the serial.
    pub fn exchange(&self, drawn: LotUnit, serial: &DeviceSerial) -> Option<LotUnit> {
        let mut rows = lock(&self.rows);
        let at = rows.position(serial)?;
        let taken = rows.waiting.remove(at)?;
        if at < rows.called {
            rows.called -= 1;
        }
        rows.waiting.push_front(drawn);
        // It had its turn already.
        rows.called += 1;
        drop(rows);
        Some(taken)
    }

    /// Units not handed out.
    #[must_use]
    pub fn remaining(&self) -> usize {
        lock(&self.rows).waiting.len()
    }
}

impl Rows {
    fn position(&self, serial: &DeviceSerial) -> Option<usize> {
        self.waiting.iter().position(|row| row.serial == *serial)
    }
}

/// Which serials the lots' orders have, each asked of the CA once a run.
#[derive(Debug, Default)]
pub struct Serials(Mutex<BTreeMap<(DocumentHash, Id), SerialRange>>);

impl Serials {
    /// That a lot's order has a serial: known before a chip is burnt for it.
    ///
    /// # Errors
    /// [`Fault::SerialOutsideLot`], or the CA's.
    pub fn check(
        &self,
        ca: &dyn Ca,
        (grant, lot): (DocumentHash, Id),
        serial: &DeviceSerial,
    ) -> Step<()> {
        let known = lock(&self.0).get(&(grant, lot)).copied();
        let range = match known {
            Some(range) => range,
            None => ca.serials(&grant, &lot)?,
        };
        lock(&self.0).insert((grant, lot), range);
        match range.holds(serial) {
            true => Ok(()),
            false => Err(Failure::new(
                Fault::SerialOutsideLot,
                format!("{lot} has {} to {}", range.first, range.last),
            )),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(n: usize) -> DeviceSerial {
        DeviceSerial::new(&n.to_string()).unwrap()
    }

    fn queue() -> Queue {
        let unit = |n| LotUnit {
            serial: serial(n),
            label: String::new(),
        };
        let lot = Lot {
            id: Id::new("lot").unwrap(),
            units: (1..=4).map(unit).collect(),
        };
        Queue::new(lot, |_| true)
    }

    fn taken(queue: &Queue) -> Option<String> {
        let row = queue.take(&Stop::default());
        row.map(|row| row.serial.to_string())
    }

    #[test]
    fn called_units_come_first_in_the_order_of_the_calls() {
        let queue = queue();
        assert_eq!(queue.call(&serial(3)), Called::Next);
        assert_eq!(queue.call(&serial(2)), Called::Next);
        assert_eq!(queue.call(&serial(3)), Called::Next, "scanned twice");
        assert_eq!(queue.call(&serial(9)), Called::NotWaiting);
        let order: Vec<_> = std::iter::from_fn(|| taken(&queue)).collect();
        assert_eq!(order, ["3", "2", "1", "4"]);
        assert_eq!(queue.call(&serial(3)), Called::NotWaiting);
    }

    #[test]
    fn where_units_are_called_nothing_is_handed_out_without_a_call() {
        let queue = queue().by_call();
        std::thread::scope(|scope| {
            let socket = scope.spawn(|| taken(&queue));
            assert_eq!(queue.remaining(), 4);
            queue.call(&serial(4));
            assert_eq!(socket.join().unwrap().as_deref(), Some("4"));
        });
        let stop = Stop::default();
        stop.set();
        assert_eq!(queue.take(&stop), None);
        for n in 1..=3 {
            queue.call(&serial(n));
            assert_eq!(taken(&queue), Some(n.to_string()));
        }
        assert_eq!(taken(&queue), None, "no unit is left to be called");
    }
}
