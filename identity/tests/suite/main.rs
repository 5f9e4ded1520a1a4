//! The words of Koseki, told as stories: what each form accepts, what it refuses, and that its bytes never change.
#![cfg_attr(
    feature = "alloc",
    expect(
        clippy::unwrap_used,
        clippy::panic,
        clippy::wildcard_enum_match_arm,
        clippy::indexing_slicing,
        reason = "helpers of tests; clippy only knows the test functions themselves"
    )
)]

#[cfg(all(test, feature = "alloc"))]
mod approval;
#[cfg(all(test, feature = "alloc"))]
mod asn1;
#[cfg(all(test, feature = "alloc"))]
mod document;
#[cfg(all(test, feature = "alloc"))]
mod envelope;
#[cfg(all(test, feature = "alloc"))]
mod evidence;
#[cfg(all(test, feature = "alloc"))]
mod fault;
#[cfg(all(test, feature = "alloc"))]
mod field;
#[cfg(all(test, feature = "alloc"))]
mod golden;
#[cfg(test)]
mod key;
#[cfg(test)]
mod keys;
#[cfg(all(test, feature = "alloc"))]
mod leaf;
#[cfg(all(test, feature = "alloc"))]
mod lot;
#[cfg(test)]
mod message;
#[cfg(all(test, feature = "alloc"))]
mod receipt;
#[cfg(all(test, feature = "alloc"))]
mod rules;
#[cfg(all(test, feature = "alloc"))]
mod rules_model;
#[cfg(all(test, feature = "alloc"))]
mod samples;
#[cfg(test)]
#[cfg(feature = "alloc")]
#[path = "../../../tests/shared/skipped.rs"]
mod skipped;
