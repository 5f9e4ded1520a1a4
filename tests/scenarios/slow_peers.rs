//! Peers that are slow, or silent: one that reads its answers byte by byte, one that never reads them, one whose request
//! trickles in for ever, and some that connect and say nothing. Another station works meanwhile as ever, and each of them
//! has an end: its answer, a refusal, or a closed line.

use crate::floor::{FIRST, Floor, SECOND, THIRD, with_stations};
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::register::Register;
use acceptance::soft::{Signed, SoftChip, SoftStation};
use acceptance::tls::{self, Credentials};
use http_body_util::{Full, StreamBody};
use hyper::body::{Bytes, Frame};
use identity::envelope::{Envelope, Purpose, Version1};
use proto::Rpc;
use proto::factory::{FactoryServiceClient, ProvisionRequest, ProvisionResponse};
use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::prost::Message as _;
use tower::ServiceExt as _;

/// Units in the envelope whose answer nobody reads.
const GANG: u32 = 64;
/// Calls on one connection of the peer that never reads; a connection has room for 64.
const CALLS: usize = 60;
/// Connections that it has at most.
const CONNECTIONS: usize = 15;
/// Bytes of answers that it may leave unread before it is refused (`ca_server::rpc`), and what the server may need more than before.
const UNREAD: usize = 8 * 1024 * 1024;
const MEMORY: f64 = 64e6;
/// Seconds that the server gives a call.
const CALL: &str = "[limits]\ncall_seconds = 8";
/// Between two bytes of what trickles.
const TRICKLE: Duration = Duration::from_millis(100);
/// The peers that say nothing.
const SILENT: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_slow_or_silent_has_an_end_and_keeps_nobody_waiting() {
    let floor = Floor::open_with(200, |factory| {
        with_stations(factory, &[THIRD]);
        factory.configure(CALL).unwrap();
    });
    let [good, mute, slow] = [FIRST, SECOND, THIRD].map(|id| floor.station(id));
    let mut units = 100..;
    let mut works = || units.next().map(|number| certify(&floor, &good, number));
    works().unwrap().await;
    let silent = say_nothing(&floor);
    let trickling = tokio::spawn(trickle(channel(&floor, &slow)));
    works().unwrap().await;

    let (gang, answer) = gang(&floor, &mute).await;
    let new = draft(&floor, &mute, 91).await;
    let before = floor.factory.server_memory().unwrap();
    let unread = never_read(&floor, &mute, &gang, answer.encoded_len()).await;
    assert_nothing_done(&floor, &mute, &new).await;
    works().unwrap().await;
    let more = floor.factory.server_memory().unwrap() - before;
    println!(
        "{more} bytes more while {} answers are not read",
        unread.len()
    );
    assert!(more < MEMORY, "{more} bytes more");

    // Byte by byte it is the same answer.
    let narrow = tls::narrow(&floor.factory, credentials(&slow), 1).unwrap();
    let (own, first) = signed(&floor, &slow, 90).await;
    let again = FactoryServiceClient::new(narrow).provision(own).await;
    assert_eq!(again.unwrap().into_inner(), first);
    works().unwrap().await;

    assert_eq!(trickling.await.unwrap().code(), Code::DeadlineExceeded);
    for closed in silent {
        assert!(closed.await.unwrap().is_empty(), "nothing was said");
    }
    // Whoever takes its answers, or hangs up, is served like anybody.
    drop(unread);
    let runtime = tokio::runtime::Handle::current();
    until("room for the peer", || {
        let asked = provision(channel(&floor, &mute), &gang);
        let answer = tokio::task::block_in_place(|| runtime.block_on(asked));
        Ok(refusal(&answer).is_none().then_some(()))
    })
    .unwrap();
    let issued = mute.issue(&new).await.unwrap();
    assert!(issued.is_ok(), "{issued:?}");
    works().unwrap().await;
    floor.factory.status().unwrap();
    assert!(!floor.factory.server_log().contains("panicked"));
}

fn credentials(station: &SoftStation) -> Credentials<'_> {
    Credentials {
        certificate: &station.certificate,
        key: &station.tls,
    }
}

fn channel(floor: &Floor, station: &SoftStation) -> Channel {
    tls::channel(&floor.factory, credentials(station)).unwrap()
}

/// Connects and says nothing; what each of them is told until the server closes the line.
fn say_nothing(floor: &Floor) -> Vec<JoinHandle<Vec<u8>>> {
    let address = floor.factory.address();
    let listen = move || {
        let mut told = Vec::new();
        // Closed in whatever way.
        drop(TcpStream::connect(address).unwrap().read_to_end(&mut told));
        told
    };
    let listen = |_| tokio::task::spawn_blocking(listen);
    (0..SILENT).map(listen).collect()
}

