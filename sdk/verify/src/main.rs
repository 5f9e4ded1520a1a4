//! `koseki-verify`: the verdict over a device and the audit of a log, at the command line.
fn main() {}
