//! What the screen shows, and what keys do to it; no terminal in it.

use super::super::{Event, Summary, UnitLine, Words, past};
use crate::ca_link::Quota;
use crate::config::Language;
use crate::gs1::{self, MAX_SCAN, SEPARATOR, Scan, narrow};
use crate::station::Failure;
use crate::verdict::Verdict;
use identity::fault::Fault;
use identity::{DeviceSerial, Id, Timestamp};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::VecDeque;

/// Units that the takt is taken from.
const TAKT_UNITS: usize = 20;

/// What a socket is doing, in one word and one colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// It has no unit.
    Ready,
    /// A unit is under work.
    Work,
    /// The unit is good.
    Pass,
    /// The unit waits, or was set aside: nothing is wrong with it.
    Hold,
    /// The unit is put aside.
    Fail,
    /// The station or the CA cannot be relied on, or the socket is out of use.
    Error,
    /// The line was stopped.
    Abort,
}

impl Face {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Work,
        Self::Pass,
        Self::Hold,
        Self::Fail,
        Self::Error,
        Self::Abort,
    ];

    /// The word in Japanese and the word in English.
    #[must_use]
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ready => ("待機", "READY"),
            Self::Work => ("作業中", "WORK"),
            Self::Pass => ("合格", "PASS"),
            Self::Hold => ("保留", "HOLD"),
            Self::Fail => ("不合格", "FAIL"),
            Self::Error => ("設備異常", "ERROR"),
            Self::Abort => ("中断", "ABORT"),
        }
    }

    const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Hold => Self::Hold,
            Verdict::Fail => Self::Fail,
            Verdict::Abort => Self::Abort,
            Verdict::Error => Self::Error,
        }
    }
}

/// One socket.
#[derive(Clone, Debug)]
pub struct SocketFace {
    /// Its name.
    pub name: Id,
    /// What it is doing.
    pub face: Face,
    /// Serial and label of its unit.
    pub unit: Option<(String, String)>,
    /// Good units of this run.
    pub passed: usize,
    /// Units of this run that were put aside.
    pub failed: usize,
}

impl SocketFace {
    /// Good units in a hundred that were finished; none before the first.
    #[must_use]
    pub const fn percent(&self) -> Option<usize> {
        percent(self.passed, self.failed)
    }
}

const fn percent(passed: usize, failed: usize) -> Option<usize> {
    (passed * 100).checked_div(passed + failed)
}

/// What the screen shows of the lot.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The lot.
    pub lot: Id,
    /// Its units.
    pub units: usize,
    /// Those that were made before this run.
    pub before: usize,
    /// Language of texts.
    pub language: Language,
}

/// Why something is not good, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Which unit or socket.
    pub about: String,
    /// The fault's words.
    pub words: Words,
    /// What became of the chip before, where that is why.
    pub chip: Option<String>,
    /// The socket whose next good unit makes it past; none for what a good unit says nothing of.
    socket: Option<Id>,
    /// What becomes of it then.
    pub holds: Holds,
}

/// How long a reason holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Until its socket makes a good unit: then it is gone.
    UntilGood,
    /// Its unit was put aside: it stays to be read when its socket has gone on.
    OfUnit,
    /// Its socket has gone on.
    Past,
}

/// A unit that waits for a person to look at, its chip in no socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The socket that it was taken out of.
    pub socket: Id,
    /// Its serial.
    pub serial: DeviceSerial,
    /// Why.
    pub fault: Fault,
}

