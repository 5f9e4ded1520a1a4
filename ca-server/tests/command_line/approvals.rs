use crate::module;
use crate::room::{Ended, Room, policies};
use ca_server::admin::approval;
use ca_server::policy::load_grant;
use identity::Id;
use identity::approval::{ApprovalError, ApproverSet};
use identity::document::{Ceremony, Document as _};
use identity::key::PortableVerifier;
use std::process::Command;

const GRANT: &str = "grants/2026-ota-line-2-cam2.toml";

fn approve(room: &Room, approver: &str, more: &[&str]) -> Ended {
    let pin = format!("@pins/approvers/{approver}/approver-{approver}.pin");
    approve_with(
        room,
        approver,
        (&format!("approver-{approver}"), &pin),
        more,
    )
}

fn approve_with(room: &Room, approver: &str, (token, pin): (&str, &str), more: &[&str]) -> Ended {
    let (grant, directory) = (policies(GRANT), policies(""));
    let (out, module) = (format!("@{approver}.pem"), module::path());
    let mut words = vec![
        "approve",
        "grant",
        grant.to_str().unwrap(),
        "--policies",
        directory.to_str().unwrap(),
        "--ceremony",
        "@ceremony/ceremony.der",
        "--approver",
        approver,
        "--module",
        module.to_str().unwrap(),
        "--token-label",
        token,
        "--pin-file",
        pin,
        "--out",
        &out,
    ];
    words.extend(more);
    room.run(&words)
}

#[test]
fn two_cards_approve_a_grant_and_every_other_grant_is_not_approved() {
    let room = Room::new();
    room.init().done();
    let shown = ["vet-01", "ca-op-02"].map(|approver| approve(&room, approver, &["--yes"]).done());
    let proposal = load_grant(&policies(""), &policies(GRANT)).unwrap();
    let mut grant = proposal.grant.clone();
    assert!(
        shown
            .iter()
            .all(|text| text.contains(&grant.hash().to_string()) && text.contains("50,000 at most")),
        "{shown:?}"
    );
    let ceremony = std::fs::read(room.path("ceremony/ceremony.der")).unwrap();
    let approvers = ApproverSet::from(&Ceremony::from_bytes(&ceremony).unwrap());
    let approvals =
        ["vet-01", "ca-op-02"].map(|id| approval::read(&room.path(&format!("{id}.pem"))).unwrap());
    let verify = |grant: &_, approvals: &[_]| {
        approvers.verify(
            grant,
            &proposal.grant.requester,
            approvals,
            &PortableVerifier,
        )
    };
    verify(&grant, &approvals).unwrap();
    assert_eq!(
        verify(&grant, &approvals[..1]),
        Err(ApprovalError::TooFew { got: 1, needed: 2 })
    );
    grant.limit += 1;
    assert_eq!(
        verify(&grant, &approvals),
        Err(ApprovalError::Signature(Id::new("vet-01").unwrap()))
    );
}

#[test]
fn nobody_signs_unasked_or_over_a_file() {
    let room = Room::new();
    room.init().done();
    let error = approve(&room, "vet-01", &[]).refused(64);
    assert!(error.contains("--yes"), "{error}");
    assert!(!room.path("vet-01.pem").exists());
    approve(&room, "vet-01", &["--yes"]).done();
    let error = approve(&room, "vet-01", &["--yes"]).refused(69);
    assert!(error.contains("nothing is written over"), "{error}");
}

#[test]
fn nobody_signs_with_anothers_card_or_name() {
    let room = Room::new();
    room.init().done();
    let card = "approver-qa-03";
    let pin = "@pins/approvers/qa-03/approver-qa-03.pin";
    let of_another = approve_with(&room, "vet-01", (card, pin), &["--yes"]);
    let error = of_another.refused(77);
    assert!(error.contains("the card is not that of vet-01"), "{error}");
    let error = approve_with(&room, "vet-02", (card, pin), &["--yes"]).refused(78);
    assert!(
        error.contains("there are vet-01, ca-op-02, qa-03"),
        "{error}"
    );
    assert!(!room.path("vet-01.pem").exists() && !room.path("vet-02.pem").exists());
    approve_with(&room, "qa-03", (card, pin), &["--yes"]).done();
}

#[test]
fn the_check_reads_configuration_pins_and_policies() {
    let room = Room::new();
    let directory = policies("");
    let check_of = |room: &Room, policies: &str| {
        let words = ["check", "--config", "@ca-server.toml", "--policies"];
        room.run(&[&words[..], &[policies]].concat())
    };
    let check = |room: &Room| check_of(room, directory.to_str().unwrap());
    let ended = check(&room);
    assert!(!ended.out.contains("in order"), "{}", ended.out);
    let error = ended.refused(77);
    assert!(error.contains("koseki-log.pin"), "{error}");
    room.init().done();
    let out = check(&room).done();
    assert_eq!(out.matches("in order").count(), 2, "{out}");
    // One finding is one, and what only follows from it is none.
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(&directory).arg(room.path("policies"));
    assert!(copy.status().unwrap().success());
    let grant = room.path("policies").join(GRANT);
    let text = std::fs::read_to_string(&grant).unwrap();
    std::fs::write(&grant, text.replace("total =", "totals =")).unwrap();
    let error = check_of(&room, "@policies").refused(78);
    assert!(error.starts_with("ca-server: 1 finding\n"), "{error}");
    assert!(!error.contains("there is no grant"), "{error}");
}
