//! A small maker: root, issuing CA, log and devices, all from seeds, so that every run gives the same bytes.

use der::pem::LineEnding;
use ed25519_dalek::Signer as _;
use identity::document::{
    Document as _, KeyOriginRule, Profile, SubjectAttribute, UidRule, Version1,
};
use identity::evidence::{EndorsedChip, Evidence, Grade, Injected, OnChip, Signature};
use identity::field::{Openings, Tag};
use identity::hash::sha256;
use identity::idevid::{CertificateSerial, Facts, Issuer, assemble, build_tbs};
use identity::leaf::{
    Bind, Body, Bytes32, CertificateRef, Confirm, EntryRef, EvidenceRef, GrantTerms, GrantUse,
    Leaf, Serial20, Void,
};
use identity::message::{Endorsement, KeyOrigin, Message as _, Transport};
use identity::receipt::ReceiptExtra;
use identity::sources::EntropyError;
use identity::{
    CertificateHash, ChipUid, Day, DeviceSerial, DocumentHash, Entropy, Id, LeafHash, P256Key,
    PartNumber, RequestHash, SubjectId, TbsHash, Timestamp,
};
use koseki_verify::{Authority, Trust};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use translog::checkpoint::{Checkpoint, TrustedLog};
use translog::note::{NoteSigner, SignatureType, VerifierKey};
use translog::policy::Policy;
use translog::proof::{HashReader, Node, prove_inclusion};
use translog::receipt::TlogProof;
use translog::tile::{RightEdge, bundles_between, encode_entries};
use translog::tree::{Hash, leaf_hash, root_of};

pub(crate) const ORIGIN: &str = "log.mihon-denki.example/register";
pub(crate) const DAY: Day = Day(20_780);
/// 2026-11-23T12:00:00Z
pub(crate) const NOW: Timestamp = Timestamp(1_795_435_200_000);
pub(crate) const GRANT: DocumentHash = DocumentHash([0x47; 32]);

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

pub(crate) fn public(seed: u8) -> P256Key {
    P256Key::from_sec1(key(seed).verifying_key().to_sec1_point(false).as_bytes()).unwrap()
}

pub(crate) fn sign(seed: u8, digest: &[u8; 32]) -> [u8; 64] {
    let signature: p256::ecdsa::Signature = key(seed).sign_prehash(digest).unwrap();
    signature.to_bytes().into()
}

/// Seeds of the maker's keys; devices have seeds from 100.
const ROOT: u8 = 1;
const ISSUING: u8 = 2;
pub(crate) const VENDOR: u8 = 3;
const ATTESTATION: u8 = 4;
const STATION: u8 = 5;

struct Counter(AtomicU8);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for salt in out.chunks_mut(32) {
            salt.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
        Ok(())
    }
}

/// DER by hand, so that a CA's certificate can be wrong in any way.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match content.len() {
        short @ 0..128 => vec![u8::try_from(short).unwrap()],
        middle @ 128..256 => vec![0x81, u8::try_from(middle).unwrap()],
        long => [&[0x82][..], &u16::try_from(long).unwrap().to_be_bytes()].concat(),
    };
    [&[tag][..], &length, &content].concat()
}

/// How a CA's certificate is made.
#[derive(Clone)]
pub(crate) struct Ca<'a> {
    pub(crate) name: &'a str,
    pub(crate) seed: u8,
    pub(crate) issuer: &'a str,
    pub(crate) issuer_seed: u8,
    pub(crate) path: u8,
    pub(crate) not_after: &'a str,
}

pub(crate) const ROOT_CA: Ca<'static> = Ca {
    name: "Mihon Denki Device Root R1",
    seed: ROOT,
    issuer: "Mihon Denki Device Root R1",
    issuer_seed: ROOT,
    path: 1,
    not_after: "99991231235959Z",
};
pub(crate) const ISSUING_CA: Ca<'static> = Ca {
    name: "Mihon Denki Issuing I1",
    seed: ISSUING,
    path: 0,
    ..ROOT_CA
};

