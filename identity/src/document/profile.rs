use super::{Document, Version1, WireError, require};
use crate::evidence::Grade;
use crate::key::P256Key;
use crate::text::{ChipUid, Id, PartNumber};
use alloc::string::String;
use alloc::vec::Vec;
use der::asn1::{ObjectIdentifier, OctetString};
use der::{Enumerated, Sequence};

/// One attribute of the subject's name, in the order of the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct SubjectAttribute {
    /// Attribute type, for instance 2.5.4.10 for O.
    pub oid: ObjectIdentifier,
    /// Value; `{serial}` and `{uid}` are replaced.
    pub template: String,
}

/// How a chip's UID must look.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct UidRule {
    /// Length in bytes.
    pub length: u8,
    /// First bytes; may be empty.
    pub prefix: OctetString,
}

impl UidRule {
    /// Whether a UID follows the rule.
    #[must_use]
    pub fn allows(&self, uid: &ChipUid) -> bool {
        uid.as_bytes().len() == usize::from(self.length)
            && uid.as_bytes().starts_with(self.prefix.as_bytes())
    }
}

/// Where the fixed key may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumerated)]
#[repr(u8)]
pub enum KeyOriginRule {
    /// Made on the chip.
    OnChip = 1,
    /// Made in the line HSM, wrapped and burnt in.
    Injected = 2,
}

/// What a product's `IDevID` certificate holds and what evidence its chip must bring (IEEE 802.1AR §8).
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Profile {
    /// Version of the form.
    pub version: Version1,
    /// Product.
    pub product: Id,
    /// Maker.
    pub maker: Id,
    /// Subject name, most significant attribute first.
    pub subject: Vec<SubjectAttribute>,
    /// hwType of the hardwareModuleName (RFC 4108 §5), under the maker's enterprise number.
    pub hardware_type: ObjectIdentifier,
    /// CRL distribution point; it cannot be added later.
    pub crl: String,
    /// OPC UA `ProductInstanceUri` template as a SAN URI, if the product has one.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub instance_uri: Option<String>,
    /// Regular expression that device serials match, as in the product file.
    pub serial_pattern: String,
    /// Part number of the chip.
    pub part: PartNumber,
    /// Form of the chip's UID.
    pub uid: UidRule,
    /// Where the fixed key comes from.
    pub origin: KeyOriginRule,
    /// Lowest grade of evidence accepted.
    pub grade: Grade,
    /// Keys of the chip vendors that endorse chips, at least one.
    pub vendors: Vec<P256Key>,
}

impl Document for Profile {
    const KIND: &'static str = "profile";

    fn check(&self) -> Result<(), WireError> {
        let has_serial = |attribute: &SubjectAttribute| {
            attribute.oid == const_oid::db::rfc4519::SERIAL_NUMBER
                && attribute.template == "{serial}"
        };
        require(
            self.subject.iter().filter(|a| has_serial(a)).count() == 1,
            "the subject holds serialNumber={serial} once",
        )?;
        require(
            self.crl.is_ascii() && !self.crl.is_empty(),
            "the CRL distribution point is an ASCII URI",
        )?;
        require(
            self.instance_uri.as_ref().is_none_or(|uri| uri.is_ascii()),
            "the instance URI is ASCII",
        )?;
        require(
            !self.vendors.is_empty(),
            "a profile pins at least one chip vendor's key",
        )
    }
}
