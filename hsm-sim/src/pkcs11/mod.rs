//! A PKCS#11 3.0 software module with a 2.40 interface beside it.
//!
//! [`ffi`] is the C border and the only unsafe code; everything below it is safe Rust that takes
//! slices and templates and answers with [`rv::Result`]. [`slots::Module`] is one initialised
//! library, [`token::Token`] one token and its file, [`session::Session`] one session.

mod attributes;
mod claims;
mod creation;
mod derivation;
mod edits;
mod ffi;
mod find;
mod generation;
mod info;
mod keys;
mod mechanism;
mod object;
mod operations;
mod rv;
mod schema;
mod session;
mod slots;
mod template;
mod token;
mod wrapping;

pub use claims::hold_template;
