//! For firmware: the factory protocol, both ends, without an allocator and without a clock.
//!
//! # The chip's end
//! [`Device`] takes whatever bytes the line brings, in any slices, and hands complete answers to a closure. Firmware
//! gives it a [`Memory`] (key slot, lock word, certificate area, attestation key) and an [`identity::Entropy`].
//! [`Chip`] is the same below the framing, for those who have frames already.
//!
//! # The station's end
//! [`Station`] frames one question at a time, says when to repeat it and gives up after a bounded number of ticks.
//! With the feature `driver`, `Driver` runs it over a `Link` with one blocking method for each message; the feature
//! `links` adds links over TCP and over a serial device.
//!
//! # Burn once
//! A key stays in RAM until [`Request::Burn`], which names its hash: first the key slot is written and read back,
//! then the lock word. Until the lock word is whole the chip says [`ChipState::Blank`] and takes a new key; after it
//! [`ChipState::Burnt`] for ever; a lock word that is neither is [`ChipState::Torn`], and the chip is scrap. The lock
//! word also says whether the key was made in the chip, so that an injected key can never be attested as made there.
//!
//! # Sequence and sessions
//! [`Request::Identify`] opens a session and forgets any key in RAM. Inside a session a question is executed only if
//! its sequence number is above the last one; the last one repeated word for word gets the same answer again and is
//! not executed twice; older ones get no answer. A chip that lost power answers [`Refusal::NoSession`].
//!
//! # Memory
//! `size_of::<Device<..>>()` without the caller's memory and entropy is below 4,000 bytes on a 64-bit host (a test
//! holds it there): one frame being received and the last answer.
//!
//! `make firmware` builds the least image that holds the chip's end, P-256 with it, for `thumbv7em-none-eabi`, for size
//! (`opt-level = "s"`, LTO), and shows its sections: 56,766 bytes of code and 1,452 of constants with Rust 1.95, no
//! static RAM. The stack is not measured.
#![no_std]
#![forbid(unsafe_code)]
#[cfg(feature = "driver")]
extern crate alloc;
#[cfg(any(feature = "links", test))]
extern crate std;

mod answer;
mod chip;
mod crc;
mod device;
#[cfg(feature = "driver")]
mod driver;
pub mod frame;
mod key;
#[cfg(feature = "links")]
mod link;
mod memory;
mod pkcs8;
mod refusal;
mod request;
mod station;
mod transport;
mod wire;

pub use answer::{
    CertificatePart, ChipState, Confirmed, Identification, MadeKey, Origin, SIGNATURE_LEN, Seat,
    Signature, TransportKey, read_key,
};
pub use chip::Chip;
pub use device::Device;
#[cfg(feature = "driver")]
pub use driver::{Driver, DriverError, Link, Patience};
pub use frame::{Decoder, Frame, FrameBuffer, Header};
#[cfg(feature = "links")]
pub use link::{SerialLink, TcpLink};
pub use memory::{Lock, Memory, MemoryError};
pub use refusal::{Fault, Refusal};
pub use request::{
    Derivation, Injection, Kind, MAX_CERTIFICATE_PART, MAX_CHALLENGE, MAX_WRAPPED, Proof, Request,
};
pub use station::{AnswerError, AskError, Received, Station, Tick};
pub use wire::{Malformed, Reader, Writer};
