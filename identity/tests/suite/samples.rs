//! One maker, one station, one unit: every form with a wire encoding, filled so that the parts fit each other.

use crate::keys::{public_key, sign};
use der::asn1::{ObjectIdentifier, OctetString};
use identity::approval::{Approval, approval_digest};
use identity::document::{
    Ceremony, Document, Grant, KeyOriginRule, LotOrder, PinnedApprover, Profile, Signature,
    StationStatement, SubjectAttribute, UidRule, Version1,
};
use identity::envelope::{
    ConfirmRequest, Envelope, Observation, Purpose, StationRequest as _, Unit, VoidRequest,
    request_hash,
};
use identity::evidence::{Bytes32, EndorsedChip, Evidence, EvidenceFacts, Grade, Injected, OnChip};
use identity::field::{Openings, Tag};
use identity::leaf::{
    Adopt, Bind, Body, CertificateRef, Confirm, EntryRef, EvidenceRef, GrantTerms, GrantUse, Leaf,
    LotClose, Refuse, Scrap, Serial20, Void,
};
use identity::lot::{LotCloseRequest, LotCounts, LotSeen, LotShare, LotTally, ScrapRequest};
use identity::message::{
    Confirmation, Endorsement, InjectionReceipt, KeyOrigin, Message as _, Possession, Transport,
};
use identity::receipt::ReceiptExtra;
use identity::sources::EntropyError;
use identity::{
    CertificateHash, ChipUid, Day, DeviceSerial, Entropy, Id, LeafHash, P256Key, PartNumber,
    RequestHash, RequestId, SpkiHash, SubjectId, TbsHash, Timestamp,
};

pub(crate) const ALICE: u8 = 11;
pub(crate) const BOB: u8 = 12;
pub(crate) const CAROL: u8 = 13;
pub(crate) const TLS: u8 = 21;
pub(crate) const REQUESTS: u8 = 22;
pub(crate) const RECEIPTS: u8 = 23;
pub(crate) const VENDOR: u8 = 31;
pub(crate) const ATTESTATION: u8 = 32;
pub(crate) const FIXED: u8 = 33;
pub(crate) const EPHEMERAL: u8 = 34;

/// 2026-11-23T09:30:15.250Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_426_215_250);
pub(crate) const TODAY: Day = Day(20_780);
pub(crate) const REQUEST: RequestId = RequestId([0xa1; 16]);
const NONCE: [u8; 32] = [0xb1; 32];
const WRAPPED: [u8; 32] = [0xb2; 32];
const CHALLENGE: &[u8] = &[0xb3; 48];
const CERTIFICATE: CertificateHash = CertificateHash([0xc1; 32]);

pub(crate) fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

pub(crate) fn uid() -> ChipUid {
    ChipUid::new(&[0x04, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]).unwrap()
}

pub(crate) fn part() -> PartNumber {
    PartNumber::new("SE-256.A").unwrap()
}

fn serial() -> DeviceSerial {
    DeviceSerial::new("26480001007").unwrap()
}

pub(crate) fn octets(bytes: &[u8]) -> OctetString {
    OctetString::new(bytes).unwrap()
}

/// Salts that count upward, so that goldens stay what they are.
#[derive(Debug, Default)]
pub(crate) struct Counting(std::sync::atomic::AtomicU8);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for salt in out.chunks_mut(32) {
            salt.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
        Ok(())
    }
}

// --- documents -----------------------------------------------------------------------------------------------------

pub(crate) fn ceremony() -> Ceremony {
    let approver = |name: &str, seed| PinnedApprover {
        id: id(name),
        key: public_key(seed),
    };
    Ceremony {
        version: Version1,
        origin: "log.mihon.example/devices".into(),
        time: NOW,
        root: CertificateHash([0x11; 32]),
        issuing: CertificateHash([0x12; 32]),
        issuing_key: SpkiHash([0x13; 32]),
        log_vkey: "log.mihon.example/devices+2d6c0a4e+AbCd".into(),
        infrastructure: CertificateHash([0x14; 32]),
        needed: 2,
        approvers: vec![
            approver("alice", ALICE),
            approver("bob", BOB),
            approver("carol", CAROL),
        ],
    }
}

