//! The CA of the family register: issuance corridor, ledger, store and services.
#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod auth;
pub mod backup;
pub mod ceremony;
pub mod challenge;
pub mod cli;
pub mod config;
pub mod directory;
pub mod hsm_health;
pub mod issuance;
pub mod ledger;
pub mod metrics;
pub mod policy;
mod private;
mod pulse;
mod rates;
pub mod rpc;
mod scheduling;
mod service_manager;
mod shares;
pub mod store;
pub mod telemetry;
