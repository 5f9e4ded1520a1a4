//! The line to the CA: gRPC over mutual TLS 1.3. Every call may be repeated with the same bytes, and is, until it is
//! answered or patience runs out.

mod channel;
mod convert;

pub use channel::{ChannelError, Validity};

use crate::agent::ProgramHash;
use crate::config;
use crate::records::TimeQuality;
use crate::station::Failure;
use crate::station::floor::{Stop, lock};
use crate::station::journal::SignedRequest;
use crate::station::seen::SeenCheckpoint;
use identity::document::SerialRange;
use identity::fault::Fault;
use identity::lot::LotSeen;
use identity::{ChipUid, Clock, DocumentHash, Entropy, Id, LeafHash, Timestamp};
use keyvault::Key;
use proto::factory::get_grant_request::Grant as WantedGrant;
use proto::factory::get_receipt_request::Unit;
use proto::factory::{
    self, AdoptRequest, FactoryServiceClient, GetChallengesRequest, GetGrantRequest, GetLotRequest,
    GetLotResponse, GetReceiptRequest, ProvisionRequest,
};
use std::sync::Mutex;
use std::time::Duration;
use tokio::runtime::Handle;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// First pause between two tries, in milliseconds; doubled each time.
const FIRST_PAUSE_MS: u64 = 100;
/// Longest pause between two tries, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 5_000;

/// What the CA answers for a certified unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Index of the `bind` leaf.
    pub index: u64,
    /// Hash of the `bind` leaf, as the CA says.
    pub leaf: LeafHash,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Proof of the `bind` leaf, C2SP tlog-proof.
    pub proof: Vec<u8>,
    /// Nonce for the chip's confirmation.
    pub nonce: [u8; 32],
}

/// What the CA says of a chip that is bound and not void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Proof of the `bind` leaf, C2SP tlog-proof.
    pub proof: Vec<u8>,
    /// Whether the unit is confirmed.
    pub confirmed: bool,
}

/// How much of a grant is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Certificates it allows.
    pub limit: u64,
    /// Those that are not used up.
    pub remaining: u64,
}

/// A leaf that the CA says it has entered, with its proof; nothing of it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafProof {
    /// Proof of the leaf, C2SP tlog-proof.
    pub proof: Vec<u8>,
    /// The leaf, DER; none where the proof brings a history that ends with it.
    pub leaf: Option<Vec<u8>>,
}

/// What the CA says of a lot that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedLot {
    /// The `lot-close` leaf.
    pub entry: LeafProof,
    /// The lot order that it names, DER.
    pub order: Vec<u8>,
}

