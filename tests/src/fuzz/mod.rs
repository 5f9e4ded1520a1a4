//! What every parser of bytes from outside must hold: it never panics, and what it accepts it writes back as it was.
//!
//! One body a target. `tests/fuzz/` runs them under libFuzzer for as long as one likes (`make fuzz`); the test
//! `scenarios::fuzzing` runs them over the seeds and some thousands of seeded mutations, in every `make test`.

mod chip;
mod line;
mod log;
pub mod mutate;
mod policy;
mod wire;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the program in `tests/fuzz/fuzz_targets/` and of the directory of its seeds.
    pub name: &'static str,
    /// Holds one input against the target's claims. True if the input was accepted.
    pub hold: fn(&[u8]) -> bool,
}

/// All targets.
pub const TARGETS: [Target; 18] = [
    target("approval", wire::approval),
    target("certificate", wire::certificate),
    target("checkpoint", log::checkpoint),
    target("chip_dialogue", chip::dialogue),
    target("chip_frames", chip::frames),
    target("documents", wire::documents),
    target("envelope", wire::envelope),
    target("evidence", wire::evidence),
    target("journal", line::journal),
    target("leaf", wire::leaf),
    target("log_policy", log::policy),
    target("lot_file", line::lot_file),
    target("pkcs11_template", hsm_sim::hold_template),
    target("policies", policy::policies),
    target("receipt", wire::receipt),
    target("signer_message", wire::signer_message),
    target("tile", log::tile),
    target("tlog_proof", log::tlog_proof),
];

const fn target(name: &'static str, hold: fn(&[u8]) -> bool) -> Target {
    Target { name, hold }
}

/// Holds one input against the claims of a target.
///
/// # Panics
/// If a claim does not hold, or there is no such target.
pub fn hold(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of the table").hold)(input);
}
