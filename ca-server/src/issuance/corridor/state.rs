//! What the threads tell the handle: the newest checkpoint, and whether and why nothing is issued.

use super::verifiers::Verifiers;
use crate::issuance::Refusal;
use crate::issuance::admit::DebugClock;
use crate::ledger::LogTiles;
use crate::metrics::Meters;
use crate::pulse::Pulses;
use identity::Timestamp;
use identity::hash::sha256;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// Checkpoints that are known again without a look into the store.
const RECENT: usize = 64;

/// What ends a stop. A later one outweighs an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ends {
    /// The server tries again by itself, and goes on as soon as it can.
    ByItself,
    /// An operator confirms the clock.
    ByOperator,
    /// Somebody finds out what is wrong; a restart alone may not help.
    ByRepair,
    /// A restart, which reads what became durable. The process ends by itself.
    ByRestart,
}

/// Why nothing is issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What is wrong.
    pub refusal: Refusal,
    /// Since when, by the server's clock.
    pub since: Timestamp,
    /// What ends it.
    pub ends: Ends,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) meters: Arc<Meters>,
    pub(super) pulses: Pulses,
    pub(super) verifiers: Arc<Verifiers>,
    behind: AtomicBool,
    clock: Arc<dyn DebugClock>,
    published: RwLock<(u64, Timestamp)>,
    newest: RwLock<Option<(String, LogTiles)>>,
    recent: RwLock<VecDeque<[u8; 32]>>,
    stop: RwLock<Option<Stop>>,
    ending: watch::Sender<Option<Refusal>>,
}

impl State {
    pub(super) fn new(clock: Arc<dyn DebugClock>) -> Self {
        Self {
            meters: Arc::default(),
            pulses: Pulses::default(),
            verifiers: Arc::default(),
            behind: AtomicBool::new(false),
            clock,
            published: RwLock::new((0, Timestamp(0))),
            newest: RwLock::default(),
            recent: RwLock::default(),
            stop: RwLock::default(),
            ending: watch::Sender::new(None),
        }
    }

    /// Stops issuing. Of two reasons the one that is harder to end stays; of equals the first.
    pub(super) fn stop(&self, refusal: &Refusal, ends: Ends) {
        let (code, detail) = (refusal.fault.code(), &refusal.detail);
        tracing::error!(code, detail, ?ends, "ALARM: issuing stops");
        let mut stop = self.stop.write().unwrap_or_else(PoisonError::into_inner);
        if stop.as_ref().is_none_or(|standing| standing.ends < ends) {
            *stop = Some(Stop {
                refusal: refusal.clone(),
                since: self.clock.now(),
                ends,
            });
        }
        if ends == Ends::ByRestart {
            self.ending.send_replace(Some(refusal.clone()));
        }
    }

    /// Goes on issuing, if the stop is one that ends like this.
    pub(super) fn resume(&self, ends: Ends) {
        let mut stop = self.stop.write().unwrap_or_else(PoisonError::into_inner);
        if stop.take_if(|standing| standing.ends == ends).is_some() {
            tracing::warn!(?ends, "issuing goes on");
        }
    }

    /// Something is committed that did not pass the doors behind, or that the files do not show.
    pub(super) fn fall_behind(&self) {
        self.behind.store(true, Ordering::Release);
    }

    pub(super) fn catch_up(&self) {
        self.behind.store(false, Ordering::Release);
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// The stop that does not end as long as this process lives.
    pub(super) fn stopped_for_good(&self) -> Option<Stop> {
        self.stopped().filter(|stop| stop.ends >= Ends::ByRepair)
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        let stop = self.stop.read().unwrap_or_else(PoisonError::into_inner);
        stop.clone()
    }

    /// What the process ends for, as soon as there is such a thing.
    pub(super) async fn ending(&self) -> Refusal {
        let mut ending = self.ending.subscribe();
        loop {
            if let Some(refusal) = ending.borrow_and_update().clone() {
                return refusal;
            }
            // The sender lives as long as this state.
            if ending.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The newest checkpoint, a signed note, with the tiles under it.
    pub(super) fn newest(&self) -> Option<(String, LogTiles)> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }

    /// Whether this is one of the checkpoints signed last: a station at work brings no other.
    pub(super) fn is_recent(&self, note: &[u8]) -> bool {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        recent.contains(&sha256(note))
    }

    /// Size of the newest checkpoint, and when it was signed.
    pub(super) fn published(&self) -> (u64, Timestamp) {
        *self
            .published
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, size: u64, note: String, tiles: LogTiles) {
        let published = (size, self.clock.now());
        *self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner) = published;
        {
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            recent.truncate(RECENT - 1);
            recent.push_front(sha256(note.as_bytes()));
        }
        let newest = Some((note, tiles));
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = newest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Clock;
    use identity::fault::Fault;

    impl State {
        /// A state whose clock shows the same noon for ever.
        pub(in super::super) fn at_noon() -> Self {
            Self::new(Arc::new(Noon))
        }
    }

    #[derive(Debug)]
    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp(43_200_000)
        }
    }

    #[test]
    fn the_stop_that_is_harder_to_end_stays() {
        let state = State::at_noon();
        let full = Refusal::from(Fault::StoreUnavailable);
        let ahead = Refusal::from(Fault::LogAhead);
        state.stop(&full, Ends::ByItself);
        state.stop(&ahead, Ends::ByRepair);
        state.stop(&full, Ends::ByItself);
        let standing = state.stopped().unwrap();
        assert_eq!(
            (standing.refusal, standing.since),
            (ahead, Timestamp(43_200_000))
        );
        state.resume(Ends::ByItself);
        assert!(state.stopped().is_some());
        state.resume(Ends::ByRepair);
        assert_eq!(state.stopped(), None);
    }
}
