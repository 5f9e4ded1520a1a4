//! The `IDevID` certificate (IEEE 802.1AR §8, RFC 5280): built from a profile and the facts of one unit, signed
//! elsewhere, and read again by everyone who must not take the builder's word for it.
//!
//! One set of facts has exactly one `TBSCertificate`: order of attributes and extensions, string types and lengths
//! are fixed here, and any other encoding is refused. Extensions, in this order and no others: `authorityKeyIdentifier`,
//! `keyUsage` (critical, digitalSignature), `subjectAltName` (hardwareModuleName, then the instance URI if the profile
//! has one), `cRLDistributionPoints`. `notAfter` is always 99991231235959Z.

mod build;
mod check;
mod issuer;
mod name;
mod seal;
#[cfg(test)]
mod tests;

pub use build::build_tbs;
pub use check::{Parsed, parse_certificate, parse_tbs};
pub use issuer::Issuer;
pub use seal::{assemble, split};

use crate::document::Profile;
use crate::hash::{Sink as _, SpkiHash, sha256_of, write_hex};
use crate::key::P256Key;
use crate::sources::Timestamp;
use crate::text::{ChipUid, DeviceSerial};
use alloc::string::String;
use core::fmt;

/// Longest certificate in bytes, of a device or of its CA.
pub const MAX_CERTIFICATE: usize = 4096;

/// Longest `TBSCertificate` in bytes: what [`MAX_CERTIFICATE`] leaves beside the outer header (4), the algorithm (12)
/// and the longest ECDSA signature (75).
pub const MAX_TBS: usize = MAX_CERTIFICATE - 4 - 12 - 75;

/// `notAfter` of every device certificate, 99991231235959Z: no well-defined expiration (RFC 5280 §4.1.2.5).
pub const NOT_AFTER: Timestamp = Timestamp(253_402_300_799_000);

/// What one certificate says about one unit.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Profile of the product.
    pub profile: &'a Profile,
    /// Serial of the device, as on its label.
    pub serial: &'a DeviceSerial,
    /// The chip; hwSerialNum of the hardwareModuleName.
    pub uid: &'a ChipUid,
    /// The key to be certified.
    pub key: &'a P256Key,
    /// Serial number of the certificate.
    pub certificate_serial: &'a CertificateSerial,
    /// Start of validity; fractions of a second are dropped.
    pub not_before: Timestamp,
}

/// Serial number of a certificate: always 20 octets, positive, not zero (RFC 5280 §4.1.2.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateSerial([u8; 20]);

impl CertificateSerial {
    /// The serial number that an issuer gives to a key: SHA-256("koseki/serial/v1\n" ‖ issuer's SPKI hash ‖ SPKI hash),
    /// its first 20 bytes with the two top bits set to `01`.
    ///
    /// No key is certified twice, so no serial number is given twice (RFC 5280 §4.1.2.2), and nobody needs to keep a
    /// set of them: signer and auditor compute it from the leaf.
    #[must_use]
    pub fn of_key(issuer: &SpkiHash, key: &SpkiHash) -> Self {
        let digest = sha256_of(|sink| {
            sink.put(b"koseki/serial/v1\n");
            sink.put(&issuer.0);
            sink.put(&key.0);
        });
        let mut bytes = [0; 20];
        for (byte, from) in bytes.iter_mut().zip(digest) {
            *byte = from;
        }
        Self::shaped(bytes)
    }

    /// The top bit is cleared (positive), the next one set (never shorter than 20 octets).
    const fn shaped(mut bytes: [u8; 20]) -> Self {
        let [first, ..] = &mut bytes;
        *first = (*first & 0x3f) | 0x40;
        Self(bytes)
    }

    /// From the octets of an existing serial number.
    ///
    /// # Errors
    /// [`Field::SerialNumber`] unless there are 20 octets whose first two bits are `01`.
    pub fn from_octets(octets: &[u8]) -> Result<Self, IdevidError> {
        let bytes: [u8; 20] = octets
            .try_into()
            .map_err(|_cause| IdevidError::Field(Field::SerialNumber))?;
        let serial = Self::shaped(bytes);
        if serial.0 == bytes {
            Ok(serial)
        } else {
            Err(IdevidError::Field(Field::SerialNumber))
        }
    }

    /// The 20 octets, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl AsRef<[u8]> for CertificateSerial {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateSerial({self})")
    }
}

