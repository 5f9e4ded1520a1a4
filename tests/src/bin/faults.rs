//! Does to the CA whatever a factory does to it, and holds what was acknowledged against what is left.

use acceptance::failure::{Failure, Outcome, require};
use acceptance::faults::Deed;
use acceptance::flips::Found;
use acceptance::ground::Ground;
use acceptance::hsm::Hsm;
use acceptance::kills::Target;
use acceptance::ordeal::{Aftermath, Fault, Met, faults_at};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Faults at once: most of their time the servers wait for disks and for each other.
const AT_ONCE: usize = 4;

/// Faults of all kinds, counted as they fire. Exit code 0 only if everything held and as many fired as were asked for.
#[derive(Debug, Parser)]
#[command(name = "faults", version)]
struct Arguments {
    /// hsm-sim or softhsm2
    #[arg(long, default_value = "hsm-sim", global = true)]
    hsm: Hsm,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Each durable call of the server on the way of one unit fails once in each way
    Calls {
        /// Only the fault of this number, as a failure names it
        #[arg(long)]
        only: Option<usize>,
        /// Every so many-th fault only
        #[arg(long, default_value_t = 1)]
        every: usize,
        /// Fewer faults fired are a failure
        #[arg(long, default_value_t = 500)]
        at_least: usize,
        /// How long the log's partial files lag; not the same calls every time, unless it is 0
        #[arg(long, default_value_t = 0)]
        lag_ms: u16,
    },
    /// Server, agent and programmer are killed at random moments while lots are made. A server that takes longer from restart
    /// to first answer than it may is a failure, too
    Kills {
        /// How many kills
        #[arg(long, default_value_t = 1_000)]
        count: usize,
        /// The same seed gives the same victims and pauses
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Milliseconds that the slowest restart may take to its first answer
        #[arg(long, default_value_t = 2_000)]
        restart_ms: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.what {
        What::Calls {
            only,
            every,
            at_least,
            lag_ms,
        } => {
            let chosen = |number: usize| match only {
                Some(only) => number == only,
                None => number.is_multiple_of(every.max(1)),
            };
            let least = if only.is_some() { 1 } else { at_least };
            calls(arguments.hsm, chosen, least, lag_ms)
        }
        What::Kills {
            count,
            seed,
            restart_ms,
        } => kills(
            arguments.hsm,
            count,
            seed,
            Duration::from_millis(restart_ms),
        ),
    };
    match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        // With standard error closed the exit code is all that is left to say.
        Err(failure) => drop(writeln!(io::stderr().lock(), "NG  {failure}")),
    }
    ExitCode::FAILURE
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::new)
}

/// What came of all faults.
#[derive(Default)]
struct Told {
    aftermaths: BTreeMap<Aftermath, usize>,
    /// What became of the bit that was flipped behind each.
    flips: BTreeMap<Found, usize>,
    failures: Vec<String>,
}

fn calls(hsm: Hsm, is_chosen: impl Fn(usize) -> bool, least: usize, lag_ms: u16) -> Outcome<()> {
    let runtime = runtime()?;
    let ground = runtime.block_on(Ground::open(hsm))?.lagging(lag_ms);
    let watched = runtime.block_on(ground.watch_one_unit())?.calls;
    let chosen = faults_at(&watched).into_iter().enumerate();
    let chosen: Vec<_> = chosen.filter(|(number, _)| is_chosen(*number)).collect();
    let told = meet_all(&ground, &chosen)?;
    let fired = chosen.len() - told.failures.len() - count(&told, Aftermath::NotReached);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} durable calls on the way of one unit, {} faults planned, {fired} fired and held",
        watched.len(),
        chosen.len()
    )?;
    for (aftermath, count) in &told.aftermaths {
        writeln!(out, "{count:>6}  {aftermath}")?;
    }
    let flips: usize = told.flips.values().sum();
    writeln!(out, "{flips} bits flipped in what they left")?;
    for (found, count) in &told.flips {
        writeln!(out, "{count:>6}  {found}")?;
    }
    let failures = told.failures.join("\n");
    require(
        told.failures.is_empty(),
        format_args!("{} did not hold:\n{failures}", told.failures.len()),
    )?;
    require(
        fired >= least,
        format_args!("only {fired} of at least {least} fired"),
    )
}

