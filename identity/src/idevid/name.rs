//! Subject names: which string type and which length each attribute has (RFC 5280 appendix A.1), and URIs.

use super::{Field, IdevidError, require};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use const_oid::db::{rfc3280::EMAIL_ADDRESS, rfc4519};
use der::asn1::{Any, ObjectIdentifier, PrintableStringRef, SetOfVec, Utf8StringRef};
use der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

/// One attribute: type and text.
pub(super) type Attribute = (ObjectIdentifier, String);

/// A name of these attributes, one in each RDN, in order.
pub(super) fn build(attributes: &[Attribute]) -> Result<Name, IdevidError> {
    let rdns = attributes.iter().enumerate().map(|(at, (oid, text))| {
        let form = Form::of(*oid, at)?;
        require(form.allows(text), Field::SubjectAttribute(at))?;
        Ok(SetOfVec::try_from([AttributeTypeAndValue {
            oid: *oid,
            value: form.encode(text)?,
        }])?)
    });
    let rdns = rdns.collect::<Result<Vec<SetOfVec<AttributeTypeAndValue>>, IdevidError>>()?;
    Ok(Name::from_der(&rdns.to_der()?)?)
}

/// The attributes of a name that [`build`] could have made.
pub(super) fn read(name: &Name) -> Result<Vec<Attribute>, IdevidError> {
    require(
        name.iter_rdn().all(|rdn| rdn.len() == 1),
        Field::SubjectLength,
    )?;
    name.iter()
        .enumerate()
        .map(|(at, attribute)| read_attribute(at, attribute))
        .collect()
}

/// Whether text is an absolute URI as far as it matters here: a scheme, and only characters of RFC 3986 §2.
pub(super) fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && text.bytes().all(allowed)
}

fn read_attribute(at: usize, attribute: &AttributeTypeAndValue) -> Result<Attribute, IdevidError> {
    let field = Field::SubjectAttribute(at);
    let form = Form::of(attribute.oid, at)?;
    require(attribute.value.tag() == form.text.tag(), field)?;
    let text = match form.text {
        Text::Printable => attribute
            .value
            .decode_as::<PrintableStringRef<'_>>()?
            .to_string(),
        Text::Utf8 => attribute
            .value
            .decode_as::<Utf8StringRef<'_>>()?
            .to_string(),
    };
    require(form.allows(&text), field)?;
    Ok((attribute.oid, text))
}

/// String types that a subject may hold here.
#[derive(Clone, Copy)]
enum Text {
    Printable,
    Utf8,
}

impl Text {
    const fn tag(self) -> Tag {
        match self {
            Self::Printable => Tag::PrintableString,
            Self::Utf8 => Tag::Utf8String,
        }
    }
}

/// String type and length of an attribute.
struct Form {
    text: Text,
    min: usize,
    max: usize,
}

impl Form {
    /// Upper bounds are in characters. `domainComponent` and `emailAddress` would be `IA5String`s and name no device.
    fn of(oid: ObjectIdentifier, at: usize) -> Result<Self, IdevidError> {
        require(
            ![rfc4519::DOMAIN_COMPONENT, EMAIL_ADDRESS].contains(&oid),
            Field::SubjectAttribute(at),
        )?;
        Ok(match oid {
            rfc4519::COUNTRY_NAME => Self {
                text: Text::Printable,
                min: 2,
                max: 2,
            },
            rfc4519::SERIAL_NUMBER | rfc4519::DN_QUALIFIER => Self {
                text: Text::Printable,
                min: 1,
                max: 64,
            },
            rfc4519::LOCALITY_NAME | rfc4519::ST => Self {
                text: Text::Utf8,
                min: 1,
                max: 128,
            },
            _ => Self {
                text: Text::Utf8,
                min: 1,
                max: 64,
            },
        })
    }

    fn allows(&self, text: &str) -> bool {
        (self.min..=self.max).contains(&text.chars().count())
    }

    fn encode(&self, text: &str) -> Result<Any, IdevidError> {
        Ok(match self.text {
            Text::Printable => Any::encode_from(&PrintableStringRef::new(text)?)?,
            Text::Utf8 => Any::encode_from(&Utf8StringRef::new(text)?)?,
        })
    }
}
