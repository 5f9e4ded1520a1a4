//! The program itself: what it is, measured from the file it runs from, and held against what the settings pin.

use crate::files::FileError;
use identity::hash::{Sink as _, sha256_of};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The running program's own file (proc(5)); it stays the same file when another one takes its name.
const SELF: &str = "/proc/self/exe";

/// SHA-256 of a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProgramHash(pub [u8; 32]);

/// What is pinned of the program in the settings.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// SHA-256 of the only program that may work with these settings; any, if there is none.
    #[serde(default, deserialize_with = "hash")]
    pub sha256: Option<ProgramHash>,
}

/// The program is not the one that is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this program is {measured}, the settings pin {pinned}")]
pub struct Altered {
    /// What runs.
    pub measured: ProgramHash,
    /// What may run.
    pub pinned: ProgramHash,
}

impl ProgramHash {
    /// Of the program that is running.
    ///
    /// # Errors
    /// [`FileError::Io`]
    pub fn measure() -> Result<Self, FileError> {
        Self::of(Path::new(SELF))
    }

    /// Of a file.
    ///
    /// # Errors
    /// [`FileError::Io`]
    pub fn of(path: &Path) -> Result<Self, FileError> {
        let mut file = File::open(path).map_err(FileError::io(path))?;
        let mut outcome = Ok(());
        let hash = sha256_of(|hasher| {
            let mut piece = vec![0; 64 * 1024];
            loop {
                match file.read(&mut piece) {
                    Ok(0) => break,
                    Ok(len) => hasher.put(piece.get(..len).unwrap_or_default()),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
        });
        outcome.map_err(FileError::io(path))?;
        Ok(Self(hash))
    }
}

impl Pinned {
    /// That this program may work with these settings.
    ///
    /// # Errors
    /// [`Altered`]
    pub fn check(&self, measured: ProgramHash) -> Result<(), Altered> {
        match self.sha256 {
            Some(pinned) if pinned != measured => Err(Altered { measured, pinned }),
            Some(_) | None => Ok(()),
        }
    }
}

impl fmt::Display for ProgramHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ProgramHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ProgramHash>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(serde::de::Error::custom)?;
    Ok(Some(ProgramHash(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_program_is_measured_and_another_one_is_refused() {
        let measured = ProgramHash::measure().unwrap();
        let file = std::env::current_exe().unwrap();
        assert_eq!(ProgramHash::of(&file).unwrap(), measured);
        let directory = tempfile::tempdir().unwrap();
        let altered = directory.path().join("line-agent");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&altered, bytes).unwrap();
        let other = ProgramHash::of(&altered).unwrap();
        assert_ne!(other, measured);
        let pin = |hash: ProgramHash| -> Pinned {
            toml::from_str(&format!("sha256 = \"{hash}\"")).unwrap()
        };
        pin(measured).check(measured).unwrap();
        assert_eq!(
            pin(measured).check(other),
            Err(Altered {
                measured: other,
                pinned: measured
            })
        );
        Pinned::default().check(other).unwrap();
        toml::from_str::<Pinned>("sha256 = \"ab\"").unwrap_err();
    }

    #[test]
    fn a_known_file_has_its_known_hash() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-4, example of SHA-256.
        assert_eq!(
            ProgramHash::of(&path).unwrap().to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
