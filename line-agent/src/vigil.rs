//! The watch over a run: what a service manager is told, and what is read for metrics. Beats go out only while the
//! journal and the HSM answer; whoever asks them does so on a thread of its own, so that one that hangs is named.

use crate::config::Config;
use crate::metrics::Meters;
use crate::station::floor::{Floor, Queue, lock};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use vitals::manager::{self, Teller};
use vitals::{Look, Pulse};

/// How often journal, HSM and disks are asked.
const ASK: Duration = Duration::from_secs(1);

/// Rings when the run is over.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    told: Condvar,
}

impl Bell {
    /// The run is over.
    pub(crate) fn ring(&self) {
        *lock(&self.rung) = true;
        self.told.notify_all();
    }

    /// Waits so long; true if it rang.
    pub(crate) fn within(&self, wait: Duration) -> bool {
        let waited = self
            .told
            .wait_timeout_while(lock(&self.rung), wait, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Who watches a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vigil<'a> {
    pub(crate) config: &'a Config,
    pub(crate) floor: Floor<'a>,
    pub(crate) queue: &'a Queue,
    pub(crate) meters: &'a Meters,
    pub(crate) pulses: &'a Pulses,
}

/// What may hang.
#[derive(Debug, Default)]
pub(crate) struct Pulses {
    journal: Pulse,
    hsm: Pulse,
}

impl Vigil<'_> {
    /// Whether anybody wants to know.
    pub(crate) fn is_wanted(self) -> bool {
        self.config.metrics.listen.is_some() || manager::asks()
    }

    /// Asks journal, HSM and disks how they are, until the run is over.
    pub(crate) fn ask(self, over: &Bell) {
        loop {
            {
                let _turn = self.pulses.journal.begin();
                self.meters.sample(&self.floor, self.queue);
                self.meters.sample_disks(self.config);
            }
            {
                let _turn = self.pulses.hsm.begin();
                // One that answers with an error goes on; its sockets say what is wrong.
                if let Err(error) = self.floor.hsm.health() {
                    tracing::debug!(%error, "the HSM is not well");
                }
            }
            if over.within(ASK) {
                return;
            }
        }
    }

    /// Tells the service manager how the run is, until it is over.
    pub(crate) fn tell(self, over: &Bell) {
        let (mut teller, mut look) = (Teller::default(), Look::default());
        while !over.within(teller.every()) {
            let stuck = look.stuck([("journal", &self.pulses.journal), ("HSM", &self.pulses.hsm)]);
            teller.found(match stuck {
                Some(what) => Err(format!("the {what} does not answer")),
                None => Ok(self.describe()),
            });
        }
    }

    /// One line for `systemctl status`.
    fn describe(self) -> String {
        let (lot, left) = (self.queue.lot(), self.queue.remaining());
        let waiting = self.floor.spool.waiting();
        let away = match self.floor.ca.answers() {
            Some(false) => "; the CA does not answer",
            Some(true) | None => "",
        };
        format!("lot {lot}: {left} not begun, {waiting} wait for the CA{away}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_rings_for_everybody_and_for_good() {
        let bell = Bell::default();
        assert!(!bell.within(Duration::ZERO));
        std::thread::scope(|scope| {
            let waiting = [(); 2].map(|()| scope.spawn(|| bell.within(Duration::from_secs(60))));
            bell.ring();
            assert!(waiting.into_iter().all(|it| it.join().unwrap()));
        });
        assert!(bell.within(Duration::ZERO));
    }
}
