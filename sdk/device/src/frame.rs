//! Frames on a serial line.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | sync, `4B 53` |
//! | 1 | version, 1 |
//! | 1 | kind; 0x01–0x3F chip, 0x40–0x7F handler, with bit 7 the answer to it |
//! | 4 | session, big-endian |
//! | 2 | sequence, big-endian |
//! | 2 | length of the payload, big-endian, at most 1,600 |
//! | n | payload |
//! | 4 | CRC-32 (IEEE 802.3) over everything from version to payload, big-endian |
//!
//! There is no byte stuffing: after a wrong CRC the decoder gives up one byte, not the frame's worth, and looks for
//! the next sync in what it already has. A false sync can hold a true frame back only until the next bytes come or
//! the line falls silent ([`Decoder::idle`]); it can never swallow one.

use crate::crc::crc32;
use crate::wire::Writer;
use core::fmt;
use identity::hash::{Sink as _, sha256_of};

/// How a frame begins.
pub const SYNC: [u8; 2] = [0x4B, 0x53];
/// Version of the framing and of the messages.
pub const VERSION: u8 = 1;
/// Most bytes of a payload.
pub const MAX_PAYLOAD: usize = 1_600;
/// Most bytes of a frame.
pub const MAX_FRAME: usize = HEADER_LEN + MAX_PAYLOAD + CRC_LEN;
/// Bytes of an acknowledgement: the first of the SHA-256 over the question.
pub const ACK_LEN: usize = 8;

/// Bytes of a frame besides its payload.
pub(crate) const OVERHEAD: usize = HEADER_LEN + CRC_LEN;

const HEADER_LEN: usize = 12;
const CRC_LEN: usize = 4;
const ANSWER_BIT: u8 = 0x80;

/// What stands before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Kind of message, see [`crate::Kind`]; bit 7 marks an answer.
    pub kind: u8,
    /// Session, chosen by the station.
    pub session: u32,
    /// Sequence number inside the session, rising.
    pub sequence: u16,
}

impl Header {
    /// The header of the answer to this question.
    #[must_use]
    pub const fn answer(self) -> Self {
        Self {
            kind: self.kind | ANSWER_BIT,
            ..self
        }
    }

    fn bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.session.to_be_bytes();
        let [e, f] = self.sequence.to_be_bytes();
        [VERSION, self.kind, a, b, c, d, e, f]
    }
}

/// One whole frame whose CRC is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What stands before the payload.
    pub header: Header,
    /// The payload.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// The acknowledgement of this frame: SHA-256 over header and payload, cut to 8 bytes. Every answer begins with
    /// it, so the station knows which bytes the chip acted on.
    #[must_use]
    pub fn ack(&self) -> [u8; ACK_LEN] {
        let digest = sha256_of(|hasher| {
            hasher.put(&self.header.bytes());
            hasher.put(self.payload);
        });
        digest.first_chunk().copied().unwrap_or_default()
    }
}

/// Room for one outgoing frame; the payload is written in place.
pub struct FrameBuffer {
    bytes: [u8; MAX_FRAME],
    len: usize,
}

impl FrameBuffer {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; MAX_FRAME],
            len: 0,
        }
    }

    /// A writer over the payload's place.
    pub fn payload(&mut self) -> Writer<'_> {
        Writer::new(
            self.bytes
                .get_mut(HEADER_LEN..HEADER_LEN + MAX_PAYLOAD)
                .unwrap_or_default(),
        )
    }

    /// Puts header and CRC around the first `len` bytes of payload (at most 1,600; more are cut off).
    pub fn seal(&mut self, header: Header, len: usize) -> &[u8] {
        self.len = seal(&mut self.bytes, header, len.min(MAX_PAYLOAD));
        self.as_bytes()
    }

    /// The sealed frame; empty before the first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The sealed frame taken apart again.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        parse(self.as_bytes())
    }
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FrameBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameBuffer({} bytes)", self.len)
    }
}

/// Finds frames in a stream of bytes.
pub struct Decoder {
    bytes: [u8; MAX_FRAME],
    len: usize,
    /// Bytes of the frame that was handed out last; they go when the next is asked for.
    handed_out: usize,
}

