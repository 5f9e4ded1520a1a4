//! Every byte of what the CA answers is altered, one at a time, by somebody between CA and station whom both believe.
//! The answers go through the agent's own link, steps and checks, with a real chip; only its HSM is in software.
//!
//! What may differ and do no harm is named in `without_hints`: the agent reads none of it.

use crate::floor::{FIRST, Floor};
use acceptance::chips::{Programmer as Trays, Tray};
use acceptance::factory::SERVER_NAME;
use acceptance::insider::{self, Order as Certificate};
use acceptance::lines::CAMERAS;
use acceptance::proxy::{Proxy, Question, Said};
use acceptance::soft::{SoftKey, SoftStation};
use acceptance::tls::{self, Credentials};
use identity::fault::Fault;
use identity::{DeviceSerial, Id, RequestId, Timestamp};
use keyvault::VaultError;
use koseki_device::Refusal;
use koseki_verify::Trust;
use line_agent::agent::ProgramHash;
use line_agent::ca_link::{CaLink, Means, Validity};
use line_agent::config;
use line_agent::injector::{LineHsm, Target, WrappedKey};
use line_agent::lot::{Lot, LotUnit};
use line_agent::orders::Orders;
use line_agent::programmer::{self, ProgrammerError};
use line_agent::records::{Output, Trail};
use line_agent::sources::{SystemClock, SystemEntropy};
use line_agent::station::Step;
use line_agent::station::floor::{Floor as Line, Queue, Roll, Serials, Stop};
use line_agent::station::inspect::Inspector;
use line_agent::station::journal::{Journal, OpenUnit, SignedRequest};
use line_agent::station::seen::SeenCheckpoint;
use line_agent::station::session::{Bench, Burnt, Checked, Issued, Sent, Task};
use line_agent::station::spool::Spool;
use proto::factory::unit_result::Outcome;
use proto::factory::{ConfirmResponse, GetChallengesResponse, ProvisionResponse, confirm_response};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::{Code, Status};
use tonic_prost::prost::Message;

/// The station's request key, in software.
struct SoftHsm(SoftKey);

impl LineHsm for SoftHsm {
    fn sign_request(&self, digest: &[u8; 32]) -> Result<[u8; 64], VaultError> {
        Ok(self.0.sign(digest).unwrap().0)
    }

    fn make_key(&self, _target: &Target<'_>) -> Result<WrappedKey, VaultError> {
        let reason = "the product's keys are made on the chip";
        Err(VaultError::Request { reason })
    }
}

/// A chip in a socket, a CA, and somebody between.
pub(crate) struct Ground {
    pub(crate) floor: Floor,
    station: SoftStation,
    pub(crate) proxy: Proxy,
    settings: config::Ca,
    orders: Orders,
    trays: Trays,
    runtime: Runtime,
}

