//! One socket: chip after chip, as long as there are units to make and chips to make them of.

use super::floor::{Floor, Queue};
use super::journal::{Closed, Event, History, OpenUnit};
use super::session::{Bench, Task};
use super::{Failure, Step, unit, void};
use crate::display::{Desk, UnitLine};
use crate::orders::Order;
use crate::programmer::Programmer;
use crate::records::{FaultRecord, PlaceOfWork, Record, Trail};
use crate::verdict::Verdict;
use identity::fault::Fault;
use identity::{Id, RequestId};
use koseki_device::Seat;

/// A socket at work.
pub struct Socket<'a> {
    /// What all sockets share.
    pub floor: Floor<'a>,
    /// Name of the socket.
    pub name: Id,
    /// The line to it.
    pub programmer: Box<dyn Programmer>,
    /// Units to make.
    pub queue: &'a Queue,
    /// Where outcomes are shown and counted.
    pub desk: &'a Desk,
}

impl std::fmt::Debug for Socket<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Socket<'a> {
    /// Works until the lot or the tray is used up, the line is stopped, or a unit must stay in the socket.
    pub fn work(mut self) {
        let mut seat = match self.programmer.look() {
            Ok(seat) => seat,
            Err(error) => return self.desk.socket_failed(&self.name, &Failure::from(error)),
        };
        if self.sits_done(seat) {
            seat = match self.programmer.next_chip(seat.position) {
                Ok(seat) => seat,
                Err(error) => return self.desk.socket_failed(&self.name, &error.into()),
            };
        }
        while let Some(task) = self.next_task(seat) {
            let moves_on = match task {
                Ok(task) => self.make(task),
                Err(failure) => return self.desk.socket_failed(&self.name, &failure),
            };
            if !moves_on {
                return;
            }
            seat = match self.programmer.next_chip(seat.position) {
                Ok(seat) => seat,
                Err(error) => return self.desk.socket_failed(&self.name, &error.into()),
            };
        }
    }

    /// Whether the chip was done before the power went, and the handler was not told.
    fn sits_done(&mut self, seat: Seat) -> bool {
        let is_open = self
            .floor
            .journal
            .with(|history| history.open_in(&self.name).is_some());
        if self.floor.stop.is_set() || is_open || !seat.occupied {
            return false;
        }
        let Ok(chip) = self.programmer.identify() else {
            return false;
        };
        self.floor
            .journal
            .with(|history| history.was_last_in(&self.name, &chip.uid))
    }

    /// The unit that is open in this socket, or the next of the lot.
    fn next_task(&self, seat: Seat) -> Option<Step<Task<'a>>> {
        if self.floor.stop.is_set() {
            return None;
        }
        let open = self
            .floor
            .journal
            .with(|history| history.open_in(&self.name).cloned());
        match open {
            Some(open) => Some(self.open_task(&open, seat)),
            None if seat.occupied => self.fresh_task(seat).map(Ok),
            None => None,
        }
    }

    fn fresh_task(&self, seat: Seat) -> Option<Task<'a>> {
        let lot = *self.queue.lot();
        let order = self.floor.orders.for_lot(&lot)?;
        let row = self.queue.take()?;
        let attempt = self
            .floor
            .journal
            .with(|history| history.next_attempt(&lot, &row.serial));
        Some(Task {
            order,
            lot,
            serial: row.serial,
            label: row.label,
            attempt,
            socket: self.name,
            position: seat.position,
        })
    }

    /// The unit that the journal says is in this socket, under the grant it was begun with.
    fn open_task(&self, open: &OpenUnit, seat: Seat) -> Step<Task<'a>> {
        let keyed = &open.keyed;
        let order: Option<&'a Order> = self
            .floor
            .orders
            .all()
            .iter()
            .find(|order| order.grant_hash == keyed.grant);
        let Some(order) = order else {
            let detail = format!(
                "the grant of serial {} in this socket is not in the settings",
                keyed.serial
            );
            return Err(Failure::new(Fault::Config, detail));
        };
        Ok(Task {
            order,
            lot: keyed.lot,
            serial: keyed.serial,
            label: keyed.label.clone(),
            attempt: keyed.attempt,
            socket: self.name,
            position: seat.position,
        })
    }

    /// Makes one unit. True if the chip may leave the socket.
    fn make(&mut self, task: Task<'a>) -> bool {
        let started = self.floor.clock.now();
        let request = RequestId(self.floor.random().unwrap_or_default());
        let floor = self.floor;
        let mut bench = Bench {
            floor,
            programmer: &mut *self.programmer,
            queue: self.queue,
            task,
            request,
            trail: Trail::default(),
        };
        let outcome = unit::run(&mut bench);
        let outcome = outcome
            .and_then(|()| close(&bench, None))
            .or_else(|failure| give_up(&bench, failure));
        let millis = self.floor.clock.now().0.saturating_sub(started.0);
        let line = UnitLine {
            serial: bench.task.serial,
            label: bench.task.label,
            socket: self.name,
            uid: bench.trail.facts.uid,
            failure: outcome.err(),
            millis,
        };
        let verdict = line.verdict();
        if verdict == Verdict::Error {
            self.floor.stop.set();
        }
        self.desk.unit_done(&line);
        verdict.is_final()
    }
}

