//! The station's end over a line: one blocking method for each message.

use crate::answer::{
    CertificatePart, Confirmed, Identification, MadeKey, Seat, Signature, TransportKey, read_key,
};
use crate::frame::MAX_FRAME;
use crate::request::{Injection, MAX_CERTIFICATE_PART, Proof, Request};
use crate::station::{AnswerError, AskError, Received, Station, Tick};
use crate::wire::{Malformed, Reader};
use alloc::vec::Vec;
use core::fmt;
use identity::{LeafHash, P256Key, SpkiHash};

/// A line to a socket.
pub trait Link {
    /// Why the line failed; the question's fate is then unknown.
    type Error: core::error::Error + Send + Sync + 'static;

    /// Sends all bytes.
    ///
    /// # Errors
    /// If the line is broken.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Waits for bytes, at most `timeout_ms` milliseconds; 0 bytes mean that none came.
    ///
    /// # Errors
    /// If the line is broken or was shut by the other end.
    fn receive(&mut self, into: &mut [u8], timeout_ms: u32) -> Result<usize, Self::Error>;
}

/// How long and how often a question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Silence, in milliseconds, after which the question is repeated.
    pub timeout_ms: u32,
    /// How often a question is sent at most.
    pub attempts: u8,
}

impl Default for Patience {
    /// Four times within two seconds.
    fn default() -> Self {
        Self {
            timeout_ms: 500,
            attempts: 4,
        }
    }
}

/// Why a message was not carried out, or why it is not known whether it was.
#[derive(Debug)]
pub enum DriverError<E> {
    /// The line failed. Whether the chip acted is unknown.
    Link(E),
    /// Nobody answered. Whether the chip acted is unknown.
    NoAnswer,
    /// The question could not be put.
    Ask(AskError),
    /// The answer is a refusal, or no good.
    Answer(AnswerError),
}

impl<E> DriverError<E> {
    /// The refusal, if the chip or the handler gave one.
    pub const fn refusal(&self) -> Option<crate::Refusal> {
        match self {
            Self::Answer(AnswerError::Refused(refusal)) => Some(*refusal),
            Self::Link(_) | Self::NoAnswer | Self::Ask(_) | Self::Answer(_) => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for DriverError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => write!(f, "the line failed: {error}"),
            Self::NoAnswer => f.write_str("nobody answered"),
            Self::Ask(error) => error.fmt(f),
            Self::Answer(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for DriverError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Link(error) => Some(error),
            Self::Ask(error) => Some(error),
            Self::Answer(error) => Some(error),
            Self::NoAnswer => None,
        }
    }
}

impl<E> From<Malformed> for DriverError<E> {
    fn from(_: Malformed) -> Self {
        Self::Answer(AnswerError::Malformed)
    }
}

/// Result of a message over a link of type `L`.
type Answered<T, L> = Result<T, DriverError<<L as Link>::Error>>;

/// Drives one socket: the chip in it, and the handler's seat.
#[derive(Debug)]
pub struct Driver<L> {
    link: L,
    patience: Patience,
    station: Station,
}

impl<L: Link> Driver<L> {
    /// Over this link; `session` is best random, so that two stations' sessions differ.
    pub const fn new(link: L, patience: Patience, session: u32) -> Self {
        Self {
            link,
            patience,
            station: Station::new(session, patience.attempts),
        }
    }

    /// Asks who the chip is, and opens a new session: keys in its RAM are forgotten. Comes first, and again after
    /// [`crate::Refusal::NoSession`], [`DriverError::NoAnswer`] and [`Self::next_chip`].
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn identify(&mut self) -> Answered<Identification, L> {
        Ok(Identification::read(self.ask(&Request::Identify)?)?)
    }

    /// Has the chip make a key in RAM.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn make_key(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey, L> {
        Ok(MadeKey::read(
            self.ask(&Request::MakeKey { nonce: *nonce })?,
        )?)
    }

