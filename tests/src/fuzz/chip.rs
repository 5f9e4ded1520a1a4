//! The factory protocol: frames in any noise, and a chip that is asked anything in any order.

use identity::hash::{Sink as _, sha256};
use identity::sources::EntropyError;
use identity::{ChipUid, Entropy, PartNumber};
use koseki_device::frame::MAX_PAYLOAD;
use koseki_device::{
    Decoder, Device, Frame, FrameBuffer, Header, Kind, Lock, Memory, MemoryError, Received,
    Request, Station,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

type Found = (Header, Vec<u8>);

/// The first byte says how the rest is cut into slices.
pub(super) fn frames(input: &[u8]) -> bool {
    let Some((cut, stream)) = input.split_first() else {
        return false;
    };
    let whole = decode([stream].into_iter());
    let sliced = decode(stream.chunks(usize::from(*cut) + 1));
    assert_eq!(whole, sliced, "slices change what arrives");
    for (header, payload) in &whole {
        let sealed = seal(*header, payload);
        let is_there = stream.windows(sealed.len()).any(|window| window == sealed);
        assert!(is_there, "a frame that nobody sent");
    }
    unasked_answers(stream, &whole);
    !whole.is_empty()
}

/// A station believes only an answer to its own question, over its own bytes.
fn unasked_answers(stream: &[u8], frames: &[Found]) {
    let mut station = Station::new(0, 1);
    let sent = station.ask(&Request::Look).expect("it fits").to_vec();
    if station.receive(stream) != Received::Answer {
        return;
    }
    let question = decode([sent.as_slice()].into_iter());
    let (asked, _) = question.first().expect("a whole frame");
    let ack = digest_of(&sent);
    let fits = |(header, payload): &Found| *header == asked.answer() && payload.starts_with(&ack);
    assert!(frames.iter().any(fits), "an answer that nobody gave");
}

fn digest_of(sent: &[u8]) -> [u8; 8] {
    let mut ack = [0; 8];
    Decoder::new().feed(sent, |frame| ack = frame.ack());
    ack
}

fn decode<'a>(slices: impl Iterator<Item = &'a [u8]>) -> Vec<Found> {
    let (mut decoder, mut found) = (Decoder::new(), Vec::new());
    let mut keep = |frame: Frame<'_>| found.push((frame.header, frame.payload.to_vec()));
    slices.for_each(|slice| decoder.feed(slice, &mut keep));
    decoder.idle(&mut keep);
    found
}

fn seal(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut buffer = FrameBuffer::new();
    buffer.payload().put(payload);
    buffer.seal(header, payload.len()).to_vec()
}

/// Steps of one byte and their payload behind a length byte, eight bytes a unit; some steps stand for a question that
/// no random bytes would hit.
pub(super) fn dialogue(input: &[u8]) -> bool {
    let flash = Flash::default();
    let mut bench = Bench::new(&flash);
    let mut rest = input;
    let mut steps = 0;
    while let [step, len, tail @ ..] = rest {
        let len = usize::from(*len) * 8;
        let (payload, tail) = tail.split_at(len.min(tail.len()));
        bench.step(*step, &payload[..payload.len().min(MAX_PAYLOAD)]);
        bench.check();
        steps += 1;
        rest = if steps < 24 { tail } else { &[] };
    }
    steps > 0 && Lock::from_word(flash.0.borrow().lock) != Lock::Erased
}

struct Bench<'a> {
    flash: &'a Flash,
    device: Device<Flash, Counter>,
    sequence: u16,
    /// Slot and lock word as they were when the lock word was first written.
    burnt: Option<([u8; 32], [u8; 4])>,
}

impl<'a> Bench<'a> {
    fn new(flash: &'a Flash) -> Self {
        Self {
            flash,
            device: power_on(flash),
            sequence: 0,
            burnt: None,
        }
    }

    fn step(&mut self, step: u8, payload: &[u8]) {
        match step {
            // The power goes.
            0xF0 => self.device = power_on(self.flash),
            // The power goes at one of the next writes.
            0xF1 => self.flash.0.borrow_mut().power = Some(payload.len() / 8),
            // A key is made and burnt.
            0xF2 => {
                let made = self.ask(Kind::MakeKey.code(), &[7; 32]);
                if let Some(key) = made.get(10..75) {
                    let key = koseki_device::read_key(key).expect("the chip's own key");
                    self.ask(Kind::Burn.code(), &key.spki_hash().0);
                }
            }
            0xF3 => drop(self.ask(Kind::Identify.code(), &[])),
            kind => drop(self.ask(kind, payload)),
        }
    }

