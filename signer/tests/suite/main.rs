//! The signer against a miniature log with seeded keys, a faulty HSM and a key in a token.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests; clippy only knows the test functions themselves"
)]
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "as above: a test fails by panicking"
)]
#![expect(unreachable_pub, reason = "one binary of several modules")]

mod damage;
mod faults;
mod following;
mod judging;
mod keys;
mod lots;
mod store;
mod token;
mod world;
