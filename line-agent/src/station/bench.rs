//! A station on a bench: a tray of chips that outlives the agent, a CA that keeps a register, and a fuse that kills the
//! agent at any chosen touch of the outside world.

mod ca;

use super::floor::{Floor, Queue, Roll, Serials, Stop, lock};
use super::journal::Journal;
use super::scrap::Scrapped;
use super::seen::SeenCheckpoint;
use super::socket::Socket;
use super::spool::Spool;
use crate::agent::ProgramHash;
use crate::config::Station;
use crate::display::Desk;
use crate::display::json::JsonLines;
use crate::display::samples::Paper;
use crate::injector::{LineHsm, Target, WrappedKey};
use crate::lot::{Lot, LotUnit};
use crate::orders::{Order, Orders};
use crate::programmer::{Answered, Programmer};
use crate::records::Output;
use crate::verdict::Verdict;
pub(super) use ca::Enrolled;
use ca::{FakeCa, FakeInspector, Register};
use identity::document::{
    Document as _, Grant, KeyOriginRule, Profile, SubjectAttribute, UidRule, Version1,
};
use identity::evidence::Grade;
use identity::fault::Fault;
use identity::message::{Endorsement, Message as _};
use identity::serial_pattern::SerialPattern;
use identity::sources::EntropyError;
use identity::{
    CertificateHash, ChipUid, Clock, DeviceSerial, Entropy, Id, LeafHash, P256Key, PartNumber,
    SpkiHash, Timestamp,
};
use keyvault::VaultError;
use koseki_device::{
    Confirmed, Device, Driver, Identification, Injection, Link, MadeKey, Memory, MemoryError,
    Patience, Proof, Seat, Signature, TransportKey,
};
use p256::ecdsa::{SigningKey, signature::hazmat::PrehashSigner as _};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// When the grant ends.
pub(super) const GRANT_END: Timestamp = Timestamp(1_800_000_000_000);
const VENDOR: [u8; 32] = [0x44; 32];
const ATTESTATION: [u8; 32] = [0x33; 32];
/// The station's request key, and the one after it was enrolled anew.
const STATION: [u8; 32] = [0x55; 32];
const STATION_ANEW: [u8; 32] = [0x56; 32];

pub(super) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn public(secret: &[u8; 32]) -> P256Key {
    let key = SigningKey::from_slice(secret).unwrap();
    P256Key::from_sec1(key.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
}

fn sign(secret: &[u8; 32], digest: &[u8; 32]) -> [u8; 64] {
    let signature: p256::ecdsa::Signature = SigningKey::from_slice(secret)
        .unwrap()
        .sign_prehash(digest)
        .unwrap();
    signature.to_bytes().into()
}

/// Kills the agent (by a panic that is caught where it was started) at the n-th touch; a negative count never does.
#[derive(Debug)]
pub(super) struct Fuse(AtomicI64);

impl Fuse {
    pub(super) fn after(touches: i64) -> Self {
        Self(AtomicI64::new(touches))
    }

    fn touch(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 {
            std::panic::resume_unwind(Box::new("killed"));
        }
    }

    /// Whether the fuse has blown.
    pub(super) fn blew(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }
}

/// What a chip keeps without power.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    pub(super) uid: Vec<u8>,
    pub(super) part: &'static str,
    pub(super) vendor: [u8; 32],
    pub(super) slot: [u8; 32],
    pub(super) lock: [u8; 4],
    certificate: Vec<u8>,
    certificate_len: u16,
}

#[derive(Clone, Debug)]
pub(super) struct ChipMemory(pub(super) Arc<Mutex<Cells>>);

impl ChipMemory {
    pub(super) fn new(n: u8) -> Self {
        Self(Arc::new(Mutex::new(Cells {
            uid: vec![1, 0x23, 0, 0, 0, 0, 0, 0, n],
            part: "sim-se-a1",
            vendor: VENDOR,
            slot: [0xFF; 32],
            lock: [0xFF; 4],
            certificate: vec![0; 2048],
            certificate_len: 0,
        })))
    }

