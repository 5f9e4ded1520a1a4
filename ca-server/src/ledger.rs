//! The ledger: publishes what the store committed. Signs the head, writes tiles and checkpoint as static files.
//!
//! The rows are the log; files are derived from them and need no flush, because [`Ledger::open`] rebuilds them. One
//! file is not derived: the head file, which remembers the newest head outside of every backup.

mod files;
mod head_file;
mod key;
mod tiles;

pub use files::LogFiles;
pub use head_file::HeadFile;
pub use key::{LogKey, LogKeyError};
pub use tiles::LogTiles;

use crate::store::{Head, Reader, StoreError};
use identity::support::Support;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::Builder;
use translog::checkpoint::{Checkpoint, TrustedLog};
use translog::note::{NoteSigner as _, SignedNote};
use translog::proof::TileReader as _;
use translog::tile::{BundleId, RightEdge, Tile, TileId, Width, bundles_between};
use translog::tree::{Hash, leaf_hash, root_of};

/// Leaves read at once when files are rebuilt.
const REBUILD_STEP: u64 = 4096;
/// Newest entries whose files are held against the rows at every start: more than are written between two flushes
/// of the file system.
const RECENT: u64 = 65_536;

/// When the files that a later batch replaces are written: partial tiles, and the checkpoint's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partials {
    /// With this batch.
    Now,
    /// Soon, by [`Ledger::write_partials`].
    Later,
}

/// Why nothing could be published.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file could not be written or read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log key did not sign.
    #[error("the log key did not sign the head: {0}")]
    Key(String),
    /// A file says otherwise than the store: it is not overwritten.
    #[error("{0} holds other bytes than the store gives: the log would fork")]
    Differs(std::path::PathBuf),
    /// Somebody has seen a newer or other head than the store holds.
    #[error(
        "{source_name} knows a head of {size} leaves that the store does not hold: a backup was restored, or the log forked"
    )]
    Ahead {
        /// Where that head stands.
        source_name: &'static str,
        /// Its size.
        size: u64,
    },
    /// The head file is gone or holds no head. It is made once, at the ceremony.
    #[error("the head file {0} is missing or holds no head; without it nothing is signed")]
    HeadFileMissing(std::path::PathBuf),
    /// What the store holds does not make the root that it says.
    #[error("the stored leaves do not make the stored root")]
    Root,
    /// The origin or key cannot stand in a checkpoint.
    #[error("the checkpoint cannot be made: {0}")]
    Checkpoint(String),
}

impl LedgerError {
    /// Whether the same may succeed later: a file or row that the system did not give just now.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::Store(error) => error.passes(),
            Self::Key(_)
            | Self::Differs(_)
            | Self::Ahead { .. }
            | Self::HeadFileMissing(_)
            | Self::Root
            | Self::Checkpoint(_) => false,
        }
    }
}

/// Publishes heads, in the order the store commits them.
#[derive(Debug)]
pub struct Ledger {
    files: LogFiles,
    head_file: HeadFile,
    key: LogKey,
    trusted: TrustedLog,
    edge: RightEdge,
    /// Entries of the bundle that is not full yet.
    tail: Vec<Vec<u8>>,
    note: Option<SignedNote>,
    /// Whether partial files and checkpoint are still those of an earlier head.
    lags: bool,
}

/// What a committed head adds to the one before.
#[derive(Debug, Default)]
pub struct New {
    /// Its leaves.
    pub entries: Vec<Vec<u8>>,
    /// The documents that these leaves name.
    pub documents: Vec<Support>,
}

/// Where a ledger lives and signs.
#[derive(Debug)]
pub struct LedgerParts<'a> {
    /// Directory of the static files.
    pub directory: &'a Path,
    /// The head file; not below a directory that is backed up.
    pub head_file: &'a Path,
    /// Origin line of the checkpoints.
    pub origin: &'a str,
    /// The log's key.
    pub key: LogKey,
}

