//! A run: every socket at work, and around them whoever watches, scans and stops the line.

use crate::app::{AppError, ends};
use crate::ca_link::CaError;
use crate::config::{Config, Line, Socket as SocketSettings};
use crate::display::json::JsonLines;
use crate::display::lines::Lines;
use crate::display::scanned::{Answer, ScanDesk};
use crate::display::screen::Panel;
use crate::display::screen::state::{Aside, Head, State};
use crate::display::{Desk, Sink};
use crate::gs1::{self, Scan};
use crate::lot::Lot;
use crate::metrics::{self, Counted, Meters};
use crate::programmer;
use crate::sources::SystemClock;
use crate::station::floor::{Floor, Queue, Stop};
use crate::station::journal::{History, Journal, OpenUnit};
use crate::station::socket::{SCRAPPING, Socket, VOID, tell_alarms};
use crate::station::{Failure, scrap, void};
use crate::verdict::Verdict;
use crate::vigil::{Bell, Pulses, Vigil};
use identity::fault::Fault;
use std::io::{self, BufRead as _};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use vitals::manager;

/// How often the CA is asked how much of the grant is left, for screen and metrics.
const ASK_QUOTA: Duration = Duration::from_secs(5);
/// How often a thread that waits looks whether the run is over.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Who is told what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Other programs: lines of JSON.
    Program,
    /// A person without a screen: plain lines.
    Person,
    /// A person at a terminal.
    Screen,
}

/// Makes what the lot still waits for, and says what it came to.
///
/// # Errors
/// If signals or the journal cannot be had; afterwards faults are the units'.
pub fn work(
    config: &Config,
    floor: Floor<'_>,
    lot: &Lot,
    audience: Audience,
    runtime: &Runtime,
) -> Result<Verdict, AppError> {
    // Before the queue: a void or a scrapping that goes out frees its serial.
    let scrappings = scrap::send_waiting(&floor).map_err(AppError::Ended)?;
    let voids = void::send_waiting(&floor).map_err(AppError::Ended)?;
    let used_up = ends::tell_used_up(config, &floor, lot)?;
    let queue = Queue::new(lot.clone(), |unit| {
        let wanted = |history: &History| history.is_wanted(&lot.id, &unit.serial);
        !used_up.contains(&unit.serial) && floor.journal.with(wanted)
    });
    let queue = if config.scan { queue.by_call() } else { queue };
    let panel = (audience == Audience::Screen).then(|| panel(config, lot, floor.journal));
    let sockets = config.sockets.iter().map(|socket| socket.name);
    let meters = Arc::new(Meters::new(sockets));
    metrics::show(config, runtime, &meters).map_err(AppError::Metrics)?;
    let desk = desk(config, audience, panel.as_ref(), &meters);
    tell_alarms(SCRAPPING, scrappings, &desk);
    tell_alarms(VOID, voids, &desk);
    let signals = {
        let _inside = runtime.enter();
        [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ]
    };
    let shift = Shift {
        config,
        floor,
        queue: &queue,
        desk: &desk,
        panel: panel.as_ref(),
        meters: &meters,
    };
    let verdict = shift.run(runtime, signals);
    if panel.is_some() {
        // The screen is gone; what it came to stays to be read.
        let last = Desk::new(Box::new(Lines::new(
            Box::new(io::stdout()),
            config.language,
        )));
        last.repeat_summary(&desk);
    }
    let verdict = match used_up.is_empty() {
        true => verdict,
        false => verdict.max(Verdict::Fail),
    };
    let is_open = floor
        .journal
        .with(|history| history.open_units().next().is_some());
    Ok(if is_open {
        verdict.max(Verdict::Hold)
    } else {
        verdict
    })
}

/// What waits for a person to look at.
fn aside(history: &History) -> Vec<Aside> {
    let of = |unit: &OpenUnit| {
        let fault = unit.aside?;
        let (socket, serial) = (unit.keyed.socket, unit.keyed.serial);
        Some(Aside {
            socket,
            serial,
            fault,
        })
    };
    history.aside().filter_map(of).collect()
}

fn panel(config: &Config, lot: &Lot, journal: &Journal) -> Panel {
    let serials = lot.units.iter().map(|unit| &unit.serial);
    let head = Head {
        lot: lot.id,
        units: lot.units.len(),
        before: journal.with(|history| history.passed(&lot.id, serials)),
        language: config.language,
    };
    let sockets = config.sockets.iter().map(|socket| socket.name);
    let mut state = State::new(head, sockets);
    state.aside = journal.with(aside);
    Panel::new(state)
}

fn desk(config: &Config, audience: Audience, panel: Option<&Panel>, meters: &Arc<Meters>) -> Desk {
    let out = Box::new(io::stdout());
    let sink: Box<dyn Sink> = match (panel, audience) {
        (Some(panel), _) => Box::new(panel.sink(SystemClock)),
        (None, Audience::Program) => Box::new(JsonLines::new(out)),
        (None, Audience::Person | Audience::Screen) => Box::new(Lines::new(out, config.language)),
    };
    Desk::new(Box::new(Counted::new(Arc::clone(meters), sink)))
}

