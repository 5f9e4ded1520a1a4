//! One unit, one file: `records/<serial>.<request>.json`; the same records in the order they were made, one line each:
//! `daily/<day>.ndjson`; and what ships with the device: `devices/<serial>.pem` and `devices/<serial>.tlog-proof`.
//!
//! Names are those of `OpenHTF`'s test record where it has one, so that a factory's own programs can read them.
//! The files in `records/` are whole after a power cut, and are the truth. A day's file is for those who follow it: a
//! unit that was held and passed later stands in it more than once (the last line counts), and a power cut may take
//! its last lines.

use crate::agent::ProgramHash;
use crate::config::Language;
use crate::display::Words;
use crate::files::{FileError, ensure_directory, write_all_durably};
use crate::sources::day;
use crate::station::Failure;
use crate::station::floor::lock;
use crate::verdict::Verdict;
use base64ct::{Base64, Encoding as _};
use identity::{
    CertificateHash, ChipUid, Clock, DeviceSerial, DocumentHash, Id, LeafHash, PartNumber,
    RequestId, SpkiHash, Timestamp,
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Form of a record.
pub const SCHEMA: &str = "record/v2";

/// What is known of a unit when its session ends.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Form of the record.
    pub schema: &'static str,
    /// Serial of the device.
    #[serde(serialize_with = "text")]
    pub dut_id: DeviceSerial,
    /// Station.
    #[serde(serialize_with = "text")]
    pub station_id: Id,
    /// When the session began, milliseconds since 1970, UTC.
    #[serde(serialize_with = "millis")]
    pub start_time_millis: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "millis")]
    pub end_time_millis: Timestamp,
    /// How far the station's clock can be believed; absent until the CA has said its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_quality: Option<TimeQuality>,
    /// Verdict.
    #[serde(serialize_with = "verdict_name")]
    pub outcome: Verdict,
    /// Why it is not PASS.
    pub outcome_details: Vec<FaultRecord>,
    /// What was made, where, and under which order.
    pub metadata: Metadata,
    /// Steps made in this session.
    pub phases: Vec<PhaseRecord>,
}

/// What was made, where, and under which order.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    /// Label, for people.
    pub label: String,
    /// Lot.
    #[serde(serialize_with = "text")]
    pub lot: Id,
    /// Product.
    #[serde(serialize_with = "text")]
    pub product: Id,
    /// Grant, by name.
    #[serde(serialize_with = "text")]
    pub grant: Id,
    /// Grant, by hash.
    #[serde(serialize_with = "text")]
    pub grant_hash: DocumentHash,
    /// Site of the factory.
    #[serde(serialize_with = "text")]
    pub site: Id,
    /// Line.
    #[serde(serialize_with = "text")]
    pub line: Id,
    /// Socket.
    #[serde(serialize_with = "text")]
    pub socket: Id,
    /// Position of the chip in the socket's tray, from 0.
    pub position: u32,
    /// Which attempt at this serial, from 1.
    pub attempt: u32,
    /// Attempts at this serial that failed before, the earliest first; absent if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierAttempt>,
    /// Request.
    #[serde(serialize_with = "text")]
    pub request: RequestId,
    /// Version of this program.
    pub agent_version: &'static str,
    /// SHA-256 of this program.
    #[serde(serialize_with = "text")]
    pub agent_sha256: ProgramHash,
    /// What was learnt on the way.
    #[serde(flatten)]
    pub facts: Facts,
}

/// An attempt at the same serial that failed.
#[derive(Clone, Debug, Serialize)]
pub struct EarlierAttempt {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The chip.
    #[serde(serialize_with = "text")]
    pub uid: ChipUid,
    /// When it ended.
    #[serde(serialize_with = "millis")]
    pub end_time_millis: Timestamp,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
}

/// How the station's clock stood against the CA's when the CA said its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TimeQuality {
    /// Who was asked.
    pub against: &'static str,
    /// The station's time less the CA's, in milliseconds.
    pub offset_millis: i64,
    /// The offset may be wrong by so much: half the time that the question took.
    pub error_millis: u64,
}

