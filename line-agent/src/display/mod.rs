//! What happens at the station, told to whoever is there: a person at a screen or at a plain terminal, in Japanese or
//! English, or another program.
//!
//! All sockets tell one [`Desk`]; it counts, and hands every [`Event`] to one [`Sink`].

pub mod json;
pub mod lines;
pub mod past;
pub mod scanned;
pub mod screen;

use crate::config::Language;
use crate::station::Failure;
use crate::station::floor::lock;
use crate::verdict::Verdict;
use identity::fault::{Fault, FaultText};
use identity::{ChipUid, DeviceSerial, Id};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Mutex;

/// Something that happened at the station.
#[derive(Clone, Debug)]
pub enum Event {
    /// A unit's turn has come.
    Begun(Begun),
    /// A unit is on hold until the CA can be reached; it goes on by itself.
    Waits(UnitLine),
    /// A unit's session has ended.
    Ended(UnitLine),
    /// A socket cannot be worked with.
    SocketFailed {
        /// The socket.
        socket: Id,
        /// Why.
        failure: Failure,
    },
    /// Something that a person must look at, and that stops nothing.
    Alarm {
        /// What it is about, English.
        about: String,
        /// Why.
        failure: Failure,
    },
    /// The run is over.
    Summary(Summary),
}

/// A unit whose turn has come.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Serial.
    pub serial: DeviceSerial,
    /// Label.
    pub label: String,
    /// Socket.
    pub socket: Id,
    /// Which attempt it is.
    pub attempt: Attempt,
}

/// Which attempt at a serial it is, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Most attempts.
    pub most: u32,
}

impl Attempt {
    /// A label, with the attempt behind it if it is not the first, and is made at all.
    #[must_use]
    pub fn label(self, label: &str, language: Language) -> String {
        let Self { number, most } = self;
        match (number, language) {
            (0 | 1, _) => label.to_owned(),
            _ if number > most => label.to_owned(),
            (_, Language::Ja) => format!("{label} ({number}/{most} 回目)"),
            (_, Language::En) => format!("{label} (attempt {number} of {most})"),
        }
    }
}

/// A unit's outcome.
#[derive(Clone, Debug)]
pub struct UnitLine {
    /// Its lot: that of the run, or of an earlier one that a unit was left over from.
    pub lot: Id,
    /// Serial.
    pub serial: DeviceSerial,
    /// Label.
    pub label: String,
    /// Socket.
    pub socket: Id,
    /// The chip, if one answered.
    pub uid: Option<ChipUid>,
    /// Why it is not PASS.
    pub failure: Option<Failure>,
    /// Whether it was set aside: it is on hold, a person must look at it, and its socket goes on with the next.
    pub set_aside: bool,
    /// Which attempt it was.
    pub attempt: Attempt,
    /// Milliseconds it took.
    pub millis: u64,
}

impl UnitLine {
    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.failure
            .as_ref()
            .map_or(Verdict::Pass, |failure| Verdict::of(failure.fault))
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The lot.
    pub lot: Id,
    /// Its units, by verdict.
    pub tally: Tally,
    /// Units of other lots that were left over from earlier runs and ended in this one.
    pub others: BTreeMap<Id, Tally>,
    /// Units whose turn never came.
    pub not_begun: usize,
    /// Why their turn never came, where no socket has said so.
    pub reason: Option<Failure>,
    /// The run's verdict.
    pub verdict: Verdict,
}

/// Shows what happens. One that cannot be written to stops nothing: records and journal hold the truth.
pub trait Sink: Send {
    /// Shows an event.
    fn show(&mut self, event: &Event);
}

/// Counts outcomes and shows what happens; shared by all sockets.
pub struct Desk {
    inner: Mutex<Inner>,
}

struct Inner {
    sink: Box<dyn Sink>,
    /// Units by their lot.
    tallies: BTreeMap<Id, Tally>,
    /// The worst that was said of a socket.
    sockets: Verdict,
    idle: Idle,
    /// What it came to, once the run is over.
    summary: Option<Summary>,
}

/// Why nobody works.
#[derive(Default)]
struct Idle {
    /// What stopped the line: the first error of a unit.
    error: Option<Failure>,
    /// Sockets that ended for want of a chip.
    empty: BTreeSet<Id>,
    /// The first socket that could not be worked with.
    failed: Option<Failure>,
    /// What the CA says of the lot, so that chips would not help.
    refused: Option<Failure>,
}

