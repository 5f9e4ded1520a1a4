//! How many bytes one peer may have here: of requests that are not answered, and of answers that it has not taken. A
//! request is counted as it comes in, before it is a message, and an answer before it goes out: what is sent by halves, or
//! never read, in however many calls and connections, does not become memory. Whether there is room for an answer is asked
//! before anything of its request is done: what was done is answered.

use super::status::{self, Refuser};
use crate::auth::Peer;
use crate::issuance::Refusal;
use crate::policy::Role;
use crate::shares::{Share, Shares};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use identity::Id;
use identity::fault::Fault;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{self, Request};

/// Most bytes of one peer's requests. A request that is longer is no request, and one alone always has room.
pub(super) const MOST: usize = 4 * 1024 * 1024;
/// Most bytes of answers that one peer leaves unread before its calls are refused: four of the longest, or the answers to
/// 40 full envelopes. One alone always has room.
pub(super) const MOST_UNREAD: usize = 8 * 1024 * 1024;
/// What a call to the factory service counts while it is under way: more than the answer about one unit. A peer that leaves
/// nothing unread has room for 1,024 at once, as many as its connections have by default. The answers to all of them may be
/// more than [`MOST_UNREAD`], and all go out: those to envelopes are some 30 MiB at most, since requests within [`MOST`] are
/// not for more units than that.
pub(super) const UNIT_UNDER_WAY: usize = 8 * 1024;
/// The same of the audit service, where a short request may ask for a page of 1 MiB: 32 calls at once, so that their answers
/// are at most 32 MiB more.
pub(super) const PAGE_UNDER_WAY: usize = 256 * 1024;
/// Most bytes of an answer: one message behind its length.
const MOST_OF_ONE: usize = proto::MAX_RESPONSE_MESSAGE + 5;
/// When a peer that has too many unanswered comes again, milliseconds.
const AGAIN_MS: u64 = 200;

/// What every peer has.
#[derive(Clone, Debug)]
pub struct Weights {
    held: Shares<(Role, Id)>,
}

/// What one call has; given back when its body and its answer are done.
#[derive(Clone, Debug)]
pub(super) struct Weight(Arc<Mutex<Share<(Role, Id)>>>);

/// What the answer to one call has; given back with its last byte, or with the call.
#[derive(Debug)]
pub(super) struct Room(Share<(Role, Id)>);

impl Default for Weights {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Weights {
    fn of(most: usize) -> Self {
        let held = Shares::new(most);
        Self { held }
    }

    /// For answers.
    #[must_use]
    pub fn of_unread() -> Self {
        Self::of(MOST_UNREAD)
    }

    /// Room for the answer to a call of which nothing is done yet.
    ///
    /// # Errors
    /// The peer leaves too much unread.
    pub(super) fn room(&self, peer: &Peer, reserved: usize) -> Result<Room, Refusal> {
        let share = self.held.take((peer.role, peer.id), reserved);
        share.map(Room).ok_or_else(unread)
    }

    /// Has the bytes of a request counted as they come. Once they are too many, the rest is refused by `refuser`.
    ///
    /// # Errors
    /// The peer has all that it may have.
    pub(super) fn weigh(
        &self,
        peer: &Peer,
        request: Request<Body>,
        refuser: &Refuser,
    ) -> Result<(Request<Body>, Weight), Refusal> {
        let share = self.held.take((peer.role, peer.id), 0);
        let weight = Weight(Arc::new(Mutex::new(share.ok_or_else(too_much)?)));
        let (counted, refuser) = (weight.clone(), refuser.clone());
        let request = request.map(|inner| {
            Body::new(Weighed {
                inner,
                weight: counted,
                refuser,
            })
        });
        Ok((request, weight))
    }
}

impl Room {
    /// Keeps the bytes of an answer counted until the peer has taken them, however many they are: what was asked for is done.
    /// It is an answer of one message; a stream of them is cut off where it is longer than one may be.
    pub(super) async fn hold(mut self, answer: http::Response<Body>) -> http::Response<Body> {
        let (head, mut body) = answer.into_parts();
        let (mut frames, mut bytes) = (VecDeque::new(), 0_usize);
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            match frame {
                Ok(frame) => {
                    bytes = bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                    frames.push_back(frame);
                }
                Err(status) => return status.into_http(),
            }
            if bytes > MOST_OF_ONE {
                return too_long().into_http();
            }
        }
        self.0.become_of(bytes);
        let share = Arc::new(self.0);
        let held = frames.into_iter().map(|frame: Frame<Bytes>| {
            frame.map_data(|bytes| {
                let _share = Arc::clone(&share);
                Bytes::from_owner(Held { bytes, _share })
            })
        });
        let frames = held.collect();
        http::Response::from_parts(head, Body::new(Unread { frames }))
    }
}