impl TimeQuality {
    /// Of a question put and answered at these times of the station, with this time of the CA.
    #[must_use]
    pub fn against_ca(asked: Timestamp, answered: Timestamp, ca: Timestamp) -> Self {
        let took = answered.0.saturating_sub(asked.0);
        let middle = asked.0.saturating_add(took / 2);
        Self {
            against: "ca",
            offset_millis: i64::try_from(i128::from(middle) - i128::from(ca.0)).unwrap_or(i64::MAX),
            error_millis: took.div_ceil(2),
        }
    }
}

/// What was learnt of a unit; a field is absent until it is known.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// The chip.
    #[serde(
        serialize_with = "text_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub uid: Option<ChipUid>,
    /// Its part number.
    #[serde(
        serialize_with = "text_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub part: Option<PartNumber>,
    /// Where the fixed key came from: `on-chip` or `injected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<&'static str>,
    /// The fixed key.
    #[serde(
        serialize_with = "text_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub spki_sha256: Option<SpkiHash>,
    /// The certificate.
    #[serde(
        serialize_with = "text_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub certificate_sha256: Option<CertificateHash>,
    /// Index of the `bind` leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_index: Option<u64>,
    /// Hash of the `bind` leaf.
    #[serde(
        serialize_with = "text_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub bind_leaf: Option<LeafHash>,
}

/// A fault with all its words, so that the record can be read without this program.
#[derive(Clone, Debug, Serialize)]
pub struct FaultRecord {
    /// Stable code.
    pub code: &'static str,
    /// Who is at fault.
    pub blame: &'static str,
    /// What happened, English.
    pub en: &'static str,
    /// What happened, Japanese.
    pub ja: &'static str,
    /// What to do next, English.
    pub hint_en: &'static str,
    /// What to do next, Japanese.
    pub hint_ja: &'static str,
    /// Particulars, English.
    pub detail: String,
}

/// One step of a session that was done.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseRecord {
    /// Name of the step.
    pub name: &'static str,
    /// When it began: the end of the one before.
    #[serde(serialize_with = "millis")]
    pub start_time_millis: Timestamp,
    /// When it was done.
    #[serde(serialize_with = "millis")]
    pub end_time_millis: Timestamp,
    /// Always PASS: the step at which a unit ended otherwise was not done, and `outcome_details` says why.
    #[serde(serialize_with = "verdict_name")]
    pub outcome: Verdict,
    /// What was seen.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: BTreeMap<&'static str, Measurement>,
}

/// Something seen in a step.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What was seen.
    pub measured_value: Value,
}

impl FaultRecord {
    /// The failure's fault with particulars.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        let text = failure.fault.text();
        let (en, ja) = [Language::En, Language::Ja]
            .map(|language| Words::of_failure(failure, language))
            .into();
        Self {
            code: text.code,
            blame: text.blame.name(),
            en: en.text,
            ja: ja.text,
            hint_en: en.hint,
            hint_ja: ja.hint,
            detail: failure.detail.clone(),
        }
    }
}

/// What a session leaves behind besides the journal: the steps made and the facts learnt.
#[derive(Clone, Debug)]
pub struct Trail {
    /// When the session began.
    pub began: Timestamp,
    /// Steps in order.
    pub phases: Vec<PhaseRecord>,
    /// Facts.
    pub facts: Facts,
    seen: BTreeMap<&'static str, Measurement>,
}

impl Trail {
    /// Begins a session.
    #[must_use]
    pub fn begin(began: Timestamp) -> Self {
        Self {
            began,
            phases: Vec::new(),
            facts: Facts::default(),
            seen: BTreeMap::new(),
        }
    }

    /// Notes what was seen in the step under way.
    pub fn measure(&mut self, name: &'static str, value: impl Into<Value>) {
        let measured_value = value.into();
        self.seen.insert(name, Measurement { measured_value });
    }

    /// Notes a step as done now.
    pub fn mark(&mut self, name: &'static str, clock: &dyn Clock) {
        let before = self.phases.last();
        self.phases.push(PhaseRecord {
            name,
            start_time_millis: before.map_or(self.began, |step| step.end_time_millis),
            end_time_millis: clock.now(),
            outcome: Verdict::Pass,
            measurements: std::mem::take(&mut self.seen),
        });
    }
}

