//! Door 6 for whole batches: it reads only, so while one batch is answered the finisher goes on with the next. Answers
//! leave in the order of their batches: a certificate never follows the receipt for its void.

use super::StartError;
use super::state::State;
use super::threads::Ended;
use crate::challenge::ChallengeKey;
use crate::issuance::record::Recorded;
use crate::issuance::release::release;
use crate::ledger::LogTiles;
use crate::metrics::{Door, Stopwatch};
use crate::store::{Reader, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Fewer answers than this are given sooner than another thread is awake.
const FEW: usize = 4;

/// Who gives the answers: the thread that has them to give, or one beside it.
#[derive(Debug)]
pub(super) struct Releases {
    desk: Desk,
    beside: Option<SyncSender<Given>>,
    /// Batches that were given to it and are not answered yet.
    given: Arc<AtomicUsize>,
}

/// A batch that is given to the thread beside, and counted until it is answered.
#[derive(Debug)]
struct Given {
    batch: (LogTiles, Recorded),
    counted: Counted,
}

#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn begin(given: &Arc<AtomicUsize>) -> Self {
        given.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(given))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What one needs to answer.
#[derive(Debug)]
pub(super) struct Desk {
    reader: Reader,
    challenge: Arc<ChallengeKey>,
    state: Arc<State>,
}

impl Releases {
    /// With no thread beside.
    pub(super) fn at(desk: Desk) -> Self {
        Self {
            desk,
            beside: None,
            given: Arc::default(),
        }
    }

    /// With a thread beside, which ends with this.
    ///
    /// # Errors
    /// [`StartError`]: no thread is to be had.
    pub(super) fn spawn(&mut self, desk: Desk) -> Result<JoinHandle<()>, StartError> {
        let (sender, batches) = sync_channel(1);
        let thread = Builder::new().name("releaser".to_owned());
        let thread = thread.spawn(move || desk.run(&batches));
        self.beside = Some(sender);
        thread.map_err(StartError::Thread)
    }

    /// Answers everybody who waits for the batch, now or soon, and not before those of earlier batches.
    pub(super) fn release(&self, tiles: LogTiles, batch: Recorded) {
        let is_first = self.given.load(Ordering::Acquire) == 0;
        let batch = match &self.beside {
            Some(beside) if batch.awaiting() >= FEW || !is_first => {
                let counted = Counted::begin(&self.given);
                let batch = (tiles, batch);
                match beside.send(Given { batch, counted }) {
                    Ok(()) => return,
                    // The other is gone, and those it had were dropped with it.
                    Err(SendError(given)) => given.batch,
                }
            }
            _ => (tiles, batch),
        };
        self.desk.answer(batch);
    }
}

impl Desk {
    pub(super) fn new(
        store: &Store,
        challenge: &Arc<ChallengeKey>,
        state: &Arc<State>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            reader: store.reader()?,
            challenge: Arc::clone(challenge),
            state: Arc::clone(state),
        })
    }

    fn run(&self, batches: &Receiver<Given>) {
        let _ended = Ended("releaser", &self.state);
        for Given { batch, counted } in batches {
            let _turn = self.state.pulses.releaser.begin();
            self.answer(batch);
            drop(counted);
        }
    }

    fn answer(&self, (tiles, batch): (LogTiles, Recorded)) {
        let since = Stopwatch::start();
        release(&self.reader, &tiles, &self.challenge, batch);
        self.state.meters.pass(Door::Release, since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::Answer;
    use crate::issuance::reserve::{Due, Waiting};
    use crate::ledger::LogFiles;
    use identity::fault::Fault;
    use tokio::sync::oneshot;
    use zeroize::Zeroizing;

    fn batch(of: usize) -> (Recorded, Vec<oneshot::Receiver<Answer>>) {
        let one = |_| {
            let (reply, answer) = oneshot::channel();
            let due = Due::Refusal(Fault::Voided.into());
            (Waiting { due, reply }, answer)
        };
        let (waiting, answers) = (0..of).map(one).unzip();
        (Recorded::of(waiting), answers)
    }

    #[test]
    fn answers_leave_in_the_order_of_their_batches() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("ca.sqlite"), pages::LONG_LOG).unwrap();
        let files = LogFiles::open(home.path()).unwrap();
        let challenge = Arc::new(ChallengeKey::new(Zeroizing::new([7; 32])));
        let state = Arc::new(State::at_noon());
        let desk = || Desk::new(&store, &challenge, &state).unwrap();
        let mut releases = Releases::at(desk());
        let thread = releases.spawn(desk()).unwrap();
        for _ in 0..8 {
            let (many, mut answers) = batch(4000);
            let (one, answer) = batch(1);
            for recorded in [many, one] {
                releases.release(LogTiles::new(files.clone(), Vec::new()), recorded);
            }
            for one in answer {
                drop(one.blocking_recv().unwrap());
            }
            assert!(answers.iter_mut().all(|answer| answer.try_recv().is_ok()));
        }
        drop(releases);
        thread.join().unwrap();
    }
}
