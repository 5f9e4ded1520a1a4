//! A corridor with everything around it: ceremony, station, grant and lot, and chips in software.

use ca_server::challenge::ChallengeKey;
use ca_server::issuance::{
    Call, Corridor, CorridorParts, Issued, Pending, Refusal, Session, Steps,
};
use ca_server::ledger::{HeadFile, LogKey};
use identity::approval::{Approval, ApproverSet, approval_digest};
use identity::document::{
    Ceremony, Document, Grant, KeyOriginRule, LotOrder, PinnedApprover, Profile, StationStatement,
    SubjectAttribute, UidRule, Version1,
};
use identity::envelope::{
    ConfirmRequest, Envelope, Observation, Purpose, StationRequest, Unit, VoidRequest, request_hash,
};
use identity::evidence::{EndorsedChip, Evidence, Grade, OnChip};
use identity::fault::Fault;
use identity::field::Tag;
use identity::leaf::Bytes32;
use identity::message::{Confirmation, Endorsement, KeyOrigin, Message as _, Possession};
use identity::sources::EntropyError;
use identity::{
    CertificateHash, ChipUid, Clock, DeviceSerial, DocumentHash, Entropy, Id, P256Key, PartNumber,
    RequestId, SubjectId, Timestamp,
};
use keyvault::{KeySpec, KeyUse, Module, Pin};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePrivateKey as _;
use signer::{CaKey, CaKeyError, Signer, SignerConfig};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use translog::checkpoint::Checkpoint;
use translog::note::NoteSigner as _;
use translog::tree::Hash;
use zeroize::Zeroizing;

const ORIGIN: &str = "log.example/koseki";
/// 2026-11-23T09:30:15.250Z.
pub(crate) const NOW: u64 = 1_795_426_215_250;
pub(crate) const HOUR: u64 = 60 * 60 * 1000;
pub(crate) const DAY: u64 = 24 * HOUR;

const CA: u16 = 1;
const STATION: u16 = 11;
const VENDOR: u16 = 20;
const ATTESTATION: u16 = 21;

/// A clock that tests set.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicU64);

