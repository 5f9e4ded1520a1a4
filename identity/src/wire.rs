//! DER forms of the core types (X.690), so that documents and leaves are plain `SEQUENCE`s of them.

use crate::hash::{CertificateHash, DocumentHash, LeafHash, RequestHash, SpkiHash, TbsHash};
use crate::key::P256Key;
use crate::sources::{Day, Timestamp};
use crate::subject::SubjectId;
use crate::text::{ChipUid, DeviceSerial, Id, PartNumber, RequestId};
use alloc::vec::Vec;
use der::asn1::{OctetStringRef, PrintableStringRef, Utf8StringRef};
use der::{
    Decode, DecodeValue, Encode, EncodeValue, ErrorKind, FixedTag, Header, Length, Reader, Tag,
    Writer,
};

/// A value of one domain type could not be read from its DER form.
fn bad(tag: Tag) -> der::Error {
    ErrorKind::Value { tag }.into()
}

/// Gives a domain type the DER form of one string type.
macro_rules! as_string {
    ($string:ident<$tag:ident>: $($name:ty => |$value:ident| $bytes:expr, |$content:ident| $parse:expr;)*) => {$(
        impl FixedTag for $name {
            const TAG: Tag = Tag::$tag;
        }

        impl EncodeValue for $name {
            fn value_len(&self) -> der::Result<Length> {
                let $value = self;
                $string::new($bytes)?.value_len()
            }
            fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
                let $value = self;
                $string::new($bytes)?.encode_value(writer)
            }
        }

        impl<'a> DecodeValue<'a> for $name {
            type Error = der::Error;
            fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
                let $content = $string::new(reader.read_slice(header.length())?)?;
                $parse.ok_or_else(|| bad(Tag::$tag))
            }
        }

        impl der::ValueOrd for $name {
            fn value_cmp(&self, other: &Self) -> der::Result<core::cmp::Ordering> {
                Ok(self.cmp(other))
            }
        }
    )*};
}

as_string! { Utf8StringRef<Utf8String>:
    Id => |value| value.as_str(), |content| Self::new(content.as_str()).ok();
    PartNumber => |value| value.as_str(), |content| Self::new(content.as_str()).ok();
}

as_string! { PrintableStringRef<PrintableString>:
    DeviceSerial => |value| value.as_str(), |content| Self::new(content.as_str()).ok();
}

as_string! { OctetStringRef<OctetString>:
    ChipUid => |value| value.as_bytes(), |content| Self::new(content.as_bytes()).ok();
    RequestId => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    P256Key => |value| value.sec1(), |content| canonical_point(content.as_bytes());
    SpkiHash => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    CertificateHash => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    TbsHash => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    LeafHash => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    RequestHash => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    DocumentHash => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    SubjectId => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    Bytes32 => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
    Signature => |value| &value.0, |content| content.as_bytes().try_into().ok().map(Self);
}

/// In documents a key stands uncompressed only, so that equal documents are equal bytes.
fn canonical_point(bytes: &[u8]) -> Option<P256Key> {
    P256Key::from_sec1(bytes)
        .ok()
        .filter(|key| key.sec1().as_slice() == bytes)
}

/// 32 bytes that are neither one of the named hashes nor secret: nonces, digests of evidence, fields roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes32(pub [u8; 32]);

/// An ECDSA P-256 signature, r ‖ s.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

impl core::fmt::Debug for Signature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Signature(")?;
        crate::hash::write_hex(f, &self.0)?;
        f.write_str(")")
    }
}

macro_rules! as_integer {
    ($($name:ty => $inner:ty),*) => {$(
        impl FixedTag for $name {
            const TAG: Tag = Tag::Integer;
        }

        impl EncodeValue for $name {
            fn value_len(&self) -> der::Result<Length> {
                self.0.value_len()
            }
            fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
                self.0.encode_value(writer)
            }
        }

        impl<'a> DecodeValue<'a> for $name {
            type Error = der::Error;
            fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
                <$inner>::decode_value(reader, header).map(Self)
            }
        }
    )*};
}

as_integer!(Timestamp => u64, Day => u32);

/// The version that every document and leaf starts with: INTEGER 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version1;

impl FixedTag for Version1 {
    const TAG: Tag = Tag::Integer;
}

impl EncodeValue for Version1 {
    fn value_len(&self) -> der::Result<Length> {
        Ok(Length::ONE)
    }
    fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
        writer.write_byte(1)
    }
}

impl<'a> DecodeValue<'a> for Version1 {
    type Error = der::Error;
    fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
        match u32::decode_value(reader, header)? {
            1 => Ok(Self),
            _ => Err(bad(Tag::Integer)),
        }
    }
}

/// Why a document, envelope or leaf could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Longer than its kind may be; nothing was parsed.
    TooLong {
        /// Bytes given.
        got: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// Not the DER of this type, at this place.
    Der(der::Error),
    /// Well-formed, but a rule of the type does not hold.
    Rule(&'static str),
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLong { got, max } => write!(f, "{got} bytes where at most {max} are allowed"),
            Self::Der(error) => write!(f, "not the expected DER: {error}"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

impl core::error::Error for WireError {}

impl From<der::Error> for WireError {
    fn from(error: der::Error) -> Self {
        Self::Der(error)
    }
}

/// `rule` as an error unless `holds`.
#[expect(
    clippy::fn_params_excessive_bools,
    reason = "the condition is the point"
)]
pub(crate) const fn require(holds: bool, rule: &'static str) -> Result<(), WireError> {
    if holds {
        Ok(())
    } else {
        Err(WireError::Rule(rule))
    }
}

/// DER of a value whose parts are all bounded. The encoder fails only on lengths over 256 MiB, which no bounded
/// value reaches; such a failure yields no bytes, and no reader accepts those.
pub(crate) fn encode(value: &impl Encode) -> Vec<u8> {
    value.to_der().unwrap_or_default()
}

/// Reads a value from at most `max` bytes and refuses any encoding but the one we would write.
pub(crate) fn decode<T>(bytes: &[u8], max: usize) -> Result<T, WireError>
where
    T: for<'a> Decode<'a, Error = der::Error> + Encode,
{
    if bytes.len() > max {
        return Err(WireError::TooLong {
            got: bytes.len(),
            max,
        });
    }
    let value = T::from_der(bytes)?;
    match encode(&value) == bytes {
        true => Ok(value),
        false => Err(WireError::Rule("not the canonical encoding")),
    }
}
