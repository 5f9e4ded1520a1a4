//! A chip's persistent memory in a file. Key slot and lock word lie in sectors of their own, and each is written by one
//! write that has reached the disk when the call returns: a killed process leaves what a chip without power would.

use crate::chip::error::ChipError;
use crate::chip::trouble::Trouble;
use identity::{ChipUid, PartNumber};
use koseki_device::{Memory, MemoryError, Signature};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"KSKCHIP1";
const SLOT_AT: u64 = 512;
const LOCK_AT: u64 = 1_024;
const CERTIFICATE_LEN_AT: u64 = 1_536;
const CERTIFICATE_AT: u64 = 2_048;
const CERTIFICATE_CAPACITY: u16 = 4_096;
const FILE_LEN: usize = 6_144;
const ERASED: u8 = 0xFF;

/// What the vendor puts into a chip.
pub(crate) struct Makings {
    pub(crate) uid: ChipUid,
    pub(crate) part: PartNumber,
    pub(crate) attestation: Zeroizing<[u8; 32]>,
    pub(crate) endorsement: Signature,
}

/// One chip's memory.
#[derive(Debug)]
pub struct ChipFile {
    file: File,
    path: PathBuf,
    uid: ChipUid,
    part: PartNumber,
    endorsement: Signature,
    trouble: Option<Trouble>,
    lost_power: bool,
}

impl ChipFile {
    /// Makes the file of a new, blank chip; fails if it exists.
    pub(crate) fn create(path: &Path, makings: &Makings) -> Result<(), ChipError> {
        let mut content = Zeroizing::new(Vec::with_capacity(FILE_LEN));
        content.extend_from_slice(&MAGIC);
        put_padded(&mut content, makings.uid.as_bytes(), 32);
        put_padded(&mut content, makings.part.as_bytes(), 64);
        content.extend_from_slice(makings.attestation.as_slice());
        content.extend_from_slice(&makings.endorsement);
        content.resize(FILE_LEN, ERASED);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(ChipError::io(path))?;
        file.write_all(&content)
            .and_then(|()| file.sync_all())
            .map_err(ChipError::io(path))
    }

    /// Opens a chip for one owner.
    ///
    /// # Errors
    /// [`ChipError`]: not there, not a chip, or held by another process.
    pub fn open(path: &Path, trouble: Option<Trouble>) -> Result<Self, ChipError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(ChipError::io(path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(ChipError::InUse(path.to_owned())),
            Err(error) => return Err(ChipError::io(path)(error.into())),
        }
        let mut head = [0; 202];
        if file.read_exact_at(&mut head, 0).is_err() {
            return Err(ChipError::NotAChip(path.to_owned()));
        }
        let (uid, part, endorsement) =
            read_head(&head).ok_or_else(|| ChipError::NotAChip(path.to_owned()))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            uid,
            part,
            endorsement,
            trouble,
            lost_power: false,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True once planted trouble has taken the power away: the chip says nothing more until it is opened again.
    #[must_use]
    pub const fn has_lost_power(&self) -> bool {
        self.lost_power
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        self.file.read_exact_at(out, at).or(Err(MemoryError))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let written = self
            .file
            .write_all_at(bytes, at)
            .and_then(|()| self.file.sync_data());
        written.or(Err(MemoryError))
    }

    fn lose_power(&mut self) -> Result<(), MemoryError> {
        self.lost_power = true;
        Err(MemoryError)
    }
}

impl Memory for ChipFile {
    fn uid(&self) -> ChipUid {
        self.uid
    }

    fn part(&self) -> PartNumber {
        self.part
    }

    fn endorsement(&self) -> Signature {
        self.endorsement
    }

    fn read_attestation_key(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        self.read(ATTESTATION_AT, out)
    }

    fn read_slot(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        self.read(SLOT_AT, out)
    }

    fn write_slot(&mut self, secret: &[u8; 32]) -> Result<(), MemoryError> {
        self.write(SLOT_AT, secret)
    }

    fn read_lock(&self) -> Result<[u8; 4], MemoryError> {
        let mut word = [0; 4];
        self.read(LOCK_AT, &mut word)?;
        Ok(word)
    }

    fn write_lock(&mut self, word: &[u8; 4]) -> Result<(), MemoryError> {
        match self.trouble {
            None | Some(Trouble::Leaky | Trouble::RefuseCertificate) => self.write(LOCK_AT, word),
            Some(Trouble::CutBeforeLock) => self.lose_power(),
            Some(Trouble::CutAfterLock) => {
                self.write(LOCK_AT, word)?;
                self.lose_power()
            }
            Some(Trouble::TearLock) => {
                self.write(LOCK_AT, word.get(..2).unwrap_or_default())?;
                self.lose_power()
            }
        }
    }

    fn certificate_capacity(&self) -> u16 {
        CERTIFICATE_CAPACITY
    }

    fn certificate_len(&self) -> Result<u16, MemoryError> {
        let mut len = [0; 2];
        self.read(CERTIFICATE_LEN_AT, &mut len)?;
        Ok(match u16::from_be_bytes(len) {
            u16::MAX => 0,
            len => len,
        })
    }

    fn set_certificate_len(&mut self, len: u16) -> Result<(), MemoryError> {
        self.write(CERTIFICATE_LEN_AT, &len.to_be_bytes())
    }

    fn read_certificate(&self, offset: u16, out: &mut [u8]) -> Result<(), MemoryError> {
        self.read(CERTIFICATE_AT + u64::from(offset), out)
    }

    fn write_certificate(&mut self, offset: u16, bytes: &[u8]) -> Result<(), MemoryError> {
        self.write(CERTIFICATE_AT + u64::from(offset), bytes)
    }
}

/// Magic, then UID and part number each behind one byte of length.
const ATTESTATION_AT: u64 = 8 + 33 + 65;

fn put_padded(out: &mut Vec<u8>, bytes: &[u8], room: usize) {
    out.push(u8::try_from(bytes.len()).unwrap_or_default());
    out.extend_from_slice(bytes);
    out.resize(out.len() + room.saturating_sub(bytes.len()), ERASED);
}

fn read_head(head: &[u8]) -> Option<(ChipUid, PartNumber, Signature)> {
    let head = head.strip_prefix(&MAGIC)?;
    let (uid, head) = head.split_at_checked(33)?;
    let (part, head) = head.split_at_checked(65)?;
    let part = str::from_utf8(unpadded(part)?).ok()?;
    let endorsement = head.get(32..96)?.try_into().ok()?;
    Some((
        ChipUid::new(unpadded(uid)?).ok()?,
        PartNumber::new(part).ok()?,
        endorsement,
    ))
}

fn unpadded(field: &[u8]) -> Option<&[u8]> {
    let (len, bytes) = field.split_first()?;
    bytes.get(..usize::from(*len))
}
