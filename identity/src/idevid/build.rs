use super::name::{self, Attribute};
use super::{
    CertificateSerial, Facts, Field, IdevidError, Issuer, MAX_TBS, NOT_AFTER, cap, require,
};
use crate::document::{Profile, fill_template};
use crate::key::P256Key;
use crate::sources::Timestamp;
use crate::text::{ChipUid, DeviceSerial};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use core::time::Duration;
use der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use der::{DateTime, Decode as _};
use p256::ecdsa::signature::Keypair;
use spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    SubjectPublicKeyInfoRef,
};
use x509_cert::builder::profile::{BuilderProfile, devid::DevId};
use x509_cert::builder::{Builder as _, CertificateBuilder, Error as BuilderError};
use x509_cert::ext::Extension;
use x509_cert::ext::ToExtension as _;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{
    DistributionPointName, GeneralName, HardwareModuleName, OtherName,
};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlDistributionPoints};
use x509_cert::time::{Time, Validity};
use x509_cert::{SubjectPublicKeyInfo, TbsCertificate, name::Name, serial_number::SerialNumber};

/// The arc of private enterprise numbers (IANA): hwType lies below a maker's number.
const ENTERPRISES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1");

/// The `TBSCertificate` of these facts, canonical DER, at most [`MAX_TBS`] bytes. What the CA key signs is its SHA-256.
///
/// # Errors
/// [`IdevidError::Field`] if profile and facts together give a value the certificate cannot hold (an attribute too
/// long, a serial that is not fit for the instance URI, hwType outside the enterprise arc); too long; not encodable.
pub fn build_tbs(issuer: &Issuer, facts: &Facts<'_>) -> Result<Vec<u8>, IdevidError> {
    let not_before = Time::from(
        date_time(facts.not_before).map_err(|_cause| IdevidError::Field(Field::NotBefore))?,
    );
    let validity = Validity::new(not_before, Time::from(date_time(NOT_AFTER)?));
    let spki = SubjectPublicKeyInfo::from_der(&facts.key.spki())?;
    let profile = IdevidProfile::new(issuer, facts)?;
    let mut builder = CertificateBuilder::new(
        profile,
        serial_number(facts.certificate_serial)?,
        validity,
        spki,
    )
    .map_err(built)?;
    builder.add_extension(&authority(issuer)?)?;
    let tbs = builder.finalize(&IssuerKey(issuer.key)).map_err(built)?;
    cap(&tbs, MAX_TBS)?;
    Ok(tbs)
}

/// Subject attributes with the templates filled.
pub(super) fn subject_of(
    profile: &Profile,
    serial: &DeviceSerial,
    uid: &ChipUid,
) -> Vec<Attribute> {
    let fill = |template: &str| fill_template(template, serial.as_str(), &uid.to_string());
    profile
        .subject
        .iter()
        .map(|attribute| (attribute.oid, fill(&attribute.template)))
        .collect()
}

/// Instance URI with the template filled, if the product has one.
pub(super) fn instance_uri_of(
    profile: &Profile,
    serial: &DeviceSerial,
    uid: &ChipUid,
) -> Option<String> {
    profile
        .instance_uri
        .as_ref()
        .map(|template| fill_template(template, serial.as_str(), &uid.to_string()))
}

/// Whether a hwType lies below an enterprise number: the arc, the number, and at least one more.
pub(super) fn is_hardware_type(oid: ObjectIdentifier) -> bool {
    oid.starts_with(ENTERPRISES) && oid.len() >= ENTERPRISES.len() + 2
}

fn date_time(time: Timestamp) -> der::Result<DateTime> {
    DateTime::from_unix_duration(Duration::from_secs(time.seconds()))
}

fn serial_number(serial: &CertificateSerial) -> Result<SerialNumber, IdevidError> {
    Ok(SerialNumber::new(serial.as_bytes())?)
}