impl Ground {
    pub(crate) fn open() -> Self {
        let (floor, runtime) = (Floor::open(1), Runtime::new().unwrap());
        let inside = runtime.enter();
        let station = floor.station(FIRST);
        let own = Credentials {
            certificate: &station.certificate,
            key: &station.tls,
        };
        let proxy = Proxy::new(tls::channel(&floor.factory, own).unwrap());
        drop(inside);
        let mut tray = Tray::new(&floor.factory.path("tray"));
        tray.put(&floor.factory.vendor, CAMERAS.part, 1, 1).unwrap();
        let trays = tray.present(1).unwrap();
        let factory = &floor.factory;
        let documents = factory.grant_dir(CAMERAS.grant);
        let grant = config::Grant {
            file: documents.join("grant.der"),
            profile: documents.join("profile.der"),
            lots: vec![id(CAMERAS.lot)],
        };
        let trust = factory.path("trust");
        factory.publish_trust(&trust, &[CAMERAS.grant]).unwrap();
        Self {
            orders: Orders::load(&[grant], &line_station()).unwrap(),
            settings: settings(),
            floor,
            station,
            proxy,
            trays,
            runtime,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.floor.factory.path(name)
    }

    /// The agent's link, to whoever stands between.
    fn link<'a>(&self, stop: &'a Stop) -> CaLink<'a> {
        let key = SoftKey::generate().unwrap();
        let order = Certificate {
            name: &format!("DNS:{SERVER_NAME}"),
            server: true,
            days: (-1, 9),
        };
        let factory = &self.floor.factory;
        let certificate = insider::certify(factory, &key, &order).unwrap();
        let own = Credentials {
            certificate: &certificate,
            key: &key,
        };
        let address = self.runtime.block_on(self.proxy.listen(own)).unwrap();
        let _inside = self.runtime.enter();
        let client = tls::client(factory, None).unwrap();
        let means = Means {
            runtime: self.runtime.handle().clone(),
            stop,
            entropy: &SystemEntropy,
            clock: &SystemClock,
            seen: None,
            agent: ProgramHash([7; 32]),
        };
        let always = Validity {
            from: Timestamp(0),
            until: Timestamp(u64::MAX),
        };
        CaLink::over(tls::lazy(address, client), always, &self.settings, means)
    }

    /// Acts at a bench of the agent, with everything that an agent has; what it knows is in this directory.
    pub(crate) fn at_bench(&self, state: &str, act: impl FnOnce(&Self, &mut Bench<'_>)) {
        let (state, stop) = (self.path(state), Stop::default());
        let trust = Trust::load(&self.path("trust")).unwrap();
        let (link, journal) = (self.link(&stop), Journal::open(&state).unwrap());
        let floor = Line {
            station: &line_station(),
            orders: &self.orders,
            hsm: &SoftHsm(self.station.request.clone()),
            ca: &link,
            inspector: &Inspector::new(&trust, &SystemClock),
            journal: &journal,
            output: &Output::open(&self.path("out")).unwrap(),
            seen: &SeenCheckpoint::open(&state).unwrap(),
            clock: &SystemClock,
            entropy: &SystemEntropy,
            stop: &stop,
            roll: &Roll::default(),
            serials: &Serials::default(),
            spool: &Spool::new(Duration::ZERO, Duration::ZERO),
            agent: ProgramHash([0xA9; 32]),
            attempts: 3,
        };
        let socket = config::Line::Tcp(self.trays.sockets[0].clone());
        let mut programmer = programmer::open(&socket, &SystemEntropy).unwrap();
        let queue = Queue::new(lot(), |_| true);
        let task = Task {
            order: self.orders.for_lot(&id(CAMERAS.lot)).unwrap(),
            lot: id(CAMERAS.lot),
            serial: lot().units[0].serial,
            label: String::new(),
            attempt: 1,
            failures: 0,
            socket: id("1"),
            position: 0,
        };
        act(
            self,
            &mut Bench {
                floor,
                programmer: &mut *programmer,
                queue: &queue,
                task,
                request: RequestId([7; 16]),
                shipment: None,
                trail: Trail::begin(Timestamp(0)),
            },
        );
    }

    pub(crate) fn forge(&self, question: Question, bytes: &[u8]) {
        let said = Said::Message(bytes.to_vec());
        drop(self.proxy.heard(question));
        self.proxy.forge(question, said);
    }

    pub(crate) fn heard<M: Message + Default>(&self, question: Question) -> (Vec<u8>, M) {
        let Some(Said::Message(bytes)) = self.proxy.heard(question) else {
            panic!("the CA did not answer {question:?}");
        };
        let message = M::decode(bytes.as_slice()).unwrap();
        (bytes, message)
    }
}

fn line_station() -> config::Station {
    config::Station {
        id: id(FIRST),
        site: id("JP-13-OTA"),
        line: id("line-2"),
    }
}

fn settings() -> config::Ca {
    let nowhere = Path::new("").to_owned();
    config::Ca {
        address: String::new(),
        server_name: SERVER_NAME.to_owned(),
        infrastructure_root: nowhere.clone(),
        certificate: nowhere,
        deadline_seconds: 30,
        give_up_seconds: 30,
        hold_seconds: 0,
    }
}

fn lot() -> Lot {
    let serial = DeviceSerial::new(&CAMERAS.first.to_string()).unwrap();
    let label = String::new();
    Lot {
        id: id(CAMERAS.lot),
        units: vec![LotUnit { serial, label }],
    }
}

pub(crate) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// Every byte altered, one at a time, in each of these ways.
pub(crate) fn alterations<'a>(
    truth: &'a [u8],
    flips: &'a [u8],
) -> impl Iterator<Item = (usize, Vec<u8>)> + 'a {
    let places = (0..truth.len()).flat_map(move |at| flips.iter().map(move |flip| (at, flip)));
    places.map(move |(at, flip)| {
        let mut altered = truth.to_vec();
        altered[at] ^= flip;
        (at, altered)
    })
}

/// An answer without what the agent never reads.
pub(crate) trait WithoutHints: Message + Default + PartialEq {
    fn without_hints(self) -> Self;
}

impl WithoutHints for GetChallengesResponse {
    /// When it expires is inside of the challenge, too, under the CA's MAC. How the station's clock stands against the
    /// CA's is a remark in the record; the CA holds the station's time against its own. Whether its statement names agents
    /// is for people at the doctor's.
    fn without_hints(self) -> Self {
        Self {
            expiry_ms: 0,
            server_time_ms: 0,
            agents_named: false,
            ..self
        }
    }
}

impl WithoutHints for ProvisionResponse {
    /// Grant and ordinal stand in the leaf, which the proof brings and the agent checks; those beside it are for people.
    fn without_hints(mut self) -> Self {
        for result in &mut self.results {
            if let Some(Outcome::Issued(issued)) = &mut result.outcome {
                issued.grant.clear();
                issued.ordinal = 0;
            }
        }
        self
    }
}

