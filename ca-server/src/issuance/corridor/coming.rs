//! Requests on their way to the queue: their signatures are being checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many are on their way. Whoever is in the queue already may wait for them and share a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Coming(Arc<AtomicUsize>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(super) struct OnTheWay(Coming);

impl Coming {
    /// One more.
    pub(super) fn begin(&self) -> OnTheWay {
        self.0.fetch_add(1, Ordering::AcqRel);
        OnTheWay(self.clone())
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
