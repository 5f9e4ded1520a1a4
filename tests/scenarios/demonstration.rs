//! What `make demo` promises to whoever tries the project first.

use acceptance::hsm::Hsm;
use acceptance::process::{finish, program, said};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Everything at the top of the directory that is left behind.
const TOP: [&str; 11] = [
    "ca",
    "daily",
    "devices",
    "log",
    "ceremony.der",
    "log.vkey",
    "lot.csv",
    "profiles",
    "quota.json",
    "records",
    "vendors",
];
/// First serials of the two lots, of twelve units each.
const LOTS: [u64; 2] = [26_480_001_000, 26_480_002_000];

fn morning(out: &Path, path: Option<&Path>) -> Output {
    let mut demo = Command::new(program("demo").unwrap());
    demo.args(["--hsm", Hsm::of_this_run().name(), "--out"]);
    demo.arg(out);
    if let Some(first) = path {
        let rest = std::env::var_os("PATH").unwrap();
        let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(&rest));
        demo.env("PATH", std::env::join_paths(all).unwrap());
    }
    finish(&mut demo).unwrap()
}

#[test]
fn a_factory_morning_is_told_in_forty_lines_and_leaves_a_trust_directory() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("demo");
    let told = morning(&out, None);
    let (claims, errors) = (said(&told.stdout), said(&told.stderr));
    assert_eq!(told.status.code(), Some(0), "{claims}{errors}");
    let lines = claims.lines().count();
    assert!((10..=40).contains(&lines), "{lines} lines:\n{claims}");
    assert!(
        claims.lines().all(|line| line.starts_with("ok  ")),
        "{claims}"
    );
    // The last line counts those before it.
    let counted = format!("ok  {} claims held", lines - 1);
    assert!(
        claims.lines().last().unwrap().starts_with(&counted),
        "{claims}"
    );

    assert_eq!(names(&out), TOP.map(str::to_owned).into());
    assert_eq!(names(&out.join("ca")), strings(["issuing.pem", "root.pem"]));
    let serials = LOTS.iter().flat_map(|first| *first..first + 12);
    let devices = serials.flat_map(|it| [format!("{it}.pem"), format!("{it}.tlog-proof")]);
    assert_eq!(names(&out.join("devices")), devices.collect());
    assert!(names(&out.join("log")).is_superset(&strings(["checkpoint", "tile"])));
    let records = names(&out.join("records"));
    assert!(records.len() >= 24, "{records:?}");
    assert!(
        records.iter().all(|name| name.ends_with(".json")),
        "{records:?}"
    );
    let lot = fs::read_to_string(out.join("lot.csv")).unwrap();
    for serial in LOTS {
        assert!(lot.contains(&serial.to_string()), "{lot}");
    }
    let quota: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("quota.json")).unwrap()).unwrap();
    assert_eq!(quota["grants"].as_array().unwrap().len(), 2, "{quota}");
    // A relying party needs nothing else, wherever the directory goes.
    let moved = home.path().join("moved");
    fs::rename(&out, &moved).unwrap();
    let device = moved.join("devices").join(format!("{}.pem", LOTS[0]));
    let mut verify = Command::new(program("koseki-verify").unwrap());
    verify
        .arg(&device)
        .arg("--trust")
        .arg(&moved)
        .arg("--proof");
    verify.arg(device.with_extension("tlog-proof"));
    let verdict = finish(verify.args(["--require", "confirmed"])).unwrap();
    assert_eq!(verdict.status.code(), Some(0), "{}", said(&verdict.stderr));
}

/// OpenSSL is replaced by one that accepts no certificate: what it says decides, and no later claim is made.
#[test]
fn a_claim_that_does_not_hold_ends_the_demonstration() {
    let home = tempfile::tempdir().unwrap();
    let tools = home.path().join("bin");
    fs::create_dir(&tools).unwrap();
    let openssl = tools.join("openssl");
    fs::write(
        &openssl,
        "#!/bin/sh\necho 'error 7: certificate signature failure'\nexit 2\n",
    )
    .unwrap();
    fs::set_permissions(&openssl, fs::Permissions::from_mode(0o755)).unwrap();
    let told = morning(&home.path().join("demo"), Some(&tools));
    let (claims, errors) = (said(&told.stdout), said(&told.stderr));
    assert_eq!(told.status.code(), Some(1), "{claims}{errors}");
    assert!(
        errors.contains("NG  ") && errors.contains("error 7"),
        "{errors}"
    );
    assert!(!claims.is_empty());
    assert!(
        !claims.contains("openssl") && !claims.contains("claims held"),
        "{claims}"
    );
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| name(entry.unwrap())).collect()
}

fn strings<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}
