//! What every simulated world begins with: keys, chips, documents, and a log in which they were entered.

use super::Chance;
use super::disk::Disk;
use crate::failure::{At as _, Failure, Outcome};
use ca_server::challenge::ChallengeKey;
use ca_server::issuance::{Corridor, CorridorParts};
use ca_server::ledger::{HeadFile, LogKey};
use identity::approval::{Approval, ApproverSet, approval_digest};
use identity::document::{
    Ceremony, Document, Grant, KeyOriginRule, LotOrder, PinnedApprover, Profile, StationStatement,
    SubjectAttribute, UidRule, Version1,
};
use identity::envelope::Signature;
use identity::evidence::{EndorsedChip, Evidence, Grade, OnChip};
use identity::leaf::Bytes32;
use identity::message::{Endorsement, KeyOrigin, Message as _};
use identity::sources::EntropyError;
use identity::{
    CertificateHash, ChipUid, Clock, DeviceSerial, Entropy, Id, P256Key, PartNumber, Timestamp,
};
use koseki_verify::{Authority, Trust};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use signer::{CaKey, CaKeyError, Signer, SignerConfig};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use translog::checkpoint::TrustedLog;
use translog::note::NoteSigner as _;
use translog::policy::Policy;
use zeroize::Zeroizing;

pub(super) const ORIGIN: &str = "log.example/koseki";
/// When every world begins: 2026-11-23T09:30:15.250Z.
pub(super) const BEGIN: u64 = 1_795_426_215_250;
/// Frames of a long write-ahead log: so few that it is written back several times on every morning.
const LONG_LOG: u32 = 30;
const DAY: u64 = 24 * 60 * 60 * 1000;
/// Certificates of the one grant, and units of each of its two lots: together more than the grant allows.
pub(super) const LIMIT: u32 = 12;
pub(super) const LOT: u32 = 9;
/// Honest chips. Behind them lie clones: of an honest chip's UID, and of an honest chip's key.
pub(super) const CHIPS: usize = 24;
pub(super) const CLONES: usize = 6;

const ROOT: u16 = 0;
const CA: u16 = 1;
const VENDOR: u16 = 20;
const ATTESTATION: u16 = 21;

/// A chip on the line.
#[derive(Clone, Debug)]
pub(super) struct Chip {
    pub(super) uid: ChipUid,
    pub(super) key: SigningKey,
    pub(super) public: P256Key,
    pub(super) evidence: Evidence,
}

/// What all worlds of a process have in common.
#[derive(Debug)]
pub struct Ground {
    pub(super) grant: Grant,
    pub(super) chips: Vec<Chip>,
    pub(super) trust: Trust,
    disk: Disk,
    /// Log and head file as they are on the disk, by their path below a world's directory.
    files: Vec<(PathBuf, Vec<u8>)>,
    log_key: LogKey,
    issuing: Vec<u8>,
}

/// Where the parts of a world live.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) home: PathBuf,
}

impl Places {
    /// As many places below another name.
    pub(super) fn beside(&self, name: &str) -> Self {
        let home = self.home.join(name);
        Self { home }
    }

    pub(super) fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    pub(super) fn store(&self) -> PathBuf {
        self.home.join("state/ca.sqlite")
    }

    pub(super) fn signer(&self) -> PathBuf {
        self.home.join("state/signer.sqlite")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    pub(super) fn head(&self) -> PathBuf {
        self.home.join("head")
    }
}

/// Time that only the simulation moves.
#[derive(Debug)]
pub(super) struct SetClock(AtomicU64);

impl SetClock {
    pub(super) const fn new(millis: u64) -> Self {
        Self(AtomicU64::new(millis))
    }

