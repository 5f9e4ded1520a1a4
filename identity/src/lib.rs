//! The words of Koseki: devices, makers, keys, proofs, profiles, leaves and their state rules.
//!
//! No IO, no async, no clock, no key in hand. Without the `alloc` feature it holds what firmware needs: bounded
//! names, hashes, P-256 public keys and the messages that chips and stations sign. With `alloc` it adds the
//! documents approvers sign, the envelope a station sends, the leaf of the log and the `IDevID` certificate.
#![no_std]
#![forbid(unsafe_code)]
#[cfg(feature = "alloc")]
extern crate alloc;

pub mod hash;
pub mod key;
pub mod message;
pub mod sources;
pub mod subject;
pub mod text;

#[cfg(feature = "alloc")]
pub mod approval;
#[cfg(feature = "alloc")]
pub mod document;
#[cfg(feature = "alloc")]
pub mod envelope;
#[cfg(feature = "alloc")]
pub mod evidence;
#[cfg(feature = "alloc")]
pub mod fault;
#[cfg(feature = "alloc")]
pub mod field;
#[cfg(feature = "alloc")]
pub mod idevid;
#[cfg(feature = "alloc")]
pub mod leaf;
#[cfg(feature = "alloc")]
pub mod lot;
#[cfg(feature = "alloc")]
pub mod receipt;
#[cfg(feature = "alloc")]
pub mod rules;
#[cfg(feature = "serial-pattern")]
pub mod serial_pattern;
#[cfg(feature = "alloc")]
pub mod support;
#[cfg(feature = "alloc")]
mod wire;

pub use hash::{CertificateHash, DocumentHash, LeafHash, RequestHash, SpkiHash, TbsHash};
pub use key::{P256Key, PortableVerifier, VerifyP256};
pub use sources::{Clock, Day, Entropy, Timestamp};
pub use subject::{KeyKind, SubjectId};
pub use text::{ChipUid, DeviceSerial, Id, PartNumber, RequestId};
