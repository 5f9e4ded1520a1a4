//! Whether the finisher has its hands full.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Tells the writer when the finisher can take a batch. Until then the writer reserves nothing, so that all that queues
/// up meanwhile shares one commit, one checkpoint and one way through the doors. Whoever comes alone never waits.
#[derive(Debug, Default)]
pub(super) struct Hands {
    hold: Mutex<Hold>,
    freed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Nothing,
    Batch,
    /// There is no finisher any more; nobody waits for it, whatever is still sent.
    Gone,
}

/// Says that the finisher is gone when it is dropped: one that ended badly keeps nobody waiting.
#[derive(Debug)]
pub(super) struct Freed<'a>(&'a Hands);

impl Hands {
    /// A batch is on its way to the finisher.
    pub(super) fn fill(&self) {
        self.change(Hold::Batch);
    }

    /// The finisher can take the next one.
    pub(super) fn free(&self) {
        self.change(Hold::Nothing);
    }

    /// Frees them for ever at the end of a scope.
    pub(super) const fn freed_at_the_end(&self) -> Freed<'_> {
        Freed(self)
    }

    /// Waits until the finisher can take a batch.
    pub(super) fn wait(&self) {
        let mut hold = self.hold();
        while *hold == Hold::Batch {
            hold = self
                .freed
                .wait(hold)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change(&self, to: Hold) {
        let mut hold = self.hold();
        if *hold != Hold::Gone {
            *hold = to;
        }
        drop(hold);
        self.freed.notify_all();
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Freed<'_> {
    fn drop(&mut self) {
        self.0.change(Hold::Gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn whoever_waits_goes_on_when_the_hands_are_free() {
        let (hands, passed) = (Hands::default(), AtomicBool::new(false));
        hands.wait();
        hands.fill();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                hands.wait();
                assert!(passed.load(Ordering::SeqCst), "it did not wait");
            });
            passed.store(true, Ordering::SeqCst);
            hands.free();
        });
    }

    #[test]
    fn a_finisher_that_ends_badly_keeps_nobody_waiting() {
        let hands = Hands::default();
        hands.fill();
        let ended = std::thread::scope(|scope| {
            let finisher = scope.spawn(|| {
                let _freed = hands.freed_at_the_end();
                panic!("ended badly")
            });
            finisher.join()
        });
        assert!(ended.is_err());
        hands.wait();
        // Nor does a batch that is sent after it: the writer must come to its end, too.
        hands.fill();
        hands.wait();
    }
}
