//! The right edge of the tiled tree: what is needed to write the next tiles.

use super::{Tile, TileId, Width};
use crate::proof::{TileReadError, TileReader};
use crate::tree::{Frontier, Hash, root_of};

/// The partial tiles of a tree, one a level. Appending leaves yields the tiles to write.
///
/// A partial tile is never hashed upward, and an empty one is never written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RightEdge {
    size: u64,
    /// 0 to 255 hashes for each level, level 0 first.
    levels: Vec<Vec<Hash>>,
}

impl RightEdge {
    /// The edge of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            levels: Vec::new(),
        }
    }

    /// Reads the edge of the tree with `size` leaves from its partial tiles. They are believed:
    /// compare [`RightEdge::frontier`] with what the log stored.
    ///
    /// # Errors
    /// [`TileReadError`] when a tile cannot be read, or has another width.
    pub fn read<R: TileReader>(reader: &R, size: u64) -> Result<Self, TileReadError<R::Error>> {
        let mut edge = Self {
            size,
            levels: Vec::new(),
        };
        for id in TileId::partial_in_tree(size) {
            let tile = reader.tile(id).map_err(TileReadError::Reader)?;
            if tile.width() != id.width() {
                return Err(TileReadError::Width {
                    id,
                    got: tile.hashes().len(),
                });
            }
            *edge.level_mut(id.level()) = tile.hashes().to_vec();
        }
        Ok(edge)
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The compact range of the same tree.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let peaks = self
            .levels
            .iter()
            .rev()
            .flat_map(|hashes| peaks_of(hashes))
            .collect();
        Frontier::from_peaks(self.size, peaks)
    }

    /// The partial tiles of this size, lowest level first.
    pub fn partials(&self) -> impl Iterator<Item = (TileId, Tile)> {
        (0_u8..).zip(&self.levels).filter_map(|(level, hashes)| {
            let above = u32::from(level).saturating_mul(TileId::HEIGHT);
            tile_at(level, self.size.checked_shr(above)? / 256, hashes)
        })
    }

    /// Appends leaf hashes and yields the tiles to write for the new size, lowest level first and
    /// in order: those completed on the way, and of every level touched the new partial one.
    pub fn append(&mut self, leaf_hashes: &[Hash]) -> Vec<(TileId, Tile)> {
        let mut tiles = Vec::new();
        let mut level = 0;
        let mut rising = leaf_hashes.to_vec();
        let old_size = self.size;
        self.size =
            u64::try_from(leaf_hashes.len()).map_or(u64::MAX, |more| old_size.saturating_add(more));
        while !rising.is_empty() && level <= TileId::MAX_LEVEL {
            let first = old_size
                .checked_shr(u32::from(level).saturating_mul(TileId::HEIGHT))
                .unwrap_or(0)
                / 256;
            let row = self.level_mut(level);
            row.append(&mut rising);
            let written = (first..).zip(row.chunks(Width::FULL.hashes()));
            tiles.extend(written.filter_map(|(index, hashes)| tile_at(level, index, hashes)));
            let (full, partial) = row.as_chunks::<256>();
            rising = full.iter().map(|hashes| root_of(hashes)).collect();
            *row = partial.to_vec();
            level = level.saturating_add(1);
        }
        tiles
    }

    fn level_mut(&mut self, level: u8) -> &mut Vec<Hash> {
        let level = usize::from(level);
        if self.levels.len() <= level {
            self.levels.resize(level.saturating_add(1), Vec::new());
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "the line above made the level exist"
        )]
        &mut self.levels[level]
    }
}

fn tile_at(level: u8, index: u64, hashes: &[Hash]) -> Option<(TileId, Tile)> {
    let tile = Tile::new(hashes.to_vec()).ok()?;
    Some((TileId::new(level, index, tile.width())?, tile))
}

/// Roots of the complete subtrees that a partial tile is made of, largest first.
fn peaks_of(hashes: &[Hash]) -> Vec<Hash> {
    hashes
        .iter()
        .copied()
        .collect::<Frontier>()
        .peaks()
        .to_vec()
}