/// Why the CA did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// No answer within the time given. Whether the CA acted is unknown; the same bytes may be sent again.
    #[error("{0}")]
    Unreachable(String),
    /// The CA refused.
    #[error("{0} ({1})")]
    Refused(Fault, String),
    /// The answer is not one.
    #[error("the CA's answer cannot be read: {0}")]
    Malformed(&'static str),
    /// The CA cannot do yet what is asked.
    #[error("{0}")]
    Older(&'static str),
    /// The line was stopped while waiting.
    #[error("stopped while waiting for the CA")]
    Interrupted,
}

impl From<CaError> for Failure {
    fn from(error: CaError) -> Self {
        let fault = match &error {
            CaError::Unreachable(_) => Fault::CaUnreachable,
            CaError::Refused(fault, _) => *fault,
            CaError::Malformed(_) => Fault::ProofInvalid,
            CaError::Older(_) => Fault::CaOlder,
            CaError::Interrupted => Fault::Interrupted,
        };
        match error {
            // Whoever is told the fault has its words.
            CaError::Refused(_, detail) => Self::new(fault, detail),
            CaError::Unreachable(_)
            | CaError::Malformed(_)
            | CaError::Older(_)
            | CaError::Interrupted => Self::new(fault, error),
        }
    }
}

/// What the station asks of the CA. Every call blocks, and is harmless to repeat with the same bytes.
pub trait Ca: Sync {
    /// Asks which serials a lot's order has, before a unit is begun for it.
    ///
    /// # Errors
    /// [`CaError`]; [`Fault::LotClosed`] if nothing is begun for it any more.
    fn serials(&self, grant: &DocumentHash, lot: &Id) -> Result<SerialRange, CaError>;

    /// Asks how a lot stands.
    ///
    /// # Errors
    /// [`CaError`]
    fn lot(&self, grant: &DocumentHash, lot: &Id) -> Result<LotSeen, CaError>;

    /// Gets a challenge for a chip, at most 64 bytes. The CA is told which program asks, under which grant it is about to
    /// work, and for which lot, if the chip has no key yet: then it says whether there is room for one more.
    ///
    /// # Errors
    /// [`CaError`], among them a refusal with [`Fault::AgentNotApproved`].
    fn challenge(
        &self,
        uid: &ChipUid,
        grant: Option<&DocumentHash>,
        lot: Option<&Id>,
    ) -> Result<Vec<u8>, CaError>;

    /// Has the one unit of an envelope certified.
    ///
    /// # Errors
    /// [`CaError`]
    fn provision(&self, envelope: &SignedRequest) -> Result<Answer, CaError>;

    /// Takes over the one unit of an envelope, which somebody else had certified: the same bytes.
    ///
    /// # Errors
    /// [`CaError`]
    fn adopt(&self, envelope: &SignedRequest) -> Result<Answer, CaError>;

    /// Confirms a unit; gives the receipt, C2SP tlog-proof.
    ///
    /// # Errors
    /// [`CaError`]
    fn confirm(&self, request: &SignedRequest) -> Result<Vec<u8>, CaError>;

    /// Voids a unit; gives the leaf.
    ///
    /// # Errors
    /// [`CaError`]
    fn void(&self, request: &SignedRequest) -> Result<LeafProof, CaError>;

    /// Scraps a unit; gives the leaf.
    ///
    /// # Errors
    /// [`CaError`]
    fn scrap(&self, request: &SignedRequest) -> Result<LeafProof, CaError>;

    /// Closes a lot with what the station counted, and with the shares of others that it counted in.
    ///
    /// # Errors
    /// [`CaError`]
    fn close_lot(
        &self,
        request: &SignedRequest,
        shares: &[SignedRequest],
    ) -> Result<ClosedLot, CaError>;

    /// Asks what a chip is bound as; none if nothing is bound that this station may know of.
    ///
    /// # Errors
    /// [`CaError`], among them a refusal with [`Fault::Voided`].
    fn find_chip(&self, uid: &ChipUid) -> Result<Option<Found>, CaError>;

    /// How much of a grant is left; asked once, for whoever shows it asks again soon.
    ///
    /// # Errors
    /// [`CaError`]
    fn quota(&self, grant: &DocumentHash) -> Result<Quota, CaError>;

    /// How the station's clock stood against the CA's when the CA last said its time; `None` until it has.
    fn time_quality(&self) -> Option<TimeQuality> {
        None
    }

    /// Whether the CA answered the last time it was asked, be it with a refusal; `None` until it was asked.
    fn answers(&self) -> Option<bool> {
        None
    }
}

/// The CA over the network.
pub struct CaLink<'a> {
    client: FactoryServiceClient<Channel>,
    deadline: Duration,
    give_up: Duration,
    means: Means<'a>,
    /// When the station's own certificate is valid.
    own: Validity,
    quality: Mutex<Option<TimeQuality>>,
    answers: Mutex<Option<bool>>,
    agents_named: Mutex<Option<bool>>,
}

/// What the line to the CA needs of the program.
#[derive(Clone)]
pub struct Means<'a> {
    /// Where calls run.
    pub runtime: Handle,
    /// Says when to stop waiting.
    pub stop: &'a Stop,
    /// Randomness, for pauses.
    pub entropy: &'a dyn Entropy,
    /// The station's time.
    pub clock: &'a dyn Clock,
    /// The newest checkpoint seen, which goes with every request.
    pub seen: Option<&'a SeenCheckpoint>,
    /// This program, which the CA is told with every question for a challenge.
    pub agent: ProgramHash,
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CaLink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaLink").finish_non_exhaustive()
    }
}

/// A try that failed.
#[derive(Clone, Debug)]
struct Attempt {
    error: CaError,
    /// Whether the same bytes may succeed later; then perhaps when.
    again: Option<Duration>,
}

impl<'a> CaLink<'a> {
    /// Prepares the line; the connection is made with the first call, and made anew whenever it breaks.
    ///
    /// # Errors
    /// [`ChannelError`] if certificates, station or key do not fit.
    pub fn new(
        settings: &config::Ca,
        station: &Id,
        tls_key: Key,
        means: Means<'a>,
    ) -> Result<Self, ChannelError> {
        let (channel, own) = {
            let _inside = means.runtime.enter();
            channel::lazy(settings, station, tls_key)?
        };
        Ok(Self::over(channel, own, settings, means))
    }

    /// The line over a channel that is there already, made with a certificate of this validity.
    #[must_use]
    pub fn over(channel: Channel, own: Validity, settings: &config::Ca, means: Means<'a>) -> Self {
        let client = FactoryServiceClient::new(channel)
            .max_decoding_message_size(proto::MAX_RESPONSE_MESSAGE);
        Self {
            client,
            deadline: settings.deadline(),
            give_up: settings.give_up(),
            means,
            own,
            quality: Mutex::new(None),
            answers: Mutex::new(None),
            agents_named: Mutex::new(None),
        }
    }

