//! One story per claim.
#![expect(
    clippy::panic,
    reason = "helpers of tests fail by panicking, as the tests themselves do"
)]

mod architecture;
mod licences;
