//! The chip simulator from outside.

#[cfg(test)]
mod program;
