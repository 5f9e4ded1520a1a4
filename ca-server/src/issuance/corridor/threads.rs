//! The writer and the finisher.

use super::queue::{Held, Next, Taker};
use super::releases::Releases;
use super::{Ends, StartError, State};
use crate::issuance::admit::{Admission, Job};
use crate::issuance::reserve::{Queued, ReserveError, Reserved, Waiting, reserve};
use crate::issuance::sign::SignError;
use crate::issuance::{Answer, Refusal, publish, record, sign};
use crate::ledger::{Ledger, LedgerError, Partials};
use crate::metrics::{Door, Stopwatch};
use crate::store::{Reader, Store, StoreError};
use identity::fault::Fault;
use signer::{Code, Signer};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the writer waits for work before it looks after what is open: windows of refusals, a disk that was full.
const IDLE: Duration = Duration::from_secs(2);
/// Hint to whoever asks while the disk is full.
const FULL_RETRY_MS: u64 = 5000;

/// What the finisher gets from the writer.
#[derive(Debug)]
pub(super) enum Work {
    /// A batch that is committed.
    Batch(Reserved, Held),
    /// Whatever is open, because what stopped us may have passed.
    Open(Held),
}

/// Door 2.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    pub(super) state: Arc<State>,
    pub(super) admission: Admission,
    pub(super) jobs: Taker,
    pub(super) batches: SyncSender<Work>,
}

impl Writer {
    /// Until the queue is closed and empty.
    pub(super) fn run(&self) {
        let _ended = Ended("writer", &self.state);
        loop {
            match self.jobs.next(IDLE) {
                Next::Jobs(jobs) => self.round(jobs),
                Next::Nobody => {
                    let _turn = self.state.pulses.writer.begin();
                    self.look_after();
                }
                Next::End => return,
            }
        }
    }

    /// Reserves jobs that were taken from the queue.
    pub(super) fn round(&self, jobs: Vec<Queued>) {
        let _turn = self.state.pulses.writer.begin();
        for batch in apart(jobs.into_iter()) {
            self.state.meters.take(batch.len());
            self.reserve(batch);
        }
    }

    fn reserve(&self, batch: Vec<Queued>) {
        if let Some(stop) = self.state.stopped() {
            return refuse_all(batch.into_iter().map(|queued| queued.reply), &stop.refusal);
        }
        let (directory, now) = (&self.admission.directory, self.admission.clock.now());
        let (entropy, since) = (self.admission.entropy.as_ref(), Stopwatch::start());
        let reserved = reserve(&self.store, (directory, entropy), batch, now);
        self.state.meters.pass(Door::Reserve, since);
        match reserved {
            Ok((reserved, documents)) => {
                for (kind, packed) in documents {
                    self.put_in_force(kind, &packed);
                }
                if !reserved.is_empty() {
                    let held = self.jobs.queue().hold(reserved.awaiting());
                    self.pass_on(Work::Batch(reserved, held));
                }
            }
            Err((error, batch)) => {
                let (refusal, ends) = match error {
                    ReserveError::Clock(refusal) => (refusal, Ends::ByOperator),
                    ReserveError::Store(error) => store_failed(&error),
                };
                self.state.stop(&refusal, ends);
                refuse_all(batch.into_iter().map(|queued| queued.reply), &refusal);
            }
        }
    }

    /// From its commit on a document counts, whether or not whoever brought it still listens.
    fn put_in_force(&self, kind: &str, packed: &[u8]) {
        if let Err(error) = self.admission.directory.add(kind, packed) {
            let refusal = Refusal::new(Fault::Internal, error);
            self.state.stop(&refusal, Ends::ByRepair);
        }
    }

    fn pass_on(&self, work: Work) {
        if self.batches.send(work).is_err() {
            let gone = Refusal::new(Fault::Internal, "the finisher is gone");
            self.state.stop(&gone, Ends::ByRestart);
        }
    }

    fn open(&self) {
        self.pass_on(Work::Open(self.jobs.queue().hold_alone()));
    }

