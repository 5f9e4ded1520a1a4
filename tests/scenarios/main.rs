//! One story per claim, each with real processes in a directory of its own.
#![cfg(test)]

mod a_lot_is_made;
mod altered_answers;
mod altered_line;
mod altered_requests;
mod architecture;
mod backups;
mod bad_input;
mod bad_requests;
mod bad_units;
mod ca_away;
mod changing_hands;
mod clocks;
mod demonstration;
mod deployment;
mod doctor;
mod ends;
mod every_door;
mod every_fault;
mod every_step;
mod firmware;
mod first_device;
mod floor;
mod full_disk;
mod fuzzing;
mod holders;
mod kept_out;
mod licences;
mod lots;
mod no_telemetry;
mod once_and_for_ever;
mod orders;
mod others_accept_it;
mod planted;
mod power_cuts;
mod put_away;
mod quota;
mod secrets;
mod service;
mod services;
mod simulation;
#[path = "../shared/skipped.rs"]
mod skipped;
mod stopping;
mod strangers;
mod support;
