//! One socket of the gang programmer: the handler's seat and the chip in it, on one line.

use crate::chip::entropy::OsEntropy;
use crate::chip::error::ChipError;
use crate::chip::memory::ChipFile;
use crate::chip::tray::Tray;
use crate::chip::trouble::{Trouble, Troubles};
use identity::hash::Sink as _;
use koseki_device::{
    Chip, Decoder, Frame, FrameBuffer, Kind, Memory as _, Refusal, Request, Seat, Writer,
};
use std::fmt;
use zeroize::Zeroizing;

/// A socket: bytes in, bytes out.
#[derive(Debug)]
pub struct Socket {
    decoder: Decoder,
    seat: SeatedChip,
}

impl Socket {
    /// Puts the tray's present chip into the socket.
    ///
    /// # Errors
    /// [`ChipError`] if the chip's file is missing, broken or in another socket.
    pub fn open(tray: Tray, troubles: Troubles) -> Result<Self, ChipError> {
        let mut seat = SeatedChip {
            tray,
            troubles,
            chip: None,
            deaf_from: None,
        };
        seat.power_on()?;
        Ok(Self {
            decoder: Decoder::new(),
            seat,
        })
    }

    /// From this position of its tray on the socket has no contact: the handler answers, no chip does.
    #[must_use]
    pub const fn deaf_from(mut self, position: u32) -> Self {
        self.seat.deaf_from = Some(position);
        self
    }

    /// Takes what the line brought and calls `send` with every answer.
    pub fn receive(&mut self, bytes: &[u8], mut send: impl FnMut(&[u8])) {
        let Self { decoder, seat } = self;
        decoder.feed(bytes, |frame| {
            seat.answer(&frame).iter().for_each(|answer| send(answer));
        });
    }

    /// The line has been silent.
    pub fn idle(&mut self, mut send: impl FnMut(&[u8])) {
        let Self { decoder, seat } = self;
        decoder.idle(|frame| {
            seat.answer(&frame).iter().for_each(|answer| send(answer));
        });
    }
}

struct SeatedChip {
    tray: Tray,
    troubles: Troubles,
    chip: Option<Chip<ChipFile, OsEntropy>>,
    deaf_from: Option<u32>,
}

impl SeatedChip {
    fn answer(&mut self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if Kind::is_for_handler(frame.header.kind) {
            let outcome = self.handle(frame);
            return Some(reply(frame, outcome, |seat, out| seat.write(out)));
        }
        if !Kind::is_for_chip(frame.header.kind) {
            return None;
        }
        if self
            .deaf_from
            .is_some_and(|from| self.tray.position() >= from)
        {
            return Some(refuse(frame, Refusal::NoChip));
        }
        if frame.header.kind == Kind::ReadKey.code() && self.trouble() == Some(Trouble::Leaky) {
            return Some(reply(frame, self.leak(), |key, out| {
                out.put(key.as_slice());
            }));
        }
        let is_write = frame.header.kind == Kind::WriteCertificate.code();
        if is_write && self.trouble() == Some(Trouble::RefuseCertificate) {
            return Some(refuse(frame, Refusal::MemoryFault));
        }
        let Some(chip) = &mut self.chip else {
            return Some(refuse(frame, Refusal::NoChip));
        };
        let answer = chip.answer(frame).map(<[u8]>::to_vec);
        if chip.memory().has_lost_power() {
            self.wake_up(frame)
        } else {
            answer
        }
    }

    /// A chip whose power went while it worked says nothing, and wakes up with what its memory holds.
    fn wake_up(&mut self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if let Some((name, _)) = self.tray.chip() {
            self.troubles.remove(name);
        }
        self.power_on()
            .is_err()
            .then(|| refuse(frame, Refusal::HandlerFault))
    }

    fn handle(&mut self, frame: &Frame<'_>) -> Result<Seat, Refusal> {
        let kind = Kind::from_code(frame.header.kind).ok_or(Refusal::UnknownCommand)?;
        if let Request::Next { from } = Request::read(kind, frame.payload)? {
            let position = self.tray.position();
            if position == from {
                self.tray.advance().or(Err(Refusal::HandlerFault))?;
                self.power_on().or(Err(Refusal::HandlerFault))?;
            } else if Some(position) != from.checked_add(1) {
                return Err(Refusal::WrongPosition);
            }
        }
        Ok(Seat {
            position: self.tray.position(),
            occupied: self.chip.is_some(),
        })
    }

    /// Takes the present chip's power away and gives power to the one that belongs here now.
    fn power_on(&mut self) -> Result<(), ChipError> {
        self.chip = None;
        let Some((name, path)) = self.tray.chip() else {
            return Ok(());
        };
        let memory = ChipFile::open(&path, self.troubles.get(name).copied())?;
        let chip = Chip::power_on(memory, OsEntropy)
            .map_err(|refusal| ChipError::PowerOn { path, refusal })?;
        self.chip = Some(chip);
        Ok(())
    }

    fn trouble(&self) -> Option<Trouble> {
        let (name, _) = self.tray.chip()?;
        self.troubles.get(name).copied()
    }

    fn leak(&self) -> Result<Zeroizing<[u8; 32]>, Refusal> {
        let mut key = Zeroizing::new([0; 32]);
        self.chip
            .as_ref()
            .ok_or(Refusal::NoChip)?
            .memory()
            .read_slot(&mut key)?;
        Ok(key)
    }
}

impl fmt::Debug for SeatedChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeatedChip({}, {:?})", self.tray.position(), self.chip)
    }
}

fn refuse(question: &Frame<'_>, refusal: Refusal) -> Vec<u8> {
    reply(question, Err(refusal), |(): (), _| {})
}

fn reply<T>(
    question: &Frame<'_>,
    outcome: Result<T, Refusal>,
    write: impl FnOnce(T, &mut Writer<'_>),
) -> Vec<u8> {
    let mut buffer = FrameBuffer::new();
    let mut out = buffer.payload();
    out.put(&question.ack());
    out.put(
        &outcome
            .as_ref()
            .err()
            .map_or(0, |refusal| refusal.code())
            .to_be_bytes(),
    );
    if let Ok(body) = outcome {
        write(body, &mut out);
    }
    let len = out.written().unwrap_or_default();
    buffer.seal(question.header.answer(), len).to_vec()
}
