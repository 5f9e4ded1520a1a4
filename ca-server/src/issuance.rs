//! The corridor of issuance: seven doors in this order, one file each. Each door's result can only be made by that
//! door from the result of the one before, so code that skips a door does not compile.
//!
//! | door | makes |
//! |---|---|
//! | 1 [`admit`] | [`admit::Job`]s: what may ask to be reserved |
//! | 2 [`reserve`] | [`reserve::Reserved`]: committed, and in the log |
//! | 3 [`publish`] | [`publish::Published`]: below a signed checkpoint |
//! | 4 [`sign`] | [`sign::Signed`]: signed by the signer, who judged for itself |
//! | 5 [`record`] | [`record::Recorded`]: the signature is stored |
//! | 6 [`release`] | what is stored goes out |
//! | 7 [`confirm`] | a job again: the chip holds the certificate |
//!
//! # No door is skipped
//!
//! What was signed may be recorded, and what was published may be signed:
//!
//! ```
//! use ca_server::issuance::{publish::Published, record, sign};
//! use ca_server::store::{Reader, Store};
//!
//! fn records(store: &Store, batch: sign::Signed) {
//!     drop(record::record(store, batch));
//! }
//! fn signs(signer: &mut signer::Signer, reader: &Reader, batch: Published) {
//!     drop(sign::sign(signer, reader, batch));
//! }
//! ```
//!
//! What was only published is not recorded:
//!
//! ```compile_fail,E0308
//! use ca_server::issuance::{publish::Published, record};
//! use ca_server::store::Store;
//!
//! fn records(store: &Store, batch: Published) {
//!     drop(record::record(store, batch));
//! }
//! ```
//!
//! What was only reserved is not signed:
//!
//! ```compile_fail,E0308
//! use ca_server::issuance::{reserve::Reserved, sign};
//! use ca_server::store::Reader;
//!
//! fn signs(signer: &mut signer::Signer, reader: &Reader, batch: Reserved) {
//!     drop(sign::sign(signer, reader, batch));
//! }
//! ```
//!
//! Nobody else makes a published batch:
//!
//! ```compile_fail,E0451
//! use ca_server::issuance::publish::Published;
//!
//! fn published() -> Published {
//!     Published {
//!         note: String::new(),
//!         size: 0,
//!         first: 0,
//!         entries: Vec::new(),
//!         unsigned: Vec::new(),
//!         waiting: Vec::new(),
//!     }
//! }
//! ```
//!
//! No batch goes through a door twice:
//!
//! ```compile_fail,E0382
//! use ca_server::issuance::{record, sign::Signed};
//! use ca_server::store::Store;
//!
//! fn records(store: &Store, batch: Signed) {
//!     drop(record::record(store, batch));
//!     drop(record::record(store, batch));
//! }
//! ```

pub mod admit;
pub mod confirm;
mod corridor;
mod enter;
pub mod lots;
pub mod publish;
pub mod record;
mod refusal;
mod refuse;
pub mod release;
pub mod reserve;
mod session;
pub mod sign;
mod time;

pub use corridor::{
    Call, ClosedLot, Corridor, CorridorParts, Ends, GrantName, GrantView, LotAlarm, LotEnd,
    LotView, Pending, Receipts, Signed, StartError, Status, Steps, Stop, UnitName,
};
pub use enter::DocumentJob;
pub(crate) use lots::CLOSED;
pub use refusal::Refusal;
pub use session::Session;

use identity::Timestamp;
use identity::hash::{DocumentHash, LeafHash};

/// A certificate with its proof, as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Index of the `bind` leaf.
    pub index: u64,
    /// Certificate, DER.
    pub certificate: Vec<u8>,
    /// `tlog-proof` of the `bind` leaf.
    pub proof: String,
    /// What the chip signs to confirm.
    pub nonce: [u8; 32],
    /// Leaf hash of the `bind` leaf.
    pub leaf: LeafHash,
    /// The grant it was issued under.
    pub grant: DocumentHash,
    /// Its position in the grant.
    pub ordinal: u32,
}

/// Proof of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Index of the leaf.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: LeafHash,
    /// Its `tlog-proof`.
    pub proof: String,
    /// The leaf, where its proof brings no history that ends with it.
    pub bytes: Option<Vec<u8>>,
}

/// A challenge for one chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// To be signed by the chip, verbatim.
    pub bytes: Vec<u8>,
    /// Not accepted after this.
    pub expires: Timestamp,
}

/// What goes back to whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A certificate.
    Issued(Box<Issued>),
    /// A leaf.
    Receipt(Receipt),
}

/// The answer to one job.
pub type Answer = Result<Outcome, Refusal>;
