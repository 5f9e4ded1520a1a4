//! Known bugs, planted: what the stories of faults hold against the server would be caught if it happened.

use acceptance::acknowledged::Acknowledged;
use acceptance::factory::{Factory, copy_all};
use acceptance::ground::{Ground, answered};
use acceptance::hsm::Hsm;
use acceptance::soft::{Signed, SoftChip, SoftStation};
use acceptance::way::Certified;
use identity::envelope::{Envelope, StationRequest as _};
use std::fs;
use std::path::Path;

/// The server's own files, the head file that is in no backup, the signer's files.
const STORE: &str = "ca/state";
const HEAD: &str = "ca/head";
const SIGNER: &str = "ca/signer";

/// A factory that acknowledged a unit and was killed, and all its files from before.
struct Aged {
    factory: Factory,
    station: SoftStation,
    ledger: Acknowledged,
    signed: Signed,
    given: Certified,
    before: std::path::PathBuf,
}

impl Aged {
    async fn of(ground: &Ground, name: &str) -> Self {
        let home = ground.home(name);
        let before = home.join("before");
        let mut factory = ground.factory.copy_to(&home).unwrap();
        copy_all(&factory.path("ca"), &before.join("ca")).unwrap();
        factory.start_server().unwrap();
        let station = ground.station.reconnected(&factory).unwrap();
        let chip = SoftChip::make(&factory.vendor, 2).unwrap();
        let signed = ground.prepare(&station, &chip, 1).await.unwrap();
        let given = station.certify(&signed).await.unwrap();
        let mut ledger = ground.ledger.clone();
        ledger.certificate(&signed, &given).unwrap();
        factory.kill_settled_server().unwrap();
        ledger
            .hold_against(&factory.log_dir(), &ground.trust())
            .unwrap();
        Self {
            factory,
            station,
            ledger,
            signed,
            given,
            before,
        }
    }

