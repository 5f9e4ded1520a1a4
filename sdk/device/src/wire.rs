//! Reading and writing payloads: fixed arrays, and pieces behind their length as u16 big-endian.

use core::fmt;
use identity::hash::Sink;

/// Bytes that are not the payload they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payload is not what its kind promises")
    }
}

impl core::error::Error for Malformed {}

/// Takes a payload apart; every byte must be used up.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Malformed`] if there are fewer.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Malformed`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A u16, big-endian.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// A piece of at most `max` bytes behind its length.
    ///
    /// # Errors
    /// [`Malformed`] if it is longer or cut short.
    pub fn piece(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let len = usize::from(self.u16()?);
        if len > max {
            Err(Malformed)
        } else {
            self.take(len)
        }
    }

    /// A piece that is text.
    ///
    /// # Errors
    /// [`Malformed`] as [`Self::piece`], or if it is not UTF-8.
    pub fn text(&mut self, max: usize) -> Result<&'a str, Malformed> {
        core::str::from_utf8(self.piece(max)?).or(Err(Malformed))
    }

    /// Everything that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Says that the payload ends here.
    ///
    /// # Errors
    /// [`Malformed`] if bytes are left over.
    pub const fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Writes a payload into a fixed buffer. What does not fit is remembered, so that callers check once at the end.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// Begins at the front of the buffer.
    #[must_use]
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            len: 0,
            overflow: false,
        }
    }

    /// The next `len` bytes for the caller to fill; none if they do not fit.
    pub fn space(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.len.saturating_add(len);
        match self.buffer.get_mut(self.len..end) {
            Some(space) => {
                self.len = end;
                Some(space)
            }
            None => {
                self.overflow = true;
                None
            }
        }
    }

    /// Cuts back to `len` bytes and forgets an overflow.
    pub const fn truncate(&mut self, len: usize) {
        if len <= self.len {
            self.len = len;
            self.overflow = false;
        }
    }

    /// Bytes written; none if something did not fit.
    #[must_use]
    pub const fn written(&self) -> Option<usize> {
        if self.overflow { None } else { Some(self.len) }
    }

    /// What was written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Sink for Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(space) = self.space(bytes.len()) {
            space.copy_from_slice(bytes);
        }
    }
}
