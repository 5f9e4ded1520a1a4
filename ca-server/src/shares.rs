//! How much of something scarce each of many may hold at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What each holder has, and the most that one may have.
#[derive(Clone, Debug)]
pub(crate) struct Shares<K> {
    most: usize,
    held: Arc<Mutex<BTreeMap<K, usize>>>,
}

/// Given back when dropped.
#[derive(Debug)]
pub(crate) struct Share<K: Ord> {
    of: K,
    count: usize,
    held: Arc<Mutex<BTreeMap<K, usize>>>,
}

impl<K: Ord + Copy> Shares<K> {
    /// Nobody holds anything yet.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            held: Arc::default(),
        }
    }

    /// Takes `count` more for a holder; nothing if it would have too much. Whoever holds nothing may always take
    /// something, so that one request that is larger than the share is served alone.
    pub(crate) fn take(&self, of: K, count: usize) -> Option<Share<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.get(&of).copied().unwrap_or_default();
        let after = before.saturating_add(count);
        if before > 0 && after > self.most {
            return None;
        }
        held.insert(of, after);
        drop(held);
        Some(Share {
            of,
            count,
            held: Arc::clone(&self.held),
        })
    }
}

impl<K: Ord + Copy> Share<K> {
    /// Takes more for the same holder; nothing if all of its shares would be more than `most` and this is not all that
    /// it holds.
    pub(crate) fn grow(&mut self, count: usize, most: usize) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = held.get(&self.of).copied().unwrap_or_default();
        let after = now.saturating_add(count);
        if now > self.count && after > most {
            return false;
        }
        held.insert(self.of, after);
        self.count = self.count.saturating_add(count);
        true
    }

    /// Is `count` from now on, whatever that makes of what its holder has: for what is there already.
    pub(crate) fn become_of(&mut self, count: usize) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let others = held.get(&self.of).copied().unwrap_or_default();
        let others = others.saturating_sub(self.count);
        held.insert(self.of, others.saturating_add(count));
        self.count = count;
    }
}

impl<K: Ord> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = held.get_mut(&self.of) {
            *now = now.saturating_sub(self.count);
            if *now == 0 {
                held.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_share_and_gives_it_back() {
        let shares = Shares::new(3);
        let two = shares.take('a', 2).unwrap();
        assert!(shares.take('a', 2).is_none());
        let other = shares.take('b', 3).unwrap();
        let third = shares.take('a', 1).unwrap();
        assert!(shares.take('a', 1).is_none());
        drop(two);
        let again = shares.take('a', 2).unwrap();
        drop((other, third, again));
        assert!(shares.held.lock().unwrap().is_empty());
    }

    #[test]
    fn a_share_grows_within_what_one_may_have() {
        let shares = Shares::new(3);
        let mut first = shares.take('a', 1).unwrap();
        let second = shares.take('a', 1).unwrap();
        assert!(!first.grow(2, 3), "two hold three at most");
        assert!(first.grow(1, 3));
        drop(second);
        assert!(first.grow(9, 3), "alone it may be larger");
        drop(first);
        assert!(shares.held.lock().unwrap().is_empty());
    }

    #[test]
    fn a_share_becomes_what_is_there_beyond_what_one_may_have() {
        let shares = Shares::new(3);
        let mut first = shares.take('a', 1).unwrap();
        let second = shares.take('a', 1).unwrap();
        first.become_of(9);
        assert!(shares.take('a', 1).is_none());
        first.become_of(0);
        let third = shares.take('a', 2).unwrap();
        assert!(shares.take('a', 1).is_none());
        drop((first, second, third));
        assert!(shares.held.lock().unwrap().is_empty());
    }

    #[test]
    fn what_is_larger_than_a_share_is_served_alone() {
        let shares = Shares::new(3);
        let large = shares.take('a', 4).unwrap();
        assert!(shares.take('a', 1).is_none());
        drop(large);
        assert!(shares.take('a', 1).is_some());
    }
}
