//! Faults from outside: a library that stands between a program and the system's calls (`tests/faults/shim.c`), told
//! by a page of shared memory which call to hit, and how.

use crate::failure::{At as _, Failure, Outcome};
use crate::process::compile_preloaded;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The error of a full disk.
pub const ENOSPC: u32 = 28;

/// Where the words of the page stand.
mod word {
    pub(super) const ARMED: u64 = 0;
    pub(super) const DEED: u64 = 8;
    pub(super) const SHIFT: u64 = 48;
    pub(super) const SEEN: u64 = 56;
    pub(super) const FIRED: u64 = 64;
    pub(super) const PATH: u64 = 128;
}
const PATH_BYTES: usize = 256;
const PAGE_BYTES: u64 = 4096;

/// A kind of call that changes what is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `open` for writing.
    Open = 1,
    /// `write`, `pwrite`, `writev`.
    Write = 2,
    /// `fsync`, `fdatasync`.
    Sync = 4,
    /// `rename`; the path is the new one.
    Rename = 8,
    /// `unlink`, `rmdir`.
    Unlink = 16,
    /// `ftruncate`.
    Truncate = 32,
    /// `mkdir`.
    Mkdir = 64,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Write,
        Self::Sync,
        Self::Rename,
        Self::Unlink,
        Self::Truncate,
        Self::Mkdir,
    ];
}

/// What happens to a call that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing: calls are counted and traced.
    Watch,
    /// The process is killed before the call.
    KillBefore,
    /// The process is killed when the call is done.
    KillAfter,
    /// Half of a write is done, then the process is killed.
    Tear,
    /// The call fails with this error.
    Fail(u32),
    /// Half of a write is done, and said to be done.
    Cut,
    /// The call waits until the page is disarmed, and then does its work.
    Stall,
}

/// Which calls are hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Kinds of calls that count.
    pub kinds: Vec<Kind>,
    /// What stands in the paths, below the root, that count: before a `$` at their end, else anywhere.
    pub path: String,
    /// The first call that is hit, from 1.
    pub first: u64,
    /// How many are hit from there on.
    pub count: u64,
    /// What happens to them.
    pub deed: Deed,
}

/// A call that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its file, below the root.
    pub path: String,
    /// Whether it was hit.
    pub hit: bool,
}

/// The library, compiled.
#[derive(Clone, Debug)]
pub struct Shim(PathBuf);

/// One page with the processes that it governs.
#[derive(Clone, Debug)]
pub struct Faults {
    shim: Shim,
    page: PathBuf,
    trace: PathBuf,
    root: PathBuf,
}

impl Plan {
    /// Every call at any file is counted, and none is hit.
    #[must_use]
    pub fn watch() -> Self {
        Self {
            kinds: Kind::ALL.to_vec(),
            path: String::new(),
            first: 1,
            count: 0,
            deed: Deed::Watch,
        }
    }

    /// One call of all, by its number from 1.
    #[must_use]
    pub fn at(number: u64, deed: Deed) -> Self {
        Self {
            first: number,
            count: 1,
            deed,
            ..Self::watch()
        }
    }

    fn words(&self) -> [u64; 5] {
        let (deed, error) = match self.deed {
            Deed::Watch => (0, 0),
            Deed::KillBefore => (1, 0),
            Deed::KillAfter => (2, 0),
            Deed::Tear => (3, 0),
            Deed::Fail(error) => (4, u64::from(error)),
            Deed::Cut => (5, 0),
            Deed::Stall => (6, 0),
        };
        let kinds = self
            .kinds
            .iter()
            .fold(0, |kinds, kind| kinds | *kind as u64);
        [deed, error, self.first, self.count, kinds]
    }
}

impl Shim {
    /// Compiles the library into a directory.
    ///
    /// # Errors
    /// [`Failure`] of the compiler.
    pub fn build(directory: &Path) -> Outcome<Self> {
        let library = directory.join("libkoseki_faults.so");
        compile_preloaded("tests/faults/shim.c", &library)?;
        Ok(Self(library))
    }
}

impl Faults {
    /// A page that is not armed, for the files below `root`.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn prepare(shim: &Shim, root: &Path) -> Outcome<Self> {
        let faults = Self {
            shim: shim.clone(),
            page: root.join("faults.page"),
            trace: root.join("faults.trace"),
            root: root.to_owned(),
        };
        let page = File::create(&faults.page).at(&faults.page)?;
        page.set_len(PAGE_BYTES).at(&faults.page)?;
        fs::write(&faults.trace, "").at(&faults.trace)?;
        Ok(faults)
    }

    /// Puts a program that is to be started under the page.
    pub fn govern<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", &self.shim.0)
            .env("KOSEKI_FAULT_PAGE", &self.page)
            .env("KOSEKI_FAULT_TRACE", &self.trace)
            .env("KOSEKI_FAULT_ROOT", &self.root)
    }

    /// From now on calls count, and those of the plan are hit. Counters and trace begin anew.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn arm(&self, plan: &Plan) -> Outcome<()> {
        if plan.path.len() >= PATH_BYTES {
            return Err(Failure::new("the plan's path is too long"));
        }
        self.disarm()?;
        fs::write(&self.trace, "").at(&self.trace)?;
        let mut path = [0; PATH_BYTES];
        path[..plan.path.len()].copy_from_slice(plan.path.as_bytes());
        let page = self.open()?;
        page.write_all_at(&path, word::PATH).at(&self.page)?;
        for (place, value) in (word::DEED..).step_by(8).zip(plan.words()) {
            self.put(place, value)?;
        }
        self.put(word::SEEN, 0)?;
        self.put(word::FIRED, 0)?;
        self.put(word::ARMED, 1)
    }

    /// From now on nothing counts and nothing is hit.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn disarm(&self) -> Outcome<()> {
        self.put(word::ARMED, 0)
    }

    /// Sets the wall clock of the governed programs off, also while nothing is armed.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn shift_clock(&self, seconds: i64) -> Outcome<()> {
        self.put(word::SHIFT, seconds.cast_unsigned())
    }

    /// How many calls were hit since the page was armed.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn fired(&self) -> Outcome<u64> {
        let mut bytes = [0; 8];
        let page = self.open()?;
        page.read_exact_at(&mut bytes, word::FIRED).at(&self.page)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// The calls that counted since the page was armed, in order.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn trace(&self) -> Outcome<Vec<Call>> {
        let text = fs::read_to_string(&self.trace).at(&self.trace)?;
        text.lines().map(call).collect()
    }

    fn open(&self) -> Outcome<File> {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .open(&self.page)
            .at(&self.page)
    }

    fn put(&self, place: u64, value: u64) -> Outcome<()> {
        let page = self.open()?;
        page.write_all_at(&value.to_ne_bytes(), place)
            .at(&self.page)
    }
}

/// `<number> <name> <path>[ HIT]`
fn call(line: &str) -> Outcome<Call> {
    let (rest, hit) = match line.strip_suffix(" HIT") {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let mut words = rest.splitn(3, ' ').skip(1).map(str::to_owned);
    match (words.next(), words.next()) {
        (Some(name), Some(path)) => Ok(Call { name, path, hit }),
        _ => Err(Failure::new(format_args!("a line of the trace: {line:?}"))),
    }
}
