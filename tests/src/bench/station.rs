//! The station's own time for a unit: the real code of a socket, the line HSM's part included, without the time inside
//! the chip and inside the CA.
//!
//! Chip and CA are the real ones of the simulation. Each socket works on a thread of its own, and every question to chip
//! or CA blocks that thread: what passes inside the question is taken off, all else is the station's.

use super::floors::Floors;
use super::report::{Row, Times, load};
use super::{GRANT, LOT, Selection};
use crate::chips::{ON_CHIP, Programmer as Tool, Tray};
use crate::factory::Factory;
use crate::failure::{Failure, Outcome, require};
use crate::station::Station;
use identity::document::SerialRange;
use identity::lot::LotSeen;
use identity::{ChipUid, DocumentHash, Id, LeafHash, P256Key, SpkiHash};
use koseki_device::{
    Confirmed, Identification, Injection, MadeKey, Proof, Seat, Signature, TransportKey,
};
use koseki_verify::Trust;
use line_agent::agent::ProgramHash;
use line_agent::ca_link::{Answer, Ca, CaError, CaLink, ClosedLot, Found, LeafProof, Means, Quota};
use line_agent::config::Config;
use line_agent::display::Desk;
use line_agent::display::json::JsonLines;
use line_agent::files::flushes;
use line_agent::injector::Vault;
use line_agent::lot::Lot;
use line_agent::orders::Orders;
use line_agent::programmer::{self, Answered, Programmer};
use line_agent::records::{Output, TimeQuality};
use line_agent::sources::{SystemClock, SystemEntropy};
use line_agent::station::floor::{Floor, Queue, Roll, Serials, Stop};
use line_agent::station::inspect::Inspector;
use line_agent::station::journal::{Journal, SignedRequest};
use line_agent::station::seen::SeenCheckpoint;
use line_agent::station::socket::Socket;
use line_agent::station::spool::Spool;
use std::cell::Cell;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Sockets at work at once.
const LEVELS: [u32; 2] = [1, 4];
/// A station that no other row works with.
const STATION: &str = "ota-l2-prov-02";
/// First chip and first serial: no other row comes as far.
const FIRST_CHIP: u32 = 3_000_000_000;
const FIRST_SERIAL: u64 = 26_485_000_000;
/// What part of the effort each level takes, and most units: chips are files.
const PART: u32 = 12;
const MOST: u32 = 1_000;

thread_local! {
    /// Time that this thread has spent inside chip and CA since its last unit.
    static OUTSIDE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Own times of units, from all sockets.
type Book = Mutex<Vec<Duration>>;

fn outside<T>(ask: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let answer = ask();
    OUTSIDE.set(OUTSIDE.get() + begin.elapsed());
    answer
}

/// A socket's line whose time is not the station's. The handler's is not either: its next chip ends a unit.
struct Timed<'a> {
    line: Box<dyn Programmer>,
    book: &'a Book,
    begin: Instant,
}

impl Programmer for Timed<'static> {
    fn identify(&mut self) -> Answered<Identification> {
        outside(|| self.line.identify())
    }
    fn make_key(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey> {
        outside(|| self.line.make_key(nonce))
    }
    fn attest(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey> {
        outside(|| self.line.attest(nonce))
    }
    fn transport(&mut self, nonce: &[u8; 32]) -> Answered<TransportKey> {
        outside(|| self.line.transport(nonce))
    }
    fn inject(&mut self, injection: &Injection<'_>) -> Answered<P256Key> {
        outside(|| self.line.inject(injection))
    }
    fn burn(&mut self, spki: &SpkiHash) -> Answered<P256Key> {
        outside(|| self.line.burn(spki))
    }
    fn read_key(&mut self) -> Answered<()> {
        outside(|| self.line.read_key())
    }
    fn prove(&mut self, proof: &Proof<'_>) -> Answered<Signature> {
        outside(|| self.line.prove(proof))
    }
    fn write_certificate(&mut self, der: &[u8]) -> Answered<()> {
        outside(|| self.line.write_certificate(der))
    }
    fn read_certificate(&mut self) -> Answered<Vec<u8>> {
        outside(|| self.line.read_certificate())
    }
    fn confirm(&mut self, nonce: &[u8; 32], leaf: &LeafHash) -> Answered<Confirmed> {
        outside(|| self.line.confirm(nonce, leaf))
    }
    fn look(&mut self) -> Answered<Seat> {
        outside(|| self.line.look())
    }
    fn next_chip(&mut self, from: u32) -> Answered<Seat> {
        let own = self.begin.elapsed().saturating_sub(OUTSIDE.get());
        self.book.lock().unwrap().push(own);
        let seat = self.line.next_chip(from);
        OUTSIDE.set(Duration::ZERO);
        self.begin = Instant::now();
        seat
    }
}

/// The line to the CA, whose time is not the station's.
struct Away<'a>(CaLink<'a>);