    /// Nobody asks for anything: windows of refusals that are over get their leaf, and after a full disk it is tried
    /// whether there is room again.
    pub(super) fn look_after(&self) {
        match self.state.stopped() {
            None if self.state.is_behind() => self.open(),
            None if self.windows_are_open() => self.reserve(Vec::new()),
            Some(stop) if stop.ends == Ends::ByItself => {
                match self.store.write(|transaction| transaction.touch()) {
                    Ok(()) => self.open(),
                    Err(error) if error.passes() => tracing::debug!(%error, "still no room"),
                    Err(error) => {
                        let (refusal, ends) = store_failed(&error);
                        self.state.stop(&refusal, ends);
                    }
                }
            }
            None | Some(_) => {}
        }
    }

    /// Whether a window of refusals may be over. With a clock in doubt nothing is written that nobody asked for.
    fn windows_are_open(&self) -> bool {
        let now = self.admission.clock.now();
        let open = self
            .store
            .write(|transaction| transaction.has_closed_windows(now));
        open.unwrap_or_else(|error| {
            tracing::warn!(%error, "windows of refusals cannot be looked for");
            false
        })
    }
}

/// Says that only a restart helps, if the thread that holds it ends badly.
pub(super) struct Ended<'a>(pub(super) &'static str, pub(super) &'a State);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let gone = format_args!("the {} is gone", self.0);
            let gone = Refusal::new(Fault::Internal, gone);
            self.1.stop(&gone, Ends::ByRestart);
        }
    }
}

/// What a failure of the store does to issuing.
fn store_failed(error: &StoreError) -> (Refusal, Ends) {
    if error.passes() {
        let refusal = Refusal::passing(Fault::StoreUnavailable, error, FULL_RETRY_MS);
        return (refusal, Ends::ByItself);
    }
    let refusal = Refusal::new(Fault::StoreUnavailable, error);
    let ends = if matches!(error, StoreError::CommitUnknown(_)) {
        Ends::ByRestart
    } else {
        Ends::ByRepair
    };
    (refusal, ends)
}

/// What a failure to publish does to issuing. A file that could not be written is written again from the rows.
fn ledger_failed(error: &LedgerError) -> (Refusal, Ends) {
    match error {
        LedgerError::File { .. } => (
            Refusal::passing(Fault::StoreUnavailable, error, FULL_RETRY_MS),
            Ends::ByItself,
        ),
        LedgerError::Key(_) => (
            Refusal::passing(Fault::HsmUnavailable, error, FULL_RETRY_MS),
            Ends::ByItself,
        ),
        LedgerError::Store(error) => store_failed(error),
        LedgerError::Differs(_)
        | LedgerError::Ahead { .. }
        | LedgerError::HeadFileMissing(_)
        | LedgerError::Root
        | LedgerError::Checkpoint(_) => {
            (Refusal::new(Fault::StoreUnavailable, error), Ends::ByRepair)
        }
    }
}

/// Jobs as they come, but each document in a batch of its own: it changes who may do what, and what follows must be
/// judged by it.
fn apart(jobs: impl Iterator<Item = Queued>) -> Vec<Vec<Queued>> {
    let (mut batches, mut alone) = (Vec::<Vec<Queued>>::new(), true);
    for queued in jobs {
        let is_document = matches!(queued.job, Job::Enter(_));
        match batches.last_mut().filter(|_| !alone && !is_document) {
            Some(batch) => batch.push(queued),
            None => batches.push(vec![queued]),
        }
        alone = is_document;
    }
    batches
}

/// What a signer that stopped does to issuing.
fn signer_failed(error: &SignError) -> (Refusal, Ends) {
    let stopped_by = |code: Code| matches!(error, SignError::Stopped { code: said, .. } if said == code.as_str());
    if let SignError::Store(error) = error {
        return store_failed(error);
    }
    if stopped_by(Code::StoreFailed) {
        let refusal = Refusal::passing(Fault::StoreUnavailable, error, FULL_RETRY_MS);
        return (refusal, Ends::ByItself);
    }
    if stopped_by(Code::OutcomeUnknown) {
        return (
            Refusal::new(Fault::StoreUnavailable, error),
            Ends::ByRestart,
        );
    }
    (Refusal::new(error.fault(), error), Ends::ByRepair)
}

fn refuse_all(replies: impl Iterator<Item = oneshot::Sender<Answer>>, refusal: &Refusal) {
    for reply in replies {
        if reply.send(Err(refusal.clone())).is_err() {
            tracing::debug!("whoever asked is gone");
        }
    }
}

/// How long the log's partial files may lag behind its newest head.
#[derive(Debug)]
pub(super) struct Lag {
    within: Duration,
    since: Option<Stopwatch>,
}