impl SetClock {
    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Bytes that never repeat: a counter.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in out.chunks_mut(8) {
            let count = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            chunk.copy_from_slice(&count.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[derive(Clone)]
struct SoftCaKey(SigningKey);

/// How often the CA's key was used; each test has a process of its own.
static SIGNED: AtomicU64 = AtomicU64::new(0);

/// Whether the thread that uses the CA's key next ends badly.
static ENDS_BADLY: AtomicBool = AtomicBool::new(false);

impl CaKey for SoftCaKey {
    fn public_key(&self) -> P256Key {
        public(&self.0)
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], CaKeyError> {
        assert!(!ENDS_BADLY.swap(false, Ordering::SeqCst), "ends badly");
        SIGNED.fetch_add(1, Ordering::SeqCst);
        Ok(sign(&self.0, digest).0)
    }
}

/// How often the CA's key was used so far.
pub(crate) fn signed() -> u64 {
    SIGNED.load(Ordering::SeqCst)
}

/// The thread that uses the CA's key next ends badly.
pub(crate) fn end_whoever_signs() {
    ENDS_BADLY.store(true, Ordering::SeqCst);
}

/// Where the parts live.
pub(crate) struct Places {
    pub(crate) store: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) signer: PathBuf,
    pub(crate) head: PathBuf,
    pub(crate) files_within: Duration,
}

impl Places {
    pub(crate) fn below(room: &Path) -> Self {
        let state = room.join("state");
        std::fs::create_dir_all(&state).unwrap();
        Self {
            store: state.join("ca.sqlite"),
            log: state.join("log"),
            signer: state.join("signer.sqlite"),
            head: state.join("head"),
            files_within: Duration::ZERO,
        }
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<SetClock>,
    pub(crate) corridor: Corridor,
    pub(crate) grant: Grant,
    pub(crate) places: Places,
    log_key: LogKey,
    issuing: Vec<u8>,
}

impl World {
    /// A corridor in which a station may make 1,000 units.
    pub(crate) async fn open(room: &Path, places: Places) -> Self {
        let world = Self::empty(room, places);
        let (station, grant, profile) = (station(), world.grant.clone(), profile());
        world.corridor.begin(world.ceremony()).await.unwrap();
        let approvals = ["anna", "bert"].map(|name| approval(&station, name));
        let entered = world.corridor.enter_station(station, approvals.to_vec());
        entered.await.unwrap();
        let approvals = ["anna", "bert"].map(|name| approval(&grant, name));
        let entered = world
            .corridor
            .enter_grant(grant, profile, approvals.to_vec());
        entered.await.unwrap();
        world.corridor.open_lot(world.lot("lot-1")).await.unwrap();
        world
    }

    fn empty(room: &Path, places: Places) -> Self {
        let log_key = log_key(room);
        let issuing = issuing_certificate();
        let clock = Arc::new(SetClock(AtomicU64::new(NOW)));
        let parts = Parts {
            log_key: &log_key,
            issuing: &issuing,
            clock: &clock,
        };
        let corridor = Corridor::start(parts.of(&places)).unwrap();
        Self {
            clock,
            corridor,
            grant: grant(),
            places,
            log_key,
            issuing,
        }
    }

    /// Ends the corridor and opens it again on what it left.
    pub(crate) fn restart(self) -> Self {
        self.restart_after(|_log| ())
    }

    /// As [`Self::restart`], after something was done to the log's files.
    pub(crate) fn restart_after(self, harm: impl FnOnce(&Path)) -> Self {
        self.try_restart_after(harm).unwrap()
    }

    /// As [`Self::restart_after`]; what it says if it does not start.
    pub(crate) fn try_restart_after(self, harm: impl FnOnce(&Path)) -> Result<Self, String> {
        self.open_again(|parts, places| {
            harm(&places.log);
            let started = Corridor::start(parts.of(places));
            let corridor = started.map_err(|error| error.to_string())?;
            Ok((corridor, ()))
        })
        .map(|(world, ())| world)
    }

    /// Ends the corridor and opens it again without threads: whoever has the steps takes them.
    pub(crate) fn stepwise(self) -> (Self, Steps) {
        self.stepwise_ahead(1)
    }

    /// The same, and so many batches may be reserved before one is finished.
    pub(crate) fn stepwise_ahead(self, ahead: usize) -> (Self, Steps) {
        let opened = self.open_again(|parts, places| {
            let opened = Corridor::open(parts.of(places), ahead);
            opened.map_err(|error| error.to_string())
        });
        opened.unwrap()
    }

    fn open_again<T>(
        self,
        open: impl FnOnce(&Parts<'_>, &Places) -> Result<(Corridor, T), String>,
    ) -> Result<(Self, T), String> {
        self.corridor.stop();
        // Everything that holds the store must go first.
        let Self {
            clock,
            corridor,
            grant,
            places,
            log_key,
            issuing,
        } = self;
        drop(corridor);
        let parts = Parts {
            log_key: &log_key,
            issuing: &issuing,
            clock: &clock,
        };
        let (corridor, more) = open(&parts, &places)?;
        let world = Self {
            clock,
            corridor,
            grant,
            places,
            log_key,
            issuing,
        };
        Ok((world, more))
    }

    /// A lot of a thousand serials; those of `lot-1` begin with SN000, of `lot-2` with SN001.
    pub(crate) fn lot(&self, name: &str) -> LotOrder {
        let number: u16 = name.strip_prefix("lot-").unwrap().parse().unwrap();
        let serial = |last| DeviceSerial::new(&format!("SN{:03}{last:03}", number - 1)).unwrap();
        LotOrder {
            version: Version1,
            id: id(name),
            grant: self.grant.hash(),
            work_order: id("wo-1"),
            quantity: 1000,
            first_serial: serial(0),
            last_serial: serial(999),
        }
    }

    fn ceremony(&self) -> Ceremony {
        Ceremony {
            version: Version1,
            origin: ORIGIN.to_owned(),
            time: Timestamp(NOW),
            root: CertificateHash([1; 32]),
            issuing: CertificateHash::of(&self.issuing),
            issuing_key: public(&key(CA)).spki_hash(),
            log_vkey: self.log_key.verifier_key().to_string(),
            infrastructure: CertificateHash([2; 32]),
            needed: 2,
            approvers: approvers(),
        }
    }

    /// Asks for a unit at the time that the station's clock shows.
    pub(crate) async fn provision_at(&self, time: u64, device: u16) -> Result<Issued, Refusal> {
        self.provision_unit(time, self.unit(device, device)).await
    }

    /// Asks for a device under the serial of another, in place of this board as far as the station knows it.
    pub(crate) async fn provision_for(
        &self,
        device: u16,
        serial: u16,
        earlier: Option<SubjectId>,
    ) -> Result<Issued, Refusal> {
        let mut unit = self.unit(device, serial);
        unit.observations.extend(earlier.map(|earlier| Observation {
            tag: Tag::Supersedes,
            value: octets(&earlier.0),
        }));
        self.provision_unit(self.clock.now().0, unit).await
    }

    /// Asks for a unit with a program that says in its envelope which it is.
    pub(crate) async fn provision_by(
        &self,
        device: u16,
        session: &Session,
        signed: &Bytes32,
    ) -> Result<Issued, Refusal> {
        let unit = self.unit_by(session, signed, device, request(device));
        self.provision_unit(self.clock.now().0, unit).await
    }

    /// Takes over a bound unit, under a request of its own, with a program that says which it is.
    pub(crate) async fn adopt_by(
        &self,
        device: u16,
        session: &Session,
        signed: &Bytes32,
    ) -> Result<Issued, Refusal> {
        let unit = self.unit_by(session, signed, device, request(device + 5000));
        let (der, signature) = self.sealed_for(Purpose::Adopt, self.clock.now().0, vec![unit]);
        let answers = self.corridor.provision(&id("st-1"), der, signature).await;
        answers?.remove(0)
    }

    fn unit_by(
        &self,
        session: &Session,
        signed: &Bytes32,
        device: u16,
        request: RequestId,
    ) -> Unit {
        let mut unit = self.unit_in(session, device, device, request);
        unit.observations.push(Observation {
            tag: Tag::AgentDigest,
            value: octets(hex::encode(signed.0).as_bytes()),
        });
        unit
    }

    async fn provision_unit(&self, time: u64, unit: Unit) -> Result<Issued, Refusal> {
        self.provision_units(time, vec![unit]).await?.remove(0)
    }

    /// Asks for several units in one envelope.
    pub(crate) async fn provision_gang(
        &self,
        devices: &[u16],
    ) -> Result<Vec<Result<Issued, Refusal>>, Refusal> {
        self.send_gang(&self.sealed_gang(self.clock.now().0, devices))
            .await
    }

    /// A request for several units, not sent; their challenges are of now.
    pub(crate) fn sealed_gang(&self, time: u64, devices: &[u16]) -> (Vec<u8>, Vec<u8>) {
        let units = devices.iter().map(|device| self.unit(*device, *device));
        self.sealed(time, units.collect())
    }

    /// Sends a request for several units.
    pub(crate) async fn send_gang(
        &self,
        sealed: &(Vec<u8>, Vec<u8>),
    ) -> Result<Vec<Result<Issued, Refusal>>, Refusal> {
        let (der, signature) = sealed.clone();
        self.corridor.provision(&id("st-1"), der, signature).await
    }

    async fn provision_units(
        &self,
        time: u64,
        units: Vec<Unit>,
    ) -> Result<Vec<Result<Issued, Refusal>>, Refusal> {
        let (der, signature) = self.sealed(time, units);
        self.corridor.provision(&id("st-1"), der, signature).await
    }

    /// A request for a unit, sealed now and not sent.
    pub(crate) fn sealed_one(&self, device: u16) -> (Vec<u8>, Vec<u8>) {
        self.sealed(self.clock.now().0, vec![self.unit(device, device)])
    }

    /// Sends a request for one unit.
    pub(crate) async fn send(&self, sealed: &(Vec<u8>, Vec<u8>)) -> Result<Issued, Refusal> {
        self.send_gang(sealed).await?.remove(0)
    }

    fn sealed(&self, time: u64, units: Vec<Unit>) -> (Vec<u8>, Vec<u8>) {
        self.sealed_for(Purpose::Provision, time, units)
    }

    fn sealed_for(&self, purpose: Purpose, time: u64, units: Vec<Unit>) -> (Vec<u8>, Vec<u8>) {
        seal(&Envelope {
            purpose,
            ..self.envelope(time, units)
        })
    }

    fn envelope(&self, time: u64, units: Vec<Unit>) -> Envelope {
        Envelope {
            version: Version1,
            purpose: Purpose::Provision,
            station: id("st-1"),
            time: Timestamp(time),
            grant: self.grant.hash(),
            lot: id("lot-1"),
            seen: None,
            units,
        }
    }

    /// Asks for a unit and does not wait; the next step finds it queued.
    pub(crate) fn submit(&self, device: u16) -> Result<Pending, Refusal> {
        let (der, signature) = self.sealed_one(device);
        let station = id("st-1");
        let mut replies = self
            .corridor
            .submit(&station, Call::Provision, der, signature)?;
        replies.remove(0)
    }

    /// The same by a station that shows a checkpoint of so many leaves, signed by the log's key, that is not of this log.
    pub(crate) fn submit_seen(&self, device: u16, size: u64) -> Result<Pending, Refusal> {
        let checkpoint = Checkpoint::new(ORIGIN, size, Hash::new([0x5e; 32])).unwrap();
        let note = checkpoint.sign(&self.log_key).unwrap().to_string();
        let (der, signature) = seal(&Envelope {
            seen: Some(octets(note.as_bytes())),
            ..self.envelope(self.clock.now().0, vec![self.unit(device, device)])
        });
        let station = id("st-1");
        let mut replies = self
            .corridor
            .submit(&station, Call::Provision, der, signature)?;
        replies.remove(0)
    }

    /// Asks for a unit; the station's clock is right.
    pub(crate) async fn provision(&self, device: u16) -> Result<Issued, Refusal> {
        self.provision_at(self.clock.now().0, device).await
    }

    /// Confirms a unit.
    pub(crate) async fn confirm(&self, device: u16, issued: &Issued) -> Result<u64, Refusal> {
        let certificate = CertificateHash::of(&issued.certificate);
        let digest = Confirmation {
            nonce: &issued.nonce,
            certificate: &certificate,
            leaf: &issued.leaf,
        }
        .digest();
        let (der, signature) = seal(&ConfirmRequest {
            version: Version1,
            station: id("st-1"),
            time: self.clock.now(),
            request: request(device),
            leaf: issued.leaf,
            certificate,
            signature: sign(&key(1000 + device), &digest),
        });
        let receipt = self.corridor.confirm(&id("st-1"), der, signature).await;
        receipt.map(|receipt| receipt.index)
    }

    /// Voids a unit.
    pub(crate) async fn void(&self, device: u16) -> Result<u64, Refusal> {
        let (der, signature) = seal(&VoidRequest {
            version: Version1,
            station: id("st-1"),
            time: self.clock.now(),
            request: request(device),
            reason: id("LINE-0111"),
        });
        let receipt = self.corridor.void(&id("st-1"), der, signature).await;
        receipt.map(|receipt| receipt.index)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn grant_hash(&self) -> DocumentHash {
        self.grant.hash()
    }

    fn unit(&self, device: u16, serial: u16) -> Unit {
        self.unit_in(&Session::default(), device, serial, request(device))
    }

    fn unit_in(&self, session: &Session, device: u16, serial: u16, request: RequestId) -> Unit {
        let fixed = key(1000 + device);
        let [high, low] = device.to_be_bytes();
        let uid = ChipUid::new(&[0xc0, 0, high, low]).unwrap();
        let challenges = self.corridor.offer(&id("st-1"), session, &[uid]).unwrap();
        let serial = DeviceSerial::new(&format!("SN{serial:06}")).unwrap();
        let possession = Possession {
            challenge: &challenges[0].bytes,
            request: &request,
            uid: &uid,
            serial: &serial,
            spki: &public(&fixed).spki_hash(),
            grant: &self.grant.hash(),
            station: &id("st-1"),
        };
        Unit {
            request,
            uid,
            part: PartNumber::new("CHIP-1").unwrap(),
            serial,
            key: octets(&public(&fixed).spki()),
            challenge: octets(&challenges[0].bytes),
            possession: sign(&fixed, &possession.digest()),
            evidence: Evidence::OnChip(on_chip(&uid, &public(&fixed))),
            observations: Vec::new(),
        }
    }
}

/// Waits for what threads do by themselves.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not in 30 s: {what}");
}

/// The fault of a refusal.
pub(crate) fn fault<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> Fault {
    outcome.unwrap_err().fault
}

/// Runs an asynchronous story.
pub(crate) fn tell(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(story);
}

/// What a corridor is made of, besides its places.
struct Parts<'a> {
    log_key: &'a LogKey,
    issuing: &'a [u8],
    clock: &'a Arc<SetClock>,
}

impl Parts<'_> {
    fn of(&self, places: &Places) -> CorridorParts {
        let approvers = ApproverSet::new(2, approvers());
        let config = SignerConfig {
            store: places.signer.clone(),
            origin: ORIGIN.to_owned(),
            log_vkey: self.log_key.verifier_key().to_string(),
            issuing_certificate: self.issuing.to_vec(),
            approvers: approvers.clone(),
            long_log: pages::LONG_LOG,
        };
        // As the ceremony leaves them; a restart finds them again.
        if !places.head.exists() {
            HeadFile::make(&places.head).unwrap();
            Signer::make_store(config.clone()).unwrap();
        }
        CorridorParts {
            store: places.store.clone(),
            log: places.log.clone(),
            head_file: places.head.clone(),
            origin: ORIGIN.to_owned(),
            log_key: self.log_key.clone(),
            signer: Signer::open(config, Box::new(SoftCaKey(key(CA)))).unwrap(),
            issuing_certificate: self.issuing.to_vec(),
            approvers,
            clock: Arc::<SetClock>::clone(self.clock),
            entropy: Arc::new(Counting::default()),
            challenge: ChallengeKey::new(Zeroizing::new([9; 32])),
            files_within: places.files_within,
            long_log: pages::LONG_LOG,
        }
    }
}

fn log_key(room: &Path) -> LogKey {
    let pin = room.join("log.pin");
    std::fs::write(&pin, "log-pin-0815").unwrap();
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();
    let pin = || Pin::from_file(&pin).unwrap();
    let module = Module::load(&crate::module::path()).unwrap();
    module.init_token("log", &pin(), &pin()).unwrap();
    let token = module.open("log", pin()).unwrap();
    let spec = KeySpec::new("log", KeyUse::Log).unwrap();
    LogKey::new(ORIGIN, token.generate(&spec).unwrap()).unwrap()
}

fn issuing_certificate() -> Vec<u8> {
    let der = key(CA).to_pkcs8_der().unwrap();
    let pair = rcgen::KeyPair::try_from(der.as_bytes()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    let name = (rcgen::DnType::CommonName, "Example Issuing CA");
    params.distinguished_name.push(name.0, name.1);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31) + Duration::from_secs(86_399);
    params.self_signed(&pair).unwrap().der().to_vec()
}

/// Signs a request with the station's key.
pub(crate) fn seal<R: StationRequest>(request: &R) -> (Vec<u8>, Vec<u8>) {
    let der = request.to_bytes();
    let signature = sign(&key(STATION), &request_hash::<R>(&der).0);
    (der, signature.0.to_vec())
}

fn on_chip(uid: &ChipUid, fixed: &P256Key) -> OnChip {
    let (part, attestation) = (PartNumber::new("CHIP-1").unwrap(), key(ATTESTATION));
    let endorsement = Endorsement {
        uid,
        part: &part,
        attestation: &public(&attestation).spki_hash(),
    };
    let origin = KeyOrigin {
        uid,
        part: &part,
        spki: &fixed.spki_hash(),
        nonce: &[3; 32],
    };
    OnChip {
        chip: EndorsedChip {
            attestation: public(&attestation),
            endorsement: sign(&key(VENDOR), &endorsement.digest()),
        },
        nonce: Bytes32([3; 32]),
        origin: sign(&attestation, &origin.digest()),
    }
}

pub(crate) fn request(device: u16) -> RequestId {
    let mut request = [0x77; 16];
    request[..2].copy_from_slice(&device.to_be_bytes());
    RequestId(request)
}

pub(crate) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn octets(bytes: &[u8]) -> der::asn1::OctetString {
    der::asn1::OctetString::new(bytes).unwrap()
}

/// A P-256 key from a seed.
fn key(seed: u16) -> SigningKey {
    let mut bytes = [0x11; 32];
    bytes[30..].copy_from_slice(&seed.to_be_bytes());
    SigningKey::from_slice(&bytes).unwrap()
}

fn public(key: &SigningKey) -> P256Key {
    P256Key::from_sec1(&key.verifying_key().to_sec1_bytes()).unwrap()
}

fn sign(key: &SigningKey, digest: &[u8; 32]) -> identity::envelope::Signature {
    let signature: Signature = key.sign_prehash(digest).unwrap();
    identity::envelope::Signature(signature.to_bytes().into())
}

fn approver_key(name: &str) -> SigningKey {
    key(100 + u16::from(name.as_bytes()[0]))
}

fn approvers() -> Vec<PinnedApprover> {
    let pinned = |name: &str| PinnedApprover {
        id: id(name),
        key: public(&approver_key(name)),
    };
    ["anna", "bert", "cleo"].map(pinned).to_vec()
}

pub(crate) fn approval<D: Document>(document: &D, name: &str) -> Approval {
    let digest = approval_digest(D::KIND, &document.hash());
    Approval {
        approver: id(name),
        signature: sign(&approver_key(name), &digest),
    }
}

pub(crate) fn station() -> StationStatement {
    StationStatement {
        version: Version1,
        id: id("st-1"),
        site: id("site-1"),
        line: id("line-1"),
        tls_key: public(&key(10)),
        request_key: public(&key(STATION)),
        receipt_key: public(&key(12)),
        not_before: Timestamp(NOW - 100 * DAY),
        not_after: Timestamp(NOW + 100 * DAY),
        requester: id("rita"),
        agents: None,
    }
}

pub(crate) fn profile() -> Profile {
    let attribute = |oid: &str, template: &str| SubjectAttribute {
        oid: der::asn1::ObjectIdentifier::new_unwrap(oid),
        template: template.to_owned(),
    };
    Profile {
        version: Version1,
        product: id("prod-1"),
        maker: id("maker-1"),
        subject: vec![
            attribute("2.5.4.10", "Example Maker"),
            attribute("2.5.4.5", "{serial}"),
        ],
        hardware_type: der::asn1::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1.7"),
        crl: "http://crl.example/ca.crl".to_owned(),
        instance_uri: Some("https://id.example/{serial}".to_owned()),
        serial_pattern: "SN[0-9]{6}".to_owned(),
        part: PartNumber::new("CHIP-1").unwrap(),
        uid: UidRule {
            length: 4,
            prefix: octets(&[0xc0]),
        },
        origin: KeyOriginRule::OnChip,
        grade: Grade::ChipAttested,
        vendors: vec![public(&key(VENDOR))],
    }
}

fn grant() -> Grant {
    Grant {
        version: Version1,
        id: id("grant-1"),
        maker: id("maker-1"),
        factory: id("factory-1"),
        site: id("site-1"),
        lines: vec![id("line-1")],
        stations: vec![id("st-1")],
        product: id("prod-1"),
        profile: profile().hash(),
        limit: 1000,
        per_lot: 1000,
        scrap: 5,
        not_before: Timestamp(NOW - 50 * DAY),
        not_after: Timestamp(NOW + 50 * DAY),
        requester: id("rita"),
    }
}

/// The lot's counts as its station sees them: issued, confirmed, voided.
pub(crate) fn counts(world: &World) -> (u32, u32, u32) {
    let hash: DocumentHash = world.grant.hash();
    let views = world.corridor.grants().unwrap();
    let view = views.iter().find(|view| view.grant.hash() == hash);
    let counts = view.unwrap().lots[0].counts;
    (counts.issued, counts.confirmed, counts.voided)
}
