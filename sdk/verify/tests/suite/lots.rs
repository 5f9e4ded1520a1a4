//! Reconciling lots from the leaves alone: a clean one, planted ghosts, and what a log cannot hide.

use crate::house::{GRANT, House, filler};
use identity::leaf::{Body, Confirm, EntryRef, LotClose, Scrap, Void};
use identity::lot::{LotCounts, LotTally};
use identity::{CertificateHash, DocumentHash, Id, RequestHash};
use identity::{evidence::Bytes32, leaf::Bind};
use koseki_verify::{Findings, Reason, Scope, audit_log};

const LOT: DocumentHash = DocumentHash([0x41; 32]);
const PLANNED: u32 = 100;

/// A lot of a hundred under the house's grant.
struct Lot {
    house: House,
    tally: LotTally,
    next: u32,
}

impl Lot {
    fn open() -> Self {
        let mut house = House::new();
        house.enter(Body::LotOpen {
            document: LOT,
            grant: GRANT,
            quantity: PLANNED,
        });
        Self {
            house,
            tally: LotTally::default(),
            next: 0,
        }
    }

    fn bind(&mut self) -> (Bind, EntryRef) {
        let mut bind = filler(self.next);
        bind.lot = Some(LOT);
        self.next += 1;
        self.tally.bound += 1;
        let (_, entry) = self.house.enter(Body::Bind(bind.clone()));
        (bind, entry)
    }

    fn make(&mut self, count: u32) -> &mut Self {
        for _ in 0..count {
            let (bind, previous) = self.bind();
            self.tally.confirmed += 1;
            self.house.enter(Body::Confirm(Confirm {
                subject: bind.subject,
                previous,
                request: RequestHash([7; 32]),
                certificate: CertificateHash([7; 32]),
                signature: Bytes32([7; 32]),
            }));
        }
        self
    }

    fn void(&mut self) -> &mut Self {
        let (bind, previous) = self.bind();
        self.tally.voided += 1;
        self.house.enter(Body::Void(Void {
            subject: bind.subject,
            previous,
            request: None,
            reason: Id::new("LINE-0111").unwrap(),
        }));
        self
    }

    fn scrap_bound(&mut self) -> &mut Self {
        let unit = self.bind();
        self.tally.scrapped += 1;
        self.scrap(Some(unit))
    }

    fn scrap_keyless(&mut self) -> &mut Self {
        self.tally.keyless += 1;
        self.scrap(None)
    }

    fn scrap(&mut self, unit: Option<(Bind, EntryRef)>) -> &mut Self {
        self.house.enter(Body::Scrap(Scrap {
            subject: unit.as_ref().map(|(bind, _)| bind.subject),
            previous: unit.map(|(_, entry)| entry),
            grant: GRANT,
            request: None,
            reason: Id::new("LINE-0105").unwrap(),
            fields: Bytes32([8; 32]),
            lot: Some(LOT),
        }));
        self
    }

    fn close(&mut self, counts: LotCounts) -> u64 {
        self.close_as(counts, None)
    }

    /// With the reason that a difference has.
    fn close_with_reason(&mut self, counts: LotCounts) -> u64 {
        self.close_as(counts, Some(Id::new("CA-0214").unwrap()))
    }

    fn close_as(&mut self, counts: LotCounts, reason: Option<Id>) -> u64 {
        let close = LotClose {
            lot: LOT,
            request: RequestHash([9; 32]),
            counts,
            tally: self.tally,
            reason,
        };
        self.house.enter(Body::LotClose(close)).1.index
    }

    fn audit(&self) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        self.house.write_log(dir.path());
        audit_log(dir.path(), &self.house.trust(), Scope::Leaves).unwrap()
    }
}

/// What a station counts that made so many, and left the rest of the lot alone.
fn counted(pass: u32) -> LotCounts {
    LotCounts {
        planned: PLANNED,
        pass,
        unused: PLANNED - pass,
        ..LotCounts::default()
    }
}

#[track_caller]
fn the_finding(findings: &Findings) -> (Reason, Option<u64>, &str) {
    assert_eq!(findings.findings.len(), 1, "{findings:#?}");
    let finding = &findings.findings[0];
    (finding.code, finding.entry, &finding.note)
}

#[test]
fn a_lot_that_is_reconciled_is_clean() {
    let mut lot = Lot::open();
    lot.make(60).void().scrap_bound().scrap_keyless();
    let counts = LotCounts {
        pass: 60,
        fail: 1,
        scrapped: 2,
        unused: 37,
        voided: 1,
        boards_scrapped: 2,
        ..counted(60)
    };
    let entry = lot.close(counts);
    let findings = lot.audit();
    assert!(findings.is_clean(), "{findings:#?}");
    let count = &findings.lots[0];
    assert_eq!(
        (count.lot.as_str(), count.planned),
        (&*LOT.to_string(), 100)
    );
    assert_eq!(
        (count.bound, count.confirmed, count.open, count.voided),
        (62, 60, 0, 1)
    );
    assert_eq!((count.scrapped, count.closed), (2, Some(entry)));
}