impl Ledger {
    /// Opens the ledger at the store's head: compares head file and published checkpoint with it, checks the files'
    /// right edge and rebuilds the files if that is torn.
    ///
    /// # Errors
    /// [`LedgerError`]; with [`LedgerError::Ahead`] nothing may be signed under this origin any more.
    pub fn open(parts: LedgerParts<'_>, store: &Reader) -> Result<Self, LedgerError> {
        let head = store.head()?;
        let files = LogFiles::open(parts.directory)?;
        let head_file = HeadFile::open(parts.head_file)?;
        known_head("the head file", head_file.newest(), store)?;
        let trusted = TrustedLog::new(parts.origin, vec![parts.key.verifier_key().clone()])
            .map_err(|error| LedgerError::Checkpoint(error.to_string()))?;
        let mut published = 0;
        if let Some(note) = files.checkpoint()?
            && let Ok(seen) = trusted.open(&note)
        {
            let checkpoint = seen.checkpoint();
            known_head(
                "the published checkpoint",
                (checkpoint.size(), *checkpoint.root().as_bytes()),
                store,
            )?;
            published = checkpoint.size();
        }
        let (edge, tail) = right_edge(&files, store, &head, published)?;
        mend_documents(&files, store)?;
        let mut ledger = Self {
            files,
            head_file,
            key: parts.key,
            trusted,
            edge,
            tail,
            note: None,
            lags: false,
        };
        if head.size > 0 {
            let nothing = New::default();
            ledger.publish(head.size, head.root, &nothing, Partials::Now)?;
        }
        Ok(ledger)
    }

    /// Leaves published so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The newest checkpoint; none before the first leaf.
    #[must_use]
    pub const fn note(&self) -> Option<&SignedNote> {
        self.note.as_ref()
    }

    /// How this log's checkpoints are known.
    #[must_use]
    pub const fn trusted(&self) -> &TrustedLog {
        &self.trusted
    }

    /// The tiles of the newest head, whether or not the partial ones are written.
    #[must_use]
    pub fn tiles(&self) -> LogTiles {
        LogTiles::new(self.files.clone(), self.edge.partials().collect())
    }

    /// Publishes a committed head: full tiles, head file (durable), then the signed checkpoint. If the power goes in
    /// between, [`Self::open`] does the rest from the store.
    ///
    /// Partial tiles and the checkpoint's file may be left for later: the next batch would replace them at once. Full
    /// tiles are always written, and whoever is answered gets the checkpoint of the batch with the answer.
    ///
    /// # Errors
    /// [`LedgerError`]; the head stays committed, and is published when the same is asked again, or at the next start.
    pub fn publish(
        &mut self,
        size: u64,
        root: Hash,
        new: &New,
        partials: Partials,
    ) -> Result<&SignedNote, LedgerError> {
        // Edge and tail move last: after a write that failed, the same entries are published again.
        let (mut edge, mut tail) = (self.edge.clone(), self.tail.clone());
        append(
            &self.files,
            Parts::Full,
            (&mut edge, &mut tail),
            &new.entries,
        )?;
        for support in &new.documents {
            self.files.write_document(support)?;
        }
        if edge.size() != size || edge.frontier().root() != root {
            return Err(LedgerError::Root);
        }
        let note = self.write_and_sign(size, root)?;
        if partials == Partials::Now {
            write_partials(&self.files, &edge, &tail)?;
            self.files.write_checkpoint(&note.to_string())?;
        }
        self.lags = partials == Partials::Later;
        (self.edge, self.tail) = (edge, tail);
        Ok(self.note.insert(note))
    }

    /// Makes a head durable in the head file and signs it meanwhile: while one waits for the disk the other waits for the
    /// HSM. Nobody gets to see the signature before both are done.
    fn write_and_sign(&mut self, size: u64, root: Hash) -> Result<SignedNote, LedgerError> {
        let (key, origin, head_file) = (&self.key, self.trusted.origin(), &mut self.head_file);
        std::thread::scope(|scope| {
            let signing = Builder::new().spawn_scoped(scope, || sign(key, origin, size, root));
            head_file.write(size, *root.as_bytes())?;
            match signing {
                Ok(signing) => signing.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // The system has no thread to give: one after the other, then.
                Err(_) => sign(key, origin, size, root),
            }
        })
    }

