//! Audits: a clean log, and every planted fault found at its entry.

use crate::house::{GRANT, House, LogKey, filler, terms, trust_in, witnessed_trust_in};
use identity::leaf::{Body, CertificateRef, GrantTerms};
use identity::{DocumentHash, SpkiHash};
use koseki_verify::{CompareError, Findings, Reason, Relation, Scope, audit_log, compare};
use std::fs;
use tempfile::{TempDir, tempdir};

/// Ceremony and grant, then binds: 302 entries, so that there are two bundles and two tile levels.
fn house() -> House {
    let mut house = House::new();
    house.fill(0, 300);
    house
}

fn written(house: &House) -> TempDir {
    let dir = tempdir().unwrap();
    house.write_log(dir.path());
    dir
}

fn audit(house: &House) -> Findings {
    audit_log(written(house).path(), &house.trust(), Scope::Leaves).unwrap()
}

#[track_caller]
fn assert_found(findings: &Findings, expected: &[(Reason, Option<u64>)]) {
    let found: Vec<_> = findings
        .findings
        .iter()
        .map(|finding| (finding.code, finding.entry))
        .collect();
    assert_eq!(found, expected, "{findings:#?}");
}

#[test]
fn a_clean_log_is_clean() {
    let findings = audit(&house());
    assert_found(&findings, &[]);
    assert!(findings.is_clean());
    assert_eq!((findings.size, findings.devices), (302, 300));
    assert_eq!(
        findings
            .kinds
            .iter()
            .map(|(kind, count)| (*kind, *count))
            .collect::<Vec<_>>(),
        [("bind", 300), ("ceremony", 1), ("grant", 1)]
    );
    assert_eq!(
        (findings.grants[0].issued, findings.grants[0].limit),
        (300, 500)
    );
    assert_eq!(findings.grants[0].grant, GRANT.to_string());
}

#[test]
fn a_key_bound_twice_is_found() {
    let mut house = house();
    let mut subject = filler(300);
    subject.subject = filler(7).subject;
    house.enter(Body::Bind(subject));
    let mut key = filler(301);
    key.certificate = CertificateRef {
        spki: filler(8).certificate.spki,
        ..key.certificate
    };
    house.enter(Body::Bind(key));
    house.fill(302, 1);
    assert_found(
        &audit(&house),
        &[
            (Reason::AuditRule, Some(302)),
            (Reason::AuditRule, Some(303)),
        ],
    );
}

#[test]
fn a_certificate_serial_used_twice_is_found() {
    let mut house = house();
    let mut bind = filler(300);
    bind.certificate = CertificateRef {
        serial: filler(8).certificate.serial,
        ..bind.certificate
    };
    house.enter(Body::Bind(bind));
    assert_found(&audit(&house), &[(Reason::AuditSerial, Some(302))]);
}

#[test]
fn a_skipped_ordinal_is_one_finding() {
    let mut house = house();
    house.fill(301, 5);
    assert_found(&audit(&house), &[(Reason::AuditRule, Some(302))]);
}

#[test]
fn a_grant_beyond_its_limit_is_found() {
    let mut house = House::new();
    let small = DocumentHash([0x99; 32]);
    let terms = GrantTerms {
        limit: 2,
        ..terms()
    };
    house.enter(Body::Grant {
        document: small,
        approvals: vec![DocumentHash([2; 32])],
        terms,
    });
    for ordinal in 0..3 {
        let mut bind = filler(ordinal);
        bind.grant.grant = small;
        house.enter(Body::Bind(bind));
    }
    let findings = audit(&house);
    assert_found(&findings, &[(Reason::AuditRule, Some(5))]);
    let grant = findings
        .grants
        .iter()
        .find(|grant| grant.grant == small.to_string())
        .unwrap();
    assert_eq!((grant.issued, grant.limit), (3, 2));
}

#[test]
fn a_foreign_authority_and_a_foreign_entry_are_found() {
    let mut house = house();
    let mut bind = filler(300);
    bind.certificate = CertificateRef {
        issuer: SpkiHash([0; 32]),
        ..bind.certificate
    };
    house.enter(Body::Bind(bind));
    house.entries.push(b"not a leaf".to_vec());
    house.fill(301, 1);
    assert_found(
        &audit(&house),
        &[
            (Reason::AuditIssuer, Some(302)),
            (Reason::AuditLeaf, Some(303)),
        ],
    );
}

