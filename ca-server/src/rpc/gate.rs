//! The gate before every service: role of the peer against the table, before any byte of the message is read.

use super::status::Refuser;
use super::weight::{Room, Weight, Weights};
use crate::auth::{Peer, allows_path};
use crate::issuance::{Corridor, Refusal};
use crate::metrics::Meters;
use identity::Id;
use identity::fault::Fault;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

/// A service behind the gate.
#[derive(Clone, Debug)]
pub struct Gate<S> {
    inner: S,
    enrolled: Option<Corridor>,
    limit: Option<Duration>,
    weights: Option<Weights>,
    answers: Option<(Weights, usize)>,
    refuser: Refuser,
}

/// What a call has until it is over: the bytes of its request, and room for its answer.
type Places = (Option<Weight>, Option<Room>);

impl<S> Gate<S> {
    /// Puts a service behind the gate.
    #[must_use]
    pub const fn new(inner: S) -> Self {
        Self {
            inner,
            enrolled: None,
            limit: None,
            weights: None,
            answers: None,
            refuser: Refuser(None),
        }
    }

    /// The same, and a station is let in only with the TLS key of its enrolment in force. Whoever is not is counted.
    #[must_use]
    pub fn for_enrolled(inner: S, corridor: Corridor) -> Self {
        let mut gate = Self::new(inner).counting(corridor.meters());
        gate.enrolled = Some(corridor);
        gate
    }

    /// The same, and whoever is sent away here is counted.
    #[must_use]
    pub fn counting(mut self, meters: &Arc<Meters>) -> Self {
        self.refuser = Refuser(Some(Arc::clone(meters)));
        self
    }

    /// The same, and the bytes of requests are counted with all others that their peer has unanswered.
    #[must_use]
    pub fn weighing(mut self, weights: Weights) -> Self {
        self.weights = Some(weights);
        self
    }

    /// The same, and the bytes of answers are counted until their peer has taken them; `reserved` of them for each call
    /// under way. A peer that has too many is refused before anything is done for it. For services whose answers are one
    /// message each.
    #[must_use]
    pub fn holding(mut self, answers: Weights, reserved: usize) -> Self {
        self.answers = Some((answers, reserved));
        self
    }

    /// The same, and a call that takes longer is answered with `DEADLINE_EXCEEDED`, where the transport's own limit would
    /// say `CANCELLED`, as if the caller had hung up. What it asked for goes on.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Lets a request in if there is room for its answer, and has its bytes counted.
    fn weigh(
        &self,
        request: http::Request<Body>,
    ) -> Result<(http::Request<Body>, Places), Refusal> {
        let peer = request.extensions().get::<Peer>();
        let peer = *self.admit(request.uri().path(), peer)?;
        let answers = self.answers.as_ref();
        let room = answers.map(|(answers, reserved)| answers.room(&peer, *reserved));
        let room = room.transpose()?;
        match &self.weights {
            Some(weights) => {
                let (request, weight) = weights.weigh(&peer, request, &self.refuser)?;
                Ok((request, (Some(weight), room)))
            }
            None => Ok((request, (None, room))),
        }
    }

    /// Role first, then enrolment.
    fn admit<'p>(&self, path: &str, peer: Option<&'p Peer>) -> Result<&'p Peer, Refusal> {
        let peer = admit(path, peer)?;
        let in_force = self
            .enrolled
            .as_ref()
            .map(|corridor| corridor.in_force(peer));
        let admitted = in_force.unwrap_or(Ok(())).map(|()| peer);
        admitted.inspect_err(|refusal| {
            tracing::warn!(%peer, path, "a TLS key that is not enrolled any more");
            if let Some(corridor) = &self.enrolled {
                corridor.note(&peer.id, refusal);
            }
        })
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (request, (weight, room)) = match self.weigh(request) {
            Ok(weighed) => weighed,
            Err(refusal) => {
                let status = self.refuser.refuse(&refusal);
                return Box::pin(ready(Ok(status.into_http())));
            }
        };
        let limit = self.limit;
        let Some(corridor) = self.enrolled.clone() else {
            let call = held(room, self.inner.call(request));
            return Box::pin(limited((limit, weight), call));
        };
        // The service that was asked whether it is ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let (seen, refuser) = (seen(&request), self.refuser.clone());
        let call = async move {
            match saw(&corridor, seen).await {
                Ok(()) => inner.call(request).await,
                Err(refusal) => Ok(refuser.refuse(&refusal).into_http()),
            }
        };
        Box::pin(limited((limit, weight), held(room, call)))
    }
}

/// The checkpoint that a station says it saw, and who says so.
type Seen = Option<(Result<Vec<u8>, Refusal>, Option<Id>)>;

fn seen(request: &http::Request<Body>) -> Seen {
    let value = request.headers().get(proto::SEEN)?;
    let mut alone = http::HeaderMap::with_capacity(1);
    alone.insert(proto::SEEN, value.clone());
    let alone = MetadataMap::from_headers(alone);
    let note = alone.get_bin(proto::SEEN);
    let note = note
        .and_then(|value| value.to_bytes().ok())
        .filter(|note| note.len() <= proto::MAX_SEEN);
    let malformed = || {
        let why = "the checkpoint seen is no binary metadata, or too long";
        Refusal::new(Fault::EnvelopeMalformed, why)
    };
    let peer = request.extensions().get::<Peer>().map(|peer| peer.id);
    Some((note.map(|note| note.to_vec()).ok_or_else(malformed), peer))
}

