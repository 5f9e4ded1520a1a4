//! A whole factory in a directory, for stories across the rooms.
#![forbid(unsafe_code)]

pub mod metadata;
