//! One flipped bit in what a fault left: in a store, in its write-ahead log, in the head file, in a file of the log. It is
//! found before it is used, or it is never used (invariant I13). What became of it is told, and anything else is a failure.
//!
//! - A file of the log: an audit finds it. The server does not read these to issue.
//! - A store, its write-ahead log, the head file: the server does not start, and says that something is damaged, or older
//!   than what somebody has seen; or it starts and stops at the page, before it answers from it; or it answers as it did
//!   before, and then its store says what it said before and follows from the leaves, which are the same.

use crate::canaries::files;
use crate::factory::Factory;
use crate::failure::{At as _, Failure, Outcome, require};
use crate::simulation::Chance;
use koseki_verify::{Scope, Trust, audit_log};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The server's store, and the signer's.
pub const STORES: [&str; 2] = ["ca/state/ca.sqlite", "ca/signer/signer.sqlite"];
const HEAD: &str = "ca/head/head";
/// What a server says that does not start from what was flipped.
const SAYS: [&str; 3] = [
    "damaged",
    "the head file knows a head",
    "the signer has followed",
];

/// One bit of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// Below the factory's directory.
    pub file: String,
    /// From its beginning.
    pub byte: usize,
    /// From the lowest.
    pub bit: u32,
}

/// What became of a flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// The auditor found it.
    ByAudit,
    /// The server did not start.
    AtStart,
    /// The server started, and stopped when it read it.
    WhenRead,
    /// The server wrote the place anew without reading it, or from what it knows better.
    WrittenAnew,
    /// The server read around it: every answer was right, and the bit is still there.
    Unused,
}

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, byte, bit } = self;
        write!(f, "bit {bit} of byte {byte} of {file}")
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByAudit => "found by the audit",
            Self::AtStart => "found when the server was started",
            Self::WhenRead => "found when the server read it",
            Self::WrittenAnew => "written anew, never used",
            Self::Unused => "never used",
        })
    }
}

impl Flip {
    /// The bit that this word chooses: of a store, a write-ahead log, the head file or the log, each as often, and then of
    /// any file of that kind.
    ///
    /// # Errors
    /// [`Failure`] names a directory that cannot be read.
    pub fn choose(factory: &Factory, word: u64) -> Outcome<Self> {
        let mut chance = Chance::new(word);
        let kinds = candidates(factory)?;
        let kind = &kinds[chance.place(kinds.len())];
        let (file, bytes) = &kind[chance.place(kind.len())];
        Ok(Self {
            file: file.clone(),
            byte: chance.place(*bytes),
            bit: u32::try_from(chance.below(8)).map_err(Failure::new)?,
        })
    }

    /// Flips it, and gives the file as it is then.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn make(&self, factory: &Factory) -> Outcome<Vec<u8>> {
        let path = factory.path(&self.file);
        let mut bytes = fs::read(&path).at(&path)?;
        let byte = bytes.get_mut(self.byte);
        *byte.ok_or_else(|| Failure::new("a file became shorter"))? ^= 1 << self.bit;
        fs::write(&path, &bytes).at(&path)?;
        Ok(bytes)
    }

    /// Whether it is of the files that are published and that only auditors read.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.file.starts_with("ca/state/log/")
    }

    /// An auditor must find it.
    ///
    /// # Errors
    /// [`Failure`] if none does.
    pub fn hold_audit(&self, log: &Path, trust: &Trust) -> Outcome<Found> {
        match audit_log(log, trust, Scope::Whole) {
            Ok(findings) if findings.is_clean() => Err(Failure::new(format_args!(
                "I13: {self} is flipped, and the audit is clean"
            ))),
            Ok(_) | Err(_) => Ok(Found::ByAudit),
        }
    }

    /// Why the server did not start must be what was flipped.
    ///
    /// # Errors
    /// [`Failure`] if it says something else.
    pub fn hold_refusal(&self, said: &str) -> Outcome<()> {
        require(
            SAYS.iter().any(|it| said.contains(it)),
            format_args!("I13: {self} is flipped, and the server says: {said}"),
        )
    }

    /// What became of the place, by the file as it was when the bit was flipped.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn place(&self, factory: &Factory, flipped: &[u8]) -> Outcome<Found> {
        let path = factory.path(&self.file);
        let now = fs::read(&path).at(&path)?;
        Ok(match now.get(self.byte) == flipped.get(self.byte) {
            true => Found::Unused,
            false => Found::WrittenAnew,
        })
    }
}

