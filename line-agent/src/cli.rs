//! The command line.

use crate::app::ends::{self, Closing};
use crate::app::{self, AppError, GivenUp};
use crate::config::{Config, Language};
use crate::display::{complain, complain_in_both};
use crate::doctor;
use crate::rehearse::{Programs, Rehearsal, rehearse};
use crate::shift::Audience;
use crate::station::misfit::Misfit;
use crate::station::scrap::Scrapped;
use crate::verdict::Exit;
use clap::{Args, Parser, Subcommand, value_parser};
use identity::{ChipUid, DeviceSerial, Id, RequestId};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use vitals::log::Format;

/// The station on the factory line.
///
/// Exit codes of `run`: 0 PASS, 20 HOLD, 30 FAIL, 40 ABORT, 50 ERROR: the worst unit's. Others as in sysexits: 64 usage,
/// 65 lot file, a lot that would close with a difference, or one that is closed, 69 HSM, CA or programmer not there, 74 disk,
/// 75 another agent runs, 77 PIN or permission, 78 settings.
#[derive(Debug, Parser)]
#[command(name = "line-agent", version)]
struct Cli {
    /// What goes to standard error, as directives of `tracing`.
    #[arg(long, global = true, env = "RUST_LOG", default_value = "warn")]
    log: String,
    /// How: json, one object a line, or text.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the units of a lot, after finishing what is open in the sockets.
    Run {
        #[command(flatten)]
        settings: Settings,
        /// The lot file: CSV with the columns lot, serial, label.
        #[arg(long)]
        lot: PathBuf,
        #[command(flatten)]
        shown: Shown,
    },
    /// Try everything a shift needs within 3 s, without touching a chip; each line that is not ok says what to do.
    #[command(visible_alias = "check")]
    Doctor {
        #[command(flatten)]
        settings: Settings,
    },
    /// Rehearse a whole shift on simulated hardware with planted faults: no CA, HSM or chip of the factory's is used. Ends
    /// with 0 if every planted fault was answered with its code and everything else passed, else with 30.
    Rehearse(Rehearse),
    /// Make the station's keys in the line HSM and the request that the CA's operator enrolls it with.
    Enroll {
        #[command(flatten)]
        settings: Settings,
        /// Directory for station-request.toml and station.csr.pem.
        #[arg(long)]
        out: PathBuf,
    },
    /// Deal with a unit by its serial; not while the agent runs.
    #[command(subcommand)]
    Unit(UnitCommand),
    /// Deal with a whole lot; not while the agent runs.
    #[command(subcommand)]
    Lot(LotCommand),
    /// Show what the journal says: open units, failed ones that may be bound, and how many passed and failed.
    Status {
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Debug, Args)]
struct Rehearse {
    /// Units that are to pass, 60 to 900.
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(60..=900))]
    units: u32,
    /// Sockets of the simulated programmer, 2 to 16; one of them goes bad.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(2..=16))]
    sockets: u16,
    /// Where faults are planted: the same seed plants the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the directory with everything in it, and say where it is.
    #[arg(long)]
    keep: bool,
    /// Language of what is told.
    #[arg(long, default_value = "ja")]
    language: Language,
    /// The CA server [default: ca-server beside this program].
    #[arg(long, value_name = "FILE")]
    ca_server: Option<PathBuf>,
    /// The chip simulator [default: chip-sim beside this program].
    #[arg(long, value_name = "FILE")]
    chip_sim: Option<PathBuf>,
    /// The HSM simulator [default: `libhsm_sim.so` beside this program].
    #[arg(long, value_name = "FILE")]
    hsm_sim: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum UnitCommand {
    /// Void a unit that is bound and will never ship: its socket is free, and its certificate will stand on the revocation
    /// list when one is published.
    Void {
        #[command(flatten)]
        settings: Settings,
        /// Serial of the device.
        serial: DeviceSerial,
        /// Its lot, if units of several lots have had this serial.
        #[arg(long)]
        lot: Option<Id>,
        /// Why, as it goes into the log: a fault code, or a word of yours.
        #[arg(long)]
        reason: Id,
    },
    /// Scrap a unit: the board that is bound under a serial, or a chip that never had a key. Uses the grant's allowance.
    Scrap {
        #[command(flatten)]
        settings: Settings,
        /// Serial that the device was to carry.
        serial: DeviceSerial,
        /// Its lot.
        #[arg(long)]
        lot: Id,
        /// Why, as it goes into the log: a fault code, or a word of yours.
        #[arg(long)]
        reason: Id,
        /// UID of a chip that never had a key, hexadecimal, where it still says who it is.
        #[arg(long, value_parser = chip)]
        uid: Option<ChipUid>,
        /// Request of a board that was voided before, hexadecimal, as `unit void` named it.
        #[arg(long, value_parser = request)]
        voided: Option<RequestId>,
    },
}

