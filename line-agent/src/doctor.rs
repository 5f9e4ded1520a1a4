//! `line-agent doctor`: tries everything that a shift needs, touches no chip, and says what to do where something is
//! not as it should be. Everything is tried at once, and whatever has not answered after [`DEADLINE`] does not answer.

use crate::agent::ProgramHash;
use crate::app::{AppError, means};
use crate::ca_link::{Ca as _, CaLink};
use crate::config::{Config, Language, Socket};
use crate::display::Words;
use crate::files::{FileError, ensure_directory, write_durably};
use crate::injector::{LineHsm as _, Vault};
use crate::orders::{Order, Orders};
use crate::programmer;
use crate::sources::{SystemClock, SystemEntropy, day};
use crate::station::Failure;
use crate::station::floor::Stop;
use crate::station::journal::Journal;
use crate::station::seen::SeenCheckpoint;
use crate::verdict::Exit;
use identity::fault::Fault;
use identity::{ChipUid, Clock as _, Timestamp};
use koseki_verify::Trust;
use rustix::fs::statvfs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;
use vitals::Stopwatch;

/// After this time everything has answered or does not.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// For one question to the CA, in seconds.
const CA_SECONDS: u16 = 2;
/// Free bytes that a shift needs: some ten thousand records.
const FREE_BYTES: u64 = 256 * 1024 * 1024;
/// The station's clock may be off by so much; the CA refuses stations that are 24 h off.
const CLOCK_MS: u64 = 60_000;

type Finding = Result<Told, AppError>;

/// What was found to be well enough for a run to begin.
#[derive(Debug)]
struct Told {
    detail: String,
    /// What a run will not do all the same.
    note: Option<Fault>,
}

impl From<String> for Told {
    fn from(detail: String) -> Self {
        Self { detail, note: None }
    }
}

/// What becomes of a grant that has ended, as a run has it.
const ENDED: &str = "what is bound is finished, nothing new is begun";

/// What is tried, in the order in which it is shown.
const PROBES: [(&str, Fault); 8] = [
    ("agent", Fault::AgentAltered),
    ("grant", Fault::Config),
    ("trust", Fault::Config),
    ("disk", Fault::Journal),
    ("journal", Fault::Journal),
    ("hsm", Fault::LineHsm),
    ("ca", Fault::CaUnreachable),
    ("clock", Fault::CaUnreachable),
];

/// Where answers go.
#[derive(Clone)]
struct Chart(Sender<(String, Finding)>);

impl Chart {
    fn note(&self, name: &str, finding: Finding) {
        // Nobody reads any more when the time is over.
        drop(self.0.send((name.to_owned(), finding)));
    }

    fn probe(&self, config: &Config, name: &'static str, probe: fn(&Config) -> Finding) {
        let (chart, config) = (self.clone(), config.clone());
        thread::spawn(move || chart.note(name, probe(&config)));
    }
}

/// Tries everything; shows one line each, and what to do.
///
/// # Errors
/// [`AppError::System`] if the display cannot be written to.
pub fn examine(config: &Config, out: &mut dyn Write) -> Result<Exit, AppError> {
    let (send, receive) = mpsc::channel();
    let chart = Chart(send);
    chart.probe(config, "agent", agent);
    chart.probe(config, "grant", grants);
    chart.probe(config, "trust", trust);
    chart.probe(config, "disk", disk);
    chart.probe(config, "journal", journal);
    for socket in config.sockets.clone() {
        let chart = chart.clone();
        let state = config.paths.state.clone();
        thread::spawn(move || chart.note(&name_of(&socket), programmer(&socket, &state)));
    }
    let patient = with_little_patience(config.clone());
    thread::spawn(move || hsm_and_ca(&patient, &chart));
    report(config, &collect(config, &receive), out)
}

fn with_little_patience(mut config: Config) -> Config {
    (config.ca.deadline_seconds, config.ca.give_up_seconds) = (CA_SECONDS, CA_SECONDS);
    config
}

fn name_of(socket: &Socket) -> String {
    format!("socket {}", socket.name)
}

