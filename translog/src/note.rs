//! Signed notes and their keys (C2SP signed-note v1.0.0).

mod key;
mod name;
mod signed;
mod signer;

pub use key::{SignatureType, VerifierKey, VerifierKeyError};
pub use name::{KeyId, KeyName, KeyNameError};
pub use signed::{MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES, NoteError, NoteSignature, SignedNote};
pub use signer::{NoteSigner, SignError};

pub(crate) use signer::sign_checked;
