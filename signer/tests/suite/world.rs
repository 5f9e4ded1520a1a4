//! A miniature log: a ceremony, a station, a grant, and as many devices as a test wants.

use crate::keys::{LogKey, TestCaKey, issuing_certificate, key, public, rcgen_key, sign};
use der::asn1::{ObjectIdentifier, OctetString};
use identity::approval::{Approval, ApproverSet, approval_digest};
use identity::document::{
    Ceremony, Document, Grant, KeyOriginRule, LotOrder, PinnedApprover, Profile, StationStatement,
    SubjectAttribute, UidRule, Version1,
};
use identity::envelope::{Envelope, Purpose, StationRequest as _, Unit, request_hash};
use identity::evidence::{EndorsedChip, Evidence, Grade, Injected, OnChip};
use identity::field::{Openings, Tag};
use identity::idevid::{CertificateSerial, Facts, Issuer, build_tbs};
use identity::leaf::{
    Bind, Body, Bytes32, CertificateRef, EntryRef, EvidenceRef, GrantTerms, GrantUse, Leaf,
    Serial20, Void,
};
use identity::message::{
    Endorsement, InjectionReceipt, KeyOrigin, Message as _, Possession, Transport,
};
use identity::support::Support;
use identity::{
    CertificateHash, ChipUid, DeviceSerial, DocumentHash, Id, LeafHash, P256Key, PartNumber,
    RequestId, SubjectId, TbsHash, Timestamp,
};
use p256::ecdsa::SigningKey;
use signer::message::{self, Answer, Entry, SignReply, SignRequest, SignedEnvelope, Stopped};
use signer::{CaKey, Signer, SignerConfig, SignerError};
use std::path::PathBuf;
use translog::checkpoint::Checkpoint;
use translog::tree::{Frontier, Hash};

pub const ORIGIN: &str = "log.example/koseki";
/// 2026-11-23T09:30:15.250Z.
pub const NOW: Timestamp = Timestamp(1_795_426_215_250);
pub const DAY_MILLIS: u64 = 86_400_000;

pub const CA: u16 = 1;
const STATION_TLS: u16 = 10;
pub const STATION_REQUEST: u16 = 11;
pub const STATION_RECEIPT: u16 = 12;
pub const VENDOR: u16 = 20;
const ATTESTATION: u16 = 21;

pub struct World {
    pub directory: tempfile::TempDir,
    pub log: LogKey,
    pub issuing: Vec<u8>,
    pub approvers: Vec<PinnedApprover>,
    pub entries: Vec<Entry>,
    pub station: StationStatement,
    pub profile: Profile,
    pub grant: Grant,
    /// Next ordinal.
    pub issued: u32,
}

pub fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub fn octets(bytes: &[u8]) -> OctetString {
    OctetString::new(bytes).unwrap()
}

/// The approvers' keys by name.
fn approver_key(name: &str) -> SigningKey {
    key(100 + u16::from(name.as_bytes()[0]))
}

pub fn approval<D: Document>(document: &D, name: &str) -> Approval {
    let digest = approval_digest(D::KIND, &document.hash());
    Approval {
        approver: id(name),
        signature: sign(&approver_key(name), &digest),
    }
}

impl World {
    /// A log with ceremony, station and grant, all approved.
    pub fn new() -> Self {
        let mut world = Self::with_ca(issuing_certificate(&rcgen_key(&key(CA))));
        world.enter_ceremony();
        world.enter_station();
        world.enter_grant();
        world
    }

    /// An empty log.
    pub fn with_ca(issuing: Vec<u8>) -> Self {
        let approvers = ["anna", "bert", "cleo"];
        let profile = profile();
        Self {
            directory: tempfile::tempdir().unwrap(),
            log: LogKey::new(ORIGIN, 7),
            issuing,
            approvers: approvers
                .map(|name| PinnedApprover {
                    id: id(name),
                    key: public(&approver_key(name)),
                })
                .to_vec(),
            entries: Vec::new(),
            station: station(),
            grant: grant(&profile),
            profile,
            issued: 0,
        }
    }