impl Ca<'_> {
    pub(crate) fn der(&self) -> Vec<u8> {
        let name = |cn: &str| {
            tlv(
                0x30,
                &[&tlv(
                    0x31,
                    &[&tlv(
                        0x30,
                        &[&[6, 3, 0x55, 4, 3], &tlv(0x0c, &[cn.as_bytes()])],
                    )],
                )],
            )
        };
        let key_id = |seed: u8| public(seed).spki_hash().0[..20].to_vec();
        let extension = |oid: u8, critical: bool, value: &[u8]| {
            let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
            tlv(
                0x30,
                &[&[6, 3, 0x55, 0x1d, oid], critical, &tlv(4, &[value])],
            )
        };
        let extensions = tlv(
            0x30,
            &[
                &extension(
                    0x23,
                    false,
                    &tlv(0x30, &[&tlv(0x80, &[&key_id(self.issuer_seed)])]),
                ),
                &extension(0x0e, false, &tlv(4, &[&key_id(self.seed)])),
                &extension(0x0f, true, &[3, 2, 1, 6]),
                &extension(0x13, true, &tlv(0x30, &[&[1, 1, 0xff], &[2, 1, self.path]])),
            ],
        );
        let algorithm = tlv(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
        let validity = tlv(
            0x30,
            &[
                &tlv(0x17, &[b"260101000000Z"]),
                &tlv(0x18, &[self.not_after.as_bytes()]),
            ],
        );
        let tbs = tlv(
            0x30,
            &[
                &[0xa0, 3, 2, 1, 2],
                &[2, 1, self.seed],
                &algorithm,
                &name(self.issuer),
                &validity,
                &name(self.name),
                &public(self.seed).spki(),
                &tlv(0xa3, &[&extensions]),
            ],
        );
        assemble(&tbs, &sign(self.issuer_seed, &sha256(&tbs))).unwrap()
    }
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, LineEnding::LF, der).unwrap()
}

/// The log's key.
pub(crate) struct LogKey {
    pub(crate) secret: ed25519_dalek::SigningKey,
    pub(crate) public: VerifierKey,
}

impl LogKey {
    pub(crate) fn new(seed: u8) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let material = secret.verifying_key().to_bytes();
        let public =
            VerifierKey::new(ORIGIN.parse().unwrap(), SignatureType::Ed25519, &material).unwrap();
        Self { secret, public }
    }
}

impl NoteSigner for LogKey {
    type Error = Infallible;

    fn verifier_key(&self) -> &VerifierKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Infallible> {
        Ok(self.secret.sign(message).to_bytes().to_vec())
    }
}

/// A device as it leaves the line.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) certificate: Vec<u8>,
    pub(crate) subject: SubjectId,
    pub(crate) history: Vec<Vec<u8>>,
    pub(crate) newest: EntryRef,
    pub(crate) openings: Openings,
    pub(crate) evidence: Option<Evidence>,
}

/// The maker and its log.
pub(crate) struct House {
    pub(crate) log_key: LogKey,
    pub(crate) entries: Vec<Vec<u8>>,
}

/// What the maker has issued.
pub(crate) fn terms() -> GrantTerms {
    GrantTerms {
        limit: 500,
        scrap: 2,
        first: DAY,
        last: Day(DAY.0 + 30),
    }
}

impl House {
    pub(crate) fn new() -> Self {
        let mut house = Self {
            log_key: LogKey::new(9),
            entries: Vec::new(),
        };
        house.enter(Body::Ceremony {
            document: DocumentHash([1; 32]),
        });
        house.enter(Body::Grant {
            document: GRANT,
            approvals: vec![DocumentHash([2; 32])],
            terms: terms(),
        });
        house
    }

    /// Enters a leaf without asking the rules.
    pub(crate) fn enter(&mut self, body: Body) -> (Vec<u8>, EntryRef) {
        let entry = Leaf { day: DAY, body }.to_bytes();
        let index = u64::try_from(self.entries.len()).unwrap();
        self.entries.push(entry.clone());
        let hash = LeafHash::of(&entry);
        (entry, EntryRef { index, hash })
    }