/// The output directory.
#[derive(Debug)]
pub struct Output {
    devices: PathBuf,
    records: PathBuf,
    daily: Mutex<Daily>,
}

impl Output {
    /// Makes the directories, if they are not there.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn open(out: &Path) -> Result<Self, FileError> {
        let output = Self {
            devices: out.join("devices"),
            records: out.join("records"),
            daily: Mutex::new(Daily {
                directory: out.join("daily"),
                file: None,
            }),
        };
        ensure_directory(&output.devices)?;
        ensure_directory(&output.records)?;
        ensure_directory(&out.join("daily"))?;
        Ok(output)
    }

    /// Stores a record with what ships with its device, if it passed, and adds the record to its day; a later one of the same
    /// request takes the place of its file.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn put(&self, record: &Record, shipment: Option<&Shipment>) -> Result<(), FileError> {
        let name = file_name(&record.dut_id);
        let path = self
            .records
            .join(format!("{name}.{}.json", record.metadata.request));
        let wrong = |error| FileError::content(&path, error);
        let mut json = serde_json::to_vec_pretty(record).map_err(wrong)?;
        json.push(b'\n');
        let certificate = self.devices.join(format!("{name}.pem"));
        let receipt = self.devices.join(format!("{name}.tlog-proof"));
        let text = shipment.map_or_else(String::new, |it| pem(&it.certificate));
        let mut files: Vec<(&Path, &[u8])> = Vec::new();
        if let Some(shipment) = shipment {
            files.push((&certificate, text.as_bytes()));
            files.push((&receipt, &shipment.receipt));
        }
        files.push((&path, &json));
        write_all_durably(&files)?;
        // If the power goes now the record is there, and its unit open: it comes here again.
        let mut line = serde_json::to_vec(record).map_err(wrong)?;
        line.push(b'\n');
        lock(&self.daily).add(&day(record.end_time_millis), &line)
    }
}

/// What ships with a device.
#[derive(Clone, Debug)]
pub struct Shipment {
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// The receipt of its confirmation, C2SP tlog-proof.
    pub receipt: Vec<u8>,
}

/// The day's file: `<day>.ndjson`, one record a line, days of UTC.
#[derive(Debug)]
struct Daily {
    directory: PathBuf,
    /// The day that is open.
    file: Option<(String, File)>,
}

impl Daily {
    /// Adds a whole line with one write.
    fn add(&mut self, day: &str, line: &[u8]) -> Result<(), FileError> {
        let path = self.directory.join(format!("{day}.ndjson"));
        let file = match self.file.take() {
            Some((open, file)) if open == day => file,
            _ => open_whole(&path).map_err(FileError::io(&path))?,
        };
        let (_, file) = self.file.insert((day.to_owned(), file));
        let written = file.write_all(line).map_err(FileError::io(&path));
        if written.is_err() {
            // A part of the line may stand there: opening the file anew cuts it off.
            self.file = None;
        }
        written
    }
}

/// Opens a file of lines to add to it; a last line that a power cut left without its end is cut off.
fn open_whole(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).open(path)?;
    let len = file.seek(SeekFrom::End(0))?;
    let mut whole = len;
    let mut last = [0];
    while whole > 0 {
        file.seek(SeekFrom::Start(whole - 1))?;
        file.read_exact(&mut last)?;
        if last == *b"\n" {
            break;
        }
        whole -= 1;
    }
    if whole < len {
        file.set_len(whole)?;
    }
    Ok(file)
}

/// A serial as part of a file name: letters, digits, `-` as they are, everything else as `%` and two hexadecimal
/// digits (serials may hold `/` and start with a dot).
#[must_use]
pub fn file_name(serial: &DeviceSerial) -> String {
    let escape = |byte: &u8| match byte {
        b if b.is_ascii_alphanumeric() || *b == b'-' => char::from(*b).to_string(),
        b => format!("%{b:02X}"),
    };
    serial.as_bytes().iter().map(escape).collect()
}

