//! Both ends of the factory protocol against each other.

mod common;
mod dialogue;
mod line;
