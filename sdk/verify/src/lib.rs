//! For relying parties and auditors: certificate, proof and trust make one verdict, offline.
//!
//! | question | answered by |
//! |---|---|
//! | Is this device what its certificate says, and does its maker's log know it? | [`verify_device`] |
//! | Has this log ever certified a key twice, or more units than were granted? | [`audit_log`] |
//! | Is this one entry in the log, as whoever asked for it is told? | [`verify_entry`] |
//! | Does one state of the log continue the other? | [`compare`] |
//!
//! Nothing here opens a connection, and nothing is believed that the caller did not put into [`Trust`]. A verdict
//! says by whose word it holds: the root and the log are the maker's own, and no public authority stands behind them.
//!
//! What the offline check cannot know: entries added after the proof was made (a later void or revocation), and
//! whether the log shows everybody the same tree. The first needs the log, the second its mirrors.
#![forbid(unsafe_code)]

mod audit;
mod authority;
mod compare;
mod device;
mod entry;
mod files;
mod log_dir;
mod reason;
mod register;
mod trust;
mod verdict;

pub use audit::{
    Finding, Findings, GrantCount, LotCount, MAX_FINDINGS, Scope, audit_log, audit_log_with,
};
pub use authority::{Authority, AuthorityError};
pub use compare::{CompareError, Comparison, Relation, compare};
pub use device::verify_device;
pub use entry::{EntryError, ProvedEntry, verify_entry};
pub use files::{ReadError, read_bounded, read_certificate, read_proof};
pub use log_dir::{LogDir, LogDirError};
pub use reason::{Reason, ReasonText};
pub use register::Register;
pub use trust::{Trust, TrustError};
pub use verdict::{Check, Level, State, Step, Verdict};
