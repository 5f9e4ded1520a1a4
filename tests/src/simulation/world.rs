//! One seed's world: what happens, in the order of its simulated time.

mod trouble;

use super::disk::End;
use super::ground::{BEGIN, Ground, Places, STATIONS};
use super::judge::Ledger;
use super::line::{Intent, Kind, Stage, Work};
use super::machine::{Machine, Step, Stepped};
use super::{Chance, Counts, Ending, Plant};
use crate::failure::{Failure, Outcome, require};
use ca_server::issuance::{Ends, Outcome as Given, Pending, Refusal};
use identity::envelope::Purpose;
use identity::fault::Fault;
use std::collections::BTreeMap;
use std::path::Path;
use tokio::sync::oneshot::error::TryRecvError;

/// Trouble is made for so long, milliseconds.
const TROUBLE: u64 = 30_000;
/// After it everything must be finished in so much time.
const PATIENCE: u64 = 20 * 60_000;
const HOUR: u64 = 60 * 60_000;

/// An answer to one message: of each unit, or of the whole.
type Answers = Vec<Result<Given, Refusal>>;

enum Event {
    /// An envelope is to be made and sent.
    Begin(usize),
    /// A message arrives at the server.
    Arrive(usize, Kind),
    /// Answers arrive at the station.
    Answer(usize, Kind, Answers),
    /// A station looks whether it still waits.
    Again(usize, Kind, u64),
    /// The server takes a step, if it is still the process that was to take it.
    Step(Step, u64),
    /// The server is started.
    Start,
    /// Something goes wrong.
    Trouble,
    /// The clock is set right and an operator says so.
    SetClock,
    /// No more trouble.
    Calm,
}

/// Somebody waits at the server.
struct Waiting {
    work: usize,
    kind: Kind,
    slots: Vec<Slot>,
}

enum Slot {
    Open(Pending),
    Filled(Result<Given, Refusal>),
}

pub(super) struct World<'g> {
    ground: &'g Ground,
    machine: Machine<'g>,
    ledger: Ledger,
    chance: Chance,
    works: Vec<Work>,
    /// Newest checkpoint that each station saw.
    seen: Vec<Option<Vec<u8>>>,
    /// Messages of a station before its last crash are nobody's.
    lives: Vec<u64>,
    waiting: Vec<Waiting>,
    events: BTreeMap<(u64, u64), Event>,
    /// Number of the next event, and of the newest arrival in each direction.
    number: u64,
    newest: u64,
    now: u64,
    /// What the server's clock is off, milliseconds.
    off: i64,
    process: u64,
    is_calm: bool,
    plant: Plant,
    counts: Counts,
    told: Vec<String>,
}

impl<'g> World<'g> {
    pub(super) fn new(ground: &'g Ground, home: &Path, seed: u64, plant: Plant) -> Outcome<Self> {
        let mut chance = Chance::new(seed);
        let places = Places {
            home: home.to_owned(),
        };
        let machine = Machine::new(ground, &places, chance.fork(), plant)?;
        let works = Work::morning(&mut chance);
        Ok(Self {
            ground,
            machine,
            ledger: Ledger::default(),
            chance,
            works,
            seen: vec![None; STATIONS.len()],
            lives: vec![0; STATIONS.len()],
            waiting: Vec::new(),
            events: BTreeMap::new(),
            number: 0,
            newest: 0,
            now: 0,
            off: 0,
            process: 0,
            is_calm: false,
            plant,
            counts: Counts::default(),
            told: Vec::new(),
        })
    }

    /// Lives to the end.
    pub(super) fn live(mut self) -> Outcome<Ending> {
        let lived = self.morning().and_then(|()| self.evening());
        let leaves = match &lived {
            Ok(leaves) => leaves.clone(),
            Err(_) => Vec::new(),
        };
        let hashes: Vec<_> = leaves
            .iter()
            .map(|leaf| translog::tree::leaf_hash(leaf))
            .collect();
        let root = translog::tree::root_of(&hashes);
        let counts = Counts {
            messages: self.counts.messages,
            messages_lost: self.counts.messages_lost,
            messages_twice: self.counts.messages_twice,
            messages_late: self.counts.messages_late,
            station_crashes: self.counts.station_crashes,
            clock_jumps: self.counts.clock_jumps,
            adopted: self.counts.adopted,
            refused: self.counts.refused,
            copies_lost: self.counts.copies_lost,
            certificates: self.ledger.certificates() as u64,
            leaves: leaves.len() as u64,
            ..self.machine.sum()
        };
        Ok(Ending {
            found: lived.err().map(|failure| failure.to_string()),
            root: hex::encode(root.as_bytes()),
            counts,
            told: self.told,
        })
    }

