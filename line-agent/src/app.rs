//! Puts the parts together: the only place that builds the real clock, randomness, HSM, CA and sockets.

pub mod ends;

use crate::agent::{Altered, ProgramHash};
use crate::ca_link::{CaLink, ChannelError, Means};
use crate::config::{Config, ConfigError, Language};
use crate::display::Words;
use crate::enroll::{self, EnrollError};
use crate::files::FileError;
use crate::injector::Vault;
use crate::lot::{Lot, LotError};
use crate::orders::Orders;
use crate::records::Output;
use crate::shift::{self, Audience};
use crate::sources::{SystemClock, SystemEntropy, day};
use crate::station::floor::{Floor, Roll, Serials, Stop};
use crate::station::inspect::Inspector;
use crate::station::journal::{Journal, JournalError};
use crate::station::seen::SeenCheckpoint;
use crate::station::spool::Spool;
use crate::station::{Failure, void};
use crate::verdict::{Exit, Verdict};
use identity::document::Grant;
use identity::fault::Fault;
use identity::{Clock as _, DeviceSerial, Id};
use keyvault::VaultError;
use koseki_verify::{Trust, TrustError};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The program could not begin, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the station.
    #[error(transparent)]
    File(#[from] FileError),
    /// The lot file.
    #[error(transparent)]
    Lot(#[from] LotError),
    /// The lot is in no grant.
    #[error("lot {0} stands under no grant of the settings")]
    UnknownLot(Id),
    /// The grant has not begun.
    #[error("grant {id} holds from {from} to {until}")]
    GrantNotValid {
        /// Its name.
        id: Id,
        /// Its first day.
        from: String,
        /// Its last day.
        until: String,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The line HSM.
    #[error("{0}; {hint}", hint = .0.hint())]
    Vault(#[from] VaultError),
    /// The trust directory.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The line to the CA.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Enrolling.
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    /// The CA or a socket does not answer.
    #[error("{}", .0.detail)]
    Unreachable(Failure),
    /// The programmer of a socket cannot be spoken to.
    #[error("{0}")]
    NoProgrammer(String),
    /// What was begun did not come to its end.
    #[error("{}", .0.detail)]
    Ended(Failure),
    /// The journal knows no unit with this serial that may be bound.
    #[error("no open or failed unit with serial {0} is in the journal")]
    NoSuchUnit(DeviceSerial),
    /// The program is not the one that the settings pin.
    #[error(transparent)]
    Altered(#[from] Altered),
    /// Something is not as it should be.
    #[error("{}", failure.detail)]
    Found {
        /// What.
        failure: Failure,
        /// How the program ends for it.
        exit: Exit,
    },
    /// Metrics cannot be shown where the settings say.
    #[error("metrics.listen: {0}")]
    Metrics(io::Error),
    /// The operating system.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// What to do about a lot file that is not there, in English and in Japanese.
const NAME_A_LOT_FILE: (&str, &str) = (
    "name a lot file that is there and can be read",
    "読めるロットファイルを指定してください",
);
/// What to do about a lot that the settings do not name.
const NAME_THE_LOT: (&str, &str) = (
    "name the lot under its grant in the settings, `lots = [..]`",
    "設定の許可の `lots = [..]` にこのロットを加えてください",
);
/// What to do about a lot that was closed with something else than was named.
const IT_IS_CLOSED: (&str, &str) = (
    "what it was closed with stands above, and is for good; leave --differs out to have it told again",
    "締め切り時の内容は上のとおりで、変更できません。--differs を付けずに実行すると再表示されます",
);
/// What to do about a serial of which nothing is open.
const NAME_A_UNIT: (&str, &str) = (
    "name a unit that `line-agent status` shows",
    "`line-agent status` に表示される機器を指定してください",
);
/// What to do about a programmer that cannot be spoken to.
const START_THE_PROGRAMMER: (&str, &str) = (
    "see that the programmer is switched on, and that the socket's line in the settings is its own",
    "書き込み機の電源と、設定のソケットの接続先を確認してください",
);

impl AppError {
    /// A grant whose first day is still to come.
    pub(crate) fn not_begun(grant: &Grant) -> Self {
        Self::GrantNotValid {
            id: grant.id,
            from: day(grant.not_before),
            until: day(grant.not_after),
        }
    }

    /// The numbered fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Lot(_) | Self::UnknownLot(_) => Fault::LotFile,
            Self::GrantNotValid { .. } => Fault::GrantExpired,
            Self::Journal(JournalError::Busy(_)) => Fault::AgentBusy,
            Self::Journal(_) => Fault::Journal,
            Self::Unreachable(failure) | Self::Ended(failure) | Self::Found { failure, .. } => {
                failure.fault
            }
            Self::NoProgrammer(_) => Fault::NoChip,
            Self::Altered(_) => Fault::AgentAltered,
            Self::NoSuchUnit(_) => Fault::NotBound,
            Self::Vault(_) | Self::Enroll(EnrollError::Vault(_)) => Fault::LineHsm,
            Self::Config(_)
            | Self::File(_)
            | Self::Trust(_)
            | Self::Channel(_)
            | Self::Enroll(_)
            | Self::Metrics(_)
            | Self::System(_) => Fault::Config,
        }
    }

    /// What is said of it, and what to do.
    #[must_use]
    pub const fn words(&self, language: Language) -> Words {
        let words = Words::of_command(self.fault(), language);
        if matches!(self, Self::Lot(LotError::File(FileError::Io { .. }))) {
            return words.do_rather(language, NAME_A_LOT_FILE);
        }
        if matches!(self, Self::UnknownLot(_)) {
            return words.do_rather(language, NAME_THE_LOT);
        }
        if matches!(self, Self::Found { failure, .. } if matches!(failure.fault, Fault::LotClosed))
        {
            return words.do_rather(language, IT_IS_CLOSED);
        }
        if matches!(self, Self::NoSuchUnit(_)) {
            return words.do_rather(language, NAME_A_UNIT);
        }
        if matches!(self, Self::NoProgrammer(_)) {
            return words.do_rather(language, START_THE_PROGRAMMER);
        }
        words
    }

    /// How the program ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Lot(_) | Self::UnknownLot(_) | Self::NoSuchUnit(_) => Exit::Data,
            Self::Journal(JournalError::Busy(_)) => Exit::Busy,
            Self::Journal(_) | Self::System(_) => Exit::Io,
            Self::Unreachable(_) | Self::NoProgrammer(_) => Exit::Unavailable,
            Self::Found { exit, .. } => *exit,
            Self::Altered(_) => Exit::Refused,
            Self::Ended(failure) => exit_of_end(failure.fault),
            Self::Vault(error) | Self::Enroll(EnrollError::Vault(error)) => exit_of_vault(error),
            Self::Config(_)
            | Self::File(_)
            | Self::Trust(_)
            | Self::Channel(_)
            | Self::Enroll(_)
            | Self::Metrics(_)
            | Self::GrantNotValid { .. } => Exit::Config,
        }
    }
}

/// Of a command that makes no unit: whether it may be given again, or has to be another one.
const fn exit_of_end(fault: Fault) -> Exit {
    if matches!(fault, Fault::CaUnreachable) {
        return Exit::Unavailable;
    }
    if matches!(fault, Fault::LotClosed) {
        return Exit::Data;
    }
    Exit::Lot(Verdict::of(fault))
}

const fn exit_of_vault(error: &VaultError) -> Exit {
    match error {
        VaultError::Pin(_) => Exit::Refused,
        VaultError::Module { .. } | VaultError::Device { .. } | VaultError::NotFound { .. } => {
            Exit::Unavailable
        }
        VaultError::AlreadyExists { .. }
        | VaultError::Attribute { .. }
        | VaultError::Mechanism { .. }
        | VaultError::Request { .. }
        | VaultError::Internal { .. } => Exit::Config,
    }
}

/// A unit that a person has given up.
#[derive(Clone, Copy, Debug)]
pub struct GivenUp {
    /// Its serial.
    pub serial: DeviceSerial,
    /// Its lot, where the serial alone does not tell.
    pub lot: Option<Id>,
    /// Why, as it goes into the log.
    pub reason: Id,
}

/// How long the unit at the head of the line waits before it asks again whether the CA is back.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes the units of a lot.
///
/// # Errors
/// [`AppError`] before the first unit; afterwards faults are the units'.
pub fn run(config: &Config, lot: &Path, audience: Audience) -> Result<Exit, AppError> {
    let orders = Orders::of(config)?;
    let lot = Lot::read(lot, &orders)?;
    let order = orders
        .for_lot(&lot.id)
        .ok_or(AppError::UnknownLot(lot.id))?;
    // What was bound under a grant is finished after its end, here or at the station that lost it; that nothing new is
    // begun then is held unit by unit.
    if SystemClock.now() < order.grant.not_before {
        return Err(AppError::not_begun(&order.grant));
    }
    on_floor(config, &orders, |floor, runtime| {
        let verdict = shift::work(config, floor, &lot, audience, runtime)?;
        Ok(Exit::Lot(verdict))
    })
}

/// Opens everything that the sockets share.
fn on_floor<T>(
    config: &Config,
    orders: &Orders,
    act: impl FnOnce(Floor<'_>, &Runtime) -> Result<T, AppError>,
) -> Result<T, AppError> {
    let agent = ProgramHash::measure()?;
    config.agent.check(agent)?;
    let trust = Trust::load(&config.paths.trust)?;
    let journal = Journal::open(&config.paths.state)?;
    let seen = SeenCheckpoint::open(&config.paths.state)?;
    seen.check(&trust)?;
    let output = Output::open(&config.paths.out)?;
    let vault = Vault::open(&config.hsm)?;
    let (runtime, stop) = (Runtime::new()?, Stop::default());
    let ca = CaLink::new(
        &config.ca,
        &config.station.id,
        vault.tls().clone(),
        means(&runtime, &stop, (Some(&seen), agent)),
    )?;
    let floor = Floor {
        station: &config.station,
        orders,
        hsm: &vault,
        ca: &ca,
        inspector: &Inspector::new(&trust, &SystemClock),
        journal: &journal,
        output: &output,
        seen: &seen,
        clock: &SystemClock,
        entropy: &SystemEntropy,
        stop: &stop,
        roll: &Roll::default(),
        serials: &Serials::default(),
        attempts: config.attempts,
        spool: &Spool::new(config.ca.hold(), PAUSE),
        agent,
    };
    act(floor, &runtime)
}

/// What the line to the CA needs.
pub(crate) fn means<'a>(
    runtime: &Runtime,
    stop: &'a Stop,
    (seen, agent): (Option<&'a SeenCheckpoint>, ProgramHash),
) -> Means<'a> {
    Means {
        runtime: runtime.handle().clone(),
        stop,
        entropy: &SystemEntropy,
        clock: &SystemClock,
        seen,
        agent,
    }
}

/// Voids a unit that a person has given up: what is bound under its serial will stand on the
/// revocation list when one is published, and its socket is free.
///
/// # Errors
/// [`AppError::NoSuchUnit`]; [`AppError::Ended`] if the CA refused or did not answer: then the void waits in the
/// journal for the next run.
pub fn void_unit(config: &Config, unit: &GivenUp, out: &mut dyn Write) -> Result<Exit, AppError> {
    let orders = Orders::of(config)?;
    on_floor(config, &orders, |floor, _| {
        let requests = void::candidates(&floor, &unit.serial, unit.lot.as_ref());
        if requests.is_empty() {
            return Err(AppError::NoSuchUnit(unit.serial));
        }
        for request in requests {
            let outcome = void::announce(&floor, request, unit.reason)
                .and_then(|()| void::send(&floor, request))
                .map_err(AppError::Ended)?;
            let word = match outcome {
                void::Outcome::Voided => "void",
                void::Outcome::NeverBound => "never bound",
            };
            writeln!(out, "{} request={request} {word}", unit.serial)?;
        }
        Ok(Exit::Done)
    })
}

/// Makes the station's keys and its request for enrolment.
///
/// # Errors
/// [`AppError`]
pub fn enroll(config: &Config, out: &Path) -> Result<Exit, AppError> {
    enroll::enroll(config, out, &SystemClock)?;
    Ok(Exit::Done)
}

/// Shows what the journal says, also while an agent works with it.
///
/// # Errors
/// [`AppError`]
pub fn status(config: &Config, out: &mut dyn Write) -> Result<Exit, AppError> {
    let history = Journal::peek(&config.paths.state)?;
    for unit in history.open_units() {
        let (keyed, step) = (&unit.keyed, unit.step());
        let (serial, lot, socket, uid) = (keyed.serial, keyed.lot, keyed.socket, keyed.uid);
        writeln!(
            out,
            "open {serial} lot={lot} socket={socket} uid={uid} request={} step={step}{}",
            unit.request,
            unit.aside
                .map_or_else(String::new, |fault| format!(" aside={}", fault.code())),
        )?;
    }
    for unit in history.failed_units() {
        let (serial, lot, uid, request) = (unit.serial, unit.lot, unit.uid, unit.request);
        let word = match (&unit.voiding, unit.issued) {
            (Some(_), _) => "voiding",
            (None, true) => "bound",
            (None, false) => "unknown",
        };
        writeln!(
            out,
            "failed {serial} lot={lot} uid={uid} request={request} binding={word}"
        )?;
    }
    let (passed, failed) = history.totals();
    writeln!(out, "passed {passed}, failed {failed}")?;
    Ok(Exit::Done)
}
