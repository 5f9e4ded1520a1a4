//! Trays of simulated chips.

use crate::failure::{At as _, Failure, Outcome};
use crate::patience::until;
use crate::process::{Daemon, program, succeed};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Part of the secure element that makes its own key, and how its identifiers begin.
pub const ON_CHIP: Part = Part {
    name: "sim-se-a1",
    prefix: "0123",
    bytes: "9",
};
/// Part of the small controller that takes an injected key.
pub const INJECTED: Part = Part {
    name: "sim-mcu-b2",
    prefix: "0417",
    bytes: "12",
};

/// A chip's part number and the form of its identifiers.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Part number.
    pub name: &'static str,
    /// What identifiers begin with, in hexadecimal.
    pub prefix: &'static str,
    /// Bytes of an identifier.
    pub bytes: &'static str,
}

/// A chip vendor with a test key.
#[derive(Clone, Debug)]
pub struct Vendor(PathBuf);

/// Chips in a directory, to be presented in the order in which they were put.
#[derive(Debug)]
pub struct Tray {
    dir: PathBuf,
    order: Vec<String>,
}

/// A tray in the sockets of a gang programmer.
#[derive(Debug)]
pub struct Programmer {
    /// The process.
    pub daemon: Daemon,
    /// Address of each socket.
    pub sockets: Vec<String>,
}

impl Vendor {
    /// Makes the vendor's key in a directory.
    ///
    /// # Errors
    /// [`Failure`] of `chip-sim`.
    pub fn found(dir: &Path) -> Outcome<Self> {
        succeed(chip_sim()?.arg("vendor").arg("--out").arg(dir))?;
        Ok(Self(dir.to_owned()))
    }

    /// A vendor whose key is in this directory.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// File of its public key, PEM.
    #[must_use]
    pub fn public(&self) -> PathBuf {
        self.0.join("vendor.pub.pem")
    }

    /// File of its private key, PEM: the canary of the search for leaked keys.
    #[must_use]
    pub fn private(&self) -> PathBuf {
        self.0.join("vendor-TEST-KEY.pem")
    }
}

impl Tray {
    /// An empty tray.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            order: Vec::new(),
        }
    }

    /// Has chips made and puts them last.
    ///
    /// # Errors
    /// [`Failure`] of `chip-sim`.
    pub fn put(&mut self, vendor: &Vendor, part: Part, first: u32, count: u32) -> Outcome<()> {
        let (first, count) = (first.to_string(), count.to_string());
        let args = ["--uid-prefix", part.prefix, "--uid-bytes", part.bytes];
        self.make(
            vendor,
            part,
            &[&args[..], &["--first", &first, "--count", &count]].concat(),
        )
    }

    /// Puts another chip with the identifier of the chip at this place.
    ///
    /// # Errors
    /// [`Failure`] of `chip-sim`, or that no chip is there.
    pub fn put_clone(&mut self, vendor: &Vendor, part: Part, of: usize) -> Outcome<()> {
        let uid = self
            .order
            .get(of)
            .and_then(|name| name.strip_suffix(".chip"))
            .ok_or_else(|| Failure::new("no chip is there to be cloned"))?
            .to_owned();
        self.make(vendor, part, &["--clone", &uid])
    }

    fn make(&mut self, vendor: &Vendor, part: Part, which: &[&str]) -> Outcome<()> {
        let mut command = chip_sim()?;
        command.arg("make").arg("--vendor").arg(&vendor.0);
        command.arg("--chips").arg(&self.dir);
        let told = succeed(command.args(["--part", part.name]).args(which))?;
        let told: Value = serde_json::from_str(&told).map_err(Failure::new)?;
        let made = told.get("made").and_then(Value::as_array);
        let names = made.into_iter().flatten().filter_map(Value::as_str);
        let names = names.filter_map(|path| Path::new(path).file_name());
        self.order
            .extend(names.map(|name| name.to_string_lossy().into_owned()));
        let file = self.dir.join("order.txt");
        fs::write(&file, self.order.join("\n") + "\n").at(&file)
    }

    /// Puts the chips that were done back: the next programmer begins with the first.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn rewind(&self) -> Outcome<()> {
        for file in crate::station::files(&self.dir, "position")? {
            fs::remove_file(&file).at(&file)?;
        }
        Ok(())
    }

    /// Presents the chips in so many sockets, until dropped.
    ///
    /// # Errors
    /// [`Failure`] of `chip-sim`.
    pub fn present(&self, sockets: usize) -> Outcome<Programmer> {
        self.serve(sockets, &[])
    }

    /// As [`Self::present`], with these options of planted trouble.
    ///
    /// # Errors
    /// [`Failure`] of `chip-sim`.
    pub fn present_in_trouble(&self, sockets: usize, trouble: &[&str]) -> Outcome<Programmer> {
        self.serve(sockets, trouble)
    }

    /// As [`Self::present`], over serial lines: a pseudoterminal a socket.
    ///
    /// # Errors
    /// [`Failure`] of `chip-sim`.
    pub fn present_on_serial_lines(&self, sockets: usize) -> Outcome<Programmer> {
        self.serve(sockets, &["--pty", &self.dir.to_string_lossy()])
    }

    fn serve(&self, sockets: usize, line: &[&str]) -> Outcome<Programmer> {
        let log = self.dir.join("programmer.log");
        // A restarted programmer takes other ports; its first line says which.
        fs::write(&log, "").at(&log)?;
        let mut command = chip_sim()?;
        command.arg("serve").arg("--chips").arg(&self.dir);
        command.args(["--sockets", &sockets.to_string()]).args(line);
        let mut daemon = Daemon::start(&mut command, &log)?;
        let sockets = until("the programmer", || match daemon.ended()? {
            None => Ok(ready(&daemon.said())),
            Some(status) => Err(Failure::new(format_args!("{status}: {}", daemon.said()))),
        })?;
        Ok(Programmer { daemon, sockets })
    }
}

/// Addresses, from the line that says that it is ready.
fn ready(said: &str) -> Option<Vec<String>> {
    let line = said.lines().next().filter(|_| said.contains('\n'))?;
    let ready: Value = serde_json::from_str(line).ok()?;
    let sockets = ready.get("sockets")?.as_array()?.iter();
    Some(
        sockets
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    )
}

fn chip_sim() -> Outcome<Command> {
    program("chip-sim").map(Command::new)
}
