//! The corridor's work, one step at a time.
//!
//! A running server gives these steps to threads ([`Steps::spawn`]). A test that must decide what happens when
//! takes them itself, in any order that the threads could have taken them in, and nothing in between is another's.

use super::queue::Taker;
use super::releases::Releaser;
use super::threads::{Finisher, Work, Writer};
use super::{Corridor, StartError, State};
use crate::issuance::admit::{Admission, Job, Judged};
use crate::issuance::{Answer, Refusal};
use crate::ledger::Partials;
use crate::store::Store;
use identity::Id;
use identity::envelope::{ConfirmRequest, Envelope, VoidRequest, request_hash};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// What a station asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Provision or adopt the units of an envelope.
    Provision,
    /// Confirm a unit.
    Confirm,
    /// Void a unit.
    Void,
}

/// Where the answer to one unit of a request arrives.
pub type Pending = oneshot::Receiver<Answer>;

/// Writer, finisher and releaser, and what lies between them.
#[derive(Debug)]
pub struct Steps {
    writer: Writer,
    finisher: Finisher,
    releaser: Releaser,
    batches: Receiver<Work>,
}

impl Steps {
    /// With room for `ahead` batches between writer and finisher.
    pub(super) fn new(
        (finisher, releaser): (Finisher, Releaser),
        store: Arc<Store>,
        state: Arc<State>,
        (admission, jobs): (Admission, Taker),
        ahead: usize,
    ) -> Self {
        let (sender, batches) = sync_channel(ahead);
        let writer = Writer {
            store,
            state,
            admission,
            jobs,
            batches: sender,
        };
        Self {
            writer,
            finisher,
            releaser,
            batches,
        }
    }

    /// Begins all threads; they end when the queue is closed and what it held is finished.
    pub(super) fn spawn(self) -> Result<Vec<JoinHandle<()>>, StartError> {
        let Self {
            writer,
            mut finisher,
            releaser,
            batches,
        } = self;
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(StartError::Thread)
        };
        let mut threads = writer.state.verifiers.spawn()?;
        finisher.releases.answer_few();
        threads.push(spawn("releaser", Box::new(move || releaser.run()))?);
        let finish = spawn("finisher", Box::new(move || finisher.run(&batches)))?;
        let write = spawn("writer", Box::new(move || writer.run()))?;
        threads.extend([write, finish]);
        Ok(threads)
    }

    /// Door 1 for whoever came first. False if nobody waits for it.
    pub fn admit(&self) -> bool {
        self.writer.state.verifiers.work_once()
    }

    /// Door 2 for what is queued. False if nothing was.
    pub fn reserve(&self) -> bool {
        let jobs = self.writer.jobs.take();
        let is_any = !jobs.is_empty();
        self.writer.round(jobs);
        is_any
    }

    /// Doors 3 to 6 for the batch that was reserved first, and whatever is still to be answered before. False if there is
    /// no such batch.
    pub fn finish(&mut self) -> bool {
        let is_any = self.record();
        while self.release() {}
        is_any
    }

    /// Doors 3 to 5 for the batch that was reserved first. False if there is none. Partial files are left to the next
    /// batch if somebody waits for one. Where a finisher would have to wait for the releaser, the oldest is answered first.
    pub fn record(&mut self) -> bool {
        if self.finisher.releases.is_full() {
            self.release();
        }
        let partials = if self.writer.state.meters.somebody_waits() {
            Partials::Later
        } else {
            Partials::Now
        };
        let work = self.batches.try_recv();
        work.map(|work| self.finisher.work(work, partials)).is_ok()
    }

    /// Door 6 for the batch that was recorded first. False if all are answered.
    pub fn release(&self) -> bool {
        self.releaser.release_once()
    }

    /// What the writer does when nobody asked for anything for a while.
    pub fn look_after(&self) {
        self.writer.look_after();
    }
}

impl Corridor {
    /// Door 1 and the queue: as [`Self::provision`], [`Self::confirm`] and [`Self::void`], which wait for the answers.
    ///
    /// # Errors
    /// [`Refusal`] of the whole request by one who is not known, or that is not even recorded.
    pub fn submit(
        &self,
        peer: &Id,
        call: Call,
        request: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Vec<Result<Pending, Refusal>>, Refusal> {
        let name = match call {
            Call::Provision => request_hash::<Envelope>(&request),
            Call::Confirm => request_hash::<ConfirmRequest>(&request),
            Call::Void => request_hash::<VoidRequest>(&request),
        };
        match self.admit_call(peer, call, request, signature) {
            Ok(judged) => {
                let judged = judged.into_iter();
                Ok(judged.map(|unit| self.enqueue(unit?)).collect())
            }
            Err(refusal) => match self.record(peer, &refusal, Some(name))? {
                Some(pending) => Ok(vec![Ok(pending)]),
                None => Err(refusal),
            },
        }
    }

    fn admit_call(
        &self,
        peer: &Id,
        call: Call,
        request: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Vec<Judged>, Refusal> {
        let admission = &self.shared.admission;
        match call {
            Call::Provision => self.admit_units(peer, request, signature),
            Call::Confirm => self.with_reader(|reader| {
                let job = admission.confirm(peer, &request, &signature, reader)?;
                Ok(vec![Ok(Job::Confirm(Box::new(job)))])
            }),
            Call::Void => self.with_reader(|reader| {
                let job = admission.void(peer, &request, &signature, reader)?;
                Ok(vec![Ok(Job::Void(Box::new(job)))])
            }),
        }
    }
}
