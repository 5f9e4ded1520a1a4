use super::build::{instance_uri_of, is_hardware_type, subject_of};
use super::name::{self, Attribute};
use super::seal::is_ecdsa_with_sha256;
use super::{
    CertificateSerial, Facts, Field, IdevidError, Issuer, MAX_TBS, NOT_AFTER, cap, require, split,
};
use crate::key::P256Key;
use crate::sources::Timestamp;
use crate::text::{ChipUid, DeviceSerial};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use const_oid::AssociatedOid as _;
use const_oid::db::rfc4519;
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName, HardwareModuleName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, CrlDistributionPoints, KeyUsage, KeyUsages, SubjectAltName,
};
use x509_cert::{TbsCertificate, certificate::Version, name::Name, time::Time};

/// Everything an `IDevID` certificate says. `notAfter` is [`NOT_AFTER`] in all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Serial number of the certificate.
    pub certificate_serial: CertificateSerial,
    /// Name of the issuing CA.
    pub issuer: Name,
    /// Start of validity, a whole second.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Attributes of the subject in order: type and text.
    pub subject: Vec<(ObjectIdentifier, String)>,
    /// The subject's serialNumber: serial of the device.
    pub device_serial: DeviceSerial,
    /// The certified key.
    pub key: P256Key,
    /// Key identifier of the issuing CA.
    pub issuer_key_id: Vec<u8>,
    /// hwType of the hardwareModuleName.
    pub hardware_type: ObjectIdentifier,
    /// hwSerialNum of the hardwareModuleName: the chip.
    pub uid: ChipUid,
    /// URI of the `subjectAltName`, if any.
    pub instance_uri: Option<String>,
    /// URI of the CRL distribution point.
    pub crl: String,
}

impl Parsed {
    /// Holds what was read against what it must say, field by field. It shares with the builder nothing but the filling
    /// of the profile's templates.
    ///
    /// # Errors
    /// [`IdevidError::Field`] names the first field that differs.
    pub fn check(&self, issuer: &Issuer, facts: &Facts<'_>) -> Result<(), IdevidError> {
        require(
            self.certificate_serial == *facts.certificate_serial,
            Field::SerialNumber,
        )?;
        require(self.issuer == issuer.name, Field::Issuer)?;
        require(
            self.not_before.seconds() == facts.not_before.seconds(),
            Field::NotBefore,
        )?;
        let subject = subject_of(facts.profile, facts.serial, facts.uid);
        check_subject(&self.subject, &subject)?;
        require(self.device_serial == *facts.serial, Field::DeviceSerial)?;
        require(self.key == *facts.key, Field::SubjectPublicKey)?;
        require(
            self.issuer_key_id == issuer.key_id,
            Field::AuthorityKeyIdentifier,
        )?;
        require(
            self.hardware_type == facts.profile.hardware_type,
            Field::HardwareType,
        )?;
        require(self.uid == *facts.uid, Field::ChipUid)?;
        let uri = instance_uri_of(facts.profile, facts.serial, facts.uid);
        require(self.instance_uri == uri, Field::InstanceUri)?;
        require(self.crl == facts.profile.crl, Field::CrlDistributionPoint)
    }
}

/// Reads an `IDevID` certificate without knowing what it should say. The signature is not checked.
///
/// # Errors
/// As [`split`] and [`parse_tbs`].
pub fn parse_certificate(certificate: &[u8]) -> Result<Parsed, IdevidError> {
    let (tbs, _) = split(certificate)?;
    parse_tbs(&tbs)
}

/// Reads the `TBSCertificate` of an `IDevID` certificate. Only what the builder could have written is accepted.
///
/// # Errors
/// [`IdevidError::Field`] names the first field that no `IDevID` of ours can have; too long, not DER, not canonical.
pub fn parse_tbs(bytes: &[u8]) -> Result<Parsed, IdevidError> {
    cap(bytes, MAX_TBS)?;
    let tbs = TbsCertificate::from_der(bytes)?;
    if tbs.to_der()? != bytes {
        return Err(IdevidError::NotCanonical);
    }
    require(tbs.version() == Version::V3, Field::Version)?;
    require(
        is_ecdsa_with_sha256(tbs.signature()),
        Field::SignatureAlgorithm,
    )?;
    require(
        tbs.issuer_unique_id().is_none() && tbs.subject_unique_id().is_none(),
        Field::UniqueIdentifier,
    )?;
    require(
        seconds(tbs.validity().not_after) == NOT_AFTER,
        Field::NotAfter,
    )?;
    let subject = name::read(tbs.subject())?;
    let extensions = Extensions::read(tbs.extensions().map_or(&[], Vec::as_slice))?;
    let (hardware, instance_uri) = read_alternative_names(extensions.names)?;
    Ok(Parsed {
        certificate_serial: CertificateSerial::from_octets(tbs.serial_number().as_bytes())?,
        issuer: tbs.issuer().clone(),
        not_before: seconds(tbs.validity().not_before),
        not_after: NOT_AFTER,
        device_serial: device_serial(&subject)?,
        subject,
        key: read_key(&tbs)?,
        issuer_key_id: read_authority(extensions.authority)?,
        hardware_type: hardware.hw_type,
        uid: ChipUid::new(hardware.hw_serial_num.as_bytes())
            .map_err(|_cause| IdevidError::Field(Field::ChipUid))?,
        instance_uri,
        crl: read_revocation(extensions.revocation)?,
    })
}

