//! Cosignatures of witnesses and mirrors (C2SP tlog-cosignature v1.0.1).

use crate::checkpoint::Checkpoint;
use crate::note::{
    KeyName, NoteSignature, NoteSigner, SignError, SignatureType, VerifierKey, sign_checked,
};

/// The latest time stamp: 2⁶³ − 1 seconds since the epoch.
pub const MAX_TIMESTAMP: u64 = (1 << 63) - 1;

/// Not a cosignature by this key over this checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// Another key's name or id stands on the line.
    #[error("the signature is by another key")]
    OtherKey,
    /// The key makes plain signatures, not cosignatures.
    #[error("a key of type {0:?} makes no cosignatures")]
    WrongType(SignatureType),
    /// Too short for a time stamp.
    #[error("a cosignature begins with an eight-byte time stamp")]
    Truncated,
    /// The time stamp is above [`MAX_TIMESTAMP`].
    #[error("time {0} is beyond 2^63 - 1")]
    Time(u64),
    /// The signature does not verify.
    #[error("the cosignature does not verify")]
    BadSignature,
}

/// Cosigns a checkpoint at `timestamp`, seconds since the epoch. The caller has verified that the
/// checkpoint continues all it has cosigned before.
///
/// # Errors
/// [`SignError`] when the key is no cosigner's, the time is out of bounds or the signer fails.
pub fn cosign<S: NoteSigner>(
    signer: &S,
    checkpoint: &Checkpoint,
    timestamp: u64,
) -> Result<NoteSignature, SignError<S::Error>> {
    let key = signer.verifier_key();
    if timestamp > MAX_TIMESTAMP {
        return Err(SignError::Time(timestamp));
    }
    let message = message_for(key, checkpoint, timestamp)
        .ok_or(SignError::WrongType(key.signature_type()))?;
    let signature = sign_checked(signer, &message)?;
    Ok(NoteSignature::new(
        key,
        [&timestamp.to_be_bytes(), signature.as_slice()].concat(),
    ))
}

/// Verifies a cosignature and gives its time stamp, in seconds since the epoch.
///
/// The time is what the cosigner claims; whether it is acceptable is the caller's to say. Zero, in
/// an ML-DSA-44 cosignature, claims consistency only, not that the tree was the latest.
///
/// # Errors
/// [`CosignatureError`] when it is not by this key or not over this checkpoint.
pub fn verify(
    key: &VerifierKey,
    checkpoint: &Checkpoint,
    line: &NoteSignature,
) -> Result<u64, CosignatureError> {
    if !key.claims(line) {
        return Err(CosignatureError::OtherKey);
    }
    let split = line.signature().split_first_chunk();
    let (timestamp, signature) = split.ok_or(CosignatureError::Truncated)?;
    let timestamp = u64::from_be_bytes(*timestamp);
    if timestamp > MAX_TIMESTAMP {
        return Err(CosignatureError::Time(timestamp));
    }
    let message = message_for(key, checkpoint, timestamp)
        .ok_or_else(|| CosignatureError::WrongType(key.signature_type()))?;
    if key.verifies(&message, signature) {
        Ok(timestamp)
    } else {
        Err(CosignatureError::BadSignature)
    }
}

/// The message of an Ed25519 cosignature (0x04): two header lines, then the checkpoint's text.
#[must_use]
pub fn ed25519_message(checkpoint: &Checkpoint, timestamp: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {timestamp}\n{checkpoint}").into_bytes()
}

/// The message of an ML-DSA-44 cosignature (0x06): a `cosigned_message` with `start` 0.
#[must_use]
pub fn ml_dsa44_message(cosigner: &KeyName, checkpoint: &Checkpoint, timestamp: u64) -> Vec<u8> {
    [
        b"subtree/v1\n\0".as_slice(),
        &length_prefixed(cosigner.as_str()),
        &timestamp.to_be_bytes(),
        &length_prefixed(checkpoint.origin()),
        &0_u64.to_be_bytes(),
        &checkpoint.size().to_be_bytes(),
        checkpoint.root().as_ref(),
    ]
    .concat()
}

