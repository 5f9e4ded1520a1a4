//! A whole factory in a directory, for stories across the rooms.
#![forbid(unsafe_code)]

pub mod acknowledged;
pub mod bench;
pub mod cable;
pub mod canaries;
pub mod chips;
pub mod demo;
pub mod factory;
pub mod failure;
pub mod faults;
pub mod flips;
pub mod fuzz;
pub mod ground;
pub mod hsm;
pub mod insider;
pub mod kills;
pub mod lines;
pub mod metadata;
pub mod ordeal;
pub mod outside;
pub mod patience;
pub mod policies;
pub mod process;
pub mod proxy;
pub mod recount;
pub mod register;
pub mod simulation;
pub mod soft;
pub mod station;
pub mod tap;
pub mod terminal;
pub mod tls;
pub mod way;
