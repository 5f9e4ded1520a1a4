//! The command line. What a command prints on success goes to standard output; a failure says on standard error what
//! is wrong and what to do next, and ends with a code of sysexits.h.

mod failure;
mod keep;
mod operate;
mod prepare;
mod watch;

pub use failure::{Exit, Failure};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// The CA of the family register of devices.
#[derive(Debug, Parser)]
#[command(name = "ca-server", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ca-server init --ceremony policies/ceremony/demo.toml --pins /root/pins --attended 'Sato Yui, CA operator'
  ca-server check --policies policies
  ca-server serve
  ca-server approve grant policies/grants/2026-ota-line-2-cam2.toml --policies policies \\
      --ceremony ceremony.der --approver vet-01 --module /usr/lib/softhsm/libsofthsm2.so \\
      --token-label approver-vet-01 --pin-file vet-01.pin --out vet-01.pem
  ca-server grant load --policies policies --grant policies/grants/2026-ota-line-2-cam2.toml \\
      --approval vet-01.pem --approval ca-op-02.pem
  ca-server status
  ca-server backup --out /var/lib/koseki-backups/2026-11-26
  ca-server restore --from /media/backups/2026-11-26

Exit codes: 0 done; of `status` 1 an alarm stands, 2 nothing is issued; 64 wrong command line, 69 not available, 75 try again, 77 not permitted, 78 wrong configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Hold the key ceremony: tokens, keys, certificates, transcript
    Init(Init),
    /// Serve stations and the operator until told to stop
    Serve(Where),
    /// Read configuration and policies, and say what is wrong with them
    Check(Check),
    /// Sign a grant or a station with an approver's card
    Approve(Approve),
    /// Enter stations
    #[command(subcommand)]
    Station(Station),
    /// Put grants into force
    #[command(subcommand)]
    Grant(Grant),
    /// Open lots
    #[command(subcommand)]
    Lot(Lot),
    /// Void units, or have them signed after all
    #[command(subcommand)]
    Unit(Unit),
    /// Show how the running server is; ends with 1 if an alarm stands, with 2 if nothing is issued
    Status(Where),
    /// List refusals of known stations, newest first
    Refusals(Refusals),
    /// Speak for the server's clock
    #[command(subcommand)]
    Clock(Clock),
    /// Back the running server up into a directory of its machine
    Backup(Backup),
    /// Bring a backup back into an empty state directory, with no server running
    Restore(Restore),
}

#[derive(Clone, Debug, Args)]
struct Where {
    /// Configuration of the server
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Init {
    #[command(flatten)]
    at: Where,
    /// Reviewed plan of the ceremony
    #[arg(long, value_name = "FILE")]
    ceremony: PathBuf,
    /// Directory of PIN files; made if it is not there, and PINs that are there are used
    #[arg(long, value_name = "DIR")]
    pins: PathBuf,
    /// Somebody in the room, "name, role"; once for each person, and at least one
    #[arg(long, value_name = "PERSON", required = true)]
    attended: Vec<String>,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    at: Where,
    /// Policy directory to check as well
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A grant
    Grant,
    /// A station
    Station,
}

#[derive(Debug, Args)]
struct Approve {
    /// What is approved
    kind: Kind,
    /// Its policy file
    file: PathBuf,
    /// Policy directory
    #[arg(long, value_name = "DIR")]
    policies: PathBuf,
    /// Key request of the station, as its agent wrote it
    #[arg(long, value_name = "FILE", required_if_eq("kind", "station"))]
    keys: Option<PathBuf>,
    /// Who approves
    #[arg(long, value_name = "ID")]
    approver: String,
    /// Ceremony document, ceremony.der, which says whose card is whose
    #[arg(long, value_name = "FILE")]
    ceremony: PathBuf,
    /// PKCS#11 module of the approver's card
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// Label of the card
    #[arg(long, value_name = "LABEL")]
    token_label: String,
    /// Label of the key on the card
    #[arg(long, value_name = "LABEL", default_value = "approval")]
    key_label: String,
    /// File with the card's PIN, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pin_file: PathBuf,
    /// Where the approval goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sign without asking; needed where nobody can be asked
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Subcommand)]
enum Station {
    /// Enter an approved station and get its TLS certificate
    Enroll(Enroll),
}

#[derive(Debug, Args)]
struct Enroll {
    #[command(flatten)]
    at: Where,
    /// Policy file of the station
    #[arg(long, value_name = "FILE")]
    statement: PathBuf,
    /// Key request of the station, as its agent wrote it
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// Certification request for the station's TLS key, PEM
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// An approval; once for each approver
    #[arg(long, value_name = "FILE", required = true)]
    approval: Vec<PathBuf>,
    /// Where the TLS certificate goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Grant {
    /// Put an approved grant into force
    Load(Load),
    /// Close a grant before its time: nothing more is bound or opened under it, and what is bound is finished
    Close(CloseGrant),
}