impl Decoder {
    /// With nothing received.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; MAX_FRAME],
            len: 0,
            handed_out: 0,
        }
    }

    /// Takes bytes and calls `each` for every whole frame.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame<'_>)) {
        loop {
            // A drained decoder is never full (a full buffer holds a whole frame or a false one), so this progresses.
            let taken = self.push(bytes);
            while let Some(frame) = self.frame() {
                each(frame);
            }
            bytes = bytes.get(taken..).unwrap_or_default();
            if bytes.is_empty() {
                return;
            }
        }
    }

    /// The line has been silent: what looked like the start of a frame was none. Calls `each` for every frame that
    /// was held back by it.
    pub fn idle(&mut self, mut each: impl FnMut(Frame<'_>)) {
        while self.len > 0 {
            self.drop_front(1);
            while let Some(frame) = self.frame() {
                each(frame);
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(MAX_FRAME - self.len);
        if let (Some(to), Some(from)) = (
            self.bytes.get_mut(self.len..self.len + taken),
            bytes.get(..taken),
        ) {
            to.copy_from_slice(from);
        }
        self.len += taken;
        taken
    }

    fn frame(&mut self) -> Option<Frame<'_>> {
        self.drop_front(self.handed_out);
        self.handed_out = 0;
        loop {
            match examine(self.received()) {
                Seen::Whole(len) => {
                    self.handed_out = len;
                    return parse(self.bytes.get(..len)?);
                }
                Seen::Part => return None,
                Seen::Noise(len) => self.drop_front(len),
            }
        }
    }

    fn received(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn drop_front(&mut self, count: usize) {
        let count = count.min(self.len);
        self.bytes.copy_within(count..self.len, 0);
        self.len -= count;
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decoder({} bytes)", self.len)
    }
}

/// A whole frame in a buffer of the caller's; gives its length, or 0 if it does not fit.
pub(crate) fn seal_into(buffer: &mut [u8], header: Header, payload: &[u8]) -> usize {
    match buffer.get_mut(HEADER_LEN..HEADER_LEN + payload.len()) {
        Some(place) => place.copy_from_slice(payload),
        None => return 0,
    }
    seal(buffer, header, payload.len())
}

/// Header and CRC around a payload that is in place.
fn seal(buffer: &mut [u8], header: Header, payload_len: usize) -> usize {
    let end = HEADER_LEN + payload_len;
    let mut head = Writer::new(buffer);
    head.put(&SYNC);
    head.put(&header.bytes());
    head.put(&u16::try_from(payload_len).unwrap_or_default().to_be_bytes());
    let crc = crc32(buffer.get(SYNC.len()..end).unwrap_or_default());
    match buffer.get_mut(end..end + CRC_LEN) {
        Some(tail) => tail.copy_from_slice(&crc.to_be_bytes()),
        None => return 0,
    }
    end + CRC_LEN
}

enum Seen {
    /// A frame of so many bytes stands at the front.
    Whole(usize),
    /// It may be a frame, but more bytes are needed.
    Part,
    /// So many bytes at the front cannot begin a frame.
    Noise(usize),
}

fn examine(bytes: &[u8]) -> Seen {
    let sync = bytes
        .iter()
        .enumerate()
        .position(|(at, _)| may_begin(bytes.get(at..).unwrap_or_default()));
    match sync {
        Some(0) => {}
        Some(at) => return Seen::Noise(at),
        None if bytes.is_empty() => return Seen::Part,
        None => return Seen::Noise(bytes.len()),
    }
    let Some(&[high, low]) = bytes
        .get(HEADER_LEN - 2..HEADER_LEN)
        .and_then(<[u8]>::first_chunk)
    else {
        return Seen::Part;
    };
    let end = HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
    if end > HEADER_LEN + MAX_PAYLOAD {
        return Seen::Noise(1);
    }
    let Some(tail) = bytes.get(end..end + CRC_LEN) else {
        return Seen::Part;
    };
    if bytes
        .get(SYNC.len()..end)
        .is_some_and(|covered| crc32(covered).to_be_bytes() == tail)
    {
        Seen::Whole(end + CRC_LEN)
    } else {
        Seen::Noise(1)
    }
}

/// True if the bytes agree with sync and version as far as they go.
fn may_begin(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip([SYNC[0], SYNC[1], VERSION])
        .all(|(got, wanted)| *got == wanted)
}

fn parse(whole: &[u8]) -> Option<Frame<'_>> {
    let payload = whole.get(HEADER_LEN..whole.len().checked_sub(CRC_LEN)?)?;
    let &[_, _, _, kind, a, b, c, d, e, f] = whole.first_chunk()?;
    let header = Header {
        kind,
        session: u32::from_be_bytes([a, b, c, d]),
        sequence: u16::from_be_bytes([e, f]),
    };
    Some(Frame { header, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn sealed(kind: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut buffer = FrameBuffer::new();
        buffer.payload().put(payload);
        buffer
            .seal(
                Header {
                    kind,
                    session: 7,
                    sequence,
                },
                payload.len(),
            )
            .to_vec()
    }

    fn decode<'a>(slices: impl Iterator<Item = &'a [u8]>) -> Vec<(u8, u16, Vec<u8>)> {
        let mut decoder = Decoder::new();
        let mut found = Vec::new();
        let mut keep = |frame: Frame<'_>| {
            found.push((
                frame.header.kind,
                frame.header.sequence,
                frame.payload.to_vec(),
            ));
        };
        slices.for_each(|slice| decoder.feed(slice, &mut keep));
        decoder.idle(&mut keep);
        found
    }

    #[test]
    fn a_false_start_holds_a_frame_back_but_never_swallows_it() {
        let mut stream = std::vec![0x4B, 0x53, 1, 9, 0, 0, 0, 0, 0, 0, 0x06, 0x40];
        stream.extend(sealed(1, 1, b"whole"));
        assert_eq!(
            decode([stream.as_slice()].into_iter()),
            [(1, 1, b"whole".to_vec())]
        );
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let frame = sealed(3, 5, b"payload");
        for at in 0..frame.len() {
            let mut altered = frame.clone();
            altered[at] ^= 0x20;
            assert_eq!(decode([altered.as_slice()].into_iter()), [], "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_slices(noise in proptest::collection::vec(any::<u8>(), 0..5000), cut in 1usize..700) {
            decode(noise.chunks(cut));
        }

        /// Noise made of what frames are made of.
        #[test]
        fn frames_between_hostile_noise_all_arrive(
            pieces in proptest::collection::vec(
                (proptest::collection::vec(proptest::sample::select(&[0x4B_u8, 0x53, 1, 0, 6, 0x40, 0xFF][..]), 0..60),
                 proptest::collection::vec(any::<u8>(), 0..MAX_PAYLOAD)), 1..6),
            cut in 1usize..2000,
        ) {
            let mut stream = Vec::new();
            let mut wanted = Vec::new();
            for (sequence, (noise, payload)) in (0_u16..).zip(&pieces) {
                stream.extend(noise);
                stream.extend(sealed(2, sequence, payload));
                wanted.push((2, sequence, payload.clone()));
            }
            prop_assert_eq!(decode(stream.chunks(cut)), wanted);
        }
    }
}