/// Holds it against the log, before anything is done for the request.
async fn saw(corridor: &Corridor, seen: Seen) -> Result<(), Refusal> {
    let Some((note, peer)) = seen else {
        return Ok(());
    };
    let outcome = match note {
        Ok(note) => corridor.saw(note).await,
        Err(refusal) => Err(refusal),
    };
    outcome.inspect_err(|refusal| {
        if let Some(peer) = peer.filter(|_| refusal.fault == Fault::EnvelopeMalformed) {
            corridor.note(&peer, refusal);
        }
    })
}

/// The call, and its answer counted until it is taken.
async fn held<E>(
    room: Option<Room>,
    call: impl Future<Output = Result<http::Response<Body>, E>>,
) -> Result<http::Response<Body>, E> {
    let answer = call.await?;
    match room {
        Some(room) => Ok(room.hold(answer).await),
        None => Ok(answer),
    }
}

/// The call within its time; what its request weighs is given back when it is over.
async fn limited<E>(
    (limit, _weight): (Option<Duration>, Option<Weight>),
    call: impl Future<Output = Result<http::Response<Body>, E>>,
) -> Result<http::Response<Body>, E> {
    let Some(limit) = limit else {
        return call.await;
    };
    match timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            let late =
                "the time for a call is over; what it asked for may still be done: ask again";
            Ok(Status::deadline_exceeded(late).into_http())
        }
    }
}

/// Lets a call in if the table does. A connection without a peer, and an RPC without a row, are not let in.
fn admit<'p>(path: &str, peer: Option<&'p Peer>) -> Result<&'p Peer, Refusal> {
    if let Some(peer) = peer.filter(|peer| allows_path(path, peer.role)) {
        return Ok(peer);
    }
    let who = peer.map_or_else(|| "nobody".to_owned(), Peer::to_string);
    tracing::warn!(peer = who, path, "call not authorized");
    Err(Fault::NotAuthorized.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::allows;
    use crate::policy::Role;
    use crate::rpc::status::status;
    use crate::rpc::weight::{MOST_UNREAD, UNIT_UNDER_WAY};
    use hyper::body::Body as _;
    use proto::Rpc;
    use std::future::poll_fn;
    use tonic::Code;

    fn peer(role: Role) -> Peer {
        Peer {
            role,
            id: Id::new("ota-l2-prov-01").unwrap(),
            key: None,
        }
    }

    #[test]
    fn every_call_is_let_in_as_the_table_says() {
        for rpc in Rpc::ALL {
            for role in [Role::Station, Role::Auditor, Role::Operator] {
                let peer = peer(role);
                let admitted = admit(rpc.path(), Some(&peer));
                assert_eq!(admitted.is_ok(), allows(rpc, role), "{rpc:?} {role:?}");
            }
        }
    }

    #[test]
    fn nobody_and_the_unknown_stay_outside() {
        let provision = Rpc::FactoryProvision.path();
        let unknown = "/koseki.factory.v1.FactoryService/RaiseQuota";
        for (path, peer) in [(provision, None), (unknown, Some(peer(Role::Station)))] {
            let status = status(&admit(path, peer.as_ref()).unwrap_err());
            assert_eq!(status.code(), Code::PermissionDenied);
            let fault = proto::fault::fault_from_status(&status).unwrap();
            assert_eq!(fault.code, Fault::NotAuthorized.code());
        }
    }

    /// Reads what it is sent, and answers nothing.
    #[derive(Clone, Debug)]
    struct Reads;

    impl Service<http::Request<Body>> for Reads {
        type Response = http::Response<Body>;
        type Error = Status;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

        fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let mut body = request.into_body();
            Box::pin(async move {
                while let Some(frame) = poll_fn(|at| Pin::new(&mut body).poll_frame(at)).await {
                    frame?;
                }
                Ok(http::Response::new(Body::empty()))
            })
        }
    }

    #[tokio::test]
    async fn whoever_is_sent_away_at_the_gate_is_counted() {
        let (weights, answers) = (Weights::default(), Weights::of_unread());
        let meters = Arc::<Meters>::default();
        let gate = Gate::new(Reads)
            .weighing(weights.clone())
            .holding(answers.clone(), UNIT_UNDER_WAY)
            .counting(&meters);
        let station = peer(Role::Station);
        let call = async |peer: Option<Peer>| {
            let body = Body::new("request".to_owned());
            let mut request = http::Request::new(body);
            *request.uri_mut() = Rpc::FactoryProvision.path().parse().unwrap();
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            let answered = gate.clone().call(request).await;
            let refused = match &answered {
                Ok(answer) => Status::from_header_map(answer.headers()),
                Err(status) => Some(status.clone()),
            };
            refused.map(|status| proto::fault::fault_from_status(&status).unwrap().code)
        };
        let counted = |fault: Fault| {
            let line = format!("koseki_refused_total{{code=\"{}\"}} ", fault.code());
            let text = meters.text();
            let count = text
                .lines()
                .find_map(|it| it.strip_prefix(&line)?.parse().ok());
            count.unwrap_or(0)
        };
        assert_eq!(call(Some(station)).await, None);
        let stranger = call(None).await;
        assert_eq!(stranger.as_deref(), Some(Fault::NotAuthorized.code()));
        // It leaves its answers unread.
        let unread = answers.room(&station, MOST_UNREAD).unwrap();
        let refused = call(Some(station)).await;
        assert_eq!(refused.as_deref(), Some(Fault::Overloaded.code()));
        drop(unread);
        assert_eq!(call(Some(station)).await, None);
        // Its other requests weigh what they may, and this one is only beginning to come.
        let others = weights.full(&station);
        let refused = call(Some(station)).await;
        assert_eq!(refused.as_deref(), Some(Fault::Overloaded.code()));
        drop(others);
        assert_eq!(call(Some(station)).await, None);
        assert_eq!(
            (counted(Fault::NotAuthorized), counted(Fault::Overloaded)),
            (1, 2)
        );
    }
}