/// The whole screen.
#[derive(Clone, Debug)]
pub struct State {
    /// The lot.
    pub head: Head,
    /// The sockets.
    pub sockets: Vec<SocketFace>,
    /// What is left of the grant, once the CA has said so.
    pub quota: Option<Quota>,
    /// The last reason.
    pub reason: Option<Reason>,
    /// Units that were set aside and are not back yet, the newest last.
    pub aside: Vec<Aside>,
    /// What the scanner has typed so far.
    pub typed: String,
    /// What came of the last scan.
    pub note: Option<String>,
    /// What it came to, when the run is over.
    pub over: Option<Summary>,
    /// Good units of the lot in this run; a socket may have made others, too, left over from other lots.
    made: usize,
    ends: VecDeque<Timestamp>,
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This unit next.
    Scanned(Scan),
    /// The line shall stop.
    Stop,
    /// The screen was read.
    Seen,
}

impl State {
    /// Before the first unit.
    #[must_use]
    pub fn new(head: Head, sockets: impl IntoIterator<Item = Id>) -> Self {
        let face = |name| SocketFace {
            name,
            face: Face::Ready,
            unit: None,
            passed: 0,
            failed: 0,
        };
        Self {
            head,
            sockets: sockets.into_iter().map(face).collect(),
            quota: None,
            reason: None,
            aside: Vec::new(),
            typed: String::new(),
            note: None,
            over: None,
            made: 0,
            ends: VecDeque::new(),
        }
    }

