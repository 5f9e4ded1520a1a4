//! Detached approvals: what is shown, what is signed, and the file that carries the signature.

use der::pem::{self, LineEnding};
use identity::approval::{Approval, approval_digest};
use identity::document::{
    Ceremony, Document, PinnedApprover, Signature, StationStatement, WireError,
};
use identity::key::{AwsLcVerifier, KeyError};
use identity::{Id, P256Key, Timestamp, VerifyP256 as _};
use keyvault::{Key, VaultError};
use std::path::{Path, PathBuf};

/// Label of the PEM block.
pub const PEM_LABEL: &str = "KOSEKI APPROVAL";

/// An approval that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalFileError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Not one PEM block of this label.
    #[error("{}: not one PEM {PEM_LABEL}", .0.display())]
    Pem(PathBuf),
    /// Not an approval.
    #[error("{}: {error}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: WireError,
    },
    /// The card refused or failed.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The card's key is not P-256.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The ceremony made nobody of this name an approver.
    #[error("{}: no approver {approver}; there are {known}", path.display())]
    Unknown {
        /// The ceremony document.
        path: PathBuf,
        /// Who is not there.
        approver: Id,
        /// Who is.
        known: String,
    },
    /// The card is somebody else's.
    #[error("the card is not that of {0}: its key is another than the ceremony document names")]
    ForeignCard(Id),
    /// The card gave a signature that its own public key does not verify.
    #[error("the card's signature does not verify under its own public key")]
    WrongSignature,
    /// The approval could not be written as PEM.
    #[error("PEM: {0}")]
    Encoding(pem::Error),
}

/// The approver of this name and the key by which the approvals are known, as the ceremony document names them.
///
/// # Errors
/// [`ApprovalFileError`] names the file.
pub fn pinned(ceremony: &Path, approver: &Id) -> Result<PinnedApprover, ApprovalFileError> {
    let path = || ceremony.to_owned();
    let bytes = std::fs::read(ceremony).map_err(|error| ApprovalFileError::Unreadable {
        path: path(),
        error,
    })?;
    let document = Ceremony::from_bytes(&bytes).map_err(|error| ApprovalFileError::Form {
        path: path(),
        error,
    })?;
    let known: Vec<_> = document
        .approvers
        .iter()
        .map(|one| one.id.to_string())
        .collect();
    let mut approvers = document.approvers.into_iter();
    approvers
        .find(|one| one.id == *approver)
        .ok_or_else(|| ApprovalFileError::Unknown {
            path: path(),
            approver: *approver,
            known: known.join(", "),
        })
}

/// Signs a document with an approver's card, and with no other. Whoever calls has shown the document to the approver.
///
/// # Errors
/// [`ApprovalFileError`].
pub fn sign<D: Document>(
    document: &D,
    approver: &PinnedApprover,
    card: &Key,
) -> Result<Approval, ApprovalFileError> {
    let public = P256Key::from_spki(card.spki_der())?;
    if public != approver.key {
        return Err(ApprovalFileError::ForeignCard(approver.id));
    }
    let digest = approval_digest(D::KIND, &document.hash());
    let signature = card.sign_p256_digest(&digest)?;
    if !AwsLcVerifier.verify(&public, &digest, &signature) {
        return Err(ApprovalFileError::WrongSignature);
    }
    Ok(Approval {
        approver: approver.id,
        signature: Signature(signature),
    })
}

/// The approval as a PEM block.
///
/// # Errors
/// [`ApprovalFileError::Encoding`].
pub fn to_pem(approval: &Approval) -> Result<String, ApprovalFileError> {
    pem::encode_string(PEM_LABEL, LineEnding::LF, &approval.to_bytes())
        .map_err(ApprovalFileError::Encoding)
}

/// Reads an approval.
///
/// # Errors
/// [`ApprovalFileError`] names the file.
pub fn read(path: &Path) -> Result<Approval, ApprovalFileError> {
    let text = std::fs::read(path).map_err(|error| ApprovalFileError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    match pem::decode_vec(&text) {
        Ok((PEM_LABEL, der)) => {
            Approval::from_bytes(&der).map_err(|error| ApprovalFileError::Form {
                path: path.to_owned(),
                error,
            })
        }
        Ok(_) | Err(_) => Err(ApprovalFileError::Pem(path.to_owned())),
    }
}

/// A station in words, for the approver who is about to sign it; every fact is one that is signed.
#[must_use]
pub fn explain_station(statement: &StationStatement) -> String {
    let key = |key: &P256Key| format!("SHA-256 {}", key.spki_hash());
    let lines = [
        ("approve", format!("SHA-256 {}", statement.hash())),
        ("site", statement.site.to_string()),
        ("line", statement.line.to_string()),
        ("TLS key", key(&statement.tls_key)),
        ("request key", key(&statement.request_key)),
        ("receipt key", key(&statement.receipt_key)),
        ("from", rfc3339(statement.not_before)),
        ("until", rfc3339(statement.not_after)),
        (
            "asked for by",
            format!("{}, who cannot approve it", statement.requester),
        ),
    ];
    let lines = lines.map(|(label, value)| format!("  {label:<14}{value}\n"));
    format!("Station {}\n{}", statement.id, lines.concat())
}

/// What exactly is signed, for the approver to compare with a second screen.
#[must_use]
pub fn explain_signature<D: Document>(document: &D, approver: &Id) -> String {
    let digest = approval_digest(D::KIND, &document.hash());
    format!(
        "{approver} signs, for this {kind}, the digest\n  {}\n\
         Compare the SHA-256 beside \"approve\" above with that on the other approvers' screens, and with what whoever\n\
         asked for it names: it is the same for all, and stands for every fact of this {kind}. The digest is made of it;\n\
         a card with a display shows it while it signs.\n",
        hex::encode(digest),
        kind = D::KIND,
    )
}

fn rfc3339(moment: Timestamp) -> String {
    let time = i64::try_from(moment.0)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    time.map_or_else(|| format!("{} ms", moment.0), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval() -> Approval {
        Approval {
            approver: Id::new("vet-01").unwrap(),
            signature: Signature([7; 64]),
        }
    }

    #[test]
    fn an_approval_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vet-01.pem");
        let text = to_pem(&approval()).unwrap();
        assert!(
            text.starts_with("-----BEGIN KOSEKI APPROVAL-----\n"),
            "{text}"
        );
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path).unwrap(), approval());
    }

    #[test]
    fn an_approver_is_told_which_hash_to_compare() {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let file = policies.join("grants/2026-ota-line-2-cam2.toml");
        let grant = crate::policy::load_grant(&policies, &file).unwrap().grant;
        let text = explain_signature(&grant, &Id::new("vet-01").unwrap());
        assert!(text.starts_with("vet-01 signs, for this grant, the digest\n"));
        assert!(
            text.contains("Compare the SHA-256 beside \"approve\" above"),
            "{text}"
        );
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pem");
        let text = to_pem(&approval()).unwrap();
        for damaged in [
            text.replace("KOSEKI APPROVAL", "CERTIFICATE"),
            text.replacen('\n', "\nA", 1),
            String::new(),
        ] {
            std::fs::write(&path, &damaged).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("x.pem"), "{error}");
        }
    }
}
