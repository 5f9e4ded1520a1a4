//! The note itself: text, blank line, signature lines.

use core::fmt;
use core::str::FromStr;

use super::{KeyId, KeyName, NoteSigner, SignError, SignatureType, VerifierKey, sign_checked};
use crate::text::{decode_base64, encode_base64};

/// Largest note accepted, in bytes.
pub const MAX_NOTE_BYTES: usize = 1 << 20;

/// Most signature lines accepted, known and unknown. The specification asks for at least 16; each
/// costs a verifier some work.
pub const MAX_NOTE_SIGNATURES: usize = 64;

const LINE_PREFIX: &str = "\u{2014} ";

/// A note as parsed. **Nothing in it is verified.**
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line: `— <name> <base64 of key id and signature>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: KeyName,
    key_id: KeyId,
    signature: Vec<u8>,
}

/// The bytes are no signed note, or not one to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Larger than [`MAX_NOTE_BYTES`].
    #[error("a note has at most 1 MiB, not {0} bytes")]
    TooLarge(usize),
    /// More signature lines than [`MAX_NOTE_SIGNATURES`], or none.
    #[error("a note has 1 to 64 signatures, not {0}")]
    SignatureCount(usize),
    /// Not UTF-8, or a control character other than newline.
    #[error("a note is UTF-8 without control characters")]
    Characters,
    /// No text that ends in a newline, or no blank line after it.
    #[error("a note is text, a blank line and signatures")]
    Format,
    /// A signature line that is not of the one right form. Counted from 1.
    #[error("signature line {0} is malformed")]
    SignatureLine(usize),
    /// A known key's signature does not verify.
    #[error("the signature by {name}+{key_id} does not verify")]
    BadSignature {
        /// Name of the key.
        name: KeyName,
        /// Id of the key.
        key_id: KeyId,
    },
    /// No known key has signed.
    #[error("no known key has signed the note")]
    Unsigned,
}

impl NoteSignature {
    /// A line by this key. `signature` is what follows the key id, so for cosignatures it begins
    /// with the time stamp.
    #[must_use]
    pub fn new(key: &VerifierKey, signature: Vec<u8>) -> Self {
        Self {
            name: key.name().clone(),
            key_id: key.id(),
            signature,
        }
    }

    /// Name of the key.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Id of the key.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What follows the key id.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl SignedNote {
    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError`] when `bytes` is not exactly what formatting a note gives.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge(bytes.len()));
        }
        let whole = str::from_utf8(bytes).ok().filter(|whole| is_clean(whole));
        let (text, lines) = whole
            .ok_or(NoteError::Characters)?
            .rsplit_once("\n\n")
            .ok_or(NoteError::Format)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Format)?;
        let count = lines.split('\n').count();
        if count > MAX_NOTE_SIGNATURES {
            return Err(NoteError::SignatureCount(count));
        }
        let parse_line = |(number, line): (usize, &str)| {
            line.parse().ok().ok_or(NoteError::SignatureLine(number))
        };
        let signatures = (1..)
            .zip(lines.split('\n'))
            .map(parse_line)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: format!("{text}\n"),
            signatures,
        })
    }

    /// Makes a note with one Ed25519 signature (type 0x01).
    ///
    /// # Errors
    /// [`SignError`] when the text is empty, does not end in a newline or has a control character,
    /// or when the signer fails or is of another type.
    pub fn sign<S: NoteSigner>(text: &str, signer: &S) -> Result<Self, SignError<S::Error>> {
        let key = signer.verifier_key();
        if key.signature_type() != SignatureType::Ed25519 {
            return Err(SignError::WrongType(key.signature_type()));
        }
        if !text.ends_with('\n') || !is_clean(text) || text.len() > MAX_NOTE_BYTES / 2 {
            return Err(SignError::Text);
        }
        let signature = NoteSignature::new(key, sign_checked(signer, text.as_bytes())?);
        Ok(Self {
            text: text.to_owned(),
            signatures: vec![signature],
        })
    }

    /// Adds a signature line at the end, in place of any by the same key.
    ///
    /// # Errors
    /// [`NoteError::SignatureCount`] when the note has as many as it may.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        self.signatures
            .retain(|old| (&old.name, old.key_id) != (&signature.name, signature.key_id));
        if self.signatures.len() >= MAX_NOTE_SIGNATURES {
            return Err(NoteError::SignatureCount(
                self.signatures.len().saturating_add(1),
            ));
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// The text, with its final newline. Not to be used before it is verified.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The lines that claim to be by this key.
    pub fn signatures_by<'a>(
        &'a self,
        key: &'a VerifierKey,
    ) -> impl Iterator<Item = &'a NoteSignature> {
        self.signatures
            .iter()
            .filter(|signature| key.claims(signature))
    }

    /// Verifies a plain note, one that is no checkpoint, and gives the known keys that signed it.
    ///
    /// Only keys of type 0x01 sign plain notes: a signature line by any other known key does not
    /// verify.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] when a known key's signature does not verify,
    /// [`NoteError::Unsigned`] when no known key has signed.
    pub fn verify<'k>(&self, known: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signed_by = Vec::new();
        for key in known {
            let mut lines = self.signatures_by(key).peekable();
            if lines.peek().is_some() {
                signed_by.push(key);
            }
            if !lines.all(|line| self.is_by(key, line)) {
                return Err(NoteError::BadSignature {
                    name: key.name().clone(),
                    key_id: key.id(),
                });
            }
        }
        if signed_by.is_empty() {
            Err(NoteError::Unsigned)
        } else {
            Ok(signed_by)
        }
    }

    fn is_by(&self, key: &VerifierKey, line: &NoteSignature) -> bool {
        key.signature_type() == SignatureType::Ed25519
            && key.verifies(self.text.as_bytes(), &line.signature)
    }
}