    pub fn issuer(&self) -> Issuer {
        Issuer::from_certificate(&self.issuing).unwrap()
    }

    pub fn store(&self) -> PathBuf {
        self.directory.path().join("signer.db")
    }

    pub fn config(&self) -> SignerConfig {
        SignerConfig {
            store: self.store(),
            origin: ORIGIN.to_owned(),
            log_vkey: translog::note::NoteSigner::verifier_key(&self.log).to_string(),
            issuing_certificate: self.issuing.clone(),
            approvers: ApproverSet::new(2, self.approvers.clone()),
            long_log: pages::LONG_LOG,
        }
    }

    pub fn open(&self, key: &TestCaKey) -> Signer {
        self.try_open(Box::new(key.clone())).unwrap()
    }

    /// The first to ask finds a signer fresh from the ceremony.
    pub fn try_open(&self, key: Box<dyn CaKey>) -> Result<Signer, SignerError> {
        if !self.store().exists() {
            Signer::make_store(self.config())?;
        }
        Signer::open(self.config(), key)
    }

    pub fn ceremony(&self) -> Ceremony {
        Ceremony {
            version: Version1,
            origin: ORIGIN.to_owned(),
            time: NOW,
            root: CertificateHash([1; 32]),
            issuing: CertificateHash::of(&self.issuing),
            issuing_key: self.issuer().key().spki_hash(),
            log_vkey: self.config().log_vkey,
            infrastructure: CertificateHash([2; 32]),
            needed: 2,
            approvers: self.approvers.clone(),
        }
    }

    pub fn enter_ceremony(&mut self) {
        let ceremony = self.ceremony();
        self.push(
            Body::Ceremony {
                document: ceremony.hash(),
            },
            Some(support(&ceremony, None, &[])),
        );
    }

    pub fn enter_station(&mut self) {
        let station = self.station.clone();
        let approvals = [approval(&station, "anna"), approval(&station, "bert")];
        self.push(
            station_body(&station, &approvals),
            Some(support(&station, None, &approvals)),
        );
    }

    pub fn enter_grant(&mut self) {
        let grant = self.grant.clone();
        let approvals = [approval(&grant, "anna"), approval(&grant, "bert")];
        self.push(
            grant_body(&grant, &approvals),
            Some(support(&grant, Some(&self.profile), &approvals)),
        );
    }

    pub fn lot_order(&self) -> LotOrder {
        LotOrder {
            version: Version1,
            id: id("lot-1"),
            grant: self.grant.hash(),
            work_order: id("wo-1"),
            quantity: 50,
            first_serial: DeviceSerial::new("SN000000").unwrap(),
            last_serial: DeviceSerial::new("SN000999").unwrap(),
        }
    }

    pub fn enter_lot(&mut self) {
        self.enter_lot_order(&self.lot_order());
    }

    pub fn enter_lot_order(&mut self, order: &LotOrder) {
        let body = Body::LotOpen {
            document: order.hash(),
            grant: order.grant,
            quantity: order.quantity,
        };
        self.push(body, Some(support(order, None, &[])));
    }

    /// Appends a leaf and gives its index.
    pub fn push(&mut self, body: Body, support: Option<Support>) -> u64 {
        let leaf = Leaf {
            day: NOW.day(),
            body,
        };
        self.entries.push(Entry {
            leaf: octets(&leaf.to_bytes()),
            support,
        });
        u64::try_from(self.entries.len() - 1).unwrap()
    }

    /// A device as a good CA server would reserve it, on its own envelope.
    pub fn birth(&self, device: u16) -> Birth {
        self.births(&[device]).remove(0)
    }