impl Ca for Away<'_> {
    fn serials(&self, grant: &DocumentHash, lot: &Id) -> Result<SerialRange, CaError> {
        outside(|| self.0.serials(grant, lot))
    }
    fn lot(&self, grant: &DocumentHash, lot: &Id) -> Result<LotSeen, CaError> {
        outside(|| self.0.lot(grant, lot))
    }
    fn challenge(
        &self,
        uid: &ChipUid,
        grant: Option<&DocumentHash>,
        lot: Option<&Id>,
    ) -> Result<Vec<u8>, CaError> {
        outside(|| self.0.challenge(uid, grant, lot))
    }
    fn provision(&self, envelope: &SignedRequest) -> Result<Answer, CaError> {
        outside(|| self.0.provision(envelope))
    }
    fn adopt(&self, envelope: &SignedRequest) -> Result<Answer, CaError> {
        outside(|| self.0.adopt(envelope))
    }
    fn confirm(&self, request: &SignedRequest) -> Result<Vec<u8>, CaError> {
        outside(|| self.0.confirm(request))
    }
    fn void(&self, request: &SignedRequest) -> Result<LeafProof, CaError> {
        outside(|| self.0.void(request))
    }
    fn scrap(&self, request: &SignedRequest) -> Result<LeafProof, CaError> {
        outside(|| self.0.scrap(request))
    }
    fn close_lot(
        &self,
        request: &SignedRequest,
        shares: &[SignedRequest],
    ) -> Result<ClosedLot, CaError> {
        outside(|| self.0.close_lot(request, shares))
    }
    fn find_chip(&self, uid: &ChipUid) -> Result<Option<Found>, CaError> {
        outside(|| self.0.find_chip(uid))
    }
    fn quota(&self, grant: &DocumentHash) -> Result<Quota, CaError> {
        outside(|| self.0.quota(grant))
    }
    fn time_quality(&self) -> Option<TimeQuality> {
        self.0.time_quality()
    }
}

/// The station, with its keys in its token. `SoftHSM2` sees no token that is made after it was loaded into a process, so
/// this one is made before the floors load it.
pub(super) fn enroll(factory: &Factory) -> Outcome<Station> {
    Station::enroll(factory, STATION)
}

/// Rows of the station, one a number of sockets.
pub(super) fn rows(
    factory: &Factory,
    mut station: Station,
    floors: &Floors,
    selection: &Selection,
) -> Outcome<Vec<Row>> {
    let levels: Vec<_> = LEVELS
        .into_iter()
        .filter(|level| selection.takes("station", *level))
        .collect();
    if levels.is_empty() {
        return Ok(Vec::new());
    }
    station.take_grant(factory, GRANT, &[LOT])?;
    let (count, mut rows) = ((selection.units / PART).clamp(8, MOST), Vec::new());
    for (turn, level) in (0..).zip(levels) {
        let first = turn * MOST;
        let mut tray = Tray::new(&factory.path(&format!("bench-tray-{level}")));
        tray.put(&factory.vendor, ON_CHIP, FIRST_CHIP + first, count)?;
        let programmer = tray.present(usize::try_from(level).map_err(Failure::new)?)?;
        let serials = (FIRST_SERIAL + u64::from(first)..).zip(0..count);
        let lot: String = std::iter::once("lot,serial,label\n".to_owned())
            .chain(serials.map(|(serial, _)| format!("{LOT},{serial},unit\n")))
            .collect();
        let lot = station.lot_file("bench.csv", lot.as_bytes())?;
        station.write_settings(&programmer.sockets)?;
        let config = Config::load(&station.home().join("line-agent.toml")).map_err(Failure::new)?;
        let (times, flushed) = shift(&config, &lot, &programmer)?;
        require(
            times.calls.len() == usize::try_from(count).map_err(Failure::new)?,
            format_args!("{} of {count} units were made", times.calls.len()),
        )?;
        let row = times.row("station", factory.module().hsm().name(), level);
        let each = flushed as f64 / f64::from(count);
        rows.push(row.flushing(each).beside(floors.flushed(each)));
    }
    Ok(rows)
}