/// Files with something in them that a bit may be flipped of, by kind.
fn candidates(factory: &Factory) -> Outcome<Vec<Vec<(String, usize)>>> {
    let log = "ca/state/log";
    let published = files(&factory.path(log))?;
    let published = published.iter().filter_map(|path| {
        let name = path.strip_prefix(factory.path(log)).ok()?.to_str()?;
        // What a kill left half written is nobody's: the server writes it anew.
        let is_read =
            name == "checkpoint" || name.starts_with("tile/") || name.starts_with("documents/");
        (is_read && !name.ends_with(".new")).then(|| format!("{log}/{name}"))
    });
    let mut kinds = vec![published.collect::<Vec<_>>(), vec![HEAD.to_owned()]];
    for store in STORES {
        kinds.push(vec![store.to_owned()]);
        kinds.push(vec![format!("{store}-wal")]);
    }
    let sized = |name: String| {
        let bytes = fs::metadata(factory.path(&name)).map_or(0, |it| it.len());
        (name, usize::try_from(bytes).unwrap_or_default())
    };
    let sized = kinds.into_iter().map(|kind| {
        let kind = kind.into_iter().map(sized);
        kind.filter(|(_, bytes)| *bytes > 0).collect::<Vec<_>>()
    });
    Ok(sized.filter(|kind| !kind.is_empty()).collect())
}

/// A copy of both stores as they lie there, to be read while nobody looks.
pub struct Copies {
    /// The server's.
    pub store: Connection,
    /// The signer's.
    pub signer: Connection,
    _home: TempDir,
}

impl Copies {
    /// Copies them with their write-ahead logs. No server may run.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn of(factory: &Factory) -> Outcome<Self> {
        let home = tempfile::tempdir()?;
        let [store, signer] = STORES.map(|name| copy(&factory.path(name), home.path()));
        Ok(Self {
            store: store?,
            signer: signer?,
            _home: home,
        })
    }

    /// All that they say, by table: but the server's fence, which rises with every start, the time it last believed, the
    /// counts of refusals in a window, and the signer's attempts, of which the server may keep what is lost. All is read all
    /// the same, and a table with a damaged page is left out.
    ///
    /// # Errors
    /// [`Failure`] of a store, but not damage.
    pub fn words(&self) -> Outcome<BTreeMap<String, Vec<String>>> {
        let mut words = BTreeMap::new();
        for (name, store, changing) in [
            ("server", &self.store, ["head", "refusal_count"].as_slice()),
            ("signer", &self.signer, ["attempt"].as_slice()),
        ] {
            let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
            for table in self.read(store, tables)?.unwrap_or_default() {
                let rows = self.read(store, &format!("SELECT * FROM {table}"))?;
                if let Some(rows) = rows.filter(|_| !changing.contains(&table.as_str())) {
                    words.insert(format!("{name}'s {table}"), rows);
                }
            }
        }
        let head = self.read(&self.store, "SELECT size, root, frontier FROM head")?;
        words.extend(head.map(|rows| ("server's head".to_owned(), rows)));
        Ok(words)
    }

    /// Rows; none if their page is damaged.
    fn read(&self, store: &Connection, query: &str) -> Outcome<Option<Vec<String>>> {
        match strings(store, query) {
            Ok(rows) => Ok(Some(rows)),
            Err(_damage) if self.met_damage() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether a damaged page was met on the way.
    #[must_use]
    pub fn met_damage(&self) -> bool {
        let mut stores = [&self.store, &self.signer].into_iter();
        stores.any(|store| pages::met_damage(store).is_some())
    }
}

/// What is read now is what was read before. Tables that only one reading has are for the caller to explain.
///
/// # Errors
/// [`Failure`] names the table.
pub fn same_words(
    before: &BTreeMap<String, Vec<String>>,
    now: &BTreeMap<String, Vec<String>>,
) -> Outcome<()> {
    let mut read = now.iter();
    let other = read.find(|(table, rows)| before.get(*table) != Some(*rows));
    require(
        other.is_none(),
        format_args!("I13: other rows in {:?}", other.map(|(table, _)| table)),
    )
}

fn copy(store: &Path, home: &Path) -> Outcome<Connection> {
    let to = home.join(store.file_name().unwrap_or_default());
    fs::copy(store, &to).at(store)?;
    let beside = |path: &Path| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        PathBuf::from(name)
    };
    let wal = beside(store);
    if wal.exists() {
        fs::copy(&wal, beside(&to)).at(&wal)?;
    }
    pages::open(&to).map_err(Failure::new)
}

/// Rows as text, in order.
fn strings(store: &Connection, query: &str) -> Outcome<Vec<String>> {
    let mut query = store.prepare(query).map_err(Failure::new)?;
    let columns = query.column_count();
    let rows = query.query_map([], |row| {
        let values = (0..columns).map(|at| row.get_ref(at).map(text));
        Ok(values.collect::<Result<Vec<_>, _>>()?.join(" "))
    });
    let rows: Result<Vec<_>, _> = rows.map_err(Failure::new)?.collect();
    let mut rows = rows.map_err(Failure::new)?;
    rows.sort();
    Ok(rows)
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Blob(bytes) => hex::encode(bytes),
    }
}
