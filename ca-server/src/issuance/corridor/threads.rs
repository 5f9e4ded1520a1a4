//! The corridor's two threads.

use super::{AHEAD, MOST_IN_BATCH, StartError, State};
use crate::challenge::ChallengeKey;
use crate::issuance::admit::{Admission, Job};
use crate::issuance::reserve::{Queued, Reserved, Waiting, reserve};
use crate::issuance::{Answer, Refusal, publish, record, release, sign};
use crate::ledger::Ledger;
use crate::store::{Reader, Store};
use identity::fault::Fault;
use signer::Signer;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Begins both; they end when the queue is closed and what it held is finished.
pub(super) fn start_threads(
    mut finisher: Finisher,
    store: Arc<Store>,
    state: Arc<State>,
    source: (Admission, Receiver<Queued>),
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let (batches, reserved) = sync_channel(AHEAD);
    let (admission, jobs) = source;
    let writer = Writer {
        store,
        state,
        admission,
        batches,
    };
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(StartError::Thread)
    };
    let finish = spawn(
        "finisher",
        Box::new(move || reserved.iter().for_each(|batch| finisher.finish(batch))),
    )?;
    let write = spawn("writer", Box::new(move || writer.run(&jobs)))?;
    Ok(vec![write, finish])
}

struct Writer {
    store: Arc<Store>,
    state: Arc<State>,
    admission: Admission,
    batches: SyncSender<Reserved>,
}

impl Writer {
    fn run(&self, jobs: &Receiver<Queued>) {
        while let Ok(first) = jobs.recv() {
            let more = jobs.try_iter().take(MOST_IN_BATCH - 1);
            for batch in apart(std::iter::once(first).chain(more)) {
                self.reserve(batch);
            }
        }
    }

    fn reserve(&self, batch: Vec<Queued>) {
        if let Some(stopped) = self.state.stopped() {
            return refuse_all(batch.into_iter().map(|queued| queued.reply), &stopped);
        }
        let directory = &self.admission.directory;
        match reserve(&self.store, directory, batch, self.admission.clock.now()) {
            Ok((reserved, documents)) => {
                for (kind, packed) in documents {
                    self.put_in_force(kind, &packed);
                }
                if self.batches.send(reserved).is_err() {
                    self.state
                        .stop(&Refusal::new(Fault::Internal, "the finisher is gone"));
                }
            }
            Err((error, batch)) => {
                let refusal = Refusal::new(Fault::StoreUnavailable, error);
                self.state.stop(&refusal);
                refuse_all(batch.into_iter().map(|queued| queued.reply), &refusal);
            }
        }
    }

    /// From its commit on a document counts, whether or not whoever brought it still listens.
    fn put_in_force(&self, kind: &str, packed: &[u8]) {
        if let Err(error) = self.admission.directory.add(kind, packed) {
            self.state.stop(&Refusal::new(Fault::Internal, error));
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

fn refuse_all(replies: impl Iterator<Item = oneshot::Sender<Answer>>, refusal: &Refusal) {
    for reply in replies {
        if reply.send(Err(refusal.clone())).is_err() {
            tracing::debug!("whoever asked is gone");
        }
    }
}

/// Doors 3 to 6.
#[derive(Debug)]
pub(super) struct Finisher {
    pub(super) ledger: Ledger,
    pub(super) signer: Signer,
    pub(super) store: Arc<Store>,
    pub(super) reader: Reader,
    pub(super) challenge: Arc<ChallengeKey>,
    pub(super) state: Arc<State>,
}

impl Finisher {
    fn finish(&mut self, batch: Reserved) {
        if let Err((refusal, waiting)) = self.pass(batch) {
            self.state.stop(&refusal);
            refuse_all(waiting.into_iter().map(|waiting| waiting.reply), &refusal);
        }
    }

    /// The same doors for a new batch and for what an earlier process left.
    fn pass(&mut self, batch: Reserved) -> Result<(), (Refusal, Vec<Waiting>)> {
        let refuse = |fault: Fault, error: &dyn std::fmt::Display, waiting| {
            (Refusal::new(fault, error), waiting)
        };
        let published = publish::publish(&mut self.ledger, batch)
            .map_err(|(error, waiting)| refuse(Fault::StoreUnavailable, &error, waiting))?;
        if let Some(note) = self.ledger.note() {
            self.state.publish(note.to_string());
        }
        let signed = sign::sign(&mut self.signer, &self.reader, published)
            .map_err(|(error, waiting)| refuse(error.fault(), &error, waiting))?;
        let recorded = record::record(&self.store, signed)
            .map_err(|(error, waiting)| refuse(Fault::StoreUnavailable, &error, waiting))?;
        release::release(&self.reader, self.ledger.files(), &self.challenge, recorded);
        Ok(())
    }

    /// Lets the signer catch up and finishes open reservations with the same TBS.
    pub(super) fn recover(&mut self) -> Result<(), StartError> {
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
        sign::catch_up(&mut self.signer, &self.reader, &self.ledger)
            .map_err(|error| StartError::Unfinished(error.to_string()))?;
        let open = self.reader.open_bindings()?;
        if !open.is_empty() {
            tracing::info!(
                open = open.len(),
                "finishing reservations that an earlier process left open"
            );
        }
        let batch = Reserved::recovered((head.size, head.root), open);
        self.pass(batch)
            .map_err(|(refusal, _)| StartError::Unfinished(refusal.to_string()))
    }
}
