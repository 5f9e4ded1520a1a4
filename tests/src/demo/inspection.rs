//! What the morning left is checked by those who were not there.

use super::{Teller, UNITS};
use crate::factory::{Factory, copy_all};
use crate::failure::{At as _, Failure, Outcome, require};
use crate::patience::now;
use crate::process::{finish, program, succeed};
use crate::station::{Station, files};
use identity::Timestamp;
use koseki_verify::{Trust, read_certificate, read_proof, verify_device};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

/// Checks everything in the directory of results.
///
/// # Errors
/// [`Failure`]: the first claim that does not hold.
pub(super) fn inspect(
    results: &Path,
    factory: &Factory,
    station: &Station,
    teller: &mut Teller<'_>,
) -> Outcome<()> {
    let devices = files(&results.join("devices"), "pem")?;
    let all = usize::try_from(UNITS)
        .map_err(Failure::new)?
        .saturating_mul(2);
    require(
        devices.len() == all,
        format_args!("{} certificates for {all} units", devices.len()),
    )?;
    ask_openssl(results, &devices, teller)?;
    ask_verifier(results, &devices, teller)?;
    time_one(results, &devices, teller)?;
    audit(results, all, teller)?;
    count_keys(station, all, teller)?;
    alter_log(results, factory, teller)?;
    let status = factory.status()?;
    let used = format!("{UNITS} of {UNITS} issued");
    require(status.matches(&used).count() == 2, status)?;
    teller.claim(format_args!(
        "the server counts the same: {used}, under both grants"
    ))
}

fn ask_openssl(results: &Path, devices: &[PathBuf], teller: &mut Teller<'_>) -> Outcome<()> {
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-CAfile"]);
    command.arg(results.join("ca/root.pem")).arg("-untrusted");
    let said = succeed(command.arg(results.join("ca/issuing.pem")).args(devices))?;
    let good = said.lines().filter(|line| line.ends_with(": OK")).count();
    require(good == devices.len(), said)?;
    teller.claim(format_args!(
        "openssl verify -x509_strict accepts all {good} certificates"
    ))
}

fn ask_verifier(results: &Path, devices: &[PathBuf], teller: &mut Teller<'_>) -> Outcome<()> {
    let mut grades = BTreeSet::new();
    for device in devices {
        let mut command = verifier()?;
        command.arg(device).arg("--trust").arg(results);
        command
            .arg("--proof")
            .arg(device.with_extension("tlog-proof"));
        let said = succeed(command.args(["--require", "confirmed", "--json"]))?;
        let verdict: Value = serde_json::from_str(&said).map_err(Failure::new)?;
        require(verdict["accepted"] == true, &said)?;
        let name = |grade: &str| verdict[grade].as_str().unwrap_or("none").to_owned();
        let (recorded, proved) = (name("recorded_grade"), name("proved_grade"));
        grades.insert(format!("{recorded} ({proved} proved)"));
    }
    let grades = grades.into_iter().collect::<Vec<_>>().join(" and ");
    let expected = "chip-attested (chip-attested proved) and station-asserted (none proved)";
    require(grades == expected, &grades)?;
    teller.claim(format_args!(
        "koseki-verify accepts all {} offline as confirmed; grades {grades}",
        devices.len()
    ))
}

fn time_one(results: &Path, devices: &[PathBuf], teller: &mut Teller<'_>) -> Outcome<()> {
    let device = devices.first().ok_or_else(|| Failure::new("no device"))?;
    let trust = Trust::load(results).map_err(Failure::new)?;
    let certificate = read_certificate(device).map_err(Failure::new)?;
    let proof = read_proof(&device.with_extension("tlog-proof")).map_err(Failure::new)?;
    let moment = Timestamp(millis(&certificate_time(device)?)?);
    let begin = now();
    let verdict = verify_device(&certificate, &proof, &trust, moment);
    let took = begin.elapsed();
    require(verdict.accepted, format_args!("{verdict:?}"))?;
    teller.claim(format_args!(
        "one certificate ({} bytes) and proof ({} bytes) verified offline in {:.1} ms",
        certificate.len(),
        proof.len(),
        took.as_secs_f64() * 1_000.0
    ))
}

/// When the file was written: a moment at which the certificate is valid.
fn certificate_time(device: &Path) -> Outcome<std::time::SystemTime> {
    fs::metadata(device).and_then(|it| it.modified()).at(device)
}

