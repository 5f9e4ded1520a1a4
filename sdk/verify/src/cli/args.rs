use clap::{Args, Parser, Subcommand, ValueEnum};
use identity::Timestamp;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  koseki-verify device.pem --proof device.tlog-proof --trust mihon-denki/
  koseki-verify device.pem --proof device.tlog-proof --trust mihon-denki/ --require confirmed --json
  koseki-verify log mirror/mihon-denki/ --trust mihon-denki/
  koseki-verify compare last-year/checkpoint mirror/mihon-denki/ --trust mihon-denki/

The trust directory:
  root.pem                 the maker's device root (or ca/root.pem)
  issuing.pem, ca/*.pem    issuing CAs
  log.vkey or log.policy   the log's keys, one vkey a line, or a tlog-policy with witnesses
  vendors/*.pem            optional: public keys of chip vendors
  profiles/*.der           optional: profiles of products
  ceremony.der             optional: the key ceremony's document; an audit then believes no other approvers

Exit codes:
  0 accepted, nothing found    1 rejected, something found    64 wrong command line
  65 a file is malformed       66 a file cannot be read       74 the answer cannot be written";

/// Checks a device's certificate against its maker's root and log, offline.
#[derive(Debug, Parser)]
#[command(name = "koseki-verify", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) device: Option<DeviceArguments>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Audit a log: recompute the root and every tile kept, superseded ones too, and replay the rules over every entry
    Log(AuditArguments),
    /// Compare two states of a log: does the larger continue the smaller?
    Compare(CompareArguments),
}

#[derive(Debug, Args)]
pub(super) struct DeviceArguments {
    /// The device's certificate, PEM or DER
    pub(super) certificate: PathBuf,
    /// The device's proof file
    #[arg(long, value_name = "FILE")]
    pub(super) proof: PathBuf,
    /// What you trust
    #[arg(long, value_name = "DIR")]
    pub(super) trust: PathBuf,
    /// Judge as of this moment instead of now
    #[arg(long, value_name = "RFC 3339", value_parser = parse_moment)]
    pub(super) at: Option<Timestamp>,
    /// How far the device's history must go: a unit only bound may never have left the line
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Required::Bound)]
    pub(super) require: Required,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Language of reasons and hints
    #[arg(long, value_enum, default_value_t = Language::En)]
    pub(super) lang: Language,
}

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// Directory with checkpoint, tile/ and documents/
    pub(super) dir: PathBuf,
    /// What is audited: of a copy that has no documents/, the leaves alone
    #[arg(long, value_enum, value_name = "SCOPE", default_value_t = Audited::Whole)]
    pub(super) scope: Audited,
    /// What you trust
    #[arg(long, value_name = "DIR")]
    pub(super) trust: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Language of reasons and hints
    #[arg(long, value_enum, default_value_t = Language::En)]
    pub(super) lang: Language,
}

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// Log directory or checkpoint file
    pub(super) a: PathBuf,
    /// Log directory or checkpoint file; the larger of the two must be a directory
    pub(super) b: PathBuf,
    /// What you trust
    #[arg(long, value_name = "DIR")]
    pub(super) trust: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Language of reasons and hints
    #[arg(long, value_enum, default_value_t = Language::En)]
    pub(super) lang: Language,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Required {
    Bound,
    Confirmed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Audited {
    /// Leaves, the documents behind them, and who approved these
    Whole,
    /// Leaves only: nothing is said about approvals
    Leaves,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    En,
    Ja,
}

fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let moment: jiff::Timestamp = text
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    let millis = u64::try_from(moment.as_millisecond()).ok();
    millis
        .map(Timestamp)
        .ok_or_else(|| "before 1970".to_owned())
}
