//! Checkpoints: the signed head of a log (C2SP tlog-checkpoint v1.0.0).

use core::fmt;
use core::str::FromStr;

use crate::cosignature;
use crate::note::{
    KeyId, KeyName, NoteError, NoteSignature, NoteSigner, SignError, SignatureType, SignedNote,
    VerifierKey,
};
use crate::text::parse_decimal;
use crate::tree::{EMPTY_ROOT, Hash, MAX_TREE_SIZE};

/// Head of a log: origin, number of leaves, root. Its text form is the note text of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
}

/// A checkpoint that its log has signed, as [`TrustedLog::open`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    note: SignedNote,
}

/// A log and all the keys that must have signed its checkpoints.
///
/// Every key listed is required, so that of two signatures the stronger cannot be stripped.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustedLog {
    origin: String,
    keys: Vec<VerifierKey>,
}

/// Not the head of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not exactly three lines. Extension lines are refused: no one can audit them.
    #[error("a checkpoint has three lines")]
    Lines,
    /// The origin is empty, longer than 255 bytes, or has a control character.
    #[error("an origin has 1 to 255 bytes without control characters")]
    Origin,
    /// The size is not canonical decimal up to 2⁶³ − 1.
    #[error("a tree size is canonical decimal below 2^63")]
    Size,
    /// The root is not 32 bytes of canonical base64.
    #[error("a root is 32 bytes of canonical base64")]
    Root,
    /// The empty tree has one root only.
    #[error("the empty tree does not have root {0}")]
    EmptyTree(Hash),
}

/// Why a log cannot be trusted like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No key, so anybody's checkpoints would do.
    #[error("a log needs at least one key")]
    NoKey,
    /// The key is a witness's.
    #[error("key {0} has a type that signs no checkpoints of its own")]
    KeyType(KeyName),
    /// The origin can be that of no checkpoint.
    #[error(transparent)]
    Origin(#[from] CheckpointError),
}

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes are no signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note text is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is of a log that is not trusted.
    #[error("origin {0:?} is not a trusted log")]
    UnknownOrigin(String),
    /// A required key has not signed.
    #[error("the signature by {name}+{key_id} is missing")]
    MissingSignature {
        /// Name of the key.
        name: KeyName,
        /// Id of the key.
        key_id: KeyId,
    },
    /// A known key's signature does not verify.
    #[error("the signature by {name}+{key_id} does not verify")]
    BadSignature {
        /// Name of the key.
        name: KeyName,
        /// Id of the key.
        key_id: KeyId,
    },
    /// Too few witnesses have cosigned (see [`crate::policy::Policy::open`]).
    #[error("the cosignatures do not satisfy the quorum")]
    Quorum,
}

impl Checkpoint {
    /// Longest origin, in bytes: what an ML-DSA-44 cosignature can commit to.
    pub const MAX_ORIGIN_BYTES: usize = 255;

    /// A head of a log.
    ///
    /// # Errors
    /// [`CheckpointError`] when a part is out of its bounds.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        check_origin(origin)?;
        if size > MAX_TREE_SIZE {
            return Err(CheckpointError::Size);
        }
        if size == 0 && root != EMPTY_ROOT {
            return Err(CheckpointError::EmptyTree(root));
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
        })
    }

    /// Identity of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root hash at that size.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.root
    }

    /// Makes the note that the log publishes, with its Ed25519 signature (type 0x01). Cosignatures,
    /// the log's own ML-DSA-44 one too, are added with [`SignedNote::add`].
    ///
    /// # Errors
    /// [`SignError`] when the signer fails, or its key is of another type.
    pub fn sign<S: NoteSigner>(&self, signer: &S) -> Result<SignedNote, SignError<S::Error>> {
        SignedNote::sign(&self.to_string(), signer)
    }
}

impl VerifiedCheckpoint {
    /// The head that was signed.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The whole note, with signatures by keys that are not known here too.
    #[must_use]
    pub const fn note(&self) -> &SignedNote {
        &self.note
    }
}

impl TrustedLog {
    /// Trusts `origin` when all these keys have signed: Ed25519 (0x01) or ML-DSA-44 (0x06).
    ///
    /// # Errors
    /// [`TrustError`] when there is no key, or one that is only a witness's.
    pub fn new(origin: &str, keys: Vec<VerifierKey>) -> Result<Self, TrustError> {
        check_origin(origin)?;
        if keys.is_empty() {
            return Err(TrustError::NoKey);
        }
        let is_witness =
            |key: &&VerifierKey| key.signature_type() == SignatureType::Ed25519Cosignature;
        if let Some(witness) = keys.iter().find(is_witness) {
            return Err(TrustError::KeyType(witness.name().clone()));
        }
        Ok(Self {
            origin: origin.to_owned(),
            keys,
        })
    }

