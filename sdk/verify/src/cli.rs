//! Arguments in, verdict and exit code out.

mod args;
mod show;

use args::{
    Arguments, AuditArguments, Audited, Command, CompareArguments, DeviceArguments, Required,
};
use clap::Parser as _;
use identity::Timestamp;
use indicatif::ProgressBar;
use koseki_verify::{
    CompareError, Findings, LogDirError, ReadError, Relation, Scope, Trust, TrustError, Verdict,
    audit_log_with, compare, read_certificate, read_proof, verify_device,
};
use show::Show;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// The device is not accepted, or the audit found something.
const REJECTED: u8 = 1;
/// `EX_USAGE` of sysexits(3): wrong arguments.
const USAGE: u8 = 64;
/// `EX_DATAERR` of sysexits(3): a file could be read and is malformed.
const DATA: u8 = 65;
/// `EX_NOINPUT`: a file could not be read.
const NO_INPUT: u8 = 66;
/// `EX_IOERR`: the answer could not be written.
const OUTPUT: u8 = 74;
/// From so many entries on an audit shows its progress.
const LONG_AUDIT: u64 = 100_000;

/// Reads the arguments, answers, and gives the exit code.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no misuse.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let printed = error.print().is_ok();
            return ExitCode::from(if printed { code } else { OUTPUT });
        }
    };
    let answer = match (arguments.command, arguments.device) {
        (Some(Command::Log(arguments)), _) => audit(&arguments),
        (Some(Command::Compare(arguments)), _) => compare_logs(&arguments),
        (None, Some(arguments)) => verify(&arguments),
        (None, None) => Err(Stop {
            code: USAGE,
            why: "nothing to verify; see --help".to_owned(),
        }),
    };
    match answer {
        Ok(code) => ExitCode::from(code),
        Err(stop) => {
            let told = writeln!(anstream::stderr(), "koseki-verify: {}", stop.why).is_ok();
            ExitCode::from(if told { stop.code } else { OUTPUT })
        }
    }
}

/// Why there is no answer, and the exit code that says so.
struct Stop {
    code: u8,
    why: String,
}

fn verify(arguments: &DeviceArguments) -> Result<u8, Stop> {
    let trust = Trust::load(&arguments.trust)?;
    let certificate = read_certificate(&arguments.certificate)?;
    let proof = read_proof(&arguments.proof)?;
    let at = arguments.at.unwrap_or_else(now);
    let verdict = verify_device(&certificate, &proof, &trust, at);
    let verdict = match arguments.require {
        Required::Bound => verdict,
        Required::Confirmed => verdict.requiring_confirmation(),
    };
    match arguments.json {
        true => write_json(&verdict)?,
        false => Show::new(arguments.lang).verdict(&verdict)?,
    }
    Ok(exit_code(&verdict))
}

fn exit_code(verdict: &Verdict) -> u8 {
    match (verdict.accepted, verdict.is_malformed()) {
        (true, _) => 0,
        (false, true) => DATA,
        (false, false) => REJECTED,
    }
}

fn audit(arguments: &AuditArguments) -> Result<u8, Stop> {
    let trust = Trust::load(&arguments.trust)?;
    let mut bar: Option<ProgressBar> = None;
    let mut progress = |done: u64, all: u64| {
        if all > LONG_AUDIT {
            bar.get_or_insert_with(|| ProgressBar::new(all))
                .set_position(done);
        }
    };
    let scope = match arguments.scope {
        Audited::Whole => Scope::Whole,
        Audited::Leaves => Scope::Leaves,
    };
    let dir = &arguments.dir;
    let audited = audit_log_with(dir, &trust, scope, &mut progress);
    let findings = audited.map_err(|error| in_log(dir, error))?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    match arguments.json {
        true => write_json(&findings)?,
        false => Show::new(arguments.lang).findings(&findings)?,
    }
    Ok(if Findings::is_clean(&findings) {
        0
    } else {
        REJECTED
    })
}

/// Says which log it is: the error names the file below its directory.
fn in_log(dir: &Path, error: LogDirError) -> Stop {
    let Stop { code, why } = error.into();
    let why = format!("log directory {}: {why}", dir.display());
    Stop { code, why }
}

fn compare_logs(arguments: &CompareArguments) -> Result<u8, Stop> {
    let trust = Trust::load(&arguments.trust)?;
    let comparison = compare(&arguments.a, &arguments.b, &trust)?;
    match arguments.json {
        true => write_json(&comparison)?,
        false => Show::new(arguments.lang).comparison(&comparison)?,
    }
    Ok(if comparison.relation == Relation::Forked {
        REJECTED
    } else {
        0
    })
}

fn write_json(value: &impl serde::Serialize) -> Result<(), Stop> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Stop {
        code: OUTPUT,
        why: error.to_string(),
    })?;
    text.push('\n');
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// The one place where the clock is read; `--at` takes its place.
fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default())
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self {
            code: OUTPUT,
            why: format!("cannot write the answer: {error}"),
        }
    }
}

impl From<TrustError> for Stop {
    fn from(error: TrustError) -> Self {
        let code = match error {
            TrustError::Unreadable { .. } => NO_INPUT,
            TrustError::Malformed { .. } | TrustError::NoIssuer | TrustError::TwoLogs(_) => DATA,
        };
        Self {
            code,
            why: format!("trust directory: {error}"),
        }
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::Unreadable { .. } => NO_INPUT,
            ReadError::Malformed { .. } => DATA,
        };
        Self {
            code,
            why: error.to_string(),
        }
    }
}

impl From<LogDirError> for Stop {
    fn from(error: LogDirError) -> Self {
        let code = match error {
            LogDirError::Unreadable { .. } => NO_INPUT,
            LogDirError::Tile { .. } | LogDirError::Bundle { .. } => DATA,
        };
        Self {
            code,
            why: error.to_string(),
        }
    }
}

impl From<CompareError> for Stop {
    fn from(error: CompareError) -> Self {
        let code = match error {
            CompareError::Read(error) => return error.into(),
            CompareError::Checkpoint { .. } => REJECTED,
            CompareError::NoTiles(_) | CompareError::Tiles(_) => NO_INPUT,
            CompareError::Origins(..) | CompareError::Damaged(_) => DATA,
        };
        Self {
            code,
            why: error.to_string(),
        }
    }
}
