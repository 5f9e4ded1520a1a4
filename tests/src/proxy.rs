//! Somebody between station and CA whom both believe: a server with a certificate of the infrastructure root, which
//! passes every call on under the station's name and alters what comes back.

use crate::failure::{At as _, Failure, Outcome};
use crate::tls::{Credentials, certificates, private};
use identity::envelope::{Envelope, StationRequest as _};
use identity::fault::Fault;
use proto::factory::{self as wire, FactoryService, FactoryServiceClient, FactoryServiceServer};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tonic_prost::prost::Message;

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate.
    Certificate,
    /// The proof of the `bind` leaf.
    Proof,
    /// The nonce that the chip signs.
    Nonce,
    /// Hash of the `bind` leaf.
    Leaf,
    /// Index of the `bind` leaf.
    Index,
    /// The receipt of the confirmation.
    Receipt,
    /// The challenge for the chip.
    Challenge,
    /// First serial of the lot's order, which is text.
    FirstSerial,
    /// Last serial of the lot's order, which is text.
    LastSerial,
    /// The certificate of a chip that is asked for by its UID.
    FoundCertificate,
    /// The proof of a chip that is asked for by its UID.
    FoundProof,
}

/// One byte of one part, counted round.
#[derive(Clone, Copy, Debug)]
pub struct Alteration {
    /// Which part.
    pub part: Part,
    /// Which byte.
    pub at: usize,
    /// What it is changed with.
    pub flip: u8,
}

/// A question whose whole answer can be put in another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// `GetChallenges`.
    Challenges,
    /// `Provision`.
    Provision,
    /// `Confirm`.
    Confirm,
    /// `Adopt`.
    Adopt,
    /// `Void`.
    Void,
    /// `ScrapUnit`.
    Scrap,
    /// `CloseLot`.
    CloseLot,
    /// `GetGrant`.
    Grant,
    /// `GetLot`.
    Lot,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub enum Said {
    /// A message's bytes on the wire.
    Message(Vec<u8>),
    /// A failure of the call.
    Failed(Status),
}

#[derive(Debug, Default)]
struct Plan {
    /// What is answered next instead of asking the CA.
    forged: BTreeMap<Question, Said>,
    /// What the CA answered last.
    heard: BTreeMap<Question, Said>,
    alteration: Option<Alteration>,
    /// Serial of a unit that is not passed on.
    refused: Option<String>,
    fired: usize,
}

/// The server between.
#[derive(Clone, Debug)]
pub struct Proxy {
    upstream: FactoryServiceClient<Channel>,
    plan: Arc<Mutex<Plan>>,
}

impl Proxy {
    /// Passes calls on through this channel.
    #[must_use]
    pub fn new(upstream: Channel) -> Self {
        Self {
            upstream: FactoryServiceClient::new(upstream),
            plan: Arc::default(),
        }
    }

