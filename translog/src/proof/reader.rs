//! Where the hashes of a proof come from.

use core::cell::RefCell;
use core::error::Error;
use std::collections::BTreeMap;

use crate::tile::{Tile, TileId};
use crate::tree::{Hash, root_of};

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

/// Hashes of the tree with `size` leaves, computed from tiles that are each read once.
///
/// The tiles are believed: check what is proved with them against a trusted root.
#[derive(Debug)]
pub struct TileHashes<'a, R> {
    reader: &'a R,
    size: u64,
    read: RefCell<BTreeMap<TileId, Tile>>,
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
}

impl<R: TileReader> HashReader for TileHashes<'_, R> {
    type Error = TileReadError<R::Error>;

    fn hash(&self, node: Node) -> Result<Hash, Self::Error> {
        let out_of_tree = TileReadError::OutOfTree {
            node,
            size: self.size,
        };
        let Some((id, start, count)) = locate(node, self.size) else {
            return Err(out_of_tree);
        };
        self.read(id)?;
        let read = self.read.borrow();
        let hashes = read
            .get(&id)
            .and_then(|tile| tile.hashes().get(start..)?.get(..count));
        hashes.map(root_of).ok_or(out_of_tree)
    }
}

/// The tile that holds this node or its descendants, and where in it: first hash and their number.
fn locate(node: Node, size: u64) -> Option<(TileId, usize, usize)> {
    let (tile_level, height) = (node.level / TileId::HEIGHT, node.level % TileId::HEIGHT);
    let count = 1_u64 << height;
    let first = node.index.checked_mul(count)?;
    let id = TileId::in_tree(u8::try_from(tile_level).ok()?, first / 256, size)?;
    Some((
        id,
        usize::try_from(first % 256).ok()?,
        usize::try_from(count).ok()?,
    ))
}
