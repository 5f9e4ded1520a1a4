//! How many bytes of unanswered requests one peer may have here. Each is counted as it comes in, before it is a message:
//! what is sent by halves, in however many calls and connections, does not become memory.

use super::status;
use crate::auth::Peer;
use crate::issuance::Refusal;
use crate::policy::Role;
use crate::shares::{Share, Shares};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use identity::Id;
use identity::fault::Fault;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;

/// Most bytes of one peer. A request that is longer is no request, and one alone always has room.
pub(super) const MOST: usize = 4 * 1024 * 1024;
/// When a peer that has too many unanswered comes again, milliseconds.
const AGAIN_MS: u64 = 200;

/// What every peer has.
#[derive(Clone, Debug)]
pub struct Weights(Shares<(Role, Id)>);

/// What one call has; given back when its body and its answer are done.
#[derive(Clone, Debug)]
pub(super) struct Weight(Arc<Mutex<Share<(Role, Id)>>>);

impl Default for Weights {
    fn default() -> Self {
        Self(Shares::new(MOST))
    }
}

impl Weights {
    /// Has the bytes of a request counted as they come.
    ///
    /// # Errors
    /// The peer has all that it may have.
    pub(super) fn weigh(
        &self,
        peer: &Peer,
        request: Request<Body>,
    ) -> Result<(Request<Body>, Weight), Box<Status>> {
        let share = self.0.take((peer.role, peer.id), 0);
        let share = share.ok_or_else(|| Box::new(too_much()))?;
        let weight = Weight(Arc::new(Mutex::new(share)));
        let counted = weight.clone();
        let request = request.map(|inner| {
            Body::new(Weighed {
                inner,
                weight: counted,
            })
        });
        Ok((request, weight))
    }
}

impl Weight {
    fn grow(&self, bytes: usize) -> bool {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        share.grow(bytes, MOST)
    }
}

/// A request's body whose bytes are counted.
struct Weighed {
    inner: Body,
    weight: Weight,
}

impl HttpBody for Weighed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && !self.weight.grow(data.len())
        {
            return Poll::Ready(Some(Err(too_much())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn too_much() -> Status {
    let why = "too many bytes of this peer are not answered yet";
    status::status(&Refusal::passing(Fault::Overloaded, why, AGAIN_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_requests_that_a_connection_may_have_under_way_are_far_below() {
        let gangs = 8 * proto::MAX_REQUEST_MESSAGE;
        assert!(gangs < MOST, "{gangs}");
    }

    #[test]
    fn a_peer_has_its_bytes_and_gets_them_back() {
        let weights = Weights::default();
        let peer = |id| Peer {
            role: Role::Station,
            id: Id::new(id).unwrap(),
            key: None,
        };
        let weigh = |id| weights.weigh(&peer(id), Request::new(Body::empty()));
        let (_, first) = weigh("a").unwrap();
        let (_, second) = weigh("a").unwrap();
        assert!(first.grow(MOST - 1) && second.grow(1) && !second.grow(1));
        let (_, other) = weigh("b").unwrap();
        assert!(other.grow(MOST), "another has its own");
        drop(first);
        assert!(second.grow(1));
    }
}