    pub(super) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Bytes that a seed decides.
#[derive(Debug)]
pub(super) struct SetEntropy(Mutex<Chance>);

impl SetEntropy {
    pub(super) const fn new(chance: Chance) -> Self {
        Self(Mutex::new(chance))
    }
}

impl Entropy for SetEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        let mut chance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&chance.number().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// The CA key. No two signatures of it over one digest, one after the other, are the same, so that signing anew shows.
#[derive(Debug)]
pub(super) struct SoftCaKey {
    key: SigningKey,
    moods: Arc<Moods>,
}

/// How the HSM of a world feels, over all processes.
#[derive(Debug, Default)]
pub(super) struct Moods {
    /// How often each digest was signed: what makes the next signature differ.
    signed: Mutex<BTreeMap<[u8; 32], u64>>,
    /// One use in so many fails, or gives a wrong signature; none if zero.
    pub(super) fails: AtomicU64,
    /// Uses that failed.
    pub(super) failed: AtomicU64,
}

impl SoftCaKey {
    pub(super) fn new(moods: &Arc<Moods>) -> Self {
        Self {
            key: key(CA),
            moods: Arc::clone(moods),
        }
    }
}

impl CaKey for SoftCaKey {
    fn public_key(&self) -> P256Key {
        public(&self.key)
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], CaKeyError> {
        let signed = &self.moods.signed;
        let mut signed = signed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = signed.entry(*digest).or_default();
        *count += 1;
        let count = *count;
        // Depends on the digest alone, because several threads sign at once.
        let first = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| digest[at]);
        let lot = Chance::new(u64::from_le_bytes(first) ^ count).number();
        let fails = self.moods.fails.load(Ordering::SeqCst);
        if fails > 0 && lot.is_multiple_of(fails) {
            self.moods.failed.fetch_add(1, Ordering::SeqCst);
            return match lot & 0x1_0000 {
                0 => Err(CaKeyError("the HSM is away".to_owned())),
                _ => Ok([7; 64]),
            };
        }
        let made: p256::ecdsa::Signature = self
            .key
            .sign_prehash(digest)
            .map_err(|error| CaKeyError(error.to_string()))?;
        let (r, s) = made.split_scalars();
        let made = match count & 1 {
            0 => made,
            _ => p256::ecdsa::Signature::from_scalars(r, -s)
                .map_err(|error| CaKeyError(error.to_string()))?,
        };
        Ok(made.to_bytes().into())
    }
}

impl Ground {
    /// Makes it in a directory, with the log's key in the token that was laid for this module. Nothing in it is random.
    ///
    /// # Errors
    /// [`Failure`] of any part.
    pub fn make(home: &Path, module: &Path) -> Outcome<Self> {
        let places = Places {
            home: home.join("ground"),
        };
        fs::create_dir_all(places.state()).at(&places.home)?;
        let log_key = super::token::log_key(home, module)?;
        let (root, issuing) = authorities()?;
        let log = TrustedLog::new(ORIGIN, vec![log_key.verifier_key().clone()]);
        let trust = Trust::new(
            Authority::from_der(&root).map_err(Failure::new)?,
            vec![Authority::from_der(&issuing).map_err(Failure::new)?],
            Policy::without_witnesses(log.map_err(Failure::new)?),
        );
        let mut ground = Self {
            grant: grant(),
            chips: chips()?,
            trust: trust
                .map_err(Failure::new)?
                .with_vendors(vec![public(&key(VENDOR))])
                .with_profiles(vec![profile()]),
            disk: Disk::new(Chance::new(0)),
            files: Vec::new(),
            log_key,
            issuing,
        };
        let disk = Disk::new(Chance::new(0)).mount(&places.state());
        ground.enter_documents(&places, &root)?;
        ground.disk = disk.copy(Chance::new(0));
        ground.files = super::shelf::read_all(&places.home, &["log", "head"])?;
        Disk::unmount(&places.state());
        Ok(ground)
    }

