//! Door 6 for whole batches: it reads only, so while one batch is answered the finisher goes on with the next.

use super::StartError;
use super::state::State;
use crate::challenge::ChallengeKey;
use crate::issuance::record::Recorded;
use crate::issuance::release::release;
use crate::ledger::LogTiles;
use crate::metrics::{Door, Stopwatch};
use crate::store::{Reader, Store, StoreError};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Fewer answers than this are given sooner than another thread is awake.
const FEW: usize = 4;

/// Who gives the answers: the thread that has them to give, or one beside it.
#[derive(Debug)]
pub(super) struct Releases {
    desk: Desk,
    beside: Option<SyncSender<(LogTiles, Recorded)>>,
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
    pub(super) const fn at(desk: Desk) -> Self {
        Self { desk, beside: None }
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

    /// Answers everybody who waits for the batch, now or soon.
    pub(super) fn release(&self, tiles: LogTiles, batch: Recorded) {
        let given = match &self.beside {
            Some(beside) if batch.awaiting() >= FEW => beside.try_send((tiles, batch)),
            _ => Err(TrySendError::Full((tiles, batch))),
        };
        // The other is busy, or gone.
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) = given {
            self.desk.answer(batch);
        }
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

    fn run(&self, batches: &Receiver<(LogTiles, Recorded)>) {
        for batch in batches {
            let _turn = self.state.pulses.releaser.begin();
            self.answer(batch);
        }
    }

    fn answer(&self, (tiles, batch): (LogTiles, Recorded)) {
        let since = Stopwatch::start();
        release(&self.reader, &tiles, &self.challenge, batch);
        self.state.meters.pass(Door::Release, since);
    }
}
