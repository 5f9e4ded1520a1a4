//! Whether a thread goes on: it says when it begins and ends a piece of work, and whoever watches looks twice.
//!
//! No clock is read. A thread is stuck if two looks find it in the same piece of work; how far apart the looks are is
//! how long a piece may take.

use std::sync::atomic::{AtomicU64, Ordering};

/// Turns of one thread: odd while it works, even while it waits.
#[derive(Debug, Default)]
pub(crate) struct Pulse(AtomicU64);

/// One piece of work; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Pulse);

/// The pulses of the corridor's threads.
#[derive(Debug, Default)]
pub(crate) struct Pulses {
    /// The writer's.
    pub(crate) writer: Pulse,
    /// The finisher's.
    pub(crate) finisher: Pulse,
}

/// What was seen at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look([u64; 2]);

impl Pulse {
    /// Begins a piece of work.
    pub(crate) fn begin(&self) -> Turn<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Turn(self)
    }

    fn turns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Pulses {
    /// Looks again; gives the name of a thread that is in the same piece of work as at the last look.
    pub(crate) fn stuck(&self, last: &mut Look) -> Option<&'static str> {
        let now = [self.writer.turns(), self.finisher.turns()];
        let named = ["writer", "finisher"].into_iter();
        let stuck = named
            .zip(now.into_iter().zip(last.0))
            .find(|(_, (now, last))| now == last && now % 2 == 1)
            .map(|(name, _)| name);
        last.0 = now;
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_in_the_same_work_twice_is_stuck() {
        let (pulses, mut look) = (Pulses::default(), Look::default());
        assert_eq!(pulses.stuck(&mut look), None);
        assert_eq!(pulses.stuck(&mut look), None, "waiting is no harm");
        let turn = pulses.finisher.begin();
        assert_eq!(pulses.stuck(&mut look), None, "seen at work once");
        assert_eq!(pulses.stuck(&mut look), Some("finisher"));
        drop(turn);
        assert_eq!(pulses.stuck(&mut look), None);
        let first = pulses.writer.begin();
        assert_eq!(pulses.stuck(&mut look), None);
        drop(first);
        let _next = pulses.writer.begin();
        assert_eq!(pulses.stuck(&mut look), None, "another piece of work");
        assert_eq!(pulses.stuck(&mut look), Some("writer"));
    }
}