    /// Whether partial files and the checkpoint's file are still those of an earlier head.
    #[must_use]
    pub const fn lags(&self) -> bool {
        self.lags
    }

    /// Writes partial files and checkpoint of the newest head, if they were left for later.
    ///
    /// # Errors
    /// [`LedgerError`]; they stay left for later.
    pub fn write_partials(&mut self) -> Result<(), LedgerError> {
        if let Some(note) = self.note.as_ref().filter(|_| self.lags) {
            write_partials(&self.files, &self.edge, &self.tail)?;
            self.files.write_checkpoint(&note.to_string())?;
            self.lags = false;
        }
        Ok(())
    }

    /// Signs a head that the store committed, now or earlier.
    ///
    /// # Errors
    /// [`LedgerError`] if the log key does not sign.
    pub fn sign(&self, size: u64, root: Hash) -> Result<SignedNote, LedgerError> {
        sign(&self.key, self.trusted.origin(), size, root)
    }
}

fn sign(key: &LogKey, origin: &str, size: u64, root: Hash) -> Result<SignedNote, LedgerError> {
    let checkpoint = Checkpoint::new(origin, size, root)
        .map_err(|error| LedgerError::Checkpoint(error.to_string()))?;
    checkpoint
        .sign(key)
        .map_err(|error| LedgerError::Key(error.to_string()))
}

/// A head that was seen elsewhere must be one that the store committed.
fn known_head(
    source_name: &'static str,
    seen: (u64, [u8; 32]),
    store: &Reader,
) -> Result<(), LedgerError> {
    let (size, root) = seen;
    match size == 0 || store.past_root(size)? == Some(root) {
        true => Ok(()),
        false => Err(LedgerError::Ahead { source_name, size }),
    }
}

/// The edge at the store's head, with the files that belong to it. Read from the files as far as they are whole: at the
/// head, else at the published checkpoint, else from nothing. What follows comes from the rows.
fn right_edge(
    files: &LogFiles,
    store: &Reader,
    head: &Head,
    published: u64,
) -> Result<(RightEdge, Vec<Vec<u8>>), LedgerError> {
    let root = store.past_root(published)?.map(Hash::new);
    let at_checkpoint = || root.and_then(|root| whole_edge(files, published, root));
    let edge = whole_edge(files, head.size, head.root).or_else(at_checkpoint);
    let mut edge = edge.unwrap_or_default();
    if edge.size() < head.size {
        tracing::warn!(
            from = edge.size(),
            to = head.size,
            "files of the log are missing or torn; writing them from the store"
        );
    }
    let mut tail = tail_of(store, edge.size())?;
    while edge.size() < head.size {
        let entries = store.leaves(edge.size(), REBUILD_STEP.min(head.size - edge.size()))?;
        if entries.is_empty() {
            return Err(LedgerError::Root);
        }
        append(files, Parts::All, (&mut edge, &mut tail), &entries)?;
    }
    mend_recent(files, store, head.size)?;
    mend_above(files, head.size)?;
    mend_partials(files, head.size, &tail)?;
    Ok((edge, tail))
}

/// The edge of a size, if the files make this root.
fn whole_edge(files: &LogFiles, size: u64, root: Hash) -> Option<RightEdge> {
    let edge = RightEdge::read(files, size).ok()?;
    (size > 0 && edge.frontier().root() == root).then_some(edge)
}

/// Entries of the bundle that is not full at this size.
fn tail_of(store: &Reader, size: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
    let first = size - size % u64::from(Width::FULL);
    Ok(store.leaves(first, size - first)?)
}

