//! The whole of `keyvault` on real modules: every test runs on `SoftHSM2` and on the simulated HSM, each in a process
//! and with tokens of its own.

#[cfg(test)]
mod harness;

#[cfg(test)]
mod injection;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod reopening;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tokens;
