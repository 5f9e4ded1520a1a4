//! A factory morning in one thread: stations, network, server, signer, disk, clock and power, all moved by one seed.
//!
//! Real are the corridor with its doors, the store and the signer on the real SQLite, the ledger and its files, the
//! auditor. Simulated are the stations (their journal, their retries, their chips' keys), the network, the disk under
//! SQLite ([`disk`]), what a power cut leaves of other files (`shelf`), the CA key, and time. Not here: TLS and gRPC,
//! the line agent's own code, the PKCS#11 modules (but for the log's key), and threads: steps of the corridor are
//! taken one at a time, in any order that writer, finisher and releaser could have taken them in, and none in the middle of
//! another. Stories with real processes look after those.
//!
//! The same seed gives the same world to the last byte of its log, in every process: keys, serials
//! and dates of the ground are fixed, the log's key too (`token`), and what is drawn is drawn from the seed. So a root that
//! was printed for a seed is the root of that seed wherever it is lived again, until the code that writes leaves changes.

mod chance;
pub mod disk;
mod ground;
mod judge;
mod line;
mod machine;
mod shelf;
mod token;
mod world;

pub use chance::Chance;
pub use ground::Ground;
pub use token::{lay_token, make_token};

use crate::failure::Outcome;
use std::path::Path;
use world::World;

/// A bug that is planted, so that one sees that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// None.
    Nothing,
    /// An answer leaves before it is durable: the disk acknowledges flushes that it does not make.
    AnswerBeforeFsync,
    /// The quota is read by somebody who does not hold the transaction, and written as counted from that.
    QuotaReadOutside,
    /// What a request got is not kept, and its retry is signed anew.
    RetrySignsAnew,
}

impl std::str::FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "answer-before-fsync" => Ok(Self::AnswerBeforeFsync),
            "quota-outside" => Ok(Self::QuotaReadOutside),
            "retry-signs-anew" => Ok(Self::RetrySignsAnew),
            _ => Err(
                "a planted bug is answer-before-fsync, quota-outside or retry-signs-anew"
                    .to_owned(),
            ),
        }
    }
}

/// What happened in a world, or in many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Servers started.
    pub starts: u64,
    /// `kill -9`.
    pub kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Of both, those in the middle of a call.
    pub in_a_call: u64,
    /// Calls of the disk that changed something.
    pub calls: u64,
    /// Calls of the disk that failed.
    pub calls_failed: u64,
    /// Sectors that were written, not flushed, and lost.
    pub sectors_lost: u64,
    /// Sectors that were written, not flushed, and there all the same.
    pub sectors_kept: u64,
    /// Files of the log that a power cut took back or tore.
    pub files_lost: u64,
    /// Acknowledged certificates whose signature a power cut took from the server and left to the signer alone.
    pub copies_lost: u64,
    /// Uses of the CA key that failed or gave a wrong signature.
    pub hsm_failures: u64,
    /// Messages sent.
    pub messages: u64,
    /// Messages lost.
    pub messages_lost: u64,
    /// Messages that arrived twice.
    pub messages_twice: u64,
    /// Messages that overtook an earlier one.
    pub messages_late: u64,
    /// Stations that lost what they had not journalled.
    pub station_crashes: u64,
    /// Times that the server's clock was wrong.
    pub clock_jumps: u64,
    /// Certificates acknowledged.
    pub certificates: u64,
    /// Units adopted by the other station.
    pub adopted: u64,
    /// Units refused for good.
    pub refused: u64,
    /// Leaves in the log.
    pub leaves: u64,
}

impl Counts {
    /// Names and numbers, in order.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 21] {
        [
            ("server starts", self.starts),
            ("kill -9", self.kills),
            ("power cuts", self.power_cuts),
            ("of these in the middle of a call", self.in_a_call),
            ("durable calls", self.calls),
            ("calls failed", self.calls_failed),
            ("unflushed sectors lost", self.sectors_lost),
            ("unflushed sectors kept", self.sectors_kept),
            ("log files taken back or torn", self.files_lost),
            (
                "answered signatures left to the signer alone",
                self.copies_lost,
            ),
            ("HSM failures", self.hsm_failures),
            ("messages", self.messages),
            ("messages lost", self.messages_lost),
            ("messages doubled", self.messages_twice),
            ("messages reordered", self.messages_late),
            ("station crashes", self.station_crashes),
            ("clock jumps", self.clock_jumps),
            ("certificates", self.certificates),
            ("units adopted", self.adopted),
            ("units refused", self.refused),
            ("leaves", self.leaves),
        ]
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        let Self {
            starts,
            kills,
            power_cuts,
            in_a_call,
            calls,
            calls_failed,
            sectors_lost,
            sectors_kept,
            files_lost,
            copies_lost,
            hsm_failures,
            messages,
            messages_lost,
            messages_twice,
            messages_late,
            station_crashes,
            clock_jumps,
            certificates,
            adopted,
            refused,
            leaves,
        } = other;
        for (sum, one) in [
            (&mut self.starts, starts),
            (&mut self.kills, kills),
            (&mut self.power_cuts, power_cuts),
            (&mut self.in_a_call, in_a_call),
            (&mut self.calls, calls),
            (&mut self.calls_failed, calls_failed),
            (&mut self.sectors_lost, sectors_lost),
            (&mut self.sectors_kept, sectors_kept),
            (&mut self.files_lost, files_lost),
            (&mut self.copies_lost, copies_lost),
            (&mut self.hsm_failures, hsm_failures),
            (&mut self.messages, messages),
            (&mut self.messages_lost, messages_lost),
            (&mut self.messages_twice, messages_twice),
            (&mut self.messages_late, messages_late),
            (&mut self.station_crashes, station_crashes),
            (&mut self.clock_jumps, clock_jumps),
            (&mut self.certificates, certificates),
            (&mut self.adopted, adopted),
            (&mut self.refused, refused),
            (&mut self.leaves, leaves),
        ] {
            *sum += one;
        }
    }
}

/// How a world ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// What was found wrong.
    pub found: Option<String>,
    /// Root of its log, in hexadecimal.
    pub root: String,
    /// What happened.
    pub counts: Counts,
    /// One line for each event.
    pub told: Vec<String>,
}

/// Lives one seed's world in an empty directory.
///
/// # Errors
/// [`Failure`](crate::failure::Failure) of the real system; what the world itself did wrong is in its ending.
pub fn live(ground: &Ground, home: &Path, seed: u64, plant: Plant) -> Outcome<Ending> {
    World::new(ground, home, seed, plant)?.live()
}
