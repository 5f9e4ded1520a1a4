//! The CA of the family register: issuance corridor, ledger, store and services.
#![forbid(unsafe_code)]

pub mod challenge;
pub mod directory;
pub mod issuance;
pub mod ledger;
pub mod policy;
pub mod store;
mod support;