    /// Puts a directory back as it was before the unit.
    fn put_back(&self, directory: &str) {
        let now = self.factory.path(directory);
        fs::remove_dir_all(&now).unwrap();
        copy_all(&self.before.join(directory), &now).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_store_from_before_an_acknowledgement_is_refused_or_reported() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    // The store alone: the head file has seen more.
    let mut aged = Aged::of(&ground, "store").await;
    aged.put_back(STORE);
    let refused = aged.factory.start_server().unwrap_err().to_string();
    assert!(refused.contains("the head file knows a head"), "{refused}");
    // Store and head file: the signer has seen more.
    let mut aged = Aged::of(&ground, "head").await;
    aged.put_back(STORE);
    aged.put_back(HEAD);
    let refused = aged.factory.start_server().unwrap_err().to_string();
    assert!(refused.contains("the signer has followed"), "{refused}");
    // Everything that the CA has: it starts, the outside ledger misses the unit, and the station stops the CA.
    let mut aged = Aged::of(&ground, "everything").await;
    for directory in [STORE, HEAD, SIGNER] {
        aged.put_back(directory);
    }
    aged.factory.start_server().unwrap();
    let lost = held(&aged, &aged.ledger, &ground.trust());
    assert!(lost.starts_with("LOST"), "{lost}");
    let ahead = as_seen(&aged.station, &aged.signed, &aged.given);
    // Also if what it asks for would be refused, and the refusal be a leaf: a log that is behind does not grow.
    let before = checkpoint(&aged);
    let unknown = under_no_lot(&aged.station, &ahead);
    let refused = answered(|| aged.station.certify(&unknown))
        .await
        .unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("CA-0904"), "{refused}");
    assert_eq!(checkpoint(&aged), before);
    let refused = answered(|| aged.station.certify(&ahead)).await.unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("CA-0904"), "{refused}");
    let refused = aged.station.certify(&aged.signed).await.unwrap_err();
    assert_eq!(
        refused.code.as_deref(),
        Some("CA-0904"),
        "issuing goes on: {refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_is_behind_what_a_station_saw_takes_no_void_either() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let mut aged = Aged::of(&ground, "void").await;
    for directory in [STORE, HEAD, SIGNER] {
        aged.put_back(directory);
    }
    aged.factory.start_server().unwrap();
    let before = checkpoint(&aged);
    // Whatever comes with what is no checkpoint of this log is refused, and nothing else happens.
    let strange = void_with(&aged.station, b"no checkpoint").await;
    assert_eq!(strange.as_deref(), Some("CA-0101"));
    // That refusal is a leaf, which nobody waits for.
    let mut after_refusal = checkpoint(&aged);
    for _ in 0..2000 {
        if after_refusal != before {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        after_refusal = checkpoint(&aged);
    }
    assert_ne!(after_refusal, before);
    // A void that nobody could make sense of: its refusal would be a leaf.
    let behind = void_with(&aged.station, newest_of(&aged.given).as_bytes()).await;
    assert_eq!(behind.as_deref(), Some("CA-0904"));
    assert_eq!(checkpoint(&aged), after_refusal);
    let stopped = aged.station.certify(&aged.signed).await.unwrap_err();
    assert_eq!(stopped.code.as_deref(), Some("CA-0904"), "{stopped}");
}

/// The code that a void gets which nobody can read, brought with this checkpoint.
async fn void_with(station: &SoftStation, seen: &[u8]) -> Option<String> {
    let mut request = tonic::Request::new(proto::factory::VoidRequest {
        request: b"unreadable".to_vec(),
        signature: vec![0; 64],
    });
    let note = tonic::metadata::MetadataValue::from_bytes(seen);
    request.metadata_mut().insert_bin(proto::SEEN, note);
    let status = station.client().void(request).await.unwrap_err();
    proto::fault::fault_from_status(&status).map(|fault| fault.code)
}

/// The checkpoint that came with a certificate.
fn newest_of(given: &Certified) -> String {
    let proof = String::from_utf8(given.proof.clone()).unwrap();
    proof.split_once("\n\n").unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_fork_is_reported() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let mut aged = Aged::of(&ground, "fork").await;
    for directory in [STORE, HEAD, SIGNER] {
        aged.put_back(directory);
    }
    aged.factory.start_server().unwrap();
    // A station that says nothing of what it saw: another unit takes the place of the one acknowledged.
    let chip = SoftChip::make(&aged.factory.vendor, 3).unwrap();
    let station = aged.station.reconnected(&aged.factory).unwrap();
    let other = ground.prepare(&station, &chip, 2).await.unwrap();
    let given = station.certify(&other).await.unwrap();
    assert_eq!(given.index, aged.given.index);
    let twice = aged
        .ledger
        .certificate(&other, &given)
        .unwrap_err()
        .to_string();
    assert!(twice.starts_with("TWICE"), "{twice}");
    let mut ledger = ground.ledger.clone();
    ledger.certificate(&other, &given).unwrap();
    aged.factory.settle().unwrap();
    ledger
        .hold_against(&aged.factory.log_dir(), &ground.trust())
        .unwrap();
    ledger.head(&aged.given.proof).unwrap();
    let forked = held(&aged, &ledger, &ground.trust());
    assert!(forked.starts_with("FORK"), "{forked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_acknowledged_answer_with_other_bytes_is_reported() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let mut aged = Aged::of(&ground, "bytes").await;
    for at in [0, aged.given.certificate.len() - 1] {
        let mut altered = aged.given.clone();
        altered.certificate[at] ^= 1;
        let fork = aged
            .ledger
            .certificate(&aged.signed, &altered)
            .unwrap_err()
            .to_string();
        assert!(fork.starts_with("FORK"), "{fork}");
    }
    let mut moved = aged.given.clone();
    moved.index += 1;
    assert!(aged.ledger.certificate(&aged.signed, &moved).is_err());
    let same = aged.given.clone();
    aged.ledger.certificate(&aged.signed, &same).unwrap();
    // The leaf of a unit that nobody was told of.
    let surplus = held(&aged, &ground.ledger, &ground.trust());
    assert!(surplus.starts_with("TWICE"), "{surplus}");
}

fn held(aged: &Aged, ledger: &Acknowledged, trust: &Path) -> String {
    ledger
        .hold_against(&aged.factory.log_dir(), trust)
        .unwrap_err()
        .to_string()
}

fn checkpoint(aged: &Aged) -> String {
    std::fs::read_to_string(aged.factory.log_dir().join("checkpoint")).unwrap()
}

/// The same request for a lot that nobody opened.
fn under_no_lot(station: &SoftStation, signed: &Signed) -> Signed {
    let mut envelope = Envelope::from_bytes(&signed.envelope).unwrap();
    envelope.lot = identity::Id::new("no-such-lot").unwrap();
    station.seal(&envelope).unwrap()
}

/// The same request with the checkpoint that came with its first answer, as a line agent would send it.
pub(crate) fn as_seen(station: &SoftStation, signed: &Signed, given: &Certified) -> Signed {
    let mut envelope = Envelope::from_bytes(&signed.envelope).unwrap();
    let newest = newest_of(given);
    envelope.seen = Some(der::asn1::OctetString::new(newest.as_bytes()).unwrap());
    station.seal(&envelope).unwrap()
}