impl WithoutHints for ConfirmResponse {
    /// The leaf's index stands in the receipt, under the log's signature.
    fn without_hints(mut self) -> Self {
        if let Some(confirm_response::Outcome::Receipt(receipt)) = &mut self.outcome {
            receipt.index = 0;
        }
        self
    }
}

/// That altered bytes say the same as the true ones, but for hints.
pub(crate) fn is_hint<M: WithoutHints>(altered: &[u8], truth: &[u8]) -> bool {
    let read = |bytes: &[u8]| M::decode(bytes).map(WithoutHints::without_hints);
    read(altered).is_ok_and(|altered| Ok(altered) == read(truth))
}

#[test]
fn no_altered_byte_of_an_answer_makes_another_unit() {
    Ground::open().at_bench("state", |ground, bench| {
        let open = burn(bench);
        let refusal = alter_challenge(ground, bench, &open);
        let sent = Burnt::resume(&open).prove(bench).unwrap();
        let open = journalled(bench);
        drop(sent.provision(bench).unwrap());
        let (bytes, truth) = ground.heard::<ProvisionResponse>(Question::Provision);
        let certificate = issued(&truth).certificate.clone();
        assert_eq!(in_chip(bench), None, "something was written");
        alter_refusal(ground, bench, &open, &refusal);
        alter_failure(ground, bench, &open);
        assert_eq!(in_chip(bench), None, "something was written");
        alter_issued(ground, bench, &open, &bytes);
        assert_eq!(in_chip(bench), Some(certificate.clone()));
        alter_receipt(ground, bench, &open);
        assert_eq!(in_chip(bench), Some(certificate));
    });
}

/// A unit whose key is burnt, and that the CA knows nothing of.
pub(crate) fn burn(bench: &mut Bench<'_>) -> OpenUnit {
    let chip = bench.identify().unwrap();
    let checked = Checked::new(chip, bench).unwrap();
    drop(checked.make_key(bench).unwrap().burn(bench).unwrap());
    journalled(bench)
}

pub(crate) fn journalled(bench: &Bench<'_>) -> OpenUnit {
    let open = |history: &line_agent::station::journal::History| history.open_in(&id("1")).cloned();
    bench.floor.journal.with(open).unwrap()
}

