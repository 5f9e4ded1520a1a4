//! Lives thousands of simulated factory mornings, each moved by its seed, and holds each against the invariants.
//! `make simulate` runs it; a seed that fails is lived again with `simulate --seed N`, which tells every event.

mod vfs;
#[cfg(test)]
mod write_back;

use acceptance::failure::{At as _, Failure, Outcome, require};
use acceptance::process::programs;
use acceptance::simulation::{Counts, Ending, Ground, Plant, lay_token, live, make_token};
use clap::Parser;
use identity::hash::sha256;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where the token of the log's key is; the module reads it when it is loaded.
const TOKENS: &str = "HSM_SIM_TOKENS";
/// Says that the program has made that directory itself: in another lie other tokens.
const OWN_TOKENS: &str = "KOSEKI_SIMULATION_TOKENS";

#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// This seed alone, with all that happens in it.
    #[arg(long)]
    seed: Option<u64>,
    /// Plants a bug; then finding nothing is the failure.
    #[arg(long)]
    plant: Option<Plant>,
    /// Makes the log's key of all worlds anew and writes its token to this file; every root is another then.
    #[arg(long)]
    new_log_key: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let Some(tokens) = std::env::var_os(OWN_TOKENS).map(PathBuf::from) else {
        return run_with_tokens();
    };
    let module = programs()?.join("libhsm_sim.so");
    if let Some(file) = &arguments.new_log_key {
        return make_token(&tokens, &module, file);
    }
    lay_token(&tokens)?;
    vfs::register().map_err(|code| Failure::new(format_args!("SQLite's code {code}")))?;
    let home = tempfile::tempdir_in(memory())?;
    let ground = Ground::make(home.path(), &module)?;
    let plant = arguments.plant.unwrap_or(Plant::Nothing);
    match arguments.seed {
        Some(seed) => tell(&one(&ground, home.path(), seed, plant)?),
        None => many(arguments, &ground, home.path(), plant),
    }
}

/// The same program with a directory for tokens.
fn run_with_tokens() -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let mut again = Command::new(std::env::current_exe()?);
    let status = again
        .arg0("simulate")
        .args(std::env::args_os().skip(1))
        .env(TOKENS, home.path())
        .env(OWN_TOKENS, home.path())
        .status()?;
    require(status.success(), "the simulation failed")
}

/// A directory in memory, if the system has one.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    }
}

fn one(ground: &Ground, home: &Path, seed: u64, plant: Plant) -> Outcome<Ending> {
    let home = home.join("world");
    fs::create_dir_all(&home).at(&home)?;
    let ending = live(ground, &home, seed, plant);
    fs::remove_dir_all(&home).at(&home)?;
    ending
}

fn tell(ending: &Ending) -> Outcome<()> {
    for line in &ending.told {
        println!("{line}");
    }
    for (name, count) in ending.counts.named() {
        println!("{count:>9} {name}");
    }
    println!("root {}", ending.root);
    match &ending.found {
        None => Ok(()),
        Some(found) => Err(Failure::new(found)),
    }
}

fn many(arguments: &Arguments, ground: &Ground, home: &Path, plant: Plant) -> Outcome<()> {
    let (mut sum, mut lived, mut roots) = (Counts::default(), 0, String::new());
    for seed in arguments.first..arguments.first + arguments.seeds {
        let ending = one(ground, home, seed, plant)?;
        lived += 1;
        sum.add(&ending.counts);
        roots.push_str(&format!("seed {seed} root {}\n", ending.root));
        if let Some(found) = ending.found {
            println!("seed {seed}: {found}");
            if plant != Plant::Nothing {
                println!("the planted bug is found after {lived} seeds");
                return Ok(());
            }
            return Err(Failure::new(format_args!(
                "live it again: simulate --seed {seed}"
            )));
        }
        // The same seed again: the same log to the last byte. Its root is told, so that another machine's can be held
        // against it.
        if (seed == arguments.first || seed % 100 == 1) && plant == Plant::Nothing {
            let again = one(ground, home, seed, plant)?;
            require(
                (&again.root, again.counts) == (&ending.root, ending.counts),
                format_args!(
                    "seed {seed} gave two worlds: {} {}",
                    ending.root, again.root
                ),
            )?;
            println!("seed {seed} root {}", ending.root);
        }
        if lived % 1000 == 0 {
            eprintln!("{lived} seeds");
        }
    }
    for (name, count) in sum.named() {
        println!("{count:>9} {name}");
    }
    require(plant == Plant::Nothing, "the planted bug was not found")?;
    let never = sum.named().into_iter().find(|(_, count)| *count == 0);
    require(
        never.is_none() || lived < 100,
        format_args!("this never happened, so nothing was shown of it: {never:?}"),
    )?;
    // One word for all roots: SHA-256 of their lines, those of seeds lived once included.
    println!("roots {}", hex::encode(sha256(roots.as_bytes())));
    println!("{lived} seeds, all invariants hold");
    Ok(())
}
