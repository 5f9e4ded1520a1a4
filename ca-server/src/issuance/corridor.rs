//! The corridor's threads and the handle that everybody else holds.
//!
//! The *verifiers* check signatures (door 1), one a processor, and put what is admitted into the queue.
//! The *writer* takes what queued up and reserves it in one transaction (door 2). The *finisher* takes reserved batches
//! in order through doors 3 to 5; the *releaser* gives the answers of one batch (door 6) while the finisher goes on with
//! the next. What a batch costs whatever its size (four flushes, a checkpoint signed, files made)
//! is much, so the writer waits until it is time to take what is there (`queue`).

mod ask;
mod documents;
mod lots;
mod peers;
mod queue;
mod releases;
mod room;
mod state;
mod steps;
mod threads;
mod verifiers;
mod views;

pub use lots::{ClosedLot, LotAlarm, Signed};
pub use state::{Ends, Stop};
pub use steps::{Call, Pending, Steps};
pub use views::{GrantName, GrantView, LotEnd, LotView, Receipts, Status, UnitName};

use super::admit::{Admission, DebugClock, DebugEntropy, Job, Judged};
use super::confirm::VoidJob;
use super::release::Releaser;
use super::{Answer, Challenge, Issued, Outcome, Receipt, Refusal, Session, time};
use crate::challenge::ChallengeKey;
use crate::directory::{Directory, DirectoryError};
use crate::ledger::{Ledger, LedgerError, LedgerParts, LogKey, LogTiles};
use crate::metrics::{Door, Meters, Stopwatch};
use crate::pulse::Look;
use crate::rates::Rates;
use crate::shares::Shares;
use crate::store::{ClaimKey, Reader, SetAside, Store, StoreError};
use identity::approval::ApproverSet;
use identity::envelope::{ConfirmRequest, Envelope, Unit, VoidRequest, request_hash};
use identity::fault::Fault;
use identity::hash::RequestHash;
use identity::idevid::{IdevidError, Issuer};
use identity::{ChipUid, Id, RequestId, Timestamp};
use queue::Queue;
use releases::Releases;
use signer::Signer;
use state::State;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use threads::{Finisher, Lag};
use translog::checkpoint::TrustedLog;

/// Most jobs of the queue that one station may have waiting, so that it never shuts the others out.
const QUEUE_SHARE: usize = 1024;
/// Reserved batches that may wait for the finisher.
const AHEAD: usize = 1;
/// Hint to whoever finds the queue full.
const OVERLOAD_RETRY_MS: u64 = 200;

/// Where a corridor lives, and its keys.
#[derive(Debug)]
pub struct CorridorParts {
    /// The database.
    pub store: PathBuf,
    /// Directory of the log's static files.
    pub log: PathBuf,
    /// The head file.
    pub head_file: PathBuf,
    /// Origin of the log.
    pub origin: String,
    /// The log's key.
    pub log_key: LogKey,
    /// The signer.
    pub signer: Signer,
    /// The issuing CA's certificate, DER.
    pub issuing_certificate: Vec<u8>,
    /// Who may approve.
    pub approvers: ApproverSet,
    /// Time.
    pub clock: Arc<dyn DebugClock>,
    /// Randomness.
    pub entropy: Arc<dyn DebugEntropy>,
    /// Key behind the challenges.
    pub challenge: ChallengeKey,
    /// How long partial tiles and the checkpoint's file may lag behind the newest head.
    pub files_within: Duration,
    /// Frames of the store's write-ahead log from which on it is written back.
    pub long_log: u32,
}

/// Why a corridor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A stored document.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The issuing CA's certificate.
    #[error("the issuing CA's certificate: {0}")]
    Issuer(#[from] IdevidError),
    /// The signer is ahead of the log: a backup was restored.
    #[error(
        "the signer has followed {signer} leaves, the store holds {store}: a backup was restored"
    )]
    SignerAhead {
        /// Leaves the signer knows.
        signer: u64,
        /// Leaves the store holds.
        store: u64,
    },
    /// What an earlier process left could not be finished.
    #[error("open reservations could not be finished: {0}")]
    Unfinished(String),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// The handle to a running corridor.
#[derive(Clone, Debug)]
pub struct Corridor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    admission: Admission,
    approvers: ApproverSet,
    queue: Arc<Queue>,
    shares: Shares<Id>,
    inside: Shares<()>,
    rates: Rates<Id>,
    readers: Mutex<Vec<Reader>>,
    store: Arc<Store>,
    trusted: TrustedLog,
    state: Arc<State>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.state.verifiers.close();
        self.queue.close();
    }
}