/// Waits for all answers, or for the deadline; everything asked has a finding.
fn collect(config: &Config, receive: &Receiver<(String, Finding)>) -> Vec<(String, Finding)> {
    let began = Stopwatch::start();
    let mut answers = Vec::new();
    let left = || DEADLINE.saturating_sub(began.elapsed());
    while let Ok(answer) = receive.recv_timeout(left()) {
        answers.push(answer);
    }
    let sockets = config.sockets.iter();
    let sockets = sockets.map(|socket| (name_of(socket), Fault::NoChip));
    let asked = PROBES.map(|(name, fault)| (name.to_owned(), fault));
    let take = |(name, fault): (String, Fault)| {
        let at = answers.iter().position(|(answered, _)| *answered == name);
        let silent = || Err(found(fault, Exit::Unavailable, "no answer within 3 s"));
        (name, at.map_or_else(silent, |at| answers.swap_remove(at).1))
    };
    asked.into_iter().chain(sockets).map(take).collect()
}

fn report(
    config: &Config,
    findings: &[(String, Finding)],
    out: &mut dyn Write,
) -> Result<Exit, AppError> {
    for (name, finding) in findings {
        show(name, finding, config.language, out)?;
    }
    let first = findings
        .iter()
        .find_map(|(_, finding)| finding.as_ref().err());
    Ok(first.map_or(Exit::Done, AppError::exit))
}

fn show(name: &str, finding: &Finding, language: Language, out: &mut dyn Write) -> io::Result<()> {
    match finding {
        Ok(Told { detail, note: None }) => writeln!(out, "ok  {name}: {detail}"),
        Ok(Told {
            detail,
            note: Some(fault),
        }) => {
            let Words { code, text, hint } = Words::of_command(*fault, language);
            writeln!(out, "!   {name}: {code} {text}\n    {detail}\n    → {hint}")
        }
        Err(error) => {
            let Words { code, text, hint } = error.words(language);
            writeln!(out, "NG  {name}: {code} {text}\n    {error}\n    → {hint}")
        }
    }
}

fn found(fault: Fault, exit: Exit, detail: impl ToString) -> AppError {
    let failure = Failure::new(fault, detail);
    AppError::Found { failure, exit }
}

fn agent(config: &Config) -> Finding {
    let measured = ProgramHash::measure()?;
    config.agent.check(measured)?;
    let pinned = match config.agent.sha256 {
        Some(_) => "as pinned",
        None => "not pinned",
    };
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!("{version} sha256 {measured}, {pinned}").into())
}

fn grants(config: &Config) -> Finding {
    let orders = Orders::load(&config.grants, &config.station)?;
    said_of_grants(orders.all(), SystemClock.now())
}

/// As a run has it: before its first day nothing is done under a grant, after its last day what is bound is finished.
fn said_of_grants(orders: &[Order], now: Timestamp) -> Finding {
    if let Some(early) = orders.iter().find(|it| now < it.grant.not_before) {
        return Err(AppError::not_begun(&early.grant));
    }
    let is_over = |order: &&Order| !order.grant.valid_at(now);
    let told = orders.iter().map(|order| {
        let (id, until) = (order.grant.id, day(order.grant.not_after));
        match is_over(&order) {
            false => format!("{id} until {until}"),
            true => format!("{id} ended {until}: {ENDED}"),
        }
    });
    let told: Vec<_> = told.collect();
    match told.is_empty() {
        true => Err(found(Fault::Config, Exit::Config, "no grant is named")),
        false => Ok(Told {
            detail: told.join(", "),
            note: orders.iter().find(is_over).map(|_| Fault::GrantExpired),
        }),
    }
}

fn trust(config: &Config) -> Finding {
    let trust = Trust::load(&config.paths.trust)?;
    Ok(count(trust.issuing().len(), "issuing CA").into())
}

fn disk(config: &Config) -> Finding {
    let (state, out) = (&config.paths.state, &config.paths.out);
    let (in_state, in_out) = (writable(state)?, writable(out)?);
    let (free, path) = match in_state <= in_out {
        true => (in_state, state),
        false => (in_out, out),
    };
    if free < FREE_BYTES {
        let (free, path) = (free >> 20, path.display());
        let detail = format!("{path}: {free} MiB free where a shift needs 256");
        return Err(found(Fault::Journal, Exit::Io, detail));
    }
    Ok(format!("{} MiB free, writable", free >> 20).into())
}

