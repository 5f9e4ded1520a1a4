use super::{LedgerError, LogFiles};
use std::sync::Arc;
use translog::proof::TileReader;
use translog::tile::{Tile, TileId};

/// The tiles of one head: the partial ones from memory, because their files may still have to be written; the full ones
/// from their files.
#[derive(Clone, Debug)]
pub struct LogTiles {
    files: LogFiles,
    partials: Arc<[(TileId, Tile)]>,
}

impl LogTiles {
    /// The files of a log, beside partial tiles that are known already.
    #[must_use]
    pub fn new(files: LogFiles, partials: Vec<(TileId, Tile)>) -> Self {
        Self {
            files,
            partials: partials.into(),
        }
    }
}

impl TileReader for LogTiles {
    type Error = LedgerError;

    fn tile(&self, id: TileId) -> Result<Tile, LedgerError> {
        let known = self.partials.iter().find(|(known, _)| *known == id);
        known.map_or_else(|| self.files.tile(id), |(_, tile)| Ok(tile.clone()))
    }
}
