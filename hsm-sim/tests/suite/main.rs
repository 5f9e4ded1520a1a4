//! Drives the module as its clients do: loaded by path, through the C interface.

#![cfg(test)]

mod border;
mod derivation;
mod harness;
mod logins;
mod objects;
mod processes;
mod signatures;
#[path = "../../../tests/shared/skipped.rs"]
mod skipped;
mod tampering;
mod tools;
mod wrapping;