/// A message of which a byte comes now and then, and never the last; how the call ends.
async fn trickle(channel: Channel) -> Status {
    let head = [&[0][..], &200_000_u32.to_be_bytes()].concat();
    let byte = |byte| Ok::<_, Status>(Frame::data(Bytes::from(vec![byte])));
    let bytes = tokio_stream::iter(head.into_iter().chain(std::iter::repeat(0x30)));
    let body = StreamBody::new(bytes.map(byte).throttle(TRICKLE));
    let answer = send(channel, Body::new(body)).await;
    refusal(&answer).expect("no answer to half a request")
}

/// An envelope of as many units as there may be, and its answer.
async fn gang(floor: &Floor, station: &SoftStation) -> (Signed, ProvisionResponse) {
    let make = |number| SoftChip::make(&floor.factory.vendor, number).unwrap();
    let chips: Vec<_> = (0..GANG).map(make).collect();
    let (challenges, time) = station.challenges(chips.iter()).await.unwrap();
    let units = (CAMERAS.first..).zip(chips.iter().zip(challenges));
    let units = units.map(|(serial, (chip, challenge))| {
        let unit = station.unit(floor.order, chip, serial, challenge);
        unit.unwrap()
    });
    let envelope = Envelope {
        version: Version1,
        purpose: Purpose::Provision,
        station: station.id,
        time,
        grant: floor.order.grant,
        lot: floor.order.lot,
        seen: None,
        units: units.collect(),
    };
    let signed = station.seal(&envelope).unwrap();
    let answer = station.client().provision(message(&signed)).await;
    (signed, answer.unwrap().into_inner())
}

/// Asks for the same answer again and again and reads none, until the server has no room for more.
async fn never_read(
    floor: &Floor,
    station: &SoftStation,
    gang: &Signed,
    bytes: usize,
) -> Vec<Response<Body>> {
    let mut unread = Vec::new();
    for _ in 0..CONNECTIONS {
        let narrow = tls::narrow(&floor.factory, credentials(station), 1).unwrap();
        for _ in 0..CALLS {
            let answer = provision(narrow.clone(), gang).await;
            if let Some(refused) = refusal(&answer) {
                assert_overloaded(&refused);
                let left = unread.len() * bytes;
                assert!(
                    left > UNREAD / 2 && left <= UNREAD + bytes,
                    "{left} bytes are unread"
                );
                return unread;
            }
            unread.push(answer);
        }
    }
    panic!("{} answers of {bytes} bytes are not read", unread.len());
}

/// Who leaves too much unread is refused before anything is done for it: a new unit is neither bound nor on record.
async fn assert_nothing_done(floor: &Floor, station: &SoftStation, new: &Signed) {
    let mut register = Register::open(&floor.factory).await.unwrap();
    register.news().await.unwrap();
    let answer = provision(channel(floor, station), new).await;
    assert_overloaded(&refusal(&answer).expect("an answer without room for it"));
    let news = register.news().await.unwrap();
    assert!(news.is_empty(), "{news:?}");
}

fn assert_overloaded(refused: &Status) {
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let fault = proto::fault::fault_from_status(refused).unwrap();
    assert_eq!(fault.code, "CA-0108");
    assert!(fault.retry_after_ms.is_some());
}

/// What a call was refused with, if its answer begins so.
fn refusal(answer: &Response<Body>) -> Option<Status> {
    Status::from_header_map(answer.headers())
}

fn message(signed: &Signed) -> ProvisionRequest {
    ProvisionRequest {
        envelope: signed.envelope.clone(),
        signature: signed.signature.clone(),
    }
}

async fn provision(channel: Channel, signed: &Signed) -> Response<Body> {
    let message = message(signed).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0][..], &length, &message].concat();
    send(channel, Body::new(Full::new(Bytes::from(framed)))).await
}

async fn send(channel: Channel, body: Body) -> Response<Body> {
    let request = Request::post(Rpc::FactoryProvision.path())
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    channel.oneshot(request).await.unwrap()
}

async fn draft(floor: &Floor, station: &SoftStation, number: u32) -> Signed {
    let chip = SoftChip::make(&floor.factory.vendor, number).unwrap();
    let serial = CAMERAS.first + u64::from(number);
    let draft = station.draft(Purpose::Provision, floor.order, &chip, serial);
    station.seal(&draft.await.unwrap()).unwrap()
}

async fn certify(floor: &Floor, station: &SoftStation, number: u32) {
    let signed = draft(floor, station, number).await;
    let issued = station.issue(&signed).await.unwrap();
    assert!(issued.is_ok(), "{issued:?}");
}

/// A request, and what it was answered.
async fn signed(
    floor: &Floor,
    station: &SoftStation,
    number: u32,
) -> (ProvisionRequest, ProvisionResponse) {
    let signed = draft(floor, station, number).await;
    let answer = station.client().provision(message(&signed)).await;
    (message(&signed), answer.unwrap().into_inner())
}