impl Lag {
    pub(super) const fn within(within: Duration) -> Self {
        Self {
            within,
            since: None,
        }
    }

    /// They lag from now on, if they did not before.
    fn begin(&mut self) {
        self.since.get_or_insert_with(Stopwatch::start);
    }

    fn end(&mut self) {
        self.since = None;
    }

    /// Time left until they are written; none if they do not lag.
    fn left(&self) -> Option<Duration> {
        self.since
            .map(|since| self.within.saturating_sub(since.elapsed()))
    }

    /// What is said to the batch that comes now.
    fn partials(&self) -> Partials {
        let elapsed = self.since.map_or(Duration::ZERO, Stopwatch::elapsed);
        if elapsed < self.within {
            Partials::Later
        } else {
            Partials::Now
        }
    }
}

/// Doors 3 to 5, and who answers at door 6.
#[derive(Debug)]
pub(super) struct Finisher {
    pub(super) ledger: Ledger,
    pub(super) signer: Signer,
    pub(super) store: Arc<Store>,
    pub(super) reader: Reader,
    pub(super) releases: Releases,
    pub(super) state: Arc<State>,
    pub(super) lag: Lag,
    /// The batch that is not recorded yet.
    pub(super) held: Option<Held>,
}

/// Why a batch did not pass, what ends that, and who still waits.
type Failed = (Refusal, Ends, Vec<Waiting>);

