//! The programs under test, as processes of their own.

use crate::failure::{At as _, Failure, Outcome};
use crate::metadata;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// Directory of the programs: the one that this executable was built into.
///
/// # Errors
/// [`Failure`] if the system does not say where this executable is.
pub fn programs() -> Outcome<PathBuf> {
    let here = std::env::current_exe()?;
    let dir = here
        .parent()
        .ok_or_else(|| Failure::new("this executable is in no directory"))?;
    // Tests lie one level deeper than programs.
    let above = dir.parent().filter(|_| dir.ends_with("deps"));
    Ok(above.unwrap_or(dir).to_owned())
}

/// A program of the workspace.
///
/// # Errors
/// [`Failure`] says how to build it.
pub fn program(name: &str) -> Outcome<PathBuf> {
    let path = programs()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(format_args!(
        "{} is not there: run `make build`",
        path.display()
    )))
}

/// Runs a program to its end.
///
/// # Errors
/// [`Failure`] if it cannot be started.
pub fn finish(command: &mut Command) -> Outcome<Output> {
    let name = command.get_program().to_owned();
    command.stdin(Stdio::null()).output().at(Path::new(&name))
}

/// Runs a program that must succeed; gives its standard output.
///
/// # Errors
/// [`Failure`] with all that it said.
pub fn succeed(command: &mut Command) -> Outcome<String> {
    let output = finish(command)?;
    if output.status.success() {
        return Ok(said(&output.stdout));
    }
    Err(Failure::new(format_args!(
        "{command:?}: {}\n{}{}",
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    )))
}

/// Output as text.
#[must_use]
pub fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process that runs beside us; killed without warning when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program; all that it says is added to a file.
    ///
    /// # Errors
    /// [`Failure`] names the program or the file.
    pub fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let mut options = File::options();
        let file = options.create(true).append(true).open(log).at(log)?;
        let errors = file.try_clone().at(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn();
        let name = command.get_program().to_owned();
        Ok(Self {
            child: child.at(Path::new(&name))?,
            log: log.to_owned(),
        })
    }

    /// All that it said.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| said(&bytes))
            .unwrap_or_default()
    }

    /// Seconds of processor time that it has taken so far (proc(5), `stat`: fields 14 and 15, in hundredths).
    ///
    /// # Errors
    /// [`Failure`] if it is gone.
    pub fn processor_seconds(&self) -> Outcome<f64> {
        let path = PathBuf::from(format!("/proc/{}/stat", self.child.id()));
        let text = fs::read_to_string(&path).at(&path)?;
        // The name in parentheses may hold anything; what follows it are numbers from field 3 on.
        let fields = text.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_ascii_whitespace().skip(11).take(2);
        let ticks: Vec<f64> = ticks
            .map(|it| it.parse().map_err(Failure::new))
            .collect::<Outcome<_>>()?;
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    /// Most memory that it has had resident so far, in bytes (proc(5), `VmHWM`).
    ///
    /// # Errors
    /// [`Failure`] if it is gone.
    pub fn most_memory(&self) -> Outcome<f64> {
        let path = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let text = fs::read_to_string(&path).at(&path)?;
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kilobytes = kilobytes.and_then(|number| number.trim().parse::<f64>().ok());
        kilobytes
            .map(|number| number * 1024.0)
            .ok_or_else(|| Failure::new("no VmHWM"))
    }

    /// Largest core dump that it may leave and that it may ask for (proc(5), `limits`).
    ///
    /// # Errors
    /// [`Failure`] if it is gone.
    pub fn core_limits(&self) -> Outcome<Vec<String>> {
        let path = PathBuf::from(format!("/proc/{}/limits", self.child.id()));
        let text = fs::read_to_string(&path).at(&path)?;
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max core file size"));
        let line = line.ok_or_else(|| Failure::new("no limit of core dumps"))?;
        Ok(line.split_whitespace().take(2).map(str::to_owned).collect())
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn wait(&mut self) -> Outcome<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// `kill -9`, then waits until it is gone.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM).
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn tell_to_stop(&self) -> Outcome<()> {
        let id = i32::try_from(self.child.id()).ok();
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)
                .map_err(Failure::new)?;
        }
        Ok(())
    }

    /// Asks it to stop and waits.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn stop(&mut self) -> Outcome<ExitStatus> {
        self.tell_to_stop()?;
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended cannot be killed any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Compiles a source of this project into a library that is preloaded.
///
/// # Errors
/// [`Failure`] of the compiler.
pub fn compile_preloaded(source: &str, library: &Path) -> Outcome<()> {
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o",
    ]);
    gcc.arg(library).arg(metadata::root().join(source));
    succeed(&mut gcc).map(drop)
}