    /// Until every unit is finished.
    fn morning(&mut self) -> Outcome<()> {
        self.after(0, Event::Start);
        for work in 0..self.works.len() {
            let delay = self.chance.below(TROUBLE / 2);
            self.after(delay, Event::Begin(work));
        }
        let troubles = 3 + self.chance.below(10);
        for _ in 0..troubles {
            let delay = self.chance.below(TROUBLE);
            self.after(delay, Event::Trouble);
        }
        self.after(TROUBLE, Event::Calm);
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.set_clock();
            self.happen(event)?;
            if self.is_calm && self.works.iter().all(Work::is_over) {
                return Ok(());
            }
            require(
                self.now < TROUBLE + PATIENCE,
                format_args!("stuck: {} are not finished", self.open()),
            )?;
        }
        Err(Failure::new(format_args!(
            "stuck: nothing happens any more, and {} are not finished",
            self.open()
        )))
    }

    fn open(&self) -> String {
        let open = self.works.iter().filter(|work| !work.is_over());
        format!("{} envelopes", open.count())
    }

    /// The power goes once more; everything acknowledged is asked for again and held against the log.
    fn evening(&mut self) -> Outcome<Vec<Vec<u8>>> {
        self.machine.begin_step()?;
        self.machine.end(End::PowerCut)?;
        self.waiting.clear();
        require(
            self.machine.start()?,
            "the server does not start in the evening",
        )?;
        // The last leaf may be dated by a clock that was wrong: in the evening, too, an operator comes for that.
        self.mend_clock()?;
        for work in 0..self.works.len() {
            self.ask_again(work)?;
        }
        let corridor = self.machine.corridor();
        let corridor = corridor.ok_or_else(|| Failure::new("the server is gone"))?;
        let status = corridor.status().map_err(told)?;
        require(
            status.in_flight == 0 && status.stopped.is_none(),
            format_args!("stuck in the evening: {status:?}"),
        )?;
        let leaves = corridor.entries(0, 1000).map_err(told)?;
        self.ledger
            .hold_against(self.ground, &self.machine.places.log(), &leaves)?;
        Ok(leaves)
    }

    fn ask_again(&mut self, number: usize) -> Outcome<()> {
        let work = &self.works[number];
        let Some(sealed) = work.sealed.clone() else {
            return Ok(());
        };
        let station = super::ground::id(STATIONS[work.station]);
        let corridor = self.machine.corridor();
        let corridor = corridor.ok_or_else(|| Failure::new("the server is gone"))?;
        let pending = corridor
            .submit(
                &station,
                Kind::Provision.call(),
                sealed.bytes,
                sealed.signature,
            )
            .map_err(told)?;
        let slots = pending.into_iter().map(slot).collect();
        self.waiting.push(Waiting {
            work: number,
            kind: Kind::Provision,
            slots,
        });
        for step in [Step::Reserve, Step::Record, Step::Release] {
            self.machine.step(step)?;
        }
        let answers = self.filled();
        for (number, _, answers) in answers {
            for (piece, answer) in self.works[number].pieces.iter().zip(answers) {
                if let Ok(Given::Issued(issued)) = answer {
                    let (request, now) = (piece.request, BEGIN + self.now);
                    self.ledger
                        .certificate(self.ground, &request, &issued, now)?;
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Outcome<()> {
        match event {
            Event::Begin(work) => self.begin(work),
            Event::Arrive(work, kind) => self.arrive(work, kind),
            Event::Answer(work, kind, answers) => self.answer(work, kind, answers),
            Event::Again(work, kind, life) => {
                if self.lives[self.works[work].station] == life {
                    self.send(work, kind);
                }
                Ok(())
            }
            Event::Step(step, process) if process == self.process => self.step(step),
            Event::Step(..) => Ok(()),
            Event::Start => self.start(),
            Event::Trouble => self.trouble(),
            Event::SetClock => self.mend_clock(),
            Event::Calm => self.calm(),
        }
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.number += 1;
        self.events.insert((self.now + delay, self.number), event);
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.told.push(format!("{:>7} {what}", self.now));
    }

    fn set_clock(&self) {
        let now = BEGIN + self.now;
        self.machine.clock.set(now.saturating_add_signed(self.off));
    }
}

/// The stations' end.
impl World<'_> {
    fn begin(&mut self, number: usize) -> Outcome<()> {
        let (ground, now) = (self.ground, BEGIN + self.now);
        let work = &mut self.works[number];
        let seen = self.seen[work.station].clone();
        let sealed = match self.machine.corridor() {
            Some(corridor) => work.seal(ground, corridor, now, seen.as_deref()).is_ok(),
            None => false,
        };
        match sealed {
            true => self.send(number, Kind::Provision),
            false => self.after(1500, Event::Begin(number)),
        }
        Ok(())
    }

    /// Sends what is still to be sent, and looks after it again later.
    fn send(&mut self, number: usize, kind: Kind) {
        if self.works[number].message(kind).is_none() {
            return;
        }
        self.carry(|| Event::Arrive(number, kind));
        let life = self.lives[self.works[number].station];
        let delay = 1000 + self.chance.below(4000);
        self.after(delay, Event::Again(number, kind, life));
    }

    /// The network: loses, doubles, delays, and thereby reorders.
    fn carry(&mut self, event: impl Fn() -> Event) {
        let times = match (self.is_calm, self.chance.below(10)) {
            (true, _) => 1,
            (false, 0) => 0,
            (false, 1) => 2,
            (false, _) => 1,
        };
        self.counts.messages += 1;
        self.counts.messages_lost += u64::from(times == 0);
        self.counts.messages_twice += u64::from(times == 2);
        for _ in 0..times {
            let delay = match self.chance.below(8) {
                0 => self.chance.below(5000),
                _ => self.chance.below(100),
            };
            let arrives = self.now + delay;
            self.counts.messages_late += u64::from(arrives < self.newest);
            self.newest = self.newest.max(arrives);
            self.after(delay, event());
        }
    }

    fn answer(&mut self, number: usize, kind: Kind, answers: Answers) -> Outcome<()> {
        let work = &self.works[number];
        if answers.len() == work.pieces.len() || kind != Kind::Provision {
            for (at, answer) in answers.into_iter().enumerate() {
                match kind {
                    Kind::Provision => self.provisioned(number, at, answer)?,
                    Kind::Confirm(at) => self.moved(number, at, false, answer)?,
                    Kind::Void(at) => self.moved(number, at, true, answer)?,
                }
            }
            return Ok(());
        }
        // One refusal of the whole envelope.
        for answer in answers {
            for at in 0..self.works[number].pieces.len() {
                self.provisioned(number, at, answer.clone())?;
            }
        }
        Ok(())
    }

    fn provisioned(
        &mut self,
        number: usize,
        at: usize,
        answer: Result<Given, Refusal>,
    ) -> Outcome<()> {
        let (request, now) = (self.works[number].pieces[at].request, BEGIN + self.now);
        match answer {
            Ok(Given::Issued(issued)) => {
                self.ledger
                    .certificate(self.ground, &request, &issued, now)?;
                let (_, note) = issued.proof.split_once("\n\n").unwrap_or_default();
                let work = &mut self.works[number];
                self.seen[work.station] = newer(self.seen[work.station].take(), note);
                if work.pieces[at].is_asking() {
                    work.given(at, self.ground, *issued, now);
                    self.go_on(number, at);
                }
                Ok(())
            }
            Ok(Given::Receipt(_)) => Err(Failure::new("a receipt where a certificate is due")),
            Err(refusal) if !self.works[number].pieces[at].is_asking() => {
                self.tell(format_args!(
                    "{number}.{at} has what it asked for: {}",
                    refusal.fault
                ));
                Ok(())
            }
            Err(refusal) => self.refused(number, at, &refusal),
        }
    }

    /// A unit has its certificate: it is confirmed, voided, or left to the other station.
    fn go_on(&mut self, number: usize, at: usize) {
        self.tell_given(number, at);
        let work = &self.works[number];
        match work.pieces[at].intent {
            Intent::Leave if work.purpose == Purpose::Provision => {
                let adopted = self.works[number].adopted(at, &mut self.chance);
                self.works.push(adopted);
                self.counts.adopted += 1;
                let delay = self.chance.below(3000);
                self.after(delay, Event::Begin(self.works.len() - 1));
            }
            Intent::Leave => {}
            Intent::Confirm | Intent::Void | Intent::Both => {
                self.send(number, Kind::Confirm(at));
                self.send(number, Kind::Void(at));
            }
        }
    }

    fn tell_given(&mut self, number: usize, at: usize) {
        let piece = &self.works[number].pieces[at];
        let (chip, intent) = (piece.chip, piece.intent);
        if let Stage::Given(issued) = &piece.stage {
            let index = issued.index;
            self.tell(format_args!(
                "{number}.{at} chip {chip}: leaf {index}, {intent:?}"
            ));
        }
    }

    fn refused(&mut self, number: usize, at: usize, refusal: &Refusal) -> Outcome<()> {
        use Fault as F;
        match refusal.fault {
            F::ChallengeStale | F::EnvelopeMalformed | F::ChallengeInvalid => {
                self.after(200, Event::Begin(number));
                Ok(())
            }
            // Time will tell, or an operator; the same is sent again.
            F::Overloaded
            | F::Stopped
            | F::HsmUnavailable
            | F::StoreUnavailable
            | F::Internal
            | F::ClockBackward
            | F::ClockForward
            | F::StationClock
            | F::GrantExpired => Ok(()),
            F::GrantUsedUp | F::LotFull | F::KeySeen | F::UidSeen | F::SerialSeen => {
                self.counts.refused += 1;
                let work = &mut self.works[number];
                let (chip, name) = (work.pieces[at].chip, work.name());
                work.pieces[at].stage = Stage::Over;
                let key = self.ground.chips[chip].public;
                let pieces = self.works[number].pieces.iter().enumerate();
                // A leaf names envelope and key: of two units of one envelope with one key, one may be bound.
                let mut others = pieces.filter(|(other, _)| *other != at);
                let is_alone = others.all(|(_, it)| self.ground.chips[it.chip].public != key);
                // A serial is free again when its unit is voided, and so is a place in the lot; all else that refuses stays.
                let is_final = is_alone && !matches!(refusal.fault, F::SerialSeen | F::LotFull);
                if let Some(name) = name.filter(|_| is_final) {
                    self.ledger.refused(name, &self.ground.chips[chip]);
                }
                self.tell(format_args!("{number}.{at} chip {chip}: {}", refusal.fault));
                Ok(())
            }
            // In other hands, or voided by them.
            F::NotHolder | F::Voided | F::RequestConflict => {
                self.works[number].pieces[at].stage = Stage::Over;
                self.tell(format_args!("{number}.{at}: {}", refusal.fault));
                Ok(())
            }
            _ => Err(Failure::new(format_args!(
                "an honest unit is refused: {refusal:?}"
            ))),
        }
    }

    fn moved(
        &mut self,
        number: usize,
        at: usize,
        is_void: bool,
        answer: Result<Given, Refusal>,
    ) -> Outcome<()> {
        let what = if is_void { "void" } else { "confirm" };
        let said = match &answer {
            Ok(Given::Receipt(receipt)) => format!("leaf {}", receipt.index),
            Ok(Given::Issued(_)) => "a certificate".to_owned(),
            Err(refusal) => refusal.fault.to_string(),
        };
        self.tell(format_args!("{number}.{at} {what}: {said}"));
        let piece = &mut self.works[number].pieces[at];
        match answer {
            Ok(Given::Receipt(receipt)) => {
                self.ledger.receipt(&piece.request, &receipt, is_void)?;
                piece.owed[usize::from(is_void)] = None;
            }
            Ok(Given::Issued(_)) => {
                return Err(Failure::new("a certificate where a receipt is due"));
            }
            // Confirmed and voided at once: whichever was committed first won.
            Err(refusal) if refusal.fault == Fault::Voided && !is_void => {
                require(
                    piece.intent == Intent::Both,
                    "a unit is void that nobody voided",
                )?;
                piece.owed[0] = None;
            }
            Err(refusal) if refusal.fault == Fault::ConfirmMismatch && is_void => {
                require(
                    piece.intent == Intent::Both,
                    format_args!("nobody confirmed a unit: {refusal:?}"),
                )?;
                piece.owed[1] = None;
            }
            Err(refusal) if refusal.fault == Fault::NotHolder => {
                piece.owed = [None, None];
            }
            Err(refusal) if passes(refusal.fault) => return Ok(()),
            Err(refusal) if refusal.fault == Fault::ConfirmMismatch => {
                return Err(Failure::new(format_args!(
                    "I3: what was given is not what is to be confirmed: {refusal:?}"
                )));
            }
            Err(refusal) if refusal.fault == Fault::NotBound => {
                return Err(Failure::new("I11: what was given is not there any more"));
            }
            Err(refusal) => {
                return Err(Failure::new(format_args!("a unit is stuck: {refusal:?}")));
            }
        }
        // An answer from before its station crashed may come after it: a unit that was forgotten is asked for again.
        let is_given = matches!(piece.stage, Stage::Given(_));
        if is_given && piece.owed.iter().all(Option::is_none) {
            piece.stage = Stage::Done;
        }
        Ok(())
    }
}

/// The server's end.
impl World<'_> {
    fn arrive(&mut self, number: usize, kind: Kind) -> Outcome<()> {
        let Some(sealed) = self.works[number].message(kind).cloned() else {
            return Ok(());
        };
        let station = super::ground::id(STATIONS[self.works[number].station]);
        self.machine.begin_step()?;
        let Some(corridor) = self.machine.corridor() else {
            return Ok(());
        };
        let submitted = corridor.submit(&station, kind.call(), sealed.bytes, sealed.signature);
        let slots = match submitted {
            Ok(pending) => pending.into_iter().map(slot).collect(),
            Err(refusal) => vec![Slot::Filled(Err(refusal))],
        };
        self.waiting.push(Waiting {
            work: number,
            kind,
            slots,
        });
        self.reply();
        let delay = self.chance.below(30);
        self.after(delay, Event::Step(Step::Reserve, self.process));
        Ok(())
    }

    fn step(&mut self, step: Step) -> Outcome<()> {
        let stepped = self.machine.step(step)?;
        self.reply();
        if let Stepped::Ended(how) = stepped {
            return self.end(how, "in the middle of a call");
        }
        if self.machine.ends_itself() {
            return self.end(End::Kill, "by itself");
        }
        if let Some(stop) = self.machine.stopped() {
            self.heed(&stop)?;
        }
        if let Some(corridor) = self.machine.corridor()
            && let Ok(note) = corridor.checkpoint()
        {
            self.ledger.published(&note)?;
        }
        let process = self.process;
        match (step, stepped) {
            (Step::Reserve, Stepped::Done) => {
                for (delay, step) in [(40, Step::Record), (10, Step::Reserve)] {
                    let delay = self.chance.below(delay);
                    self.after(delay, Event::Step(step, process));
                }
            }
            // What could not be reserved because batches wait.
            (Step::Reserve, _) => {}
            (Step::Record, Stepped::Done) => {
                self.after(1, Event::Step(Step::Record, process));
                self.after(2, Event::Step(Step::Reserve, process));
                let delay = self.chance.below(60);
                self.after(delay, Event::Step(Step::Release, process));
            }
            (Step::Record | Step::Release, _) => {}
            (Step::LookAfter, _) => {
                self.after(2, Event::Step(Step::Record, process));
                self.after(2000, Event::Step(Step::LookAfter, process));
            }
        }
        Ok(())
    }

    /// Issuing has stopped: an operator comes for the clock; nothing here should need anybody else.
    fn heed(&mut self, stop: &ca_server::issuance::Stop) -> Outcome<()> {
        match stop.ends {
            Ends::ByItself | Ends::ByRestart => Ok(()),
            Ends::ByOperator => {
                let delay = 500 + self.chance.below(3000);
                self.after(delay, Event::SetClock);
                Ok(())
            }
            Ends::ByRepair => {
                let findings = koseki_verify::audit_log(
                    &self.machine.places.log(),
                    &self.ground.trust,
                    koseki_verify::Scope::Whole,
                );
                let findings = findings.map(|it| it.findings);
                Err(Failure::new(format_args!(
                    "issuing stops for good: {:?}; the auditor finds {findings:?}",
                    stop.refusal
                )))
            }
        }
    }

    /// Answers that are ready go to the network.
    fn reply(&mut self) {
        for (work, kind, answers) in self.filled() {
            self.carry(|| Event::Answer(work, kind, answers.clone()));
        }
    }

    fn filled(&mut self) -> Vec<(usize, Kind, Answers)> {
        let over = self.machine.disk.over().is_some();
        for waiting in &mut self.waiting {
            for slot in &mut waiting.slots {
                slot.fill(over);
            }
        }
        let (ready, open) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting: &Waiting| waiting.slots.iter().all(Slot::is_filled));
        self.waiting = open;
        let ready: Vec<Waiting> = ready;
        ready
            .into_iter()
            .map(|waiting| {
                let slots = waiting.slots.into_iter();
                (
                    waiting.work,
                    waiting.kind,
                    slots.filter_map(Slot::answer).collect(),
                )
            })
            .collect()
    }

    fn start(&mut self) -> Outcome<()> {
        if self.machine.corridor().is_some() {
            return Ok(());
        }
        self.process += 1;
        let process = self.process;
        match self.machine.start()? {
            true => {
                self.tell(format_args!("the server is up"));
                let delay = self.chance.below(2000);
                self.after(delay, Event::Step(Step::LookAfter, process));
            }
            false => {
                self.tell(format_args!("the server does not come up"));
                self.after(500, Event::Start);
            }
        }
        Ok(())
    }

    fn end(&mut self, how: End, why: &str) -> Outcome<()> {
        self.tell(format_args!("{how:?} {why}"));
        self.process += 1;
        self.machine.end(how)?;
        if how == End::PowerCut && self.plant == Plant::Nothing {
            let left = self.machine.left_to_the_signer()?;
            let answered = left.iter().filter(|index| self.ledger.holds(**index));
            self.counts.copies_lost += answered.count() as u64;
        }
        self.waiting.clear();
        let delay = 100 + self.chance.below(3000);
        self.after(delay, Event::Start);
        Ok(())
    }
}

