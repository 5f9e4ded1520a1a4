//! `line-agent rehearse`: a shift with planted faults needs nothing but its programs, leaves nothing behind, and says so
//! when a fault did not get its word.

use acceptance::patience::until;
use acceptance::process::{Daemon, finish, program, said};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Every planted fault, as the table shows it.
const ANSWERS: [&str; 9] = [
    "ok  LINE-0208 LINE-0208 ",
    "ok  LINE-0102 LINE-0102 ",
    "ok  LINE-0106 LINE-0106 ",
    "ok  LINE-0105 LINE-0105 ",
    "ok  LINE-0110 LINE-0110 ",
    "ok  PASS      PASS ",
    "ok  LINE-0101 LINE-0101 ",
    "ok  LINE-0203 LINE-0203 ",
    "ok  CA-0207   CA-0207 ",
];

fn rehearse(temporary: &Path, units: &str, more: &[&str]) -> Command {
    let mut command = Command::new(program("line-agent").unwrap());
    command.args(["rehearse", "--units", units, "--language", "en"]);
    command.args(more).env("TMPDIR", temporary);
    command
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn every_planted_fault_gets_its_word_and_nothing_stays() {
    let temporary = tempfile::tempdir().unwrap();
    let output = finish(&mut rehearse(temporary.path(), "60", &[])).unwrap();
    let told = said(&output.stdout);
    let complained = said(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}\n{complained}");
    for answer in ANSWERS {
        assert!(told.contains(answer), "{answer}: {told}");
    }
    for word in [
        "同じ UID のチップが二つあります / two units with one chip UID",
        "takt 0.",
        "[4] yield ",
        "held: every planted fault got its word, and all 60 units passed",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(is_empty(temporary.path()));
}

/// The chip that is to lose power in its lock word does not: a programmer in between forgets the order.
#[test]
fn a_fault_that_is_not_met_is_told_and_fails() {
    let temporary = tempfile::tempdir().unwrap();
    let tools = tempfile::tempdir().unwrap();
    let tame = tools.path().join("chip-sim");
    let real = program("chip-sim").unwrap();
    let script = format!(
        "#!/bin/bash\nwords=()\nwhile (($#)); do\n  if [ \"$1\" = --tear ]; then shift; else words+=(\"$1\"); fi\n  shift\n\
         done\nexec {} \"${{words[@]}}\"\n",
        real.display()
    );
    fs::write(&tame, script).unwrap();
    fs::set_permissions(&tame, fs::Permissions::from_mode(0o755)).unwrap();
    let more = ["--seed", "7", "--chip-sim", tame.to_str().unwrap()];
    let output = finish(&mut rehearse(temporary.path(), "60", &more)).unwrap();
    let told = said(&output.stdout);
    let complained = said(&output.stderr);
    assert_eq!(output.status.code(), Some(30), "{told}\n{complained}");
    assert!(told.contains("NG  LINE-0105 PASS "), "{told}");
    assert_eq!(told.matches("NG  ").count(), 1, "{told}");
    assert!(told.contains("NOT held"), "{told}");
    assert!(is_empty(temporary.path()));
}

#[test]
fn a_program_that_is_not_there_is_named_with_what_to_do() {
    let temporary = tempfile::tempdir().unwrap();
    for (option, what) in [
        ("--ca-server", "the CA server"),
        ("--chip-sim", "the chip simulator"),
        ("--hsm-sim", "the HSM simulator"),
    ] {
        let output = finish(&mut rehearse(temporary.path(), "60", &[option, "/nowhere"])).unwrap();
        assert_eq!(output.status.code(), Some(69), "{option}");
        let complained = said(&output.stderr);
        let wanted = format!(
            "{what} is not at /nowhere\n    → install it beside line-agent, or name it with {option}\n"
        );
        assert_eq!(complained, wanted);
    }
    assert!(is_empty(temporary.path()));
}

#[test]
fn a_rehearsal_that_is_stopped_takes_everything_with_it() {
    let temporary = tempfile::tempdir().unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = rehearse(temporary.path(), "900", &[]);
    let mut rehearsal = Daemon::start(&mut command, log.path()).unwrap();
    until("the first units", || {
        Ok(rehearsal.said().contains("passed ").then_some(()))
    })
    .unwrap();
    let home = fs::read_dir(temporary.path()).unwrap().next().unwrap();
    let home = home.unwrap().path();
    assert!(!processes_in(&home).is_empty());
    let status = rehearsal.stop().unwrap();
    assert_eq!(status.code(), Some(40), "{}", rehearsal.said());
    assert!(is_empty(temporary.path()));
    assert_eq!(processes_in(&home), Vec::<String>::new());
}

/// Processes whose directory is this one.
fn processes_in(directory: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap();
    let paths = all.filter_map(|entry| Some(entry.ok()?.path()));
    let is_there = |path: &Path| {
        let place = fs::read_link(path.join("cwd")).unwrap_or_default();
        place.starts_with(directory)
            || place
                .to_string_lossy()
                .starts_with(&*directory.to_string_lossy())
    };
    paths
        .filter(|path| is_there(path))
        .map(|path| path.display().to_string())
        .collect()
}