    /// Several devices on one envelope.
    pub fn births(&self, devices: &[u16]) -> Vec<Birth> {
        let units = devices.iter().map(|device| self.unit(*device)).collect();
        let envelope = Envelope {
            version: Version1,
            purpose: Purpose::Provision,
            station: self.station.id,
            time: NOW,
            grant: self.grant.hash(),
            lot: id("lot-1"),
            seen: None,
            units,
        };
        let birth = |(at, device): (usize, &u16)| Birth::new(self, *device, envelope.clone(), at);
        devices.iter().enumerate().map(birth).collect()
    }

    /// A unit with all its proofs.
    pub fn unit(&self, device: u16) -> Unit {
        let device_key = key(1000 + device);
        let uid =
            ChipUid::new(&[0xc0, 0, device.to_be_bytes()[0], device.to_be_bytes()[1]]).unwrap();
        let mut request = [0x77; 16];
        request[..2].copy_from_slice(&device.to_be_bytes());
        let mut unit = Unit {
            request: RequestId(request),
            uid,
            part: self.profile.part,
            serial: DeviceSerial::new(&format!("SN{device:06}")).unwrap(),
            key: octets(&public(&device_key).spki()),
            challenge: octets(&[0x5a; 48]),
            possession: identity::envelope::Signature([0; 64]),
            evidence: Evidence::OnChip(self.on_chip(&uid, &public(&device_key))),
            observations: Vec::new(),
        };
        self.prove(&mut unit, device);
        unit
    }

    /// Signs the proof of possession afresh.
    pub fn prove(&self, unit: &mut Unit, device: u16) {
        let spki = unit.fixed_key().unwrap().spki_hash();
        let possession = Possession {
            challenge: unit.challenge.as_bytes(),
            request: &unit.request,
            uid: &unit.uid,
            serial: &unit.serial,
            spki: &spki,
            grant: &self.grant.hash(),
            station: &self.station.id,
        };
        unit.possession = sign(&key(1000 + device), &possession.digest());
    }

    fn endorsed(&self, uid: &ChipUid) -> EndorsedChip {
        let attestation = public(&key(ATTESTATION));
        let endorsement = Endorsement {
            uid,
            part: &self.profile.part,
            attestation: &attestation.spki_hash(),
        };
        EndorsedChip {
            attestation,
            endorsement: sign(&key(VENDOR), &endorsement.digest()),
        }
    }

    pub fn on_chip(&self, uid: &ChipUid, fixed: &P256Key) -> OnChip {
        let origin = KeyOrigin {
            uid,
            part: &self.profile.part,
            spki: &fixed.spki_hash(),
            nonce: &[3; 32],
        };
        OnChip {
            chip: self.endorsed(uid),
            nonce: Bytes32([3; 32]),
            origin: sign(&key(ATTESTATION), &origin.digest()),
        }
    }

    pub fn injected(&self, unit: &Unit) -> Injected {
        let ephemeral = public(&key(30));
        let transport = Transport {
            uid: &unit.uid,
            part: &unit.part,
            ephemeral: ephemeral.sec1(),
            nonce: &[4; 32],
        };
        let spki = unit.fixed_key().unwrap().spki_hash();
        let receipt = InjectionReceipt {
            request: &unit.request,
            uid: &unit.uid,
            spki: &spki,
            ephemeral: ephemeral.sec1(),
            wrapped: &[5; 32],
        };
        Injected {
            chip: self.endorsed(&unit.uid),
            nonce: Bytes32([4; 32]),
            ephemeral,
            transport: sign(&key(ATTESTATION), &transport.digest()),
            wrapped: Bytes32([5; 32]),
            receipt: sign(&key(STATION_RECEIPT), &receipt.digest()),
        }
    }

    /// Enters the `bind` leaf with the next ordinal and gives the item.
    pub fn bind(&mut self, birth: &Birth) -> Item {
        let mut bind = birth.bind.clone();
        bind.grant.ordinal = self.issued;
        self.issued += 1;
        self.bind_as_is(birth, bind)
    }