/// Partial files of earlier sizes are beginnings of the newest ones. A kill may have left one torn whose size was never
/// published, because the next start went on from a greater one.
fn mend_partials(files: &LogFiles, size: u64, tail: &[Vec<u8>]) -> Result<(), LedgerError> {
    for id in TileId::partial_in_tree(size) {
        let newest = files.tile(id)?;
        for width in files.narrower(&id.to_string(), id.width())? {
            let hashes = newest.hashes().iter().take(width.hashes()).copied();
            let tile = Tile::new(hashes.collect()).map_err(|_empty| LedgerError::Root)?;
            let id = TileId::new(id.level(), id.index(), width).ok_or(LedgerError::Root)?;
            files.write_tile(id, &tile)?;
        }
    }
    let Some(id) = BundleId::in_log(size / u64::from(Width::FULL), size) else {
        return Ok(());
    };
    for width in files.narrower(&id.to_string(), id.width())? {
        let entries = tail.get(..width.hashes()).ok_or(LedgerError::Root)?;
        files.write_bundle(BundleId::new(id.index(), width), entries)?;
    }
    Ok(())
}

/// A power cut may have torn files that were not flushed yet behind a whole right edge: the newest bundles and leaf
/// tiles are held against the rows and written where they are torn.
fn mend_recent(files: &LogFiles, store: &Reader, size: u64) -> Result<(), LedgerError> {
    for bundle in bundles_between(size.saturating_sub(RECENT), size) {
        let entries = store.leaves(bundle.entries().start, u64::from(bundle.width()))?;
        let hashes = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let tile = Tile::new(hashes).map_err(|_empty| LedgerError::Root)?;
        let id = TileId::new(0, bundle.index(), bundle.width()).ok_or(LedgerError::Root)?;
        files.write_tile(id, &tile)?;
        files.write_bundle(bundle, &entries)?;
    }
    Ok(())
}

/// Documents that are missing or torn: by a kill, by a power cut, or because the store is from before they were written
/// here. There are as many as grants, stations and lots, and the server reads them all at each start anyway.
fn mend_documents(files: &LogFiles, store: &Reader) -> Result<(), LedgerError> {
    for stored in store.documents()? {
        let support = Support::from_bytes(&stored.support)
            .map_err(|_bad| StoreError::Damaged("a stored document"))?;
        files.write_document(&support)?;
    }
    Ok(())
}

/// Which files are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    All,
    /// Only what never changes any more.
    Full,
}

impl Parts {
    fn hold(self, width: Width) -> bool {
        self == Self::All || width.is_full()
    }
}

/// The newest full tile of each level above the leaves, if it became full lately: it is made again of the tiles below.
fn mend_above(files: &LogFiles, size: u64) -> Result<(), LedgerError> {
    let tile = |level, index| TileId::new(level, index, Width::FULL).ok_or(LedgerError::Root);
    let full = u64::from(Width::FULL);
    // Of each level: how many leaves an entry stands for, and how many whole entries there are.
    let (mut level, mut span, mut entries) = (1, full, size / full);
    while let Some(index) = (entries / full).checked_sub(1) {
        let first = index * full;
        if size - (first + full) * span < RECENT {
            let hashes = (first..first + full).map(|below| {
                let below = files.tile(tile(level - 1, below)?)?;
                Ok(root_of(below.hashes()))
            });
            let made = Tile::new(hashes.collect::<Result<_, LedgerError>>()?);
            files.write_tile(
                tile(level, index)?,
                &made.map_err(|_empty| LedgerError::Root)?,
            )?;
        }
        (level, span, entries) = (level + 1, span.saturating_mul(full), entries / full);
    }
    Ok(())
}

fn append(
    files: &LogFiles,
    parts: Parts,
    (edge, tail): (&mut RightEdge, &mut Vec<Vec<u8>>),
    entries: &[Vec<u8>],
) -> Result<(), LedgerError> {
    let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let old_size = edge.size();
    for (id, tile) in edge.append(&hashes) {
        if parts.hold(id.width()) {
            files.write_tile(id, &tile)?;
        }
    }
    for bundle in bundles_between(old_size, edge.size()) {
        let missing = bundle.width().hashes().saturating_sub(tail.len());
        let taken = usize::try_from(bundle.entries().start + tail_len(tail) - old_size)
            .unwrap_or(usize::MAX);
        tail.extend(entries.iter().skip(taken).take(missing).cloned());
        if parts.hold(bundle.width()) {
            files.write_bundle(bundle, tail)?;
        }
        if bundle.width().is_full() {
            tail.clear();
        }
    }
    Ok(())
}

