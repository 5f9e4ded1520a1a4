//! Who signed: the name and the four-byte identifier of a key.

use core::fmt;
use core::str::FromStr;

/// Name of a key: not empty, at most 255 bytes, without white space, control characters or `+`.
///
/// 255 bytes is what an ML-DSA-44 cosignature can commit to (C2SP tlog-cosignature).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// The text is no key name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key name has 1 to 255 bytes without white space, control characters or '+'")]
pub struct KeyNameError;

/// First four bytes of a hash over key and name: tells keys apart, proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, KeyNameError> {
        let length_fits = (1..=Self::MAX_BYTES).contains(&text.len());
        let foreign = |c: char| c == '+' || c.is_whitespace() || c.is_ascii_control();
        if !length_fits || text.contains(foreign) {
            return Err(KeyNameError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyId {
    /// Wraps the four bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The four bytes, as they stand before a signature.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}
