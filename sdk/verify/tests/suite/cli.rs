//! The program: exit codes, and the text that people read.

use crate::house::{Device, House, pem};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::{TempDir, tempdir};

const AT: &str = "2026-11-23T12:00:00Z";

/// A directory with `device.pem`, `device.tlog-proof`, `trust/` and `log/`.
fn place(finish: fn(&mut House, &mut Device)) -> TempDir {
    let dir = tempdir().unwrap();
    let mut house = House::new();
    let mut device = house.bind(0);
    finish(&mut house, &mut device);
    fs::write(
        dir.path().join("device.pem"),
        pem("CERTIFICATE", &device.certificate),
    )
    .unwrap();
    fs::write(dir.path().join("device.der"), &device.certificate).unwrap();
    fs::write(dir.path().join("device.tlog-proof"), house.proof(&device)).unwrap();
    fs::create_dir(dir.path().join("trust")).unwrap();
    house.write_trust(&dir.path().join("trust"));
    house.write_log(&dir.path().join("log"));
    dir
}

fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_koseki-verify");
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

fn verify(dir: &Path, more: &[&str]) -> (i32, String, String) {
    let arguments = [
        "device.pem",
        "--proof",
        "device.tlog-proof",
        "--trust",
        "trust",
        "--at",
        AT,
    ];
    run(dir, &[&arguments[..], more].concat())
}

#[test]
fn an_accepted_device_reads_like_this() {
    let dir = place(House::confirm);
    let (code, text, errors) = verify(dir.path(), &[]);
    assert_eq!(text, include_str!("golden/accepted.txt"));
    assert_eq!((code, errors.as_str()), (0, ""));
    let der = [
        "device.der",
        "--proof",
        "device.tlog-proof",
        "--trust",
        "trust",
        "--at",
        AT,
    ];
    assert_eq!(run(dir.path(), &der).1, text);
}

#[test]
fn a_rejected_device_reads_like_this() {
    let dir = place(House::confirm);
    let mut stranger = House::new();
    let mut device = stranger.bind(1);
    stranger.confirm(&mut device);
    fs::write(
        dir.path().join("device.tlog-proof"),
        stranger.proof(&device),
    )
    .unwrap();
    fs::remove_dir_all(dir.path().join("trust/vendors")).unwrap();
    let (code, text, _) = verify(dir.path(), &[]);
    assert_eq!(text, include_str!("golden/rejected.txt"));
    assert_eq!(code, 1);
    let (_, japanese, _) = verify(dir.path(), &["--lang", "ja"]);
    assert!(
        japanese.contains("VERIFY-0132 ログの証明書番号と一致しません"),
        "{japanese}"
    );
}

#[test]
fn a_unit_not_confirmed_is_the_callers_choice() {
    let dir = place(|_, _| ());
    let (code, text, _) = verify(dir.path(), &[]);
    assert!(code == 0 && text.starts_with("accepted bound\n"), "{text}");
    let (code, text, _) = verify(dir.path(), &["--require", "confirmed"]);
    assert!(code == 1 && text.starts_with("REJECTED bound\n"), "{text}");
}

#[test]
fn json_holds_the_same_verdict() {
    let dir = place(House::confirm);
    let (code, text, _) = verify(dir.path(), &["--json"]);
    let verdict: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 0);
    assert_eq!(
        (&verdict["accepted"], &verdict["level"]),
        (&true.into(), &"confirmed".into())
    );
    assert_eq!(verdict["checks"].as_array().unwrap().len(), 7);
    assert_eq!(
        (
            &verdict["checks"][3]["step"],
            &verdict["checks"][3]["state"]
        ),
        (&"leaf".into(), &"held".into())
    );
}