    /// A device whose key was made on the chip, bound as `ordinal`.
    pub(crate) fn bind(&mut self, ordinal: u8) -> Device {
        let evidence = on_chip(&uid(ordinal), &public(100 + ordinal));
        self.bind_with(ordinal, Some(evidence), Grade::ChipAttested)
    }

    pub(crate) fn bind_with(
        &mut self,
        ordinal: u8,
        evidence: Option<Evidence>,
        grade: Grade,
    ) -> Device {
        let (profile, serial, uid, key) = (
            profile(),
            serial(ordinal),
            uid(ordinal),
            public(100 + ordinal),
        );
        let issuer = Issuer::from_certificate(&ISSUING_CA.der()).unwrap();
        let certificate_serial =
            CertificateSerial::of_key(&issuer.key().spki_hash(), &key.spki_hash());
        let facts = Facts {
            profile: &profile,
            serial: &serial,
            uid: &uid,
            key: &key,
            certificate_serial: &certificate_serial,
            not_before: Timestamp(NOW.0 - 3_600_000),
        };
        let tbs = build_tbs(&issuer, &facts).unwrap();
        let certificate = assemble(&tbs, &sign(ISSUING, &sha256(&tbs))).unwrap();
        let values: [(Tag, &[u8]); 4] = [
            (Tag::DeviceSerial, serial.as_bytes()),
            (Tag::Lot, b"L-1"),
            (Tag::ChipUid, uid.as_bytes()),
            (Tag::ChipPart, profile.part.as_bytes()),
        ];
        let openings = Openings::seal(&values, &Counter(AtomicU8::new(ordinal))).unwrap();
        let subject = SubjectId::of_p256(&key.spki_hash());
        let body = Body::Bind(Bind {
            subject,
            certificate: CertificateRef {
                serial: Serial20(*certificate_serial.as_bytes()),
                tbs: TbsHash::of(&tbs),
                spki: key.spki_hash(),
                issuer: public(ISSUING).spki_hash(),
                epoch: 0,
            },
            grant: GrantUse {
                grant: GRANT,
                ordinal: u32::from(ordinal),
            },
            request: RequestHash([ordinal; 32]),
            evidence: EvidenceRef {
                grade,
                hash: evidence.as_ref().map_or(Bytes32([0; 32]), Evidence::hash),
            },
            fields: openings.root(),
            lot: None,
            supersedes: None,
        });
        let (entry, newest) = self.enter(body);
        Device {
            certificate,
            subject,
            history: vec![entry],
            newest,
            openings,
            evidence,
        }
    }

    pub(crate) fn confirm(&mut self, device: &mut Device) {
        let certificate = CertificateHash::of(&device.certificate);
        self.confirm_as(device, certificate);
    }

    pub(crate) fn confirm_as(&mut self, device: &mut Device, certificate: CertificateHash) {
        let (subject, previous) = (device.subject, device.newest);
        let (request, signature) = (RequestHash([0xc0; 32]), Bytes32([0xc1; 32]));
        self.follow(
            device,
            Body::Confirm(Confirm {
                subject,
                previous,
                request,
                certificate,
                signature,
            }),
        );
    }

    pub(crate) fn void(&mut self, device: &mut Device) {
        let (subject, previous) = (device.subject, device.newest);
        let reason = Id::new("LINE-0301").unwrap();
        self.follow(
            device,
            Body::Void(Void {
                subject,
                previous,
                request: None,
                reason,
            }),
        );
    }

    fn follow(&mut self, device: &mut Device, body: Body) {
        let (entry, newest) = self.enter(body);
        device.history.push(entry);
        device.newest = newest;
    }

    /// `count` more entries that permit certificates nobody has: for logs of several tiles.
    pub(crate) fn fill(&mut self, first: u32, count: u32) {
        for ordinal in first..first + count {
            self.enter(Body::Bind(filler(ordinal)));
        }
    }