/// Free bytes where a file can be written and flushed.
fn writable(directory: &Path) -> Result<u64, AppError> {
    ensure_directory(directory)?;
    let probe = directory.join("doctor.probe");
    write_durably(&probe, b"koseki\n")?;
    std::fs::remove_file(&probe).map_err(FileError::io(&probe))?;
    let told = statvfs(directory).map_err(|error| FileError::io(directory)(error.into()))?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

fn journal(config: &Config) -> Finding {
    // Without trust there is nothing to hold it against, and its own line says so.
    if let Ok(trust) = Trust::load(&config.paths.trust) {
        SeenCheckpoint::open(&config.paths.state)?.check(&trust)?;
    }
    let history = Journal::peek(&config.paths.state)?;
    let (open, aside) = (history.open_units().count(), history.aside().count());
    Ok(format!(
        "{}, {aside} of them set aside; {} waiting",
        count(open, "open unit"),
        count(history.voids().len(), "void")
    )
    .into())
}

/// Not while a run has it: a programmer that speaks with another drops the run.
fn programmer(socket: &Socket, state: &Path) -> Finding {
    if Journal::is_in_use(state)? {
        return Ok("in use by a run, and left alone".to_owned().into());
    }
    let absent = |error: io::Error| AppError::NoProgrammer(format!("{}: {error}", socket.line));
    let mut programmer = programmer::open(&socket.line, &SystemEntropy).map_err(absent)?;
    let seat = programmer
        .look()
        .map_err(|error| AppError::Unreachable(error.into()))?;
    let chip = if seat.occupied {
        "a chip is in"
    } else {
        "empty"
    };
    Ok(format!("position {}, {chip}", seat.position).into())
}

fn hsm_and_ca(config: &Config, chart: &Chart) {
    let vault = match open_vault(config) {
        Ok(vault) => vault,
        Err(error) => {
            for name in ["ca", "clock"] {
                let detail = "not tried: the key for it is in the HSM";
                chart.note(name, Err(found(Fault::LineHsm, Exit::Unavailable, detail)));
            }
            return chart.note("hsm", Err(error));
        }
    };
    let told = "token opened, three keys, one signed".to_owned();
    chart.note("hsm", Ok(told.into()));
    match ask_ca(config, &vault) {
        Ok((ca, clock)) => {
            chart.note("ca", Ok(ca));
            chart.note("clock", clock);
        }
        Err(error) => {
            let detail = "not known: the CA does not say its time";
            let fault = error.fault();
            chart.note("clock", Err(found(fault, Exit::Unavailable, detail)));
            chart.note("ca", Err(error));
        }
    }
}

fn open_vault(config: &Config) -> Result<Vault, AppError> {
    let vault = Vault::open(&config.hsm)?;
    vault.health()?;
    vault.sign_request(&identity::hash::sha256(b"koseki/doctor/v1\n"))?;
    Ok(vault)
}

/// What the CA says, and of the clock.
fn ask_ca(config: &Config, vault: &Vault) -> Result<(Told, Finding), AppError> {
    let (runtime, stop) = (Runtime::new()?, Stop::default());
    let seen = SeenCheckpoint::open(&config.paths.state)?;
    let means = means(&runtime, &stop, (Some(&seen), ProgramHash::measure()?));
    let link = CaLink::new(&config.ca, &config.station.id, vault.tls().clone(), means)?;
    let away = |error| AppError::Unreachable(Failure::from(error));
    // The question names no chip that exists; the answer is bound to it, and of no use to anybody.
    let uid = ChipUid::new(b"doctor").map_err(io::Error::other)?;
    let orders = Orders::load(&config.grants, &config.station)?;
    let mut told = vec![format!("{} answers", config.ca.address)];
    let grant = orders.all().first().map(|order| &order.grant_hash);
    link.challenge(&uid, grant, None).map_err(away)?;
    told.push(match link.agents_named() {
        Some(true) => "this program is approved".to_owned(),
        Some(false) | None => "any program is let in".to_owned(),
    });
    let mut note = None;
    for order in orders.all() {
        let quota = link.quota(&order.grant_hash).map_err(away)?;
        let (left, limit) = (quota.remaining, quota.limit);
        told.push(format!("{}: {left} of {limit} left", order.grant.id));
        if left == 0 {
            told.push(ENDED.to_owned());
            note = Some(Fault::GrantUsedUp);
        }
    }
    let detail = told.join(", ");
    Ok((Told { detail, note }, clock(&link)))
}

fn clock(link: &CaLink<'_>) -> Finding {
    let quality = link.time_quality();
    let quality = quality.ok_or_else(|| {
        found(
            Fault::CaUnreachable,
            Exit::Unavailable,
            "the CA does not say its time",
        )
    })?;
    let (offset, error) = (quality.offset_millis, quality.error_millis);
    let told = format!("{offset:+} ms against the CA, ±{error} ms");
    match offset.unsigned_abs().saturating_sub(error) > CLOCK_MS {
        true => Err(found(Fault::StationClock, Exit::Config, told)),
        false => Ok(told.into()),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(state: &Path) -> Config {
        let path = state.join("line-agent.toml");
        std::fs::write(&path, include_str!("../line-agent.example.toml")).unwrap();
        Config::load(&path).unwrap()
    }

    #[test]
    fn what_does_not_answer_in_time_is_found_and_every_line_has_its_remedy() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path());
        let (send, receive) = mpsc::channel();
        let chart = Chart(send);
        chart.note("trust", Ok("1 issuing CA".to_owned().into()));
        drop(chart);
        let findings = collect(&config, &receive);
        assert_eq!(findings.len(), PROBES.len() + config.sockets.len());
        let mut out = Vec::new();
        let exit = report(&config, &findings, &mut out).unwrap();
        assert_eq!(exit, Exit::Unavailable);
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("ok  trust: 1 issuing CA\n"), "{out}");
        assert_eq!(out.matches("NG  ").count(), findings.len() - 1, "{out}");
        assert_eq!(out.matches("    → ").count(), findings.len() - 1, "{out}");
        for wrong in ["on hold", "保留", "doctor"] {
            assert!(!out.contains(wrong), "{wrong}: {out}");
        }
    }

    #[test]
    fn the_page_for_the_engineer_has_every_line() {
        let page = include_str!("../../docs/station.md");
        for (name, fault) in PROBES {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| {name} |")));
            let row = row.unwrap_or_else(|| panic!("{name}"));
            assert!(row.contains(fault.code()), "{row}");
        }
        assert!(page.contains("| socket N |"));
    }

    #[test]
    fn a_grant_that_has_ended_is_a_note_and_one_that_has_not_begun_a_fault() {
        let mut order = crate::station::bench::order(100);
        order.grant.not_before = Timestamp(1_000);
        let (begins, ends) = (order.grant.not_before, order.grant.not_after);
        let said = |now| said_of_grants(std::slice::from_ref(&order), now);
        assert_eq!(said(begins).unwrap().note, None);
        let over = said(ends.plus_millis(1)).unwrap();
        assert_eq!(over.note, Some(Fault::GrantExpired));
        assert!(over.detail.contains(ENDED), "{}", over.detail);
        let early = said(Timestamp(begins.0 - 1)).unwrap_err();
        assert_eq!(early.exit(), Exit::Config);
        let home = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let findings = [("grant".to_owned(), Ok(over))];
        let exit = report(&config(home.path()), &findings, &mut out).unwrap();
        assert_eq!(exit, Exit::Done, "a run begins");
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("!   grant: CA-0202 "), "{out}");
        assert!(out.contains("    → "), "{out}");
    }

    /// A programmer gives its line to whoever comes last.
    #[test]
    fn a_programmer_that_a_run_speaks_with_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap().to_string();
        let socket = Socket {
            name: identity::Id::new("1").unwrap(),
            line: crate::config::Line::Tcp(address.clone()),
        };
        let run = Journal::open(home.path()).unwrap();
        let told = programmer(&socket, home.path()).unwrap().detail;
        assert!(told.contains("left alone"), "{told}");
        port.set_nonblocking(true).unwrap();
        let nobody = port.accept().unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock, "it was spoken to");
        drop((run, port));
        let absent = programmer(&socket, home.path()).unwrap_err();
        assert!(absent.to_string().contains(&address), "{absent}");
        assert_eq!(absent.exit(), Exit::Unavailable);
        assert!(absent.words(Language::En).hint.contains("switched on"));
    }

    #[test]
    fn a_disk_is_tried_by_writing_to_it() {
        let home = tempfile::tempdir().unwrap();
        let config = config(home.path());
        let told = disk(&config).unwrap().detail;
        assert!(told.ends_with("writable"), "{told}");
        let left = std::fs::read_dir(&config.paths.state).unwrap().count();
        assert_eq!(left, 0, "nothing stays behind");
        std::fs::remove_dir(&config.paths.out).unwrap();
        std::fs::write(&config.paths.out, "a file").unwrap();
        disk(&config).unwrap_err();
    }
}
