//! Receipts: one file that proves, offline, that an entry is in a log (C2SP tlog-proof@v1).

use core::fmt;

use crate::checkpoint::OpenError;
use crate::note::{NoteError, SignedNote};
use crate::policy::{Policy, WitnessedCheckpoint};
use crate::proof::{MAX_PROOF_HASHES, ProofError, verify_inclusion};
use crate::text::{decode_base64, encode_base64, parse_decimal};
use crate::tree::{Hash, MAX_TREE_SIZE};

/// Largest extra data, in bytes: room for a leaf of the largest size and all that opens it.
pub const MAX_EXTRA_BYTES: usize = 256 << 10;

/// Largest receipt file accepted, in bytes.
pub const MAX_RECEIPT_BYTES: usize = 2 << 20;

const MAGIC: &str = "c2sp.org/tlog-proof@v1";

/// A receipt as parsed. **Nothing in it is verified.**
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<Hash>,
    note: SignedNote,
}

/// The bytes are no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Larger than [`MAX_RECEIPT_BYTES`].
    #[error("a receipt has at most 2 MiB, not {0} bytes")]
    TooLarge(usize),
    /// The lines above the checkpoint are not UTF-8, or the blank line after them is missing.
    #[error("a receipt is text, a blank line and a checkpoint")]
    Format,
    /// The first line is not `c2sp.org/tlog-proof@v1`.
    #[error("the first line is not c2sp.org/tlog-proof@v1")]
    Version,
    /// The extra data is empty, larger than [`MAX_EXTRA_BYTES`] or not canonical base64.
    #[error("extra data is 1 byte to 256 KiB of canonical base64")]
    Extra,
    /// The index is missing or not canonical decimal below 2⁶³ − 1.
    #[error("the index is missing or malformed")]
    Index,
    /// More hashes than any tree needs.
    #[error("a proof has at most 63 hashes, not {0}")]
    TooManyHashes(usize),
    /// A hash that is not 32 bytes of canonical base64. Counted from 1.
    #[error("hash {0} of the proof is malformed")]
    Hash(usize),
    /// What follows the blank line is no signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
}

/// Why a receipt does not prove that the leaf is in a trusted log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The checkpoint is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] OpenError),
    /// The leaf is not where the receipt says.
    #[error(transparent)]
    Inclusion(#[from] ProofError),
}

impl TlogProof {
    /// A receipt for the leaf at `index`, with its inclusion proof in the checkpoint's tree.
    ///
    /// # Errors
    /// [`ReceiptError`] when a part is out of its bounds.
    pub fn new(index: u64, hashes: Vec<Hash>, note: SignedNote) -> Result<Self, ReceiptError> {
        if index >= MAX_TREE_SIZE {
            return Err(ReceiptError::Index);
        }
        if hashes.len() > MAX_PROOF_HASHES {
            return Err(ReceiptError::TooManyHashes(hashes.len()));
        }
        Ok(Self {
            extra: None,
            index,
            hashes,
            note,
        })
    }

    /// Adds what else the reader needs. It is carried, not authenticated.
    ///
    /// # Errors
    /// [`ReceiptError::Extra`] unless it has between 1 and [`MAX_EXTRA_BYTES`] bytes.
    pub fn with_extra(self, extra: Vec<u8>) -> Result<Self, ReceiptError> {
        if extra.is_empty() || extra.len() > MAX_EXTRA_BYTES {
            return Err(ReceiptError::Extra);
        }
        Ok(Self {
            extra: Some(extra),
            ..self
        })
    }

    /// Reads a receipt.
    ///
    /// # Errors
    /// [`ReceiptError`] when `bytes` is not exactly what formatting a receipt gives.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::TooLarge(bytes.len()));
        }
        let whole = str::from_utf8(bytes).ok().ok_or(ReceiptError::Format)?;
        let (head, note) = whole.split_once("\n\n").ok_or(ReceiptError::Format)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(MAGIC) {
            return Err(ReceiptError::Version);
        }
        let extra = lines.next_if(|line| line.starts_with("extra"));
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(parse_decimal).ok_or(ReceiptError::Index)?;
        let hashes = parse_hashes(lines)?;
        let receipt = Self::new(index, hashes, SignedNote::parse(note.as_bytes())?)?;
        match extra {
            Some(line) => receipt.with_extra(parse_extra(line).ok_or(ReceiptError::Extra)?),
            None => Ok(receipt),
        }
    }

    /// The extra data. **Unauthenticated**: believe only what is recomputed from the leaf.
    #[must_use]
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// Index of the leaf.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The inclusion proof, the leaf's sibling first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The signed checkpoint.
    #[must_use]
    pub const fn note(&self) -> &SignedNote {
        &self.note
    }

    /// Verifies that the leaf is in a log that the policy trusts, under a checkpoint with the
    /// signatures and cosignatures that it asks for.
    ///
    /// # Errors
    /// [`VerifyError`] when that does not follow from the receipt.
    pub fn verify(
        &self,
        leaf_hash: Hash,
        policy: &Policy,
    ) -> Result<WitnessedCheckpoint, VerifyError> {
        let witnessed = policy.open_note(self.note.clone())?;
        let checkpoint = witnessed.checkpoint();
        let (size, root) = (checkpoint.size(), checkpoint.root());
        verify_inclusion(leaf_hash, self.index, size, &self.hashes, root)?;
        Ok(witnessed)
    }
}

fn parse_extra(line: &str) -> Option<Vec<u8>> {
    decode_base64(line.strip_prefix("extra ")?)
}

/// Stops at the first hash too many, so that a long file costs no more than a short one.
fn parse_hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, ReceiptError> {
    let parse_line = |(number, line): (usize, &str)| {
        if number > MAX_PROOF_HASHES {
            return Err(ReceiptError::TooManyHashes(number));
        }
        line.parse().ok().ok_or(ReceiptError::Hash(number))
    };
    (1..).zip(lines).map(parse_line).collect()
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", encode_base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes
            .iter()
            .try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.note)
    }
}
