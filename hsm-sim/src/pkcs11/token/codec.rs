//! The primitives of the token file: little-endian numbers and length-prefixed byte strings.

use cryptoki_sys::CKR_DEVICE_ERROR;
use zeroize::Zeroizing;

use crate::pkcs11::attributes::Secret;
use crate::pkcs11::rv::{Result, Rv};

/// What a token file that does not parse is to the caller: the simulated device is damaged.
pub(super) const DAMAGED: Rv = Rv(CKR_DEVICE_ERROR);

/// Appends to a buffer that is wiped when dropped.
#[derive(Default)]
pub(super) struct Writer(Secret);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A length, as every count in the file is written.
    pub(super) fn length(&mut self, length: usize) -> Result<()> {
        self.u32(u32::try_from(length).or(Err(DAMAGED))?);
        Ok(())
    }

    pub(super) fn counted(&mut self, bytes: &[u8]) -> Result<()> {
        self.length(bytes.len())?;
        self.fixed(bytes);
        Ok(())
    }

    pub(super) fn finish(self) -> Secret {
        self.0
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.0
    }
}

/// Reads what [`Writer`] wrote; every shortfall is [`DAMAGED`].
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(DAMAGED)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().or(Err(DAMAGED))
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn length(&mut self) -> Result<usize> {
        usize::try_from(self.u32()?).or(Err(DAMAGED))
    }

    pub(super) fn counted(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn secret(&mut self) -> Result<Secret> {
        Ok(Zeroizing::new(self.counted()?.to_vec()))
    }

    /// Ends the reading; anything left over is damage.
    pub(super) fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DAMAGED)
        }
    }
}