impl Corridor {
    /// Opens store and ledger, lets the signer catch up, finishes what an earlier process had reserved, and starts
    /// to take jobs.
    ///
    /// # Errors
    /// [`StartError`]; nothing is issued then.
    pub fn start(parts: CorridorParts) -> Result<Self, StartError> {
        let (corridor, steps) = Self::open(parts, AHEAD)?;
        *corridor
            .shared
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = steps.spawn()?;
        Ok(corridor)
    }

    /// As [`Self::start`], with no thread: the caller takes the steps, and lets at most `ahead` batches wait between
    /// door 2 and door 3.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn open(parts: CorridorParts, ahead: usize) -> Result<(Self, Steps), StartError> {
        let store = Arc::new(Store::open(&parts.store, parts.long_log)?);
        let reader = store.reader()?;
        let ledger_parts = LedgerParts {
            directory: &parts.log,
            head_file: &parts.head_file,
            origin: &parts.origin,
            key: parts.log_key,
        };
        let ledger = Ledger::open(ledger_parts, &reader)?;
        let directory = Arc::new(directory(&parts.issuing_certificate, &reader)?);
        let challenge = Arc::new(parts.challenge);
        let admission = Admission {
            directory,
            challenge,
            clock: parts.clock,
            entropy: parts.entropy,
            checks: parts.signer.checks(),
        };
        let state = Arc::new(State::new(Arc::clone(&admission.clock)));
        let trusted = ledger.trusted().clone();
        let (releases, releaser) = Releases::new(&store, &admission.challenge, &state)?;
        let mut finisher = Finisher {
            ledger,
            signer: parts.signer,
            store: Arc::clone(&store),
            reader,
            releases,
            state: Arc::clone(&state),
            lag: Lag::within(parts.files_within),
            held: None,
        };
        finisher.catch_up()?;
        let (queue, taker) = Queue::new(&state.meters);
        let steps = Steps::new(
            (finisher, releaser),
            Arc::clone(&store),
            Arc::clone(&state),
            (admission.clone(), taker),
            ahead,
        );
        let shared = Shared {
            admission,
            approvers: parts.approvers,
            queue,
            shares: Shares::new(QUEUE_SHARE),
            inside: Shares::new(queue::QUEUE),
            rates: Rates::default(),
            readers: Mutex::default(),
            store,
            trusted,
            state,
            threads: Mutex::default(),
        };
        let corridor = Self {
            shared: Arc::new(shared),
        };
        Ok((corridor, steps))
    }

    /// Takes no more jobs, finishes those it has, and ends the threads.
    pub fn stop(&self) {
        self.shared.state.verifiers.close();
        self.shared.queue.close();
        let threads = std::mem::take(
            &mut *self
                .shared
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the corridor ended badly");
            }
        }
        if let Err(error) = self.shared.store.settle() {
            tracing::warn!(%error, "the next start has more to read");
        }
    }

    /// What the process must end for, as soon as there is such a thing: what became durable is only found by reading
    /// it anew.
    pub async fn ending(&self) -> Refusal {
        self.shared.state.ending().await
    }

    /// Believes the server's clock from now on, because an operator's watch says the same.
    ///
    /// # Errors
    /// [`Refusal`] if it says otherwise, or the store cannot be written.
    pub fn confirm_clock(&self, watch: Timestamp) -> Result<Timestamp, Refusal> {
        let now = self.shared.admission.clock.now();
        time::compare(now, watch)?;
        let believed = self
            .shared
            .store
            .write(|transaction| transaction.believe(now));
        believed.map_err(|error| Refusal::new(Fault::StoreUnavailable, error))?;
        self.shared.state.resume(Ends::ByOperator);
        Ok(now)
    }

    /// One challenge for each chip.
    ///
    /// # Errors
    /// [`Refusal`] if the station may not act, or not like this; recorded if it is known.
    pub async fn challenges(
        &self,
        station: &Id,
        session: &Session,
        uids: &[ChipUid],
    ) -> Result<Vec<Challenge>, Refusal> {
        let offered = match self.offer(station, session, uids) {
            Ok(challenges) => self
                .ask_for_room(station, session, uids.len())
                .await
                .map(|()| challenges),
            refused => refused,
        };
        match offered {
            Ok(challenges) => Ok(challenges),
            Err(refusal) => {
                self.keep_pace(station)?;
                Err(self.recorded(station, refusal, None).await)
            }
        }
    }

    /// Whether chips that have no key yet may get one, if it is for those that challenges are asked.
    async fn ask_for_room(
        &self,
        station: &Id,
        session: &Session,
        chips: usize,
    ) -> Result<(), Refusal> {
        let Some(lot) = session.lot else {
            return Ok(());
        };
        self.keep_pace(station)?;
        let grant = session
            .grant
            .ok_or_else(|| Refusal::new(Fault::GrantUnknown, "none is named"))?;
        let (this, station) = (self.clone(), *station);
        blocking(move || {
            let admission = &this.shared.admission;
            this.with_reader(|reader| admission.has_room(&station, (&grant, &lot), chips, reader))
        })
        .await?
    }

    /// The same without a record.
    ///
    /// # Errors
    /// [`Refusal`] if the station may not act, or not like this.
    pub fn offer(
        &self,
        station: &Id,
        session: &Session,
        uids: &[ChipUid],
    ) -> Result<Vec<Challenge>, Refusal> {
        let admission = &self.shared.admission;
        admission.begin(station, session)?;
        let now = admission.clock.now();
        let challenge = |uid| {
            let (bytes, expires) = admission.challenge.challenge(station, uid, now);
            Challenge { bytes, expires }
        };
        Ok(uids.iter().map(challenge).collect())
    }

    /// Provisions or adopts the units of an envelope; one answer a unit, in their order.
    ///
    /// # Errors
    /// [`Refusal`] of the whole envelope, recorded if the station is known.
    pub async fn provision(
        &self,
        peer: &Id,
        envelope: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Vec<Result<Issued, Refusal>>, Refusal> {
        let room = self.room(peer, envelope.len())?;
        let (since, name) = (Stopwatch::start(), request_hash::<Envelope>(&envelope));
        let admit = move |this: &Self, station: &Id| {
            let admitted = this.admit_units(station, envelope, signature);
            this.shared.state.meters.pass(Door::Admit, since);
            admitted
        };
        let answers = self.ask(peer, name, room, admit).await?;
        Ok(answers
            .into_iter()
            .map(|answer| answer.and_then(issued))
            .collect())
    }

    /// How fast one station may ask from now on.
    pub fn set_pace(&self, per_second: u32, burst: u32) {
        self.shared.rates.set(per_second, burst);
    }

    /// What is counted and measured.
    #[must_use]
    pub fn meters(&self) -> &Arc<Meters> {
        &self.shared.state.meters
    }

    /// Size of the newest checkpoint, and when it was signed.
    #[must_use]
    pub fn published(&self) -> (u64, Timestamp) {
        self.shared.state.published()
    }

    /// The thread that is in the same piece of work as at the last look, if there is one.
    pub(crate) fn stuck(&self, last: &mut Look) -> Option<&'static str> {
        self.shared.state.pulses.stuck(last)
    }

    /// Confirms that a certificate is in its chip.
    ///
    /// # Errors
    /// [`Refusal`], recorded if the station is known.
    pub async fn confirm(
        &self,
        peer: &Id,
        request: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Receipt, Refusal> {
        let name = request_hash::<ConfirmRequest>(&request);
        let admit = move |this: &Self, station: &Id| {
            this.with_reader(|reader| {
                this.shared
                    .admission
                    .confirm(station, &request, &signature, reader)
            })
        };
        self.move_on(peer, name, move |this, station| {
            admit(this, station).map(|job| Job::Confirm(Box::new(job)))
        })
        .await
    }

    /// Voids a bound unit for its station.
    ///
    /// # Errors
    /// [`Refusal`], recorded if the station is known.
    pub async fn void(
        &self,
        peer: &Id,
        request: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Receipt, Refusal> {
        let name = request_hash::<VoidRequest>(&request);
        let admit = move |this: &Self, station: &Id| {
            this.with_reader(|reader| {
                this.shared
                    .admission
                    .void(station, &request, &signature, reader)
            })
        };
        self.move_on(peer, name, move |this, station| {
            admit(this, station).map(|job| Job::Void(Box::new(job)))
        })
        .await
    }

    async fn move_on(
        &self,
        peer: &Id,
        name: RequestHash,
        admit: impl FnOnce(&Self, &Id) -> Result<Job, Refusal> + Send + 'static,
    ) -> Result<Receipt, Refusal> {
        let room = self.room(peer, 0)?;
        let admit = move |this: &Self, station: &Id| Ok(vec![Ok(admit(this, station)?)]);
        let mut answers = self.ask(peer, name, room, admit).await?;
        let answer = answers.pop().ok_or_else(|| internal("no answer"))?;
        receipt(answer?)
    }

    /// Voids a bound unit for an operator at the local socket.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn void_by_operator(
        &self,
        request: RequestId,
        reason: Id,
    ) -> Result<Receipt, Refusal> {
        let job: VoidJob =
            self.with_reader(|reader| Admission::void_by_operator(request, reason, reader))?;
        receipt(wait(self.enqueue(Job::Void(Box::new(job)))?).await?)
    }

    /// Has the signer asked again about a unit that it set aside, for an operator at the local socket. Gives the unit if
    /// it is set aside still.
    ///
    /// # Errors
    /// [`Fault::NotBound`] if no unit of this request is set aside, or why nothing can be signed now.
    pub async fn retry(&self, request: RequestId) -> Result<Option<SetAside>, Refusal> {
        let find = |this: &Self| {
            let units = this.with_reader(|reader| reader.set_aside().map_err(Refusal::unread))?;
            Ok(units.into_iter().find(|unit| unit.request == request))
        };
        let unit = find(self)?.ok_or_else(|| Refusal::new(Fault::NotBound, request))?;
        match wait(self.enqueue(Job::Retry(unit.bind))?).await {
            Ok(_) => Ok(None),
            Err(refusal) if refusal.fault == Fault::Alarmed => find(self),
            Err(refusal) => Err(refusal),
        }
    }

    fn admit_units(
        &self,
        peer: &Id,
        envelope: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Vec<Judged>, Refusal> {
        let admission = &self.shared.admission;
        let seen = |request: &Envelope| match &request.seen {
            Some(note) => self.check_seen(note.as_bytes()),
            None => Ok(()),
        };
        let opened = admission.open(peer, envelope, signature, seen)?;
        let known = self.known_requests(&opened.request)?;
        let now = admission.check_now(&opened);
        let is_recorded = match &now {
            Err(refusal) if !known.contains(&true) => return Err(refusal.clone()),
            Err(refusal) if known.contains(&false) => self.may_record(refusal)?,
            Ok(()) | Err(_) => true,
        };
        let units = opened.request.units.iter().enumerate().zip(known);
        let job = |((position, unit), is_known)| match (is_known, &now) {
            (true, _) => Ok(admission.known_unit(&opened, position, unit)),
            (false, Ok(())) => Ok(admission.unit(&opened, position, unit)),
            (false, Err(refusal)) if is_recorded => {
                Ok(admission.refuse_unit(&opened, refusal.clone(), unit))
            }
            (false, Err(refusal)) => Err(refusal.clone()),
        };
        Ok(units.map(job).collect())
    }

    /// Which units were asked for before. Look-up by request id comes before freshness: a retry may carry a stale
    /// challenge, be years late, and come after its grant has ended.
    fn known_requests(&self, envelope: &Envelope) -> Result<Vec<bool>, Refusal> {
        let is_known = |reader: &Reader, unit: &Unit| {
            let owner = reader.owner(&ClaimKey::request(&unit.request));
            owner.map_err(Refusal::unread).map(|owner| owner.is_some())
        };
        self.with_reader(|reader| {
            let units = envelope.units.iter();
            let together = (units.len() > 1).then(|| reader.snapshot());
            let _together = together.transpose().map_err(Refusal::unread)?;
            units.map(|unit| is_known(reader, unit)).collect()
        })
    }

    /// Records a refusal of a known station, and gives it back.
    async fn recorded(&self, peer: &Id, refusal: Refusal, request: Option<RequestHash>) -> Refusal {
        match self.record(peer, &refusal, request) {
            Ok(Some(reply)) => wait(reply).await.err().unwrap_or(refusal),
            Ok(None) => refusal,
            Err(instead) => instead,
        }
    }

    /// Has a refusal recorded that nobody waits for, unless the station's name comes faster than it may.
    pub(crate) fn note(&self, peer: &Id, refusal: &Refusal) {
        let noted = self
            .keep_pace(peer)
            .and_then(|()| self.record(peer, refusal, None));
        if let Err(instead) = noted {
            tracing::debug!(%instead, "a refusal is not recorded");
        }
    }

    /// Has a refusal recorded, if the station is known.
    fn record(
        &self,
        peer: &Id,
        refusal: &Refusal,
        request: Option<RequestHash>,
    ) -> Result<Option<Pending>, Refusal> {
        let job = self.refusing(peer, refusal, request)?;
        job.map(|job| self.enqueue(job)).transpose()
    }

    /// What records a refusal; nothing, if the station is not known or no leaf may be dated now.
    fn refusing(
        &self,
        peer: &Id,
        refusal: &Refusal,
        request: Option<RequestHash>,
    ) -> Result<Option<Job>, Refusal> {
        tracing::info!(
            station = peer.as_str(),
            code = refusal.fault.code(),
            detail = refusal.detail,
            "refused"
        );
        let is_known = self.shared.admission.directory.station(peer).is_some();
        let job = || Admission::refuse(peer, refusal.clone(), request, None);
        Ok((is_known && self.may_record(refusal)?).then(job))
    }

    /// Whether a refusal may be a leaf: not if a challenge has expired by a clock that nobody can tell to be right, because
    /// no leaf is dated by it. If a station's clock says otherwise than such a one, issuing stops.
    fn may_record(&self, refusal: &Refusal) -> Result<bool, Refusal> {
        let of_clocks = [Fault::StationClock, Fault::ChallengeStale];
        if !of_clocks.contains(&refusal.fault) {
            return Ok(true);
        }
        match self.clock_in_doubt()? {
            Some(doubt) if refusal.fault == Fault::StationClock => {
                self.shared.state.stop(&doubt, Ends::ByOperator);
                Err(doubt)
            }
            doubt => Ok(doubt.is_none()),
        }
    }

    /// Why nobody can tell whether our clock is right, if a station's says otherwise.
    fn clock_in_doubt(&self) -> Result<Option<Refusal>, Refusal> {
        let head = self.with_reader(|reader| reader.head().map_err(Refusal::unread))?;
        let now = self.shared.admission.clock.now();
        Ok(time::judge_doubted(now, head.wall_ms).err())
    }

    fn enqueue(&self, job: Job) -> Result<Pending, Refusal> {
        match self.shared.state.stopped() {
            Some(stopped) => Err(stopped.refusal),
            None => self.shared.queue.put(job),
        }
    }

    /// Lends a reader, opening another if all are lent.
    fn with_reader<T>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let lent = self
            .shared
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let reader = match lent {
            Some(reader) => reader,
            None => self.shared.store.reader().map_err(Refusal::unread)?,
        };
        let value = read(&reader);
        // A reader that met damage is not lent again: the pages that are sound can still be read through others.
        if let Some(damage) = reader.damage() {
            let refusal = Refusal::new(Fault::StoreUnavailable, damage);
            self.shared.state.stop(&refusal, Ends::ByRepair);
            return Err(refusal);
        }
        self.shared
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(reader);
        value
    }

    /// The newest checkpoint with the tiles under it.
    fn newest(&self) -> Result<(String, LogTiles), Refusal> {
        let newest = self.shared.state.newest();
        newest.ok_or_else(|| Refusal::new(Fault::Stopped, "the log has not begun"))
    }

    fn with_releaser<T>(
        &self,
        make: impl FnOnce(&Releaser<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let (note, tiles) = self.newest()?;
        self.with_reader(|reader| {
            make(&Releaser::new(
                reader,
                &tiles,
                &self.shared.admission.challenge,
                &note,
            )?)
        })
    }
}

/// Who may do what, from what is stored.
fn directory(issuing_certificate: &[u8], reader: &Reader) -> Result<Directory, StartError> {
    let issuer = Issuer::from_certificate(issuing_certificate)?;
    let directory = Directory::load(issuer, &reader.documents()?)?;
    for (lot, _) in reader.closed_lots()? {
        directory.close_lot(lot);
    }
    Ok(directory)
}

fn overloaded(detail: &str) -> Refusal {
    Refusal::passing(Fault::Overloaded, detail, OVERLOAD_RETRY_MS)
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Fault::Internal, error)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(internal)
}

async fn wait(reply: Pending) -> Answer {
    reply.await.unwrap_or_else(|_dropped| Err(unknown()))
}

/// Nobody answers any more, because the corridor stopped: what became of the request is found by asking again.
fn unknown() -> Refusal {
    Refusal::passing(Fault::Stopped, "the outcome is not known yet", 2000)
}

fn issued(outcome: Outcome) -> Result<Issued, Refusal> {
    match outcome {
        Outcome::Issued(issued) => Ok(*issued),
        Outcome::Receipt(_) => Err(Refusal::new(
            Fault::Internal,
            "a receipt where a certificate is due",
        )),
    }
}

fn receipt(outcome: Outcome) -> Result<Receipt, Refusal> {
    match outcome {
        Outcome::Receipt(receipt) => Ok(receipt),
        Outcome::Issued(_) => Err(Refusal::new(
            Fault::Internal,
            "a certificate where a receipt is due",
        )),
    }
}
