//! The documents behind a leaf, in the form the signer is shown them and the store keeps them.

use der::asn1::OctetString;
use der::{Decode as _, Encode as _};
use identity::approval::Approval;
use signer::message::Support;

/// Packs a document with its companion and approvals.
///
/// # Errors
/// A part is longer than DER can say.
pub(crate) fn pack(
    document: &[u8],
    profile: Option<&[u8]>,
    approvals: &[Approval],
) -> der::Result<Support> {
    Ok(Support {
        document: OctetString::new(document)?,
        profile: profile.map(OctetString::new).transpose()?,
        approvals: approvals
            .iter()
            .map(|approval| OctetString::new(approval.to_bytes()))
            .collect::<Result<_, _>>()?,
    })
}

/// Bytes for the store.
///
/// # Errors
/// A part is longer than DER can say.
pub(crate) fn to_bytes(support: &Support) -> der::Result<Vec<u8>> {
    support.to_der()
}

/// Reads the store's bytes.
///
/// # Errors
/// What is wrong with them, for people.
pub(crate) fn parse(bytes: &[u8]) -> Result<Support, String> {
    Support::from_der(bytes).map_err(|error| error.to_string())
}
