//! Certificates of the ceremony, and of peers later.
//!
//! The device root and the issuing CA are built as `TBSCertificate`, signed in the HSM and put together, as device
//! certificates are. The infrastructure's are made by rcgen through the HSM.

use super::tokens::Keys;
use super::{CeremonyError, Orders};
use crate::auth::{Peer, TrustDomain};
use crate::policy::AuthorityPlan;
use const_oid::db::rfc4519;
use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::asn1::{Any, OctetString, SetOfVec, Utf8StringRef};
use der::{DateTime, Decode as _, Encode as _};
use identity::hash::sha256;
use identity::idevid::{NOT_AFTER, assemble};
use identity::{Entropy, Timestamp};
use keyvault::Key;
use keyvault::rcgen_key::RcgenKey;
use p256::ecdsa::signature::Keypair;
use rcgen::{
    BasicConstraints as InfrastructureConstraints, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    SubjectPublicKeyInfoRef,
};
use std::time::Duration;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, SubjectPublicKeyInfo, TbsCertificate};

/// Bytes of a certificate's serial number; the first bit is clear and the first byte is not zero (RFC 5280 §4.1.2.2).
const SERIAL_BYTES: usize = 16;

/// Bytes of a key identifier (RFC 7093 §2, method 1: the leftmost 160 bits of SHA-256).
const KEY_ID_BYTES: usize = 20;

/// The certificates of a ceremony, DER.
pub(super) struct Certificates {
    pub(super) root: Vec<u8>,
    pub(super) issuing: Vec<u8>,
    pub(super) infrastructure: Vec<u8>,
    pub(super) server: Vec<u8>,
}

impl Certificates {
    pub(super) fn make(
        orders: &Orders<'_>,
        keys: &Keys,
        entropy: &dyn Entropy,
    ) -> Result<Self, CeremonyError> {
        let plan = orders.plan;
        let root_name = name(&plan.root)?;
        let root = Authority {
            subject: root_name.clone(),
            issuer: root_name.clone(),
            path_len: 1,
            not_before: plan.not_before,
        };
        let issuing = Authority {
            subject: name(&plan.issuing)?,
            issuer: root_name,
            path_len: 0,
            not_before: plan.not_before,
        };
        let infrastructure = infrastructure(orders, keys, entropy)?;
        Ok(Self {
            root: root.sign(&keys.root, &keys.root, entropy)?,
            issuing: issuing.sign(&keys.issuing, &keys.root, entropy)?,
            server: server(orders, keys, &infrastructure, entropy)?,
            infrastructure: infrastructure.to_vec(),
        })
    }
}

/// A TLS client certificate of a peer, DER: its only name is the peer's URI, its only use is as a client.
///
/// # Errors
/// [`CeremonyError`] if the token or the source of randomness failed.
pub fn peer_certificate(
    infrastructure: &CertificateDer<'_>,
    root: &RcgenKey,
    subject: &PeerSubject<'_>,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, CeremonyError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, subject.peer.id.as_str());
    params.subject_alt_names = vec![SanType::URI(subject.domain.uri(&subject.peer).try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    set_frame(&mut params, subject.not_before, subject.not_after, entropy)?;
    let issuer = Issuer::from_ca_cert_der(infrastructure, root)?;
    let certificate = root.sign(|_| params.signed_by(subject.key, &issuer))?;
    Ok(certificate.der().to_vec())
}

/// What a peer's certificate says.
#[derive(Debug)]
pub struct PeerSubject<'a> {
    /// The peer.
    pub peer: Peer,
    /// The domain its name belongs to.
    pub domain: &'a TrustDomain,
    /// Its key, from a request whose signature was verified.
    pub key: &'a rcgen::PublicKey,
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
}

/// Last moment of validity of an infrastructure certificate: no certificate below it may end later.
///
/// # Errors
/// [`der::Error`] if it is no certificate.
pub fn infrastructure_end(certificate: &[u8]) -> Result<Timestamp, der::Error> {
    let certificate = Certificate::from_der(certificate)?;
    let end = certificate.tbs_certificate().validity().not_after;
    Ok(Timestamp(
        end.to_unix_duration().as_secs().saturating_mul(1000),
    ))
}

fn infrastructure(
    orders: &Orders<'_>,
    keys: &Keys,
    entropy: &dyn Entropy,
) -> Result<CertificateDer<'static>, CeremonyError> {
    let plan = orders.plan;
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(&plan.infrastructure);
    params.is_ca = IsCa::Ca(InfrastructureConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_frame(
        &mut params,
        plan.not_before,
        plan.infrastructure_until,
        entropy,
    )?;
    let key = RcgenKey::new(keys.infrastructure.clone());
    let certificate = key.sign(|key| params.self_signed(key))?;
    Ok(certificate.der().clone())
}

fn server(
    orders: &Orders<'_>,
    keys: &Keys,
    infrastructure: &CertificateDer<'_>,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, CeremonyError> {
    let plan = orders.plan;
    let names = orders.config.listen.names.clone();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::OrganizationName,
        plan.infrastructure.organization.as_str(),
    );
    params
        .distinguished_name
        .push(DnType::CommonName, "koseki ca-server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_frame(
        &mut params,
        plan.not_before,
        plan.infrastructure_until,
        entropy,
    )?;
    let root = RcgenKey::new(keys.infrastructure.clone());
    let server = RcgenKey::new(keys.server.clone());
    let issuer = Issuer::from_ca_cert_der(infrastructure, &root)?;
    let certificate = root.sign(|_| params.signed_by(&server, &issuer))?;
    Ok(certificate.der().to_vec())
}