/// The contents of the four extensions.
struct Extensions {
    authority: AuthorityKeyIdentifier,
    names: SubjectAltName,
    revocation: CrlDistributionPoints,
}

impl Extensions {
    /// Exactly these, in this order, with this criticality.
    fn read(extensions: &[Extension]) -> Result<Self, IdevidError> {
        let [authority, usage, names, revocation] = extensions else {
            return Err(IdevidError::Field(Field::Extensions));
        };
        let shape = [
            (authority, AuthorityKeyIdentifier::OID, false),
            (usage, KeyUsage::OID, true),
            (names, SubjectAltName::OID, false),
            (revocation, CrlDistributionPoints::OID, false),
        ];
        let fits = shape
            .iter()
            .all(|(found, oid, critical)| found.extn_id == *oid && found.critical == *critical);
        require(fits, Field::Extensions)?;
        let usage: KeyUsage = content(usage)?;
        require(usage.0 == KeyUsages::DigitalSignature, Field::KeyUsage)?;
        Ok(Self {
            authority: content(authority)?,
            names: content(names)?,
            revocation: content(revocation)?,
        })
    }
}

/// The value inside an extension; it must be canonical too, which the certificate's own encoding does not show.
fn content<T>(extension: &Extension) -> Result<T, IdevidError>
where
    T: for<'a> Decode<'a, Error = der::Error> + Encode,
{
    let value = T::from_der(extension.extn_value.as_bytes())?;
    if value.to_der()? == extension.extn_value.as_bytes() {
        Ok(value)
    } else {
        Err(IdevidError::NotCanonical)
    }
}

fn seconds(time: Time) -> Timestamp {
    Timestamp(time.to_unix_duration().as_secs().saturating_mul(1000))
}

fn device_serial(subject: &[Attribute]) -> Result<DeviceSerial, IdevidError> {
    let mut serials = subject
        .iter()
        .filter(|(oid, _)| *oid == rfc4519::SERIAL_NUMBER);
    match (serials.next(), serials.next()) {
        (Some((_, text)), None) => {
            DeviceSerial::new(text).map_err(|_cause| IdevidError::Field(Field::DeviceSerial))
        }
        _ => Err(IdevidError::Field(Field::DeviceSerial)),
    }
}

/// P-256 with an uncompressed point: [`P256Key::from_spki`] also reads compressed ones.
fn read_key(tbs: &TbsCertificate) -> Result<P256Key, IdevidError> {
    let spki = tbs.subject_public_key_info().to_der()?;
    let key =
        P256Key::from_spki(&spki).map_err(|_cause| IdevidError::Field(Field::SubjectPublicKey))?;
    require(key.spki().as_slice() == spki, Field::SubjectPublicKey)?;
    Ok(key)
}

fn read_authority(authority: AuthorityKeyIdentifier) -> Result<Vec<u8>, IdevidError> {
    match authority {
        AuthorityKeyIdentifier {
            key_identifier: Some(id),
            authority_cert_issuer: None,
            authority_cert_serial_number: None,
        } => Ok(id.into_bytes().into_vec()),
        _ => Err(IdevidError::Field(Field::AuthorityKeyIdentifier)),
    }
}

fn read_alternative_names(
    names: SubjectAltName,
) -> Result<(HardwareModuleName, Option<String>), IdevidError> {
    let (hardware, uri) = match names.0.as_slice() {
        [GeneralName::OtherName(hardware)] => (hardware, None),
        [GeneralName::OtherName(hardware), uri] => {
            (hardware, Some(read_uri(uri, Field::InstanceUri)?))
        }
        _ => return Err(IdevidError::Field(Field::SubjectAltName)),
    };
    let module = HardwareModuleName::from_other_name(hardware)?
        .ok_or(IdevidError::Field(Field::SubjectAltName))?;
    require(is_hardware_type(module.hw_type), Field::HardwareType)?;
    Ok((module, uri))
}

fn read_revocation(points: CrlDistributionPoints) -> Result<String, IdevidError> {
    let [
        DistributionPoint {
            distribution_point: Some(DistributionPointName::FullName(names)),
            reasons,
            crl_issuer,
        },
    ] = points.0.as_slice()
    else {
        return Err(IdevidError::Field(Field::CrlDistributionPoint));
    };
    match names.as_slice() {
        [uri] if reasons.is_none() && crl_issuer.is_none() => {
            read_uri(uri, Field::CrlDistributionPoint)
        }
        _ => Err(IdevidError::Field(Field::CrlDistributionPoint)),
    }
}

fn read_uri(name: &GeneralName, field: Field) -> Result<String, IdevidError> {
    let GeneralName::UniformResourceIdentifier(uri) = name else {
        return Err(IdevidError::Field(field));
    };
    require(name::is_uri(uri.as_str()), field)?;
    Ok(uri.to_string())
}

fn check_subject(found: &[Attribute], expected: &[Attribute]) -> Result<(), IdevidError> {
    require(found.len() == expected.len(), Field::SubjectLength)?;
    let differs = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    differs.map_or(Ok(()), |at| {
        Err(IdevidError::Field(Field::SubjectAttribute(at)))
    })
}
