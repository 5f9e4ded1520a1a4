//! The station on the factory line: one chip after another gets its fixed key, its certificate and its place in the
//! register.
//!
//! A unit's path is in [`station`]: each step is a type that only the step before can make, and what a power cut must
//! not lose is in the journal before the step that needs it. [`programmer`] speaks to the chips, [`injector`] to the
//! line HSM, [`ca_link`] to the CA; [`app`] puts them together.
#![forbid(unsafe_code)]

pub mod agent;
pub mod app;
pub mod ca_link;
pub mod cli;
pub mod config;
pub mod display;
pub mod doctor;
pub mod enroll;
pub mod files;
pub mod gs1;
pub mod injector;
pub mod lot;
pub mod metrics;
pub mod orders;
pub mod programmer;
pub mod records;
pub mod rehearse;
pub mod shift;
pub mod sources;
pub mod station;
pub mod verdict;
mod vigil;
