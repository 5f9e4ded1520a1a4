//! How fast each of many may ask: a bucket that fills with time and empties with work.

use identity::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Thousandths of a piece of work, so that a bucket fills in whole numbers every millisecond.
const THOUSAND: u64 = 1000;

/// The buckets, one for each that asked, and the rate of all.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    /// Pieces a second and the most at once; without it nobody is held up.
    rate: Option<(u64, u64)>,
    /// Thousandths that are left, and when that was.
    buckets: BTreeMap<K, (u64, Timestamp)>,
}

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
        }
    }
}

impl<K> Default for Inner<K> {
    fn default() -> Self {
        Self {
            rate: None,
            buckets: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy> Rates<K> {
    /// From now on each may do so many pieces a second, and so many at once.
    pub(crate) fn set(&self, per_second: u32, burst: u32) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.rate = Some((per_second.max(1).into(), burst.max(1).into()));
        inner.buckets.clear();
    }

    /// Takes so many pieces out of a bucket. More than a whole bucket empties it, and is paid for later by waiting.
    ///
    /// # Errors
    /// Milliseconds until there is room.
    pub(crate) fn take(&self, of: K, pieces: usize, now: Timestamp) -> Result<(), u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((per_second, burst)) = inner.rate else {
            return Ok(());
        };
        let full = burst.saturating_mul(THOUSAND);
        let (left, since) = inner.buckets.get(&of).copied().unwrap_or((full, now));
        // A clock that was set back fills nothing; one that was set forward fills a bucket and no more.
        let passed = now.0.saturating_sub(since.0);
        let left = left
            .saturating_add(passed.saturating_mul(per_second))
            .min(full);
        let wanted = u64::try_from(pieces)
            .unwrap_or(u64::MAX)
            .saturating_mul(THOUSAND)
            .min(full);
        let taken = left.checked_sub(wanted);
        inner.buckets.insert(of, (taken.unwrap_or(left), now));
        match taken {
            Some(_) => Ok(()),
            None => Err(wanted.saturating_sub(left).div_ceil(per_second)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds_for_each_alone() {
        let rates = Rates::default();
        assert_eq!(
            rates.take('a', 9999, Timestamp(0)),
            Ok(()),
            "no rate is set"
        );
        rates.set(10, 3);
        let now = Timestamp(1_000);
        for _ in 0..3 {
            assert_eq!(rates.take('a', 1, now), Ok(()));
        }
        assert_eq!(rates.take('a', 1, now), Err(100));
        assert_eq!(
            rates.take('b', 3, now),
            Ok(()),
            "another has a bucket of its own"
        );
        assert_eq!(rates.take('a', 1, Timestamp(1_099)), Err(1));
        assert_eq!(rates.take('a', 1, Timestamp(1_100)), Ok(()));
        assert_eq!(rates.take('a', 2, Timestamp(1_100)), Err(200));
    }

    #[test]
    fn a_clock_that_jumps_neither_fills_without_end_nor_shuts_out() {
        let rates = Rates::default();
        rates.set(10, 2);
        assert_eq!(rates.take('a', 2, Timestamp(50_000)), Ok(()));
        assert_eq!(rates.take('a', 1, Timestamp(1_000)), Err(100), "set back");
        assert_eq!(
            rates.take('a', 1, Timestamp(1_100)),
            Ok(()),
            "and goes on from there"
        );
        assert_eq!(
            rates.take('a', 3, Timestamp(9_000_000_000)),
            Ok(()),
            "as much as there is"
        );
        assert_eq!(rates.take('a', 1, Timestamp(9_000_000_000)), Err(100));
    }
}
