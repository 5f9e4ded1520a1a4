//! Bounded names. They live on the stack, so firmware and server use the same types.

use core::{fmt, str};

/// Longest name in bytes; also the bound of an X.520 `serialNumber` (RFC 5280 appendix A, `ub-serial-number`).
pub const MAX_TEXT: usize = 64;

/// Why a name or identifier was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// Empty, or longer than its bound.
    Length {
        /// Bytes given.
        got: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// A byte outside the allowed set.
    Character {
        /// Position of the byte, from 0.
        at: usize,
        /// The byte.
        byte: u8,
    },
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { got, max } => write!(f, "{got} bytes where 1 to {max} are allowed"),
            Self::Character { at, byte } => {
                write!(f, "byte 0x{byte:02x} at position {at} is not allowed")
            }
        }
    }
}

impl core::error::Error for TextError {}

/// Bytes with an inline bound. The unused tail is zero, so that equality of the struct is equality of the content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Inline<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Inline<N> {
    fn new(content: &[u8]) -> Result<Self, TextError> {
        let length_error = TextError::Length {
            got: content.len(),
            max: N,
        };
        let len = u8::try_from(content.len()).map_err(|_cause| length_error)?;
        let mut bytes = [0; N];
        match bytes.get_mut(..content.len()) {
            Some(target) if !content.is_empty() => target.copy_from_slice(content),
            _ => return Err(length_error),
        }
        Ok(Self { bytes, len })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.len))
            .unwrap_or(&self.bytes)
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $allowed:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Inline<MAX_TEXT>);

        impl $name {
            /// Checks length and characters.
            ///
            /// # Errors
            /// [`TextError`] names the length or the first byte that is not allowed.
            pub fn new(text: &str) -> Result<Self, TextError> {
                let allowed: fn(u8) -> bool = $allowed;
                match text.bytes().position(|byte| !allowed(byte)) {
                    Some(at) => Err(TextError::Character { at, byte: text.as_bytes().get(at).copied().unwrap_or(0) }),
                    None => Inline::new(text.as_bytes()).map(Self),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                str::from_utf8(self.0.as_bytes()).unwrap_or_default()
            }

            /// The name as bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl str::FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }
    )*};
}

names! {
    /// Name of a maker, product, grant, lot, line, station, factory or approver: letters, digits, `.`, `_`, `-`.
    Id: |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    /// Serial number of a device as printed on its label: the `PrintableString` set of X.680 §41.4, so that it can
    /// stand in the certificate's subject (802.1AR §8.6).
    DeviceSerial: |byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
    /// Part number of a chip: letters, digits, `.`, `_`, `-`.
    PartNumber: |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
}

/// Unique identifier of a chip, 1 to 32 bytes, as the chip reports it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipUid(Inline<32>);

impl ChipUid {
    /// Checks the length.
    ///
    /// # Errors
    /// [`TextError::Length`] unless there are 1 to 32 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, TextError> {
        Inline::new(bytes).map(Self)
    }

    /// The identifier's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ChipUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::hash::write_hex(f, self.as_bytes())
    }
}

impl fmt::Debug for ChipUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChipUid({self})")
    }
}

/// Names one attempt to have one unit certified: 16 random bytes that the station journals before it sends them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::hash::write_hex(f, &self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString as _;

    #[test]
    fn a_serial_holds_only_what_a_printable_string_may() {
        assert_eq!(
            DeviceSerial::new("26480001000").map(|serial| serial.as_str().len()),
            Ok(11)
        );
        assert_eq!(
            DeviceSerial::new("2648_1"),
            Err(TextError::Character { at: 4, byte: b'_' })
        );
        assert_eq!(
            DeviceSerial::new("シリアル"),
            Err(TextError::Character { at: 0, byte: 0xe3 })
        );
    }

    #[test]
    fn a_name_is_one_to_64_bytes() {
        assert_eq!(Id::new(""), Err(TextError::Length { got: 0, max: 64 }));
        assert_eq!(
            Id::new(&"9".repeat(64)).map(|id| id.as_bytes().len()),
            Ok(64)
        );
        assert_eq!(
            Id::new(&"9".repeat(65)),
            Err(TextError::Length { got: 65, max: 64 })
        );
        assert_eq!(
            PartNumber::new(&"9".repeat(300)),
            Err(TextError::Length { got: 300, max: 64 })
        );
    }

    #[test]
    fn a_name_that_ends_in_zeros_is_another_name() {
        assert_ne!(ChipUid::new(&[1]), ChipUid::new(&[1, 0]));
    }

    #[test]
    fn a_chip_identifier_is_1_to_32_bytes() {
        assert_eq!(
            ChipUid::new(&[1; 32]).map(|uid| uid.as_bytes().len()),
            Ok(32)
        );
        assert_eq!(
            ChipUid::new(&[1; 33]),
            Err(TextError::Length { got: 33, max: 32 })
        );
        assert_eq!(
            ChipUid::new(&[]),
            Err(TextError::Length { got: 0, max: 32 })
        );
        assert_eq!(ChipUid::new(&[0x01, 0x23]).unwrap().to_string(), "0123");
    }

    #[test]
    fn every_refusal_says_what_is_wrong() {
        assert_eq!(
            Id::new("").unwrap_err().to_string(),
            "0 bytes where 1 to 64 are allowed"
        );
        assert_eq!(
            Id::new("a b").unwrap_err().to_string(),
            "byte 0x20 at position 1 is not allowed"
        );
    }
}
