//! Tiles and entry bundles: the static files of a log (C2SP tlog-tiles v0.1.0).

mod bundle;
mod edge;
mod path;

pub use bundle::{BundleError, MAX_ENTRY_BYTES, decode_entries, encode_entries};
pub use edge::RightEdge;
pub use path::{BundleId, PathError, Resource, TileId, Width, bundles_between};

use crate::tree::Hash;

/// Between 1 and 256 consecutive hashes of one tile level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    hashes: Vec<Hash>,
    width: Width,
}

/// The bytes are not the tile that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// A tile has between 1 and 256 hashes.
    #[error("a tile has 1 to 256 hashes, not {0}")]
    Width(usize),
    /// The length is not 32 bytes a hash.
    #[error("a tile of {width} hashes does not have {bytes} bytes")]
    Length {
        /// Hashes expected.
        width: Width,
        /// Bytes found.
        bytes: usize,
    },
}

impl Tile {
    /// A tile of these hashes.
    ///
    /// # Errors
    /// [`TileError::Width`] unless there are 1 to 256 of them.
    pub fn new(hashes: Vec<Hash>) -> Result<Self, TileError> {
        let width = Width::of(hashes.len()).ok_or(TileError::Width(hashes.len()))?;
        Ok(Self { hashes, width })
    }

    /// The hashes, leftmost first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Number of hashes.
    #[must_use]
    pub const fn width(&self) -> Width {
        self.width
    }

    /// The file: the hashes, one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes
            .iter()
            .flat_map(|hash| *hash.as_bytes())
            .collect()
    }

    /// Reads the file of a tile of known width.
    ///
    /// # Errors
    /// [`TileError::Length`] unless `bytes` has exactly `width` hashes.
    pub fn from_bytes(bytes: &[u8], width: Width) -> Result<Self, TileError> {
        let (hashes, rest) = bytes.as_chunks();
        if !rest.is_empty() || hashes.len() != width.hashes() {
            return Err(TileError::Length {
                width,
                bytes: bytes.len(),
            });
        }
        Ok(Self {
            hashes: hashes.iter().copied().map(Hash::new).collect(),
            width,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::leaves;

    #[test]
    fn file_round_trips_and_is_strict() {
        let tile = Tile::new(leaves(5)).unwrap();
        let bytes = tile.to_bytes();
        assert_eq!(Tile::from_bytes(&bytes, tile.width()), Ok(tile));
        let too_long = [bytes.as_slice(), &[0]].concat();
        for (wrong, width) in [
            (&bytes[..159], 5),
            (&bytes[..128], 5),
            (&too_long, 5),
            (&bytes, 4),
        ] {
            let width = Width::new(width).unwrap();
            let refused = TileError::Length {
                width,
                bytes: wrong.len(),
            };
            assert_eq!(Tile::from_bytes(wrong, width), Err(refused));
        }
        assert_eq!(Tile::new(vec![]), Err(TileError::Width(0)));
        assert_eq!(Tile::new(leaves(257)), Err(TileError::Width(257)));
    }
}