/// Outcomes of a lot's units in a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    units: BTreeMap<Verdict, usize>,
}

impl Tally {
    /// Units with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.units.get(&verdict).copied().unwrap_or_default()
    }

    /// Verdict over the lot: its worst unit's. Units that were not begun count as `rest`.
    #[must_use]
    pub fn worst(&self, not_begun: usize, rest: Verdict) -> Verdict {
        let rest = if not_begun == 0 { Verdict::Pass } else { rest };
        self.units
            .keys()
            .copied()
            .max()
            .map_or(rest, |worst| worst.max(rest))
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// Tells this sink.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                sink,
                tallies: BTreeMap::new(),
                sockets: Verdict::Pass,
                idle: Idle::default(),
                summary: None,
            }),
        }
    }

    /// Shows something that is not counted.
    pub fn show(&self, event: &Event) {
        lock(&self.inner).sink.show(event);
    }

    /// Shows and counts a unit.
    pub fn unit_done(&self, line: UnitLine) {
        let mut inner = lock(&self.inner);
        let tally = inner.tallies.entry(line.lot).or_default();
        *tally.units.entry(line.verdict()).or_default() += 1;
        if line.verdict() == Verdict::Error && inner.idle.error.is_none() {
            inner.idle.error.clone_from(&line.failure);
        }
        inner.sink.show(&Event::Ended(line));
    }

    /// Shows a socket that cannot be worked with. Units that nobody makes for that are counted at the end; an error
    /// is the run's verdict, and no unit's.
    pub fn socket_failed(&self, socket: &Id, failure: &Failure) {
        let verdict = Verdict::of(failure.fault);
        tracing::info!(%socket, %failure, "socket out of use");
        let mut inner = lock(&self.inner);
        if verdict == Verdict::Error {
            inner.sockets = verdict;
        }
        let first = inner.idle.failed.take();
        inner.idle.failed = first.or_else(|| Some(failure.clone()));
        inner.sink.show(&Event::SocketFailed {
            socket: *socket,
            failure: failure.clone(),
        });
    }

    /// Notes a socket that ended because no chip is in it. Only if units are left at the end does that matter.
    pub fn socket_empty(&self, socket: &Id) {
        lock(&self.inner).idle.empty.insert(*socket);
    }

    /// Whether nothing but chips seems to be wanting.
    pub fn wants_chips(&self) -> bool {
        let idle = &lock(&self.inner).idle;
        idle.error.is_none() && !idle.empty.is_empty()
    }

    /// Notes why units would not be begun with chips, either.
    pub fn lot_refused(&self, failure: Failure) {
        lock(&self.inner).idle.refused = Some(failure);
    }

    /// Shows once more what another desk came to.
    pub fn repeat_summary(&self, of: &Self) {
        let summary = lock(&of.inner).summary.clone();
        if let Some(summary) = summary {
            self.show(&Event::Summary(summary));
        }
    }

    /// Shows the summary. Returns the run's verdict; units that were not begun count as `rest`.
    pub fn summary(&self, lot: &Id, not_begun: usize, rest: Verdict) -> Verdict {
        let mut inner = lock(&self.inner);
        let mut others = inner.tallies.clone();
        let tally = others.remove(lot).unwrap_or_default();
        let of_others = others.values().map(|it| it.worst(0, rest));
        let verdict = of_others.fold(tally.worst(not_begun, rest), Verdict::max);
        let verdict = verdict.max(inner.sockets);
        let summary = Summary {
            lot: *lot,
            tally,
            others,
            not_begun,
            reason: why_not_begun(not_begun, rest, &inner.idle),
            verdict,
        };
        inner.summary = Some(summary.clone());
        inner.sink.show(&Event::Summary(summary));
        verdict
    }
}

/// Why units were not begun: an error, somebody who stopped the line, the lot's own end, no chips, or no socket that can be
/// worked with.
fn why_not_begun(not_begun: usize, rest: Verdict, idle: &Idle) -> Option<Failure> {
    if not_begun == 0 {
        return None;
    }
    if idle.error.is_some() {
        return idle.error.clone();
    }
    if rest == Verdict::Abort {
        let detail = "the line was stopped";
        return Some(Failure::new(Fault::Interrupted, detail));
    }
    if idle.refused.is_some() {
        return idle.refused.clone();
    }
    if idle.empty.is_empty() {
        return idle.failed.clone();
    }
    let sockets: Vec<_> = idle.empty.iter().map(Id::as_str).collect();
    let detail = format!("no chip in {}", sockets.join(", "));
    Some(Failure::new(Fault::SocketEmpty, detail))
}

