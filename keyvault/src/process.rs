//! PINs and keys on their way through this process's memory stay there.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// The system did not close the process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process's memory cannot be kept out of core dumps and debuggers: {0}")]
pub struct NotHardened(#[from] rustix::io::Errno);

/// No core dump, and nobody but root attaches to the process or reads its memory (`setrlimit(2)`, `PR_SET_DUMPABLE` of
/// `prctl(2)`). To be called first, before any PIN is read.
///
/// # Errors
/// [`NotHardened`] if the system refuses.
pub fn keep_memory_private() -> Result<(), NotHardened> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
