//! Operations that begin, go on and end: signing, verifying, hashing.

use aws_lc_rs::digest::{Context, SHA256, digest};
use cryptoki_sys::*;

use super::generation::require;
use super::mechanism::Mechanism;
use super::mechanism::signature::Signing;
use super::rv::{Result, Rv};
use super::session::{Digesting, Session};

const NOT_BEGUN: Rv = Rv(CKR_OPERATION_NOT_INITIALIZED);
const ACTIVE: Rv = Rv(CKR_OPERATION_ACTIVE);

/// Bytes of a SHA-256 hash.
const HASH_LENGTH: usize = 32;

/// The caller's room for output (PKCS#11 3.0 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// No buffer: the caller asks for the length
    Unknown,
    /// A buffer of so many bytes
    Bytes(usize),
}

/// What goes into that room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The length that was asked for
    Length(usize),
    /// `CKR_BUFFER_TOO_SMALL`, and the length that is needed
    TooSmall(usize),
    /// The output
    Bytes(Vec<u8>),
}

impl Room {
    /// Makes an output of this length if it fits.
    pub(crate) fn answer(
        self,
        length: usize,
        make: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Answer> {
        match self {
            Self::Unknown => Ok(Answer::Length(length)),
            Self::Bytes(room) if room < length => Ok(Answer::TooSmall(length)),
            Self::Bytes(_) => Ok(Answer::Bytes(make()?)),
        }
    }
}

/// `C_SignInit`.
///
/// # Errors
/// `CKR_OPERATION_ACTIVE`, `CKR_KEY_HANDLE_INVALID`, and those of [`Signing::new`].
pub(crate) fn sign_init(
    session: &Session,
    mechanism: &Mechanism,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    let mut operations = session.operations()?;
    if operations.signing.is_some() {
        return Err(ACTIVE);
    }
    require(mechanism, CKF_SIGN)?;
    let key = session.key(key, CKR_KEY_HANDLE_INVALID)?;
    operations.signing = Some(Signing::new(key, mechanism.number(), CKA_SIGN)?);
    Ok(())
}

/// `C_Sign`. Asking for the length, or with too small a buffer, the operation goes on.
///
/// # Errors
/// `CKR_OPERATION_NOT_INITIALIZED`, `CKR_OPERATION_ACTIVE` after `C_SignUpdate`, and those of
/// [`Signing::sign`].
pub(crate) fn sign(session: &Session, message: &[u8], room: Room) -> Result<Answer> {
    let mut operations = session.operations()?;
    let signing = operations.signing.take().ok_or(NOT_BEGUN)?;
    if signing.is_multi_part() {
        return Err(ACTIVE);
    }
    let answer = room.answer(signing.length(), || signing.sign(message))?;
    if !matches!(answer, Answer::Bytes(_)) {
        operations.signing = Some(signing);
    }
    Ok(answer)
}

/// `C_SignUpdate`. An error ends the operation.
///
/// # Errors
/// `CKR_OPERATION_NOT_INITIALIZED`, and those of [`Signing::update`].
pub(crate) fn sign_update(session: &Session, part: &[u8]) -> Result<()> {
    let mut operations = session.operations()?;
    let mut signing = operations.signing.take().ok_or(NOT_BEGUN)?;
    signing.update(part)?;
    operations.signing = Some(signing);
    Ok(())
}

/// `C_SignFinal`.
///
/// # Errors
/// As [`sign`].
pub(crate) fn sign_final(session: &Session, room: Room) -> Result<Answer> {
    let mut operations = session.operations()?;
    let signing = operations.signing.take().ok_or(NOT_BEGUN)?;
    let length = signing.length();
    match room {
        Room::Bytes(room) if room >= length => Ok(Answer::Bytes(signing.sign_parts()?)),
        Room::Bytes(_) => {
            operations.signing = Some(signing);
            Ok(Answer::TooSmall(length))
        }
        Room::Unknown => {
            operations.signing = Some(signing);
            Ok(Answer::Length(length))
        }
    }
}

/// `C_VerifyInit`.
///
/// # Errors
/// As [`sign_init`].
pub(crate) fn verify_init(
    session: &Session,
    mechanism: &Mechanism,
    key: CK_OBJECT_HANDLE,
) -> Result<()> {
    let mut operations = session.operations()?;
    if operations.verifying.is_some() {
        return Err(ACTIVE);
    }
    require(mechanism, CKF_VERIFY)?;
    let key = session.key(key, CKR_KEY_HANDLE_INVALID)?;
    operations.verifying = Some(Signing::new(key, mechanism.number(), CKA_VERIFY)?);
    Ok(())
}

/// `C_Verify`; the operation ends whatever the verdict.
///
/// # Errors
/// `CKR_SIGNATURE_INVALID` and the others of [`Signing::verify`],
/// `CKR_OPERATION_NOT_INITIALIZED`, `CKR_OPERATION_ACTIVE` after `C_VerifyUpdate`.
pub(crate) fn verify(session: &Session, message: &[u8], signature: &[u8]) -> Result<()> {
    let verifying = session.operations()?.verifying.take().ok_or(NOT_BEGUN)?;
    if verifying.is_multi_part() {
        return Err(ACTIVE);
    }
    verifying.verify(message, signature)
}

/// `C_VerifyUpdate`.
///
/// # Errors
/// As [`sign_update`].
pub(crate) fn verify_update(session: &Session, part: &[u8]) -> Result<()> {
    let mut operations = session.operations()?;
    let mut verifying = operations.verifying.take().ok_or(NOT_BEGUN)?;
    verifying.update(part)?;
    operations.verifying = Some(verifying);
    Ok(())
}

/// `C_VerifyFinal`.
///
/// # Errors
/// As [`verify`].
pub(crate) fn verify_final(session: &Session, signature: &[u8]) -> Result<()> {
    let verifying = session.operations()?.verifying.take().ok_or(NOT_BEGUN)?;
    verifying.verify_parts(signature)
}

/// `C_DigestInit`.
///
/// # Errors
/// `CKR_OPERATION_ACTIVE`, `CKR_MECHANISM_INVALID`.
pub(crate) fn digest_init(session: &Session, mechanism: &Mechanism) -> Result<()> {
    let mut operations = session.operations()?;
    if operations.digesting.is_some() {
        return Err(ACTIVE);
    }
    require(mechanism, CKF_DIGEST)?;
    operations.digesting = Some(Digesting {
        context: Context::new(&SHA256),
        is_multi_part: false,
    });
    Ok(())
}

/// `C_Digest`.
///
/// # Errors
/// `CKR_OPERATION_NOT_INITIALIZED`, `CKR_OPERATION_ACTIVE` after `C_DigestUpdate`.
pub(crate) fn digest_whole(session: &Session, message: &[u8], room: Room) -> Result<Answer> {
    let mut operations = session.operations()?;
    let digesting = operations.digesting.take().ok_or(NOT_BEGUN)?;
    if digesting.is_multi_part {
        return Err(ACTIVE);
    }
    let answer = room.answer(HASH_LENGTH, || {
        Ok(digest(&SHA256, message).as_ref().to_vec())
    })?;
    if !matches!(answer, Answer::Bytes(_)) {
        operations.digesting = Some(digesting);
    }
    Ok(answer)
}

/// `C_DigestUpdate`.
///
/// # Errors
/// `CKR_OPERATION_NOT_INITIALIZED`.
pub(crate) fn digest_update(session: &Session, part: &[u8]) -> Result<()> {
    let mut operations = session.operations()?;
    let digesting = operations.digesting.as_mut().ok_or(NOT_BEGUN)?;
    digesting.context.update(part);
    digesting.is_multi_part = true;
    Ok(())
}

/// `C_DigestFinal`.
///
/// # Errors
/// `CKR_OPERATION_NOT_INITIALIZED`.
pub(crate) fn digest_final(session: &Session, room: Room) -> Result<Answer> {
    let mut operations = session.operations()?;
    let digesting = operations.digesting.take().ok_or(NOT_BEGUN)?;
    let answer = room.answer(HASH_LENGTH, || {
        Ok(digesting.context.clone().finish().as_ref().to_vec())
    })?;
    if !matches!(answer, Answer::Bytes(_)) {
        operations.digesting = Some(digesting);
    }
    Ok(answer)
}