/// A fault's words in one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Stable code.
    pub code: &'static str,
    /// What happened.
    pub text: &'static str,
    /// What to do next.
    pub hint: &'static str,
}

/// What to do about a CA that a command does not reach, in English and in Japanese.
const CALL_THE_CA: (&str, &str) = (
    "see that the CA runs, and that `[ca]` of the settings has its address, `server_name` and `infrastructure_root`",
    "CA が動いていること、設定の `[ca]` (`address`、`server_name`、`infrastructure_root`) が正しいことを確認してください",
);
/// What to do about settings whose fault stands beside it.
const MEND: (&str, &str) = (
    "mend what is named here",
    "ここに示された点を直してください",
);

impl Words {
    /// Of a fault.
    #[must_use]
    pub const fn of(fault: Fault, language: Language) -> Self {
        let FaultText {
            code,
            en,
            ja,
            hint_en,
            hint_ja,
            ..
        } = fault.text();
        let (text, hint) = match language {
            Language::Ja => (ja, hint_ja),
            Language::En => (en, hint_en),
        };
        Self { code, text, hint }
    }

    /// Of a fault whose particulars stand beside it, where no unit is under work: what a person does then is another thing.
    #[must_use]
    pub const fn of_command(fault: Fault, language: Language) -> Self {
        let words = Self::of(fault, language);
        if matches!(fault, Fault::CaUnreachable) {
            return words.do_rather(language, CALL_THE_CA);
        }
        if matches!(fault, Fault::Config) {
            return words.do_rather(language, MEND);
        }
        words
    }

    /// The same, with another hint: in English and in Japanese.
    #[must_use]
    pub const fn do_rather(
        self,
        language: Language,
        (en, ja): (&'static str, &'static str),
    ) -> Self {
        let hint = match language {
            Language::Ja => ja,
            Language::En => en,
        };
        Self { hint, ..self }
    }
}

/// Writes a line. What cannot be written to stops nothing.
fn put(out: &mut dyn Write, text: &str) {
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "the display cannot be written to");
    }
}

/// A failure of the program itself, for standard error.
///
/// # Errors
/// As the stream.
pub fn complain(out: &mut dyn Write, words: Words, detail: &str) -> io::Result<()> {
    let Words { code, text, hint } = words;
    writeln!(out, "{code} {text}\n    {detail}\n    → {hint}")
}