    /// Lays a world out in a directory, as the ceremony and the morning's documents left it.
    pub(super) fn lay_out(&self, places: &Places, chance: Chance) -> Outcome<Arc<Disk>> {
        fs::create_dir_all(places.state()).at(&places.home)?;
        for (path, bytes) in &self.files {
            let path = places.home.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&places.home)).at(&path)?;
            fs::write(&path, bytes).at(&path)?;
        }
        // The signer looks whether its file is there before it opens it; what is in it is on the simulated disk.
        fs::write(places.signer(), "").at(&places.signer())?;
        Ok(self.disk.copy(chance).mount(&places.state()))
    }

    /// What a server is started with.
    pub(super) fn parts(
        &self,
        places: &Places,
        clock: &Arc<SetClock>,
        entropy: &Arc<SetEntropy>,
        key: SoftCaKey,
    ) -> Outcome<CorridorParts> {
        let signer = Signer::open(self.signer_config(places), Box::new(key));
        Ok(CorridorParts {
            store: places.store(),
            log: places.log(),
            head_file: places.head(),
            origin: ORIGIN.to_owned(),
            log_key: self.log_key.clone(),
            signer: signer.map_err(Failure::new)?,
            issuing_certificate: self.issuing.clone(),
            approvers: ApproverSet::new(2, approvers()),
            clock: Arc::<SetClock>::clone(clock),
            entropy: Arc::<SetEntropy>::clone(entropy),
            challenge: ChallengeKey::new(Zeroizing::new([9; 32])),
            files_within: Duration::ZERO,
            long_log: LONG_LOG,
        })
    }

    fn signer_config(&self, places: &Places) -> SignerConfig {
        SignerConfig {
            store: places.signer(),
            origin: ORIGIN.to_owned(),
            log_vkey: self.log_key.verifier_key().to_string(),
            issuing_certificate: self.issuing.clone(),
            approvers: ApproverSet::new(2, approvers()),
            long_log: LONG_LOG,
        }
    }

    fn enter_documents(&self, places: &Places, root: &[u8]) -> Outcome<()> {
        HeadFile::make(&places.head()).map_err(Failure::new)?;
        Signer::make_store(self.signer_config(places)).map_err(Failure::new)?;
        let clock = Arc::new(SetClock::new(BEGIN));
        let entropy = Arc::new(SetEntropy::new(Chance::new(0)));
        let key = SoftCaKey::new(&Arc::default());
        let parts = self.parts(places, &clock, &entropy, key)?;
        let corridor = Corridor::start(parts).map_err(Failure::new)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let entered = runtime.block_on(async {
            corridor.begin(self.ceremony(root)).await?;
            for name in STATIONS {
                let statement = station(name);
                let approvals = ["anna", "bert"].map(|name| approval(&statement, name));
                corridor
                    .enter_station(statement, approvals.to_vec())
                    .await?;
            }
            let approvals = ["anna", "bert"].map(|name| approval(&self.grant, name));
            corridor
                .enter_grant(self.grant.clone(), profile(), approvals.to_vec())
                .await?;
            for lot in 0..LOTS.len() {
                corridor.open_lot(self.lot(lot)).await?;
            }
            Ok::<_, ca_server::issuance::Refusal>(())
        });
        corridor.stop();
        entered.map_err(|refusal| Failure::new(format_args!("{refusal:?}")))
    }

    fn ceremony(&self, root: &[u8]) -> Ceremony {
        Ceremony {
            version: Version1,
            origin: ORIGIN.to_owned(),
            time: Timestamp(BEGIN),
            root: CertificateHash::of(root),
            issuing: CertificateHash::of(&self.issuing),
            issuing_key: public(&key(CA)).spki_hash(),
            log_vkey: self.log_key.verifier_key().to_string(),
            infrastructure: CertificateHash([2; 32]),
            needed: 2,
            approvers: approvers(),
        }
    }

    fn lot(&self, lot: usize) -> LotOrder {
        LotOrder {
            version: Version1,
            id: id(LOTS[lot]),
            grant: self.grant.hash(),
            work_order: id("wo-1"),
            quantity: LOT,
            first_serial: serial(lot, 0),
            last_serial: serial(lot, 999),
        }
    }
}

/// The stations on the one line.
pub(super) const STATIONS: [&str; 2] = ["st-1", "st-2"];
/// The lots of the grant.
pub(super) const LOTS: [&str; 2] = ["lot-1", "lot-2"];

/// A station's key for envelopes.
pub(super) fn request_key(station: usize) -> SigningKey {
    key(11 + u16::try_from(station).unwrap_or_default() * 50)
}

/// A device serial of one of the lots, below 1,000.
pub(super) fn serial(lot: usize, number: u32) -> DeviceSerial {
    DeviceSerial::new(&format!("SN{lot:03}{number:03}")).expect("a serial of the pattern")
}

/// A name that is one.
pub(super) fn id(text: &str) -> Id {
    Id::new(text).expect("a name of the simulation")
}

/// Bytes in a DER octet string.
pub(super) fn octets(bytes: &[u8]) -> der::asn1::OctetString {
    der::asn1::OctetString::new(bytes).expect("short enough")
}

/// The public half.
pub(super) fn public(key: &SigningKey) -> P256Key {
    P256Key::from_sec1(key.verifying_key().to_sec1_point(false).as_bytes())
        .expect("a key that was made")
}

/// The same signature over the same digest, always (RFC 6979).
pub(super) fn sign(key: &SigningKey, digest: &[u8; 32]) -> Signature {
    let made: p256::ecdsa::Signature = key.sign_prehash(digest).expect("a digest of 32 bytes");
    Signature(made.to_bytes().into())
}

