//! How the station's program ends when it cannot even begin, as sysexits(3) has it.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::process::said;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const BUSY: i32 = 75;
const REFUSED: i32 = 77;
const CONFIG: i32 = 78;

fn assert_ends(what: &str, output: &Output, wanted: i32, word: &str) {
    let told = said(&output.stdout) + &said(&output.stderr);
    assert_eq!(output.status.code(), Some(wanted), "{what}: {told}");
    assert!(told.contains(word), "{what}: {told}");
}

#[test]
fn the_agent_says_by_its_exit_code_why_it_did_not_begin() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(CAMERAS, 0, 1);
    let made = shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(made.code, Some(0), "{}", made.said);
    let doctor = || shop.station.try_agent("doctor", &[]).unwrap();
    assert_ends("a good station", &doctor(), 0, "ok  ca: ");

    let wrong = shop.station.try_agent("run", &["--lots", "a.csv"]).unwrap();
    assert_ends("a wrong flag", &wrong, USAGE, "--lots");

    let none = ["--lot", "no-such.csv"];
    let none = shop.station.try_agent("run", &none).unwrap();
    assert_ends("no lot file", &none, 65, "→ name a lot file that is there");

    let settings = shop.station.home().join("line-agent.toml");
    let good = fs::read_to_string(&settings).unwrap();
    for (what, old, new, wanted, word) in [
        ("an unknown key", "state = ", "stat = ", CONFIG, "LINE-"),
        ("no such grant", "grant.der", "grant-2.der", CONFIG, "LINE-"),
        ("no such module", "lib", "bil", UNAVAILABLE, "LINE-"),
        (
            "no such token",
            "token = \"ota",
            "token = \"oto",
            UNAVAILABLE,
            "LINE-",
        ),
    ] {
        let line = good.lines().find(|line| line.contains(old)).unwrap();
        let spoilt = good.replace(line, &line.replace(old, new));
        assert_ne!(spoilt, good, "{what}");
        fs::write(&settings, spoilt).unwrap();
        assert_ends(what, &doctor(), wanted, word);
    }
    fs::write(&settings, &good).unwrap();

    let pin = shop.station.home().join("user.pin");
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o644)).unwrap();
    assert_ends("a PIN for all to read", &doctor(), REFUSED, "user.pin");
    let run = ["--headless", "--lot", lot.to_str().unwrap()];
    let refused = shop.station.try_agent("run", &run).unwrap();
    assert_ends("a run with it", &refused, REFUSED, "user.pin");
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();

    shop.factory.stop_server().unwrap();
    let doctor = shop.station.try_agent("doctor", &[]).unwrap();
    assert_ends("no CA", &doctor, UNAVAILABLE, "LINE-0203");
}

#[test]
fn a_second_agent_on_the_same_state_waits_for_better_times() {
    let shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let lot = shop.lot(CAMERAS, 0, 1);
    // A socket that takes the call and says nothing: the first agent is at work as long as it is open.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = [mute.local_addr().unwrap().to_string()];
    let mut first = shop.station.start(&lot, &sockets).unwrap();
    let _line = mute.accept().unwrap();
    let run = ["--headless", "--lot", lot.to_str().unwrap()];
    let second = shop.station.try_agent("run", &run).unwrap();
    assert_ends("a second agent", &second, BUSY, "LINE-");
    assert!(first.ended().unwrap().is_none(), "{}", first.said());
    first.kill().unwrap();
}