    /// Listens under this certificate; gives the address.
    ///
    /// # Errors
    /// [`Failure`] of the certificate or the system.
    pub async fn listen(&self, own: Credentials<'_>) -> Outcome<SocketAddr> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Failure::new)?
            .with_no_client_auth()
            .with_single_cert(certificates(own.certificate)?, private(own.key)?)
            .map_err(Failure::new)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.at(Path::new("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let (ready, incoming) = mpsc::channel(16);
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), ready));
        let service = FactoryServiceServer::new(self.clone());
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        Ok(address)
    }

    /// From now on alters every answer that has this part, or none.
    pub fn alter(&self, alteration: Option<Alteration>) {
        self.plan().alteration = alteration;
    }

    /// From now on answers for the unit of this serial as a CA that fails at it whenever it is asked.
    pub fn refuse(&self, serial: Option<String>) {
        self.plan().refused = serial;
    }

    /// Answers this question once as told, without asking the CA.
    pub fn forge(&self, question: Question, said: Said) {
        self.plan().forged.insert(question, said);
    }

    /// What the CA answered to this question since this was last asked.
    #[must_use]
    pub fn heard(&self, question: Question) -> Option<Said> {
        self.plan().heard.remove(&question)
    }

    /// The forged answer. Bytes that are no message reach the client as bytes that are none: the call fails there.
    fn forged<M: Message + Default>(&self, question: Question) -> Option<Answer<M>> {
        let said = self.plan().forged.remove(&question)?;
        self.plan().fired += 1;
        Some(match said {
            Said::Failed(status) => Err(status),
            Said::Message(bytes) => match M::decode(bytes.as_slice()) {
                Ok(message) => Ok(Response::new(message)),
                Err(error) => Err(Status::internal(format!("no message: {error}"))),
            },
        })
    }

    /// What is forged, else what the CA answers, which is kept.
    async fn pass<Q, M: Message + Default, F: Future<Output = Answer<M>>>(
        &self,
        question: Question,
        request: Request<Q>,
        ask: impl FnOnce(FactoryServiceClient<Channel>, Q) -> F,
    ) -> Result<M, Status> {
        if let Some(forged) = self.forged(question) {
            return forged.map(Response::into_inner);
        }
        let answer = ask(self.upstream.clone(), request.into_inner()).await;
        self.hear(question, answer)
    }

    /// Keeps what the CA answered.
    fn hear<M: Message>(&self, question: Question, answer: Answer<M>) -> Result<M, Status> {
        let said = match &answer {
            Ok(message) => Said::Message(message.get_ref().encode_to_vec()),
            Err(status) => Said::Failed(status.clone()),
        };
        self.plan().heard.insert(question, said);
        answer.map(Response::into_inner)
    }

    fn refusal(&self, envelope: &[u8]) -> Option<wire::ProvisionResponse> {
        let envelope = Envelope::from_bytes(envelope).ok()?;
        let serial = envelope.units.first()?.serial.to_string();
        (self.plan().refused.as_ref() == Some(&serial)).then(|| {
            let fault = proto::common::Fault {
                code: Fault::Internal.code().to_owned(),
                ..proto::common::Fault::default()
            };
            let outcome = Some(wire::unit_result::Outcome::Refused(fault));
            wire::ProvisionResponse {
                results: vec![wire::UnitResult { outcome }],
            }
        })
    }

    /// How many answers were altered.
    #[must_use]
    pub fn fired(&self) -> usize {
        self.plan().fired
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, part: Part, bytes: &mut [u8]) {
        let mut plan = self.plan();
        if let Some(it) = plan.alteration.filter(|it| it.part == part) {
            let at = it.at % bytes.len();
            bytes[at] ^= it.flip;
            plan.fired += 1;
        }
    }

    /// What is no text any more cannot be sent as one.
    fn touch_text(&self, part: Part, text: &mut String) {
        let mut bytes = text.clone().into_bytes();
        self.touch(part, &mut bytes);
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }
}

/// TLS ends here; inside goes on through a pair of local sockets, which tonic knows.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<Result<UnixStream, std::io::Error>>,
) {
    while let Ok((outside, _)) = listener.accept().await {
        tokio::spawn(pass(outside, acceptor.clone(), ready.clone()));
    }
}

async fn pass(
    outside: TcpStream,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<Result<UnixStream, std::io::Error>>,
) -> Result<(), std::io::Error> {
    let mut outside = acceptor.accept(outside).await?;
    let (mut here, there) = UnixStream::pair()?;
    ready.send(Ok(there)).await.map_err(std::io::Error::other)?;
    tokio::io::copy_bidirectional(&mut outside, &mut here).await?;
    Ok(())
}

type Answer<T> = Result<Response<T>, Status>;
type Ca = FactoryServiceClient<Channel>;

#[tonic::async_trait]
impl FactoryService for Proxy {
    async fn get_challenges(
        &self,
        request: Request<wire::GetChallengesRequest>,
    ) -> Answer<wire::GetChallengesResponse> {
        let ask = |mut ca: Ca, asked| async move { ca.get_challenges(asked).await };
        let mut answer = self.pass(Question::Challenges, request, ask).await?;
        for challenge in &mut answer.challenges {
            self.touch(Part::Challenge, challenge);
        }
        Ok(Response::new(answer))
    }

