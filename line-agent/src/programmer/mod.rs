//! What the station asks of a chip in a socket, and of the handler that feeds the socket.
//!
//! [`Programmer`] is the one trait; a socket over TCP or a serial line speaks the frames of `koseki-device`.

use crate::config::Line;
use identity::{Entropy, LeafHash, P256Key, SpkiHash};
use koseki_device::{
    Confirmed, Driver, DriverError, Identification, Injection, Link, MadeKey, Patience, Proof,
    Refusal, Seat, SerialLink, Signature, TcpLink, TransportKey,
};
use std::io;

/// Why a chip or handler did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProgrammerError {
    /// The chip or the handler refused.
    #[error("{0}")]
    Refused(Refusal),
    /// Nobody answered, or the line failed: whether the chip acted is unknown.
    #[error("{0}")]
    Silent(String),
    /// The answer makes no sense, or the question could not be put.
    #[error("{0}")]
    Nonsense(String),
}

/// Result of a question to a chip or handler.
pub type Answered<T> = Result<T, ProgrammerError>;

/// One socket. Every call blocks until the answer, or until patience runs out.
pub trait Programmer: Send {
    /// Asks who the chip is, and begins a session with it.
    ///
    /// # Errors
    /// [`ProgrammerError`], as in all of these.
    fn identify(&mut self) -> Answered<Identification>;

    /// Has the chip make a key in RAM and attest it.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn make_key(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey>;

    /// Has a burnt chip attest again that it made its key.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn attest(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey>;

    /// Has the chip make a transport key.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn transport(&mut self, nonce: &[u8; 32]) -> Answered<TransportKey>;

    /// Gives the chip a wrapped key to keep in RAM.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn inject(&mut self, injection: &Injection<'_>) -> Answered<P256Key>;

    /// Burns the key in RAM, if it is the one named.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn burn(&mut self, spki: &SpkiHash) -> Answered<P256Key>;

    /// Tries to read the fixed key; must be refused.
    ///
    /// # Errors
    /// [`ProgrammerError`]; the good outcome is [`Refusal::KeyReadDenied`].
    fn read_key(&mut self) -> Answered<()>;

    /// Has the chip prove possession.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn prove(&mut self, proof: &Proof<'_>) -> Answered<Signature>;

    /// Stores a certificate.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn write_certificate(&mut self, der: &[u8]) -> Answered<()>;

    /// Reads the certificate back.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn read_certificate(&mut self) -> Answered<Vec<u8>>;

    /// Has the chip sign for the certificate it stores.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn confirm(&mut self, nonce: &[u8; 32], leaf: &LeafHash) -> Answered<Confirmed>;

    /// Asks the handler what is in the socket.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn look(&mut self) -> Answered<Seat>;

    /// Has the handler put the next chip in.
    ///
    /// # Errors
    /// [`ProgrammerError`]
    fn next_chip(&mut self, from: u32) -> Answered<Seat>;
}

/// Opens the line to a socket.
///
/// # Errors
/// If it cannot be connected or opened, or there is no randomness for the session's number.
pub fn open(line: &Line, entropy: &dyn Entropy) -> io::Result<Box<dyn Programmer>> {
    let mut session = [0; 4];
    entropy.fill(&mut session).map_err(io::Error::other)?;
    let session = u32::from_be_bytes(session);
    Ok(match line {
        Line::Tcp(address) => Box::new(Driver::new(
            TcpLink::connect(address)?,
            Patience::default(),
            session,
        )),
        Line::Serial(path) => Box::new(Driver::new(
            SerialLink::open(path)?,
            Patience::default(),
            session,
        )),
    })
}

impl<E: std::error::Error> From<DriverError<E>> for ProgrammerError {
    fn from(error: DriverError<E>) -> Self {
        match (error.refusal(), &error) {
            (Some(refusal), _) => Self::Refused(refusal),
            (None, DriverError::Link(_) | DriverError::NoAnswer) => Self::Silent(error.to_string()),
            (None, DriverError::Ask(_) | DriverError::Answer(_)) => {
                Self::Nonsense(error.to_string())
            }
        }
    }
}

impl<L: Link + Send> Programmer for Driver<L> {
    fn identify(&mut self) -> Answered<Identification> {
        Ok(Self::identify(self)?)
    }

    fn make_key(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey> {
        Ok(Self::make_key(self, nonce)?)
    }

    fn attest(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey> {
        Ok(Self::attest(self, nonce)?)
    }

    fn transport(&mut self, nonce: &[u8; 32]) -> Answered<TransportKey> {
        Ok(Self::transport(self, nonce)?)
    }

    fn inject(&mut self, injection: &Injection<'_>) -> Answered<P256Key> {
        Ok(Self::inject(self, injection)?)
    }

    fn burn(&mut self, spki: &SpkiHash) -> Answered<P256Key> {
        Ok(Self::burn(self, spki)?)
    }

    fn read_key(&mut self) -> Answered<()> {
        Ok(Self::read_key(self)?)
    }

    fn prove(&mut self, proof: &Proof<'_>) -> Answered<Signature> {
        Ok(Self::prove(self, proof)?)
    }

    fn write_certificate(&mut self, der: &[u8]) -> Answered<()> {
        Ok(Self::write_certificate(self, der)?)
    }

    fn read_certificate(&mut self) -> Answered<Vec<u8>> {
        Ok(Self::read_certificate(self)?)
    }

    fn confirm(&mut self, nonce: &[u8; 32], leaf: &LeafHash) -> Answered<Confirmed> {
        Ok(Self::confirm(self, nonce, leaf)?)
    }

    fn look(&mut self) -> Answered<Seat> {
        Ok(Self::look(self)?)
    }

    fn next_chip(&mut self, from: u32) -> Answered<Seat> {
        Ok(Self::next_chip(self, from)?)
    }
}