/// The same before anybody knows which language is read there.
///
/// # Errors
/// As the stream.
pub fn complain_in_both(
    out: &mut dyn Write,
    words: impl Fn(Language) -> Words,
    detail: &str,
) -> io::Result<()> {
    let (ja, en) = (words(Language::Ja), words(Language::En));
    let (code, text, hint) = (ja.code, en.text, en.hint);
    writeln!(out, "{code} {} / {text}\n    {detail}", ja.text)?;
    writeln!(out, "    → {} / {hint}", ja.hint)
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use std::sync::Arc;

    /// Somewhere to write to that can be read.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(lock(&self.0).clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn line(serial: &str, fault: Option<Fault>) -> UnitLine {
        UnitLine {
            lot: Id::new("26W48-A").unwrap(),
            serial: DeviceSerial::new(serial).unwrap(),
            label: "見守りカメラ".to_owned(),
            socket: Id::new("2").unwrap(),
            uid: ChipUid::new(&[1, 0x23]).ok(),
            failure: fault.map(|fault| Failure::new(fault, "detail")),
            set_aside: false,
            attempt: Attempt { number: 1, most: 3 },
            millis: 42,
        }
    }

    /// One unit that passes, one that is put aside, one that waits, one that is set aside, one of another lot that passes,
    /// and a summary.
    pub(crate) fn told(sink: impl FnOnce(Paper) -> Box<dyn Sink>) -> String {
        let paper = Paper::default();
        let desk = Desk::new(sink(paper.clone()));
        desk.unit_done(line("1", None));
        desk.unit_done(UnitLine {
            attempt: Attempt { number: 2, most: 3 },
            ..line("2", Some(Fault::ChipWrongPart))
        });
        desk.show(&Event::Waits(line("3", Some(Fault::CaUnreachable))));
        desk.unit_done(UnitLine {
            set_aside: true,
            ..line("4", Some(Fault::Alarmed))
        });
        desk.unit_done(UnitLine {
            lot: Id::new("26W47-B").unwrap(),
            ..line("5", None)
        });
        desk.socket_empty(&Id::new("2").unwrap());
        desk.summary(&Id::new("26W48-A").unwrap(), 3, Verdict::Hold);
        paper.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_were_not_begun_have_their_reason() {
        let failure = |fault| Some(Failure::new(fault, ""));
        let mut idle = Idle {
            empty: BTreeSet::from([Id::new("1").unwrap(), Id::new("2").unwrap()]),
            failed: failure(Fault::NoChip),
            error: None,
            refused: None,
        };
        let why = |left, rest, idle: &Idle| why_not_begun(left, rest, idle).map(|it| it.fault);
        assert_eq!(why(0, Verdict::Hold, &idle), None, "the tray was enough");
        assert_eq!(why(1, Verdict::Hold, &idle), Some(Fault::SocketEmpty));
        assert_eq!(why(1, Verdict::Abort, &idle), Some(Fault::Interrupted));
        idle.refused = failure(Fault::LotClosed);
        assert_eq!(why(1, Verdict::Hold, &idle), Some(Fault::LotClosed));
        idle.refused = None;
        idle.empty.clear();
        let found = why(1, Verdict::Hold, &idle);
        assert_eq!(found, Some(Fault::NoChip), "the programmer is off");
        idle.error = failure(Fault::Journal);
        let found = why(1, Verdict::Abort, &idle);
        assert_eq!(found, Some(Fault::Journal), "that is what stopped the line");
    }

    #[test]
    fn a_lot_counts_its_own_units_and_its_verdict_is_the_runs() {
        let (desk, lot) = (Desk::new(Box::new(Silent)), Id::new("26W48-A").unwrap());
        let other = Id::new("26W47-B").unwrap();
        let on = |lot, fault| UnitLine {
            lot,
            ..samples::line("1", fault)
        };
        desk.unit_done(on(lot, None));
        desk.unit_done(on(other, None));
        desk.unit_done(on(other, Some(Fault::BurnFailed)));
        assert_eq!(desk.summary(&lot, 0, Verdict::Hold), Verdict::Fail);
        let counts = |tally: &Tally| Verdict::ALL.map(|verdict| tally.count(verdict));
        let summary = lock(&desk.inner).summary.clone().unwrap();
        assert_eq!(counts(&summary.tally), [1, 0, 0, 0, 0]);
        let others: Vec<_> = summary.others.keys().copied().collect();
        assert_eq!(others, [other]);
        assert_eq!(counts(&summary.others[&other]), [1, 0, 1, 0, 0]);
        // A socket that cannot be relied on is no unit of any lot.
        desk.socket_failed(&lot, &Failure::new(Fault::LineHsm, ""));
        assert_eq!(desk.summary(&lot, 0, Verdict::Hold), Verdict::Error);
        let summary = lock(&desk.inner).summary.clone().unwrap();
        assert_eq!(counts(&summary.tally), [1, 0, 0, 0, 0]);
    }

    struct Silent;

    impl Sink for Silent {
        fn show(&mut self, _: &Event) {}
    }

    #[test]
    fn the_worst_unit_decides_the_lot() {
        let tally = |verdicts: &[Verdict]| Tally {
            units: verdicts.iter().map(|v| (*v, 1)).collect(),
        };
        assert_eq!(tally(&[]).worst(0, Verdict::Hold), Verdict::Pass);
        assert_eq!(
            tally(&[Verdict::Pass]).worst(1, Verdict::Hold),
            Verdict::Hold
        );
        assert_eq!(
            tally(&[Verdict::Pass]).worst(1, Verdict::Abort),
            Verdict::Abort
        );
        assert_eq!(
            tally(&[Verdict::Fail, Verdict::Hold]).worst(2, Verdict::Hold),
            Verdict::Fail
        );
        assert_eq!(
            tally(&[Verdict::Error, Verdict::Abort]).worst(0, Verdict::Hold),
            Verdict::Error
        );
    }
}
