//! The documents behind the leaves: who approved what, and that the leaves say the same in the open.

use crate::house::{DAY, House, ISSUING_CA, NOW, ORIGIN, ROOT_CA, profile, public, sign};
use identity::approval::{Approval, ApproverSet, approval_digest};
use identity::document::{
    Ceremony, Document, Grant, LotOrder, PinnedApprover, Signature, StationStatement, Version1,
};
use identity::leaf::Body;
use identity::support::{DIRECTORY, Support, file_name, terms_of};
use identity::{CertificateHash, DeviceSerial, DocumentHash, Id, Timestamp};
use koseki_verify::{Findings, Reason, Scope, audit_log};
use std::fs;
use std::path::PathBuf;
use tempfile::{TempDir, tempdir};

const YEAR_MILLIS: u64 = 365 * 86_400_000;
/// Seeds of the approvers' keys, and of somebody who is none.
const APPROVERS: [(&str, u8); 3] = [("aoki", 31), ("baba", 32), ("chiba", 33)];
const STRANGER: u8 = 40;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn ceremony(house: &House) -> Ceremony {
    Ceremony {
        version: Version1,
        origin: ORIGIN.to_owned(),
        time: NOW,
        root: CertificateHash::of(&ROOT_CA.der()),
        issuing: CertificateHash::of(&ISSUING_CA.der()),
        issuing_key: public(2).spki_hash(),
        log_vkey: house.log_key.public.to_string(),
        infrastructure: CertificateHash([7; 32]),
        needed: 2,
        approvers: APPROVERS
            .iter()
            .map(|(name, seed)| PinnedApprover {
                id: id(name),
                key: public(*seed),
            })
            .collect(),
    }
}

fn station() -> StationStatement {
    StationStatement {
        version: Version1,
        id: id("ota-2-1"),
        site: id("ota"),
        line: id("ota-2"),
        tls_key: public(21),
        request_key: public(22),
        receipt_key: public(23),
        not_before: NOW,
        not_after: Timestamp(NOW.0 + YEAR_MILLIS),
        requester: id("chiba"),
        agents: None,
    }
}

fn grant() -> Grant {
    let profile = profile();
    Grant {
        version: Version1,
        id: id("2026-ota"),
        maker: profile.maker,
        factory: id("ota"),
        site: id("ota"),
        lines: vec![id("ota-2")],
        stations: vec![id("ota-2-1")],
        product: profile.product,
        profile: profile.hash(),
        limit: 500,
        per_lot: 24,
        scrap: 2,
        not_before: NOW,
        not_after: Timestamp(NOW.0 + YEAR_MILLIS),
        requester: id("chiba"),
    }
}

fn lot(grant: &Grant, quantity: u32) -> LotOrder {
    LotOrder {
        version: Version1,
        id: id("L-1"),
        grant: grant.hash(),
        work_order: id("W-1"),
        quantity,
        first_serial: DeviceSerial::new("26110000001").unwrap(),
        last_serial: DeviceSerial::new("26110000099").unwrap(),
    }
}

fn approve<D: Document>(document: &D, approver: (&str, u8)) -> Approval {
    let digest = approval_digest(D::KIND, &document.hash());
    Approval {
        approver: id(approver.0),
        signature: Signature(sign(approver.1, &digest)),
    }
}

fn approved<D: Document>(document: &D) -> Vec<Approval> {
    [APPROVERS[0], APPROVERS[1]]
        .map(|approver| approve(document, approver))
        .to_vec()
}

fn hashes(approvals: &[Approval]) -> Vec<DocumentHash> {
    approvals.iter().map(Approval::hash).collect()
}

/// A log of documents: ceremony, station, grant, lot, in this order.
struct Office {
    house: House,
    supports: Vec<Support>,
}

impl Office {
    fn new() -> Self {
        let house = House {
            log_key: House::new().log_key,
            entries: Vec::new(),
        };
        Self {
            house,
            supports: Vec::new(),
        }
    }

    fn enter<D: Document>(&mut self, document: &D, approvals: &[Approval], body: Body) {
        let profile = matches!(body, Body::Grant { .. }).then(profile);
        let support = Support::pack(document, profile.as_ref(), approvals).unwrap();
        self.supports.push(support);
        self.house.enter(body);
    }

    fn begin(&mut self, ceremony: &Ceremony) {
        let document = ceremony.hash();
        self.enter(ceremony, &[], Body::Ceremony { document });
    }

    fn enter_station(&mut self, approvals: &[Approval]) {
        let body = Body::Station {
            document: station().hash(),
            approvals: hashes(approvals),
        };
        self.enter(&station(), approvals, body);
    }