    /// Gives the payload of the answer.
    fn ask(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let header = Header {
            kind,
            session: 1,
            sequence: self.sequence,
        };
        let sealed = seal(header, payload);
        let mut answers = Vec::new();
        self.device
            .receive(&sealed, |bytes| answers.push(bytes.to_vec()));
        assert!(answers.len() <= 1, "one question, one answer");
        let Some(answer) = answers.pop() else {
            return Vec::new();
        };
        let mut found = decode([answer.as_slice()].into_iter());
        assert_eq!(found.len(), 1, "an answer is one whole frame");
        let (answered, body) = found.remove(0);
        assert_eq!(answered, header.answer());
        assert!(
            body.starts_with(&digest_of(&sealed)),
            "acknowledged with its hash"
        );
        let slot = self.flash.0.borrow().slot;
        let leaks = body.windows(32).any(|window| window == slot);
        assert!(slot == [0xFF; 32] || !leaks, "the fixed key went out");
        body
    }

    /// Burnt is for ever.
    fn check(&mut self) {
        let flash = self.flash.0.borrow();
        if let Some(burnt) = self.burnt {
            assert_eq!((flash.slot, flash.lock), burnt, "a burnt chip changed");
        } else if Lock::from_word(flash.lock) != Lock::Erased {
            self.burnt = Some((flash.slot, flash.lock));
        }
    }
}

fn power_on(flash: &Flash) -> Device<Flash, Counter> {
    flash.0.borrow_mut().power = None;
    Device::power_on(flash.clone(), Counter::default()).expect("its attestation key is one")
}

/// Different bytes at every call, the same in every run.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for piece in out.chunks_mut(32) {
            let next = self.0.fetch_add(1, Ordering::Relaxed);
            piece.copy_from_slice(&sha256(&next.to_be_bytes())[..piece.len()]);
        }
        Ok(())
    }
}

/// What a chip keeps without power; it lets nothing be written that is final.
#[derive(Clone, Debug)]
struct Flash(Rc<RefCell<Cells>>);

#[derive(Debug)]
struct Cells {
    slot: [u8; 32],
    lock: [u8; 4],
    certificate: Vec<u8>,
    certificate_len: u16,
    /// Writes until the power goes.
    power: Option<usize>,
}

impl Default for Flash {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Cells {
            slot: [0xFF; 32],
            lock: [0xFF; 4],
            certificate: vec![0xFF; 2048],
            certificate_len: 0,
            power: None,
        })))
    }
}

impl Flash {
    fn write(&self, change: impl FnOnce(&mut Cells)) -> Result<(), MemoryError> {
        let mut cells = self.0.borrow_mut();
        match &mut cells.power {
            Some(0) => return Err(MemoryError),
            Some(left) => *left -= 1,
            None => {}
        }
        change(&mut cells);
        Ok(())
    }
}

impl Memory for Flash {
    fn uid(&self) -> ChipUid {
        ChipUid::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).expect("1 to 32 bytes")
    }

    fn part(&self) -> PartNumber {
        PartNumber::new("sim-se-a1").expect("a part number")
    }

    fn endorsement(&self) -> [u8; 64] {
        [0x44; 64]
    }

    fn read_attestation_key(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        *out = [0x33; 32];
        Ok(())
    }

    fn read_slot(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        *out = self.0.borrow().slot;
        Ok(())
    }

    fn write_slot(&mut self, secret: &[u8; 32]) -> Result<(), MemoryError> {
        assert_eq!(
            self.0.borrow().lock,
            [0xFF; 4],
            "the slot after the lock word"
        );
        self.write(|cells| cells.slot = *secret)
    }

    fn read_lock(&self) -> Result<[u8; 4], MemoryError> {
        Ok(self.0.borrow().lock)
    }

    fn write_lock(&mut self, word: &[u8; 4]) -> Result<(), MemoryError> {
        assert_eq!(self.0.borrow().lock, [0xFF; 4], "the lock word twice");
        let outcome = self.write(|cells| cells.lock = *word);
        if outcome.is_err() {
            self.0.borrow_mut().lock[..2].copy_from_slice(&word[..2]);
        }
        outcome
    }

    fn certificate_capacity(&self) -> u16 {
        2048
    }

    fn certificate_len(&self) -> Result<u16, MemoryError> {
        Ok(self.0.borrow().certificate_len)
    }

    fn set_certificate_len(&mut self, len: u16) -> Result<(), MemoryError> {
        self.write(|cells| cells.certificate_len = len)
    }

    fn read_certificate(&self, offset: u16, out: &mut [u8]) -> Result<(), MemoryError> {
        let from = usize::from(offset);
        out.copy_from_slice(&self.0.borrow().certificate[from..from + out.len()]);
        Ok(())
    }

    fn write_certificate(&mut self, offset: u16, bytes: &[u8]) -> Result<(), MemoryError> {
        let from = usize::from(offset);
        self.write(|cells| cells.certificate[from..from + bytes.len()].copy_from_slice(bytes))
    }
}
