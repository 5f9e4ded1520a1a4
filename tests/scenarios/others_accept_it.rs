//! Programs that share no code with ours have the last word on certificates and on the log.

use crate::support::{Shop, trust};
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, SENSORS};
use acceptance::metadata::root;
use acceptance::process::{finish, said, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn certificates_and_log_are_accepted_by_outside_programs() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS, SENSORS]);
    for line in [CAMERAS, SENSORS] {
        let ended = shop.make(line, 1, 2);
        assert_eq!(ended.code, Some(0), "{}", ended.said);
    }
    let (ca, issuing, devices) = trust(&shop);
    assert_eq!(devices.len(), 4);
    openssl(&ca, &issuing, &devices);
    gnutls(&shop, &ca, &issuing, &devices);
    mbedtls(&shop, &ca, &issuing, &devices);
    pkilint(&devices);
    recompute(&shop);
}

fn openssl(ca: &Path, issuing: &Path, devices: &[PathBuf]) {
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-CAfile"]).arg(ca);
    succeed(command.arg("-untrusted").arg(issuing).args(devices)).unwrap();
    // It would refuse a device under the wrong root.
    let mut wrong = Command::new("openssl");
    wrong
        .args(["verify", "-x509_strict", "-CAfile"])
        .arg(&devices[0]);
    assert!(!finish(wrong.arg(&devices[1])).unwrap().status.success());
}

fn gnutls(shop: &Shop, ca: &Path, issuing: &Path, devices: &[PathBuf]) {
    for device in devices {
        let chain = shop.factory.path("chain.pem");
        let parts = [device.as_path(), issuing, ca].map(|path| fs::read_to_string(path).unwrap());
        fs::write(&chain, parts.concat()).unwrap();
        let mut certtool = Command::new("certtool");
        certtool.args(["--verify-chain", "--infile"]).arg(&chain);
        let said = succeed(&mut certtool).unwrap();
        assert!(
            said.contains("Chain verification output: Verified"),
            "{said}"
        );
    }
}

fn mbedtls(shop: &Shop, ca: &Path, issuing: &Path, devices: &[PathBuf]) {
    let verifier = shop.factory.path("mbedtls_verify");
    let mut gcc = Command::new("gcc");
    gcc.args(["-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&verifier);
    gcc.arg(root().join("tests/outside/mbedtls_verify.c"));
    succeed(gcc.args(["-lmbedx509", "-lmbedcrypto"])).unwrap();
    succeed(Command::new(&verifier).arg(ca).arg(issuing).args(devices)).unwrap();
    let swapped = finish(
        Command::new(&verifier)
            .arg(&devices[0])
            .arg(issuing)
            .arg(&devices[1]),
    );
    assert!(!swapped.unwrap().status.success());
}

/// What pkilint finds and we answer for; `docs/decisions/0005-lint-findings.md` says why.
const ANSWERED: [&str; 2] = [
    "pkix.certificate_skid_end_entity_missing (WARNING)",
    "pkix.invalid_uri_syntax (ERROR): Invalid URI syntax: \"tag:",
];

fn pkilint(devices: &[PathBuf]) {
    let lint = root().join("target/checkers/bin/lint_pkix_cert");
    if !lint.exists() {
        return crate::skipped::skipped(
            "pkilint is not installed; scripts/setup.sh installs it where PyPI can be reached",
        );
    }
    for device in devices {
        let mut command = Command::new(&lint);
        let output = finish(command.args(["lint", "-s", "WARNING"]).arg(device)).unwrap();
        let told = said(&output.stdout);
        let found = |line: &&str| {
            ["(WARNING)", "(ERROR)", "(FATAL)"]
                .iter()
                .any(|level| line.contains(level))
        };
        let unexpected: Vec<_> = told
            .lines()
            .filter(found)
            .filter(|line| {
                !ANSWERED
                    .iter()
                    .any(|answered| line.trim().starts_with(answered))
            })
            .collect();
        assert!(
            unexpected.is_empty(),
            "{}: {unexpected:?}",
            device.display()
        );
        // It must have run: the missing SKI is told for every device.
        assert!(told.contains(ANSWERED[0]), "{told}{}", said(&output.stderr));
    }
}

fn recompute(shop: &Shop) {
    shop.factory.settle().unwrap();
    let log = shop.factory.log_dir();
    let mut python = Command::new("python3");
    let program = root().join("tests/outside/recompute.py");
    let told = succeed(python.arg(&program).arg(&log)).unwrap();
    let checkpoint = fs::read_to_string(log.join("checkpoint")).unwrap();
    let mut lines = checkpoint.lines().skip(1);
    let expected = format!("{} {}", lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(told.trim(), expected);
    let altered = shop.factory.path("altered");
    acceptance::factory::copy_all(&log, &altered).unwrap();
    // Another size: the line behind the origin.
    fs::write(
        altered.join("checkpoint"),
        checkpoint.replacen('\n', "\n1", 1),
    )
    .unwrap();
    let refused = finish(Command::new("python3").arg(&program).arg(&altered)).unwrap();
    assert!(!refused.status.success());
}