    pub fn bind_as_is(&mut self, birth: &Birth, bind: Bind) -> Item {
        let index = self.push(Body::Bind(bind), None);
        birth.item(index)
    }

    /// Voids the unit bound at this index; the bind must be its newest entry.
    pub fn void(&mut self, index: u64) -> u64 {
        let leaf = self.entries[usize::try_from(index).unwrap()]
            .leaf
            .as_bytes();
        let subject = Leaf::from_bytes(leaf).unwrap().body.subject().unwrap();
        let previous = EntryRef {
            index,
            hash: LeafHash::of(leaf),
        };
        self.push(
            Body::Void(Void {
                subject,
                previous,
                request: None,
                reason: id("CA-0999"),
            }),
            None,
        )
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap()
    }

    /// The signed head over the first `size` entries.
    pub fn checkpoint(&self, size: u64) -> Vec<u8> {
        let hash = |entry: &Entry| Hash::new(LeafHash::of(entry.leaf.as_bytes()).0);
        let frontier: Frontier = self
            .entries
            .iter()
            .take(usize::try_from(size).unwrap())
            .map(hash)
            .collect();
        let checkpoint = Checkpoint::new(ORIGIN, size, frontier.root()).unwrap();
        checkpoint.sign(&self.log).unwrap().to_string().into_bytes()
    }

    /// Everything from `first` to the head, and these items.
    pub fn request(&self, first: u64, items: &[Item]) -> SignRequest {
        SignRequest {
            version: Version1,
            checkpoint: octets(&self.checkpoint(self.size())),
            first,
            entries: self.entries[usize::try_from(first).unwrap()..].to_vec(),
            envelopes: envelopes(items),
            items: sent(items),
        }
    }

    /// Sends what the signer lacks, and these items.
    pub fn ask(&self, signer: &mut Signer, items: &[Item]) -> SignReply {
        exchange(signer, &self.request(signer.size(), items))
    }
}

fn sealed(item: &Item) -> SignedEnvelope {
    SignedEnvelope {
        der: item.envelope.clone(),
        signature: item.signature.clone(),
    }
}

/// The envelopes of these items, each once.
pub fn envelopes(items: &[Item]) -> Vec<SignedEnvelope> {
    let mut each: Vec<_> = items.iter().map(sealed).collect();
    each.dedup();
    each
}

/// The items as they are sent beside their [`envelopes`].
pub fn sent(items: &[Item]) -> Vec<message::Item> {
    let envelopes = envelopes(items);
    let place = |item: &Item| envelopes.iter().position(|it| *it == sealed(item)).unwrap();
    let send = |item: &Item| message::Item {
        index: item.index,
        tbs: item.tbs.clone(),
        openings: item.openings.clone(),
        envelope: u32::try_from(place(item)).unwrap(),
        unit: item.unit,
    };
    items.iter().map(send).collect()
}

pub fn exchange(signer: &mut Signer, request: &SignRequest) -> SignReply {
    SignReply::from_bytes(&signer.exchange(&request.to_bytes().unwrap())).unwrap()
}

/// The answers, or the code of the stop.
pub fn answers(reply: SignReply) -> Result<Vec<Answer>, String> {
    match reply {
        SignReply::Outcomes(outcomes) => {
            Ok(outcomes.into_iter().map(|outcome| outcome.answer).collect())
        }
        SignReply::Stopped(Stopped { code, .. }) => Err(code),
    }
}

/// The only signature, or the code.
pub fn one(reply: SignReply) -> Result<[u8; 64], String> {
    match answers(reply)?.as_slice() {
        [Answer::Signed(signature)] => Ok(signature.0),
        [Answer::Refused(refused)] => Err(refused.code.clone()),
        other => panic!("{other:?}"),
    }
}