/// Record, then verdict in the journal. If the power goes in between, the unit is still open; it comes here again.
fn close(bench: &Bench<'_>, failure: Option<&Failure>) -> Step<()> {
    let verdict = failure.map_or(Verdict::Pass, |failure| Verdict::of(failure.fault));
    let record = record(bench, verdict, failure);
    bench
        .floor
        .output
        .put_record(&record)
        .map_err(|error| Failure::new(Fault::Journal, error))?;
    match (verdict.is_final(), bench.trail.facts.uid) {
        (true, Some(uid)) => bench.journal(Event::Closed(Closed {
            socket: bench.task.socket,
            lot: bench.task.lot,
            serial: bench.task.serial,
            uid,
            verdict,
            fault: failure.map(|failure| failure.fault),
        })),
        (true, None) | (false, _) => Ok(()),
    }
}

/// Closes a unit that did not pass. A failure to write is worse than what ended the unit.
fn give_up(bench: &Bench<'_>, failure: Failure) -> Step<()> {
    tracing::warn!(socket = %bench.task.socket, serial = %bench.task.serial, %failure, "not passed");
    if !is_dead(bench, &failure) {
        return close(bench, Some(&failure)).and(Err(failure));
    }
    let announced = void::announce(&bench.floor, bench.request, reason(failure.fault)?);
    close(bench, Some(&failure))?;
    if let Err(error) = announced.and_then(|()| void::send(&bench.floor, bench.request)) {
        tracing::warn!(request = %bench.request, %error, "not voided");
    }
    Err(failure)
}

/// Whether the chip itself says that it is scrap, and its unit may be bound. Every other unit that failed behind its
/// binding is a person's to judge: `line-agent unit void`.
fn is_dead(bench: &Bench<'_>, failure: &Failure) -> bool {
    let may_be_bound = |history: &History| {
        let unit = history.open_unit(&bench.request);
        unit.is_some_and(|unit| unit.sent.is_some())
    };
    failure.fault == Fault::ChipTorn && bench.floor.journal.with(may_be_bound)
}

fn reason(fault: Fault) -> Step<Id> {
    Id::new(fault.code()).map_err(|error| Failure::new(Fault::Config, error))
}

fn record(bench: &Bench<'_>, verdict: Verdict, failure: Option<&Failure>) -> Record {
    let (task, station) = (&bench.task, bench.floor.station);
    let grant = &task.order.grant;
    Record {
        schema: "record/v1",
        serial: task.serial,
        label: task.label.clone(),
        lot: task.lot,
        product: grant.product,
        grant: grant.id,
        grant_hash: task.order.grant_hash,
        place: PlaceOfWork {
            site: station.site,
            line: station.line,
            station: station.id,
            socket: task.socket,
            position: task.position,
        },
        attempt: task.attempt,
        request: bench.request,
        facts: bench.trail.facts.clone(),
        verdict,
        fault: failure.map(|failure| FaultRecord::new(failure.fault, failure.detail.clone())),
        steps: bench.trail.steps.clone(),
    }
}
