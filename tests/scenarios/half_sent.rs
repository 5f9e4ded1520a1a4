//! A peer that sends by halves, or not at all: it costs the server neither memory nor anybody else their turn.

use crate::floor::{FIRST, Floor, SECOND};
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::soft::{SoftChip, SoftStation};
use acceptance::tls::{self, Credentials};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use identity::envelope::Purpose;
use proto::Rpc;
use std::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::ServiceExt as _;

/// Connections of the peer that sends by halves, and calls on each.
const CONNECTIONS: usize = 8;
const CALLS: usize = 64;
/// What each call says that it will send, and what it sends: 128 MB in all.
const SAID: u32 = 260_000;
const SENT: usize = 250_000;
/// What the server may need more than before, in bytes.
const MEMORY: f64 = 48e6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_peer_sends_by_halves_is_no_memory_and_nobody_waits_for_it() {
    let floor = Floor::open(10);
    let [flood, good] = [FIRST, SECOND].map(|id| floor.station(id));
    certify(&floor, &good, 1).await;
    let before = floor.factory.server_memory().unwrap();
    // Some say nothing at all.
    let address = floor.factory.address();
    let silent: Vec<_> = (0..16).map(|_| TcpStream::connect(address)).collect();
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut calls = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = channel(&floor, &flood);
        for _ in 0..CALLS {
            let (channel, tell) = (channel.clone(), tell.clone());
            calls.push(tokio::spawn(async move {
                if let Some(refused) = half_a_message(channel).await {
                    drop(tell.send(refused));
                }
            }));
        }
    }
    // What fits into the peer's share is waited for; all the rest is sent away, and told when to come again.
    for _ in 0..CONNECTIONS * CALLS * 9 / 10 {
        let refused = told.recv().await.unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        let fault = proto::fault::fault_from_status(&refused).unwrap();
        assert_eq!(fault.code, "CA-0108");
        assert!(fault.retry_after_ms.is_some());
    }
    // Meanwhile another station works as ever.
    certify(&floor, &good, 2).await;
    let more = floor.factory.server_memory().unwrap() - before;
    println!("{more} bytes more while {CONNECTIONS} times {CALLS} calls are half sent");
    assert!(more < MEMORY, "{more} bytes more");
    assert!(calls.iter().any(|call| !call.is_finished()));
    // When its halves are gone the peer is served like anybody.
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    let chip = SoftChip::make(&floor.factory.vendor, 3).unwrap();
    until("room for the peer", || {
        let asked = flood.challenges(std::iter::once(&chip));
        let runtime = tokio::runtime::Handle::current();
        let asked = tokio::task::block_in_place(|| runtime.block_on(asked));
        Ok(asked.is_ok().then_some(()))
    })
    .unwrap();
    certify(&floor, &flood, 3).await;
    drop(silent);
    assert!(!floor.factory.server_log().contains("panicked"));
}

fn channel(floor: &Floor, station: &SoftStation) -> Channel {
    let own = Credentials {
        certificate: &station.certificate,
        key: &station.tls,
    };
    tls::channel(&floor.factory, own).unwrap()
}

/// Begins a call whose message never ends; gives the refusal, if one comes.
async fn half_a_message(channel: Channel) -> Option<Status> {
    let mut bytes = vec![0];
    bytes.extend(SAID.to_be_bytes());
    bytes.resize(SENT, 0x30);
    let half = Ok::<_, Status>(Frame::data(Bytes::from(bytes)));
    let body = tokio_stream::iter([half]).chain(tokio_stream::pending());
    let request = Request::post(Rpc::FactoryProvision.path())
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(StreamBody::new(body)))
        .unwrap();
    let answer = channel.oneshot(request).await.ok()?;
    Status::from_header_map(answer.headers())
}

async fn certify(floor: &Floor, station: &SoftStation, number: u32) {
    let chip = SoftChip::make(&floor.factory.vendor, number).unwrap();
    let serial = CAMERAS.first + u64::from(number);
    let draft = station.draft(Purpose::Provision, floor.order, &chip, serial);
    let signed = station.seal(&draft.await.unwrap()).unwrap();
    let issued = station.issue(&signed).await.unwrap();
    assert!(issued.is_ok(), "{issued:?}");
}
