use super::{Field, IdevidError, MAX_CERTIFICATE, MAX_TBS, cap, require};
use alloc::vec::Vec;
use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::asn1::{Any, BitString};
use der::{Decode as _, Encode as _, Sequence, Tag, Tagged as _};
use p256::ecdsa::Signature;
use spki::AlgorithmIdentifierOwned;

/// `Certificate` (RFC 5280 §4.1) around a `TBSCertificate` kept as the bytes that were signed.
#[derive(Sequence)]
struct Signed {
    tbs: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// The certificate, DER: `tbs` as it is, ecdsa-with-SHA256, and the signature r ‖ s as an `Ecdsa-Sig-Value`
/// (RFC 3279 §2.2.3). Whether the signature is good is for the caller to check before this.
///
/// # Errors
/// [`IdevidError::Signature`] if r or s is zero or not below the group order; `tbs` too long or not one SEQUENCE.
pub fn assemble(tbs: &[u8], signature: &[u8; 64]) -> Result<Vec<u8>, IdevidError> {
    cap(tbs, MAX_TBS)?;
    let signature = Signature::from_slice(signature).map_err(|_cause| IdevidError::Signature)?;
    let signed = Signed {
        tbs: sequence(tbs)?,
        algorithm: AlgorithmIdentifierOwned {
            oid: ECDSA_WITH_SHA_256,
            parameters: None,
        },
        signature: BitString::from_bytes(signature.to_der().as_bytes())?,
    };
    Ok(signed.to_der()?)
}

/// Takes a certificate apart into its `TBSCertificate` bytes and the signature r ‖ s: the inverse of [`assemble`],
/// which gives back the same bytes. The inside of the `TBSCertificate` is for [`super::parse_tbs`].
///
/// # Errors
/// Too long, not DER, not canonical, another algorithm than ecdsa-with-SHA256, or not a P-256 signature.
pub fn split(certificate: &[u8]) -> Result<(Vec<u8>, [u8; 64]), IdevidError> {
    cap(certificate, MAX_CERTIFICATE)?;
    let signed = Signed::from_der(certificate)?;
    require(
        is_ecdsa_with_sha256(&signed.algorithm),
        Field::SignatureAlgorithm,
    )?;
    let der = signed.signature.as_bytes().ok_or(IdevidError::Signature)?;
    let signature = Signature::from_der(der).map_err(|_cause| IdevidError::Signature)?;
    let (tbs, signature) = (signed.tbs.to_der()?, signature.to_bytes().into());
    if assemble(&tbs, &signature)? == certificate {
        Ok((tbs, signature))
    } else {
        Err(IdevidError::NotCanonical)
    }
}

/// ecdsa-with-SHA256; the parameters must be absent (RFC 5758 §3.2).
pub(super) fn is_ecdsa_with_sha256(algorithm: &AlgorithmIdentifierOwned) -> bool {
    algorithm.oid == ECDSA_WITH_SHA_256 && algorithm.parameters.is_none()
}

fn sequence(tbs: &[u8]) -> Result<Any, IdevidError> {
    let any = Any::from_der(tbs)?;
    if any.tag() == Tag::Sequence {
        Ok(any)
    } else {
        Err(IdevidError::NotCanonical)
    }
}
