//! Door 6 for whole batches: it reads only, so while one batch is answered the finisher goes on with the next. Answers
//! leave in the order of their batches: a certificate never follows the receipt for its void.

use super::state::{Ends, State};
use super::threads::Ended;
use crate::challenge::ChallengeKey;
use crate::issuance::Refusal;
use crate::issuance::record::Recorded;
use crate::issuance::release::release;
use crate::ledger::LogTiles;
use crate::metrics::{Door, Stopwatch};
use crate::store::{Reader, Store, StoreError};
use identity::fault::Fault;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};

/// Batches that may wait for the releaser; with one more the finisher waits, too.
const AHEAD: usize = 2;
/// Fewer answers than this are given sooner than another thread is awake.
const FEW: usize = 4;

/// The finisher's end: gives batches to the releaser, or answers them itself.
#[derive(Debug)]
pub(super) struct Releases {
    desk: Desk,
    releaser: SyncSender<Given>,
    /// Batches that it was given and that are not answered yet.
    given: Arc<AtomicUsize>,
    /// So many must wait for a batch that it is given to the releaser.
    least: usize,
}

/// The other end: takes batches in their order and answers them.
#[derive(Debug)]
pub(super) struct Releaser {
    desk: Desk,
    batches: Receiver<Given>,
}

/// A batch that is given to the releaser, and counted until it is answered.
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

impl Releases {
    /// Both ends. The releaser is given all that somebody waits for.
    pub(super) fn new(
        store: &Store,
        challenge: &Arc<ChallengeKey>,
        state: &Arc<State>,
    ) -> Result<(Self, Releaser), StoreError> {
        let (sender, batches) = sync_channel(AHEAD);
        let releases = Self {
            desk: Desk::new(store, challenge, state)?,
            releaser: sender,
            given: Arc::default(),
            least: 1,
        };
        let desk = Desk::new(store, challenge, state)?;
        Ok((releases, Releaser { desk, batches }))
    }

    /// From now on [`FEW`] are answered here, if nobody is before them.
    pub(super) const fn answer_few(&mut self) {
        self.least = FEW;
    }

    /// Whether all that was given to the releaser is answered.
    fn is_answered(&self) -> bool {
        self.given.load(Ordering::Acquire) == 0
    }

    /// Whether the releaser has so much that the next batch might have to wait.
    pub(super) fn is_full(&self) -> bool {
        self.given.load(Ordering::Acquire) >= AHEAD
    }

    /// Answers everybody who waits for the batch, now or soon, and not before those of earlier batches.
    pub(super) fn release(&self, tiles: LogTiles, batch: Recorded) {
        let batch = (tiles, batch);
        if batch.1.awaiting() < self.least && self.is_answered() {
            return self.desk.answer(batch);
        }
        let counted = Counted::begin(&self.given);
        if let Err(SendError(given)) = self.releaser.send(Given { batch, counted }) {
            // The releaser is gone, and those that it had were dropped with it.
            self.desk.answer(given.batch);
        }
    }
}

impl Releaser {
    /// Until the finisher is gone.
    pub(super) fn run(&self) {
        let state = Arc::clone(&self.desk.state);
        let _ended = Ended("releaser", &state);
        for given in &self.batches {
            let _turn = state.pulses.releaser.begin();
            self.desk.take(given);
        }
    }

    /// Answers the batch that was given first, on the caller's thread. False if none was.
    pub(super) fn release_once(&self) -> bool {
        let given = self.batches.try_recv();
        given.map(|given| self.desk.take(given)).is_ok()
    }
}

/// What one needs to answer.
#[derive(Debug)]
struct Desk {
    reader: Reader,
    challenge: Arc<ChallengeKey>,
    state: Arc<State>,
}

impl Desk {
    fn new(
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

    fn take(&self, Given { batch, counted }: Given) {
        self.answer(batch);
        drop(counted);
    }

    fn answer(&self, (tiles, batch): (LogTiles, Recorded)) {
        let since = Stopwatch::start();
        release(&self.reader, &tiles, &self.challenge, batch);
        if let Some(damage) = self.reader.damage() {
            let refusal = Refusal::new(Fault::StoreUnavailable, damage);
            self.state.stop(&refusal, Ends::ByRepair);
        }
        self.state.meters.pass(Door::Release, since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::Answer;
    use crate::issuance::reserve::{Due, Waiting};
    use crate::ledger::LogFiles;
    use std::path::Path;
    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::TryRecvError;
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

    fn ends(home: &Path) -> (Releases, Releaser, Arc<State>) {
        let store = Store::open(&home.join("ca.sqlite"), pages::LONG_LOG).unwrap();
        let challenge = Arc::new(ChallengeKey::new(Zeroizing::new([7; 32])));
        let state = Arc::new(State::at_noon());
        let (releases, releaser) = Releases::new(&store, &challenge, &state).unwrap();
        (releases, releaser, state)
    }

    fn tiles(home: &Path) -> LogTiles {
        LogTiles::new(LogFiles::open(home).unwrap(), Vec::new())
    }

    #[test]
    fn answers_leave_in_the_order_of_their_batches() {
        let home = tempfile::tempdir().unwrap();
        let (mut releases, releaser, _) = ends(home.path());
        releases.answer_few();
        let thread = std::thread::spawn(move || releaser.run());
        for _ in 0..8 {
            let (many, mut answers) = batch(4000);
            let (one, answer) = batch(1);
            for recorded in [many, one] {
                releases.release(tiles(home.path()), recorded);
            }
            for one in answer {
                drop(one.blocking_recv().unwrap());
            }
            assert!(answers.iter_mut().all(|answer| answer.try_recv().is_ok()));
        }
        drop(releases);
        thread.join().unwrap();
    }

    #[test]
    fn without_a_releaser_everybody_is_answered_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        let (releases, releaser, _) = ends(home.path());
        let (left, mut unanswered) = batch(5);
        releases.release(tiles(home.path()), left);
        assert!(!releases.is_answered());
        drop(releaser);
        assert!(releases.is_answered());
        // Whoever it had is told that the outcome is not known.
        assert!(
            unanswered
                .iter_mut()
                .all(|it| it.try_recv() == Err(TryRecvError::Closed))
        );
        let (next, mut answers) = batch(5);
        releases.release(tiles(home.path()), next);
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_ok()));
    }

    #[test]
    fn damage_met_on_the_way_out_stops_issuing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.sqlite");
        let store = Store::open(&path, pages::LONG_LOG).unwrap();
        store.settle().unwrap();
        drop(store);
        let connection = pages::open(&path).unwrap();
        let root = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = 'binding'";
        let page: u32 = connection.query_row(root, [], |row| row.get(0)).unwrap();
        drop(connection);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[usize::try_from(page).unwrap() * 4096 + 2000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (releases, releaser, state) = ends(home.path());
        releases.release(tiles(home.path()), batch(1).0);
        assert!(releaser.release_once());
        assert_eq!(state.stopped(), None);
        releaser.desk.reader.binding(0).unwrap_err();
        releases.release(tiles(home.path()), batch(1).0);
        assert!(releaser.release_once());
        assert_eq!(state.stopped().unwrap().ends, Ends::ByRepair);
    }
}
