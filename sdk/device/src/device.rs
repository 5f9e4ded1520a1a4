//! The chip's end on a line: decoder and chip together.

use crate::chip::Chip;
use crate::frame::Decoder;
use crate::memory::Memory;
use crate::refusal::Refusal;
use core::fmt;
use identity::Entropy;

/// The chip's end: bytes in, bytes out.
pub struct Device<M, E> {
    decoder: Decoder,
    chip: Chip<M, E>,
}

impl<M: Memory, E: Entropy> Device<M, E> {
    /// Wakes up with this memory.
    ///
    /// # Errors
    /// As [`Chip::power_on`].
    pub fn power_on(memory: M, entropy: E) -> Result<Self, Refusal> {
        Ok(Self {
            decoder: Decoder::new(),
            chip: Chip::power_on(memory, entropy)?,
        })
    }

    /// Takes what the line brought, in any slices, and calls `send` with every answer: a whole frame.
    pub fn receive(&mut self, bytes: &[u8], mut send: impl FnMut(&[u8])) {
        let Self { decoder, chip } = self;
        decoder.feed(bytes, |frame| {
            chip.answer(&frame).into_iter().for_each(&mut send);
        });
    }

    /// Tells that the line has been silent for longer than a pause inside a frame lasts.
    pub fn idle(&mut self, mut send: impl FnMut(&[u8])) {
        let Self { decoder, chip } = self;
        decoder.idle(|frame| chip.answer(&frame).into_iter().for_each(&mut send));
    }

    /// The chip.
    pub const fn chip(&self) -> &Chip<M, E> {
        &self.chip
    }
}

impl<M, E> fmt::Debug for Device<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({:?}, {:?})", self.chip, self.decoder)
    }
}
