//! What the signer is configured to trust, parsed once.

use crate::error::SignerError;
use crate::exchange::SignerConfig;
use identity::approval::ApproverSet;
use identity::idevid::Issuer;
use identity::key::AwsLcVerifier;
use identity::{CertificateHash, SpkiHash};
use translog::checkpoint::TrustedLog;

/// Everything pinned. Nothing of it comes from the log or from a request.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) origin: String,
    pub(crate) log_vkey: String,
    pub(crate) log: TrustedLog,
    pub(crate) issuer: Issuer,
    pub(crate) issuing: CertificateHash,
    pub(crate) issuing_key: SpkiHash,
    pub(crate) approvers: ApproverSet,
    pub(crate) verifier: AwsLcVerifier,
}

impl TryFrom<SignerConfig> for Pinned {
    type Error = SignerError;

    fn try_from(config: SignerConfig) -> Result<Self, SignerError> {
        let issuer = Issuer::from_certificate(&config.issuing_certificate)?;
        Ok(Self {
            log: TrustedLog::new(&config.origin, vec![config.log_vkey.parse()?])?,
            issuing: CertificateHash::of(&config.issuing_certificate),
            issuing_key: issuer.key().spki_hash(),
            origin: config.origin,
            log_vkey: config.log_vkey,
            issuer,
            approvers: config.approvers,
            verifier: AwsLcVerifier,
        })
    }
}