    /// Whether the CA has a list of programs for this station, on which this one is; `None` until it gave a challenge.
    #[must_use]
    pub fn agents_named(&self) -> Option<bool> {
        *lock(&self.agents_named)
    }

    /// Asks until an answer, a lasting refusal, a stop, or the end of patience.
    fn ask<T, F: Future<Output = Result<T, Attempt>>>(
        &self,
        call: impl Fn(FactoryServiceClient<Channel>) -> F,
    ) -> Result<T, CaError> {
        let mut last = CaError::Unreachable("no answer".to_owned());
        let tries = async {
            let mut pause = FIRST_PAUSE_MS;
            loop {
                let answer = call(self.client.clone()).await;
                self.note(answer.as_ref().err().map(|attempt| &attempt.error));
                match answer {
                    Ok(answer) => return Ok(answer),
                    Err(Attempt { error, again: None }) => return Err(error),
                    Err(Attempt {
                        error,
                        again: Some(wish),
                    }) => {
                        self.own.check(&error, self.means.clock.now())?;
                        tracing::info!(%error, "the CA did not answer; trying again");
                        last = error;
                        tokio::time::sleep(self.pause(pause).max(wish)).await;
                    }
                }
                pause = (pause * 2).min(LONGEST_PAUSE_MS);
            }
        };
        let outcome = self.means.runtime.block_on(async {
            tokio::select! {
                outcome = tokio::time::timeout(self.give_up, tries) => outcome.ok(),
                () = self.means.stop.wait() => Some(Err(CaError::Interrupted)),
            }
        });
        outcome.unwrap_or(Err(last))
    }

    /// Asks a single time.
    fn ask_once<T>(&self, call: impl Future<Output = Result<T, Attempt>>) -> Result<T, CaError> {
        let outcome = self.means.runtime.block_on(async {
            tokio::select! {
                outcome = tokio::time::timeout(self.give_up, call) => outcome.ok(),
                () = self.means.stop.wait() => return Err(CaError::Interrupted),
            }
            .unwrap_or_else(|| {
                let error = CaError::Unreachable("no answer".to_owned());
                Err(Attempt { error, again: None })
            })
            .map_err(|attempt| attempt.error)
        });
        self.note(outcome.as_ref().err());
        outcome
    }

    /// Remembers whether the CA answered. Whoever was stopped while waiting knows nothing of it.
    fn note(&self, error: Option<&CaError>) {
        let answers = match error {
            Some(CaError::Interrupted) => return,
            Some(CaError::Unreachable(_)) => false,
            Some(CaError::Refused(..) | CaError::Malformed(_) | CaError::Older(_)) | None => true,
        };
        *lock(&self.answers) = Some(answers);
    }

    /// A request with its deadline, and with the newest checkpoint this station saw.
    fn dressed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        if let Some(note) = self.means.seen.and_then(SeenCheckpoint::newest) {
            let note = MetadataValue::from_bytes(&note);
            request.metadata_mut().insert_bin(proto::SEEN, note);
        }
        request
    }

    fn ask_lot<T>(
        &self,
        grant: &DocumentHash,
        lot: &Id,
        read: impl Fn(&GetLotResponse) -> Result<T, Attempt>,
    ) -> Result<T, CaError> {
        let read = &read;
        self.ask(|mut client| async move {
            let request = GetLotRequest {
                lot_id: lot.to_string(),
                grant_hash: grant.as_bytes().to_vec(),
            };
            let answer = client
                .get_lot(self.dressed(request))
                .await
                .map_err(of_status)?;
            read(&answer.into_inner())
        })
    }

    /// Between half and the whole, so that the stations of a factory do not come back all at once.
    fn pause(&self, millis: u64) -> Duration {
        let mut byte = [0];
        let share = self
            .means
            .entropy
            .fill(&mut byte)
            .map_or(0, |()| u64::from(byte[0]));
        Duration::from_millis(millis / 2 + millis * share / 512)
    }
}

