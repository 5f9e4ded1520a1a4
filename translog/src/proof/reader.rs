//! Where the hashes of a proof come from.

use core::cell::RefCell;
use core::error::Error;
use std::collections::BTreeMap;

use crate::tile::{Tile, TileId};
use crate::tree::{Hash, node_hash};

/// A complete subtree: the leaves `index · 2^level .. (index + 1) · 2^level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Height of the subtree; 0 is a leaf.
    pub level: u32,
    /// Position among the nodes of its level, from 0.
    pub index: u64,
}

/// Gives the hash of any complete subtree of one tree.
pub trait HashReader {
    /// Why a hash could not be read.
    type Error: Error;

    /// The hash of this subtree.
    ///
    /// # Errors
    /// When it cannot be read, or lies outside the tree.
    fn hash(&self, node: Node) -> Result<Hash, Self::Error>;
}

/// Gives tiles, from wherever they are kept.
pub trait TileReader {
    /// Why a tile could not be read.
    type Error: Error;

    /// The tile at this level, index and width.
    ///
    /// # Errors
    /// When it cannot be read.
    fn tile(&self, id: TileId) -> Result<Tile, Self::Error>;
}

/// Hashes of the tree with `size` leaves, computed from tiles that are each read once. What was computed for one
/// proof serves the next: proofs of neighbours cost a few hashes each.
///
/// The tiles are believed: check what is proved with them against a trusted root.
#[derive(Debug)]
pub struct TileHashes<'a, R> {
    reader: &'a R,
    size: u64,
    read: RefCell<BTreeMap<TileId, Tile>>,
    made: RefCell<BTreeMap<Node, Hash>>,
}

/// Why [`TileHashes`] has no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileReadError<E> {
    /// The tree of this size has no such complete subtree.
    #[error("no complete subtree {index} of height {level} in a tree of {size} leaves", level = node.level, index = node.index)]
    OutOfTree {
        /// The subtree asked for.
        node: Node,
        /// Number of leaves in the tree.
        size: u64,
    },
    /// The reader gave a tile of another width than asked for.
    #[error("{id} was read with {got} hashes")]
    Width {
        /// The tile asked for.
        id: TileId,
        /// Hashes in the tile that came.
        got: usize,
    },
    /// The reader failed.
    #[error(transparent)]
    Reader(E),
}

impl<'a, R: TileReader> TileHashes<'a, R> {
    /// The tree with `size` leaves, as `reader` holds it.
    pub const fn new(reader: &'a R, size: u64) -> Self {
        Self {
            reader,
            size,
            read: RefCell::new(BTreeMap::new()),
            made: RefCell::new(BTreeMap::new()),
        }
    }

    fn read(&self, id: TileId) -> Result<(), TileReadError<R::Error>> {
        if self.read.borrow().contains_key(&id) {
            return Ok(());
        }
        let tile = self.reader.tile(id).map_err(TileReadError::Reader)?;
        if tile.width() != id.width() {
            return Err(TileReadError::Width {
                id,
                got: tile.hashes().len(),
            });
        }
        self.read.borrow_mut().insert(id, tile);
        Ok(())
    }

    /// The hash of a node that stands in a tile.
    fn stored(&self, node: Node) -> Result<Hash, TileReadError<R::Error>> {
        let out_of_tree = TileReadError::OutOfTree {
            node,
            size: self.size,
        };
        let Some((id, place)) = locate(node, self.size) else {
            return Err(out_of_tree);
        };
        self.read(id)?;
        let read = self.read.borrow();
        let hash = read
            .get(&id)
            .and_then(|tile| tile.hashes().get(place).copied());
        hash.ok_or(out_of_tree)
    }
}

impl<R: TileReader> HashReader for TileHashes<'_, R> {
    type Error = TileReadError<R::Error>;

    fn hash(&self, node: Node) -> Result<Hash, Self::Error> {
        let Some((left, right)) = children(node) else {
            return self.stored(node);
        };
        if let Some(hash) = self.made.borrow().get(&node) {
            return Ok(*hash);
        }
        let hash = node_hash(self.hash(left)?, self.hash(right)?);
        self.made.borrow_mut().insert(node, hash);
        Ok(hash)
    }
}

/// The two subtrees of a node that stands in no tile itself.
fn children(node: Node) -> Option<(Node, Node)> {
    let level = node.level.checked_sub(1)?;
    let left = node.index.checked_mul(2)?;
    let child = |index| Node { level, index };
    (!node.level.is_multiple_of(TileId::HEIGHT)).then(|| (child(left), child(left | 1)))
}

/// The tile in which a node stands, and where in it.
fn locate(node: Node, size: u64) -> Option<(TileId, usize)> {
    let level = u8::try_from(node.level / TileId::HEIGHT).ok()?;
    let id = TileId::in_tree(level, node.index / 256, size)?;
    Some((id, usize::try_from(node.index % 256).ok()?))
}