fn millis(time: &std::time::SystemTime) -> Outcome<u64> {
    let since = time.duration_since(UNIX_EPOCH).map_err(Failure::new)?;
    u64::try_from(since.as_millis()).map_err(Failure::new)
}

fn audit(results: &Path, all: usize, teller: &mut Teller<'_>) -> Outcome<()> {
    let log = results.join("log");
    let mut command = verifier()?;
    command.arg("log").arg(&log).arg("--trust").arg(results);
    let said = succeed(command.arg("--json"))?;
    let findings: Value = serde_json::from_str(&said).map_err(Failure::new)?;
    let kind = |name: &str| findings["kinds"][name].as_u64().unwrap_or_default();
    let expected = u64::try_from(all).map_err(Failure::new)?;
    require(
        kind("bind") == expected && kind("confirm") == expected && kind("refuse") > 0,
        &said,
    )?;
    teller.claim(format_args!(
        "log replayed from its files: {} leaves, root {}",
        findings["size"],
        findings["root"].as_str().unwrap_or_default()
    ))?;
    teller.claim(format_args!(
        "{} bind, {} confirm and {} refuse leaves; every state rule held",
        kind("bind"),
        kind("confirm"),
        kind("refuse")
    ))?;
    write_quota(results, &findings)?;
    let grants = findings["grants"].as_array().cloned().unwrap_or_default();
    let exact = |grant: &Value| grant["issued"] == UNITS && grant["limit"] == UNITS;
    require(grants.len() == 2 && grants.iter().all(exact), &said)?;
    teller.claim(format_args!(
        "quota recomputed from the leaves alone: {UNITS} of {UNITS} under both grants"
    ))
}

fn write_quota(results: &Path, findings: &Value) -> Outcome<()> {
    let quota = json!({ "log_size": findings["size"], "root": findings["root"], "grants": findings["grants"] });
    let text = serde_json::to_string_pretty(&quota).map_err(Failure::new)?;
    let path = results.join("quota.json");
    fs::write(&path, text + "\n").at(&path)
}

fn count_keys(station: &Station, all: usize, teller: &mut Teller<'_>) -> Outcome<()> {
    let records = station.records()?;
    let passed = records.iter().filter(|record| record["outcome"] == "PASS");
    let facts: Vec<_> = passed.map(|record| &record["metadata"]).collect();
    let distinct = |key: &str| {
        let values = facts.iter().filter_map(|facts| facts[key].as_str());
        values.collect::<BTreeSet<_>>().len()
    };
    let (keys, chips) = (distinct("spki_sha256"), distinct("uid"));
    require(
        keys == all && chips == all,
        format_args!("{keys} keys, {chips} chips for {all} units"),
    )?;
    teller.claim(format_args!(
        "{keys} different keys on {chips} different chips: nothing lost, nothing twice"
    ))
}

/// Alters one byte in the middle of a copy's entries.
fn alter_log(results: &Path, factory: &Factory, teller: &mut Teller<'_>) -> Outcome<()> {
    let copy = factory.path("altered-log");
    copy_all(&results.join("log"), &copy)?;
    let bundle = newest_bundle(&copy.join("tile/entries"))?;
    let mut bytes = fs::read(&bundle).at(&bundle)?;
    let middle = bytes.len() / 2;
    let byte = bytes
        .get_mut(middle)
        .ok_or_else(|| Failure::new("the bundle is empty"))?;
    *byte ^= 1;
    fs::write(&bundle, &bytes).at(&bundle)?;
    let mut command = verifier()?;
    command.arg("log").arg(&copy).arg("--trust").arg(results);
    let output = finish(&mut command)?;
    require(
        matches!(output.status.code(), Some(1 | 65)),
        "an altered log was accepted",
    )?;
    teller.claim("one bit of a copy of the log altered: koseki-verify finds it")
}

/// The widest bundle, which the checkpoint is for.
fn newest_bundle(dir: &Path) -> Outcome<PathBuf> {
    let partial = dir.join("000.p");
    let dir = if partial.exists() {
        partial
    } else {
        dir.to_owned()
    };
    let entries = fs::read_dir(&dir).at(&dir)?;
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let width = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.parse::<u64>().ok())
            .unwrap_or_default()
    };
    paths
        .max_by_key(width)
        .ok_or_else(|| Failure::new("the log has no entries"))
}

fn verifier() -> Outcome<Command> {
    program("koseki-verify").map(Command::new)
}
