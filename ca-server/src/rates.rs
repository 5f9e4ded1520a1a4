//! How fast each of many may ask: a bucket that fills with time and empties with work.

use identity::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Thousandths of a piece of work, so that a bucket fills in whole numbers every millisecond.
const THOUSAND: i64 = 1000;

/// The buckets, one for each that asked, and the rate of all.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    /// Pieces a second and the most at once; without it nobody is held up.
    rate: Option<(u32, u32)>,
    /// Thousandths that are left, or owed if that is below nought, and when that was.
    buckets: BTreeMap<K, (i64, Timestamp)>,
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
        let mut inner = self.inner();
        inner.rate = Some((per_second.max(1), burst.max(1)));
        inner.buckets.clear();
    }

    /// Takes one piece out of a bucket.
    ///
    /// # Errors
    /// Milliseconds until there is one: who waits so long gets it, unless it took another meanwhile.
    pub(crate) fn take(&self, of: K, now: Timestamp) -> Result<(), u64> {
        let mut inner = self.inner();
        let Some((left, per_second)) = inner.left(of, now) else {
            return Ok(());
        };
        let after = left.saturating_sub(THOUSAND);
        let missing = u64::try_from(after.saturating_neg()).unwrap_or_default();
        let taken = missing == 0;
        let left = if taken { after } else { left };
        inner.buckets.insert(of, (left, now));
        match taken {
            true => Ok(()),
            false => Err(missing.div_ceil(per_second.into())),
        }
    }

    /// Takes so many pieces more, be they there or not: for work that has begun. What is not there is owed, and paid by
    /// waiting before the next.
    pub(crate) fn owe(&self, of: K, pieces: usize, now: Timestamp) {
        let mut inner = self.inner();
        let Some((left, _)) = inner.left(of, now) else {
            return;
        };
        let pieces = i64::try_from(pieces).unwrap_or(i64::MAX);
        let left = left.saturating_sub(pieces.saturating_mul(THOUSAND));
        inner.buckets.insert(of, (left, now));
    }

    fn inner(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord> Inner<K> {
    /// Thousandths that are in a bucket now, and pieces a second that it fills with.
    fn left(&self, of: K, now: Timestamp) -> Option<(i64, u32)> {
        let (per_second, burst) = self.rate?;
        let full = i64::from(burst).saturating_mul(THOUSAND);
        let (left, since) = self.buckets.get(&of).copied().unwrap_or((full, now));
        // A clock that was set back fills nothing; one that was set forward fills a bucket and no more.
        let passed = i64::try_from(now.0.saturating_sub(since.0)).unwrap_or(i64::MAX);
        let filled = passed.saturating_mul(per_second.into());
        Some((left.saturating_add(filled).min(full), per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds_for_each_alone() {
        let rates = Rates::default();
        rates.owe('a', 9999, Timestamp(0));
        assert_eq!(rates.take('a', Timestamp(0)), Ok(()), "no rate is set");
        rates.set(10, 3);
        let now = Timestamp(1_000);
        for _ in 0..3 {
            assert_eq!(rates.take('a', now), Ok(()));
        }
        assert_eq!(rates.take('a', now), Err(100));
        assert_eq!(
            rates.take('b', now),
            Ok(()),
            "another has a bucket of its own"
        );
        assert_eq!(rates.take('a', Timestamp(1_099)), Err(1));
        assert_eq!(rates.take('a', Timestamp(1_100)), Ok(()));
        assert_eq!(rates.take('a', Timestamp(1_100)), Err(100));
    }

    #[test]
    fn what_is_owed_is_waited_for_and_who_waits_as_long_as_it_is_told_passes() {
        let rates = Rates::default();
        rates.set(3, 2);
        let now = Timestamp(1_000);
        assert_eq!(rates.take('a', now), Ok(()));
        rates.owe('a', 63, now);
        // 62 are owed, and one is needed.
        assert_eq!(rates.take('a', now), Err(21_000));
        assert_eq!(rates.take('a', Timestamp(21_999)), Err(1));
        assert_eq!(rates.take('a', Timestamp(22_000)), Ok(()));
        assert_eq!(rates.take('a', Timestamp(22_000)), Err(334));
        assert_eq!(rates.take('a', Timestamp(22_334)), Ok(()));
    }

    #[test]
    fn a_clock_that_jumps_neither_fills_without_end_nor_shuts_out() {
        let rates = Rates::default();
        rates.set(10, 2);
        rates.owe('a', 2, Timestamp(50_000));
        assert_eq!(rates.take('a', Timestamp(1_000)), Err(100), "set back");
        assert_eq!(
            rates.take('a', Timestamp(1_100)),
            Ok(()),
            "and goes on from there"
        );
        for _ in 0..2 {
            assert_eq!(rates.take('a', Timestamp(9_000_000_000)), Ok(()));
        }
        assert_eq!(rates.take('a', Timestamp(9_000_000_000)), Err(100));
    }
}
