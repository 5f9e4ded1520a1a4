//! The drill of every operator: back up, lose the machine, bring the backup back, and go on, or learn why not.

use acceptance::acknowledged::Acknowledged;
use acceptance::factory::{Factory, copy_all};
use acceptance::ground::{Ground, answered};
use acceptance::hsm::Hsm;
use acceptance::soft::{Signed, SoftChip, SoftStation};
use acceptance::way::Certified;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const STATE: &str = "ca/state";

/// A running factory with a backup of it.
struct Drill {
    floor: Ground,
    factory: Factory,
    station: SoftStation,
    ledger: Acknowledged,
    backup: PathBuf,
    told: String,
}

impl Drill {
    async fn begin() -> Self {
        let floor = Ground::open(Hsm::of_this_run()).await.unwrap();
        let mut factory = floor.factory.copy_to(&floor.home("drilled")).unwrap();
        factory.start_server().unwrap();
        let station = floor.station.reconnected(&factory).unwrap();
        let backup = floor.home("backup");
        let told = factory.back_up(&backup).unwrap();
        let ledger = floor.ledger.clone();
        Self {
            floor,
            factory,
            station,
            ledger,
            backup,
            told,
        }
    }

    /// Makes the unit of this number.
    async fn make(&mut self, number: u32) -> (Signed, Certified) {
        let chip = SoftChip::make(&self.factory.vendor, number + 1).unwrap();
        let prepared = self.floor.prepare(&self.station, &chip, u64::from(number));
        let signed = prepared.await.unwrap();
        let given = answered(|| self.station.certify(&signed)).await.unwrap();
        self.ledger.certificate(&signed, &given).unwrap();
        (signed, given)
    }