impl Slot {
    fn fill(&mut self, is_over: bool) {
        let Self::Open(pending) = self else {
            return;
        };
        match pending.try_recv() {
            // The process is no more: what it would have said in its last moment nobody hears.
            Ok(Err(_)) if is_over => {}
            Ok(answer) => *self = Self::Filled(answer),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Closed) => *self = Self::Filled(Err(Fault::Stopped.into())),
        }
    }

    const fn is_filled(&self) -> bool {
        matches!(self, Self::Filled(_))
    }

    fn answer(self) -> Option<Result<Given, Refusal>> {
        match self {
            Self::Filled(answer) => Some(answer),
            Self::Open(_) => None,
        }
    }
}

fn slot(pending: Result<Pending, Refusal>) -> Slot {
    match pending {
        Ok(pending) => Slot::Open(pending),
        Err(refusal) => Slot::Filled(Err(refusal)),
    }
}

/// The larger of two checkpoints.
fn newer(known: Option<Vec<u8>>, note: &str) -> Option<Vec<u8>> {
    let size = |note: &str| {
        note.lines()
            .nth(1)
            .and_then(|size| size.parse::<u64>().ok())
    };
    let known_size = known
        .as_deref()
        .and_then(|known| std::str::from_utf8(known).ok())
        .and_then(size);
    match size(note) > known_size {
        true => Some(note.as_bytes().to_vec()),
        false => known,
    }
}

const fn passes(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Overloaded
            | Fault::Stopped
            | Fault::HsmUnavailable
            | Fault::StoreUnavailable
            | Fault::Internal
            | Fault::ClockBackward
            | Fault::ClockForward
            | Fault::StationClock
    )
}

fn told(refusal: Refusal) -> Failure {
    Failure::new(format_args!("{refusal:?}"))
}