/// Everything that works during a run.
#[derive(Clone, Copy)]
struct Shift<'a> {
    config: &'a Config,
    floor: Floor<'a>,
    queue: &'a Queue,
    desk: &'a Desk,
    panel: Option<&'a Panel>,
    meters: &'a Meters,
}

impl Shift<'_> {
    /// Lets every socket work on a thread of its own.
    fn run(self, runtime: &Runtime, signals: [Signal; 2]) -> Verdict {
        let (told, end) = oneshot::channel::<()>();
        let (over, pulses) = (Bell::default(), Pulses::default());
        let vigil = Vigil {
            config: self.config,
            floor: self.floor,
            queue: self.queue,
            meters: self.meters,
            pulses: &pulses,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| runtime.block_on(self.heed(signals, end)));
            match self.panel {
                Some(panel) => {
                    scope.spawn(|| panel.run(&self.scans(), self.floor.stop));
                }
                None if self.config.scan => {
                    scope.spawn(|| self.read_scans(&over));
                }
                None => {}
            }
            if self.panel.is_some() || self.config.metrics.listen.is_some() {
                scope.spawn(|| self.watch_quota(&over));
            }
            if vigil.is_wanted() {
                scope.spawn(|| vigil.ask(&over));
                scope.spawn(|| vigil.tell(&over));
            }
            manager::ready();
            std::thread::scope(|sockets| {
                for settings in &self.config.sockets {
                    sockets.spawn(|| self.work_socket(settings));
                }
            });
            manager::stopping("the run is over");
            drop(told);
            over.ring();
            self.ask_for_lot();
            let (lot, rest) = (self.queue.lot(), self.floor.stop.rest());
            self.desk.summary(lot, self.queue.remaining(), rest)
        })
    }

    /// Before chips are asked for, the CA is whether it would take any. One that is away is not waited for.
    fn ask_for_lot(self) {
        let lot = self.queue.lot();
        let is_idle = self.queue.remaining() > 0 && self.desk.wants_chips();
        let order = self.floor.orders.for_lot(lot).filter(|_| is_idle);
        let Some(grant) = order.map(|order| &order.grant_hash) else {
            return;
        };
        if self.floor.ca.quota(grant).is_ok()
            && let Err(refusal @ CaError::Refused(..)) = self.floor.ca.serials(grant, lot)
        {
            self.desk.lot_refused(refusal.into());
        }
    }

    /// Stops the line when the program is told to end.
    async fn heed(self, [mut interrupt, mut terminate]: [Signal; 2], end: oneshot::Receiver<()>) {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = end => return,
        }
        manager::stopping("stopping: each socket ends with the step it is in");
        self.floor.stop.set();
        if let Some(panel) = self.panel {
            panel.leave();
        }
    }

    fn work_socket(self, settings: &SocketSettings) {
        match programmer::open(&settings.line, self.floor.entropy) {
            Ok(programmer) => Socket {
                floor: self.floor,
                name: settings.name,
                programmer,
                queue: self.queue,
                desk: self.desk,
            }
            .work(),
            Err(error) => self
                .desk
                .socket_failed(&settings.name, &absent(&settings.line, &error)),
        }
    }

    /// Asks the CA from time to time how much of the grant is left, until the run is over.
    fn watch_quota(self, over: &Bell) {
        let Some(order) = self.floor.orders.for_lot(self.queue.lot()) else {
            return;
        };
        loop {
            // A CA that is away says nothing of it; the sockets say that it is away.
            if let Ok(quota) = self.floor.ca.quota(&order.grant_hash) {
                self.meters.show_quota(&order.grant.id, quota);
                if let Some(panel) = self.panel {
                    panel.show_quota(quota);
                }
            }
            if over.within(ASK_QUOTA) {
                return;
            }
        }
    }

    const fn scans(&self) -> ScanDesk<'_> {
        ScanDesk {
            queue: self.queue,
            journal: self.floor.journal,
        }
    }

    fn call(&self, line: &str) {
        let language = self.config.language;
        match gs1::read(line) {
            Ok(Scan { serial, .. }) => {
                let answer = self.scans().call(&serial);
                if answer != Answer::Next {
                    tracing::warn!(%serial, "scanned; {}", answer.words(language));
                }
            }
            Err(error) => tracing::warn!("scanned; {}", error.words(language)),
        }
    }

    /// Without a screen the scanner types lines on standard input; when it is gone the line stops.
    fn read_scans(self, over: &Bell) {
        let (send, lines) = mpsc::sync_channel(16);
        // A thread that nobody waits for: reading cannot be interrupted.
        std::thread::spawn(move || {
            let scans = io::stdin().lock().lines();
            for line in scans.map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        loop {
            match lines.recv_timeout(LOOK_UP) {
                Ok(line) => self.call(&line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return stop_without_scanner(self),
            }
            if over.within(Duration::ZERO) {
                return;
            }
        }
    }
}

/// The programmer of a socket that cannot be spoken to.
fn absent(line: &Line, error: &io::Error) -> Failure {
    Failure::new(Fault::NoChip, format_args!("{line}: {error}"))
}

fn stop_without_scanner(shift: Shift<'_>) {
    if shift.queue.remaining() > 0 {
        tracing::warn!("the scanner is gone");
        stop(shift.floor.stop);
    }
}

fn stop(line: &Stop) {
    line.set();
}