fn message_for(key: &VerifierKey, checkpoint: &Checkpoint, timestamp: u64) -> Option<Vec<u8>> {
    match key.signature_type() {
        SignatureType::Ed25519 => None,
        SignatureType::Ed25519Cosignature => Some(ed25519_message(checkpoint, timestamp)),
        SignatureType::MlDsa44Cosignature => {
            Some(ml_dsa44_message(key.name(), checkpoint, timestamp))
        }
    }
}

/// `opaque<1..2^8-1>`. Key names and origins end at 255 bytes, so the length fits.
fn length_prefixed(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[length], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Signer, leaves};
    use crate::tree::root_of;

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint::new("log.example/a", size, root_of(&leaves(size))).unwrap()
    }

    #[test]
    fn cosignatures_verify_and_carry_their_time() {
        for witness in [
            Signer::witness("w.example", 1),
            Signer::ml_dsa44("w.example", 2),
        ] {
            let line = cosign(&witness, &checkpoint(3), 1_700_000_000).unwrap();
            assert_eq!(
                verify(&witness.key, &checkpoint(3), &line),
                Ok(1_700_000_000)
            );
            let other = verify(&witness.key, &checkpoint(4), &line);
            assert_eq!(other, Err(CosignatureError::BadSignature));
        }
    }

    #[test]
    fn the_time_is_signed() {
        for witness in [
            Signer::witness("w.example", 1),
            Signer::ml_dsa44("w.example", 2),
        ] {
            let line = cosign(&witness, &checkpoint(3), 5).unwrap();
            let mut bytes = line.signature().to_vec();
            bytes[7] = 6;
            let forged = NoteSignature::new(&witness.key, bytes);
            let refused = verify(&witness.key, &checkpoint(3), &forged);
            assert_eq!(refused, Err(CosignatureError::BadSignature));
        }
    }

    #[test]
    fn times_end_at_63_bits() {
        let witness = Signer::witness("w.example", 1);
        let too_late = MAX_TIMESTAMP + 1;
        assert_eq!(
            cosign(&witness, &checkpoint(3), too_late),
            Err(SignError::Time(too_late))
        );
        let forged = NoteSignature::new(&witness.key, [0x80; 72].to_vec());
        let refused = verify(&witness.key, &checkpoint(3), &forged);
        assert_eq!(refused, Err(CosignatureError::Time(0x8080_8080_8080_8080)));
        let short = NoteSignature::new(&witness.key, vec![0; 7]);
        let refused = verify(&witness.key, &checkpoint(3), &short);
        assert_eq!(refused, Err(CosignatureError::Truncated));
    }

    #[test]
    fn only_cosigners_cosign() {
        let log = Signer::ed25519("log.example/a", 1);
        let wrong = SignatureType::Ed25519;
        assert_eq!(
            cosign(&log, &checkpoint(3), 5),
            Err(SignError::WrongType(wrong))
        );
        let line = NoteSignature::new(&log.key, vec![0; 72]);
        let refused = verify(&log.key, &checkpoint(3), &line);
        assert_eq!(refused, Err(CosignatureError::WrongType(wrong)));
        let witness = Signer::witness("w.example", 1);
        let refused = verify(&witness.key, &checkpoint(3), &line);
        assert_eq!(refused, Err(CosignatureError::OtherKey));
    }

    #[test]
    fn the_ml_dsa_message_has_the_fields_of_the_specification() {
        let message = ml_dsa44_message(&"w".parse().unwrap(), &checkpoint(3), 5);
        let root = checkpoint(3).root();
        let expected = [
            b"subtree/v1\n\0\x01w\0\0\0\0\0\0\0\x05\x0dlog.example/a".as_slice(),
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03",
            root.as_ref(),
        ];
        assert_eq!(message, expected.concat());
    }
}
