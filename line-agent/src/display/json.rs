//! One line of JSON for each thing that happened, for logs and other programs.
//!
//! `event` says what a line is about: `unit` (a unit's session has ended: one line a unit), `wait` (it is on hold until
//! the CA can be reached), `socket` (a socket is out of use), `alarm`, `lot` (the last line, with why units were not begun; units
//! that were left over from other lots stand there by themselves). Keys never change meaning.

use super::{Event, Sink, Summary, Tally, UnitLine, put};
use crate::records::FaultRecord;
use crate::station::Failure;
use crate::verdict::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// Writes lines of JSON.
pub struct JsonLines {
    out: Box<dyn Write + Send>,
}

impl JsonLines {
    /// Writes to `out`.
    #[must_use]
    pub const fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out }
    }
}

impl std::fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonLines").finish_non_exhaustive()
    }
}

impl Sink for JsonLines {
    fn show(&mut self, event: &Event) {
        let line = match event {
            Event::Begun(_) => return,
            Event::Ended(line) => unit("unit", line),
            Event::Waits(line) => unit("wait", line),
            Event::SocketFailed { socket, failure } => serde_json::to_string(&SocketLine {
                event: "socket",
                verdict: Verdict::of(failure.fault).name(),
                socket: socket.to_string(),
                fault: record(failure),
            }),
            Event::Alarm { about, failure } => serde_json::to_string(&AlarmLine {
                event: "alarm",
                about,
                fault: record(failure),
            }),
            Event::Summary(summary) => total(summary),
        };
        match line {
            Ok(line) => put(&mut self.out, &line),
            Err(error) => tracing::warn!(%error, "a line could not be made"),
        }
    }
}

#[derive(Serialize)]
struct UnitEvent<'a> {
    event: &'static str,
    verdict: &'static str,
    lot: String,
    serial: String,
    label: &'a str,
    socket: String,
    uid: Option<String>,
    attempt: u32,
    attempts: u32,
    ms: u64,
    set_aside: bool,
    fault: Option<FaultRecord>,
}

#[derive(Serialize)]
struct SocketLine {
    event: &'static str,
    verdict: &'static str,
    socket: String,
    fault: FaultRecord,
}

#[derive(Serialize)]
struct AlarmLine<'a> {
    event: &'static str,
    about: &'a str,
    fault: FaultRecord,
}

/// Counts by verdict.
type Units = BTreeMap<&'static str, usize>;

#[derive(Serialize)]
struct LotLine {
    event: &'static str,
    verdict: &'static str,
    lot: String,
    units: Units,
    other_lots: BTreeMap<String, Units>,
    not_begun: usize,
    fault: Option<FaultRecord>,
}

fn unit(event: &'static str, line: &UnitLine) -> serde_json::Result<String> {
    serde_json::to_string(&UnitEvent {
        event,
        verdict: line.verdict().name(),
        lot: line.lot.to_string(),
        serial: line.serial.to_string(),
        label: &line.label,
        socket: line.socket.to_string(),
        uid: line.uid.map(|uid| uid.to_string()),
        attempt: line.attempt.number,
        attempts: line.attempt.most,
        ms: line.millis,
        set_aside: line.set_aside,
        fault: line.failure.as_ref().map(record),
    })
}

fn record(failure: &Failure) -> FaultRecord {
    FaultRecord::of(failure)
}

fn units(tally: &Tally) -> Units {
    Verdict::ALL
        .map(|verdict| (verdict.name(), tally.count(verdict)))
        .into()
}

fn total(summary: &Summary) -> serde_json::Result<String> {
    let others = summary.others.iter();
    serde_json::to_string(&LotLine {
        event: "lot",
        verdict: summary.verdict.name(),
        lot: summary.lot.to_string(),
        units: units(&summary.tally),
        other_lots: others
            .map(|(lot, tally)| (lot.to_string(), units(tally)))
            .collect(),
        not_begun: summary.not_begun,
        fault: summary.reason.as_ref().map(record),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::told;
    use super::*;

    #[test]
    fn one_line_a_thing() {
        let told = told(|paper| Box::new(JsonLines::new(Box::new(paper))));
        assert_eq!(told, include_str!("../../golden/headless.ndjson"));
    }
}