pub fn support<D: Document>(
    document: &D,
    profile: Option<&Profile>,
    approvals: &[Approval],
) -> Support {
    Support::pack(document, profile, approvals).unwrap()
}

pub fn hashes(approvals: &[Approval]) -> Vec<DocumentHash> {
    approvals.iter().map(Approval::hash).collect()
}

pub fn station_body(station: &StationStatement, approvals: &[Approval]) -> Body {
    Body::Station {
        document: station.hash(),
        approvals: hashes(approvals),
    }
}

pub fn grant_body(grant: &Grant, approvals: &[Approval]) -> Body {
    let (first, last) = grant.days();
    let terms = GrantTerms {
        limit: grant.limit,
        scrap: grant.scrap,
        first,
        last,
    };
    Body::Grant {
        document: grant.hash(),
        approvals: hashes(approvals),
        terms,
    }
}

pub fn station() -> StationStatement {
    StationStatement {
        version: Version1,
        id: id("st-1"),
        site: id("site-1"),
        line: id("line-1"),
        tls_key: public(&key(STATION_TLS)),
        request_key: public(&key(STATION_REQUEST)),
        receipt_key: public(&key(STATION_RECEIPT)),
        not_before: Timestamp(NOW.0 - 10 * DAY_MILLIS),
        not_after: Timestamp(NOW.0 + 10 * DAY_MILLIS),
        requester: id("rita"),
        agents: None,
    }
}

pub fn profile() -> Profile {
    let attribute = |oid: &str, template: &str| SubjectAttribute {
        oid: ObjectIdentifier::new_unwrap(oid),
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
        hardware_type: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1.7"),
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

pub fn grant(profile: &Profile) -> Grant {
    Grant {
        version: Version1,
        id: id("grant-1"),
        maker: id("maker-1"),
        factory: id("factory-1"),
        site: id("site-1"),
        lines: vec![id("line-1")],
        stations: vec![id("st-1")],
        product: id("prod-1"),
        profile: profile.hash(),
        limit: 100,
        per_lot: 50,
        scrap: 5,
        not_before: Timestamp(NOW.0 - 5 * DAY_MILLIS),
        not_after: Timestamp(NOW.0 + 5 * DAY_MILLIS),
        requester: id("rita"),
    }
}

/// What is asked for one device; each with an envelope of its own.
#[derive(Clone, Debug)]
pub struct Item {
    pub index: u64,
    pub tbs: OctetString,
    pub openings: OctetString,
    pub envelope: OctetString,
    pub signature: OctetString,
    pub unit: u32,
}

/// Salts that differ and are the same in every run.
struct Counting(std::sync::atomic::AtomicU8);

impl identity::Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), identity::sources::EntropyError> {
        out.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        Ok(())
    }
}

/// One device about to be bound, every part open to tampering.
#[derive(Clone)]
pub struct Birth {
    pub device: u16,
    pub unit: usize,
    pub envelope: Envelope,
    pub signature: Vec<u8>,
    pub bind: Bind,
    pub tbs: Vec<u8>,
    pub openings: Vec<u8>,
    pub not_before: Timestamp,
}

impl Birth {
    fn new(world: &World, device: u16, envelope: Envelope, unit: usize) -> Self {
        let own = &envelope.units[unit];
        let spki = own.fixed_key().unwrap().spki_hash();
        let serial = CertificateSerial::of_key(&world.issuer().key().spki_hash(), &spki);
        let bind = Bind {
            subject: SubjectId::of_p256(&spki),
            certificate: CertificateRef {
                serial: Serial20(*serial.as_bytes()),
                tbs: TbsHash([0; 32]),
                spki,
                issuer: world.issuer().key().spki_hash(),
                epoch: 0,
            },
            grant: GrantUse {
                grant: envelope.grant,
                ordinal: 0,
            },
            request: identity::RequestHash([0; 32]),
            evidence: EvidenceRef {
                grade: Grade::ChipAttested,
                hash: own.evidence.hash(),
            },
            fields: Bytes32([9; 32]),
            lot: None,
            supersedes: None,
        };
        let not_before = Timestamp(NOW.0);
        let mut birth = Self {
            device,
            unit,
            envelope,
            signature: Vec::new(),
            bind,
            tbs: Vec::new(),
            openings: Vec::new(),
            not_before,
        };
        birth.seal_fields(world, |_| ());
        birth.seal_envelope();
        birth.seal_tbs(world);
        birth
    }

