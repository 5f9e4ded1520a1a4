//! How a station's request goes through door 1 into the queue, and its answers come back. Whoever waits is woken once, by
//! the answer to the first unit; those to the others of an envelope mostly come with it.

use super::queue::OnTheWay;
use super::room::Room;
use super::{Corridor, Pending, internal, unknown, wait};
use crate::issuance::admit::Judged;
use crate::issuance::reserve::Queued;
use crate::issuance::{Answer, Refusal};
use identity::Id;
use identity::hash::RequestHash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A request that was handed to a verifier's thread.
struct Asked {
    corridor: Corridor,
    station: Id,
    name: RequestHash,
    held: Mutex<Held>,
}

/// What a request holds until it is answered.
struct Held {
    room: Room,
    came_to: CameTo,
}

/// What a verifier's thread made of a request.
#[derive(Default)]
enum CameTo {
    /// Nothing yet.
    #[default]
    Nothing,
    /// All of it is refused.
    Refusal,
    /// Its units are in the queue; answers to others than the first arrive here.
    Units(Vec<Pending>),
}

impl Corridor {
    /// Has a verifier's thread check a request and put the jobs that follow from it into the queue; one answer a unit, in
    /// their order, and of those that are refused without a record at once. All that goes on when the caller hangs up, and
    /// what it takes stays counted until it is done.
    ///
    /// # Errors
    /// [`Refusal`] of the whole request, recorded if the station is known.
    pub(super) async fn ask(
        &self,
        station: &Id,
        name: RequestHash,
        room: Room,
        admit: impl FnOnce(&Self, &Id) -> Result<Vec<Judged>, Refusal> + Send + 'static,
    ) -> Result<Vec<Answer>, Refusal> {
        let asked = Arc::new(Asked {
            corridor: self.clone(),
            station: *station,
            name,
            held: Mutex::new(Held {
                room,
                came_to: CameTo::Nothing,
            }),
        });
        let (reply, first) = oneshot::channel();
        let coming = self.shared.queue.begin();
        let work = {
            let asked = Arc::clone(&asked);
            move || {
                let admitted = admit(&asked.corridor, &asked.station);
                asked.enter(admitted, coming, reply);
            }
        };
        self.shared.state.verifiers.take(Box::new(work))?;
        let answers = tokio::spawn(async move { asked.answers(first).await });
        answers.await.map_err(internal)?
    }
}

impl Asked {
    /// Puts the jobs into the queue, each for itself. The first answers with `reply`, as does whatever refuses all.
    fn enter(
        &self,
        admitted: Result<Vec<Judged>, Refusal>,
        coming: OnTheWay,
        reply: oneshot::Sender<Answer>,
    ) {
        let refused = match admitted {
            Ok(jobs) => match self.make_room(jobs.len()) {
                Ok(()) => return self.queue_up(jobs, coming, reply),
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => {
                let corridor = &self.corridor;
                let record = corridor.refusing(&self.station, &refusal, Some(self.name));
                record.and_then(|job| job.ok_or(refusal))
            }
        };
        self.held().came_to = CameTo::Refusal;
        match refused {
            Ok(job) => self.arrive(vec![Queued { job, reply }], coming),
            Err(refusal) => tell(reply, refusal),
        }
    }

    fn make_room(&self, units: usize) -> Result<(), Refusal> {
        self.held().room.grow(units)?;
        // One piece was taken when it came.
        let more = units.saturating_sub(1);
        self.corridor.owe_pace(&self.station, more);
        Ok(())
    }

    fn queue_up(&self, jobs: Vec<Judged>, coming: OnTheWay, reply: oneshot::Sender<Answer>) {
        let (mut first, mut others) = (Some(reply), Vec::new());
        let (mut queued, mut refused) = (Vec::with_capacity(jobs.len()), Vec::new());
        for job in jobs {
            let reply = first.take().unwrap_or_else(|| {
                let (reply, answer) = oneshot::channel();
                others.push(answer);
                reply
            });
            match job {
                Ok(job) => queued.push(Queued { job, reply }),
                Err(refusal) => refused.push((reply, refusal)),
            }
        }
        // Before anybody can answer.
        self.held().came_to = CameTo::Units(others);
        for (reply, refusal) in refused {
            tell(reply, refusal);
        }
        self.arrive(queued, coming);
    }

    fn arrive(&self, queued: Vec<Queued>, coming: OnTheWay) {
        match self.corridor.shared.state.stopped() {
            Some(stopped) => {
                for Queued { reply, .. } in queued {
                    tell(reply, stopped.refusal.clone());
                }
            }
            None => coming.arrive(queued),
        }
    }

    /// Waits for all answers.
    async fn answers(&self, first: Pending) -> Result<Vec<Answer>, Refusal> {
        let first = first.await;
        let came_to = std::mem::take(&mut self.held().came_to);
        match (came_to, first) {
            (CameTo::Nothing, _) => Err(internal("a request could not be looked at")),
            (CameTo::Refusal, Ok(Err(refusal))) => Err(refusal),
            (CameTo::Refusal, Ok(Ok(_))) => Err(internal("an answer where a refusal is due")),
            (CameTo::Refusal, Err(_dropped)) => Err(unknown()),
            (CameTo::Units(others), first) => {
                let mut answers = vec![first.unwrap_or_else(|_dropped| Err(unknown()))];
                for other in others {
                    answers.push(wait(other).await);
                }
                Ok(answers)
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers before there is a batch.
pub(super) fn tell(reply: oneshot::Sender<Answer>, refusal: Refusal) {
    if reply.send(Err(refusal)).is_err() {
        tracing::debug!("whoever asked is gone");
    }
}