impl Ca for CaLink<'_> {
    fn serials(&self, grant: &DocumentHash, lot: &Id) -> Result<SerialRange, CaError> {
        self.ask_lot(grant, lot, convert::open_serials)
    }

    fn lot(&self, grant: &DocumentHash, lot: &Id) -> Result<LotSeen, CaError> {
        self.ask_lot(grant, lot, |answer| convert::lot(answer, (grant, lot)))
    }

    fn challenge(
        &self,
        uid: &ChipUid,
        grant: Option<&DocumentHash>,
        lot: Option<&Id>,
    ) -> Result<Vec<u8>, CaError> {
        self.ask(|mut client| async move {
            let request = GetChallengesRequest {
                uids: vec![uid.as_bytes().to_vec()],
                agent_sha256: self.means.agent.0.to_vec(),
                grant_hash: grant.map_or_else(Vec::new, |it| it.as_bytes().to_vec()),
                lot_id: lot.map_or_else(String::new, ToString::to_string),
            };
            let asked = self.means.clock.now();
            let answer = client
                .get_challenges(self.dressed(request))
                .await
                .map_err(of_status)?
                .into_inner();
            let (answered, ca) = (self.means.clock.now(), Timestamp(answer.server_time_ms));
            *lock(&self.quality) = Some(TimeQuality::against_ca(asked, answered, ca));
            *lock(&self.agents_named) = Some(answer.agents_named);
            convert::challenge(answer)
        })
    }

    fn provision(&self, envelope: &SignedRequest) -> Result<Answer, CaError> {
        self.ask(|mut client| async move {
            let request = ProvisionRequest {
                envelope: envelope.der.clone(),
                signature: envelope.signature.to_vec(),
            };
            let answer = client
                .provision(self.dressed(request))
                .await
                .map_err(of_status)?;
            convert::issued(answer.into_inner().results)
        })
    }

    fn adopt(&self, envelope: &SignedRequest) -> Result<Answer, CaError> {
        self.ask(|mut client| async move {
            let request = AdoptRequest {
                envelope: envelope.der.clone(),
                signature: envelope.signature.to_vec(),
            };
            let answer = client
                .adopt(self.dressed(request))
                .await
                .map_err(of_status)?;
            convert::issued(answer.into_inner().results)
        })
    }

    fn confirm(&self, request: &SignedRequest) -> Result<Vec<u8>, CaError> {
        self.ask(|mut client| async move {
            let request = factory::ConfirmRequest {
                request: request.der.clone(),
                signature: request.signature.to_vec(),
            };
            let answer = client
                .confirm(self.dressed(request))
                .await
                .map_err(of_status)?;
            convert::receipt(answer.into_inner())
        })
    }

    fn void(&self, request: &SignedRequest) -> Result<LeafProof, CaError> {
        self.ask(|mut client| async move {
            let request = factory::VoidRequest {
                request: request.der.clone(),
                signature: request.signature.to_vec(),
            };
            let answer = client
                .void(self.dressed(request))
                .await
                .map_err(of_status)?;
            convert::voided(answer.into_inner())
        })
    }

    fn scrap(&self, request: &SignedRequest) -> Result<LeafProof, CaError> {
        self.ask(|mut client| async move {
            let request = factory::ScrapUnitRequest {
                request: request.der.clone(),
                signature: request.signature.to_vec(),
            };
            let answer = client
                .scrap_unit(self.dressed(request))
                .await
                .map_err(of_status)?;
            convert::scrapped(answer.into_inner())
        })
    }

    fn close_lot(
        &self,
        request: &SignedRequest,
        shares: &[SignedRequest],
    ) -> Result<ClosedLot, CaError> {
        self.ask(|mut client| async move {
            let shares = shares.iter().map(|it| factory::LotShare {
                share: it.der.clone(),
                signature: it.signature.to_vec(),
            });
            let request = factory::CloseLotRequest {
                request: request.der.clone(),
                signature: request.signature.to_vec(),
                shares: shares.collect(),
            };
            let answer = client
                .close_lot(self.dressed(request))
                .await
                .map_err(of_status)?;
            convert::closed(answer.into_inner())
        })
    }

    fn find_chip(&self, uid: &ChipUid) -> Result<Option<Found>, CaError> {
        let found = self.ask(|mut client| async move {
            let request = GetReceiptRequest {
                unit: Some(Unit::ChipUid(uid.as_bytes().to_vec())),
            };
            let answer = client
                .get_receipt(self.dressed(request))
                .await
                .map_err(of_status)?;
            convert::found(answer.into_inner())
        });
        match found {
            Err(CaError::Refused(Fault::NotBound, _)) => Ok(None),
            other => other.map(Some),
        }
    }

    fn quota(&self, grant: &DocumentHash) -> Result<Quota, CaError> {
        let mut client = self.client.clone();
        self.ask_once(async {
            let request = GetGrantRequest {
                grant: Some(WantedGrant::GrantHash(grant.as_bytes().to_vec())),
            };
            let answer = client
                .get_grant(self.dressed(request))
                .await
                .map_err(of_status)?;
            convert::quota(&answer.into_inner(), grant)
        })
    }

    fn time_quality(&self) -> Option<TimeQuality> {
        *lock(&self.quality)
    }

    fn answers(&self) -> Option<bool> {
        *lock(&self.answers)
    }
}

fn of_status(status: Status) -> Attempt {
    convert::failure(&status)
}
