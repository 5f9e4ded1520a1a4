//! The certificate of a CA: root or issuing.

use crate::files::pem_blocks;
use der::asn1::ObjectIdentifier;
use der::oid::AssociatedOid as _;
use der::{Decode as _, Encode as _};
use identity::idevid::{self, IdevidError, Issuer};
use identity::{CertificateHash, P256Key, PortableVerifier, TbsHash, Timestamp, VerifyP256 as _};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use x509_cert::name::Name;

/// A CA's certificate, read and in itself well-formed: P-256, ecdsa-with-SHA256, and the role of a lasting CA.
#[derive(Clone, Debug)]
pub struct Authority {
    issuer: Issuer,
    issuer_name: Name,
    issuer_key_id: Option<Vec<u8>>,
    path_length: Option<u8>,
    hash: CertificateHash,
    tbs: TbsHash,
    signature: [u8; 64],
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The bytes are no certificate of a CA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// Not a certificate, or not that of a CA.
    #[error(transparent)]
    Form(#[from] IdevidError),
    /// An extension cannot be read.
    #[error("{0}")]
    Der(#[from] der::Error),
    /// basicConstraints or keyUsage is not critical (RFC 5280 §4.2.1.3 and §4.2.1.9).
    #[error("basicConstraints and keyUsage of a CA are critical")]
    NotCritical,
    /// A critical extension that is not understood here (RFC 5280 §4.2).
    #[error("critical extension {0} is not understood")]
    Critical(ObjectIdentifier),
    /// The PEM file is malformed.
    #[error("{0}")]
    Pem(String),
}

impl Authority {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// [`AuthorityError`]
    pub fn from_der(der: &[u8]) -> Result<Self, AuthorityError> {
        let (tbs_bytes, signature) = idevid::split(der)?;
        let certificate = Certificate::from_der(der)?;
        if certificate.to_der()? != der {
            return Err(IdevidError::NotCanonical.into());
        }
        let tbs = certificate.tbs_certificate();
        check_critical(&certificate)?;
        let constraints = tbs.get_extension::<BasicConstraints>()?;
        let authority = tbs.get_extension::<AuthorityKeyIdentifier>()?;
        let key_id = authority.and_then(|(_, identifier)| identifier.key_identifier);
        Ok(Self {
            issuer: Issuer::from_certificate(der)?,
            issuer_name: tbs.issuer().clone(),
            issuer_key_id: key_id.map(|id| id.as_bytes().to_vec()),
            path_length: constraints.and_then(|(_, constraints)| constraints.path_len_constraint),
            hash: CertificateHash::of(der),
            tbs: TbsHash::of(&tbs_bytes),
            signature,
            not_before: moment(tbs.validity().not_before),
            not_after: moment(tbs.validity().not_after),
        })
    }

    /// Reads all certificates of a PEM file.
    ///
    /// # Errors
    /// [`AuthorityError`]
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, AuthorityError> {
        let blocks = pem_blocks(pem, "CERTIFICATE").map_err(AuthorityError::Pem)?;
        blocks.iter().map(|der| Self::from_der(der)).collect()
    }

    /// Common name of the CA, or its whole name where it has none.
    #[must_use]
    pub fn label(&self) -> String {
        let common = self.issuer.name().common_name().ok().flatten();
        common.map_or_else(
            || self.issuer.name().to_string(),
            |name| name.value().into_owned(),
        )
    }

    /// Hash of the certificate.
    #[must_use]
    pub const fn hash(&self) -> CertificateHash {
        self.hash
    }

    /// Its public key.
    #[must_use]
    pub const fn key(&self) -> &P256Key {
        self.issuer.key()
    }

    pub(crate) const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(crate) const fn path_length(&self) -> Option<u8> {
        self.path_length
    }

    /// First and last moment of validity.
    pub(crate) const fn validity(&self) -> (Timestamp, Timestamp) {
        (self.not_before, self.not_after)
    }

    /// Whether the signature over a `TBSCertificate` is this CA's.
    pub(crate) fn has_signed(&self, tbs: &TbsHash, signature: &[u8; 64]) -> bool {
        PortableVerifier.verify(self.key(), &tbs.0, signature)
    }

    /// Whether names, key identifiers and signature say that `parent` issued this CA. A root may leave its
    /// authorityKeyIdentifier out (RFC 5280 §4.2.1.1); any other CA may not.
    pub(crate) fn is_issued_by(&self, parent: &Self) -> bool {
        let is_self_issued = self.issuer_name == *self.issuer.name();
        let names = self.issuer_name == *parent.issuer.name();
        let key_ids = self
            .issuer_key_id
            .as_deref()
            .map_or(is_self_issued, |id| id == parent.issuer.key_id());
        names && key_ids && parent.has_signed(&self.tbs, &self.signature)
    }
}

fn check_critical(certificate: &Certificate) -> Result<(), AuthorityError> {
    let must = [BasicConstraints::OID, KeyUsage::OID];
    for extension in certificate
        .tbs_certificate()
        .extensions()
        .into_iter()
        .flatten()
    {
        let known =
            must.contains(&extension.extn_id) || extension.extn_id == SubjectKeyIdentifier::OID;
        match (must.contains(&extension.extn_id), extension.critical) {
            (true, false) => return Err(AuthorityError::NotCritical),
            (false, true) if !known => return Err(AuthorityError::Critical(extension.extn_id)),
            (true, true) | (false, true | false) => {}
        }
    }
    Ok(())
}

fn moment(time: x509_cert::time::Time) -> Timestamp {
    Timestamp(time.to_unix_duration().as_secs().saturating_mul(1000))
}