/// A shift of the station as `line-agent run` lives it, in this process; its units' own times, and all flushes.
fn shift(config: &Config, lot: &std::path::Path, _tool: &Tool) -> Outcome<(Times, u64)> {
    let orders = Orders::load(&config.grants, &config.station).map_err(Failure::new)?;
    let lot = Lot::read(lot, &orders).map_err(Failure::new)?;
    let trust = Trust::load(&config.paths.trust).map_err(Failure::new)?;
    let journal = Journal::open(&config.paths.state).map_err(Failure::new)?;
    let seen = SeenCheckpoint::open(&config.paths.state).map_err(Failure::new)?;
    let output = Output::open(&config.paths.out).map_err(Failure::new)?;
    let vault = Vault::open(&config.hsm).map_err(Failure::new)?;
    let (runtime, stop) = (Runtime::new()?, Stop::default());
    let means = Means {
        runtime: runtime.handle().clone(),
        stop: &stop,
        entropy: &SystemEntropy,
        clock: &SystemClock,
        seen: Some(&seen),
        agent: ProgramHash([0; 32]),
    };
    let station = &config.station.id;
    let link = CaLink::new(&config.ca, station, vault.tls().clone(), means);
    let link = link.map_err(Failure::new)?;
    let floor = Floor {
        station: &config.station,
        orders: &orders,
        hsm: &vault,
        ca: &Away(link),
        inspector: &Inspector::new(&trust, &SystemClock),
        journal: &journal,
        output: &output,
        seen: &seen,
        clock: &SystemClock,
        entropy: &SystemEntropy,
        stop: &stop,
        roll: &Roll::default(),
        serials: &Serials::default(),
        attempts: config.attempts,
        spool: &Spool::new(Duration::ZERO, Duration::ZERO),
        agent: ProgramHash::measure().map_err(Failure::new)?,
    };
    let desk = Desk::new(Box::new(JsonLines::new(Box::new(std::io::sink()))));
    let queue = Queue::new(lot, |_| true);
    // Sockets own their programmers for as long as they like; a benchmark's book is one of a few.
    let book: &'static Book = Box::leak(Box::default());
    let (load, before) = (load(), flushes());
    std::thread::scope(|scope| -> Outcome<()> {
        for settings in &config.sockets {
            let line = programmer::open(&settings.line, &SystemEntropy)?;
            let (queue, desk) = (&queue, &desk);
            scope.spawn(move || {
                let programmer = Box::new(Timed {
                    line,
                    book,
                    begin: Instant::now(),
                });
                Socket {
                    floor,
                    name: settings.name,
                    programmer,
                    queue,
                    desk,
                }
                .work();
            });
        }
        Ok(())
    })?;
    let flushed = flushes() - before;
    let (passed, failed) = journal.with(|history| history.totals());
    require(
        failed == 0 && passed > 0,
        format_args!("{failed} units failed"),
    )?;
    let calls = book.lock().unwrap().clone();
    let sockets = u32::try_from(config.sockets.len()).map_err(Failure::new)?;
    let whole = calls.iter().sum::<Duration>() / sockets;
    Ok((Times { calls, whole, load }, flushed))
}
