//! How often and how long the module was called, since the process began: for whoever watches.

use crate::error::Result;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static CALLS: AtomicU64 = AtomicU64::new(0);
static ERRORS: AtomicU64 = AtomicU64::new(0);
static NANOS: AtomicU64 = AtomicU64::new(0);

/// Calls to modules of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls on a session.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Time in all of them.
    pub time: Duration,
}

/// What was counted so far.
#[must_use]
pub fn usage() -> Usage {
    Usage {
        calls: CALLS.load(Ordering::Relaxed),
        errors: ERRORS.load(Ordering::Relaxed),
        time: Duration::from_nanos(NANOS.load(Ordering::Relaxed)),
    }
}

/// Makes a call and counts it.
pub(crate) fn counted<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = now();
    let outcome = call();
    let nanos = now().saturating_duration_since(began).as_nanos();
    CALLS.fetch_add(1, Ordering::Relaxed);
    NANOS.fetch_add(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    if outcome.is_err() {
        ERRORS.fetch_add(1, Ordering::Relaxed);
    }
    outcome
}

#[expect(
    clippy::disallowed_methods,
    reason = "the adapter for durations that are only shown"
)]
fn now() -> Instant {
    Instant::now()
}
