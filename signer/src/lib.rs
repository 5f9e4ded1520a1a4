//! The only user of the CA key: follows the log, replays its rules, journals, then signs.
//!
//! The signer takes nobody's word. It has its own store, its own key token and its own pinned approvers, and only
//! bytes cross its interface: [`Signer::exchange`] takes a [`message::SignRequest`] and gives a
//! [`message::SignReply`]. Of each exchange it does, in this order:
//!
//! 1. it opens the checkpoint with the pinned log key, and holds every leaf against it and against the leaves it has
//!    followed before: inclusion and consistency by construction, because it has all leaves;
//! 2. it replays the rules of the log with its own sets, and holds each document a leaf names against the leaf and
//!    against the pinned approvers;
//! 3. it judges each certificate: leaf and its fields, station's envelope, evidence and TBS must say the same;
//!    Signatures that [`Checks`] found good when the request came it knows again;
//! 4. it makes its new head and the attempts durable, then signs, verifies what it got, makes the signatures durable,
//!    and only then answers.
//!
//! Lot orders are kept but bound nothing here: they bear no approvals, so whoever controls the CA server could enter
//! one at will.
#![forbid(unsafe_code)]

mod checks;
pub mod code;
mod error;
mod exchange;
mod follow;
mod judge;
mod key;
pub mod message;
mod parallel;
mod pinned;
mod sign;
mod store;
mod support;

pub use checks::Checks;
pub use code::{Code, Reach};
pub use error::SignerError;
pub use exchange::{Signer, SignerConfig};
pub use key::{CaKey, CaKeyError, VaultCaKey};