    pub(crate) fn checkpoint(&self) -> String {
        let size = u64::try_from(self.entries.len()).unwrap();
        Checkpoint::new(ORIGIN, size, root_of(&self.hashes()))
            .unwrap()
            .sign(&self.log_key)
            .unwrap()
            .to_string()
    }

    pub(crate) fn proof(&self, device: &Device) -> String {
        let extra = ReceiptExtra {
            version: Version1,
            history: device.history.iter().map(|entry| octets(entry)).collect(),
            openings: octets(&device.openings.to_bytes()),
            evidence: device
                .evidence
                .as_ref()
                .map(|evidence| octets(&evidence.to_bytes())),
        };
        let (leaves, index) = (Leaves(self.hashes()), device.newest.index);
        let proof =
            prove_inclusion(&leaves, index, u64::try_from(self.entries.len()).unwrap()).unwrap();
        let note = translog::note::SignedNote::parse(self.checkpoint().as_bytes()).unwrap();
        TlogProof::new(index, proof, note)
            .unwrap()
            .with_extra(extra.to_bytes())
            .unwrap()
            .to_string()
    }

    pub(crate) fn trust(&self) -> Trust {
        trust_in(&self.log_key)
            .with_vendors(vec![public(VENDOR)])
            .with_profiles(vec![profile()])
    }

    pub(crate) fn write_trust(&self, dir: &Path) {
        for sub in ["vendors", "profiles"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        fs::write(dir.join("root.pem"), pem("CERTIFICATE", &ROOT_CA.der())).unwrap();
        fs::write(
            dir.join("issuing.pem"),
            pem("CERTIFICATE", &ISSUING_CA.der()),
        )
        .unwrap();
        fs::write(dir.join("log.vkey"), format!("{}\n", self.log_key.public)).unwrap();
        fs::write(
            dir.join("vendors/chips.pem"),
            pem("PUBLIC KEY", &public(VENDOR).spki()),
        )
        .unwrap();
        fs::write(dir.join("profiles/meter.der"), profile().to_bytes()).unwrap();
    }

    pub(crate) fn write_log(&self, dir: &Path) {
        let write = |path: String, bytes: Vec<u8>| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        for (id, tile) in RightEdge::new().append(&self.hashes()) {
            write(id.to_string(), tile.to_bytes());
        }
        for id in bundles_between(0, u64::try_from(self.entries.len()).unwrap()) {
            let range = usize::try_from(id.entries().start).unwrap()
                ..usize::try_from(id.entries().end).unwrap();
            write(
                id.to_string(),
                encode_entries(&self.entries[range]).unwrap(),
            );
        }
        write("checkpoint".to_owned(), self.checkpoint().into_bytes());
    }

    fn hashes(&self) -> Vec<Hash> {
        self.entries.iter().map(|entry| leaf_hash(entry)).collect()
    }
}

pub(crate) fn trust_in(log_key: &LogKey) -> Trust {
    let log = TrustedLog::new(ORIGIN, vec![log_key.public.clone()]).unwrap();
    trust_under(Policy::without_witnesses(log))
}

/// Trust that asks for a witness, which has cosigned nothing.
pub(crate) fn witnessed_trust_in(log_key: &LogKey) -> Trust {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[78; 32]);
    let witness = VerifierKey::new(
        "witness.example".parse().unwrap(),
        SignatureType::Ed25519Cosignature,
        &secret.verifying_key().to_bytes(),
    );
    let (log, witness) = (&log_key.public, witness.unwrap());
    let policy = format!("log {log}\nwitness w {witness}\nquorum w\n");
    trust_under(Policy::parse(policy.as_bytes()).unwrap())
}

fn trust_under(policy: Policy) -> Trust {
    let authority = |ca: &Ca<'_>| Authority::from_der(&ca.der()).unwrap();
    Trust::new(authority(&ROOT_CA), vec![authority(&ISSUING_CA)], policy).unwrap()
}