    pub(super) fn change(self, change: impl FnOnce(&mut Cells)) -> Self {
        change(&mut lock(&self.0));
        self
    }

    pub(super) fn certificate(&self) -> Vec<u8> {
        let cells = lock(&self.0);
        cells.certificate[..usize::from(cells.certificate_len)].to_vec()
    }
}

impl Memory for ChipMemory {
    fn uid(&self) -> ChipUid {
        ChipUid::new(&lock(&self.0).uid).unwrap()
    }
    fn part(&self) -> PartNumber {
        PartNumber::new(lock(&self.0).part).unwrap()
    }
    fn endorsement(&self) -> [u8; 64] {
        let (uid, part, vendor) = (self.uid(), self.part(), lock(&self.0).vendor);
        sign(
            &vendor,
            &Endorsement {
                uid: &uid,
                part: &part,
                attestation: &public(&ATTESTATION).spki_hash(),
            }
            .digest(),
        )
    }
    fn read_attestation_key(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        *out = ATTESTATION;
        Ok(())
    }
    fn read_slot(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        *out = lock(&self.0).slot;
        Ok(())
    }
    fn write_slot(&mut self, secret: &[u8; 32]) -> Result<(), MemoryError> {
        lock(&self.0).slot = *secret;
        Ok(())
    }
    fn read_lock(&self) -> Result<[u8; 4], MemoryError> {
        Ok(lock(&self.0).lock)
    }
    fn write_lock(&mut self, word: &[u8; 4]) -> Result<(), MemoryError> {
        lock(&self.0).lock = *word;
        Ok(())
    }
    fn certificate_capacity(&self) -> u16 {
        2048
    }
    fn certificate_len(&self) -> Result<u16, MemoryError> {
        Ok(lock(&self.0).certificate_len)
    }
    fn set_certificate_len(&mut self, len: u16) -> Result<(), MemoryError> {
        lock(&self.0).certificate_len = len;
        Ok(())
    }
    fn read_certificate(&self, offset: u16, out: &mut [u8]) -> Result<(), MemoryError> {
        let from = usize::from(offset);
        out.copy_from_slice(&lock(&self.0).certificate[from..from + out.len()]);
        Ok(())
    }
    fn write_certificate(&mut self, offset: u16, bytes: &[u8]) -> Result<(), MemoryError> {
        let from = usize::from(offset);
        lock(&self.0).certificate[from..from + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Different bytes at every call.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for piece in out.chunks_mut(32) {
            let next = self.0.fetch_add(1, Ordering::Relaxed);
            piece.copy_from_slice(&identity::hash::sha256(&next.to_be_bytes())[..piece.len()]);
        }
        Ok(())
    }
}

/// A line to one powered chip.
struct ChipLink {
    device: Device<ChipMemory, Counter>,
    answers: VecDeque<u8>,
}

impl Link for ChipLink {
    type Error = io::Error;

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { device, answers } = self;
        device.receive(bytes, |frame| answers.extend(frame));
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8], _timeout_ms: u32) -> io::Result<usize> {
        let len = into.len().min(self.answers.len());
        into.iter_mut()
            .zip(self.answers.drain(..len))
            .for_each(|(to, from)| *to = from);
        Ok(len)
    }
}

/// Chips in a socket's tray; position and chips outlive the agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Tray {
    pub(super) chips: Vec<ChipMemory>,
    pub(super) position: Arc<AtomicU64>,
}

struct TraySocket {
    tray: Tray,
    fuse: Arc<Fuse>,
    entropy: Counter,
    powered: Option<(u64, Driver<ChipLink>)>,
}

impl TraySocket {
    fn seat(&self) -> Seat {
        let position = self.tray.position.load(Ordering::Relaxed);
        Seat {
            position: u32::try_from(position).unwrap(),
            occupied: self.chip(position).is_some(),
        }
    }

    fn chip(&self, position: u64) -> Option<&ChipMemory> {
        self.tray.chips.get(usize::try_from(position).unwrap())
    }

