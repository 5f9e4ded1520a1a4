//! Receipts: one file that proves, offline, that an entry is in a log (C2SP tlog-proof@v1).

use core::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError, OpenError};
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
    /// The note is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
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
        note.text().parse::<Checkpoint>()?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::TrustedLog;
    use crate::test_support::{Signer, leaves};
    use crate::tree::root_of;

    const ORIGIN: &str = "log.example/a";

    fn receipt() -> TlogProof {
        let leaves = leaves(2);
        let checkpoint = Checkpoint::new(ORIGIN, 2, root_of(&leaves)).unwrap();
        let note = checkpoint.sign(&Signer::ed25519(ORIGIN, 1)).unwrap();
        TlogProof::new(0, vec![leaves[1]], note).unwrap()
    }

    fn policy(seed: u8) -> Policy {
        let key = Signer::ed25519(ORIGIN, seed).key;
        Policy::without_witnesses(TrustedLog::new(ORIGIN, vec![key]).unwrap())
    }

    #[test]
    fn a_receipt_proves_its_leaf_and_no_other() {
        let (leaves, receipt) = (leaves(2), receipt());
        let opened = receipt.verify(leaves[0], &policy(1)).unwrap();
        assert_eq!(opened.checkpoint().size(), 2);
        let inclusion = receipt.verify(leaves[1], &policy(1));
        assert!(matches!(
            inclusion,
            Err(VerifyError::Inclusion(ProofError::RootMismatch { .. }))
        ));
        let checkpoint = receipt.verify(leaves[0], &policy(2));
        assert!(matches!(
            checkpoint,
            Err(VerifyError::Checkpoint(OpenError::MissingSignature { .. }))
        ));
    }

    #[test]
    fn the_file_round_trips() {
        for receipt in [
            receipt(),
            receipt().with_extra(b"opening".to_vec()).unwrap(),
        ] {
            assert_eq!(
                TlogProof::parse(receipt.to_string().as_bytes()),
                Ok(receipt)
            );
        }
    }

    #[test]
    fn sizes_are_capped() {
        let note = receipt().note().clone();
        let most = receipt().with_extra(vec![1; MAX_EXTRA_BYTES]).unwrap();
        assert_eq!(TlogProof::parse(most.to_string().as_bytes()), Ok(most));
        let refused = receipt().with_extra(vec![1; MAX_EXTRA_BYTES + 1]);
        assert_eq!(refused, Err(ReceiptError::Extra));
        assert_eq!(receipt().with_extra(vec![]), Err(ReceiptError::Extra));
        let many = TlogProof::new(0, leaves(64), note.clone());
        assert_eq!(many, Err(ReceiptError::TooManyHashes(64)));
        assert_eq!(
            TlogProof::new(u64::MAX, vec![], note),
            Err(ReceiptError::Index)
        );
        let large = vec![b'a'; MAX_RECEIPT_BYTES + 1];
        assert_eq!(
            TlogProof::parse(&large),
            Err(ReceiptError::TooLarge(large.len()))
        );
        let hash = leaves(1)[0].to_string();
        let long = receipt().to_string().replacen(
            "index 0\n",
            &format!("index 0\n{}", format!("{hash}\n").repeat(63)),
            1,
        );
        assert_eq!(
            TlogProof::parse(long.as_bytes()),
            Err(ReceiptError::TooManyHashes(64))
        );
    }

    #[test]
    fn other_spellings_are_refused() {
        let good = receipt().to_string();
        for (from, to, refusal) in [
            ("@v1", "@v2", ReceiptError::Version),
            ("index 0\n", "", ReceiptError::Index),
            ("\n\u{2014} ", "", ReceiptError::Note(NoteError::Format)),
            ("index 0", "index 00", ReceiptError::Index),
            ("index 0", "index  0", ReceiptError::Index),
            ("index", "extra \nindex", ReceiptError::Extra),
            ("index", "extra A\nindex", ReceiptError::Extra),
            ("index", "extraAQ==\nindex", ReceiptError::Extra),
            (
                "index",
                "extra AQ==\nextra AQ==\nindex",
                ReceiptError::Index,
            ),
            ("index 0\n", "index 0\nAQ==\n", ReceiptError::Hash(1)),
            ("\n\n", "\n", ReceiptError::Hash(2)),
            (
                "\n\n",
                "\n\n\n",
                ReceiptError::Checkpoint(CheckpointError::Lines),
            ),
        ] {
            let text = good.replacen(from, to, 1);
            let refused = TlogProof::parse(text.as_bytes());
            assert_eq!(refused, Err(refusal), "{text}");
        }
        assert_eq!(TlogProof::parse(b"\xff"), Err(ReceiptError::Format));
        assert_eq!(TlogProof::parse(b""), Err(ReceiptError::Format));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(TlogProof::parse(&bytes).is_err());
        }

        #[test]
        fn damage_never_panics_or_changes_the_spelling(position in 0..300_usize, byte: u8) {
            let mut bytes = receipt().to_string().into_bytes();
            let length = bytes.len();
            bytes[position % length] = byte;
            if let Ok(parsed) = TlogProof::parse(&bytes) {
                prop_assert_eq!(parsed.to_string().into_bytes(), bytes);
            }
        }
    }
}