#[test]
fn one_flipped_byte_in_any_file_is_found() {
    let house = house();
    let dir = written(&house);
    let files = [
        "tile/0/000",
        "tile/0/001.p/46",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/46",
        "checkpoint",
    ];
    for file in files {
        let path = dir.path().join(file);
        let good = fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs::write(&path, bad).unwrap();
            let findings = audit_log(dir.path(), &house.trust(), Scope::Leaves).unwrap();
            assert!(!findings.is_clean(), "{file} at {at}");
        }
        fs::write(&path, good).unwrap();
    }
    assert!(
        audit_log(dir.path(), &house.trust(), Scope::Leaves)
            .unwrap()
            .is_clean()
    );
}

#[test]
fn the_flipped_tile_is_named() {
    let house = house();
    let dir = written(&house);
    let path = dir.path().join("tile/0/000");
    let mut tile = fs::read(&path).unwrap();
    tile[5 * 32] ^= 1;
    fs::write(&path, tile).unwrap();
    let findings = audit_log(dir.path(), &house.trust(), Scope::Leaves).unwrap();
    assert_found(&findings, &[(Reason::AuditTile, None)]);
    assert_eq!(findings.findings[0].note, "tile/0/000, hash 5");
}

#[test]
fn partial_tiles_kept_from_earlier_are_compared() {
    let house = house();
    let dir = written(&house);
    let full = fs::read(dir.path().join("tile/0/000")).unwrap();
    let partials = dir.path().join("tile/0/000.p");
    fs::create_dir_all(&partials).unwrap();
    fs::write(partials.join("3"), &full[..96]).unwrap();
    assert!(
        audit_log(dir.path(), &house.trust(), Scope::Leaves)
            .unwrap()
            .is_clean()
    );
    fs::write(partials.join("3"), &full[32..128]).unwrap();
    assert_found(
        &audit_log(dir.path(), &house.trust(), Scope::Leaves).unwrap(),
        &[(Reason::AuditTile, None)],
    );
}

#[test]
fn partial_bundles_kept_from_earlier_are_compared_and_findings_stand_in_order() {
    let mut house = house();
    house.fill(301, 1);
    let dir = written(&house);
    let bundle = dir.path().join("tile/entries/000.p");
    fs::create_dir_all(&bundle).unwrap();
    let wrong = |count: usize| {
        let entries = house.entries.iter().rev().take(count);
        let framed = entries.flat_map(|entry| {
            let length = u16::try_from(entry.len()).unwrap().to_be_bytes();
            [&length[..], entry].concat()
        });
        framed.collect::<Vec<u8>>()
    };
    for count in [12, 3] {
        fs::write(bundle.join(count.to_string()), wrong(count)).unwrap();
    }
    let findings = audit_log(dir.path(), &house.trust(), Scope::Leaves).unwrap();
    let tile = (Reason::AuditTile, None);
    assert_found(&findings, &[(Reason::AuditRule, Some(302)), tile, tile]);
    let notes: Vec<_> = findings.findings.iter().map(|it| &it.note).collect();
    assert!(notes[1].starts_with("tile/entries/000.p/3,"), "{notes:?}");
    assert!(notes[2].starts_with("tile/entries/000.p/12,"), "{notes:?}");
}

/// One finding, whatever else would follow from it.
#[test]
fn a_log_of_somebody_else_is_one_finding() {
    let house = house();
    let (dir, other) = (written(&house), trust_in(&LogKey::new(77)));
    let findings = audit_log(dir.path(), &other, Scope::Whole).unwrap();
    assert_found(&findings, &[(Reason::AuditCheckpoint, None)]);
    assert_eq!(findings.documents, None, "not looked at");
}

/// Its checkpoint is found, and everything else as well.
#[test]
fn a_log_of_this_maker_that_no_witness_cosigned_is_audited_to_its_end() {
    let mut house = house();
    let mut bind = filler(300);
    bind.certificate.issuer = SpkiHash([0; 32]);
    house.enter(Body::Bind(bind));
    let (dir, trust) = (written(&house), witnessed_trust_in(&house.log_key));
    let checkpoint = (Reason::AuditCheckpoint, None);
    let issuer = (Reason::AuditIssuer, Some(302));
    let findings = audit_log(dir.path(), &trust, Scope::Leaves).unwrap();
    assert_found(&findings, &[checkpoint, issuer]);
    let findings = audit_log(dir.path(), &trust, Scope::Whole).unwrap();
    let missing = [0, 1].map(|entry| (Reason::AuditDocument, Some(entry)));
    assert_found(&findings, &[checkpoint, missing[0], missing[1], issuer]);
    assert_eq!((findings.documents, findings.documents_named), (Some(0), 2));
}

