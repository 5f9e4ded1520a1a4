//! No program calls anybody but those that its settings name: no telemetry, no look-up, no update. `strace` writes down
//! every call that names an address.

use crate::skipped::skipped;
use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::process::{Daemon, finish, program, said};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

fn has_strace() -> bool {
    Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A program whose network calls go to this file.
fn traced(program: &Path, trace: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=%network", "-o"]);
    command.arg(trace).arg(program);
    command
}

/// Addresses that calls of a trace name, as `IP:PORT`.
fn called(trace: &str) -> BTreeSet<String> {
    let named = trace
        .lines()
        .filter(|line| line.contains("sin_port=htons("));
    named
        .map(|line| {
            let between = |from: &str, to: &str| {
                let rest = line.split(from).nth(1).unwrap_or_else(|| panic!("{line}"));
                rest.split(to).next().unwrap().to_owned()
            };
            let address = between("inet_addr(\"", "\"");
            format!("{address}:{}", between("sin_port=htons(", ")"))
        })
        .collect()
}

/// Lines of a trace with which nothing leaves the machine.
fn stays_inside(line: &str) -> bool {
    // Threads wake each other, and signals arrive, through pairs of local sockets.
    !line.contains("AF_INET6") && !line.contains("SOCK_DGRAM") && !line.contains("AF_NETLINK")
}

#[test]
fn programs_call_only_those_that_their_settings_name() {
    if !has_strace() {
        return skipped("strace is not installed");
    }
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(CAMERAS, 0, 1);
    shop.station.write_settings(&programmer.sockets).unwrap();
    let settings = shop.station.home().join("line-agent.toml");
    let named: BTreeSet<String> = [
        shop.factory.address().to_string(),
        programmer.sockets[0].clone(),
    ]
    .into();
    let agent = program("line-agent").unwrap();
    let runs: [&[&str]; 2] = [
        &["run", "--headless", "--lot", lot.to_str().unwrap()],
        &["doctor"],
    ];
    for arguments in runs {
        let trace = shop.factory.path("trace");
        let mut command = traced(&agent, &trace);
        command.args(arguments).arg("--config").arg(&settings);
        let output = finish(shop.factory.module().tell(&mut command)).unwrap();
        let told = said(&output.stdout) + &said(&output.stderr);
        assert!(output.status.success(), "{told}");
        let trace = fs::read_to_string(&trace).unwrap();
        assert_eq!(called(&trace), named, "{arguments:?}: {trace}");
        assert!(trace.lines().all(stays_inside), "{arguments:?}: {trace}");
    }

    let device = shop.station.devices().unwrap().remove(0);
    shop.factory.settle().unwrap();
    let log = shop.factory.log_dir();
    let verify = program("koseki-verify").unwrap();
    let proof = device.with_extension("tlog-proof");
    let arguments: [Vec<&Path>; 2] = [
        vec![&device, Path::new("--proof"), &proof],
        vec![Path::new("log"), &log],
    ];
    for arguments in arguments {
        let trace = shop.factory.path("trace");
        let mut command = traced(&verify, &trace);
        command.args(&arguments).arg("--trust");
        let output = finish(command.arg(shop.station.trust())).unwrap();
        assert!(output.status.success(), "{}", said(&output.stderr));
        let trace = fs::read_to_string(&trace).unwrap();
        assert_eq!(trace, "", "a verifier asks nobody");
    }
}

/// Calls of a trace with these names, also those that went on in another line.
fn calls<'a>(trace: &'a str, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let is_one = |line: &&str| names.iter().any(|name| line.contains(&format!(" {name}(")));
    trace.lines().filter(is_one)
}

/// The process that `strace` watches: signals to itself it does not hand on.
fn watched_by(strace: &Daemon) -> String {
    let id = strace.id();
    let children = format!("/proc/{id}/task/{id}/children");
    let child = fs::read_to_string(children).unwrap();
    child.trim().to_owned()
}

#[test]
fn the_ca_server_calls_nobody_at_all() {
    if !has_strace() {
        return skipped("strace is not installed");
    }
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    shop.factory.stop_server().unwrap();
    let (trace, log) = (shop.factory.path("trace"), shop.factory.path("traced.log"));
    let mut command = traced(&program("ca-server").unwrap(), &trace);
    command.arg("serve").arg("--config");
    command.arg(shop.factory.path("ca-server.toml"));
    // With no service manager there is nobody to tell how it goes, either.
    command.env_remove("NOTIFY_SOCKET");
    let mut server = Daemon::start(shop.factory.module().tell(&mut command), &log).unwrap();
    let (admin, address) = (shop.factory.path("ca/admin.sock"), shop.factory.address());
    until("the traced server", || {
        assert!(server.ended().unwrap().is_none(), "{}", server.said());
        let is_up = UnixStream::connect(&admin).is_ok() && TcpStream::connect(address).is_ok();
        Ok(is_up.then_some(()))
    })
    .unwrap();
    // It starts, makes two devices, tells an operator how it is, closes a lot, and ends.
    let made = shop.make(CAMERAS, 0, 2);
    assert_eq!(made.code, Some(0), "{}", made.said);
    shop.factory.status().unwrap();
    let lot = shop.lot(CAMERAS, 0, 1_000);
    let close = ["lot", "close", lot.to_str().unwrap()];
    let closed = shop.station.try_words(&close).unwrap();
    assert!(closed.status.success(), "{}", said(&closed.stderr));
    let told = finish(Command::new("kill").args(["-TERM", &watched_by(&server)])).unwrap();
    assert!(told.status.success(), "{}", said(&told.stderr));
    let status = server.wait().unwrap();
    assert!(status.success(), "{status}: {}", server.said());

    let trace = fs::read_to_string(&trace).unwrap();
    let taken = calls(&trace, &["accept4", "accept"]).count();
    assert!(taken >= 2, "stations and operators were let in: {trace}");
    let connects: Vec<_> = calls(&trace, &["connect"]).collect();
    assert!(connects.is_empty(), "{connects:#?}");
    let sent = calls(&trace, &["sendto", "sendmsg", "sendmmsg"]);
    let addressed: Vec<_> = sent.filter(|line| line.contains("sa_family")).collect();
    assert!(addressed.is_empty(), "{addressed:#?}");
    let leaves: Vec<_> = trace.lines().filter(|line| !stays_inside(line)).collect();
    assert!(leaves.is_empty(), "{leaves:#?}");
}