    fn enter_grant(&mut self, grant: &Grant, approvals: &[Approval]) {
        let body = Body::Grant {
            document: grant.hash(),
            approvals: hashes(approvals),
            terms: terms_of(grant),
        };
        self.enter(grant, approvals, body);
    }

    fn open_lot(&mut self, order: &LotOrder) {
        let body = Body::LotOpen {
            document: order.hash(),
            grant: order.grant,
            quantity: order.quantity,
        };
        self.enter(order, &[], body);
    }

    /// One of each kind, all as they should be.
    fn furnished() -> Self {
        let mut office = Self::new();
        office.begin(&ceremony(&office.house));
        office.enter_station(&approved(&station()));
        office.enter_grant(&grant(), &approved(&grant()));
        office.open_lot(&lot(&grant(), 24));
        office
    }

    fn written(&self) -> TempDir {
        let dir = tempdir().unwrap();
        self.house.write_log(dir.path());
        fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
        for support in &self.supports {
            fs::write(file(&dir, &support.hash()), support.to_bytes()).unwrap();
        }
        dir
    }

    fn audit(&self) -> Findings {
        self.audit_at(&self.written())
    }

    fn audit_at(&self, dir: &TempDir) -> Findings {
        audit_log(dir.path(), &self.house.trust(), Scope::Whole).unwrap()
    }
}

fn file(dir: &TempDir, document: &DocumentHash) -> PathBuf {
    dir.path().join(DIRECTORY).join(file_name(document))
}

#[track_caller]
fn assert_found(findings: &Findings, expected: &[(Reason, u64)]) {
    let found = findings.findings.iter();
    let found: Vec<_> = found
        .filter(|finding| finding.code != Reason::AuditRule)
        .map(|finding| (finding.code, finding.entry.unwrap()))
        .collect();
    assert_eq!(found, expected, "{findings:#?}");
}

#[test]
fn a_log_whose_documents_are_approved_is_clean_and_names_them() {
    let findings = Office::furnished().audit();
    assert!(findings.is_clean(), "{findings:#?}");
    assert_eq!(findings.documents, Some(4));
    assert_eq!(findings.grants[0].name.as_deref(), Some("2026-ota"));
    assert_eq!(findings.lots[0].name.as_deref(), Some("L-1"));
    assert_eq!(findings.size, 4);
    assert_eq!(DAY, NOW.day());
}

#[test]
fn nothing_is_said_of_approvals_where_only_leaves_are_audited() {
    let office = Office::furnished();
    let dir = tempdir().unwrap();
    office.house.write_log(dir.path());
    let findings = audit_log(dir.path(), &office.house.trust(), Scope::Leaves).unwrap();
    assert!(findings.is_clean());
    assert_eq!(findings.documents, None);
    let missing = [0, 1, 2, 3].map(|entry| (Reason::AuditDocument, entry));
    assert_found(&office.audit_at(&dir), &missing);
}

#[test]
fn a_document_that_is_missing_altered_or_another_is_found() {
    let office = Office::furnished();
    for (entry, support) in (0..).zip(&office.supports) {
        let dir = office.written();
        fs::remove_file(file(&dir, &support.hash())).unwrap();
        let findings = office.audit_at(&dir);
        assert_eq!(findings.findings[0].code, Reason::AuditDocument);
        assert_eq!(findings.findings[0].entry, Some(entry));
        // A flipped bit in any byte: of the document, or of an approval.
        let whole = support.to_bytes();
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(file(&dir, &support.hash()), &altered).unwrap();
            assert!(
                !office.audit_at(&dir).is_clean(),
                "entry {entry}, byte {at}"
            );
        }
    }
}

#[test]
fn a_grant_that_too_few_or_the_wrong_people_signed_is_found() {
    let approve =
        |who: &[(&str, u8)]| -> Vec<_> { who.iter().map(|who| approve(&grant(), *who)).collect() };
    let [aoki, baba, chiba] = APPROVERS;
    let unapproved = [
        approve(&[]),
        approve(&[aoki]),
        approve(&[aoki, aoki]),
        // Who asked for it.
        approve(&[aoki, chiba]),
        approve(&[aoki, ("nobody", STRANGER)]),
        approve(&[aoki, ("baba", STRANGER)]),
    ];
    for approvals in unapproved {
        let mut office = Office::new();
        office.begin(&ceremony(&office.house));
        office.enter_grant(&grant(), &approvals);
        assert_found(&office.audit(), &[(Reason::AuditApproval, 1)]);
    }
    // Approved, and the leaf lists other approvals.
    let mut office = Office::new();
    office.begin(&ceremony(&office.house));
    let body = Body::Grant {
        document: grant().hash(),
        approvals: hashes(&approve(&[baba, aoki])),
        terms: terms_of(&grant()),
    };
    office.enter(&grant(), &approve(&[aoki, baba]), body);
    assert_found(&office.audit(), &[(Reason::AuditApproval, 1)]);
}

