//! Simulated hardware of the line: a PKCS#11 module and a chip on a serial line.
//!
//! The library is a PKCS#11 3.0 module (`libhsm_sim.so`), loaded by path like any vendor's. It
//! keeps its tokens in the directory named by the environment variable `HSM_SIM_TOKENS`.

pub mod chip;
mod pkcs11;

pub use pkcs11::hold_template;
