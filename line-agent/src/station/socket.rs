//! One socket: chip after chip, as long as there are units to make and chips to make them of.

use super::floor::{Floor, Queue};
use super::journal::{Aside, Closed, Earlier, Event, History, OpenUnit};
use super::session::{Bench, Task};
use super::spool::{self, Place};
use super::{Failure, Step, scrap, unit, void};
use crate::display::{self, Attempt, Begun, Desk, UnitLine};
use crate::files::beside;
use crate::orders::Order;
use crate::programmer::Programmer;
use crate::records::{EarlierAttempt, FaultRecord, Metadata, Record, SCHEMA, Shipment, Trail};
use crate::verdict::Verdict;
use identity::fault::Fault;
use identity::{Id, RequestId, Timestamp};
use koseki_device::Seat;

/// What an alarm calls a void.
pub const VOID: &str = "void";
/// What an alarm calls a scrapping.
pub const SCRAPPING: &str = "scrapping";

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
        // A failed unit that can go on is tried again, be it that the handler was not told or that somebody put it back.
        self.floor.journal.with(|history| {
            history.was_last_in(&self.name, &chip.uid) && !history.may_go_on(&chip.uid)
        })
    }

    /// The unit that is open in this socket, or the next of the lot.
    fn next_task(&mut self, seat: Seat) -> Option<Step<Task<'a>>> {
        if self.floor.stop.is_set() {
            return None;
        }
        let open = self
            .floor
            .journal
            .with(|history| history.open_in(&self.name).cloned());
        match open {
            Some(open) => Some(self.open_task(&open, seat)),
            None if seat.occupied => match self.seated_again(seat) {
                Ok(Some(open)) => Some(self.open_task(&open, seat)),
                Ok(None) => self.fresh_task(seat).map(Ok),
                Err(failure) => Some(Err(failure)),
            },
            None => {
                self.desk.socket_empty(&self.name);
                None
            }
        }
    }

    /// The unit whose chip is back, now in this socket: it was set aside, or failed behind its binding.
    fn seated_again(&mut self, seat: Seat) -> Step<Option<OpenUnit>> {
        let (journal, socket) = (self.floor.journal, self.name);
        if !journal.with(History::waits_for_chips) {
            return Ok(None);
        }
        // A chip that does not say who it is meets the same question as the next of the lot.
        let Ok(chip) = self.programmer.identify() else {
            return Ok(None);
        };
        let Some((request, event)) = journal.with(|history| history.comes_back(&chip, socket))
        else {
            return Ok(None);
        };
        // A unit of a grant that this station does not have any more stays failed, and its chip is as any other.
        if !journal.with(|history| self.has_order(history, &request)) {
            return Ok(None);
        }
        self.floor.enter(request, event)?;
        self.floor.roll.reseat(chip.uid, (socket, seat.position));
        Ok(journal.with(|history| history.open_in(&socket).cloned()))
    }

    /// Whether the grant that a unit was begun under is in the settings.
    fn has_order(&self, history: &History, request: &RequestId) -> bool {
        let grant = history.grant_of(request);
        let mut orders = self.floor.orders.all().iter();
        grant.is_some_and(|grant| orders.any(|order| order.grant_hash == grant))
    }

    fn fresh_task(&self, seat: Seat) -> Option<Task<'a>> {
        let lot = *self.queue.lot();
        let order = self.floor.orders.for_lot(&lot)?;
        let row = self.queue.take(self.floor.stop)?;
        let ask = |history: &History| {
            let attempt = history.next_attempt(&lot, &row.serial);
            (attempt, history.failures(&lot, &row.serial))
        };
        let (attempt, failures) = self.floor.journal.with(ask);
        Some(Task {
            order,
            lot,
            serial: row.serial,
            label: row.label,
            attempt,
            failures,
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
        let failures = |history: &History| history.failures(&keyed.lot, &keyed.serial);
        Ok(Task {
            order,
            failures: self.floor.journal.with(failures),
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
        let began = self.floor.clock.now();
        let request = match self.floor.random() {
            Ok(random) => RequestId(random),
            Err(failure) => {
                self.desk.socket_failed(&self.name, &failure);
                return false;
            }
        };
        self.desk.show(&display::Event::Begun(Begun {
            serial: task.serial,
            label: task.label.clone(),
            socket: self.name,
            attempt: attempt(&task, &self.floor),
        }));
        let mut bench = Bench {
            floor: self.floor,
            programmer: &mut *self.programmer,
            queue: self.queue,
            task,
            request,
            trail: Trail::begin(began),
            shipment: None,
        };
        let outcome = unit::run(&mut bench);
        let (outcome, place) = wait_for_ca(&mut bench, outcome, self.desk);
        let (failure, set_aside) = match outcome.and_then(|()| close(&bench, None)) {
            Ok(()) => (None, false),
            Err(failure) => {
                let (failure, aside) = give_up(&bench, failure, self.desk);
                (Some(failure), aside)
            }
        };
        if place.is_some() && failure.is_none() {
            // The CA is back: what else waits goes out before the next unit's turn.
            send_waiting(&self.floor, self.desk);
        }
        let line = UnitLine {
            set_aside,
            ..line(&bench, failure)
        };
        let verdict = line.verdict();
        if verdict == Verdict::Error {
            self.floor.stop.set();
        }
        self.desk.unit_done(line);
        drop(place);
        verdict.is_final() || set_aside
    }
}

/// Keeps a unit in its socket while the CA cannot be reached, and goes on with it when it is its turn. Gives its place
/// in the line with the outcome, so that nobody passes before it is closed.
fn wait_for_ca<'a>(
    bench: &mut Bench<'a>,
    mut outcome: Step<()>,
    desk: &Desk,
) -> (Step<()>, Option<Place<'a>>) {
    let floor = bench.floor;
    let mut place = None;
    while let Err(failure) = &outcome
        && spool::passes(failure.fault)
    {
        if place.is_none() && floor.spool.is_open() {
            // The record says HOLD until the unit has its verdict.
            if let Err(worse) = close(bench, Some(failure)) {
                return (Err(worse), None);
            }
            let waits = line(bench, Some(failure.clone()));
            let tell = || desk.show(&display::Event::Waits(waits));
            place = Some(floor.spool.join(floor.clock, tell));
        }
        match &place {
            Some(place) if place.wait(floor.stop, floor.clock) => {}
            Some(_) | None => break,
        }
        let facts = std::mem::take(&mut bench.trail.facts);
        bench.trail = Trail::begin(bench.trail.began);
        bench.trail.facts = facts;
        outcome = unit::run(bench);
    }
    (outcome, place)
}

fn line(bench: &Bench<'_>, failure: Option<Failure>) -> UnitLine {
    let now = bench.floor.clock.now();
    UnitLine {
        lot: bench.task.lot,
        serial: bench.task.serial,
        label: bench.task.label.clone(),
        socket: bench.task.socket,
        uid: bench.trail.facts.uid,
        failure,
        set_aside: false,
        attempt: attempt(&bench.task, &bench.floor),
        millis: now.0.saturating_sub(bench.trail.began.0),
    }
}

/// Which attempt of how many it is since the serial was last scrapped.
const fn attempt(task: &Task<'_>, floor: &Floor<'_>) -> Attempt {
    Attempt {
        number: task.failures.saturating_add(1),
        most: floor.attempts,
    }
}

/// Sends what waits for the CA beside units, and shows what cannot be sent.
fn send_waiting(floor: &Floor<'_>, desk: &Desk) {
    for (what, outcome) in [
        (SCRAPPING, scrap::send_waiting(floor)),
        (VOID, void::send_waiting(floor)),
    ] {
        match outcome {
            Ok(failed) => tell_alarms(what, failed, desk),
            Err(failure) => alarm(desk, format!("{what}s that wait"), failure),
        }
    }
}

/// Shows what came of voids or scrappings that waited and cannot be sent.
pub fn tell_alarms(what: &str, failed: Vec<(RequestId, Failure)>, desk: &Desk) {
    for (request, failure) in failed {
        alarm(desk, format!("{what} of request {request}"), failure);
    }
}

fn alarm(desk: &Desk, about: String, failure: Failure) {
    desk.show(&display::Event::Alarm { about, failure });
}

/// Record, then verdict in the journal. If the power goes in between, the unit is still open; it comes here again.
fn close(bench: &Bench<'_>, failure: Option<&Failure>) -> Step<()> {
    let verdict = failure.map_or(Verdict::Pass, |failure| Verdict::of(failure.fault));
    let record = record(bench, verdict, failure);
    let shipment = bench.shipment.as_ref().filter(|_| failure.is_none());
    store(&bench.floor, &record, shipment)?;
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

/// Puts everything of a unit that must outlive a power cut on the disk before its verdict, all of it at once.
fn store(floor: &Floor<'_>, record: &Record, shipment: Option<&Shipment>) -> Step<()> {
    let output = || floor.output.put(record, shipment);
    let stored = match floor.seen.is_unsaved() {
        false => output(),
        true => {
            let (saved, stored) = beside(|| floor.seen.save(), output);
            stored.and(saved)
        }
    };
    stored.map_err(|error| Failure::new(Fault::Journal, error))
}

/// Closes a unit that did not pass. Gives what ended it (a failure to write is worse than that), and whether it was set
/// aside.
fn give_up(bench: &Bench<'_>, failure: Failure, desk: &Desk) -> (Failure, bool) {
    // The desk shows it.
    tracing::info!(socket = %bench.task.socket, serial = %bench.task.serial, %failure, "not passed");
    let closed = match is_dead(bench, &failure) {
        true => close_dead(bench, &failure, desk),
        false => close(bench, Some(&failure)),
    };
    let aside = closed.and_then(|()| set_aside(bench, &failure));
    match aside {
        Ok(aside) => (failure, aside),
        Err(worse) => (worse, false),
    }
}

fn close_dead(bench: &Bench<'_>, failure: &Failure, desk: &Desk) -> Step<()> {
    let announced = void::announce(&bench.floor, bench.request, reason(failure.fault)?);
    close(bench, Some(failure))?;
    if let Err(error) = announced.and_then(|()| void::send(&bench.floor, bench.request)) {
        tracing::info!(request = %bench.request, %error, "not voided");
        tell_alarms(VOID, vec![(bench.request, error)], desk);
    }
    Ok(())
}

/// Sets a unit aside whose sent request the CA refuses for good: it may be bound, so it stays open, but no longer in
/// this socket. If the power goes before this, it is refused again at the next start.
fn set_aside(bench: &Bench<'_>, failure: &Failure) -> Step<bool> {
    if !spool::lasts(failure.fault) || !may_be_bound(bench) {
        return Ok(false);
    }
    let fault = failure.fault;
    bench.journal(Event::Aside(Aside { fault }))?;
    Ok(true)
}

/// Whether the chip itself says that it is scrap, and its unit may be bound. Every other unit that failed behind its
/// binding is a person's to judge: `line-agent unit void`.
fn is_dead(bench: &Bench<'_>, failure: &Failure) -> bool {
    failure.fault == Fault::ChipTorn && may_be_bound(bench)
}

/// Whether the unit's request may have been sent.
fn may_be_bound(bench: &Bench<'_>) -> bool {
    let is_sent = |history: &History| {
        let unit = history.open_unit(&bench.request);
        unit.is_some_and(|unit| unit.sent.is_some())
    };
    bench.floor.journal.with(is_sent)
}

fn reason(fault: Fault) -> Step<Id> {
    Id::new(fault.code()).map_err(|error| Failure::new(Fault::Config, error))
}

fn record(bench: &Bench<'_>, verdict: Verdict, failure: Option<&Failure>) -> Record {
    let (task, station, trail) = (&bench.task, bench.floor.station, &bench.trail);
    let grant = &task.order.grant;
    let ended: Timestamp = bench.floor.clock.now();
    Record {
        schema: SCHEMA,
        dut_id: task.serial,
        station_id: station.id,
        start_time_millis: trail.began,
        end_time_millis: ended,
        time_quality: bench.floor.ca.time_quality(),
        outcome: verdict,
        outcome_details: failure.map(FaultRecord::of).into_iter().collect(),
        metadata: Metadata {
            label: task.label.clone(),
            lot: task.lot,
            product: grant.product,
            grant: grant.id,
            grant_hash: task.order.grant_hash,
            site: station.site,
            line: station.line,
            socket: task.socket,
            position: task.position,
            attempt: task.attempt,
            earlier: earlier(bench),
            request: bench.request,
            agent_version: env!("CARGO_PKG_VERSION"),
            agent_sha256: bench.floor.agent,
            facts: trail.facts.clone(),
        },
        phases: trail.phases.clone(),
    }
}

/// What was tried before with the unit's serial.
fn earlier(bench: &Bench<'_>) -> Vec<EarlierAttempt> {
    let (lot, serial) = (&bench.task.lot, &bench.task.serial);
    let earlier = bench
        .floor
        .journal
        .with(|history| history.earlier(lot, serial));
    let of = |earlier: Earlier| EarlierAttempt {
        attempt: earlier.attempt,
        uid: earlier.uid,
        end_time_millis: earlier.at,
        code: earlier.fault.map(Fault::code),
    };
    earlier.into_iter().map(of).collect()
}
