//! What a program tells the machine around it: whether it lives and how it is ([`manager`]), what it counts
//! ([`metrics`]), what happened ([`log`]). Nothing is sent to anybody who was not named.
#![forbid(unsafe_code)]

pub mod log;
pub mod manager;
pub mod metrics;
mod pulse;
mod stopwatch;

pub use pulse::{Look, Pulse, Turn};
pub use stopwatch::Stopwatch;