    /// Has the chip attest again that it made the burnt key.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn attest(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey, L> {
        Ok(MadeKey::read(
            self.ask(&Request::Attest { nonce: *nonce })?,
        )?)
    }

    /// Has the chip make a transport key.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn transport(&mut self, nonce: &[u8; 32]) -> Answered<TransportKey, L> {
        Ok(TransportKey::read(
            self.ask(&Request::Transport { nonce: *nonce })?,
        )?)
    }

    /// Gives the chip a wrapped key to keep in RAM; the answer is the public half of what came out.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn inject(&mut self, injection: &Injection<'_>) -> Answered<P256Key, L> {
        Ok(read_key(self.ask(&Request::Inject(*injection))?)?)
    }

    /// Burns the key in RAM, if it is the one named.
    ///
    /// # Errors
    /// [`DriverError`]; after [`DriverError::NoAnswer`] only [`Self::identify`] tells whether it was burnt.
    pub fn burn(&mut self, spki: &SpkiHash) -> Answered<P256Key, L> {
        Ok(read_key(self.ask(&Request::Burn { spki: *spki })?)?)
    }

    /// Has the chip prove possession of the burnt key.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn prove(&mut self, proof: &Proof<'_>) -> Answered<Signature, L> {
        let mut reader = Reader::new(self.ask(&Request::Prove(*proof))?);
        let signature = reader.array()?;
        reader.finish()?;
        Ok(signature)
    }

    /// Stores a certificate, in as many parts as it takes.
    ///
    /// # Errors
    /// [`DriverError`]; [`AskError::TooLong`] above 65,535 bytes.
    pub fn write_certificate(&mut self, der: &[u8]) -> Answered<(), L> {
        let total = u16::try_from(der.len()).or(Err(DriverError::Ask(AskError::TooLong)))?;
        let mut offset = 0;
        for bytes in der.chunks(MAX_CERTIFICATE_PART) {
            let mut reader = Reader::new(self.ask(&Request::WriteCertificate {
                offset,
                total,
                bytes,
            })?);
            offset = reader.u16()?;
            reader.finish()?;
        }
        if offset == total {
            Ok(())
        } else {
            Err(Malformed.into())
        }
    }

    /// Reads the stored certificate back.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn read_certificate(&mut self) -> Answered<Vec<u8>, L> {
        let mut der = Vec::new();
        loop {
            let offset = u16::try_from(der.len()).or(Err(Malformed))?;
            let part = CertificatePart::read(self.ask(&Request::ReadCertificate { offset })?)?;
            der.extend_from_slice(part.bytes);
            match usize::from(part.total) {
                total if der.len() == total => return Ok(der),
                total if der.len() > total || part.bytes.is_empty() => return Err(Malformed.into()),
                _ => {}
            }
        }
    }

    /// Has the chip sign for the certificate it stores.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn confirm(&mut self, nonce: &[u8; 32], leaf: &LeafHash) -> Answered<Confirmed, L> {
        Ok(Confirmed::read(self.ask(&Request::Confirm {
            nonce: *nonce,
            leaf: *leaf,
        })?)?)
    }

    /// Tries to read the fixed key. The bytes a chip gives away are not kept: a chip that answers with anything but
    /// [`crate::Refusal::KeyReadDenied`] is leaky.
    ///
    /// # Errors
    /// [`DriverError`]; the good outcome is the refusal.
    pub fn read_key(&mut self) -> Answered<(), L> {
        self.ask(&Request::ReadKey).map(|_| ())
    }

    /// Asks the handler what is in the socket.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn look(&mut self) -> Answered<Seat, L> {
        Ok(Seat::read(self.ask(&Request::Look)?)?)
    }

    /// Has the handler put the next chip in, if the socket is still at position `from`.
    ///
    /// # Errors
    /// [`DriverError`]
    pub fn next_chip(&mut self, from: u32) -> Answered<Seat, L> {
        Ok(Seat::read(self.ask(&Request::Next { from })?)?)
    }

    /// Puts a question and waits for its answer's body.
    fn ask(&mut self, request: &Request<'_>) -> Answered<&[u8], L> {
        let frame = self.station.ask(request).map_err(DriverError::Ask)?;
        self.link.send(frame).map_err(DriverError::Link)?;
        loop {
            let received = match self.listen()? {
                Received::Nothing => self.repeat()?,
                received @ (Received::Answer | Received::Failed(_)) => received,
            };
            match received {
                Received::Nothing => {}
                Received::Answer => return Ok(self.station.body()),
                Received::Failed(error) => return Err(DriverError::Answer(error)),
            }
        }
    }

    /// Takes what comes until an answer, a silence, or more noise than two answers could bring.
    fn listen(&mut self) -> Answered<Received, L> {
        let mut buffer = [0; 512];
        let mut heard = 0;
        while heard < 2 * MAX_FRAME {
            let len = self
                .link
                .receive(&mut buffer, self.patience.timeout_ms)
                .map_err(DriverError::Link)?;
            if len == 0 {
                break;
            }
            match self.station.receive(buffer.get(..len).unwrap_or_default()) {
                Received::Nothing => heard += len,
                received @ (Received::Answer | Received::Failed(_)) => return Ok(received),
            }
        }
        Ok(Received::Nothing)
    }

    fn repeat(&mut self) -> Answered<Received, L> {
        match self.station.tick() {
            (Received::Nothing, Tick::Resend(frame)) => {
                self.link.send(frame).map_err(DriverError::Link)?;
                Ok(Received::Nothing)
            }
            (Received::Nothing, Tick::GaveUp | Tick::Quiet) => Err(DriverError::NoAnswer),
            (received, _) => Ok(received),
        }
    }
}