    fn touch<T>(&mut self, ask: impl FnOnce(&mut Driver<ChipLink>) -> Answered<T>) -> Answered<T> {
        let position = self.tray.position.load(Ordering::Relaxed);
        if self.powered.as_ref().map(|(at, _)| *at) != Some(position) {
            let memory = self
                .chip(position)
                .expect("a chip is in the socket")
                .clone();
            let device = Device::power_on(memory, self.entropy.clone()).unwrap();
            let link = ChipLink {
                device,
                answers: VecDeque::new(),
            };
            self.powered = Some((position, Driver::new(link, Patience::default(), 7)));
        }
        self.fuse.touch();
        let answer = ask(&mut self.powered.as_mut().unwrap().1);
        self.fuse.touch();
        answer
    }
}

impl Programmer for TraySocket {
    fn identify(&mut self) -> Answered<Identification> {
        self.touch(Programmer::identify)
    }
    fn make_key(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey> {
        self.touch(|chip| Programmer::make_key(chip, nonce))
    }
    fn attest(&mut self, nonce: &[u8; 32]) -> Answered<MadeKey> {
        self.touch(|chip| Programmer::attest(chip, nonce))
    }
    fn transport(&mut self, nonce: &[u8; 32]) -> Answered<TransportKey> {
        self.touch(|chip| Programmer::transport(chip, nonce))
    }
    fn inject(&mut self, injection: &Injection<'_>) -> Answered<P256Key> {
        self.touch(|chip| Programmer::inject(chip, injection))
    }
    fn burn(&mut self, spki: &SpkiHash) -> Answered<P256Key> {
        self.touch(|chip| Programmer::burn(chip, spki))
    }
    fn read_key(&mut self) -> Answered<()> {
        self.touch(Programmer::read_key)
    }
    fn prove(&mut self, proof: &Proof<'_>) -> Answered<Signature> {
        self.touch(|chip| Programmer::prove(chip, proof))
    }
    fn write_certificate(&mut self, der: &[u8]) -> Answered<()> {
        self.touch(|chip| Programmer::write_certificate(chip, der))
    }
    fn read_certificate(&mut self) -> Answered<Vec<u8>> {
        self.touch(Programmer::read_certificate)
    }
    fn confirm(&mut self, nonce: &[u8; 32], leaf: &LeafHash) -> Answered<Confirmed> {
        self.touch(|chip| Programmer::confirm(chip, nonce, leaf))
    }
    fn look(&mut self) -> Answered<Seat> {
        Ok(self.seat())
    }
    fn next_chip(&mut self, from: u32) -> Answered<Seat> {
        self.fuse.touch();
        if self.seat().position == from {
            self.tray.position.fetch_add(1, Ordering::Relaxed);
        }
        self.fuse.touch();
        Ok(self.seat())
    }
}

struct SoftKeys([u8; 32]);

impl LineHsm for SoftKeys {
    fn sign_request(&self, digest: &[u8; 32]) -> Result<[u8; 64], VaultError> {
        Ok(sign(&self.0, digest))
    }
    fn make_key(&self, _target: &Target<'_>) -> Result<WrappedKey, VaultError> {
        Err(VaultError::Request {
            reason: "the product's keys are made on the chip",
        })
    }
}

/// A clock that ticks at every reading; reading it is a touch of the outside, which puts one before and behind every
/// entry of the journal.
struct TickingClock(AtomicU64, Arc<Fuse>);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        self.1.touch();
        Timestamp(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The order under a grant with this limit: another limit makes another grant.
pub(crate) fn order(limit: u32) -> Order {
    let profile = Profile {
        version: Version1,
        product: id("md-cam2"),
        maker: id("mihon-denki"),
        subject: vec![SubjectAttribute {
            oid: der::oid::ObjectIdentifier::new_unwrap("2.5.4.5"),
            template: "{serial}".into(),
        }],
        hardware_type: der::oid::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1.2"),
        crl: "http://crl.example/ota-2.crl".into(),
        instance_uri: None,
        serial_pattern: "^.*$".into(),
        part: PartNumber::new("sim-se-a1").unwrap(),
        uid: UidRule {
            length: 9,
            prefix: der::asn1::OctetString::new([1, 0x23]).unwrap(),
        },
        origin: KeyOriginRule::OnChip,
        grade: Grade::ChipAttested,
        vendors: vec![public(&VENDOR)],
    };
    let grant = Grant {
        version: Version1,
        id: id("g"),
        maker: profile.maker,
        factory: id("f"),
        site: id("s"),
        lines: vec![id("l")],
        stations: vec![id("st")],
        product: profile.product,
        profile: profile.hash(),
        limit,
        per_lot: 100,
        scrap: 10,
        not_before: Timestamp(0),
        not_after: GRANT_END,
        requester: id("r"),
    };
    Order {
        serials: SerialPattern::of(&profile).unwrap(),
        grant_hash: grant.hash(),
        grant,
        profile,
        lots: vec![id("lot")],
    }
}

/// Everything that outlives the agent.
pub(super) struct World {
    pub(super) disk: tempfile::TempDir,
    pub(super) tray: Tray,
    pub(super) register: Arc<Mutex<Register>>,
    pub(super) inspector: FakeInspector,
    pub(super) serials: usize,
    pub(super) first_serial: usize,
    /// Limit of the one grant in the settings.
    pub(super) limit: u32,
    /// When each run begins, in milliseconds.
    pub(super) morning: u64,
    /// How long units wait for the CA, in ticks of the clock.
    pub(super) hold: u64,
    /// Before the run a person gives all failed units up, for this reason.
    pub(super) gives_up: Option<Id>,
    /// Before the run a person scraps this unit.
    pub(super) scraps: Option<Scrapped>,
    /// What the runs said, in JSON.
    pub(super) told: Paper,
    entropy: Counter,
}

impl World {
    /// A tray of these chips, and as many serials.
    pub(super) fn new(chips: Vec<ChipMemory>) -> Self {
        Self {
            disk: tempfile::tempdir().unwrap(),
            serials: chips.len(),
            first_serial: 0,
            limit: 100,
            morning: 1_795_392_000_000,
            tray: Tray {
                chips,
                position: Arc::default(),
            },
            register: Arc::default(),
            inspector: FakeInspector::default(),
            entropy: Counter::default(),
            hold: 0,
            gives_up: None,
            scraps: None,
            told: Paper::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.disk.path()
    }

    /// Runs the agent once, to its end or until the fuse blows. Gives the lot's verdict, or `None` if it was killed.
    pub(super) fn run(&self, fuse: Fuse, stop: &Stop) -> (Option<Verdict>, Arc<Fuse>) {
        let fuse = Arc::new(fuse);
        let run = std::panic::AssertUnwindSafe(|| self.run_once(&fuse, stop));
        match std::panic::catch_unwind(run) {
            Ok(verdict) => (Some(verdict), fuse),
            Err(reason) if reason.is::<&str>() && fuse.blew() => (None, fuse),
            Err(other) => std::panic::resume_unwind(other),
        }
    }

    /// Runs the agent once, undisturbed.
    pub(super) fn run_to_end(&self) -> Verdict {
        self.run(Fuse::after(-1), &Stop::default()).0.unwrap()
    }

    fn run_once(&self, fuse: &Arc<Fuse>, stop: &Stop) -> Verdict {
        let station = Station {
            id: id("st"),
            site: id("s"),
            line: id("l"),
        };
        let orders = Orders::new(vec![order(self.limit)]);
        let journal = Journal::open(self.path()).unwrap();
        let ca = FakeCa {
            register: Arc::clone(&self.register),
            fuse: Arc::clone(fuse),
            order: order(self.limit),
        };
        let floor = Floor {
            station: &station,
            orders: &orders,
            hsm: &SoftKeys(lock(&self.register).request_key()),
            ca: &ca,
            inspector: &self.inspector,
            journal: &journal,
            output: &Output::open(self.path()).unwrap(),
            seen: &SeenCheckpoint::open(self.path()).unwrap(),
            clock: &TickingClock(AtomicU64::new(self.morning), Arc::clone(fuse)),
            entropy: &self.entropy,
            stop,
            roll: &Roll::default(),
            serials: &Serials::default(),
            attempts: 3,
            spool: &Spool::new(Duration::from_millis(self.hold), Duration::from_millis(1)),
            agent: ProgramHash([0xA9; 32]),
        };
        self.end_units(&floor);
        let desk = Desk::new(Box::new(JsonLines::new(Box::new(self.told.clone()))));
        let queue = Queue::new(self.lot(), |unit| {
            journal.with(|history| history.is_wanted(&id("lot"), &unit.serial))
        });
        let (tray, entropy) = (self.tray.clone(), self.entropy.clone());
        let programmer = Box::new(TraySocket {
            tray,
            fuse: Arc::clone(fuse),
            entropy,
            powered: None,
        });
        Socket {
            floor,
            name: id("1"),
            programmer,
            queue: &queue,
            desk: &desk,
        }
        .work();
        desk.summary(&id("lot"), queue.remaining(), stop.rest())
    }

    /// What ends before the run: by a person's word, and what waited for the CA.
    fn end_units(&self, floor: &Floor<'_>) {
        if let Some(reason) = self.gives_up {
            let failed = floor
                .journal
                .with(|history| history.failed_units().cloned().collect::<Vec<_>>());
            for unit in failed {
                super::void::announce(floor, unit.request, reason).unwrap();
            }
        }
        if let Some(unit) = &self.scraps {
            let register = lock(&self.register);
            let is_taken = !register.is_down && register.refuses_ends.is_none();
            drop(register);
            match super::scrap::scrap(floor, &order(self.limit), unit) {
                Err(failure) => assert!(
                    failure.fault == Fault::ChipScrapped
                        || !is_taken && super::spool::waits(failure.fault)
                ),
                Ok(_) => assert!(is_taken),
            }
        }
        super::scrap::send_waiting(floor).unwrap();
        super::void::send_waiting(floor).unwrap();
    }

    fn lot(&self) -> Lot {
        let serial = |n| DeviceSerial::new(&format!("2648{n:04}")).unwrap();
        let units = (self.first_serial..self.first_serial + self.serials)
            .map(|n| LotUnit {
                serial: serial(n),
                label: String::new(),
            })
            .collect();
        Lot {
            id: id("lot"),
            units,
        }
    }

    /// The station burns down: journal, records and devices' files are gone, and another one takes its place.
    pub(super) fn lose_home(&mut self) {
        self.disk = tempfile::tempdir().unwrap();
    }

    /// Faults in the records, by serial.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut records: Vec<_> = std::fs::read_dir(self.path().join("records"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        records.sort();
        let fault = |path| {
            let record: serde_json::Value =
                serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            record["outcome_details"][0]["code"]
                .as_str()
                .unwrap_or("PASS")
                .to_owned()
        };
        records.into_iter().map(fault).collect()
    }

    /// Holds register, chips and disk against each other: everything once, and the same everywhere.
    pub(super) fn assert_all_made_once(&self) {
        let register = lock(&self.register);
        assert_eq!(register.bound.len(), self.serials);
        for bound in register.bound.values() {
            let chip = self
                .tray
                .chips
                .iter()
                .find(|chip| chip.uid() == bound.uid)
                .unwrap();
            let secret = lock(&chip.0).slot;
            assert_eq!(
                public(&secret),
                bound.key,
                "the chip holds the key that was bound"
            );
            assert_eq!(chip.certificate(), bound.answer.certificate);
            assert_eq!(
                bound.confirmed,
                Some(CertificateHash::of(&bound.answer.certificate))
            );
            let receipt = self
                .path()
                .join(format!("devices/{}.tlog-proof", bound.serial));
            assert!(std::fs::read(receipt).unwrap().starts_with(b"confirm"));
        }
        let journal = Journal::open(self.path()).unwrap();
        assert_eq!(journal.with(|history| history.open_units().count()), 0);
        let passed = u64::try_from(self.serials).unwrap();
        assert_eq!(journal.with(super::journal::History::totals), (passed, 0));
    }
}
