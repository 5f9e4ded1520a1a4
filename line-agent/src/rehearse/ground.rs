//! Where a rehearsal is held: a directory of its own, the programs that take part, and whoever stops it.

use super::{Named, Outcome, Rehearsal, RehearsalError};
use crate::sources::SystemEntropy;
use identity::Entropy as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often is looked whether something has happened.
const LOOK_UP: Duration = Duration::from_millis(20);
/// So often is looked before something that does not come is given up: a minute.
const LOOKS: u32 = 3_000;
/// What a program said last goes into an error; so many characters of it.
const TAIL: usize = 2_000;

/// The CA server.
pub(super) const CA_SERVER: Named = ("CA サーバー", "the CA server");
/// The chip simulator.
pub(super) const CHIP_SIM: Named = ("チップのシミュレーター", "the chip simulator");
const HSM_SIM: Named = ("HSM のシミュレーター", "the HSM simulator");

/// The programs that take part; those not named are looked for beside this one.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The CA server.
    pub ca_server: Option<PathBuf>,
    /// The chip simulator.
    pub chip_sim: Option<PathBuf>,
    /// The HSM simulator, a PKCS#11 module.
    pub hsm_sim: Option<PathBuf>,
}

/// The directory, removed when dropped unless it is to stay.
#[derive(Debug)]
pub(super) struct Ground {
    home: PathBuf,
    keep: bool,
    /// The CA server.
    pub(super) ca_server: PathBuf,
    /// The chip simulator.
    pub(super) chip_sim: PathBuf,
    /// The HSM simulator.
    pub(super) module: PathBuf,
    /// This program.
    pub(super) agent: PathBuf,
    /// Somebody stops the rehearsal.
    interrupted: Receiver<()>,
}

/// A process that runs beside us; killed when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Ground {
    /// Finds the programs and makes the directory.
    pub(super) fn prepare(wish: &Rehearsal) -> Outcome<Self> {
        let agent = std::env::current_exe()?;
        let beside = agent.parent().unwrap_or(&agent).to_owned();
        let find = |named: &Option<PathBuf>, what, name: &str, option| {
            let path = named.clone().unwrap_or_else(|| beside.join(name));
            match path.is_file() {
                true => Ok(std::path::absolute(path)?),
                false => Err(RehearsalError::Missing { what, path, option }),
            }
        };
        let Programs {
            ca_server,
            chip_sim,
            hsm_sim,
        } = &wish.programs;
        Ok(Self {
            ca_server: find(ca_server, CA_SERVER, "ca-server", "--ca-server")?,
            chip_sim: find(chip_sim, CHIP_SIM, "chip-sim", "--chip-sim")?,
            module: find(hsm_sim, HSM_SIM, "libhsm_sim.so", "--hsm-sim")?,
            interrupted: heed_signals()?,
            home: make_directory()?,
            keep: wish.keep,
            agent,
        })
    }

    /// A path in the directory.
    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.home.join(below)
    }

    /// Writes a file, with its directories.
    pub(super) fn write(&self, below: &str, text: &str) -> Outcome<()> {
        self.write_mode(below, text, 0o644)
    }

    /// Writes a file that only its owner reads.
    pub(super) fn write_secret(&self, below: &str, text: &str) -> Outcome<()> {
        self.write_mode(below, text, 0o600)
    }

    fn write_mode(&self, below: &str, text: &str, mode: u32) -> Outcome<()> {
        let path = self.path(below);
        let written = make_parent(&path).and_then(|()| {
            let mut options = File::options();
            let options = options.write(true).create(true).truncate(true).mode(mode);
            options.open(&path)?.write_all(text.as_bytes())
        });
        written.map_err(|source| RehearsalError::File { path, source })
    }

    /// Copies a file of the directory to another place in it.
    pub(super) fn copy(&self, from: &str, to: &str) -> Outcome<()> {
        let (path, to) = (self.path(from), self.path(to));
        let copied = make_parent(&to).and_then(|()| fs::copy(&path, to).map(drop));
        copied.map_err(|source| RehearsalError::File { path, source })
    }

    /// A program that finds its tokens, begun in the directory. Only this program is told when somebody presses Ctrl-C.
    pub(super) fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(&self.home);
        command.env("HSM_SIM_TOKENS", self.path("tokens"));
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Runs a program that must succeed; gives what it said.
    pub(super) fn run(&self, program: &Path, words: &[&str]) -> Outcome<String> {
        let mut command = self.command(program, words);
        let output = command.output()?;
        self.pause(Duration::ZERO)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(RehearsalError::Failed {
                command: format!("{} {}", program.display(), words.join(" ")),
                said: format!(
                    "{}: {said}{}",
                    output.status,
                    String::from_utf8_lossy(&output.stderr)
                ),
            }),
        }
    }

    /// Starts a program; what it says goes to `<name>.out`, what it complains of to `<name>.log`.
    pub(super) fn start(&self, name: &str, program: &Path, words: &[&str]) -> Outcome<Daemon> {
        let log = self.path(&format!("{name}.log"));
        let out = File::create(self.path(&format!("{name}.out")))?;
        let complaints = File::options().create(true).append(true).open(&log)?;
        let mut command = self.command(program, words);
        Ok(Daemon {
            child: command.stdout(out).stderr(complaints).spawn()?,
            name: format!("{} {}", program.display(), words.join(" ")),
            log,
        })
    }

    /// Waits, unless somebody stops the rehearsal.
    pub(super) fn pause(&self, time: Duration) -> Outcome<()> {
        match self.interrupted.recv_timeout(time) {
            Ok(()) => Err(RehearsalError::Stopped),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    /// Looks until something is there.
    pub(super) fn until<T>(
        &self,
        what: Named,
        mut look: impl FnMut() -> Outcome<Option<T>>,
    ) -> Outcome<T> {
        for _ in 0..LOOKS {
            if let Some(found) = look()? {
                return Ok(found);
            }
            self.pause(LOOK_UP)?;
        }
        Err(RehearsalError::Silent { what, seconds: 60 })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.home) {
            tracing::warn!(home = %self.home.display(), %error, "not removed");
        }
    }
}

impl Daemon {
    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// That it is still there.
    pub(super) fn check(&mut self) -> Outcome<()> {
        match self.ended()? {
            Some(status) => Err(self.failed(status)),
            None => Ok(()),
        }
    }

    /// The error that it ended like this.
    pub(super) fn failed(&self, status: ExitStatus) -> RehearsalError {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let skipped = said.chars().count().saturating_sub(TAIL);
        let said: String = said.chars().skip(skipped).collect();
        RehearsalError::Failed {
            command: self.name.clone(),
            said: format!("{status}: {said}"),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn kill(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended cannot be killed any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn make_directory() -> Outcome<PathBuf> {
    let mut random = [0; 6];
    SystemEntropy.fill(&mut random).map_err(io::Error::other)?;
    // Short: the name of the CA's admin socket below it has at most 107 bytes.
    let path = std::env::temp_dir().join(format!("koseki-{}", hex::encode(random)));
    let made = DirBuilder::new().mode(0o700).create(&path);
    let made = made.and_then(|()| DirBuilder::new().mode(0o700).create(path.join("tokens")));
    match made {
        Ok(()) => Ok(path),
        Err(source) => Err(RehearsalError::File { path, source }),
    }
}

/// Tells of Ctrl-C and SIGTERM, in place of ending the program.
fn heed_signals() -> Outcome<Receiver<()>> {
    let (tell, told) = mpsc::channel();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
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
        if tell.send(()).is_err() {
            tracing::debug!("the rehearsal is over already");
        }
    });
    Ok(told)
}