/// All partial files of a size.
fn write_partials(files: &LogFiles, edge: &RightEdge, tail: &[Vec<u8>]) -> Result<(), LedgerError> {
    for (id, tile) in edge.partials() {
        files.write_tile(id, &tile)?;
    }
    let size = edge.size();
    BundleId::in_log(size / u64::from(Width::FULL), size)
        .map_or(Ok(()), |bundle| files.write_bundle(bundle, tail))
}

fn tail_len(tail: &[Vec<u8>]) -> u64 {
    u64::try_from(tail.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn files_below(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>, root: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_below(&path, found, root);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }

    /// Files of a log that grew to these sizes, each step with these parts; what was left is written at the end.
    fn grown(steps: &[(u16, Parts)]) -> BTreeMap<PathBuf, Vec<u8>> {
        let home = tempfile::tempdir().unwrap();
        let files = LogFiles::open(home.path()).unwrap();
        let (mut edge, mut tail, mut size) = (RightEdge::new(), Vec::new(), 0);
        for (step, parts) in steps {
            let entries: Vec<_> = (size..*step)
                .map(|at: u16| at.to_be_bytes().to_vec())
                .collect();
            append(&files, *parts, (&mut edge, &mut tail), &entries).unwrap();
            size = *step;
        }
        write_partials(&files, &edge, &tail).unwrap();
        let mut found = BTreeMap::new();
        files_below(home.path(), &mut found, home.path());
        found
    }

    #[test]
    fn partial_files_that_were_left_are_written_with_the_last_batch() {
        for size in [1, 255, 256, 257, 300, 512, 700] {
            let at_once = grown(&[(size, Parts::All)]);
            let steps = [size / 3, size / 2, size].map(|size| (size, Parts::Full));
            assert_eq!(grown(&steps), at_once, "{size}");
        }
    }

    #[test]
    fn a_full_tile_is_never_left() {
        let home = tempfile::tempdir().unwrap();
        let files = LogFiles::open(home.path()).unwrap();
        let (mut edge, mut tail) = (RightEdge::new(), Vec::new());
        let entries: Vec<_> = (0..300_u16).map(|at| at.to_be_bytes().to_vec()).collect();
        append(&files, Parts::Full, (&mut edge, &mut tail), &entries).unwrap();
        let mut found = BTreeMap::new();
        files_below(home.path(), &mut found, home.path());
        let names: Vec<_> = found.keys().map(|name| name.to_str().unwrap()).collect();
        assert_eq!(names, ["tile/0/000", "tile/entries/000"]);
    }

    #[test]
    fn a_full_tile_of_an_upper_level_that_a_power_cut_tore_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let files = LogFiles::open(home.path()).unwrap();
        let leaves: Vec<_> = (0..65_600_u32)
            .map(|number| leaf_hash(&number.to_be_bytes()))
            .collect();
        let mut edge = RightEdge::new();
        for (id, tile) in edge.append(&leaves) {
            files.write_tile(id, &tile).unwrap();
        }
        let path = home.path().join("tile/1/000");
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), 256 * 32);
        let mut zeros = whole.clone();
        zeros[4096..].fill(0);
        for torn in [&whole[..0], &whole[..4096], &zeros] {
            std::fs::write(&path, torn).unwrap();
            mend_above(&files, edge.size()).unwrap();
            assert!(std::fs::read(&path).unwrap() == whole);
        }
        // Other bytes are no tear.
        let mut other = whole;
        other[5000] ^= 1;
        std::fs::write(&path, other).unwrap();
        assert!(matches!(
            mend_above(&files, edge.size()),
            Err(LedgerError::Differs(_))
        ));
    }
}
