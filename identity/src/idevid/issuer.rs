use super::{Field, IdevidError, MAX_CERTIFICATE, NOT_AFTER, cap};
use crate::key::P256Key;
use crate::sources::Timestamp;
use alloc::vec::Vec;
use der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use x509_cert::{Certificate, TbsCertificate, name::Name};

/// The issuing CA as device certificates name it: its subject, its key and its subject key identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub(super) name: Name,
    pub(super) key: P256Key,
    pub(super) key_id: Vec<u8>,
}

impl Issuer {
    /// Reads the issuing CA's certificate, DER. Its own signature is the chain's business, not checked here.
    ///
    /// # Errors
    /// [`IdevidError::Issuer`] unless it is a CA of P-256 that may sign certificates, has a name and a subject key
    /// identifier (RFC 5280 §4.2.1.2) and lives as long as its leaves; too long or not DER.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdevidError> {
        cap(der, MAX_CERTIFICATE)?;
        let certificate = Certificate::from_der(der)?;
        let tbs = certificate.tbs_certificate();
        check_role(tbs)?;
        let (_, key_id) = tbs
            .get_extension::<SubjectKeyIdentifier>()?
            .ok_or(IdevidError::Issuer("it needs a subject key identifier"))?;
        Ok(Self {
            name: tbs.subject().clone(),
            key: P256Key::from_spki(&tbs.subject_public_key_info().to_der()?)
                .map_err(|_cause| IdevidError::Field(Field::SubjectPublicKey))?,
            key_id: key_id.0.as_bytes().to_vec(),
        })
    }

    /// Its public key.
    #[must_use]
    pub const fn key(&self) -> &P256Key {
        &self.key
    }

    /// Its subject key identifier, as the `authorityKeyIdentifier` of its certificates.
    #[must_use]
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// Its subject name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }
}

/// A CA that may sign certificates and outlives them.
fn check_role(tbs: &TbsCertificate) -> Result<(), IdevidError> {
    let is_ca = tbs
        .get_extension::<BasicConstraints>()?
        .is_some_and(|(_, constraints)| constraints.ca);
    let may_sign = tbs
        .get_extension::<KeyUsage>()?
        .is_some_and(|(_, usage)| usage.key_cert_sign());
    let end = Timestamp(
        tbs.validity()
            .not_after
            .to_unix_duration()
            .as_secs()
            .saturating_mul(1000),
    );
    require(is_ca, "basicConstraints says that it is no CA")?;
    require(may_sign, "keyUsage lacks keyCertSign")?;
    require(
        end >= NOT_AFTER,
        "it expires before the certificates it signs",
    )?;
    require(!tbs.subject().is_empty(), "its subject is empty")
}

#[expect(
    clippy::fn_params_excessive_bools,
    reason = "the condition is the point"
)]
const fn require(holds: bool, rule: &'static str) -> Result<(), IdevidError> {
    if holds {
        Ok(())
    } else {
        Err(IdevidError::Issuer(rule))
    }
}