    /// Identity of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The keys, all of them required.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// Parses a signed checkpoint and checks that all keys have signed it.
    ///
    /// # Errors
    /// [`OpenError`] when it is no checkpoint of this log, or a signature is missing or wrong.
    pub fn open(&self, bytes: &[u8]) -> Result<VerifiedCheckpoint, OpenError> {
        self.open_note(SignedNote::parse(bytes)?)
    }

    /// [`TrustedLog::open`] for a note that is parsed already.
    ///
    /// # Errors
    /// As [`TrustedLog::open`].
    pub fn open_note(&self, note: SignedNote) -> Result<VerifiedCheckpoint, OpenError> {
        let checkpoint: Checkpoint = note.text().parse()?;
        if checkpoint.origin != self.origin {
            return Err(OpenError::UnknownOrigin(checkpoint.origin));
        }
        for key in &self.keys {
            if !has_signed(key, &checkpoint, &note)? {
                let (name, key_id) = (key.name().clone(), key.id());
                return Err(OpenError::MissingSignature { name, key_id });
            }
        }
        Ok(VerifiedCheckpoint { checkpoint, note })
    }

    /// Whether the note is a checkpoint of this log that at least one of its keys has signed, whatever else is missing or
    /// does not verify. It tells whose a log is, and is no reason to believe the checkpoint.
    #[must_use]
    pub fn is_signer_of(&self, note: &SignedNote) -> bool {
        let Ok(checkpoint) = note.text().parse::<Checkpoint>() else {
            return false;
        };
        let signed = |key: &VerifierKey| {
            let mut lines = note.signatures_by(key);
            lines.any(|line| verifies(key, &checkpoint, note, line))
        };
        checkpoint.origin == self.origin && self.keys.iter().any(signed)
    }
}

/// Whether the key has signed or cosigned the checkpoint in this note.
///
/// # Errors
/// [`OpenError::BadSignature`] when any line that claims to be by the key does not verify.
pub(crate) fn has_signed(
    key: &VerifierKey,
    checkpoint: &Checkpoint,
    note: &SignedNote,
) -> Result<bool, OpenError> {
    let mut signed = false;
    for line in note.signatures_by(key) {
        if !verifies(key, checkpoint, note, line) {
            return Err(OpenError::BadSignature {
                name: key.name().clone(),
                key_id: key.id(),
            });
        }
        signed = true;
    }
    Ok(signed)
}

fn verifies(
    key: &VerifierKey,
    checkpoint: &Checkpoint,
    note: &SignedNote,
    line: &NoteSignature,
) -> bool {
    match key.signature_type() {
        SignatureType::Ed25519 => key.verifies(note.text().as_bytes(), line.signature()),
        SignatureType::Ed25519Cosignature | SignatureType::MlDsa44Cosignature => {
            cosignature::verify(key, checkpoint, line).is_ok()
        }
    }
}