pub(crate) fn filler(ordinal: u32) -> Bind {
    let unique = |label: u8| sha256(&[&[label][..], &ordinal.to_be_bytes()].concat());
    Bind {
        subject: SubjectId(unique(0)),
        certificate: CertificateRef {
            serial: Serial20(unique(1)[..20].try_into().unwrap()),
            tbs: TbsHash(unique(2)),
            spki: identity::SpkiHash(unique(3)),
            issuer: public(ISSUING).spki_hash(),
            epoch: 0,
        },
        grant: GrantUse {
            grant: GRANT,
            ordinal,
        },
        request: RequestHash(unique(4)),
        evidence: EvidenceRef {
            grade: Grade::ChipAttested,
            hash: Bytes32(unique(5)),
        },
        fields: Bytes32(unique(6)),
        lot: None,
        supersedes: None,
    }
}

pub(crate) fn uid(ordinal: u8) -> ChipUid {
    ChipUid::new(&[0xc0, 0, 0, ordinal]).unwrap()
}

fn serial(ordinal: u8) -> DeviceSerial {
    DeviceSerial::new(&format!("2648{ordinal:07}")).unwrap()
}

pub(crate) fn profile() -> Profile {
    let attribute = |oid: &str, template: &str| SubjectAttribute {
        oid: oid.parse().unwrap(),
        template: template.to_owned(),
    };
    Profile {
        version: Version1,
        product: Id::new("meter-m1").unwrap(),
        maker: Id::new("mihon-denki").unwrap(),
        subject: vec![
            attribute("2.5.4.10", "Mihon Denki"),
            attribute("2.5.4.5", "{serial}"),
        ],
        hardware_type: "1.3.6.1.4.1.32473.1.1".parse().unwrap(),
        crl: "http://crl.mihon-denki.example/i1.crl".to_owned(),
        instance_uri: Some("urn:mihon-denki:m1:{serial}".to_owned()),
        serial_pattern: "[0-9]{11}".to_owned(),
        part: PartNumber::new("KS32").unwrap(),
        uid: UidRule {
            length: 4,
            prefix: octets(&[0xc0]),
        },
        origin: KeyOriginRule::OnChip,
        grade: Grade::StationAsserted,
        vendors: vec![public(VENDOR)],
    }
}

fn endorsed(uid: &ChipUid) -> EndorsedChip {
    let (part, attestation) = (profile().part, public(ATTESTATION));
    let digest = Endorsement {
        uid,
        part: &part,
        attestation: &attestation.spki_hash(),
    }
    .digest();
    EndorsedChip {
        attestation,
        endorsement: Signature(sign(VENDOR, &digest)),
    }
}

pub(crate) fn on_chip(uid: &ChipUid, key: &P256Key) -> Evidence {
    let (part, nonce) = (profile().part, [7; 32]);
    let digest = KeyOrigin {
        uid,
        part: &part,
        spki: &key.spki_hash(),
        nonce: &nonce,
    }
    .digest();
    Evidence::OnChip(OnChip {
        chip: endorsed(uid),
        nonce: Bytes32(nonce),
        origin: Signature(sign(ATTESTATION, &digest)),
    })
}

pub(crate) fn injected(uid: &ChipUid) -> Evidence {
    let (part, nonce, ephemeral) = (profile().part, [7; 32], public(6));
    let digest = Transport {
        uid,
        part: &part,
        ephemeral: ephemeral.sec1(),
        nonce: &nonce,
    }
    .digest();
    Evidence::Injected(Injected {
        chip: endorsed(uid),
        nonce: Bytes32(nonce),
        ephemeral,
        transport: Signature(sign(ATTESTATION, &digest)),
        wrapped: Bytes32([8; 32]),
        receipt: Signature(sign(STATION, &[9; 32])),
    })
}

fn octets(bytes: &[u8]) -> der::asn1::OctetString {
    der::asn1::OctetString::new(bytes).unwrap()
}

struct Leaves(Vec<Hash>);

impl HashReader for Leaves {
    type Error = Infallible;

    fn hash(&self, node: Node) -> Result<Hash, Infallible> {
        let (start, count) = (
            usize::try_from(node.index << node.level).unwrap(),
            1_usize << node.level,
        );
        Ok(root_of(&self.0[start..start + count]))
    }
}
