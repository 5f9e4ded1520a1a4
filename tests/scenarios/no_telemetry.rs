//! No program calls anybody but those that its settings name: no telemetry, no look-up, no update. `strace` writes down
//! every call that names an address.

use crate::skipped::skipped;
use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::process::{finish, program, said};
use std::collections::BTreeSet;
use std::fs;
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