#[derive(Debug, Args)]
struct Load {
    #[command(flatten)]
    at: Where,
    /// Policy directory
    #[arg(long, value_name = "DIR")]
    policies: PathBuf,
    /// Policy file of the grant
    #[arg(long, value_name = "FILE")]
    grant: PathBuf,
    /// An approval; once for each approver
    #[arg(long, value_name = "FILE", required = true)]
    approval: Vec<PathBuf>,
    /// Directory that gets grant.der and profile.der, for stations and auditors
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CloseGrant {
    #[command(flatten)]
    at: Where,
    /// Name of the grant
    #[arg(long, value_name = "NAME")]
    grant: String,
    /// Why, in one word that the log shows in the open, such as recall
    #[arg(long, value_name = "WORD")]
    reason: String,
}

#[derive(Debug, Subcommand)]
enum Lot {
    /// Open a lot under its grant
    Open(Open),
}

#[derive(Debug, Args)]
struct Open {
    #[command(flatten)]
    at: Where,
    /// Policy directory
    #[arg(long, value_name = "DIR")]
    policies: PathBuf,
    /// Policy file of the grant
    #[arg(long, value_name = "FILE")]
    grant: PathBuf,
    /// Policy file of the lot
    #[arg(long, value_name = "FILE")]
    lot: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Unit {
    /// Declare one unit's binding void for ever and revoke its certificate
    Void(Void),
    /// Ask the signer again about a unit that it set aside (see `status`), once what was wrong is mended
    Retry(Retry),
}

#[derive(Debug, Args)]
struct Refusals {
    #[command(flatten)]
    at: Where,
    /// How many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=256))]
    last: u32,
    /// Directory that gets the openings of each, for an auditor who reads the log
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Clock {
    /// Confirm the server's clock, after it was set right, so that issuing goes on
    Confirm(Confirm),
}

#[derive(Debug, Args)]
struct Backup {
    #[command(flatten)]
    at: Where,
    /// Directory that is not there yet; the server writes it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Restore {
    #[command(flatten)]
    at: Where,
    /// The backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// SHA-256 of its manifest as `backup` printed it, if it was kept elsewhere
    #[arg(long, value_name = "HEX")]
    manifest_sha256: Option<String>,
}

#[derive(Debug, Args)]
struct Confirm {
    #[command(flatten)]
    at: Where,
    /// What your own watch shows, such as 2026-11-23T09:30:00+09:00
    #[arg(long, value_name = "TIME")]
    watch: String,
}

#[derive(Debug, Args)]
struct Void {
    #[command(flatten)]
    at: Where,
    /// Request id of the unit, 32 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    request: String,
    /// Why, in one word that the log shows in the open, such as recall or a fault code
    #[arg(long, value_name = "WORD")]
    reason: String,
}

#[derive(Debug, Args)]
struct Retry {
    #[command(flatten)]
    at: Where,
    /// Request id of the unit, 32 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    request: String,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(error) = keyvault::keep_memory_private() {
        let failure = Failure::new(Exit::Unavailable, error, "see what limits this process");
        complain(&failure);
        return ExitCode::from(failure.exit.code());
    }
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command),
        Err(error) => return refuse(&error),
    };
    match outcome {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

fn dispatch(command: Command) -> Result<Exit, Failure> {
    let done = match command {
        Command::Status(at) => return watch::status(&at),
        Command::Init(init) => prepare::init(&init),
        Command::Serve(at) => prepare::serve(&at),
        Command::Check(check) => prepare::check(&check),
        Command::Approve(approve) => prepare::approve(&approve),
        Command::Station(Station::Enroll(enroll)) => operate::enroll(&enroll),
        Command::Grant(Grant::Load(load)) => operate::load_grant_into_server(&load),
        Command::Grant(Grant::Close(close)) => operate::close_grant(&close),
        Command::Lot(Lot::Open(open)) => operate::open_lot(&open),
        Command::Unit(Unit::Void(void)) => operate::void(&void),
        Command::Unit(Unit::Retry(retry)) => operate::retry(&retry),
        Command::Refusals(order) => watch::refusals(&order),
        Command::Clock(Clock::Confirm(order)) => watch::confirm_clock(&order),
        Command::Backup(order) => keep::back_up(&order),
        Command::Restore(order) => keep::restore(&order),
    };
    done.map(|()| Exit::Done)
}

/// Help and version are no failures; everything else is a wrong command line.
fn refuse(error: &clap::Error) -> ExitCode {
    let code = if error.use_stderr() {
        Exit::Usage.code()
    } else {
        0
    };
    match error.print() {
        Ok(()) => ExitCode::from(code),
        Err(_closed) => ExitCode::from(Exit::Unavailable.code()),
    }
}

fn complain(failure: &Failure) {
    // If standard error is closed, the exit code is all that is left to say.
    drop(writeln!(io::stderr().lock(), "ca-server: {failure}"));
}

/// Prints the result of a command.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::file(std::path::Path::new("standard output"), &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use std::path::Path;

    /// Help of every command, in the order of the commands.
    fn help() -> String {
        fn collect(command: &mut clap::Command, path: &str, text: &mut String) {
            let path = format!("{path}{}", command.get_name());
            text.push_str(&format!("== {path}\n{}\n", command.render_long_help()));
            for child in command.get_subcommands_mut() {
                if child.get_name() != "help" {
                    collect(child, &format!("{path} "), text);
                }
            }
        }
        let mut text = String::new();
        collect(&mut Cli::command().term_width(100), "", &mut text);
        text
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// `KOSEKI_BLESS=1 cargo test -p ca-server` writes the file anew.
    #[test]
    fn the_help_is_as_reviewed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/help.txt");
        let help = help();
        if std::env::var_os("KOSEKI_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &help).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), help);
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in [
            "ca-server approve station s.toml --policies p --ceremony c --approver a --module m --token-label t --pin-file f --out o",
            "ca-server grant load --policies p --grant g",
            "ca-server serve --pin 1234",
            "ca-server init --ceremony c",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_err_and(|error| error.use_stderr()), "{line}");
        }
    }
}
