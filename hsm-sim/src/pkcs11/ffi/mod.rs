//! The C border: the functions of PKCS#11 3.0 §5, and nothing else.
//!
//! Every function turns pointers into slices, templates and places for output, calls the safe
//! code, and answers with a `CK_RV`. A panic stops here. What the caller vouches for is the same
//! everywhere (PKCS#11 3.0 §5.1): pointers are null or valid for the lengths given beside them,
//! for the time of the call.

#![expect(unsafe_code, reason = "the C interface is made of raw pointers")]

mod general;
mod interface;
mod keys;
mod memory;
mod messages;
mod objects;
mod parameters;
mod sessions;
mod unsupported;

use cryptoki_sys::{
    CK_RV, CK_SESSION_HANDLE, CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_GENERAL_ERROR, CKR_OK,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use super::rv::{BROKEN, Result, Rv};
use super::session::Session;
use super::slots::Module;

/// The initialised library and the process that initialised it: a forked child starts anew.
static MODULE: RwLock<Option<(u32, Arc<Module>)>> = RwLock::new(None);

/// Runs one function's work and turns its outcome into a `CK_RV`.
fn border(work: impl FnOnce() -> Result<()>) -> CK_RV {
    // State behind a lock that a panic poisons is never used again, so none is seen half-changed.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(Rv(code))) => code,
        Err(_panic) => CKR_GENERAL_ERROR,
    }
}

/// The initialised library.
fn module() -> Result<Arc<Module>> {
    match MODULE.read().or(Err(BROKEN))?.as_ref() {
        Some((process, module)) if *process == std::process::id() => Ok(Arc::clone(module)),
        Some(_) | None => Err(Rv(CKR_CRYPTOKI_NOT_INITIALIZED)),
    }
}

/// A session of the initialised library.
fn session(handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
    module()?.session(handle)
}

/// Initialises the library with the token directory of the environment.
fn initialise() -> Result<()> {
    let mut current = MODULE.write().or(Err(BROKEN))?;
    let process = std::process::id();
    if current.as_ref().is_some_and(|(owner, _)| *owner == process) {
        return Err(Rv(CKR_CRYPTOKI_ALREADY_INITIALIZED));
    }
    // A PKCS#11 module has no other way to be told anything before its first call.
    let directory = std::env::var_os("HSM_SIM_TOKENS").filter(|name| !name.is_empty());
    let directory = PathBuf::from(directory.ok_or(Rv(CKR_GENERAL_ERROR))?);
    *current = Some((process, Arc::new(Module::new(&directory)?)));
    Ok(())
}

/// Forgets sessions, logins and keys.
fn finalise() -> Result<()> {
    let module = module()?;
    *MODULE.write().or(Err(BROKEN))? = None;
    module.close_everything()
}
