//! The whole of `keyvault` on real modules: every test runs on SoftHSM2 and on the simulated HSM, each in a process and
//! with tokens of its own.

mod harness;

mod injection;
mod keys;
mod reopening;
mod tls;
mod tokens;