/// The issuer's own identifier, which need not be the SHA-1 that the builder would compute.
fn authority(issuer: &Issuer) -> Result<AuthorityKeyIdentifier, IdevidError> {
    let key_identifier = Some(OctetString::new(issuer.key_id.as_slice())?);
    Ok(AuthorityKeyIdentifier {
        key_identifier,
        ..Default::default()
    })
}

fn alternative_names(facts: &Facts<'_>) -> Result<Vec<GeneralName>, IdevidError> {
    require(
        is_hardware_type(facts.profile.hardware_type),
        Field::HardwareType,
    )?;
    let hardware = HardwareModuleName {
        hw_type: facts.profile.hardware_type,
        hw_serial_num: OctetString::new(facts.uid.as_bytes())?,
    };
    let mut names = alloc::vec![GeneralName::OtherName(OtherName::try_from(&hardware)?)];
    if let Some(uri) = instance_uri_of(facts.profile, facts.serial, facts.uid) {
        names.push(uri_name(&uri, Field::InstanceUri)?);
    }
    Ok(names)
}

fn revocation(profile: &Profile) -> Result<CrlDistributionPoints, IdevidError> {
    let full_name = alloc::vec![uri_name(&profile.crl, Field::CrlDistributionPoint)?];
    let distribution_point = Some(DistributionPointName::FullName(full_name));
    Ok(CrlDistributionPoints(alloc::vec![DistributionPoint {
        distribution_point,
        reasons: None,
        crl_issuer: None
    }]))
}

fn uri_name(uri: &str, field: Field) -> Result<GeneralName, IdevidError> {
    require(name::is_uri(uri), field)?;
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?))
}

fn built(error: BuilderError) -> IdevidError {
    if let BuilderError::Asn1(error) = error {
        IdevidError::Der(error)
    } else {
        IdevidError::Builder(error.to_string())
    }
}

/// The library's 802.1AR profile, with the issuer's key identifier as it stands in the issuer's certificate, and
/// the CRL distribution point at the end.
struct IdevidProfile {
    devid: DevId,
    crl: CrlDistributionPoints,
}

impl IdevidProfile {
    fn new(issuer: &Issuer, facts: &Facts<'_>) -> Result<Self, IdevidError> {
        let subject = name::build(&subject_of(facts.profile, facts.serial, facts.uid))?;
        let names = Some(alternative_names(facts)?);
        let devid = DevId::new(issuer.name.clone(), subject, names).map_err(built)?;
        Ok(Self {
            devid,
            crl: revocation(facts.profile)?,
        })
    }
}

impl BuilderProfile for IdevidProfile {
    fn get_issuer(&self, subject: &Name) -> Name {
        self.devid.get_issuer(subject)
    }

    fn get_subject(&self) -> Name {
        self.devid.get_subject()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let mut extensions = self.devid.build_extensions(key, issuer, tbs)?;
        extensions.retain(|extension| {
            extension.extn_id != const_oid::db::rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER
        });
        extensions.push(self.crl.to_extension(&tbs.subject().clone(), &extensions)?);
        Ok(extensions)
    }
}

/// Stands in for the signer: the builder asks a signer only for its public key and algorithm.
pub(super) struct IssuerKey(pub(super) P256Key);

impl Keypair for IssuerKey {
    type VerifyingKey = PublicHalf;

    fn verifying_key(&self) -> PublicHalf {
        PublicHalf(self.0)
    }
}

impl DynSignatureAlgorithmIdentifier for IssuerKey {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned {
            oid: ECDSA_WITH_SHA_256,
            parameters: None,
        })
    }
}

/// The public key in the form the builder reads.
#[derive(Clone)]
pub(super) struct PublicHalf(P256Key);

impl EncodePublicKey for PublicHalf {
    fn to_public_key_der(&self) -> spki::Result<der::Document> {
        Ok(der::Document::try_from(self.0.spki().as_slice())?)
    }
}