pub(crate) fn profile() -> Profile {
    let attribute = |oid: &str, template: &str| SubjectAttribute {
        oid: ObjectIdentifier::new(oid).unwrap(),
        template: template.into(),
    };
    Profile {
        version: Version1,
        product: id("thermo-7"),
        maker: id("mihon"),
        subject: vec![
            attribute("2.5.4.10", "Mihon Denki K.K."),
            attribute("2.5.4.5", "{serial}"),
        ],
        hardware_type: ObjectIdentifier::new("1.3.6.1.4.1.32473.7.1").unwrap(),
        crl: "http://crl.mihon.example/devices.crl".into(),
        instance_uri: Some("tag:mihon.example,2026-11:thermo-7:{serial}".into()),
        serial_pattern: "^2648[0-9]{7}$".into(),
        part: part(),
        uid: UidRule {
            length: 8,
            prefix: octets(&[0x04]),
        },
        origin: KeyOriginRule::OnChip,
        grade: Grade::ChipAttested,
        vendors: vec![public_key(VENDOR)],
    }
}

pub(crate) fn grant() -> Grant {
    Grant {
        version: Version1,
        id: id("thermo-7-2026-48"),
        maker: id("mihon"),
        factory: id("sagami"),
        site: id("SGM1"),
        lines: vec![id("line-1"), id("line-2")],
        stations: vec![id("st-01")],
        product: id("thermo-7"),
        profile: profile().hash(),
        limit: 5000,
        per_lot: 1000,
        scrap: 50,
        not_before: Timestamp(1_795_392_000_000),
        not_after: Timestamp(1_803_168_000_000),
        requester: id("dave"),
    }
}

pub(crate) fn lot_order() -> LotOrder {
    LotOrder {
        version: Version1,
        id: id("L2648-01"),
        grant: grant().hash(),
        work_order: id("WO-114477"),
        quantity: 1000,
        first_serial: DeviceSerial::new("26480001000").unwrap(),
        last_serial: DeviceSerial::new("26480001999").unwrap(),
    }
}

pub(crate) fn station() -> StationStatement {
    StationStatement {
        version: Version1,
        id: id("st-01"),
        site: id("SGM1"),
        line: id("line-1"),
        tls_key: public_key(TLS),
        request_key: public_key(REQUESTS),
        receipt_key: public_key(RECEIPTS),
        not_before: Timestamp(1_795_392_000_000),
        not_after: Timestamp(1_826_928_000_000),
        requester: id("dave"),
        agents: None,
    }
}

pub(crate) fn station_with_agents() -> StationStatement {
    StationStatement {
        agents: Some(vec![Bytes32([0x11; 32]), Bytes32([0x22; 32])]),
        ..station()
    }
}

pub(crate) fn approve<D: Document>(name: &str, seed: u8, document: &D) -> Approval {
    let digest = approval_digest(D::KIND, &document.hash());
    Approval {
        approver: id(name),
        signature: Signature(sign(seed, &digest)),
    }
}

// --- what the station sends ----------------------------------------------------------------------------------------

fn endorsed_chip() -> EndorsedChip {
    let attestation = public_key(ATTESTATION);
    let endorsement = Endorsement {
        uid: &uid(),
        part: &part(),
        attestation: &attestation.spki_hash(),
    };
    EndorsedChip {
        attestation,
        endorsement: Signature(sign(VENDOR, &endorsement.digest())),
    }
}

pub(crate) fn on_chip() -> Evidence {
    let spki = public_key(FIXED).spki_hash();
    let origin = KeyOrigin {
        uid: &uid(),
        part: &part(),
        spki: &spki,
        nonce: &NONCE,
    };
    Evidence::OnChip(OnChip {
        chip: endorsed_chip(),
        nonce: Bytes32(NONCE),
        origin: Signature(sign(ATTESTATION, &origin.digest())),
    })
}