/// A certificate as RFC 7468 text.
#[must_use]
pub fn pem(der: &[u8]) -> String {
    let text = Base64::encode_string(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

fn text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn text_option<T: ToString, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(T::to_string).serialize(serializer)
}

fn verdict_name<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.name())
}

fn millis<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::fault::Fault;

    fn id(text: &str) -> Id {
        Id::new(text).unwrap()
    }

    fn record() -> Record {
        let mut trail = Trail::begin(Timestamp(1_795_392_000_000));
        trail.measure("chip_state", "blank");
        trail.mark("identify", &Stopped(1_795_392_000_007));
        trail.facts.uid = ChipUid::new(&[1, 0x23]).ok();
        Record {
            schema: SCHEMA,
            dut_id: DeviceSerial::new("26480001000").unwrap(),
            station_id: id("ota-l2-prov-01"),
            start_time_millis: trail.began,
            end_time_millis: Timestamp(1_795_392_000_009),
            time_quality: Some(TimeQuality::against_ca(
                Timestamp(100),
                Timestamp(105),
                Timestamp(90),
            )),
            outcome: Verdict::Fail,
            outcome_details: vec![FaultRecord::of(&Failure::new(
                Fault::ChipWrongPart,
                "sim-x where sim-se-a1 is wanted",
            ))],
            metadata: Metadata {
                label: "見守りカメラ #1".to_owned(),
                lot: id("26W48-A"),
                product: id("md-cam2"),
                grant: id("2026-ota-line-2-cam2"),
                grant_hash: DocumentHash([0xAB; 32]),
                site: id("JP-13-OTA"),
                line: id("line-2"),
                socket: id("1"),
                position: 7,
                attempt: 1,
                earlier: Vec::new(),
                request: RequestId([0x11; 16]),
                agent_version: "0.1.0",
                agent_sha256: ProgramHash([0xA9; 32]),
                facts: trail.facts,
            },
            phases: trail.phases,
        }
    }

    struct Stopped(u64);

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp(self.0)
        }
    }

    #[test]
    fn the_form_of_a_record() {
        let directory = tempfile::tempdir().unwrap();
        Output::open(directory.path())
            .unwrap()
            .put(&record(), None)
            .unwrap();
        let path = directory
            .path()
            .join("records/26480001000.11111111111111111111111111111111.json");
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written, include_str!("../golden/record.json"));
        let day = std::fs::read_to_string(directory.path().join("daily/2026-11-23.ndjson"));
        let line: Value = serde_json::from_str(&day.unwrap()).unwrap();
        assert_eq!(line, serde_json::from_str::<Value>(&written).unwrap());
    }

    #[test]
    fn a_day_is_one_record_a_line_and_a_torn_line_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daily/2026-11-23.ndjson");
        let put = |record: &Record| {
            let output = Output::open(directory.path()).unwrap();
            output.put(record, None).unwrap();
            output.put(record, None).unwrap();
        };
        put(&record());
        let two = std::fs::read(&path).unwrap();
        std::fs::write(&path, &two[..two.len() - 5]).unwrap();
        put(&record());
        assert_eq!(
            std::fs::read(&path).unwrap(),
            [&two[..two.len() / 2], &two].concat()
        );
        put(&Record {
            end_time_millis: Timestamp(1_795_478_400_000),
            ..record()
        });
        assert!(directory.path().join("daily/2026-11-24.ndjson").exists());
    }

    #[test]
    fn a_clock_is_held_against_the_middle_of_the_question() {
        let quality = TimeQuality::against_ca(Timestamp(100), Timestamp(105), Timestamp(90));
        assert_eq!((quality.offset_millis, quality.error_millis), (12, 3));
    }

    #[test]
    fn a_serial_never_leaves_its_directory() {
        assert_eq!(
            file_name(&DeviceSerial::new("../A b").unwrap()),
            "%2E%2E%2FA%20b"
        );
    }

    #[test]
    fn certificates_are_written_in_lines_of_64() {
        let text = pem(&[0x30; 60]);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(text.lines().count(), 4);
    }
}
