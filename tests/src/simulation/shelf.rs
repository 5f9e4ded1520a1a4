//! The log's static files, which are written without a flush, and the head file, which is flushed. They lie in a
//! directory of the real system; what a power cut would leave of them is put there before the next start.
//!
//! Of a file that was not flushed since, the newer bytes, the older ones, or a beginning of the newer are left. Files
//! of the right length with other bytes in them, as some file systems leave, are not modelled.

use super::Chance;
use super::ground::Places;
use crate::failure::{At as _, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of one of the head file's two places.
const SLOT: usize = 56;

/// What of a world's files is flushed.
#[derive(Debug)]
pub(super) struct Shelf {
    places: Places,
    flushed: BTreeMap<PathBuf, Vec<u8>>,
    /// The head file when the step began that is under way.
    head: Vec<u8>,
}

impl Shelf {
    /// Everything is flushed now.
    pub(super) fn of(places: &Places) -> Outcome<Self> {
        let mut shelf = Self {
            places: places.clone(),
            flushed: BTreeMap::new(),
            head: Vec::new(),
        };
        shelf.flush()?;
        shelf.begin_step()?;
        Ok(shelf)
    }

    /// The system writes out what it has.
    pub(super) fn flush(&mut self) -> Outcome<()> {
        let files = read_all(&self.places.home, &["log"])?;
        self.flushed = files.into_iter().collect();
        Ok(())
    }

    /// A step of the server begins.
    pub(super) fn begin_step(&mut self) -> Outcome<()> {
        let head = self.places.head();
        self.head = fs::read(&head).at(&head)?;
        Ok(())
    }

    /// The power goes. If the step that is under way `wrote` nothing to a database yet, it may have gone on the way
    /// to the head file too. Gives how many files are not what they were.
    pub(super) fn lose(&mut self, chance: &mut Chance, wrote: bool) -> Outcome<u64> {
        let now: BTreeMap<_, _> = read_all(&self.places.home, &["log"])?.into_iter().collect();
        let names: BTreeSet<_> = now.keys().chain(self.flushed.keys()).cloned().collect();
        let mut lost = 0;
        for name in names {
            let (new, old) = (now.get(&name), self.flushed.get(&name));
            if new == old {
                continue;
            }
            let left = match (chance.below(3), new) {
                (0, _) => new.cloned(),
                (1, Some(new)) => Some(new[..chance.place(new.len() + 1)].to_vec()),
                _ => old.cloned(),
            };
            lost += u64::from(left.as_ref() != new);
            let path = self.places.home.join(&name);
            match left {
                Some(bytes) => {
                    fs::create_dir_all(path.parent().unwrap_or(&path)).at(&path)?;
                    fs::write(&path, bytes).at(&path)?;
                }
                None if new.is_some() => fs::remove_file(&path).at(&path)?,
                None => {}
            }
        }
        if !wrote {
            lost += self.lose_head(chance)?;
        }
        self.flush()?;
        Ok(lost)
    }

    fn lose_head(&self, chance: &mut Chance) -> Outcome<u64> {
        let path = self.places.head();
        let now = fs::read(&path).at(&path)?;
        if now == self.head || chance.one_in(3) {
            return Ok(0);
        }
        let mut left = self.head.clone();
        if chance.one_in(2) {
            // The place that was being written is torn.
            let other = |at: usize| self.head.get(at..at + SLOT) != now.get(at..at + SLOT);
            let at = if other(0) { 0 } else { SLOT };
            left.resize(now.len().max(left.len()), 0);
            let until = at + chance.place(SLOT);
            left[at..until].copy_from_slice(&now[at..until]);
        }
        fs::write(&path, left).at(&path)?;
        Ok(1)
    }
}

/// All files below these names, in order.
pub(super) fn read_all(home: &Path, names: &[&str]) -> Outcome<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for name in names {
        collect(home, &home.join(name), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(home: &Path, path: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) -> Outcome<()> {
    if !path.is_dir() {
        let name = path.strip_prefix(home).unwrap_or(path).to_owned();
        into.push((name, fs::read(path).at(path)?));
        return Ok(());
    }
    for entry in fs::read_dir(path).at(path)? {
        collect(home, &entry.at(path)?.path(), into)?;
    }
    Ok(())
}
