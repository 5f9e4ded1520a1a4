//! What the operator reads: one line a unit, and a summary, in Japanese or English.

use crate::config::Language;
use crate::station::Failure;
use crate::station::floor::lock;
use crate::verdict::Verdict;
use identity::fault::{Fault, FaultText};
use identity::{ChipUid, DeviceSerial, Id};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One line a unit, for logs and other programs: fields separated by blanks, the text last.
    Headless,
    /// For a person at the station: with label and what to do next.
    Operator,
}

/// A unit's outcome.
#[derive(Clone, Debug)]
pub struct UnitLine {
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

/// Shows outcomes and counts them; shared by all sockets.
pub struct Desk {
    style: Style,
    language: Language,
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    tally: Tally,
}

/// Outcomes of a run.
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
        f.debug_struct("Desk")
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// Writes to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, style: Style, language: Language) -> Self {
        Self {
            style,
            language,
            inner: Mutex::new(Inner {
                out,
                tally: Tally::default(),
            }),
        }
    }

    /// Shows and counts a unit.
    pub fn unit_done(&self, line: &UnitLine) {
        let text = match self.style {
            Style::Headless => headless(line, self.language),
            Style::Operator => operator(line, self.language),
        };
        let mut inner = lock(&self.inner);
        *inner.tally.units.entry(line.verdict()).or_default() += 1;
        show(&mut inner.out, &text);
    }

    /// Shows a socket that cannot be worked with. Units that nobody makes for that are counted at the end; an error
    /// counts at once.
    pub fn socket_failed(&self, socket: &Id, failure: &Failure) {
        let verdict = Verdict::of(failure.fault);
        let text = format!(
            "{} - socket={socket} {}",
            verdict.name(),
            reason(failure, self.language)
        );
        tracing::warn!(%socket, %failure, "socket out of use");
        let mut inner = lock(&self.inner);
        if verdict == Verdict::Error {
            *inner.tally.units.entry(verdict).or_default() += 1;
        }
        show(&mut inner.out, &text);
    }

    /// Shows the summary. Returns the lot's verdict; units that were not begun count as `rest`.
    pub fn summary(&self, lot: &Id, not_begun: usize, rest: Verdict) -> Verdict {
        let mut inner = lock(&self.inner);
        let tally = inner.tally.clone();
        let counts: Vec<_> = Verdict::ALL
            .iter()
            .map(|v| format!("{} {}", v.name(), tally.count(*v)))
            .collect();
        let text = match self.language {
            Language::Ja => format!("ロット {lot}: {}、未着手 {not_begun}", counts.join("、")),
            Language::En => format!("lot {lot}: {}, not begun {not_begun}", counts.join(", ")),
        };
        show(&mut inner.out, &text);
        tally.worst(not_begun, rest)
    }
}

fn headless(line: &UnitLine, language: Language) -> String {
    let uid = line
        .uid
        .map_or_else(|| "-".to_owned(), |uid| uid.to_string());
    let head = format!(
        "{} {} socket={} uid={uid} ms={}",
        line.verdict().name(),
        line.serial,
        line.socket,
        line.millis
    );
    match &line.failure {
        None => head,
        Some(failure) => format!("{head} {}", reason(failure, language)),
    }
}

fn operator(line: &UnitLine, language: Language) -> String {
    let head = format!(
        "[{}] {:5} {} {}",
        line.socket,
        line.verdict().name(),
        line.serial,
        line.label
    );
    match &line.failure {
        None => head,
        Some(failure) => {
            let FaultText {
                hint_en, hint_ja, ..
            } = failure.fault.text();
            let hint = match language {
                Language::Ja => hint_ja,
                Language::En => hint_en,
            };
            format!("{head}\n    {}\n    → {hint}", reason(failure, language))
        }
    }
}

fn reason(failure: &Failure, language: Language) -> String {
    let FaultText { code, en, ja, .. } = failure.fault.text();
    match language {
        Language::Ja => format!("{code} {ja}"),
        Language::En => format!("{code} {en}"),
    }
}

/// A display that cannot be written to stops nothing: records and journal hold the truth.
fn show(out: &mut dyn Write, text: &str) {
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "the display cannot be written to");
    }
}

/// A failure of the program itself, for standard error.
///
/// # Errors
/// As the stream.
pub fn complain(
    out: &mut dyn Write,
    fault: Fault,
    detail: &str,
    language: Language,
) -> io::Result<()> {
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
    writeln!(out, "{code} {text}\n    {detail}\n    → {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(serial: &str, fault: Option<Fault>) -> UnitLine {
        UnitLine {
            serial: DeviceSerial::new(serial).unwrap(),
            label: "見守りカメラ".to_owned(),
            socket: Id::new("2").unwrap(),
            uid: ChipUid::new(&[1, 0x23]).ok(),
            failure: fault.map(|fault| Failure::new(fault, "detail")),
            millis: 42,
        }
    }

    fn shown(style: Style, language: Language) -> String {
        let screen = Screen::default();
        let desk = Desk::new(Box::new(screen.clone()), style, language);
        desk.unit_done(&line("1", None));
        desk.unit_done(&line("2", Some(Fault::ChipWrongPart)));
        desk.summary(&Id::new("26W48-A").unwrap(), 3, Verdict::Hold);
        let bytes = lock(&screen.0).clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn headless_is_one_line_a_unit() {
        assert_eq!(
            shown(Style::Headless, Language::En),
            "PASS 1 socket=2 uid=0123 ms=42\n\
             FAIL 2 socket=2 uid=0123 ms=42 LINE-0102 the chip in the socket is another part than the product's\n\
             lot 26W48-A: PASS 1, HOLD 0, FAIL 1, ABORT 0, ERROR 0, not begun 3\n"
        );
    }

    #[test]
    fn the_operator_reads_what_to_do() {
        assert_eq!(
            shown(Style::Operator, Language::Ja),
            "[2] PASS  1 見守りカメラ\n\
             [2] FAIL  2 見守りカメラ\n    LINE-0102 チップの品番が製品と違います\n    → 取り外し、リールを確認してください\n\
             ロット 26W48-A: PASS 1、HOLD 0、FAIL 1、ABORT 0、ERROR 0、未着手 3\n"
        );
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
