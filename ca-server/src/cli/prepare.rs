//! Commands that need no running server.

use super::{Approve, Check, Exit, Failure, Init, Kind, Where, say};
use crate::admin::{StationRequest, approval};
use crate::app::{self, SystemClock, SystemEntropy};
use crate::ceremony::{self, Orders};
use crate::config::Config;
use crate::policy::{check_dir, load_ceremony, load_grant, load_station};
use crate::telemetry;
use identity::Id;
use identity::document::Document;
use keyvault::{KeyUse, Module, Pin};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(super) fn init(init: &Init) -> Result<(), Failure> {
    let config = Config::load(&init.at.config)?;
    let plan = load_ceremony(&init.ceremony)?;
    // The signer's configuration names a PIN file, and must find it wherever it is read.
    let pins =
        std::path::absolute(&init.pins).map_err(|error| Failure::file(&init.pins, &error))?;
    let orders = Orders {
        plan: &plan,
        config: &config,
        pins: &pins,
        attended: &init.attended,
    };
    say(&ceremony::hold(&orders, &SystemClock, &SystemEntropy)?)
}

pub(super) fn serve(at: &Where) -> Result<(), Failure> {
    let config = Config::load(&at.config)?;
    start_log(&config)?;
    Ok(app::run(&config)?)
}

pub(super) fn check(check: &Check) -> Result<(), Failure> {
    let config = Config::load(&check.at.config)?;
    for pin in [config.hsm.log.pin(), config.hsm.infrastructure.pin()] {
        pin.read()?;
    }
    say(&format!("{}: in order\n", check.at.config.display()))?;
    let Some(directory) = &check.policies else {
        return Ok(());
    };
    let findings = check_dir(directory);
    if findings.is_empty() {
        return say(&format!("{}: in order\n", directory.display()));
    }
    let list: String = findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect();
    Err(Failure::new(
        Exit::Configuration,
        format!("{}\n{}", counted(findings.len()), list.trim_end()),
        "correct each place named",
    ))
}

fn counted(findings: usize) -> String {
    match findings {
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    }
}

pub(super) fn approve(order: &Approve) -> Result<(), Failure> {
    match (order.kind, &order.keys) {
        (Kind::Grant, _) => {
            let proposal = load_grant(&order.policies, &order.file)?;
            sign(order, &proposal.grant, &proposal.explain())
        }
        (Kind::Station, Some(keys)) => {
            let plan = load_station(&order.file)?;
            let statement = StationRequest::load(keys)?.statement(&plan)?;
            let text = approval::explain_station(&statement);
            sign(order, &statement, &text)
        }
        (Kind::Station, None) => Err(Failure::new(
            Exit::Usage,
            "a station is approved with its keys",
            "add --keys FILE",
        )),
    }
}

/// Shows what is signed, asks, signs and writes the approval.
fn sign<D: Document>(order: &Approve, document: &D, text: &str) -> Result<(), Failure> {
    let approver = Id::new(&order.approver).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("--approver: {error}"),
            "give the approver's id as in the ceremony's plan",
        )
    })?;
    let pinned = approval::pinned(&order.ceremony, &approver)?;
    let signature = approval::explain_signature(document, &approver);
    say(&format!("{text}\n{signature}"))?;
    if !order.yes {
        ask()?;
    }
    let pin = Pin::from_file(&order.pin_file)?;
    let token = Module::load(&order.module)?.open(&order.token_label, pin)?;
    let card = token.key(&order.key_label, KeyUse::Approver)?;
    let signed = approval::sign(document, &pinned, &card)?;
    write_new(&order.out, approval::to_pem(&signed)?.as_bytes())?;
    say(&format!("written: {}\n", order.out.display()))
}

/// Asks the person at the terminal.
fn ask() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "nobody is here to say yes",
            "run it at a terminal, or add --yes after reading what is signed",
        ));
    }
    say("Sign this? Type yes: ")?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::file(Path::new("standard input"), &error))?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Permission,
        "not signed",
        "type yes to sign",
    ))
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(|error| Failure::file(path, &error))
}

fn start_log(config: &Config) -> Result<(), Failure> {
    telemetry::start(&config.log).map_err(|error| {
        Failure::new(
            Exit::Configuration,
            format!("log.filter: {error}"),
            "write a filter such as info",
        )
    })
}