    /// Takes something that happened.
    pub fn apply(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Begun(begun) => {
                let label = begun.attempt.label(&begun.label, self.head.language);
                let unit = (begun.serial.to_string(), label);
                self.turn(&begun.socket, Face::Work, Some(unit));
                // It is in a socket again, and nobody is to take it out.
                self.aside.retain(|it| it.serial != begun.serial);
            }
            Event::Waits(line) => self.show_unit(line),
            Event::Ended(line) => {
                self.count(line, now);
                self.show_unit(line);
            }
            Event::SocketFailed { socket, failure } => {
                self.turn(socket, Face::Error, None);
                self.explain((format!("[{socket}]"), None), failure);
            }
            Event::Alarm { about, failure } => self.explain((about.clone(), None), failure),
            Event::Summary(summary) => {
                self.over = Some(summary.clone());
                if let Some(failure) = &summary.reason {
                    self.explain((summary.lot.to_string(), None), failure);
                }
            }
        }
    }

    fn turn(&mut self, socket: &Id, face: Face, unit: Option<(String, String)>) {
        if let Some(it) = self.sockets.iter_mut().find(|it| it.name == *socket) {
            it.face = face;
            it.unit = unit.or_else(|| it.unit.take());
        }
    }

    fn show_unit(&mut self, line: &UnitLine) {
        let label = line.attempt.label(&line.label, self.head.language);
        let unit = (line.serial.to_string(), label);
        self.turn(&line.socket, Face::of(line.verdict()), Some(unit));
        match &line.failure {
            // What is said of it stands by itself until it is dealt with: its socket goes on, and has other reasons.
            Some(failure) if line.set_aside => {
                self.reason = None;
                self.aside.push(Aside {
                    socket: line.socket,
                    serial: line.serial,
                    fault: failure.fault,
                });
            }
            Some(failure) => {
                let about = format!("[{}] {}", line.socket, line.serial);
                self.explain((about, Some(line.socket)), failure);
            }
            None => self.recover(&line.socket),
        }
    }

    /// A good unit shows that what its socket waited for is there again.
    fn recover(&mut self, socket: &Id) {
        let of_it = |it: &&mut Reason| it.socket.as_ref() == Some(socket);
        match self.reason.as_mut().filter(of_it) {
            Some(reason) if reason.holds == Holds::UntilGood => self.reason = None,
            Some(reason) => reason.holds = Holds::Past,
            None => {}
        }
    }

    fn count(&mut self, line: &UnitLine, now: Timestamp) {
        let verdict = line.verdict();
        if !verdict.is_final() {
            return;
        }
        if verdict == Verdict::Pass && line.lot == self.head.lot {
            self.made += 1;
        }
        if let Some(it) = self.sockets.iter_mut().find(|it| it.name == line.socket) {
            match verdict == Verdict::Pass {
                true => it.passed += 1,
                false => it.failed += 1,
            }
        }
        self.ends.push_back(now);
        if self.ends.len() > TAKT_UNITS {
            self.ends.pop_front();
        }
    }

    fn explain(&mut self, (about, socket): (String, Option<Id>), failure: &Failure) {
        let chip = failure.chip.as_ref();
        self.reason = Some(Reason {
            about,
            words: Words::of_failure(failure, self.head.language),
            chip: chip.map(|end| past::told(end, self.head.language)),
            socket,
            holds: match Verdict::of(failure.fault) == Verdict::Fail {
                true => Holds::OfUnit,
                false => Holds::UntilGood,
            },
        });
    }

    /// Good units of the lot, those of earlier runs among them.
    #[must_use]
    pub const fn passed(&self) -> usize {
        self.head.before + self.made
    }

    /// Good units in a hundred of this run.
    #[must_use]
    pub fn percent(&self) -> Option<usize> {
        let sum = |of: fn(&SocketFace) -> usize| self.sockets.iter().map(of).sum();
        percent(sum(|it| it.passed), sum(|it| it.failed))
    }

    /// Milliseconds from one finished unit to the next, over the last ones.
    #[must_use]
    pub fn takt(&self) -> Option<u64> {
        let (first, last) = (self.ends.front()?, self.ends.back()?);
        let gaps = u64::try_from(self.ends.len() - 1).ok()?;
        last.0.saturating_sub(first.0).checked_div(gaps)
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if key.code == KeyCode::Enter {
            return self.enter();
        }
        if key.code == KeyCode::Backspace {
            self.typed.pop();
        }
        if key.code == KeyCode::Esc {
            self.typed.clear();
        }
        match (key.code.as_char(), control) {
            (Some('c'), true) => return Some(Wish::Stop),
            // A terminal gives GS (0x1D) as Ctrl-5 or Ctrl-].
            (Some('5' | ']'), true) => self.type_in(SEPARATOR),
            (Some(c), false) => self.type_in(c),
            (Some(_), true) | (None, _) => {}
        }
        None
    }

    /// One character more than a scan may have is kept, so that it is refused and not cut.
    fn type_in(&mut self, c: char) {
        if self.typed.len() <= MAX_SCAN {
            self.typed.push(narrow(c));
        }
    }

    fn enter(&mut self) -> Option<Wish> {
        let typed = std::mem::take(&mut self.typed);
        // What is typed then is not shown, and nobody makes it.
        if self.over.is_some() {
            return Some(Wish::Seen);
        }
        if typed.is_empty() {
            return None;
        }
        match gs1::read(&typed) {
            Ok(scan) => Some(Wish::Scanned(scan)),
            Err(error) => {
                self.note = Some(error.words(self.head.language));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{id, lot};
    use super::*;
    use crate::display::Tally;
    use crate::display::samples::line;
    use std::collections::BTreeMap;

    fn keys(state: &mut State, text: &str) -> Option<Wish> {
        let code = |c| match c {
            '\r' => KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE),
            SEPARATOR => KeyEvent::new(KeyCode::Char('5'), KeyModifiers::CONTROL),
            c => KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE),
        };
        text.chars().filter_map(|c| state.key(code(c))).last()
    }

    #[test]
    fn a_scanner_types_and_ends_with_enter() {
        let mut state = lot(1);
        let serial = |wish: Option<Wish>| match wish {
            Some(Wish::Scanned(scan)) => scan.serial.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(keys(&mut state, "26480001000"), None);
        assert_eq!(serial(keys(&mut state, "\r")), "26480001000");
        let symbol = "]C1010491234567890421264800010\u{1d}1026W48-A\r";
        assert_eq!(serial(keys(&mut state, symbol)), "264800010");
        assert_eq!(keys(&mut state, "２６４８"), None);
        assert_eq!(state.typed, "2648");
        assert_eq!(serial(keys(&mut state, "\r")), "2648");
        assert_eq!(keys(&mut state, "]C199\r"), None);
        assert!(state.note.is_some(), "a symbol that is none is said to be");
        assert_eq!(keys(&mut state, &"1".repeat(4_000)), None);
        assert!(state.typed.len() <= MAX_SCAN + 1);
        let stop = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(state.key(stop), Some(Wish::Stop));
    }

    #[test]
    fn enter_alone_leaves_only_a_screen_of_a_run_that_is_over() {
        let mut state = lot(1);
        assert_eq!(keys(&mut state, "\r"), None);
        assert_eq!(keys(&mut state, "2648000"), None);
        let over = Summary {
            lot: state.head.lot,
            tally: Tally::default(),
            others: BTreeMap::new(),
            not_begun: 3,
            reason: Some(Failure::new(Fault::SocketEmpty, "no chip in 1")),
            verdict: Verdict::Hold,
        };
        state.apply(&Event::Summary(over), Timestamp(0));
        assert_eq!(keys(&mut state, "\r"), Some(Wish::Seen), "the first one");
        let reason = state.reason.unwrap();
        assert_eq!(reason.words.code, "LINE-0211");
    }

    #[test]
    fn a_reason_is_gone_or_past_when_its_socket_has_made_a_good_unit() {
        let mut state = lot(2);
        let on = |socket, fault| {
            Event::Ended(UnitLine {
                socket: id(socket),
                ..line("1", fault)
            })
        };
        let waits = Some(Holds::UntilGood);
        let mut tell = |event| {
            state.apply(&event, Timestamp(0));
            state.reason.clone().map(|it| it.holds)
        };
        assert_eq!(tell(on("1", Some(Fault::CaUnreachable))), waits);
        assert_eq!(tell(on("2", None)), waits, "another socket's");
        assert_eq!(tell(on("1", None)), None, "it waits no more");
        // Whoever looks for the red unit's reason a minute later still finds it.
        assert_eq!(tell(on("1", Some(Fault::BurnFailed))), Some(Holds::OfUnit));
        assert_eq!(tell(on("2", None)), Some(Holds::OfUnit));
        assert_eq!(tell(on("1", None)), Some(Holds::Past));
        let alarm = Event::Alarm {
            about: "void".to_owned(),
            failure: Failure::new(Fault::NotHolder, ""),
        };
        tell(alarm);
        assert_eq!(tell(on("1", None)), waits, "no unit undoes it");
    }

    #[test]
    fn a_socket_has_a_yield_of_its_own_and_the_line_a_takt() {
        let mut state = lot(2);
        let on = |socket, fault| UnitLine {
            socket: id(socket),
            ..line("1", fault)
        };
        for (at, socket, fault) in [
            (0, "1", None),
            (1_000, "2", Some(Fault::BurnFailed)),
            (4_000, "1", None),
            (6_000, "2", None),
        ] {
            state.apply(&Event::Ended(on(socket, fault)), Timestamp(at));
        }
        // What waits is not counted.
        let waits = on("1", Some(Fault::CaUnreachable));
        state.apply(&Event::Ended(waits), Timestamp(9_000));
        let of_sockets: Vec<_> = state.sockets.iter().map(SocketFace::percent).collect();
        assert_eq!(of_sockets, [Some(100), Some(50)]);
        assert_eq!((state.percent(), state.takt()), (Some(75), Some(2_000)));
        assert_eq!(state.passed(), state.head.before + 3);
        // Nor is a unit of another lot one of this lot's; its socket made it all the same.
        let left_over = UnitLine {
            lot: id("26W47-B"),
            ..on("2", None)
        };
        state.apply(&Event::Ended(left_over), Timestamp(9_500));
        assert_eq!(state.passed(), state.head.before + 3);
        assert_eq!(state.sockets[1].passed, 2);
        assert_eq!(state.sockets[0].face, Face::Hold);
    }
}