/// Whether there is no control character other than newline.
fn is_clean(text: &str) -> bool {
    !text.bytes().any(|byte| byte < b' ' && byte != b'\n')
}

impl FromStr for NoteSignature {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Self, NoteError> {
        parse_line(line).ok_or(NoteError::SignatureLine(1))
    }
}

fn parse_line(line: &str) -> Option<NoteSignature> {
    let (name, encoded) = line.strip_prefix(LINE_PREFIX)?.split_once(' ')?;
    let bytes = decode_base64(encoded)?;
    let (key_id, signature) = bytes.split_first_chunk()?;
    let line = NoteSignature {
        name: name.parse().ok()?,
        key_id: KeyId::new(*key_id),
        signature: signature.to_vec(),
    };
    (!line.signature.is_empty()).then_some(line)
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id.to_bytes(), self.signature.as_slice()].concat();
        write!(f, "{LINE_PREFIX}{} {}", self.name, encode_base64(&bytes))
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::Signer;

    const TEXT: &str = "one\n\ntwo\n";

    fn note() -> SignedNote {
        SignedNote::sign(TEXT, &Signer::ed25519("a.example", 1)).unwrap()
    }

    fn with_lines(count: usize) -> Vec<u8> {
        format!("{TEXT}\n{}", "— b.example AQIDBAU=\n".repeat(count)).into_bytes()
    }

    #[test]
    fn the_example_of_the_specification_verifies() {
        let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let note = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let note = SignedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(note.verify(&[key.parse().unwrap()]).unwrap().len(), 1);
    }

    #[test]
    fn unknown_signers_are_ignored_and_known_ones_must_verify() {
        let (known, other) = (
            Signer::ed25519("a.example", 1),
            Signer::ed25519("a.example", 2),
        );
        let mut signed = note();
        signed
            .add(NoteSignature::new(&other.key, vec![0; 64]))
            .unwrap();
        assert_eq!(
            signed.verify(std::slice::from_ref(&known.key)).unwrap(),
            [&known.key]
        );
        let both = [known.key, other.key.clone()];
        let (name, key_id) = (other.key.name().clone(), other.key.id());
        assert_eq!(
            signed.verify(&both),
            Err(NoteError::BadSignature { name, key_id })
        );
        assert_eq!(note().verify(&[other.key]), Err(NoteError::Unsigned));
    }

    #[test]
    fn a_second_line_by_a_known_key_must_verify_too() {
        let known = Signer::ed25519("a.example", 1);
        let mut signed = note();
        signed
            .signatures
            .push(NoteSignature::new(&known.key, vec![0; 64]));
        assert!(matches!(
            signed.verify(&[known.key]),
            Err(NoteError::BadSignature { .. })
        ));
    }

    #[test]
    fn a_cosigner_signs_no_plain_note() {
        let witness = Signer::witness("w.example", 1);
        let signed = SignedNote::sign(TEXT, &witness);
        let wrong = SignatureType::Ed25519Cosignature;
        assert_eq!(signed, Err(SignError::WrongType(wrong)));
        let mut signed = note();
        let signature = witness.sign(TEXT.as_bytes()).unwrap();
        signed
            .add(NoteSignature::new(&witness.key, signature))
            .unwrap();
        assert!(matches!(
            signed.verify(&[witness.key]),
            Err(NoteError::BadSignature { .. })
        ));
    }

    #[test]
    fn a_signer_is_not_believed() {
        let broken = Signer::ed25519("a.example", 1).broken();
        assert_eq!(
            SignedNote::sign(TEXT, &broken),
            Err(SignError::BadSignature)
        );
        for text in ["", "no newline", "tab\t\n", "return\r\n"] {
            let signed = SignedNote::sign(text, &Signer::ed25519("a.example", 1));
            assert_eq!(signed, Err(SignError::Text));
        }
    }

    #[test]
    fn a_signature_takes_the_place_of_the_same_keys() {
        let mut signed = note();
        signed.add(note().signatures[0].clone()).unwrap();
        assert_eq!(signed, note());
        assert_eq!(SignedNote::parse(signed.to_string().as_bytes()), Ok(signed));
    }

    #[test]
    fn sizes_are_capped() {
        assert_eq!(
            SignedNote::parse(&with_lines(64))
                .unwrap()
                .signatures()
                .len(),
            64
        );
        assert_eq!(
            SignedNote::parse(&with_lines(65)),
            Err(NoteError::SignatureCount(65))
        );
        let large = vec![b'a'; MAX_NOTE_BYTES + 1];
        assert_eq!(
            SignedNote::parse(&large),
            Err(NoteError::TooLarge(large.len()))
        );
        let mut full = SignedNote::parse(&with_lines(64)).unwrap();
        full.signatures
            .iter_mut()
            .zip(0..)
            .for_each(|(line, id)| line.key_id = KeyId::new([id; 4]));
        let one_more = note().signatures[0].clone();
        assert_eq!(full.add(one_more), Err(NoteError::SignatureCount(65)));
    }

    #[test]
    fn malformed_notes_are_refused() {
        for (bytes, refusal) in [
            (b"".as_slice(), NoteError::Format),
            (b"text\n", NoteError::Format),
            (b"text\n\n", NoteError::Format),
            ("text\n\n— a AQIDBAU=".as_bytes(), NoteError::Format),
            ("text\n— a AQIDBAU=\n".as_bytes(), NoteError::Format),
            (
                "text\n\n— a AQIDBAU=\nx\n".as_bytes(),
                NoteError::SignatureLine(2),
            ),
            (
                "text\n\n— a AQIDBA==\n".as_bytes(),
                NoteError::SignatureLine(1),
            ),
            (
                "text\n\n— a AQIDBAV=\n".as_bytes(),
                NoteError::SignatureLine(1),
            ),
            (
                "text\n\n— a+b AQIDBAU=\n".as_bytes(),
                NoteError::SignatureLine(1),
            ),
            (
                "text\n\n— a\u{a0}b AQIDBAU=\n".as_bytes(),
                NoteError::SignatureLine(1),
            ),
            (
                "text\n\n—  AQIDBAU=\n".as_bytes(),
                NoteError::SignatureLine(1),
            ),
            (b"text\n\n- a AQIDBAU=\n", NoteError::SignatureLine(1)),
            ("te\0xt\n\n— a AQIDBAU=\n".as_bytes(), NoteError::Characters),
            ("text\r\n\n— a AQIDBAU=\n".as_bytes(), NoteError::Characters),
            (b"te\xfft\n\n", NoteError::Characters),
        ] {
            assert_eq!(SignedNote::parse(bytes), Err(refusal), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(note) = SignedNote::parse(&bytes) {
                prop_assert_eq!(note.to_string().into_bytes(), bytes);
            }
        }

        #[test]
        fn what_parses_is_written_the_same(text in "(a|\n){0,6}\n(\n)?(— [a-z]{1,3} [A-Za-z0-9+/]{7}=\n){0,3}") {
            if let Ok(note) = SignedNote::parse(text.as_bytes()) {
                prop_assert_eq!(note.to_string(), text);
            }
        }
    }
}