pub(crate) fn injected() -> Evidence {
    let (spki, ephemeral) = (public_key(FIXED).spki_hash(), public_key(EPHEMERAL));
    let transport = Transport {
        uid: &uid(),
        part: &part(),
        ephemeral: ephemeral.sec1(),
        nonce: &NONCE,
    };
    let receipt = InjectionReceipt {
        request: &REQUEST,
        uid: &uid(),
        spki: &spki,
        ephemeral: ephemeral.sec1(),
        wrapped: &WRAPPED,
    };
    Evidence::Injected(Injected {
        chip: endorsed_chip(),
        nonce: Bytes32(NONCE),
        ephemeral,
        transport: Signature(sign(ATTESTATION, &transport.digest())),
        wrapped: Bytes32(WRAPPED),
        receipt: Signature(sign(RECEIPTS, &receipt.digest())),
    })
}

/// Calls `judge` with the facts that the evidence above was made for.
pub(crate) fn with_facts<T>(judge: impl FnOnce(EvidenceFacts<'_>) -> T) -> T {
    let vendors: [P256Key; 2] = [public_key(99), public_key(VENDOR)];
    judge(EvidenceFacts {
        request: &REQUEST,
        uid: &uid(),
        part: &part(),
        spki: &public_key(FIXED).spki_hash(),
        vendors: &vendors,
        receipt_key: &public_key(RECEIPTS),
    })
}

pub(crate) fn unit(evidence: Evidence) -> Unit {
    let key = public_key(FIXED);
    let possession = Possession {
        challenge: CHALLENGE,
        request: &REQUEST,
        uid: &uid(),
        serial: &serial(),
        spki: &key.spki_hash(),
        grant: &grant().hash(),
        station: &id("st-01"),
    };
    Unit {
        request: REQUEST,
        uid: uid(),
        part: part(),
        serial: serial(),
        key: octets(&key.spki()),
        challenge: octets(CHALLENGE),
        possession: Signature(sign(FIXED, &possession.digest())),
        evidence,
        observations: vec![
            Observation {
                tag: Tag::Operator,
                value: octets(b"op-17"),
            },
            Observation {
                tag: Tag::Attempt,
                value: octets(b"1"),
            },
        ],
    }
}

pub(crate) fn envelope(purpose: Purpose, evidence: Evidence) -> Envelope {
    Envelope {
        version: Version1,
        purpose,
        station: id("st-01"),
        time: NOW,
        grant: grant().hash(),
        lot: id("L2648-01"),
        seen: None,
        units: vec![unit(evidence)],
    }
}

/// With a checkpoint that the station saw.
pub(crate) fn envelope_with_checkpoint() -> Envelope {
    let seen = Some(octets(b"log.mihon.example/devices\n4\nq6s=\n\n"));
    Envelope {
        seen,
        ..envelope(Purpose::Adopt, injected())
    }
}

pub(crate) fn confirm_request() -> ConfirmRequest {
    let leaf = LeafHash::of(&bind().to_bytes());
    let confirmation = Confirmation {
        nonce: &NONCE,
        certificate: &CERTIFICATE,
        leaf: &leaf,
    };
    ConfirmRequest {
        version: Version1,
        station: id("st-01"),
        time: NOW,
        request: REQUEST,
        leaf,
        certificate: CERTIFICATE,
        signature: Signature(sign(FIXED, &confirmation.digest())),
    }
}

pub(crate) fn void_request() -> VoidRequest {
    VoidRequest {
        version: Version1,
        station: id("st-01"),
        time: NOW,
        request: REQUEST,
        reason: id("LINE-0111"),
    }
}

pub(crate) fn scrap_request(request: Option<RequestId>) -> ScrapRequest {
    ScrapRequest {
        version: Version1,
        station: id("st-01"),
        time: NOW,
        id: RequestId([0xa2; 16]),
        grant: grant().hash(),
        lot: id("L2648-01"),
        request,
        uid: Some(uid()),
        serial: request.map(|_| serial()),
        reason: id("LINE-0105"),
    }
}

/// A lot of 1000 with everything in it that a lot can have.
pub(crate) fn counts() -> LotCounts {
    LotCounts {
        planned: 1000,
        pass: 950,
        hold: 10,
        fail: 20,
        scrapped: 15,
        unused: 5,
        open: 7,
        voided: 12,
        boards_scrapped: 18,
    }
}

pub(crate) fn tally() -> LotTally {
    LotTally {
        bound: 985,
        confirmed: 950,
        voided: 12,
        scrapped: 16,
        keyless: 2,
    }
}

pub(crate) fn lot_close_request() -> LotCloseRequest {
    LotCloseRequest {
        version: Version1,
        station: id("st-01"),
        time: NOW,
        grant: grant().hash(),
        lot: id("L2648-01"),
        counts: counts(),
        shares: None,
        seen: None,
    }
}

pub(crate) fn lot_share() -> LotShare {
    LotShare {
        version: Version1,
        station: id("st-02"),
        time: NOW,
        grant: grant().hash(),
        lot: id("L2648-01"),
        list: Bytes32([0x5a; 32]),
        voided: 1,
        boards_scrapped: 2,
    }
}

pub(crate) fn lot_close_request_with_share() -> LotCloseRequest {
    LotCloseRequest {
        shares: Some(vec![request_hash::<LotShare>(&lot_share().to_bytes())]),
        ..lot_close_request()
    }
}

/// As it is written today: with what the station saw.
pub(crate) fn lot_close_request_with_seen() -> LotCloseRequest {
    LotCloseRequest {
        seen: Some(LotSeen::open(&lot_order(), tally())),
        ..lot_close_request_with_share()
    }
}

// --- the log -------------------------------------------------------------------------------------------------------

pub(crate) fn openings() -> Openings {
    let values: [(Tag, &[u8]); 5] = [
        (Tag::ChipUid, b"0411223344556677"),
        (Tag::DeviceSerial, b"26480001007"),
        (Tag::Lot, b"L2648-01"),
        (Tag::Operator, b"op-17"),
        (Tag::Time, b"1795426215250"),
    ];
    Openings::seal(&values, &Counting::default()).unwrap()
}

pub(crate) fn subject() -> SubjectId {
    SubjectId::of_p256(&public_key(FIXED).spki_hash())
}

fn leaf(body: Body) -> Leaf {
    Leaf { day: TODAY, body }
}

pub(crate) fn bind() -> Leaf {
    leaf(Body::Bind(Bind {
        subject: subject(),
        certificate: CertificateRef {
            serial: Serial20([0x5a; 20]),
            tbs: TbsHash([0xd1; 32]),
            spki: public_key(FIXED).spki_hash(),
            issuer: SpkiHash([0x13; 32]),
            epoch: 0,
        },
        grant: GrantUse {
            grant: grant().hash(),
            ordinal: 7,
        },
        request: request_hash::<Envelope>(&envelope(Purpose::Provision, on_chip()).to_bytes()),
        evidence: EvidenceRef {
            grade: Grade::ChipAttested,
            hash: on_chip().hash(),
        },
        fields: openings().root(),
        lot: None,
        supersedes: None,
    }))
}

/// As it is written today: with its lot, and in place of an earlier board.
fn bind_in_lot() -> Leaf {
    let Body::Bind(bind) = bind().body else {
        panic!("a bind")
    };
    leaf(Body::Bind(Bind {
        lot: Some(lot_order().hash()),
        supersedes: Some(SubjectId([0x71; 32])),
        ..bind
    }))
}

fn lot_close(tally: LotTally, reason: Option<Id>) -> Leaf {
    leaf(Body::LotClose(LotClose {
        lot: lot_order().hash(),
        request: request_hash::<LotCloseRequest>(&lot_close_request().to_bytes()),
        counts: counts(),
        tally,
        reason,
    }))
}

pub(crate) fn adopt() -> Leaf {
    leaf(Body::Adopt(Adopt {
        subject: subject(),
        previous: EntryRef {
            index: 4,
            hash: LeafHash::of(&bind().to_bytes()),
        },
        request: request_hash::<Envelope>(&envelope_with_checkpoint().to_bytes()),
        fields: openings().root(),
    }))
}

pub(crate) fn confirm() -> Leaf {
    leaf(Body::Confirm(Confirm {
        subject: subject(),
        previous: EntryRef {
            index: 5,
            hash: LeafHash::of(&adopt().to_bytes()),
        },
        request: request_hash::<ConfirmRequest>(&confirm_request().to_bytes()),
        certificate: CERTIFICATE,
        signature: Bytes32(identity::hash::sha256(&confirm_request().signature.0)),
    }))
}

fn void(request: Option<RequestHash>) -> Leaf {
    leaf(Body::Void(Void {
        subject: subject(),
        previous: EntryRef {
            index: 5,
            hash: LeafHash::of(&adopt().to_bytes()),
        },
        request,
        reason: id("LINE-0111"),
    }))
}

fn scrap(unit: Option<(SubjectId, EntryRef)>) -> Leaf {
    leaf(Body::Scrap(Scrap {
        subject: unit.map(|(subject, _)| subject),
        previous: unit.map(|(_, previous)| previous),
        grant: grant().hash(),
        request: None,
        reason: id("LINE-0105"),
        fields: openings().root(),
        lot: None,
    }))
}

fn scrap_in_lot() -> Leaf {
    let last = EntryRef {
        index: 5,
        hash: LeafHash::of(&adopt().to_bytes()),
    };
    let Body::Scrap(scrap) = scrap(Some((subject(), last))).body else {
        panic!("a scrap")
    };
    let request = scrap_request(Some(REQUEST)).to_bytes();
    leaf(Body::Scrap(Scrap {
        request: Some(request_hash::<ScrapRequest>(&request)),
        lot: Some(lot_order().hash()),
        ..scrap
    }))
}

fn refuse(count: u32, request: Option<RequestHash>) -> Leaf {
    leaf(Body::Refuse(Refuse {
        reason: id("CA-0203"),
        count,
        request,
        fields: openings().root(),
    }))
}

fn approved(
    body: impl FnOnce(Vec<identity::DocumentHash>) -> Body,
    approvals: &[Approval],
) -> Leaf {
    leaf(body(approvals.iter().map(Approval::hash).collect()))
}

/// Every kind of leaf, and the optional parts of `void`, `scrap` and `refuse` both ways.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn leaves() -> Vec<(&'static str, Leaf)> {
    let terms = GrantTerms {
        limit: 5000,
        scrap: 50,
        first: grant().days().0,
        last: grant().days().1,
    };
    let by_two = [
        approve("alice", ALICE, &station()),
        approve("bob", BOB, &station()),
    ];
    let grant_by_two = [
        approve("alice", ALICE, &grant()),
        approve("carol", CAROL, &grant()),
    ];
    let request = request_hash::<VoidRequest>(&void_request().to_bytes());
    let last = EntryRef {
        index: 5,
        hash: LeafHash::of(&adopt().to_bytes()),
    };
    let granted = |approvals| Body::Grant {
        document: grant().hash(),
        approvals,
        terms,
    };
    vec![
        (
            "ceremony",
            leaf(Body::Ceremony {
                document: ceremony().hash(),
            }),
        ),
        (
            "station",
            approved(
                |approvals| Body::Station {
                    document: station().hash(),
                    approvals,
                },
                &by_two,
            ),
        ),
        ("grant", approved(granted, &grant_by_two)),
        (
            "policy",
            leaf(Body::GrantClose {
                grant: grant().hash(),
                reason: id("recall"),
            }),
        ),
        (
            "lot-open",
            leaf(Body::LotOpen {
                document: lot_order().hash(),
                grant: grant().hash(),
                quantity: 1000,
            }),
        ),
        ("lot-close", lot_close(tally(), None)),
        (
            "lot-close-differs",
            lot_close(
                LotTally {
                    confirmed: 951,
                    ..tally()
                },
                Some(id("CA-0214")),
            ),
        ),
        ("bind", bind()),
        ("bind-in-lot", bind_in_lot()),
        ("adopt", adopt()),
        ("confirm", confirm()),
        ("void", void(Some(request))),
        ("void-by-operator", void(None)),
        ("scrap", scrap(Some((subject(), last)))),
        ("scrap-without-key", scrap(None)),
        ("scrap-in-lot", scrap_in_lot()),
        ("refuse", refuse(1, Some(request))),
        ("refuse-aggregate", refuse(41, None)),
    ]
}

pub(crate) fn receipt_extra(history: &[Leaf]) -> ReceiptExtra {
    ReceiptExtra {
        version: Version1,
        history: history
            .iter()
            .map(|leaf| octets(&leaf.to_bytes()))
            .collect(),
        openings: octets(&openings().to_bytes()),
        evidence: Some(octets(&on_chip().to_bytes())),
    }
}