fn kills(hsm: Hsm, count: usize, seed: u64, restart: Duration) -> Outcome<()> {
    // What is left after a failure is what somebody wants to look at.
    let home = tempfile::tempdir()?.keep();
    let bar = progress(count, "kills")?;
    let mut target = Target::open(&home, hsm, seed)?;
    let told = target.suffer(count, &|told| {
        bar.set_position(told.count() as u64);
        bar.set_message(format!("{} units", told.units));
    });
    bar.finish_and_clear();
    let mut told = told.map_err(|failure| {
        Failure::new(format_args!(
            "seed {seed}: {failure}
all of it is in {}",
            home.display()
        ))
    })?;
    std::fs::remove_dir_all(&home)?;
    told.restarts.sort();
    let at = |part: usize| told.restarts.get(told.restarts.len() * part / 100);
    let slowest = told.restarts.last().copied().unwrap_or_default();
    let median = at(50).copied().unwrap_or_default();
    let [server, agent, programmer] = told.kills;
    writeln!(
        io::stdout().lock(),
        "{} kills: server {server}, agent {agent}, programmer {programmer}\n\
         {} units made, each once; none lost, none stuck, no fork\n\
         from restart to first answer: median {median:.0?}, slowest {slowest:.0?}",
        told.count(),
        told.units,
    )?;
    require(told.count() >= count, "too few kills")?;
    require(
        slowest <= restart,
        format_args!("a restart took {slowest:.0?} to its first answer; {restart:.0?} are allowed"),
    )
}

fn progress(length: usize, what: &str) -> Outcome<ProgressBar> {
    let template = format!("{{bar:40}} {{pos}}/{{len}} {what}, {{eta}} left  {{msg}}");
    let style = ProgressStyle::with_template(&template).map_err(Failure::new)?;
    Ok(ProgressBar::new(length as u64).with_style(style))
}

fn count(told: &Told, aftermath: Aftermath) -> usize {
    told.aftermaths.get(&aftermath).copied().unwrap_or_default()
}

fn meet_all(ground: &Ground, faults: &[(usize, Fault)]) -> Outcome<Told> {
    let bar = progress(faults.len(), "faults")?;
    let (next, told) = (AtomicUsize::new(0), Mutex::new(Told::default()));
    std::thread::scope(|scope| {
        for _worker in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, fault)) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let met = meet(ground, *number, fault);
                    let mut told = told.lock().unwrap_or_else(|broken| broken.into_inner());
                    match met {
                        Ok(Met { aftermath, found }) => {
                            *told.aftermaths.entry(aftermath).or_default() += 1;
                            *told.flips.entry(found).or_default() += 1;
                        }
                        Err(failure) => told.failures.push(format!("{number}: {fault}: {failure}")),
                    }
                    bar.set_message(format!("{} did not hold", told.failures.len()));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    Ok(told
        .into_inner()
        .unwrap_or_else(|broken| broken.into_inner()))
}

fn meet(ground: &Ground, number: usize, fault: &Fault) -> Outcome<Met> {
    // A kill that fires always ends the process; where it was not reached, nothing may end it.
    let home = ground.home(&format!("fault-{number}"));
    let met = runtime()?.block_on(fault.meet(ground, &home))?;
    let aftermath = met.aftermath;
    let is_kill = matches!(fault.deed, Deed::KillBefore | Deed::KillAfter | Deed::Tear);
    let ended = matches!(aftermath, Aftermath::Ended | Aftermath::NotReached);
    require(
        !is_kill || ended || aftermath == Aftermath::Unnoticed,
        format_args!("a kill, and then: {aftermath}"),
    )?;
    Ok(met)
}
