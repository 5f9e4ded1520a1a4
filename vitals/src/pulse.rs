//! Whether a thread goes on: it says when it begins and ends a piece of work, and whoever watches looks twice.
//!
//! No clock is read. A thread is stuck if two looks find it in the same piece of work; how far apart the looks are is
//! how long a piece may take.

use std::sync::atomic::{AtomicU64, Ordering};

/// Turns of one thread: odd while it works, even while it waits.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

/// One piece of work; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Pulse);

/// What was seen of some threads at the last look.
#[derive(Clone, Copy, Debug)]
pub struct Look<const N: usize>([u64; N]);

impl Pulse {
    /// Begins a piece of work.
    pub fn begin(&self) -> Turn<'_> {
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

impl<const N: usize> Default for Look<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Look<N> {
    /// Looks again; gives the name of a thread that is in the same piece of work as at the last look.
    pub fn stuck(&mut self, pulses: [(&'static str, &Pulse); N]) -> Option<&'static str> {
        let now = pulses.map(|(_, pulse)| pulse.turns());
        let seen = now.into_iter().zip(self.0);
        let stuck = pulses
            .into_iter()
            .zip(seen)
            .find(|(_, (now, last))| now == last && now % 2 == 1)
            .map(|((name, _), _)| name);
        self.0 = now;
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_in_the_same_work_twice_is_stuck() {
        let (writer, finisher, mut look) = (Pulse::default(), Pulse::default(), Look::default());
        let mut stuck = || look.stuck([("writer", &writer), ("finisher", &finisher)]);
        assert_eq!(stuck(), None);
        assert_eq!(stuck(), None, "waiting is no harm");
        let turn = finisher.begin();
        assert_eq!(stuck(), None, "seen at work once");
        assert_eq!(stuck(), Some("finisher"));
        drop(turn);
        assert_eq!(stuck(), None);
        let first = writer.begin();
        assert_eq!(stuck(), None);
        drop(first);
        let _next = writer.begin();
        assert_eq!(stuck(), None, "another piece of work");
        assert_eq!(stuck(), Some("writer"));
    }
}