/// Sixty devices were made and thirty beyond them, all with good certificates. The station says sixty.
#[test]
fn thirty_ghosts_are_found_when_the_lot_closes() {
    let mut lot = Lot::open();
    lot.make(60).make(30);
    let entry = lot.close_with_reason(counted(60));
    let findings = lot.audit();
    assert_eq!(
        the_finding(&findings),
        (
            Reason::AuditLot,
            Some(entry),
            "pass: 60 stated, 90 in the log"
        )
    );
}

/// They are never confirmed, or voided right after: a certificate that left is a certificate.
#[test]
fn ghosts_that_hide_as_undecided_or_void_are_found_too() {
    let mut lot = Lot::open();
    lot.make(60);
    for _ in 0..20 {
        lot.bind();
    }
    (0..10).for_each(|_| {
        lot.void();
    });
    let entry = lot.close_with_reason(counted(60));
    let findings = lot.audit();
    let both = "open: 0 stated, 20 in the log; voided: 0 stated, 10 in the log";
    assert_eq!(
        the_finding(&findings),
        (Reason::AuditLot, Some(entry), both)
    );
}

#[test]
fn a_difference_that_the_leaf_hides_breaks_a_rule() {
    let mut lot = Lot::open();
    lot.make(90);
    let entry = lot.close(counted(60));
    let findings = lot.audit();
    let codes: Vec<_> = findings
        .findings
        .iter()
        .map(|finding| (finding.code, finding.entry))
        .collect();
    assert_eq!(
        codes,
        [
            (Reason::AuditLot, Some(entry)),
            (Reason::AuditRule, Some(entry))
        ]
    );
}

#[test]
fn a_tally_that_is_not_the_logs_breaks_a_rule() {
    let mut lot = Lot::open();
    lot.make(90);
    lot.tally = LotTally {
        bound: 60,
        confirmed: 60,
        ..lot.tally
    };
    let entry = lot.close(counted(60));
    let findings = lot.audit();
    assert_eq!(
        the_finding(&findings),
        (
            Reason::AuditRule,
            Some(entry),
            "the tally of the lot is not what the log holds"
        )
    );
}

#[test]
fn thirty_ghosts_after_the_end_are_thirty_findings() {
    let mut lot = Lot::open();
    lot.make(60);
    let end = lot.close(counted(60));
    lot.make(30);
    let findings = lot.audit();
    let closed = format!("the lot was closed at entry {end}");
    assert_eq!(findings.findings.len(), 30, "{findings:#?}");
    assert!(
        findings
            .findings
            .iter()
            .all(|it| it.code == Reason::AuditRule && it.note == closed)
    );
}

#[test]
fn ghosts_that_name_no_lot_are_found() {
    let mut lot = Lot::open();
    lot.make(60);
    lot.house.fill(lot.next, 1);
    assert_eq!(
        the_finding(&lot.audit()).0,
        Reason::AuditRule,
        "a grant that is in lots stays in lots"
    );

    let mut lot = Lot::open();
    lot.house.fill(0, 30);
    let entry = lot.close(counted(0));
    assert_eq!(
        the_finding(&lot.audit()),
        (
            Reason::AuditLot,
            Some(entry),
            "30 certificates of its grant name no lot"
        )
    );
}

#[test]
fn a_lot_that_was_never_opened_cannot_close() {
    let mut lot = Lot {
        house: House::new(),
        tally: LotTally::default(),
        next: 0,
    };
    let entry = lot.close(counted(0));
    let findings = lot.audit();
    let (code, at, _) = the_finding(&findings);
    assert_eq!((code, at), (Reason::AuditRule, Some(entry)));
}

#[test]
fn a_certificate_under_a_closed_grant_is_a_finding() {
    let mut lot = Lot::open();
    lot.bind();
    let reason = Id::new("recall").unwrap();
    let (grant, closed) = (
        GRANT,
        lot.house
            .enter(Body::GrantClose {
                grant: GRANT,
                reason,
            })
            .1,
    );
    let clean = lot.audit();
    assert!(clean.is_clean(), "{clean:#?}");
    let count = clean.grants.iter().find(|it| it.grant == grant.to_string());
    assert_eq!(count.unwrap().closed, Some(closed.index));

    lot.bind();
    let found = lot.audit();
    let (_, entry, note) = the_finding(&found);
    assert_eq!(entry, Some(closed.index + 1));
    assert!(note.contains("closed"), "{note}");
}