/// A P-256 key from a number.
fn key(number: u16) -> SigningKey {
    let mut bytes = [0x11; 32];
    bytes[30..].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_slice(&bytes).expect("a scalar below the order")
}

fn chips() -> Outcome<Vec<Chip>> {
    let number = |at: usize| u16::try_from(at).map_err(Failure::new);
    let mut chips = Vec::new();
    for at in 0..CHIPS + CLONES {
        // A clone has the UID or the key of an honest chip, by turns.
        let of = if at < CHIPS { at } else { (at - CHIPS) * 2 };
        let is_uid_cloned = at >= CHIPS && at % 2 == 0;
        let (uid, fixed) = match (at < CHIPS, is_uid_cloned) {
            (true, _) => (at, at),
            (false, true) => (of, at),
            (false, false) => (at, of),
        };
        let [high, low] = number(uid)?.to_be_bytes();
        let uid = ChipUid::new(&[0xc0, 0, high, low]).map_err(Failure::new)?;
        let key = key(1000 + number(fixed)?);
        let public = public(&key);
        let evidence = Evidence::OnChip(on_chip(&uid, &public));
        chips.push(Chip {
            uid,
            key,
            public,
            evidence,
        });
    }
    Ok(chips)
}

fn part() -> PartNumber {
    PartNumber::new("CHIP-1").expect("a part number")
}

fn on_chip(uid: &ChipUid, fixed: &P256Key) -> OnChip {
    let (part, attestation) = (part(), key(ATTESTATION));
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

/// A CA's key as rcgen wants it, which signs the same the same way every time (RFC 6979): rcgen's own keys do not.
struct AuthorityKey {
    key: SigningKey,
    point: [u8; 65],
}

impl AuthorityKey {
    fn new(number: u16) -> Self {
        let key = key(number);
        let point = *public(&key).sec1();
        Self { key, point }
    }
}

impl rcgen::PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let made: Result<p256::ecdsa::Signature, _> =
            self.key.sign_prehash(&identity::hash::sha256(message));
        made.map(|made| made.to_der().as_bytes().to_vec())
            .map_err(|_refused| rcgen::Error::RemoteKeyError)
    }
}

/// Root and issuing CA, DER.
fn authorities() -> Outcome<(Vec<u8>, Vec<u8>)> {
    let params = |name: &str, number: u16, length: u8| {
        let mut params = rcgen::CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.serial_number = Some(rcgen::SerialNumber::from(1 + u64::from(number)));
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(length));
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after =
            rcgen::date_time_ymd(9999, 12, 31) + std::time::Duration::from_secs(86_399);
        params
    };
    let [root_key, issuing_key] = [ROOT, CA].map(AuthorityKey::new);
    let root = params("Example Root", ROOT, 1)
        .self_signed(&root_key)
        .map_err(Failure::new)?;
    let issuer = rcgen::Issuer::from_ca_cert_der(root.der(), &root_key).map_err(Failure::new)?;
    let issuing = params("Example Issuing CA", CA, 0)
        .signed_by(&issuing_key, &issuer)
        .map_err(Failure::new)?;
    Ok((root.der().to_vec(), issuing.der().to_vec()))
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

fn approval<D: Document>(document: &D, name: &str) -> Approval {
    let digest = approval_digest(D::KIND, &document.hash());
    Approval {
        approver: id(name),
        signature: sign(&approver_key(name), &digest),
    }
}

fn station(name: &str) -> StationStatement {
    let number = STATIONS.iter().position(|it| *it == name);
    let number = u16::try_from(number.unwrap_or_default()).unwrap_or_default();
    StationStatement {
        version: Version1,
        id: id(name),
        site: id("site-1"),
        line: id("line-1"),
        tls_key: public(&key(10 + number * 50)),
        request_key: public(&request_key(number.into())),
        receipt_key: public(&key(12 + number * 50)),
        not_before: Timestamp(BEGIN - 100 * DAY),
        not_after: Timestamp(BEGIN + 100 * DAY),
        requester: id("rita"),
        agents: None,
    }
}

fn profile() -> Profile {
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
        part: part(),
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
        stations: STATIONS.map(id).to_vec(),
        product: id("prod-1"),
        profile: profile().hash(),
        limit: LIMIT,
        per_lot: LIMIT,
        scrap: 5,
        not_before: Timestamp(BEGIN - 50 * DAY),
        not_after: Timestamp(BEGIN + 50 * DAY),
        requester: id("rita"),
    }
}