/// An answer of which nothing is on its way yet.
struct Unread {
    frames: VecDeque<Frame<Bytes>>,
}

/// Bytes that stay counted wherever they wait: the transport takes a whole message as soon as its peer has room for the
/// first byte of it, and drops it when the last is on its way, or with the call.
struct Held {
    bytes: Bytes,
    _share: Arc<Share<(Role, Id)>>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
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
    refuser: Refuser,
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
            return Poll::Ready(Some(Err(self.refuser.refuse(&too_much()))));
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

fn unread() -> Refusal {
    let why = "too many answers to this peer are not read yet";
    Refusal::passing(Fault::Overloaded, why, AGAIN_MS)
}

fn too_long() -> Status {
    let why = "an answer is longer than one message may be";
    status::status(&Refusal::new(Fault::Internal, why))
}

fn too_much() -> Refusal {
    let why = "too many bytes of this peer are not answered yet";
    Refusal::passing(Fault::Overloaded, why, AGAIN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weights {
        /// Bytes of requests, as many as a peer may have.
        pub(in super::super) fn full(&self, peer: &Peer) -> impl Sized {
            self.held.take((peer.role, peer.id), MOST).unwrap()
        }
    }

    #[test]
    fn the_longest_requests_that_a_connection_may_have_under_way_are_far_below() {
        let gangs = 8 * proto::MAX_REQUEST_MESSAGE;
        assert!(gangs < MOST, "{gangs}");
    }

    fn peer(id: &str) -> Peer {
        Peer {
            role: Role::Station,
            id: Id::new(id).unwrap(),
            key: None,
        }
    }

    fn answer(frames: impl IntoIterator<Item = usize>) -> http::Response<Body> {
        let frame = |len| Frame::data(Bytes::from(vec![0; len]));
        let frames = frames.into_iter().map(frame).collect();
        http::Response::new(Body::new(Unread { frames }))
    }

    fn code(refused: &Status) -> String {
        proto::fault::fault_from_status(refused).unwrap().code
    }

    #[tokio::test]
    async fn what_a_peer_leaves_unread_is_counted_until_it_is_taken() {
        let weights = Weights::of_unread();
        let room = |id| weights.room(&peer(id), UNIT_UNDER_WAY);
        let mut unread = Vec::new();
        for _ in 0..3 {
            unread.push(room("a").unwrap().hold(answer([MOST_OF_ONE])).await);
        }
        let under_way = [(); 3].map(|()| room("a").unwrap());
        for room in under_way {
            let held = room.hold(answer([MOST_OF_ONE])).await;
            assert_eq!(Status::from_header_map(held.headers()).map(drop), None);
            unread.push(held);
        }
        let refused = room("a").unwrap_err();
        assert_eq!(refused.fault, Fault::Overloaded);
        room("b").expect("another has its own");
        // The transport has it all, and the peer none of it yet.
        let mut taken = Vec::new();
        for answer in unread {
            let mut body = answer.into_body();
            let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            assert!(body.is_end_stream());
            taken.push(frame.unwrap().unwrap().into_data().unwrap());
        }
        room("a").unwrap_err();
        taken.truncate(4);
        room("a").expect_err("four are just too much");
        taken.truncate(3);
        room("a").unwrap();
    }

    #[test]
    fn a_call_under_way_counts_before_it_has_an_answer() {
        let weights = Weights::of_unread();
        let room = || weights.room(&peer("a"), PAGE_UNDER_WAY);
        let mut under_way: Vec<_> = (0..32).map(|_| room().unwrap()).collect();
        room().unwrap_err();
        under_way.pop();
        room().unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_not_waited_for() {
        let weights = Weights::of_unread();
        let room = weights.room(&peer("a"), UNIT_UNDER_WAY).unwrap();
        let held = room.hold(answer([MOST_OF_ONE, 1])).await;
        let refused = Status::from_header_map(held.headers()).unwrap();
        assert_eq!(code(&refused), Fault::Internal.code());
        weights.room(&peer("a"), MOST_UNREAD).expect("given back");
    }

    #[test]
    fn a_peer_has_its_bytes_and_gets_them_back() {
        let weights = Weights::default();
        let weigh = |id| weights.weigh(&peer(id), Request::new(Body::empty()), &Refuser::default());
        let (_, first) = weigh("a").unwrap();
        let (_, second) = weigh("a").unwrap();
        assert!(first.grow(MOST - 1) && second.grow(1) && !second.grow(1));
        let (_, other) = weigh("b").unwrap();
        assert!(other.grow(MOST), "another has its own");
        drop(first);
        assert!(second.grow(1));
    }
}
