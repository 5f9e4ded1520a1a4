//! The chip simulator as a program: over TCP and over pseudoterminals, killed and troubled.

use identity::{LeafHash, P256Key, PortableVerifier};
use koseki_device::{
    ChipState, Driver, DriverError, Link, Origin, Patience, Refusal, SerialLink, TcpLink,
};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const NONCE: [u8; 32] = [7; 32];
const FIRST: &str = "012300000000000001.chip";

/// A running simulator; killed without warning when dropped.
struct Sim {
    child: Child,
    sockets: Vec<String>,
}

impl Sim {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut child = program(dir)
            .args(["serve", "--chips", "chips"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let sockets = ready["sockets"].as_array().unwrap();
        Self {
            child,
            sockets: sockets
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect(),
        }
    }

    fn tcp(&self, socket: usize, session: u32) -> Driver<TcpLink> {
        Driver::new(
            TcpLink::connect(&self.sockets[socket]).unwrap(),
            Patience::default(),
            session,
        )
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chip-sim"));
    command.current_dir(dir);
    command
}

fn run(dir: &Path, args: &[&str]) {
    assert!(
        program(dir)
            .args(args)
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success(),
        "{args:?}"
    );
}

/// A vendor and so many chips.
fn bench(count: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["vendor", "--out", "vendor"]);
    make(dir.path(), &["--count", count]);
    dir
}

fn make(dir: &Path, args: &[&str]) {
    let fixed = [
        "make",
        "--vendor",
        "vendor",
        "--chips",
        "chips",
        "--part",
        "sim-se-a1",
        "--uid-prefix",
        "0123",
    ];
    run(dir, &[&fixed[..], args].concat());
}

fn vendor_key(dir: &Path) -> P256Key {
    let pem = std::fs::read_to_string(dir.join("vendor/vendor.pub.pem")).unwrap();
    let key: p256::PublicKey = p256::pkcs8::DecodePublicKey::from_public_key_pem(&pem).unwrap();
    P256Key::from_sec1(&key.to_sec1_bytes()).unwrap()
}

fn make_and_burn<L: Link>(driver: &mut Driver<L>) -> Result<P256Key, DriverError<L::Error>> {
    let made = driver.make_key(&NONCE)?;
    driver.burn(&made.key.spki_hash())
}

fn refusal<T, E>(answer: Result<T, DriverError<E>>) -> Option<Refusal> {
    answer.err().and_then(|error| error.refusal())
}

#[test]
fn a_line_of_chips_over_tcp() {
    let dir = bench("6");
    let vendor = vendor_key(dir.path());
    let sim = Sim::start(dir.path(), &["--sockets", "2"]);
    let mut seen = Vec::new();
    for socket in 0..2 {
        let mut driver = sim.tcp(socket, 1);
        for position in 0..3 {
            let chip = driver.identify().unwrap();
            assert!(chip.is_endorsed_by(&vendor, &PortableVerifier));
            assert_eq!(
                (chip.part.as_str(), chip.state),
                ("sim-se-a1", ChipState::Blank)
            );
            seen.push(chip.uid.to_string());
            make_and_burn(&mut driver).unwrap();
            driver.write_certificate(&[0xCE; 700]).unwrap();
            assert_eq!(driver.read_certificate().unwrap(), [0xCE; 700]);
            driver.confirm(&NONCE, &LeafHash([1; 32])).unwrap();
            assert_eq!(refusal(driver.read_key()), Some(Refusal::KeyReadDenied));
            assert_eq!(driver.next_chip(position).unwrap().position, position + 1);
        }
        assert!(!driver.look().unwrap().occupied);
        assert_eq!(refusal(driver.identify()), Some(Refusal::NoChip));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

#[test]
fn over_a_pseudoterminal() {
    let dir = bench("1");
    let sim = Sim::start(dir.path(), &["--pty", "."]);
    let path = dir.path().join(&sim.sockets[0]);
    let mut key = None;
    for session in [1, 100] {
        let link = SerialLink::open(&path).unwrap();
        let mut driver = Driver::new(link, Patience::default(), session);
        match driver.identify().unwrap().state {
            ChipState::Blank => key = Some(make_and_burn(&mut driver).unwrap()),
            state @ (ChipState::Burnt { .. } | ChipState::Torn) => assert_eq!(
                Some(state),
                key.map(|key| ChipState::Burnt {
                    key,
                    origin: Origin::Made
                })
            ),
        }
    }
}

#[test]
fn the_same_chip_is_in_the_socket_after_a_kill() {
    let dir = bench("3");
    let sim = Sim::start(dir.path(), &[]);
    let mut driver = sim.tcp(0, 1);
    driver.next_chip(0).unwrap();
    let uid = driver.identify().unwrap().uid;
    let key = make_and_burn(&mut driver).unwrap();
    // Another station takes over: it finds the chip, and a move asked for twice happens once.
    let mut second = sim.tcp(0, 50);
    assert_eq!(second.next_chip(0).unwrap().position, 1);
    assert_eq!(refusal(second.next_chip(3)), Some(Refusal::WrongPosition));
    assert_eq!(second.identify().unwrap().uid, uid);
    drop(sim);
    let sim = Sim::start(dir.path(), &[]);
    let chip = sim.tcp(0, 1).identify().unwrap();
    assert_eq!(
        (chip.uid, chip.state),
        (
            uid,
            ChipState::Burnt {
                key,
                origin: Origin::Made
            }
        )
    );
}

#[test]
fn power_cuts_around_the_lock_word() {
    for (option, burnt) in [("--cut-before-lock", false), ("--cut-after-lock", true)] {
        let dir = bench("1");
        let sim = Sim::start(dir.path(), &[option, FIRST]);
        let mut driver = sim.tcp(0, 1);
        driver.identify().unwrap();
        assert_eq!(
            refusal(make_and_burn(&mut driver)),
            Some(Refusal::NoSession),
            "the chip has woken up again"
        );
        assert_eq!(
            matches!(driver.identify().unwrap().state, ChipState::Burnt { .. }),
            burnt
        );
        if !burnt {
            make_and_burn(&mut driver).unwrap();
        }
    }
}

#[test]
fn a_torn_lock_word_is_scrap() {
    let dir = bench("1");
    let sim = Sim::start(dir.path(), &["--tear", FIRST]);
    let mut driver = sim.tcp(0, 1);
    driver.identify().unwrap();
    assert_eq!(
        refusal(make_and_burn(&mut driver)),
        Some(Refusal::NoSession)
    );
    assert_eq!(driver.identify().unwrap().state, ChipState::Torn);
}

#[test]
fn a_leaky_chip_gives_its_key_away() {
    let dir = bench("1");
    let sim = Sim::start(dir.path(), &["--leaky", FIRST]);
    let mut driver = sim.tcp(0, 1);
    driver.identify().unwrap();
    make_and_burn(&mut driver).unwrap();
    driver.read_key().unwrap();
}

#[test]
fn the_order_places_a_clone_and_empty_seats() {
    let dir = bench("1");
    make(dir.path(), &["--clone", "012300000000000001"]);
    let order = format!("# two sockets\n{FIRST}\n-\n012300000000000001-clone-1.chip\n");
    std::fs::write(dir.path().join("chips/order.txt"), order).unwrap();
    let sim = Sim::start(dir.path(), &["--sockets", "2"]);
    let mut driver = sim.tcp(0, 1);
    let original = driver.identify().unwrap();
    driver.next_chip(0).unwrap();
    let clone = driver.identify().unwrap();
    assert_eq!(clone.uid, original.uid);
    assert_ne!(clone.attestation, original.attestation);
    assert!(clone.is_endorsed_by(&vendor_key(dir.path()), &PortableVerifier));
    assert_eq!(refusal(sim.tcp(1, 1).identify()), Some(Refusal::NoChip));
}

#[test]
fn a_deaf_socket_has_a_handler_and_no_chip() {
    let dir = bench("4");
    let sim = Sim::start(dir.path(), &["--sockets", "2", "--deaf", "1:1"]);
    sim.tcp(0, 1).identify().unwrap();
    let mut driver = sim.tcp(1, 1);
    driver.identify().unwrap();
    let seat = driver.next_chip(0).unwrap();
    assert!(seat.occupied);
    assert_eq!(refusal(driver.identify()), Some(Refusal::NoChip));
}

#[test]
fn a_seed_makes_the_same_chips() {
    let files = [0, 1].map(|_| {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), &["vendor", "--out", "vendor", "--seed", "5"]);
        make(dir.path(), &["--seed", "6"]);
        std::fs::read(dir.path().join("chips").join(FIRST)).unwrap()
    });
    assert_eq!(files[0], files[1]);
}

#[test]
fn a_chip_is_in_one_socket_only() {
    let dir = bench("1");
    let _sim = Sim::start(dir.path(), &[]);
    let second = program(dir.path())
        .args(["serve", "--chips", "chips"])
        .stderr(Stdio::null())
        .status();
    assert!(!second.unwrap().success());
}

#[test]
fn what_is_wrong_is_said_in_words_and_a_wrong_command_line_ends_with_64() {
    let dir = bench("1");
    let serve = ["serve", "--chips", "chips"];
    let nonsense = [&serve[..], &["--refuse-certificate", "nonsense"]].concat();
    let unknown = [&serve[..], &["--no-such-option"]].concat();
    let nowhere = ["serve", "--chips", "nowhere"];
    for (args, code, word) in [
        (&nonsense[..], 64, "nonsense: no such chip in chips"),
        (&unknown, 64, "--no-such-option"),
        (&nowhere, 69, "chip-sim: nowhere: No such file"),
    ] {
        let output = program(dir.path()).args(args).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(word) && !told.contains("Io {"), "{told}");
    }
}