#[test]
fn an_issuing_ca_that_is_not_trusted_is_found_once_with_a_count() {
    let mut house = house();
    for ordinal in 300..303 {
        let mut bind = filler(ordinal);
        bind.certificate.issuer = SpkiHash([0; 32]);
        house.enter(Body::Bind(bind));
    }
    let findings = audit(&house);
    assert_found(&findings, &[(Reason::AuditIssuer, Some(302))]);
    let note = &findings.findings[0].note;
    assert!(note.ends_with(", and so in 2 more entries"), "{note}");
}

#[test]
fn a_partial_taken_away_is_read_from_the_full_one() {
    let (small, mut large) = (house(), house());
    large.fill(300, 250);
    let dir = written(&small);
    large.write_log(dir.path());
    for partial in ["tile/0/001.p", "tile/entries/001.p"] {
        fs::remove_dir_all(dir.path().join(partial)).unwrap();
    }
    fs::write(dir.path().join("checkpoint"), small.checkpoint()).unwrap();
    let findings = audit_log(dir.path(), &small.trust(), Scope::Leaves).unwrap();
    assert!(findings.is_clean(), "{findings:#?}");
    assert_eq!((findings.size, findings.devices), (302, 300));
}

#[test]
fn a_truncated_log_is_found() {
    let house = house();
    let dir = written(&house);
    fs::remove_file(dir.path().join("tile/entries/001.p/46")).unwrap();
    assert_found(
        &audit_log(dir.path(), &house.trust(), Scope::Leaves).unwrap(),
        &[(Reason::AuditEntries, Some(256))],
    );
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert!(
        audit_log(dir.path(), &house.trust(), Scope::Leaves)
            .unwrap_err()
            .is_absent()
    );
}

#[test]
fn another_root_than_the_signed_one_is_found() {
    let (house, mut other) = (house(), House::new());
    other.fill(1000, 300);
    let dir = written(&house);
    fs::write(dir.path().join("checkpoint"), other.checkpoint()).unwrap();
    assert_found(
        &audit_log(dir.path(), &house.trust(), Scope::Leaves).unwrap(),
        &[(Reason::AuditRoot, None)],
    );
}

#[test]
fn a_fork_from_a_complete_subtree_is_told_from_damage() {
    let (mut whole, mut fork) = (House::new(), House::new());
    whole.fill(0, 254);
    fork.fill(1000, 300);
    let (old, forked) = (written(&whole), written(&fork));
    let trust = whole.trust();
    assert_eq!(
        compare(old.path(), forked.path(), &trust).unwrap().relation,
        Relation::Forked
    );
    whole.fill(254, 46);
    let new = written(&whole);
    assert_eq!(
        compare(old.path(), new.path(), &trust).unwrap().relation,
        Relation::Continues
    );
    fs::write(new.path().join("tile/1/000.p/1"), [0; 32]).unwrap();
    let damaged = compare(old.path(), new.path(), &trust);
    assert!(matches!(damaged, Err(CompareError::Damaged(_))));
}

#[test]
fn states_of_a_log_are_compared() {
    let (small, mut large, mut fork) = (house(), house(), House::new());
    large.fill(300, 50);
    fork.fill(1000, 350);
    let (old, new, forked) = (written(&small), written(&large), written(&fork));
    let trust = small.trust();
    let relation = |a: &TempDir, b: &TempDir| compare(a.path(), b.path(), &trust).unwrap().relation;
    assert_eq!(relation(&old, &new), Relation::Continues);
    assert_eq!(relation(&new, &old), Relation::Continues);
    assert_eq!(relation(&old, &old), Relation::Same);
    assert_eq!(relation(&old, &forked), Relation::Forked);
    assert_eq!(relation(&new, &forked), Relation::Forked);
    let checkpoint = old.path().join("checkpoint");
    assert_eq!(
        compare(&checkpoint, new.path(), &trust).unwrap().sizes,
        (302, 352)
    );
    let alone = compare(&new.path().join("checkpoint"), old.path(), &trust);
    assert!(matches!(alone, Err(CompareError::NoTiles(_))));
    fs::write(new.path().join("tile/1/000.p/1"), [0; 32]).unwrap();
    assert!(matches!(
        compare(old.path(), new.path(), &trust),
        Err(CompareError::Damaged(_))
    ));
}
