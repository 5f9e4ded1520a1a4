//! One SHA-256 value of the tree.

use core::fmt;
use core::str::FromStr;

use crate::text::{decode_base64, encode_base64};

/// A SHA-256 hash of a leaf, a node or a whole tree. Its text form is base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; Self::SIZE]);

/// The input is not one SHA-256 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The binary form is not 32 bytes long.
    #[error("a hash has 32 bytes, not {0}")]
    Length(usize),
    /// The text form is not canonical, padded base64.
    #[error("a hash is canonical base64")]
    Base64,
}

impl Hash {
    /// Length in bytes.
    pub const SIZE: usize = 32;

    /// Wraps the 32 bytes of a digest.
    #[must_use]
    pub const fn new(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl From<[u8; Self::SIZE]> for Hash {
    fn from(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }
}

impl From<Hash> for [u8; Hash::SIZE] {
    fn from(hash: Hash) -> Self {
        hash.0
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = HashError;

    fn try_from(bytes: &[u8]) -> Result<Self, HashError> {
        bytes
            .try_into()
            .ok()
            .map(Self)
            .ok_or(HashError::Length(bytes.len()))
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = decode_base64(text).ok_or(HashError::Base64)?;
        Self::try_from(bytes.as_slice())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_base64(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_is_strict() {
        let hash = Hash::new([7; 32]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("AQ==".parse::<Hash>(), Err(HashError::Length(1)));
        assert_eq!("nonsense!".parse::<Hash>(), Err(HashError::Base64));
        assert_eq!(
            Hash::try_from([0; 31].as_slice()),
            Err(HashError::Length(31))
        );
    }
}