    async fn provision(
        &self,
        request: Request<wire::ProvisionRequest>,
    ) -> Answer<wire::ProvisionResponse> {
        if let Some(refusal) = self.refusal(&request.get_ref().envelope) {
            return Ok(Response::new(refusal));
        }
        let ask = |mut ca: Ca, asked| async move { ca.provision(asked).await };
        let mut answer = self.pass(Question::Provision, request, ask).await?;
        for result in &mut answer.results {
            if let Some(wire::unit_result::Outcome::Issued(issued)) = &mut result.outcome {
                self.touch(Part::Certificate, &mut issued.certificate);
                self.touch(Part::Proof, &mut issued.tlog_proof);
                self.touch(Part::Nonce, &mut issued.confirm_nonce);
                self.touch(Part::Leaf, &mut issued.leaf_hash);
                let mut index = issued.index.to_be_bytes();
                self.touch(Part::Index, &mut index);
                issued.index = u64::from_be_bytes(index);
            }
        }
        Ok(Response::new(answer))
    }

    async fn confirm(
        &self,
        request: Request<wire::ConfirmRequest>,
    ) -> Answer<wire::ConfirmResponse> {
        let ask = |mut ca: Ca, asked| async move { ca.confirm(asked).await };
        let mut answer = self.pass(Question::Confirm, request, ask).await?;
        if let Some(wire::confirm_response::Outcome::Receipt(receipt)) = &mut answer.outcome {
            self.touch(Part::Receipt, &mut receipt.tlog_proof);
        }
        Ok(Response::new(answer))
    }

    async fn void(&self, request: Request<wire::VoidRequest>) -> Answer<wire::VoidResponse> {
        let ask = |mut ca: Ca, asked| async move { ca.void(asked).await };
        let answer = self.pass(Question::Void, request, ask).await;
        answer.map(Response::new)
    }

    async fn scrap_unit(
        &self,
        request: Request<wire::ScrapUnitRequest>,
    ) -> Answer<wire::ScrapUnitResponse> {
        let ask = |mut ca: Ca, asked| async move { ca.scrap_unit(asked).await };
        let answer = self.pass(Question::Scrap, request, ask).await;
        answer.map(Response::new)
    }

    async fn close_lot(
        &self,
        request: Request<wire::CloseLotRequest>,
    ) -> Answer<wire::CloseLotResponse> {
        let ask = |mut ca: Ca, asked| async move { ca.close_lot(asked).await };
        let answer = self.pass(Question::CloseLot, request, ask).await;
        answer.map(Response::new)
    }

    async fn adopt(&self, request: Request<wire::AdoptRequest>) -> Answer<wire::AdoptResponse> {
        let ask = |mut ca: Ca, asked| async move { ca.adopt(asked).await };
        let answer = self.pass(Question::Adopt, request, ask).await;
        answer.map(Response::new)
    }

    async fn get_chain(
        &self,
        request: Request<wire::GetChainRequest>,
    ) -> Answer<wire::GetChainResponse> {
        self.upstream.clone().get_chain(request.into_inner()).await
    }

    async fn get_grant(
        &self,
        request: Request<wire::GetGrantRequest>,
    ) -> Answer<wire::GetGrantResponse> {
        let ask = |mut ca: Ca, asked| async move { ca.get_grant(asked).await };
        let answer = self.pass(Question::Grant, request, ask).await;
        answer.map(Response::new)
    }

    async fn get_lot(&self, request: Request<wire::GetLotRequest>) -> Answer<wire::GetLotResponse> {
        let ask = |mut ca: Ca, asked| async move { ca.get_lot(asked).await };
        let mut answer = self.pass(Question::Lot, request, ask).await?;
        self.touch_text(Part::FirstSerial, &mut answer.first_serial);
        self.touch_text(Part::LastSerial, &mut answer.last_serial);
        Ok(Response::new(answer))
    }

    async fn get_receipt(
        &self,
        request: Request<wire::GetReceiptRequest>,
    ) -> Answer<wire::GetReceiptResponse> {
        let mut upstream = self.upstream.clone();
        let mut answer = upstream
            .get_receipt(request.into_inner())
            .await?
            .into_inner();
        if let Some(issued) = &mut answer.issued {
            self.touch(Part::FoundCertificate, &mut issued.certificate);
            self.touch(Part::FoundProof, &mut issued.tlog_proof);
        }
        Ok(Response::new(answer))
    }

    async fn get_checkpoint(
        &self,
        request: Request<wire::GetCheckpointRequest>,
    ) -> Answer<wire::GetCheckpointResponse> {
        let mut upstream = self.upstream.clone();
        upstream.get_checkpoint(request.into_inner()).await
    }
}
