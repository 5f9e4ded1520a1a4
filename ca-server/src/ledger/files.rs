use super::LedgerError;
use identity::support::{DIRECTORY, Support, file_name};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use translog::proof::TileReader;
use translog::tile::{BundleId, Tile, TileId, Width, encode_entries};

/// The log as static files (C2SP tlog-tiles): `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`. Beside
/// them `documents/<hash>.der`: what leaves name by hash only.
#[derive(Clone, Debug)]
pub struct LogFiles {
    directory: PathBuf,
}

impl LogFiles {
    /// Opens the directory, making it if needed.
    ///
    /// # Errors
    /// [`LedgerError::File`].
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        std::fs::create_dir_all(directory).map_err(|error| at(directory, error))?;
        Ok(Self {
            directory: directory.to_path_buf(),
        })
    }

    /// The published checkpoint, if there is one.
    ///
    /// # Errors
    /// [`LedgerError::File`].
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, LedgerError> {
        read(&self.directory.join("checkpoint"))
    }

    pub(super) fn write_checkpoint(&self, note: &str) -> Result<(), LedgerError> {
        replace(&self.directory.join("checkpoint"), note.as_bytes())
    }

    pub(super) fn write_tile(&self, id: TileId, tile: &Tile) -> Result<(), LedgerError> {
        self.create(&id.to_string(), &tile.to_bytes(), id.width().is_full())
    }

    pub(super) fn write_bundle(
        &self,
        id: BundleId,
        entries: &[Vec<u8>],
    ) -> Result<(), LedgerError> {
        let bytes = encode_entries(entries).map_err(|_too_long| LedgerError::Root)?;
        self.create(&id.to_string(), &bytes, id.width().is_full())
    }

    /// Keeps the documents behind a leaf beside the tiles, for whoever audits them.
    pub(super) fn write_document(&self, support: &Support) -> Result<(), LedgerError> {
        let name = format!("{DIRECTORY}/{}", file_name(&support.hash()));
        self.create(&name, &support.to_bytes(), false)
    }

    /// Widths below this one of which the partial file stands beside the partial file of this name.
    pub(super) fn narrower(&self, name: &str, than: Width) -> Result<Vec<Width>, LedgerError> {
        let path = self.directory.join(name);
        let partials = path.parent().unwrap_or(&path);
        let names = match std::fs::read_dir(partials) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(partials, error)),
        };
        let names: Vec<_> = names
            .collect::<Result<_, _>>()
            .map_err(|error| at(partials, error))?;
        let widths = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(widths
            .filter_map(Width::new)
            .filter(|width| width.hashes() < than.hashes())
            .collect())
    }

    /// Create if absent, compare if present. Once a tile is full, its partials are no longer needed.
    ///
    /// Written in place: nobody looks for a file that no checkpoint covers yet, and a name never gets other bytes.
    #[expect(
        clippy::fn_params_excessive_bools,
        reason = "full or partial is what the caller knows of the width"
    )]
    fn create(&self, name: &str, bytes: &[u8], full: bool) -> Result<(), LedgerError> {
        let path = self.directory.join(name);
        let created = with_directory(&path, || std::fs::File::create_new(&path));
        match created.and_then(|mut file| file.write_all(bytes)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => mend(&path, bytes)?,
            Err(error) => return Err(at(&path, error)),
        }
        if full {
            remove_partials(&path)?;
        }
        Ok(())
    }
}

impl TileReader for LogFiles {
    type Error = LedgerError;

    /// A partial tile that is gone was a beginning of the full one, which is written before the partial one goes: so
    /// whoever still reads under an older checkpoint finds the same hashes there.
    fn tile(&self, id: TileId) -> Result<Tile, LedgerError> {
        let path = self.directory.join(id.to_string());
        if let Some(bytes) = read(&path)? {
            return Tile::from_bytes(&bytes, id.width()).map_err(|_bad| LedgerError::Differs(path));
        }
        let missing = || at(&path, ErrorKind::NotFound.into());
        let full = TileId::new(id.level(), id.index(), Width::FULL).ok_or_else(missing)?;
        let full_path = self.directory.join(full.to_string());
        let bytes = read(&full_path)?.ok_or_else(missing)?;
        let begun = Tile::from_bytes(&bytes, Width::FULL).and_then(|full| {
            Tile::new(
                full.hashes()
                    .iter()
                    .take(id.width().hashes())
                    .copied()
                    .collect(),
            )
        });
        begun.map_err(|_bad| LedgerError::Differs(full_path))
    }
}

fn at(path: &Path, error: std::io::Error) -> LedgerError {
    LedgerError::File {
        path: path.to_path_buf(),
        error,
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, LedgerError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path, error)),
    }
}

/// A file that is there already holds these bytes, or was torn by a power cut: then it is shorter, or zeros stand where it
/// was not written yet.
fn mend(path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    let present = read(path)?.unwrap_or_default();
    if present == bytes {
        return Ok(());
    }
    let same = present.iter().zip(bytes).take_while(|(has, is)| has == is);
    let (_, rest) = present.split_at(same.count());
    match present.len() <= bytes.len() && rest.iter().all(|byte| *byte == 0) {
        true => replace(path, bytes),
        false => Err(LedgerError::Differs(path.to_path_buf())),
    }
}

/// Writes beside, then renames: a reader sees the old bytes or the new ones.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    let beside = path.with_extension("new");
    let write = || {
        with_directory(&beside, || std::fs::File::create(&beside))?.write_all(bytes)?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| at(path, error))
}

/// Opens a file, making its directory if that is what is missing.
fn with_directory(
    path: &Path,
    open: impl Fn() -> std::io::Result<std::fs::File>,
) -> std::io::Result<std::fs::File> {
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            open()
        }
        opened => opened,
    }
}

fn remove_partials(full: &Path) -> Result<(), LedgerError> {
    let mut partials = full.as_os_str().to_owned();
    partials.push(".p");
    match std::fs::remove_dir_all(&partials) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(full, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use translog::tile::RightEdge;
    use translog::tree::{Hash, leaf_hash};

    /// Files of a log of so many leaves that grew in steps, each with files of its own.
    fn grown(home: &Path, steps: &[u16]) -> LogFiles {
        let files = LogFiles::open(home).unwrap();
        let (mut edge, mut size) = (RightEdge::new(), 0_u16);
        for step in steps {
            let leaves: Vec<Hash> = (size..*step)
                .map(|leaf| leaf_hash(&leaf.to_be_bytes()))
                .collect();
            for (id, tile) in edge.append(&leaves) {
                files.write_tile(id, &tile).unwrap();
            }
            size = *step;
        }
        files
    }

    #[test]
    fn a_partial_tile_that_was_filled_up_meanwhile_is_read_from_the_full_one() {
        let home = tempfile::tempdir().unwrap();
        let id = TileId::in_tree(0, 0, 200).unwrap();
        let before = grown(home.path(), &[200]).tile(id).unwrap();
        let files = grown(&home.path().join("later"), &[200, 256]);
        assert!(
            !files.directory.join(id.to_string()).exists(),
            "the partial tile is still there"
        );
        assert_eq!(files.tile(id).unwrap(), before);
    }

    #[test]
    fn a_tile_that_no_file_begins_with_is_missing() {
        let home = tempfile::tempdir().unwrap();
        let files = grown(home.path(), &[200]);
        for id in [
            TileId::in_tree(0, 0, 199),
            TileId::in_tree(0, 0, 256),
            TileId::in_tree(0, 1, 300),
        ] {
            assert!(
                matches!(files.tile(id.unwrap()), Err(LedgerError::File { .. })),
                "{id:?}"
            );
        }
    }
}