#[test]
fn a_leaf_that_says_otherwise_than_its_document_is_found() {
    let mut office = Office::new();
    office.begin(&ceremony(&office.house));
    let approvals = approved(&grant());
    let mut terms = terms_of(&grant());
    terms.limit += 1;
    let body = Body::Grant {
        document: grant().hash(),
        approvals: hashes(&approvals),
        terms,
    };
    office.enter(&grant(), &approvals, body);
    assert_found(&office.audit(), &[(Reason::AuditTerms, 1)]);

    let mut office = Office::furnished();
    let order = LotOrder {
        id: id("L-2"),
        ..lot(&grant(), 25)
    };
    office.open_lot(&order);
    assert_found(&office.audit(), &[(Reason::AuditTerms, 4)]);
}

#[test]
fn whoever_begins_a_log_again_hides_nothing_behind_it_and_names_nobody() {
    let whole = ceremony(&Office::new().house);
    let root = Ceremony {
        root: CertificateHash([9; 32]),
        ..whole.clone()
    };
    let approvers = Ceremony {
        needed: 1,
        approvers: whole.approvers[..1].to_vec(),
        ..whole.clone()
    };
    for second in [root, approvers] {
        let mut office = Office::furnished();
        office.begin(&second);
        let more = |name| Grant {
            id: id(name),
            ..grant()
        };
        let (approved_later, unapproved) = (more("2026-a"), more("2026-b"));
        office.enter_grant(&approved_later, &approved(&approved_later));
        office.enter_grant(&unapproved, &[approve(&unapproved, APPROVERS[0])]);
        let found = [(Reason::AuditCeremony, 4), (Reason::AuditApproval, 6)];
        let trust = office.house.trust();
        for ceremony in [None, Some(whole.clone())] {
            let trust = trust.clone().with_ceremony(ceremony);
            let findings = audit_log(office.written().path(), &trust, Scope::Whole).unwrap();
            assert_found(&findings, &found);
            assert_eq!((findings.documents, findings.documents_named), (Some(5), 7));
        }
    }
}

#[test]
fn while_nobodys_approvers_are_known_nothing_is_said_of_documents() {
    let other = Ceremony {
        root: CertificateHash([9; 32]),
        ..ceremony(&Office::new().house)
    };
    let mut office = Office::new();
    office.open_lot(&lot(&grant(), 24));
    office.begin(&other);
    office.enter_grant(&grant(), &[]);
    let findings = office.audit();
    assert_found(&findings, &[(Reason::AuditCeremony, 1)]);
    assert_eq!((findings.documents, findings.documents_named), (None, 3));
}

#[test]
fn a_log_that_begins_with_another_ceremony_is_found() {
    let house = Office::new().house;
    let whole = ceremony(&house);
    let other = |change: &dyn Fn(&mut Ceremony)| {
        let mut other = whole.clone();
        change(&mut other);
        other
    };
    let others = [
        other(&|it| it.origin = "log.example/other".to_owned()),
        other(&|it| it.root = CertificateHash([9; 32])),
        other(&|it| it.issuing = CertificateHash([9; 32])),
        other(&|it| it.log_vkey.push('x')),
    ];
    for ceremony in others {
        let mut office = Office::new();
        office.begin(&ceremony);
        assert_found(&office.audit(), &[(Reason::AuditCeremony, 0)]);
    }
    // One that only the minutes of the ceremony can tell apart: the same keys, and approvers of a thief's choice.
    let thief = other(&|it| {
        it.needed = 1;
        it.approvers.truncate(1);
    });
    let mut office = Office::new();
    office.begin(&thief);
    office.enter_grant(&grant(), &[approve(&grant(), APPROVERS[0])]);
    assert!(office.audit().is_clean(), "nothing to tell them apart by");
    let trust = office.house.trust().with_ceremony(Some(whole));
    let findings = audit_log(office.written().path(), &trust, Scope::Whole).unwrap();
    assert_found(
        &findings,
        &[(Reason::AuditCeremony, 0), (Reason::AuditApproval, 1)],
    );
    assert_ne!(
        ApproverSet::from(&thief),
        ApproverSet::from(&ceremony(&office.house))
    );
}