#[test]
fn exit_codes_say_who_is_at_fault() {
    let dir = place(House::confirm);
    let path = dir.path();
    assert_eq!(run(path, &[]).0, 64);
    assert_eq!(run(path, &["device.pem"]).0, 64);
    assert_eq!(verify(path, &["--at", "yesterday"]).0, 64);
    assert_eq!(run(path, &["--help"]).0, 0);
    let missing = [
        "nowhere.pem",
        "--proof",
        "device.tlog-proof",
        "--trust",
        "trust",
    ];
    assert_eq!(run(path, &missing).0, 66);
    let no_trust = [
        "device.pem",
        "--proof",
        "device.tlog-proof",
        "--trust",
        "nowhere",
    ];
    assert_eq!(run(path, &no_trust).0, 66);
    let swapped = [
        "device.tlog-proof",
        "--proof",
        "device.pem",
        "--trust",
        "trust",
    ];
    assert_eq!(run(path, &swapped).0, 65);
    fs::write(path.join("trust/log.policy"), "quorum none\n").unwrap();
    assert_eq!(verify(path, &[]).0, 65);
    fs::remove_file(path.join("trust/log.vkey")).unwrap();
    assert_eq!(verify(path, &[]).0, 1);
    fs::remove_file(path.join("trust/log.policy")).unwrap();
    assert_eq!(verify(path, &[]).0, 66);
}

#[test]
fn intermediates_may_stand_below_ca() {
    let dir = place(House::confirm);
    let trust = dir.path().join("trust");
    fs::create_dir(trust.join("ca")).unwrap();
    for (from, to) in [("root.pem", "ca/root.pem"), ("issuing.pem", "ca/i1.pem")] {
        fs::rename(trust.join(from), trust.join(to)).unwrap();
    }
    assert_eq!(verify(dir.path(), &[]).0, 0);
}

#[test]
fn an_audit_reads_like_this() {
    let dir = place(House::confirm);
    let audit = ["log", "log", "--trust", "trust", "--scope", "leaves"];
    let (code, text, errors) = run(dir.path(), &audit);
    assert_eq!(text, include_str!("golden/audit.txt"));
    assert_eq!((code, errors.as_str()), (0, ""));
    // Where the documents are looked for and are not there, that is what is found.
    let (code, text, _) = run(dir.path(), &audit[..4]);
    assert!(code == 1 && text.contains("VERIFY-0210"), "{text}");
    let held = "  documents 0 of 2 as their entries say, approved\n";
    assert!(text.contains(held), "{text}");
    let tile = dir.path().join("log/tile/0/000.p/4");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let (code, text, _) = run(dir.path(), &audit);
    assert!(code == 1 && text.contains("VERIFY-0205"), "{text}");
    let (code, json, _) = run(dir.path(), &[&audit[..], &["--json"]].concat());
    let findings: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &findings["findings"][0]["code"]),
        (1, &"VERIFY-0205".into())
    );
}

#[test]
fn a_log_that_cannot_be_read_is_named_and_nothing_is_said_of_its_documents() {
    let dir = place(House::confirm);
    let (code, text, errors) = run(dir.path(), &["log", "nowhere", "--trust", "trust"]);
    assert_eq!((code, text.as_str()), (66, ""));
    let named = "koseki-verify: log directory nowhere: cannot read checkpoint: ";
    assert!(errors.starts_with(named), "{errors}");
    fs::remove_dir_all(dir.path().join("log/tile/entries")).unwrap();
    let (code, text, _) = run(dir.path(), &["log", "log", "--trust", "trust"]);
    assert!(code == 1 && text.contains("VERIFY-0202"), "{text}");
    let none = "  documents none: no entry was read that names one\n";
    assert!(text.contains(none), "{text}");
    assert!(!text.contains("approved"), "{text}");
}

#[test]
fn findings_of_one_kind_are_shown_up_to_ten_and_then_counted() {
    let dir = place(|house, _| {
        house.fill(40, 1);
        house.entries.extend(vec![b"not a leaf".to_vec(); 12]);
    });
    let audit = ["log", "log", "--trust", "trust", "--scope", "leaves"];
    let (code, text, _) = run(dir.path(), &audit);
    assert_eq!(
        (code, text.matches("VERIFY-0203").count()),
        (1, 11),
        "{text}"
    );
    let more = "and 2 more VERIFY-0203, listed with --json\n";
    assert!(text.ends_with(more), "{text}");
}

#[test]
fn a_comparison_reads_like_this() {
    let dir = place(House::confirm);
    let (code, text, _) = run(
        dir.path(),
        &["compare", "log/checkpoint", "log", "--trust", "trust"],
    );
    assert_eq!(
        (code, text.as_str()),
        (0, "same log.mihon-denki.example/register: 4 entries\n")
    );
}
