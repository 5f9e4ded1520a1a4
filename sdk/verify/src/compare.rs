//! Two states of a log: does one continue the other?

use crate::files::{ReadError, read_bounded};
use crate::log_dir::{LogDir, LogDirError};
use crate::trust::Trust;
use serde::Serialize;
use std::path::{Path, PathBuf};
use translog::checkpoint::{Checkpoint, OpenError};
use translog::note::MAX_NOTE_BYTES;
use translog::proof::{
    HashReader, Node, ProofError, ProveError, TileHashes, TileReadError, prove_consistency,
    verify_consistency,
};
use translog::tree::{EMPTY_ROOT, Hash, node_hash};

/// What came out of [`compare`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Identity of the log.
    pub origin: String,
    /// The two tree sizes, the smaller first.
    pub sizes: (u64, u64),
    /// How they relate.
    pub relation: Relation,
}

/// How two signed states of one log relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The same tree.
    Same,
    /// The larger continues the smaller.
    Continues,
    /// Two trees that cannot both be right, and the log signed both: proof of its misconduct.
    Forked,
}

/// The comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A checkpoint is not signed as the trust directory asks.
    #[error("{}: {source}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// They are of different logs.
    #[error("{0} and {1} are different logs")]
    Origins(String, String),
    /// The larger state is a checkpoint alone: without tiles nothing can be proved.
    #[error("{} is not a log directory, so that nothing can be proved from it", .0.display())]
    NoTiles(PathBuf),
    /// A tile of the larger state cannot be read.
    #[error(transparent)]
    Tiles(#[from] ProveError<TileReadError<LogDirError>>),
    /// The tiles of the larger state do not give the root that was signed.
    #[error("the tiles are not those of the checkpoint: {0}")]
    Damaged(ProofError),
}

/// Compares two states of a log, each a log directory or a checkpoint file. Both must be signed as `trust` asks; the
/// larger must be a directory, unless the sizes are equal.
///
/// # Errors
/// [`CompareError`]
pub fn compare(a: &Path, b: &Path, trust: &Trust) -> Result<Comparison, CompareError> {
    let (one, other) = (open(a, trust)?, open(b, trust)?);
    if one.origin() != other.origin() {
        return Err(CompareError::Origins(
            one.origin().to_owned(),
            other.origin().to_owned(),
        ));
    }
    let (old, new, path) = if one.size() <= other.size() {
        (&one, &other, b)
    } else {
        (&other, &one, a)
    };
    let relation = match (old.size() == new.size(), old.root() == new.root()) {
        (true, true) => Relation::Same,
        (true, false) => Relation::Forked,
        (false, _) => relate(old, new, path)?,
    };
    Ok(Comparison {
        origin: old.origin().to_owned(),
        sizes: (old.size(), new.size()),
        relation,
    })
}

fn open(path: &Path, trust: &Trust) -> Result<Checkpoint, CompareError> {
    let file = if path.is_dir() {
        path.join("checkpoint")
    } else {
        path.to_owned()
    };
    let bytes = read_bounded(&file, u64::try_from(MAX_NOTE_BYTES).unwrap_or(u64::MAX))?;
    let opened = trust
        .policy()
        .open(&bytes)
        .map_err(|source| CompareError::Checkpoint { path: file, source })?;
    Ok(opened.checkpoint().clone())
}

fn relate(old: &Checkpoint, new: &Checkpoint, path: &Path) -> Result<Relation, CompareError> {
    if !path.is_dir() {
        return Err(CompareError::NoTiles(path.to_owned()));
    }
    let log = LogDir::new(path);
    let tiles = TileHashes::new(&log, new.size());
    let proof = prove_consistency(&tiles, old.size(), new.size())?;
    let earlier = earlier_root(&tiles, old.size()).map_err(ProveError::Reader)?;
    // The tiles must first be shown to be those of the larger root: damaged tiles are no proof against the log.
    verify_consistency(old.size(), earlier, new.size(), new.root(), &proof)
        .map_err(CompareError::Damaged)?;
    Ok(if earlier == old.root() {
        Relation::Continues
    } else {
        Relation::Forked
    })
}

/// Root that a tree had at an earlier size: its complete subtrees, joined from the right (RFC 6962 §2.1).
fn earlier_root<R: HashReader>(tiles: &R, size: u64) -> Result<Hash, R::Error> {
    let mut root = None;
    for level in (0..u64::BITS).filter(|level| size >> level & 1 == 1) {
        let subtree = tiles.hash(Node {
            level,
            index: (size >> level) - 1,
        })?;
        root = Some(root.map_or(subtree, |right| node_hash(subtree, right)));
    }
    Ok(root.unwrap_or(EMPTY_ROOT))
}