/// Serial number, validity and key identifier of the issuer: what every infrastructure certificate has.
fn set_frame(
    params: &mut CertificateParams,
    not_before: Timestamp,
    not_after: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), CeremonyError> {
    // The epoch is in range, and no time is later than `NOT_AFTER`: the sums do not overflow.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let moment = |time: Timestamp| epoch + Duration::from_secs(time.min(NOT_AFTER).seconds());
    params.serial_number = Some(serial(entropy)?.to_vec().into());
    params.not_before = moment(not_before);
    params.not_after = moment(not_after);
    params.use_authority_key_identifier_extension = true;
    Ok(())
}

fn distinguished_name(plan: &AuthorityPlan) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, plan.organization.as_str());
    name.push(DnType::CommonName, plan.common_name.as_str());
    name
}

fn serial(entropy: &dyn Entropy) -> Result<[u8; SERIAL_BYTES], CeremonyError> {
    let mut bytes = [0; SERIAL_BYTES];
    entropy
        .fill(&mut bytes)
        .map_err(|_failed| CeremonyError::Entropy)?;
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7F) | 0x40;
    }
    Ok(bytes)
}

/// O and CN, one in each RDN.
fn name(plan: &AuthorityPlan) -> Result<Name, CeremonyError> {
    let attribute = |oid, text: &str| {
        let value = Any::from(Utf8StringRef::new(text)?);
        SetOfVec::try_from([AttributeTypeAndValue { oid, value }])
    };
    let rdns = vec![
        attribute(rfc4519::ORGANIZATION_NAME, plan.organization.as_str())?,
        attribute(rfc4519::COMMON_NAME, plan.common_name.as_str())?,
    ];
    Ok(Name::from_der(&rdns.to_der()?)?)
}

/// A device CA: it has no end, because the certificates below it have none.
struct Authority {
    subject: Name,
    issuer: Name,
    path_len: u8,
    not_before: Timestamp,
}

impl Authority {
    /// The certificate of `key`, signed by `issuer`, DER.
    fn sign(
        self,
        key: &Key,
        issuer: &Key,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, CeremonyError> {
        let serial = SerialNumber::new(&serial(entropy)?)?;
        let validity = Validity::new(time(self.not_before)?, time(NOT_AFTER)?);
        let spki = SubjectPublicKeyInfo::from_der(key.spki_der())?;
        let mut builder = CertificateBuilder::new(self, serial, validity, spki)?;
        let tbs = builder.finalize(&PublicHalf(issuer.spki_der().to_vec()))?;
        let signature = issuer.sign_p256(&tbs)?;
        assemble(&tbs, &signature).map_err(|error| CeremonyError::Certificate(error.to_string()))
    }
}

impl BuilderProfile for Authority {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let constraints = BasicConstraints {
            ca: true,
            path_len_constraint: Some(self.path_len),
        };
        let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
        let subject_key = SubjectKeyIdentifier(key_id(&key)?);
        let authority_key = AuthorityKeyIdentifier {
            key_identifier: Some(key_id(&issuer)?),
            ..Default::default()
        };
        Ok(vec![
            constraints.to_extension(&self.subject, &[])?,
            usage.to_extension(&self.subject, &[])?,
            subject_key.to_extension(&self.subject, &[])?,
            authority_key.to_extension(&self.subject, &[])?,
        ])
    }
}

fn key_id(spki: &SubjectPublicKeyInfoRef<'_>) -> Result<OctetString, der::Error> {
    let digest = sha256(spki.subject_public_key.raw_bytes());
    OctetString::new(digest.get(..KEY_ID_BYTES).unwrap_or_default())
}

fn time(moment: Timestamp) -> Result<Time, der::Error> {
    let date = DateTime::from_unix_duration(Duration::from_secs(moment.seconds()))?;
    Ok(Time::from(date))
}

/// Stands in for the signer: the builder asks a signer only for its public key and algorithm.
#[derive(Clone)]
struct PublicHalf(Vec<u8>);

impl Keypair for PublicHalf {
    type VerifyingKey = Self;

    fn verifying_key(&self) -> Self {
        self.clone()
    }
}

impl DynSignatureAlgorithmIdentifier for PublicHalf {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned {
            oid: ECDSA_WITH_SHA_256,
            parameters: None,
        })
    }
}

impl EncodePublicKey for PublicHalf {
    fn to_public_key_der(&self) -> spki::Result<der::Document> {
        Ok(der::Document::try_from(self.0.as_slice())?)
    }
}