    pub fn own(&mut self) -> &mut Unit {
        &mut self.envelope.units[self.unit]
    }

    /// The station signs again, and the leaf names what it signed.
    pub fn seal_envelope(&mut self) {
        let der = self.envelope.to_bytes();
        self.bind.request = request_hash::<Envelope>(&der);
        self.signature = sign(&key(STATION_REQUEST), &self.bind.request.0).0.to_vec();
        self.bind.evidence.hash = self.envelope.units[self.unit].evidence.hash();
    }

    /// The fields that envelope and grant ask for, after a change, committed to in the leaf.
    pub fn seal_fields(&mut self, world: &World, change: impl FnOnce(&mut Vec<(Tag, Vec<u8>)>)) {
        let (own, grant) = (&self.envelope.units[self.unit], &world.grant);
        let mut fields = vec![
            (Tag::DeviceSerial, own.serial.as_bytes().to_vec()),
            (Tag::ChipUid, own.uid.as_bytes().to_vec()),
            (Tag::ChipPart, own.part.as_bytes().to_vec()),
            (Tag::Station, world.station.id.as_bytes().to_vec()),
            (Tag::Line, world.station.line.as_bytes().to_vec()),
            (Tag::Lot, self.envelope.lot.as_bytes().to_vec()),
            (Tag::Factory, grant.factory.as_bytes().to_vec()),
            (Tag::Model, grant.product.as_bytes().to_vec()),
            (Tag::BrandOwner, grant.maker.as_bytes().to_vec()),
        ];
        change(&mut fields);
        let fields: Vec<_> = fields
            .iter()
            .map(|(tag, value)| (*tag, &value[..]))
            .collect();
        let openings = Openings::seal(&fields, &Counting(0.into())).unwrap();
        self.take_openings(&openings);
    }

    /// Takes these openings and commits to them in the leaf.
    pub fn take_openings(&mut self, openings: &Openings) {
        self.bind.fields = openings.root();
        self.openings = openings.to_bytes();
    }

    /// The TBS that the facts ask for, named in the leaf.
    pub fn seal_tbs(&mut self, world: &World) {
        self.tbs = self.build(&world.issuer(), &world.profile);
        self.bind.certificate.tbs = TbsHash::of(&self.tbs);
    }

    pub fn build(&self, issuer: &Issuer, profile: &Profile) -> Vec<u8> {
        let own = &self.envelope.units[self.unit];
        let facts = Facts {
            profile,
            serial: &own.serial,
            uid: &own.uid,
            key: &own.fixed_key().unwrap(),
            certificate_serial: &CertificateSerial::from_octets(&self.bind.certificate.serial.0)
                .unwrap(),
            not_before: self.not_before,
        };
        build_tbs(issuer, &facts).unwrap()
    }

    /// Takes another TBS and names it in the leaf, so that only its contents are judged.
    pub fn take_tbs(&mut self, tbs: Vec<u8>) {
        self.bind.certificate.tbs = TbsHash::of(&tbs);
        self.tbs = tbs;
    }

    pub fn item(&self, index: u64) -> Item {
        Item {
            index,
            tbs: octets(&self.tbs),
            openings: octets(&self.openings),
            envelope: octets(&self.envelope.to_bytes()),
            signature: octets(&self.signature),
            unit: u32::try_from(self.unit).unwrap(),
        }
    }
}