#[derive(Debug, Subcommand)]
enum LotCommand {
    /// Close a lot for good with what became of each of its serials: nothing more is bound under it. Ends with 0 if the
    /// counts are those of the log. If lot file or counts differ from order or log, the lot stays open (65) unless what
    /// differs is named with its numbers; then it is closed (30), and the CA's operator is alarmed. It also stays open (65) if
    /// a unit moved on at the CA meanwhile: close it again. For a lot that is closed already it says so, with what that was
    /// closed with, and ends as it did then; with 65 if that is not what is counted or named now.
    Close {
        #[command(flatten)]
        settings: Settings,
        /// The lot file that the lot was made from.
        lot: PathBuf,
        /// Share of another station that made units of the lot, as its `lot share` wrote it; once for each.
        #[arg(long = "with", value_name = "FILE")]
        shares: Vec<PathBuf>,
        /// What differs and is known to, as the command names it when it stops; once for each. `pass=2:32`: 2 stated here, 32
        /// found in the log. `serials=1`: one serial of the lot file is not of the order. The lot is closed with these
        /// differences, or not at all.
        #[arg(long, value_name = "WHAT=STATED:FOUND")]
        differs: Vec<Misfit>,
    },
    /// Write what this station did of a lot, signed, for the station that closes it. Nothing more is made of the lot here
    /// afterwards.
    Share {
        #[command(flatten)]
        settings: Settings,
        /// The lot file that the lot was made from.
        lot: PathBuf,
        /// Where the share goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What is shown; in a terminal the full screen, elsewhere plain lines.
#[derive(Clone, Copy, Debug, Args)]
struct Shown {
    /// One line of JSON a unit, for logs and other programs.
    #[arg(long)]
    headless: bool,
}

impl Shown {
    fn audience(self) -> Audience {
        match self.headless {
            true => Audience::Program,
            false if io::stdin().is_terminal() && io::stdout().is_terminal() => Audience::Screen,
            false => Audience::Person,
        }
    }
}

#[derive(Debug, Args)]
struct Settings {
    /// The settings file.
    #[arg(long)]
    config: PathBuf,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return usage(&refusal),
    };
    let is_screen =
        matches!(&cli.command, Command::Run { shown, .. } if shown.audience() == Audience::Screen);
    // Standard error that is the same terminal would write across the screen.
    if !(is_screen && io::stderr().is_terminal()) {
        start_log(&cli.log, cli.log_format);
    }
    if let Err(error) = keyvault::keep_memory_private() {
        tracing::error!(%error, "not started");
        return Exit::Unavailable.into();
    }
    execute(cli.command).into()
}

fn execute(command: Command) -> Exit {
    let settings = match &command {
        Command::Rehearse(wish) => return hold_rehearsal(wish),
        Command::Run { settings, .. } | Command::Doctor { settings } => settings,
        Command::Enroll { settings, .. } | Command::Status { settings } => settings,
        Command::Unit(UnitCommand::Void { settings, .. } | UnitCommand::Scrap { settings, .. }) => {
            settings
        }
        Command::Lot(LotCommand::Close { settings, .. } | LotCommand::Share { settings, .. }) => {
            settings
        }
    };
    let config = match Config::load(&settings.config) {
        Ok(config) => config,
        Err(error) => return failed(&error.into(), None),
    };
    let outcome = match command {
        Command::Run { lot, shown, .. } => app::run(&config, &lot, shown.audience()),
        Command::Doctor { .. } => doctor::examine(&config, &mut io::stdout().lock()),
        Command::Enroll { out, .. } => app::enroll(&config, &out),
        Command::Unit(command) => end_unit(&config, command),
        Command::Lot(LotCommand::Close {
            lot,
            shares,
            differs,
            ..
        }) => {
            let (lot, shares, differs) = (&lot, &shares, &differs);
            let closing = Closing {
                lot,
                shares,
                differs,
            };
            ends::close_lot(&config, closing, &mut io::stdout().lock())
        }
        Command::Lot(LotCommand::Share { lot, out, .. }) => {
            ends::share_lot(&config, (&lot, &out), &mut io::stdout().lock())
        }
        Command::Status { .. } => app::status(&config, &mut io::stdout().lock()),
        // It has no settings, and was held above.
        Command::Rehearse(_) => Ok(Exit::Usage),
    };
    outcome.unwrap_or_else(|error| failed(&error, Some(config.language)))
}

fn hold_rehearsal(wish: &Rehearse) -> Exit {
    let language = wish.language;
    let wish = Rehearsal {
        units: wish.units,
        sockets: wish.sockets,
        seed: wish.seed,
        keep: wish.keep,
        language,
        programs: Programs {
            ca_server: wish.ca_server.clone(),
            chip_sim: wish.chip_sim.clone(),
            hsm_sim: wish.hsm_sim.clone(),
        },
    };
    let error = match rehearse(&wish, &mut io::stdout().lock()) {
        Ok(exit) => return exit,
        Err(error) => error,
    };
    let (words, remedy) = (error.words(language), error.remedy(language));
    match writeln!(io::stderr().lock(), "{words}\n    → {remedy}") {
        Ok(()) => error.exit(),
        Err(_) => Exit::Io,
    }
}

/// Voids or scraps a unit.
fn end_unit(config: &Config, command: UnitCommand) -> Result<Exit, AppError> {
    let out = &mut io::stdout().lock();
    match command {
        UnitCommand::Void {
            serial,
            lot,
            reason,
            ..
        } => {
            let unit = GivenUp {
                serial,
                lot,
                reason,
            };
            app::void_unit(config, &unit, out)
        }
        UnitCommand::Scrap {
            serial,
            lot,
            reason,
            uid,
            voided,
            ..
        } => {
            let unit = Scrapped {
                serial,
                lot,
                reason,
                uid,
                voided,
            };
            ends::scrap_unit(config, &unit, out)
        }
    }
}

fn chip(word: &str) -> Result<ChipUid, String> {
    ChipUid::new(&bytes(word)?).map_err(|error| error.to_string())
}

fn request(word: &str) -> Result<RequestId, String> {
    let id = bytes(word)?.try_into().map(RequestId);
    id.map_err(|_length| "a request id has 16 bytes".to_owned())
}

fn bytes(word: &str) -> Result<Vec<u8>, String> {
    hex::decode(word).map_err(|error| error.to_string())
}

/// In both languages, where the settings have not said which.
fn failed(error: &AppError, language: Option<Language>) -> Exit {
    tracing::debug!(%error, "ended");
    let (mut stderr, detail) = (io::stderr().lock(), error.to_string());
    let told = match language {
        Some(language) => complain(&mut stderr, error.words(language), &detail),
        None => complain_in_both(&mut stderr, |language| error.words(language), &detail),
    };
    match told {
        Ok(()) => error.exit(),
        Err(_) => Exit::Io,
    }
}

/// Help and version are no misuse.
fn usage(refusal: &clap::Error) -> ExitCode {
    match (refusal.print(), refusal.use_stderr()) {
        (Ok(()), false) => Exit::Done.into(),
        (Ok(()), true) => Exit::Usage.into(),
        (Err(_), _) => Exit::Io.into(),
    }
}

fn start_log(wanted: &str, format: Format) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::WARN.into())
        .parse_lossy(keyvault::quiet(wanted));
    vitals::log::start(format, filter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn misuse_is_told_apart_from_help() {
        assert!(
            Cli::try_parse_from(["line-agent", "run", "--config", "a"])
                .unwrap_err()
                .use_stderr()
        );
        assert!(
            !Cli::try_parse_from(["line-agent", "--help"])
                .unwrap_err()
                .use_stderr()
        );
        Cli::try_parse_from([
            "line-agent",
            "run",
            "--config",
            "a",
            "--lot",
            "b",
            "--headless",
        ])
        .unwrap();
    }
}
