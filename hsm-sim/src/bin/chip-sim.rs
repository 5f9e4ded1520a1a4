//! Makes simulated chips and presents them in a simulated gang programmer.

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use hsm_sim::chip::{
    Batch, ChipError, Line, OsEntropy, SeededEntropy, Socket, Tray, Trouble, Troubles, Vendor,
    make_chips, serve,
};
use identity::sources::EntropyError;
use identity::{ChipUid, Entropy, PartNumber};
use serde_json::json;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Simulated chips and a simulated gang programmer. All keys are test keys.
///
/// Exit codes: 0 done, 64 wrong command line, 69 a file, line or key is not there, 74 the answer cannot be written.
#[derive(Debug, Parser)]
#[command(name = "chip-sim", version)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a chip vendor's test key.
    Vendor(VendorArgs),
    /// Make chips, endorsed by a vendor.
    Make(MakeArgs),
    /// Present chips in the sockets of a gang programmer, until Ctrl-C.
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
struct VendorArgs {
    /// Directory for vendor.pub.pem and vendor-TEST-KEY.pem.
    #[arg(long)]
    out: PathBuf,
    /// Make the same key in every run.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Args)]
struct MakeArgs {
    /// Directory of the vendor's key.
    #[arg(long)]
    vendor: PathBuf,
    /// Directory for the chip files.
    #[arg(long)]
    chips: PathBuf,
    /// Part number.
    #[arg(long)]
    part: PartNumber,
    /// What the identifiers begin with, in hexadecimal.
    #[arg(long, value_parser = parse_hex, default_value = "0123")]
    uid_prefix: Hex,
    /// Bytes of an identifier.
    #[arg(long, default_value_t = 9)]
    uid_bytes: usize,
    /// Number of the first chip; the number stands behind the prefix.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many chips.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Instead: one more chip with this identifier, in hexadecimal.
    #[arg(long, value_parser = parse_hex)]
    clone: Option<Hex>,
    /// Make the same attestation keys in every run.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Directory of the chip files; order.txt there gives their order.
    #[arg(long)]
    chips: PathBuf,
    /// Number of sockets.
    #[arg(long, default_value_t = 1)]
    sockets: u16,
    /// Address of the first socket; the others take the ports above it, or free ones with port 0.
    #[arg(long, default_value = "127.0.0.1:0", conflicts_with = "pty")]
    listen: SocketAddr,
    /// Directory for the sockets' serial devices, socket-0 and so on, instead of TCP.
    #[arg(long)]
    pty: Option<PathBuf>,
    #[command(flatten)]
    troubles: TroubleArgs,
}

/// Planted trouble; each takes a chip's file name, the last one a place.
#[derive(Debug, Args)]
struct TroubleArgs {
    /// This chip gives its fixed key away.
    #[arg(long, value_name = "CHIP")]
    leaky: Vec<String>,
    /// This chip loses power between key slot and lock word, once.
    #[arg(long, value_name = "CHIP")]
    cut_before_lock: Vec<String>,
    /// This chip loses power after the lock word, before its answer, once.
    #[arg(long, value_name = "CHIP")]
    cut_after_lock: Vec<String>,
    /// This chip loses power in the middle of the lock word.
    #[arg(long, value_name = "CHIP")]
    tear: Vec<String>,
    /// This chip stores no certificate.
    #[arg(long, value_name = "CHIP")]
    refuse_certificate: Vec<String>,
    /// From this position of its tray on no chip answers in this socket; both are counted from 0.
    #[arg(long, value_name = "SOCKET:POSITION", value_parser = parse_place)]
    deaf: Vec<(u16, u32)>,
}

fn parse_place(text: &str) -> Result<(u16, u32), String> {
    let (socket, position) = text.split_once(':').ok_or("not SOCKET:POSITION")?;
    let wrong = |error: std::num::ParseIntError| error.to_string();
    Ok((
        socket.parse().map_err(wrong)?,
        position.parse().map_err(wrong)?,
    ))
}

/// Bytes given in hexadecimal.
#[derive(Clone, Debug)]
struct Hex(Vec<u8>);

fn parse_hex(text: &str) -> Result<Hex, hex::FromHexError> {
    hex::decode(text).map(Hex)
}

/// Why nothing was done.
enum Stop {
    /// Wrong arguments.
    Usage(clap::Error),
    /// A file, a line or a key.
    Failed(Box<dyn std::error::Error>),
}

impl<E: std::error::Error + 'static> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// `EX_USAGE` of sysexits(3).
const USAGE: u8 = 64;
/// `EX_UNAVAILABLE`.
const UNAVAILABLE: u8 = 69;
/// `EX_IOERR`.
const OUTPUT: u8 = 74;

fn main() -> ExitCode {
    let done = match Command::try_parse() {
        Ok(command) => match command.action {
            Action::Vendor(args) => make_vendor(&args),
            Action::Make(args) => make(args),
            Action::Serve(args) => run(args),
        },
        Err(error) => Err(Stop::Usage(error)),
    };
    let (told, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        // Help and version are no misuse.
        Err(Stop::Usage(error)) => (error.print(), if error.use_stderr() { USAGE } else { 0 }),
        Err(Stop::Failed(error)) => {
            let told = writeln!(io::stderr().lock(), "chip-sim: {error}");
            (told, UNAVAILABLE)
        }
    };
    ExitCode::from(if told.is_ok() { code } else { OUTPUT })
}

fn make_vendor(args: &VendorArgs) -> Result<(), Stop> {
    let vendor = Vendor::generate(&Randomness::new(args.seed))?;
    vendor.save(&args.out)?;
    report(
        &json!({ "vendor": args.out, "spki_sha256": vendor.public()?.spki_hash().to_string() }),
    )?;
    Ok(())
}

fn make(args: MakeArgs) -> Result<(), Stop> {
    let vendor = Vendor::load(&args.vendor)?;
    let batch = match args.clone {
        Some(uid) => Batch::Clone(ChipUid::new(&uid.0)?),
        None => Batch::Sequence {
            prefix: args.uid_prefix.0,
            bytes: args.uid_bytes,
            first: args.first,
            count: args.count,
        },
    };
    let made = make_chips(
        &args.chips,
        &batch,
        args.part,
        &vendor,
        &Randomness::new(args.seed),
    )?;
    report(&json!({ "made": made }))?;
    Ok(())
}

fn run(args: ServeArgs) -> Result<(), Stop> {
    let deaf = args.troubles.deaf.clone();
    let troubles = args.troubles.by_chip();
    check_names(&args.chips, &troubles)?;
    let mut sockets = Vec::new();
    let mut names = Vec::new();
    for (number, tray) in
        (0..args.sockets).zip(Tray::open_all(&args.chips, usize::from(args.sockets))?)
    {
        let line = open_line(args.listen, args.pty.as_deref(), number)?;
        names.push(line.name()?);
        let socket = Socket::open(tray, troubles.clone())?;
        let place = deaf.iter().find(|(of, _)| *of == number);
        sockets.push(match place {
            Some((_, position)) => (socket.deaf_from(*position), line),
            None => (socket, line),
        });
    }
    let stop = stop_at_signal()?;
    report(&json!({ "ready": true, "sockets": names }))?;
    serve(sockets, &stop)?;
    Ok(())
}

/// Trouble is planted in chips that are there; a name that is none would plant nothing.
fn check_names(dir: &Path, troubles: &Troubles) -> Result<(), Stop> {
    match troubles.keys().find(|chip| !dir.join(chip).is_file()) {
        None => Ok(()),
        Some(chip) => {
            let wrong = format!(
                "{chip}: no such chip in {}; CHIP is a file's name there",
                dir.display()
            );
            let kind = ErrorKind::ValueValidation;
            Err(Stop::Usage(Command::command().error(kind, wrong)))
        }
    }
}

impl TroubleArgs {
    fn by_chip(self) -> Troubles {
        let kinds = [
            (self.leaky, Trouble::Leaky),
            (self.cut_before_lock, Trouble::CutBeforeLock),
            (self.cut_after_lock, Trouble::CutAfterLock),
            (self.tear, Trouble::TearLock),
            (self.refuse_certificate, Trouble::RefuseCertificate),
        ];
        kinds
            .into_iter()
            .flat_map(|(chips, trouble)| chips.into_iter().map(move |chip| (chip, trouble)))
            .collect()
    }
}

fn open_line(listen: SocketAddr, pty: Option<&Path>, number: u16) -> Result<Line, ChipError> {
    match pty {
        Some(dir) => Line::pty(&dir.join(format!("socket-{number}"))),
        None => {
            let port = if listen.port() == 0 {
                0
            } else {
                listen.port().saturating_add(number)
            };
            Line::tcp(SocketAddr::new(listen.ip(), port))
        }
    }
}

/// A flag that SIGINT and SIGTERM set.
fn stop_at_signal() -> io::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

/// One line of JSON on standard output, for scripts.
fn report(line: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The host's randomness, or a seed's.
enum Randomness {
    Host(OsEntropy),
    Seeded(SeededEntropy),
}

impl Randomness {
    fn new(seed: Option<u64>) -> Self {
        seed.map_or(Self::Host(OsEntropy), |seed| {
            Self::Seeded(SeededEntropy::new(seed))
        })
    }
}

impl Entropy for Randomness {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        match self {
            Self::Host(source) => source.fill(out),
            Self::Seeded(source) => source.fill(out),
        }
    }
}
