//! The manifest: text, one fact a line, and the hash of all that at its end. On disk; see the golden in the tests.

use identity::hash::sha256;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

/// First line.
const TITLE: &str = "koseki/backup/v1";
/// Longest manifest in bytes.
pub(super) const LONGEST: u64 = 64 * 1024;
/// Read at once when a file is hashed.
const STEP: usize = 128 * 1024;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Origin of the log.
    pub origin: String,
    /// When it was made, milliseconds since 1970 by the server's clock.
    pub made_ms: u64,
    /// Leaves in the store's copy.
    pub size: u64,
    /// Root over them.
    pub root: [u8; 32],
    /// All files but the manifest, in the order of their names.
    pub files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the backup.
    pub name: String,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256.
    pub hash: [u8; 32],
}

/// Not a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not UTF-8, or without its last line.
    #[error("not a manifest of a backup")]
    Form,
    /// The last line does not fit the others.
    #[error("altered since it was written: it does not have the hash that it ends with")]
    Hash,
    /// Written by a newer program.
    #[error("of a form that this program does not know")]
    Version,
}

impl Manifest {
    /// Reads what [`fmt::Display`] wrote; nothing else has this form.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_not_text| ManifestError::Form)?;
        let (body, hash) = text.rsplit_once("sha256 ").ok_or(ManifestError::Form)?;
        if hash.trim_end() != hex::encode(sha256(body.as_bytes())) {
            return Err(ManifestError::Hash);
        }
        let mut lines = body.lines();
        if lines.next() != Some(TITLE) {
            return Err(ManifestError::Version);
        }
        let manifest = Self::of_lines(&mut lines).ok_or(ManifestError::Form)?;
        match manifest.to_string() == text {
            true => Ok(manifest),
            false => Err(ManifestError::Form),
        }
    }

    fn of_lines<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut fact = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            origin: fact("origin")?.to_owned(),
            made_ms: fact("made")?.parse().ok()?,
            size: fact("size")?.parse().ok()?,
            root: hash(fact("root")?)?,
            files: lines.map(Entry::parse).collect::<Option<_>>()?,
        })
    }

    /// The file of this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.files.iter().find(|entry| entry.name == name)
    }
}

impl Entry {
    /// A file as it is on the disk now.
    pub(super) fn of(name: &str, path: &Path) -> std::io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let (mut context, mut buffer) = (sha2::Sha256::default(), vec![0; STEP]);
        let mut length = 0_u64;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            sha2::Digest::update(&mut context, buffer.get(..read).unwrap_or_default());
            length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        Ok(Self {
            name: name.to_owned(),
            length,
            hash: sha2::Digest::finalize(context).into(),
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("file ")?.splitn(3, ' ');
        let length = words.next()?.parse().ok()?;
        let (hash, name) = (hash(words.next()?)?, words.next()?.to_owned());
        let is_below = !name.is_empty()
            && Path::new(&name)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
        is_below.then_some(Self { name, length, hash })
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = format!(
            "{TITLE}\norigin {}\nmade {}\nsize {}\nroot {}\n",
            self.origin,
            self.made_ms,
            self.size,
            hex::encode(self.root)
        );
        for Entry { name, length, hash } in &self.files {
            body.push_str(&format!("file {length} {} {name}\n", hex::encode(hash)));
        }
        let hash = hex::encode(sha256(body.as_bytes()));
        writeln!(f, "{body}sha256 {hash}")
    }
}

fn hash(hex: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(hex, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = "koseki/backup/v1
origin log.example/a
made 1793750400000
size 7
root 0101010101010101010101010101010101010101010101010101010101010101
file 12 0202020202020202020202020202020202020202020202020202020202020202 ca.sqlite
file 3 0303030303030303030303030303030303030303030303030303030303030303 ceremony/root.pem
sha256 19e9c59a4cb6e4f72411e56b505f7973232265dc87f78b6a2827911d1f9a0fd1
";

    fn manifest() -> Manifest {
        let entry = |name: &str, length, fill| Entry {
            name: name.to_owned(),
            length,
            hash: [fill; 32],
        };
        Manifest {
            origin: "log.example/a".to_owned(),
            made_ms: 1_793_750_400_000,
            size: 7,
            root: [1; 32],
            files: vec![entry("ca.sqlite", 12, 2), entry("ceremony/root.pem", 3, 3)],
        }
    }

    #[test]
    fn it_is_written_as_reviewed_and_read_again() {
        assert_eq!(manifest().to_string(), GOLDEN);
        assert_eq!(Manifest::parse(GOLDEN.as_bytes()), Ok(manifest()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let text = manifest().to_string().into_bytes();
        for bit in 0..8 * text.len() {
            let mut altered = text.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::parse(&altered).is_err(), "bit {bit}");
        }
        for length in 0..text.len() {
            assert!(Manifest::parse(&text[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn no_file_lies_above_the_backup() {
        for name in ["../a", "/etc/passwd", "a/../../b", ""] {
            let mut manifest = manifest();
            manifest.files[0].name = name.to_owned();
            let text = manifest.to_string();
            assert_eq!(Manifest::parse(text.as_bytes()), Err(ManifestError::Form));
        }
    }
}
