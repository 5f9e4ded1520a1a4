//! `line-agent doctor`: whatever is broken has its line with what to do, and everything else is found sound all the
//! same. A program that was altered is not let to work.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::process::{Daemon, finish, program, said};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// What `doctor` tries with one socket.
const PROBES: [&str; 9] = [
    "agent", "grant", "trust", "disk", "journal", "hsm", "ca", "clock", "socket 1",
];

fn assert_finds(shop: &Shop, what: &str, wanted: &[(&str, &str)], exit: i32) {
    let output = shop.station.try_agent("doctor", &[]).unwrap();
    let told = said(&output.stdout);
    assert_eq!(output.status.code(), Some(exit), "{what}: {told}");
    for probe in PROBES {
        let line = told.lines().find(|line| {
            line.get(4..)
                .is_some_and(|it| it.starts_with(&format!("{probe}: ")))
        });
        let line = line.unwrap_or_else(|| panic!("{what}: no line of {probe}: {told}"));
        match wanted.iter().find(|(broken, _)| *broken == probe) {
            Some((_, code)) => assert!(
                line.starts_with("NG  ") && line.contains(code),
                "{what}: {line}"
            ),
            None => assert!(line.starts_with("ok  "), "{what}: {line}"),
        }
    }
    assert_eq!(
        told.matches("    → ").count(),
        wanted.len(),
        "{what}: {told}"
    );
}

#[test]
fn whatever_is_broken_has_its_line_and_its_remedy() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
    let programmer = tray.present(1).unwrap();
    shop.station.write_settings(&programmer.sockets).unwrap();
    assert_finds(&shop, "all is well", &[], 0);
    let settings = shop.station.home().join("line-agent.toml");
    let good = fs::read_to_string(&settings).unwrap();
    let spoil = |old: &str, new: &str| {
        assert!(good.contains(old), "{old}");
        fs::write(&settings, good.replace(old, new)).unwrap();
    };

    spoil("token = \"ota", "token = \"oto");
    let all_of_hsm = [
        ("hsm", "LINE-0201"),
        ("ca", "LINE-0201"),
        ("clock", "LINE-0201"),
    ];
    assert_finds(&shop, "no such token", &all_of_hsm, 69);

    spoil("out = \"out\"", "out = \"line-agent.toml\"");
    assert_finds(&shop, "no place for records", &[("disk", "LINE-")], 78);

    spoil("trust = \"trust\"", "trust = \"out\"");
    assert_finds(&shop, "no trust", &[("trust", "LINE-0206")], 78);

    // Before the language is read, what is wrong is said in both; and that is not the socket's fault.
    let port = programmer.sockets[0].rsplit_once(':').unwrap().1;
    spoil(&format!(":{port}"), "");
    let output = shop.station.try_agent("doctor", &[]).unwrap();
    let told = said(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    let wrong = "LINE-0206 設定が正しくありません / the settings are wrong";
    for word in [wrong, "host and port", "/ mend what is named here"] {
        assert!(told.contains(word), "{told}");
    }

    // A socket that takes the call and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    spoil(
        &programmer.sockets[0],
        &mute.local_addr().unwrap().to_string(),
    );
    assert_finds(&shop, "a dead programmer", &[("socket 1", "LINE-0101")], 69);

    fs::write(&settings, &good).unwrap();
    // A checkpoint with a flipped bit would have the CA refuse whatever it comes with.
    let seen = shop.station.home().join("state/seen-checkpoint");
    fs::write(&seen, "log.example/other\n7\nAAAA\n\n").unwrap();
    let of_station = [
        ("journal", "LINE-0202"),
        ("ca", "CA-0101"),
        ("clock", "CA-0101"),
    ];
    assert_finds(&shop, "a checkpoint of no log", &of_station, 74);
    fs::remove_file(&seen).unwrap();

    let journal = shop.station.home().join("state/journal");
    fs::write(&journal, "0123456789abcdef {}\n").unwrap();
    assert_finds(&shop, "a damaged journal", &[("journal", "LINE-0202")], 74);
    fs::remove_file(&journal).unwrap();

    shop.factory.stop_server().unwrap();
    let away = [("ca", "LINE-0203"), ("clock", "LINE-0203")];
    assert_finds(&shop, "no CA", &away, 69);
}

/// A CA and a programmer that take the call and never say a word, as behind a cable that was pulled in the middle.
#[test]
fn doctor_ends_when_nobody_answers_and_names_who_did_not() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    shop.factory.stop_server().unwrap();
    let mute = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [ca, socket] = mute
        .each_ref()
        .map(|it| it.local_addr().unwrap().to_string());
    // So patient as a line that is to wait: a doctor that were so would still be waiting when `until` gives it up.
    shop.station.dial(&ca, 600);
    shop.station.write_settings(&[socket]).unwrap();
    let mut doctor = Command::new(program("line-agent").unwrap());
    let settings = shop.station.home().join("line-agent.toml");
    doctor.arg("doctor").arg("--config").arg(settings);
    let log = shop.factory.path("doctor.log");
    let mut doctor = Daemon::start(shop.factory.module().tell(&mut doctor), &log).unwrap();
    let ended = until("doctor", || doctor.ended()).unwrap();
    let told = doctor.said();
    assert_eq!(ended.code(), Some(69), "{told}");
    let silent = [
        ("ca", "LINE-0203"),
        ("clock", "LINE-0203"),
        ("socket 1", "LINE-0101"),
    ];
    for probe in PROBES {
        let found = silent.iter().find(|(name, _)| *name == probe);
        let wanted = match found {
            Some((_, code)) => format!("NG  {probe}: {code} "),
            None => format!("ok  {probe}: "),
        };
        assert!(
            told.lines().any(|it| it.starts_with(&wanted)),
            "{wanted}: {told}"
        );
    }
    assert_eq!(told.matches("    → ").count(), silent.len(), "{told}");
}

fn with(program: &Path, settings: &Path, shop: &Shop, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).arg("--config").arg(settings);
    finish(shop.factory.module().tell(&mut command)).unwrap()
}

#[test]
fn an_altered_program_is_not_let_to_work() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(CAMERAS, 0, 1);
    shop.station.write_settings(&programmer.sockets).unwrap();
    let good = program("line-agent").unwrap();
    let settings = shop.station.home().join("line-agent.toml");
    let told = with(&good, &settings, &shop, &["doctor"]);
    let told = said(&told.stdout);
    let hash = told.split("sha256 ").nth(1).unwrap().get(..64).unwrap();
    assert!(told.contains(", not pinned"), "{told}");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}\n[agent]\nsha256 = \"{hash}\"\n")).unwrap();

    // One byte behind the program's end: it runs as before.
    let altered = shop.factory.path("line-agent");
    let mut bytes = fs::read(&good).unwrap();
    bytes.push(0);
    fs::write(&altered, bytes).unwrap();
    fs::set_permissions(&altered, fs::metadata(&good).unwrap().permissions()).unwrap();
    let run = ["run", "--headless", "--lot", lot.to_str().unwrap()];
    let refused = with(&altered, &settings, &shop, &run);
    assert_eq!(refused.status.code(), Some(77));
    assert!(said(&refused.stderr).contains("LINE-0209"));
    assert!(shop.station.records().unwrap().is_empty());
    let found = with(&altered, &settings, &shop, &["doctor"]);
    assert!(said(&found.stdout).contains("NG  agent: LINE-0209"));

    let made = with(&good, &settings, &shop, &run);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made.stdout));
    let record = shop.station.records().unwrap().remove(0);
    assert_eq!(record["metadata"]["agent_sha256"], hash);
}