/// A field of the certificate, to say which one is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Not v3.
    Version,
    /// Another serial number, or not 20 octets.
    SerialNumber,
    /// Not ecdsa-with-SHA256 without parameters (RFC 5758 §3.2).
    SignatureAlgorithm,
    /// Another issuer name.
    Issuer,
    /// Another start of validity.
    NotBefore,
    /// Not 99991231235959Z.
    NotAfter,
    /// Number of attributes of the subject, or several attributes in one RDN.
    SubjectLength,
    /// An attribute of the subject, counted from 0: type, string type, length or value.
    SubjectAttribute(usize),
    /// The subject holds not exactly one device serial number.
    DeviceSerial,
    /// Another key, or not P-256 with an uncompressed point.
    SubjectPublicKey,
    /// issuerUniqueID or subjectUniqueID is present (RFC 5280 §4.1.2.8).
    UniqueIdentifier,
    /// An extension is missing, doubled, unknown, out of order or of the wrong criticality.
    Extensions,
    /// Another issuer key, or more than a key identifier.
    AuthorityKeyIdentifier,
    /// Not exactly digitalSignature.
    KeyUsage,
    /// Not a hardwareModuleName followed by at most one URI.
    SubjectAltName,
    /// Another hwType, or none under a private enterprise number.
    HardwareType,
    /// Another hwSerialNum, or not 1 to 32 bytes.
    ChipUid,
    /// Another instance URI, one too many, one missing, or not a URI.
    InstanceUri,
    /// Another CRL distribution point, or not one full name that is a URI.
    CrlDistributionPoint,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::SerialNumber => "serialNumber",
            Self::SignatureAlgorithm => "signature",
            Self::Issuer => "issuer",
            Self::NotBefore => "notBefore",
            Self::NotAfter => "notAfter",
            Self::SubjectLength => "subject",
            Self::SubjectAttribute(at) => return write!(f, "attribute {at} of the subject"),
            Self::DeviceSerial => "serialNumber of the subject",
            Self::SubjectPublicKey => "subjectPublicKeyInfo",
            Self::UniqueIdentifier => "unique identifier",
            Self::Extensions => "extensions",
            Self::AuthorityKeyIdentifier => "authorityKeyIdentifier",
            Self::KeyUsage => "keyUsage",
            Self::SubjectAltName => "subjectAltName",
            Self::HardwareType => "hwType of the hardwareModuleName",
            Self::ChipUid => "hwSerialNum of the hardwareModuleName",
            Self::InstanceUri => "instance URI",
            Self::CrlDistributionPoint => "cRLDistributionPoints",
        })
    }
}

/// Why a certificate was not built or not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdevidError {
    /// Longer than [`MAX_TBS`] or [`MAX_CERTIFICATE`]. Bytes that came in were not parsed.
    TooLong {
        /// Bytes given.
        got: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// Not the DER of a certificate, or a value that DER cannot hold.
    Der(der::Error),
    /// The same content in an encoding other than the canonical one.
    NotCanonical,
    /// This field does not hold what it must.
    Field(Field),
    /// The issuing CA's certificate breaks this rule.
    Issuer(&'static str),
    /// Not an ECDSA P-256 signature in the form asked for.
    Signature,
    /// The certificate builder refused.
    Builder(String),
}

impl fmt::Display for IdevidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { got, max } => write!(f, "{got} bytes where at most {max} are allowed"),
            Self::Der(error) => write!(f, "not the DER of a certificate: {error}"),
            Self::NotCanonical => f.write_str("not the canonical encoding"),
            Self::Field(field) => write!(f, "the certificate's {field} is not what it must be"),
            Self::Issuer(rule) => write!(f, "not a certificate of an issuing CA: {rule}"),
            Self::Signature => f.write_str("not an ECDSA P-256 signature"),
            Self::Builder(reason) => write!(f, "the certificate could not be built: {reason}"),
        }
    }
}

impl core::error::Error for IdevidError {}

impl From<der::Error> for IdevidError {
    fn from(error: der::Error) -> Self {
        Self::Der(error)
    }
}

/// Nothing longer than `max` is parsed.
const fn cap(bytes: &[u8], max: usize) -> Result<(), IdevidError> {
    if bytes.len() > max {
        Err(IdevidError::TooLong {
            got: bytes.len(),
            max,
        })
    } else {
        Ok(())
    }
}

/// `field` as an error unless `holds`.
#[expect(
    clippy::fn_params_excessive_bools,
    reason = "the condition is the point"
)]
const fn require(holds: bool, field: Field) -> Result<(), IdevidError> {
    if holds {
        Ok(())
    } else {
        Err(IdevidError::Field(field))
    }
}