impl Finisher {
    /// Until the writer is gone.
    pub(super) fn run(&mut self, batches: &Receiver<Work>) {
        let state = Arc::clone(&self.state);
        let _ended = Ended("finisher", &state);
        loop {
            match self.lag.left() {
                None => match batches.recv() {
                    Ok(work) => self.work(work, self.lag.partials()),
                    Err(_gone) => break,
                },
                Some(left) => match batches.recv_timeout(left) {
                    Ok(work) => self.work(work, self.lag.partials()),
                    Err(RecvTimeoutError::Timeout) => self.write_partials(),
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            }
        }
        if let Err(error) = self.ledger.write_partials() {
            tracing::warn!(%error, "files of the log are left for the next start to write");
        }
    }

    fn write_partials(&mut self) {
        let state = Arc::clone(&self.state);
        let _turn = state.pulses.finisher.begin();
        self.lag.end();
        if let Err(error) = self.ledger.write_partials() {
            state.fall_behind();
            let (refusal, ends) = ledger_failed(&error);
            state.stop(&refusal, ends);
        }
    }

    pub(super) fn work(&mut self, work: Work, partials: Partials) {
        let state = Arc::clone(&self.state);
        let _turn = state.pulses.finisher.begin();
        let (batch, held) = match work {
            Work::Batch(batch, held) => (Some(batch), held),
            Work::Open(held) => (None, held),
        };
        self.held = Some(held);
        let outcome = match (state.stopped_for_good(), batch) {
            // What became durable is unknown, or whether anything may be signed at all: the next process finds it out,
            // finishes what is open and answers from that.
            (Some(stop), batch) => {
                let waiting = batch.map_or_else(Vec::new, |batch| batch.into_parts().waiting);
                Err(with((stop.refusal, stop.ends), waiting))
            }
            // A batch that an earlier recovery finished with what was open is only answered, from the rows.
            (None, Some(batch)) if !state.is_behind() && batch.size() >= self.ledger.size() => {
                self.pass(batch, partials)
            }
            (None, Some(batch)) => self.recover(batch.into_parts().waiting),
            (None, None) => self
                .recover(Vec::new())
                .inspect(|()| self.state.resume(Ends::ByItself)),
        };
        match outcome {
            Ok(()) => state.catch_up(),
            Err((refusal, ends, waiting)) => {
                state.fall_behind();
                state.stop(&refusal, ends);
                refuse_all(waiting.into_iter().map(|waiting| waiting.reply), &refusal);
                self.show_what_is_answered();
            }
        }
        self.held = None;
    }

    /// Whoever was answered before a failure finds the files as if nothing had followed.
    fn show_what_is_answered(&mut self) {
        self.lag.end();
        if let Err(error) = self.ledger.write_partials() {
            tracing::warn!(%error, "files of the log lag behind until issuing goes on");
        }
    }

    /// The same doors for a new batch and for what was left open.
    fn pass(&mut self, batch: Reserved, partials: Partials) -> Result<(), Failed> {
        let meters = Arc::clone(&self.state.meters);
        let since = Stopwatch::start();
        let published = publish::publish(&mut self.ledger, batch, partials)
            .map_err(|(error, waiting)| with(ledger_failed(&error), waiting))?;
        match self.ledger.lags() {
            true => self.lag.begin(),
            false => self.lag.end(),
        }
        if let Some(note) = self.ledger.note() {
            let (size, tiles) = (self.ledger.size(), self.ledger.tiles());
            self.state.publish(size, note.to_string(), tiles);
        }
        meters.pass(Door::Publish, since);
        let since = Stopwatch::start();
        if let Err(error) = sign::catch_up(&mut self.signer, &self.reader, &self.ledger, &published)
        {
            return Err(with(signer_failed(&error), published.into_parts().waiting));
        }
        let signed = sign::sign(&mut self.signer, &self.reader, published)
            .map_err(|(error, waiting)| with(signer_failed(&error), waiting))?;
        meters.pass(Door::Sign, since);
        let since = Stopwatch::start();
        let recorded = record::record(&self.store, signed)
            .map_err(|(error, waiting)| with(store_failed(&error), waiting))?;
        meters.pass(Door::Record, since);
        // What is left reads only.
        self.held = None;
        self.releases.release(self.ledger.tiles(), recorded);
        Ok(())
    }

    /// At start: lets the signer catch up and finishes what an earlier process left open.
    pub(super) fn catch_up(&mut self) -> Result<(), StartError> {
        let head = self.reader.head()?;
        if self.signer.size() > head.size {
            return Err(StartError::SignerAhead {
                signer: self.signer.size(),
                store: head.size,
            });
        }
        if head.size == 0 {
            return Ok(());
        }
        self.recover(Vec::new())
            .map_err(|(refusal, ..)| StartError::Unfinished(refusal.to_string()))
    }

    /// Finishes open reservations with the same TBS, then answers who waits.
    fn recover(&mut self, waiting: Vec<Waiting>) -> Result<(), Failed> {
        match self.open() {
            Ok(open) => self.pass(open.awaited(waiting), Partials::Now),
            Err(error) => Err(with(store_failed(&error), waiting)),
        }
    }

    /// All that is committed and did not pass these doors, as of one moment: the writer may be at work.
    fn open(&self) -> Result<Reserved, StoreError> {
        let _together = self.reader.snapshot()?;
        let (head, published) = (self.reader.head()?, self.ledger.size());
        let documents = self.reader.documents()?;
        let entries = sign::entries_from(&self.reader, &documents, published, head.size)?;
        let open = self.reader.open_bindings()?;
        if !open.is_empty() {
            tracing::info!(open = open.len(), "finishing reservations that are open");
        }
        Ok(Reserved::recovered(
            published,
            entries,
            (head.size, head.root),
            open,
        ))
    }
}

fn with((refusal, ends): (Refusal, Ends), waiting: Vec<Waiting>) -> Failed {
    (refusal, ends, waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_ends_badly_is_told_of() {
        let state = State::at_noon();
        drop(Ended("writer", &state));
        assert_eq!(state.stopped(), None);
        let ended = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let _ended = Ended("writer", &state);
                panic!("ended badly")
            });
            writer.join().map(drop)
        });
        ended.unwrap_err();
        assert_eq!(state.stopped().unwrap().ends, Ends::ByRestart);
    }

    #[test]
    fn what_stops_the_signer_is_told_under_its_own_fault() {
        for (code, fault) in [
            (Code::Fork, Fault::LogAhead),
            (Code::Behind, Fault::LogAhead),
            (Code::StoreDamaged, Fault::StoreUnavailable),
            (Code::Unapproved, Fault::Stopped),
            (Code::Rule, Fault::Stopped),
        ] {
            let (code, text) = (code.as_str().to_owned(), String::new());
            let (refusal, ends) = signer_failed(&SignError::Stopped { code, text });
            assert_eq!((refusal.fault, ends), (fault, Ends::ByRepair));
            // Nobody is asked to send again what a forked log refuses.
            let is_fork = fault == Fault::LogAhead;
            assert!(!is_fork || refusal.retry_after_ms.is_none(), "{fault}");
        }
    }
}