    /// All that the factory is now, in another place; the server goes down for it.
    fn elsewhere(&mut self, name: &str) -> Factory {
        if self.factory.server_id().is_some() {
            self.factory.stop_server().unwrap();
        }
        self.factory.copy_to(&self.floor.home(name)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_current_backup_goes_on_in_another_place_with_the_same_bytes() {
    let mut drill = Drill::begin().await;
    let made = drill.floor.made.clone().unwrap();
    let before = drill.station.look_up(&made).await.unwrap();
    // A backup is never written over, and the operator is told so in words.
    let again = ["backup", "--out", drill.backup.to_str().unwrap()];
    let again = drill.factory.try_ca_server(&again).unwrap();
    let told = acceptance::process::said(&again.stderr);
    assert_eq!(again.status.code(), Some(69), "{told}");
    assert!(
        told.contains("is there already\nTo do: name a directory"),
        "{told}"
    );
    assert_eq!(told.matches("To do: ").count(), 1, "{told}");
    assert!(!told.contains("message:"), "{told}");
    let mut place = drill.elsewhere("replacement");
    assert_holds_only_what_may_be_kept(&drill.backup);
    // Who kept the manifest's hash elsewhere is not given another backup.
    let hash = drill
        .told
        .lines()
        .find_map(|line| line.strip_prefix("SHA-256  "));
    let hash = hash.unwrap().split_whitespace().next().unwrap();
    let from = drill.backup.to_str().unwrap();
    let other = hash.chars().rev().collect::<String>();
    let refused = place.try_ca_server(&["restore", "--manifest-sha256", &other, "--from", from]);
    assert_eq!(refused.unwrap().status.code(), Some(78));
    fs::remove_dir_all(place.path(STATE)).unwrap();
    let told = place.try_ca_server(&["restore", "--manifest-sha256", hash, "--from", from]);
    let told = acceptance::process::said(&told.unwrap().stdout);
    assert!(told.contains("level with it"), "{told}");
    place.start_server().unwrap();
    drill.station = drill.floor.station.reconnected(&place).unwrap();
    drill.factory = place;
    assert_eq!(
        answered(|| drill.station.certify(&made)).await.unwrap(),
        before
    );
    drill.make(1).await;
    let drilled = &mut drill.factory;
    assert!(drilled.status().unwrap().contains("issuing  yes"));
    drilled.stop_server().unwrap();
    drill
        .ledger
        .hold_against(&drilled.log_dir(), &drill.floor.trust())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backup_older_than_what_was_published_signs_nothing() {
    let mut drill = Drill::begin().await;
    drill.factory.stop_server().unwrap();
    let then = drill.floor.home("then");
    copy_all(&drill.factory.path("ca"), &then).unwrap();
    drill.factory.start_server().unwrap();
    drill.station = drill.floor.station.reconnected(&drill.factory).unwrap();
    let (signed, given) = drill.make(1).await;
    let mut place = drill.elsewhere("older");
    // The head file has seen more: nothing is even put into the place.
    let refused = place.restore(&drill.backup).unwrap_err().to_string();
    assert!(
        refused.contains("older than what was published"),
        "{refused}"
    );
    assert!(
        refused.contains("To do: restore a newer backup"),
        "{refused}"
    );
    assert_eq!(fs::read_dir(place.path(STATE)).unwrap().count(), 0);
    // A head file from then: the signer has seen more.
    put(&then.join("head"), &place.path("ca/head"));
    place.restore(&drill.backup).unwrap();
    let refused = place.start_server().unwrap_err().to_string();
    assert!(refused.contains("the signer has followed"), "{refused}");
    assert!(refused.contains("To do: nothing is signed"), "{refused}");
    // A signer's store from then, too: the station has seen more, and the server stops as soon as it hears of it.
    put(&then.join("signer"), &place.path("ca/signer"));
    place.start_server().unwrap();
    let station = drill.floor.station.reconnected(&place).unwrap();
    let ahead = crate::planted::as_seen(&station, &signed, &given);
    let refused = answered(|| station.certify(&ahead)).await.unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("CA-0904"), "{refused}");
    let status = place.status().unwrap();
    assert!(status.contains("issuing  stopped since"), "{status}");
    assert!(
        status.contains("CA-0904") && status.contains("To do:"),
        "{status}"
    );
    let refused = station.certify(&signed).await.unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("CA-0904"), "{refused}");
    // Without any head file it does not even start.
    place.stop_server().unwrap();
    fs::remove_file(place.path("ca/head/head")).unwrap();
    let told = place.restore(&drill.backup).unwrap();
    assert!(told.contains("head     MISSING"), "{told}");
    let refused = place.start_server().unwrap_err().to_string();
    assert!(
        refused.contains("without it nothing is signed"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_flipped_bit_in_any_file_of_a_backup_is_refused() {
    let mut drill = Drill::begin().await;
    let place = drill.elsewhere("flipped");
    let mut tried = 0;
    for path in files(&drill.backup) {
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            fs::write(&path, flipped).unwrap();
            assert_refused(&place, &drill.backup, &path);
            tried += 1;
        }
        fs::remove_file(&path).unwrap();
        assert_refused(&place, &drill.backup, &path);
        fs::write(&path, whole).unwrap();
    }
    assert!(tried >= 4 * 10, "only {tried} bits were flipped");
    let stray = drill.backup.join("ca.sqlite-wal");
    fs::write(&stray, "").unwrap();
    assert_refused(&place, &drill.backup, &stray);
    fs::remove_file(&stray).unwrap();
    place.restore(&drill.backup).unwrap();
    // Into a place that is not empty nothing is restored, not even the same.
    let again = place.try_ca_server(&["restore", "--from", drill.backup.to_str().unwrap()]);
    assert_eq!(again.unwrap().status.code(), Some(77));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backup_is_made_while_units_are_made() {
    let mut drill = Drill::begin().await;
    let mut backups = vec![drill.backup.clone()];
    for number in 1..6 {
        let out = drill.floor.home(&format!("backup-{number}"));
        let factory = drill.factory.path("ca-server.toml");
        let mut command =
            std::process::Command::new(acceptance::process::program("ca-server").unwrap());
        command
            .args(["backup", "--out"])
            .arg(&out)
            .arg("--config")
            .arg(factory);
        let copying = std::thread::spawn(move || acceptance::process::succeed(&mut command));
        drill.make(number).await;
        copying.join().unwrap().unwrap();
        backups.push(out);
    }
    // A second one under the same name is refused, and so is one inside of what is backed up.
    for out in [drill.backup.clone(), drill.factory.path("ca/state/backup")] {
        let refused = drill.factory.back_up(&out).unwrap_err().to_string();
        assert!(refused.contains("To do: name a directory"), "{refused}");
    }
    // A unit after the last: its head file shuts out every older one, and a newer one goes on.
    let last = drill.floor.home("backup-last");
    drill.factory.back_up(&last).unwrap();
    let mut place = drill.elsewhere("last");
    place.restore(&last).unwrap();
    place.start_server().unwrap();
    drill.station = drill.floor.station.reconnected(&place).unwrap();
    drill.factory = place;
    drill.make(6).await;
    drill.factory.stop_server().unwrap();
    drill
        .ledger
        .hold_against(&drill.factory.log_dir(), &drill.floor.trust())
        .unwrap();
    for backup in backups {
        let refused = drill.factory.restore(&backup).unwrap_err().to_string();
        assert!(
            refused.contains("older than what was published"),
            "{refused}"
        );
    }
}

/// Neither the head, nor the signer's memory, nor a token or PIN; and closed to others.
fn assert_holds_only_what_may_be_kept(backup: &Path) {
    let names: BTreeSet<_> = files(backup)
        .iter()
        .map(|path| path.strip_prefix(backup).unwrap().display().to_string())
        .collect();
    let expected = [
        "MANIFEST",
        "ca.sqlite",
        "ceremony/ceremony.der",
        "ceremony/infrastructure.pem",
        "ceremony/issuing.pem",
        "ceremony/log.vkey",
        "ceremony/root.pem",
        "ceremony/server.pem",
        "ceremony/transcript.txt",
        "checkpoint",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
    let mut all = files(backup);
    all.extend([backup.to_owned(), backup.join("ceremony")]);
    for path in all {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

fn assert_refused(place: &Factory, backup: &Path, altered: &Path) {
    let refused = place.restore(backup).unwrap_err().to_string();
    let name = altered.file_name().unwrap().to_str().unwrap();
    assert!(refused.contains(name), "{name}: {refused}");
    assert!(refused.contains("To do: "), "{name}: {refused}");
    assert!(!place.path("ca/state/ca.sqlite").exists(), "{name}");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn put(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy_all(from, to).unwrap();
}
