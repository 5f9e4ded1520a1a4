//! The bytes of every form, in `tests/golden/<ASN.1 type>[.<variant>].der` and the same in hexadecimal. They are for
//! ever: a change here is a new version of the form. Written anew, after a change of samples only, by
//! `cargo test -p identity -- --ignored regenerate_goldens`.

use crate::samples;
use identity::approval::Approval;
use identity::document::{Document as _, WireError};
use identity::envelope::{Purpose, StationRequest as _};
use identity::evidence::Evidence;
use identity::field::{Openings, Tag};
use identity::leaf::Leaf;
use identity::receipt::ReceiptExtra;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::{fs, path::PathBuf};

/// Whether bytes are read as the value they came from.
type ReadsBack = Box<dyn Fn(&[u8]) -> bool>;

/// One form: what its bytes are, and how they are read back.
struct Golden {
    name: String,
    bytes: Vec<u8>,
    reads_back: ReadsBack,
}

fn golden<T: PartialEq + 'static>(
    name: &str,
    value: T,
    write: fn(&T) -> Vec<u8>,
    read: fn(&[u8]) -> Result<T, WireError>,
) -> Golden {
    let bytes = write(&value);
    Golden {
        name: name.into(),
        bytes,
        reads_back: Box::new(move |bytes| read(bytes).as_ref() == Ok(&value)),
    }
}

macro_rules! goldens {
    ($($name:literal: $type:ty = $value:expr;)*) => {
        vec![$(golden($name, $value, <$type>::to_bytes, <$type>::from_bytes)),*]
    };
}

fn all() -> Vec<Golden> {
    let history = [samples::bind(), samples::adopt(), samples::confirm()];
    let mut goldens = goldens! {
        "Ceremony": identity::document::Ceremony = samples::ceremony();
        "Profile": identity::document::Profile = samples::profile();
        "Grant": identity::document::Grant = samples::grant();
        "LotOrder": identity::document::LotOrder = samples::lot_order();
        "StationStatement": identity::document::StationStatement = samples::station();
        "StationStatement.agents": identity::document::StationStatement = samples::station_with_agents();
        "Approval": Approval = samples::approve("alice", samples::ALICE, &samples::grant());
        "Evidence.on-chip": Evidence = samples::on_chip();
        "Evidence.injected": Evidence = samples::injected();
        "Envelope.on-chip": identity::envelope::Envelope = samples::envelope(Purpose::Provision, samples::on_chip());
        "Envelope.injected": identity::envelope::Envelope = samples::envelope(Purpose::Provision, samples::injected());
        "Envelope.adopt": identity::envelope::Envelope = samples::envelope_with_checkpoint();
        "ConfirmRequest": identity::envelope::ConfirmRequest = samples::confirm_request();
        "VoidRequest": identity::envelope::VoidRequest = samples::void_request();
        "ScrapRequest": identity::lot::ScrapRequest = samples::scrap_request(Some(samples::REQUEST));
        "ScrapRequest.without-key": identity::lot::ScrapRequest = samples::scrap_request(None);
        "LotCloseRequest": identity::lot::LotCloseRequest = samples::lot_close_request();
        "LotCloseRequest.with-share": identity::lot::LotCloseRequest = samples::lot_close_request_with_share();
        "LotCloseRequest.with-seen": identity::lot::LotCloseRequest = samples::lot_close_request_with_seen();
        "LotShare": identity::lot::LotShare = samples::lot_share();
        "Openings": Openings = samples::openings();
        "Openings.disclosed": Openings = samples::openings().disclose(&[Tag::DeviceSerial]);
        "ReceiptExtra": ReceiptExtra = samples::receipt_extra(&history);
    };
    let leaf = |(kind, leaf)| {
        golden(
            &format!("Leaf.{kind}"),
            leaf,
            Leaf::to_bytes,
            Leaf::from_bytes,
        )
    };
    goldens.extend(samples::leaves().into_iter().map(leaf));
    goldens
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn path(name: &str, extension: &str) -> PathBuf {
    directory().join(format!("{name}.{extension}"))
}

/// 32 bytes a line.
fn hex_lines(bytes: &[u8]) -> String {
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        writeln!(text, "{}", hex::encode(line)).unwrap();
        text
    })
}

#[test]
fn every_form_is_written_as_its_golden() {
    for golden in all() {
        assert_eq!(
            hex_lines(&golden.bytes),
            fs::read_to_string(path(&golden.name, "hex")).unwrap(),
            "{}",
            golden.name
        );
        assert_eq!(
            golden.bytes,
            fs::read(path(&golden.name, "der")).unwrap(),
            "{}",
            golden.name
        );
    }
}

#[test]
fn every_golden_is_read_as_its_form() {
    for golden in all() {
        assert!(
            (golden.reads_back)(&fs::read(path(&golden.name, "der")).unwrap()),
            "{}",
            golden.name
        );
    }
}

#[test]
fn no_golden_is_left_over() {
    let listed: BTreeSet<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("idevid"))
        .collect();
    let named = all()
        .into_iter()
        .flat_map(|golden| ["der", "hex"].map(|e| format!("{}.{e}", golden.name)));
    assert_eq!(listed, named.collect());
}

#[test]
#[ignore = "writes tests/golden"]
fn regenerate_goldens() {
    for golden in all() {
        fs::write(path(&golden.name, "der"), &golden.bytes).unwrap();
        fs::write(path(&golden.name, "hex"), hex_lines(&golden.bytes)).unwrap();
    }
}