pub(crate) fn in_chip(bench: &mut Bench<'_>) -> Option<Vec<u8>> {
    match bench.programmer.read_certificate() {
        Ok(certificate) => Some(certificate),
        Err(ProgrammerError::Refused(Refusal::NoCertificate)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn issued(answer: &ProvisionResponse) -> &proto::factory::Issued {
    match &answer.results[0].outcome {
        Some(Outcome::Issued(issued)) => issued,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn send(open: &OpenUnit, bench: &mut Bench<'_>) -> Step<Issued> {
    Sent::resume(open).unwrap().provision(bench)
}

/// Whoever answers another challenge than the CA's gets nothing. Gives what the CA answers then.
fn alter_challenge(ground: &Ground, bench: &mut Bench<'_>, open: &OpenUnit) -> Vec<u8> {
    let (truth, real) = ground.heard::<GetChallengesResponse>(Question::Challenges);
    let (mut hints, mut refused, mut refusal) = (0, 0, Vec::new());
    for (at, altered) in alterations(&truth, &[0x01, 0x80]) {
        ground.forge(Question::Challenges, &altered);
        if is_hint::<GetChallengesResponse>(&altered, &truth) {
            let given = bench
                .floor
                .ca
                .challenge(&open.keyed.uid, None, None)
                .unwrap();
            assert_eq!([given], real.challenges.as_slice(), "byte {at}");
            hints += 1;
            continue;
        }
        let proved = Burnt::resume(open).prove(bench);
        let outcome = proved.and_then(|sent| sent.provision(bench));
        assert!(outcome.is_err(), "byte {at} of the challenge is accepted");
        refused += 1;
        if let Some(Said::Message(bytes)) = ground.proxy.heard(Question::Provision) {
            refusal = bytes;
        }
    }
    println!("challenge: {refused} refused, {hints} hints");
    assert!(refused > 60 && hints > 10);
    assert!(ground.floor.factory.status().unwrap().contains(" 0 of "));
    refusal
}

/// A refusal is never an answer, however it is altered. Where it says that the CA is only busy, it is asked again, and
/// the truth counts.
fn alter_refusal(ground: &Ground, bench: &mut Bench<'_>, open: &OpenUnit, truth: &[u8]) {
    assert!(truth.len() > 50);
    let flips = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80];
    for (at, altered) in alterations(truth, &flips) {
        ground.forge(Question::Provision, &altered);
        let outcome = send(open, bench);
        let asked_again = ground.proxy.heard(Question::Provision).is_some();
        assert_eq!(outcome.is_ok(), asked_again, "byte {at} of a refusal");
    }
}

/// The same for a failure of the call: its code, its details, and its text.
fn alter_failure(ground: &Ground, bench: &mut Bench<'_>, open: &OpenUnit) {
    let mut forged = open.sent.clone().unwrap();
    forged.signature[9] ^= 1;
    drop(ground.proxy.heard(Question::Provision));
    bench.floor.ca.provision(&forged).unwrap_err();
    let Some(Said::Failed(truth)) = ground.proxy.heard(Question::Provision) else {
        panic!("a wrong signature is a failure of the call");
    };
    let mut hold = |status: Status, what: String| {
        ground
            .proxy
            .forge(Question::Provision, Said::Failed(status));
        let outcome = send(open, bench);
        let asked_again = ground.proxy.heard(Question::Provision).is_some();
        assert_eq!(outcome.is_ok(), asked_again, "{what} of a failure");
    };
    let (code, text) = (truth.code(), truth.message());
    assert!(truth.details().len() > 50);
    for (at, altered) in alterations(truth.details(), &[0x01, 0x08, 0x80]) {
        let status = Status::with_details(code, text, altered.into());
        hold(status, format!("byte {at} of the details"));
    }
    for (at, altered) in alterations(text.as_bytes(), &[0x01]) {
        let text = String::from_utf8_lossy(&altered);
        let status = Status::with_details(code, text, truth.details().to_vec().into());
        hold(status, format!("byte {at} of the text"));
    }
    for number in 0..=16 {
        let details = truth.details().to_vec().into();
        let status = Status::with_details(Code::from(number), text, details);
        hold(status, format!("code {number}"));
    }
}

/// Of a certified unit: what is accepted is what was said, or the CA refuses what the chip signs for it.
fn alter_issued(ground: &Ground, bench: &mut Bench<'_>, open: &OpenUnit, truth: &[u8]) {
    let real = ProvisionResponse::decode(truth).unwrap();
    let (mut hints, mut nonces) = (0, 0);
    for (at, altered) in alterations(truth, &[0x01]) {
        ground.forge(Question::Provision, &altered);
        let Ok(accepted) = send(open, bench) else {
            continue;
        };
        let written = accepted.write(bench).unwrap();
        let held = in_chip(bench).unwrap();
        assert_eq!(held, issued(&real).certificate, "byte {at} is in the chip");
        if is_hint::<ProvisionResponse>(&altered, truth) {
            hints += 1;
            continue;
        }
        // The nonce is the CA's own: only it can tell. The chip signed for nothing.
        let read = ProvisionResponse::decode(altered.as_slice()).unwrap();
        let (read, real) = (issued(&read), issued(&real));
        assert_ne!(
            read.confirm_nonce, real.confirm_nonce,
            "byte {at} is accepted"
        );
        let ended = written.confirm(bench).unwrap().settle(bench);
        assert_eq!(
            ended.unwrap_err().fault,
            Fault::ConfirmSignature,
            "byte {at}"
        );
        nonces += 1;
    }
    println!(
        "issued: {} bytes, {hints} hints, {nonces} of the nonce",
        truth.len()
    );
    assert_eq!(nonces, 32);
    assert!((32..=40).contains(&hints), "{hints} hints");
}

/// Of the receipt: what ships is what was said.
fn alter_receipt(ground: &Ground, bench: &mut Bench<'_>, open: &OpenUnit) {
    let written = send(open, bench).unwrap().write(bench).unwrap();
    written.confirm(bench).unwrap().settle(bench).unwrap();
    let open = journalled(bench);
    let request: SignedRequest = open.confirming.clone().unwrap();
    let (truth, real) = ground.heard::<ConfirmResponse>(Question::Confirm);
    let Some(confirm_response::Outcome::Receipt(real)) = real.outcome else {
        panic!("no receipt");
    };
    let certificate = in_chip(bench).unwrap();
    let (floor, mut hints) = (bench.floor, 0);
    for (at, altered) in alterations(&truth, &[0x01]) {
        ground.forge(Question::Confirm, &altered);
        // The two calls of `Confirming::settle`.
        let answered = floor.ca.confirm(&request).map_err(Into::into);
        let accepted = answered.and_then(|receipt| {
            let checked = floor.inspector.inspect_confirm(&certificate, &receipt);
            checked.map(|()| receipt)
        });
        let Ok(receipt) = accepted else {
            continue;
        };
        assert!(is_hint::<ConfirmResponse>(&altered, &truth), "byte {at}");
        assert_eq!(receipt, real.tlog_proof, "byte {at}");
        hints += 1;
    }
    println!("receipt: {} bytes, {hints} hints", truth.len());
    assert!((1..=3).contains(&hints), "{hints} hints");
}
