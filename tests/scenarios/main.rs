//! One story per claim, each with real processes in a directory of its own.
#![cfg(test)]

mod a_lot_is_made;
mod architecture;
mod bad_input;
mod changing_hands;
mod clocks;
mod every_door;
mod every_step;
mod full_disk;
mod fuzzing;
mod kept_out;
mod licences;
mod once_and_for_ever;
mod others_accept_it;
mod planted;
mod power_cuts;
mod support;
