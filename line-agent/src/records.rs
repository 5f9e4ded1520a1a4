//! One unit, one file: `records/<serial>.<request>.json`, and what ships with the device: `devices/<serial>.pem` and
//! `devices/<serial>.tlog-proof`.

use crate::files::{FileError, ensure_directory, write_durably};
use crate::sources::rfc3339;
use crate::verdict::Verdict;
use base64ct::{Base64, Encoding as _};
use identity::fault::Fault;
use identity::{
    CertificateHash, ChipUid, Clock, DeviceSerial, DocumentHash, Id, LeafHash, PartNumber,
    RequestId, SpkiHash, Timestamp,
};
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// What is known of a unit when its session ends.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Form of the record.
    pub schema: &'static str,
    /// Serial of the device.
    #[serde(serialize_with = "text")]
    pub serial: DeviceSerial,
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
    /// Where it was made.
    pub place: PlaceOfWork,
    /// Which attempt at this serial, from 1.
    pub attempt: u32,
    /// Request.
    #[serde(serialize_with = "text")]
    pub request: RequestId,
    /// What was learnt on the way.
    pub facts: Facts,
    /// Verdict.
    #[serde(serialize_with = "verdict_name")]
    pub verdict: Verdict,
    /// Why it is not PASS.
    pub fault: Option<FaultRecord>,
    /// Steps made in this session.
    pub steps: Vec<StepRecord>,
}

/// Where a unit was worked on.
#[derive(Clone, Debug, Serialize)]
pub struct PlaceOfWork {
    /// Site of the factory.
    #[serde(serialize_with = "text")]
    pub site: Id,
    /// Line.
    #[serde(serialize_with = "text")]
    pub line: Id,
    /// Station.
    #[serde(serialize_with = "text")]
    pub station: Id,
    /// Socket.
    #[serde(serialize_with = "text")]
    pub socket: Id,
    /// Position of the chip in the socket's tray, from 0.
    pub position: u32,
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

/// One step of a session.
#[derive(Clone, Debug, Serialize)]
pub struct StepRecord {
    /// Name of the step.
    pub name: &'static str,
    /// When it was done.
    #[serde(serialize_with = "time")]
    pub at: Timestamp,
}

impl FaultRecord {
    /// The fault's row with particulars.
    #[must_use]
    pub const fn new(fault: Fault, detail: String) -> Self {
        let text = fault.text();
        Self {
            code: text.code,
            blame: text.blame.name(),
            en: text.en,
            ja: text.ja,
            hint_en: text.hint_en,
            hint_ja: text.hint_ja,
            detail,
        }
    }
}

/// What a session leaves behind besides the journal: the steps made and the facts learnt.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// Steps in order.
    pub steps: Vec<StepRecord>,
    /// Facts.
    pub facts: Facts,
}

impl Trail {
    /// Notes a step as done now.
    pub fn mark(&mut self, name: &'static str, clock: &dyn Clock) {
        self.steps.push(StepRecord {
            name,
            at: clock.now(),
        });
    }
}

/// The output directory.
#[derive(Clone, Debug)]
pub struct Output {
    devices: PathBuf,
    records: PathBuf,
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
        };
        ensure_directory(&output.devices)?;
        ensure_directory(&output.records)?;
        Ok(output)
    }

    /// Stores what ships with a device; the same again changes nothing.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn put_device(
        &self,
        serial: &DeviceSerial,
        certificate: &[u8],
        receipt: &[u8],
    ) -> Result<(), FileError> {
        let name = file_name(serial);
        write_durably(
            &self.devices.join(format!("{name}.pem")),
            pem(certificate).as_bytes(),
        )?;
        write_durably(&self.devices.join(format!("{name}.tlog-proof")), receipt)
    }

    /// Stores a record; a later one of the same request takes its place.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn put_record(&self, record: &Record) -> Result<(), FileError> {
        let path = self.records.join(format!(
            "{}.{}.json",
            file_name(&record.serial),
            record.request
        ));
        let mut json =
            serde_json::to_vec_pretty(record).map_err(|error| FileError::content(&path, error))?;
        json.push(b'\n');
        write_durably(&path, &json)
    }
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

fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::new(text).unwrap()
    }

    fn record() -> Record {
        Record {
            schema: "record/v1",
            serial: DeviceSerial::new("26480001000").unwrap(),
            label: "見守りカメラ #1".to_owned(),
            lot: id("26W48-A"),
            product: id("md-cam2"),
            grant: id("2026-ota-line-2-cam2"),
            grant_hash: DocumentHash([0xAB; 32]),
            place: PlaceOfWork {
                site: id("JP-13-OTA"),
                line: id("line-2"),
                station: id("ota-l2-prov-01"),
                socket: id("1"),
                position: 7,
            },
            attempt: 1,
            request: RequestId([0x11; 16]),
            facts: Facts {
                uid: Some(ChipUid::new(&[1, 0x23]).unwrap()),
                ..Facts::default()
            },
            verdict: Verdict::Fail,
            fault: Some(FaultRecord::new(
                Fault::ChipWrongPart,
                "sim-x where sim-se-a1 is wanted".to_owned(),
            )),
            steps: vec![StepRecord {
                name: "identify",
                at: Timestamp(1_795_392_000_007),
            }],
        }
    }

    #[test]
    fn the_form_of_a_record() {
        let directory = tempfile::tempdir().unwrap();
        Output::open(directory.path())
            .unwrap()
            .put_record(&record())
            .unwrap();
        let path = directory
            .path()
            .join("records/26480001000.11111111111111111111111111111111.json");
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written, include_str!("../golden/record.json"));
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
