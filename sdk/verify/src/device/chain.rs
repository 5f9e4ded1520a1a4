//! Step *chain*: the certificate is issued under the root of the trust directory, through one issuing CA.

use crate::authority::Authority;
use crate::reason::Reason;
use crate::trust::Trust;
use crate::verdict::{Miss, all_hold, quoted};
use identity::idevid::Parsed;
use identity::{TbsHash, Timestamp};

/// pathLenConstraint of the two CAs (RFC 5280 §4.2.1.9): under the issuing CA there are only devices.
const ROOT_PATH: Option<u8> = Some(1);
const ISSUING_PATH: Option<u8> = Some(0);

/// A device certificate and the signature over it.
pub(super) struct Signed<'a> {
    pub(super) parsed: &'a Parsed,
    pub(super) tbs: &'a TbsHash,
    pub(super) signature: &'a [u8; 64],
}

/// The issuing CA that the certificate names, by name and key identifier; the signature is not checked yet.
pub(super) fn issuer_of<'t>(parsed: &Parsed, trust: &'t Trust) -> Option<&'t Authority> {
    let named = |authority: &&Authority| {
        let issuer = authority.issuer();
        *issuer.name() == parsed.issuer && issuer.key_id() == parsed.issuer_key_id
    };
    trust.issuing().iter().find(named)
}

/// Roles, names, key identifiers, signatures and dates from the device up to the root.
pub(super) fn check(
    signed: &Signed<'_>,
    trust: &Trust,
    issuer: Option<&Authority>,
    at: Timestamp,
) -> Result<String, Miss> {
    let (root, parsed) = (trust.root(), signed.parsed);
    all_hold(&[
        (
            root.path_length() == ROOT_PATH,
            Reason::RootRole,
            "its path length is not 1",
        ),
        (
            root.is_issued_by(root),
            Reason::RootRole,
            "it has not signed itself",
        ),
    ])?;
    let issuer = issuer
        .ok_or_else(|| Miss::failed(Reason::IssuerUnknown, quoted(&parsed.issuer.to_string())))?;
    let (root_label, label) = (quoted(&root.label()), quoted(&issuer.label()));
    all_hold(&[
        (
            issuer.path_length() == ISSUING_PATH,
            Reason::IssuerRole,
            "its path length is not 0",
        ),
        (
            issuer.is_issued_by(root),
            Reason::IssuerNotUnderRoot,
            "names, key identifiers or signature do not fit",
        ),
        (
            issuer.has_signed(signed.tbs, signed.signature),
            Reason::CertificateSignature,
            &label,
        ),
        // That no CA ends before what it signs is part of its form, see `Authority`.
        (covers(root.validity(), at), Reason::NotValidNow, "the root"),
        (
            covers(issuer.validity(), at),
            Reason::NotValidNow,
            "the issuing CA",
        ),
        (
            covers((parsed.not_before, parsed.not_after), at),
            Reason::NotValidNow,
            "the certificate",
        ),
    ])?;
    Ok(format!(
        "issued under root {root_label} (self-declared by the maker), by {label}"
    ))
}

fn covers((first, last): (Timestamp, Timestamp), at: Timestamp) -> bool {
    (first.seconds()..=last.seconds()).contains(&at.seconds())
}