fn check_origin(origin: &str) -> Result<(), CheckpointError> {
    let length_fits = (1..=Checkpoint::MAX_ORIGIN_BYTES).contains(&origin.len());
    if !length_fits || origin.contains(|c: char| c.is_ascii_control()) {
        return Err(CheckpointError::Origin);
    }
    Ok(())
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<_> = text.splitn(5, '\n').collect();
        let [origin, size, root, ""] = lines.as_slice() else {
            return Err(CheckpointError::Lines);
        };
        let size = parse_decimal(size).ok_or(CheckpointError::Size)?;
        let root = root.parse().ok().ok_or(CheckpointError::Root)?;
        Self::new(origin, size, root)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cosignature::cosign;
    use crate::test_support::{Signer, leaves};
    use crate::tree::root_of;

    const ORIGIN: &str = "log.example/a";
    const ROOT: &str = "OF2jDzkXKCyJOd/4UZV+UZqxhGsTUaFMCts7EWMnQqo=";

    fn checkpoint() -> Checkpoint {
        Checkpoint::new(ORIGIN, 3, root_of(&leaves(3))).unwrap()
    }

    #[test]
    fn every_listed_key_is_required() {
        let (classic, quantum) = (Signer::ed25519(ORIGIN, 1), Signer::ml_dsa44(ORIGIN, 2));
        let log = TrustedLog::new(ORIGIN, vec![classic.key.clone(), quantum.key.clone()]).unwrap();
        let stripped = checkpoint().sign(&classic).unwrap();
        let missing = OpenError::MissingSignature {
            name: quantum.key.name().clone(),
            key_id: quantum.key.id(),
        };
        assert_eq!(log.open(stripped.to_string().as_bytes()), Err(missing));
        let mut whole = stripped;
        whole
            .add(cosign(&quantum, &checkpoint(), 5).unwrap())
            .unwrap();
        let opened = log.open(whole.to_string().as_bytes()).unwrap();
        assert_eq!(
            (opened.checkpoint(), opened.note()),
            (&checkpoint(), &whole)
        );
    }

    #[test]
    fn a_signature_over_another_checkpoint_is_refused() {
        let signer = Signer::ed25519(ORIGIN, 1);
        let log = TrustedLog::new(ORIGIN, vec![signer.key.clone()]).unwrap();
        let signed = checkpoint().sign(&signer).unwrap().to_string();
        let refused = log.open(signed.replacen("\n3\n", "\n4\n", 1).as_bytes());
        assert!(matches!(refused, Err(OpenError::BadSignature { .. })));
        let other = TrustedLog::new("log.example/b", vec![signer.key]).unwrap();
        let refused = other.open(signed.as_bytes());
        assert_eq!(refused, Err(OpenError::UnknownOrigin(ORIGIN.to_owned())));
    }

    #[test]
    fn a_log_is_known_by_any_key_of_its_own() {
        let (classic, quantum) = (Signer::ed25519(ORIGIN, 1), Signer::ml_dsa44(ORIGIN, 2));
        let keys = vec![classic.key.clone(), quantum.key];
        let log = TrustedLog::new(ORIGIN, keys.clone()).unwrap();
        let signed = checkpoint().sign(&classic).unwrap();
        assert!(log.is_signer_of(&signed));
        let other = TrustedLog::new("log.example/b", keys).unwrap();
        assert!(!other.is_signer_of(&signed));
        let foreign = checkpoint().sign(&Signer::ed25519(ORIGIN, 3)).unwrap();
        assert!(!log.is_signer_of(&foreign));
        let altered = signed.to_string().replacen("\n3\n", "\n4\n", 1);
        let altered = SignedNote::parse(altered.as_bytes()).unwrap();
        assert!(!log.is_signer_of(&altered));
    }

    #[test]
    fn trust_needs_a_key_that_signs_for_a_log() {
        assert_eq!(TrustedLog::new(ORIGIN, vec![]), Err(TrustError::NoKey));
        let witness = Signer::witness("w.example", 1).key;
        let refused = TrustError::KeyType(witness.name().clone());
        assert_eq!(TrustedLog::new(ORIGIN, vec![witness]), Err(refused));
        let key = Signer::ed25519(ORIGIN, 1).key;
        let refused = TrustError::Origin(CheckpointError::Origin);
        assert_eq!(TrustedLog::new("", vec![key]), Err(refused));
    }

    #[test]
    fn other_spellings_are_refused() {
        for (text, refusal) in [
            (format!("a\n3\n{ROOT}"), CheckpointError::Lines),
            (format!("a\n3\n{ROOT}\nextension\n"), CheckpointError::Lines),
            (format!("a\n3\n{ROOT}\n\n"), CheckpointError::Lines),
            ("a\n3\n".to_owned(), CheckpointError::Lines),
            (String::new(), CheckpointError::Lines),
            (format!("\n3\n{ROOT}\n"), CheckpointError::Origin),
            (format!("a\tb\n3\n{ROOT}\n"), CheckpointError::Origin),
            (
                format!("{}\n3\n{ROOT}\n", "a".repeat(256)),
                CheckpointError::Origin,
            ),
            (format!("a\n03\n{ROOT}\n"), CheckpointError::Size),
            (format!("a\n+3\n{ROOT}\n"), CheckpointError::Size),
            (
                format!("a\n9223372036854775808\n{ROOT}\n"),
                CheckpointError::Size,
            ),
            (format!("a\n3\n{ROOT} \n"), CheckpointError::Root),
            ("a\n3\nAQ==\n".to_owned(), CheckpointError::Root),
            (
                format!("a\n3\n{}\n", ROOT.replace("qo=", "qp=")),
                CheckpointError::Root,
            ),
            (
                format!("a\n0\n{ROOT}\n"),
                CheckpointError::EmptyTree(ROOT.parse().unwrap()),
            ),
        ] {
            assert_eq!(text.parse::<Checkpoint>(), Err(refusal), "{text:?}");
        }
        let empty = format!("a\n0\n{EMPTY_ROOT}\n");
        assert_eq!(empty.parse::<Checkpoint>().unwrap().to_string(), empty);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,40}|(.|\n){0,80}") {
            if let Ok(checkpoint) = text.parse::<Checkpoint>() {
                prop_assert_eq!(checkpoint.to_string(), text);
            }
        }

        #[test]
        fn heads_round_trip(origin in "[a-z./+ ]{1,40}", size in 1..=MAX_TREE_SIZE, root in any::<[u8; 32]>()) {
            let checkpoint = Checkpoint::new(&origin, size, root.into()).unwrap();
            prop_assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
        }
    }
}
