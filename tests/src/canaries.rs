//! Canary keys and PINs, and where they are searched for: in files, logs, environments and command lines.

use crate::factory::Factory;
use crate::failure::{At as _, Failure, Outcome, require};
use base64ct::{Base64, Encoding as _};
use p256::SecretKey;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Places in a chip's memory: the vendor's attestation key, and the key slot.
const CHIP_SECRETS: [usize; 2] = [106, 512];

/// Files that hold a secret by their purpose: PIN files their PIN, chips' memories their keys, the vendor's test key.
const MAY_HOLD: [&str; 4] = [".pin", ".so-pin", ".chip", "vendor-TEST-KEY.pem"];

/// How any private key begins that is not wrapped, whatever its value: keys of an HSM are known to nobody, and this is how
/// they would look if they got out. PKCS #8 and SEC 1 of P-256, PKCS #8 of Ed25519, and PEM of all of them.
const FORMS: [(&str, &[u8]); 4] = [
    (
        "a P-256 key, PKCS #8",
        b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08",
    ),
    (
        "an Ed25519 key, PKCS #8",
        b"\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20",
    ),
    ("a P-256 key, SEC 1", b"\x30\x77\x02\x01\x01\x04\x20"),
    ("a key, PEM", b"PRIVATE KEY-----"),
];
/// Of these, those of PKCS #8, which are searched for in base64 too.
const PKCS8: usize = 2;

/// What is searched for.
pub struct Canaries {
    /// By its first four bytes.
    known: BTreeMap<[u8; 4], Vec<(String, Vec<u8>)>>,
    /// Whether any begins with these two: most bytes of a file are no beginning.
    begins: Vec<bool>,
}

impl Default for Canaries {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            begins: vec![false; 1 << 16],
        }
    }
}

impl Canaries {
    /// PINs of all tokens, keys of all chips and of their vendor, and the forms of private keys.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn of(factory: &Factory) -> Outcome<Self> {
        let mut canaries = Self::default();
        for (name, form) in FORMS {
            canaries.add(name, form)?;
        }
        for (name, form) in &FORMS[..PKCS8] {
            // Inside a longer text base64 looks one of three ways.
            for skip in 0..3 {
                let text = Base64::encode_string(&form[skip..skip + 12]);
                canaries.add(&format!("{name}, base64"), text.as_bytes())?;
            }
        }
        for path in files(&factory.path(""))? {
            let name = path.display().to_string();
            if name.ends_with("pin") {
                canaries.add(&name, fs::read(&path).at(&path)?.trim_ascii())?;
            } else if name.ends_with(".chip") {
                let memory = fs::read(&path).at(&path)?;
                for place in CHIP_SECRETS {
                    let scalar = memory.get(place..).and_then(|from| from.first_chunk());
                    let scalar = scalar.ok_or_else(|| Failure::new("a short chip"))?;
                    canaries.add_key(&format!("{name} at {place}"), scalar)?;
                }
            }
        }
        let vendor = factory.vendor.private();
        let vendor = fs::read_to_string(&vendor).at(&vendor)?;
        let vendor = SecretKey::from_pkcs8_pem(&vendor).map_err(Failure::new)?;
        canaries.add_key("the vendor's key", &vendor.to_bytes().into())?;
        Ok(canaries)
    }

    /// Bytes under a name.
    ///
    /// # Errors
    /// [`Failure`] if they are too few to be searched for.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let head = *bytes
            .first_chunk()
            .ok_or_else(|| Failure::new(format_args!("{name} is too short")))?;
        self.begins[begin(head[0], head[1])] = true;
        let known = self.known.entry(head).or_default();
        known.push((name.to_owned(), bytes.to_vec()));
        Ok(())
    }

    /// A private scalar in every dress in which programs write keys.
    ///
    /// # Errors
    /// [`Failure`] if it is none.
    pub fn add_key(&mut self, name: &str, scalar: &[u8; 32]) -> Outcome<()> {
        let key = SecretKey::from_slice(scalar).map_err(Failure::new)?;
        let pkcs8 = key.to_pkcs8_der().map_err(Failure::new)?;
        self.add(name, scalar)?;
        self.add(&format!("{name}, PKCS #8"), pkcs8.as_bytes())?;
        let hex = hex::encode(scalar);
        self.add(&format!("{name}, hex"), hex.as_bytes())?;
        self.add(&format!("{name}, HEX"), hex.to_uppercase().as_bytes())?;
        let list: Vec<_> = scalar.iter().map(u8::to_string).collect();
        self.add(&format!("{name}, as a list"), list.join(", ").as_bytes())?;
        // Inside a longer text base64 looks one of three ways.
        for skip in 0..3 {
            let inner = &scalar[skip..skip + 30 - 3 * (skip / 2)];
            let text = Base64::encode_string(inner);
            self.add(&format!("{name}, base64 from byte {skip}"), text.as_bytes())?;
        }
        Ok(())
    }

    /// The first that is in these bytes.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        bytes.windows(4).enumerate().find_map(|(at, head)| {
            if !self.begins[begin(head[0], head[1])] {
                return None;
            }
            let possible = self.known.get(head)?;
            let here = |(_, canary): &&(String, Vec<u8>)| bytes[at..].starts_with(canary);
            possible.iter().find(here).map(|(name, _)| name.as_str())
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.values().map(Vec::len).sum()
    }

    /// Searches a directory with all in it, but the files that hold a secret by their purpose. Gives how many files.
    ///
    /// # Errors
    /// [`Failure`] says what is where.
    pub fn search(&self, directory: &Path) -> Outcome<usize> {
        let mut searched = 0;
        for path in files(directory)? {
            let name = path.display().to_string();
            if !MAY_HOLD.iter().any(|end| name.ends_with(end)) {
                searched += 1;
                self.hold(&name, &fs::read(&path).at(&path)?)?;
            }
        }
        Ok(searched)
    }

    /// Searches the environment and the command line of a process.
    ///
    /// # Errors
    /// [`Failure`] says what is where.
    pub fn search_process(&self, process: u32) -> Outcome<()> {
        for told in ["environ", "cmdline"] {
            let path = PathBuf::from(format!("/proc/{process}/{told}"));
            let bytes = fs::read(&path).at(&path)?;
            let name = path.display();
            require(bytes.len() > 10, format_args!("{name} is empty"))?;
            self.hold(&name.to_string(), &bytes)?;
        }
        Ok(())
    }

    fn hold(&self, name: &str, bytes: &[u8]) -> Outcome<()> {
        match self.found_in(bytes) {
            None => Ok(()),
            Some(canary) => Err(Failure::new(format_args!("I7: {canary} is in {name}"))),
        }
    }
}

fn begin(first: u8, second: u8) -> usize {
    usize::from(u16::from_be_bytes([first, second]))
}

/// All files below a directory, in order.
///
/// # Errors
/// [`Failure`] names the directory.
pub fn files(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at(&folder)? {
            let path = entry.at(&folder)?.path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.is_file() => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    Ok(found)
}
