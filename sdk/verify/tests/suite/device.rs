//! Verdicts over devices: what holds, and what each kind of wrong is called.

use crate::house::{
    Ca, Device, House, ISSUING_CA, LogKey, NOW, ORIGIN, ROOT_CA, VENDOR, injected, on_chip,
    profile, public, trust_in, uid,
};
use identity::document::Profile;
use identity::evidence::Grade;
use identity::field::Tag;
use identity::{CertificateHash, Timestamp};
use koseki_verify::{
    Authority, AuthorityError, Level, Reason, State, Step, Trust, Verdict, verify_device,
};
use translog::checkpoint::TrustedLog;
use translog::policy::Policy;

fn delivered() -> (House, Device) {
    let mut house = House::new();
    let mut device = house.bind(0);
    house.confirm(&mut device);
    (house, device)
}

fn judge(house: &House, device: &Device, trust: &Trust) -> Verdict {
    verify_device(
        &device.certificate,
        house.proof(device).as_bytes(),
        trust,
        NOW,
    )
}

#[track_caller]
fn assert_rejected(verdict: &Verdict, step: Step, reason: Reason) {
    let check = verdict.check(step).unwrap();
    assert_eq!(
        (check.state, check.code),
        (State::Failed, Some(reason)),
        "{verdict:#?}"
    );
    assert!(!verdict.accepted);
}

#[test]
fn a_delivered_device_is_accepted() {
    let (house, device) = delivered();
    let verdict = judge(&house, &device, &house.trust());
    assert!(verdict.accepted, "{verdict:#?}");
    assert!(
        verdict
            .checks
            .iter()
            .all(|check| check.state == State::Held),
        "{verdict:#?}"
    );
    assert_eq!(
        (verdict.level, verdict.recorded_grade, verdict.proved_grade),
        (
            Some(Level::Confirmed),
            Some("chip-attested"),
            Some("chip-attested")
        )
    );
    assert_eq!(verdict.serial.as_deref(), Some("26480000000"));
    assert_eq!(verdict.chip.as_deref(), Some("c0000000"));
}

#[test]
fn a_device_not_confirmed_is_only_bound() {
    let mut house = House::new();
    let device = house.bind(0);
    let verdict = judge(&house, &device, &house.trust());
    assert!(verdict.accepted);
    assert_eq!(verdict.level, Some(Level::Bound));
}

#[test]
fn no_flipped_bit_of_certificate_or_proof_is_accepted() {
    let (house, device) = delivered();
    let (trust, proof) = (house.trust(), house.proof(&device).into_bytes());
    let (mut flipped, length) = (0, device.certificate.len() + proof.len());
    for at in 0..length {
        let (mut certificate, mut proof) = (device.certificate.clone(), proof.clone());
        let byte = if at < certificate.len() {
            &mut certificate[at]
        } else {
            &mut proof[at - device.certificate.len()]
        };
        *byte ^= 1 << (at % 8);
        let verdict = verify_device(&certificate, &proof, &trust, NOW);
        assert!(!verdict.accepted, "byte {at} of {length}: {verdict:#?}");
        flipped += 1;
    }
    assert!(flipped > 1500, "only {flipped} bytes");
}

#[test]
fn another_root_is_refused() {
    let (house, device) = delivered();
    let stranger = Ca {
        seed: 50,
        issuer_seed: 50,
        ..ROOT_CA
    };
    let (root, issuing) = (
        Authority::from_der(&stranger.der()).unwrap(),
        Authority::from_der(&ISSUING_CA.der()).unwrap(),
    );
    let trust = Trust::new(root, vec![issuing], house.trust().policy().clone()).unwrap();
    assert_rejected(
        &judge(&house, &device, &trust),
        Step::Chain,
        Reason::IssuerNotUnderRoot,
    );
}

#[test]
fn roles_of_the_authorities_are_fixed() {
    let (house, device) = delivered();
    let trust = |root: &Ca<'_>, issuing: &Ca<'_>| {
        let (root, issuing) = (
            Authority::from_der(&root.der()).unwrap(),
            Authority::from_der(&issuing.der()).unwrap(),
        );
        Trust::new(root, vec![issuing], house.trust().policy().clone()).unwrap()
    };
    let deep = trust(&Ca { path: 2, ..ROOT_CA }, &ISSUING_CA);
    assert_rejected(
        &judge(&house, &device, &deep),
        Step::Chain,
        Reason::RootRole,
    );
    let unsigned = trust(
        &Ca {
            issuer_seed: 50,
            ..ROOT_CA
        },
        &ISSUING_CA,
    );
    assert_rejected(
        &judge(&house, &device, &unsigned),
        Step::Chain,
        Reason::RootRole,
    );
    let long = trust(
        &ROOT_CA,
        &Ca {
            path: 1,
            ..ISSUING_CA
        },
    );
    assert_rejected(
        &judge(&house, &device, &long),
        Step::Chain,
        Reason::IssuerRole,
    );
    let other = trust(
        &ROOT_CA,
        &Ca {
            name: "Mihon Denki Issuing I2",
            ..ISSUING_CA
        },
    );
    assert_rejected(
        &judge(&house, &device, &other),
        Step::Chain,
        Reason::IssuerUnknown,
    );
    let short = Ca {
        not_after: "20400101000000Z",
        ..ISSUING_CA
    };
    assert!(matches!(
        Authority::from_der(&short.der()),
        Err(AuthorityError::Form(_))
    ));
}

#[test]
fn a_certificate_signed_by_another_key_is_refused() {
    let (house, device) = delivered();
    let (tbs, _) = identity::idevid::split(&device.certificate).unwrap();
    let forged = crate::house::sign(50, &identity::hash::sha256(&tbs));
    let certificate = identity::idevid::assemble(&tbs, &forged).unwrap();
    let verdict = verify_device(
        &certificate,
        house.proof(&device).as_bytes(),
        &house.trust(),
        NOW,
    );
    assert_rejected(&verdict, Step::Chain, Reason::CertificateSignature);
    assert_rejected(&verdict, Step::Leaf, Reason::OtherReadback);
}

#[test]
fn time_is_the_callers() {
    let (house, device) = delivered();
    let early = verify_device(
        &device.certificate,
        house.proof(&device).as_bytes(),
        &house.trust(),
        Timestamp(0),
    );
    assert_rejected(&early, Step::Chain, Reason::NotValidNow);
}

#[test]
fn another_logs_key_is_refused() {
    let (house, device) = delivered();
    let verdict = judge(&house, &device, &trust_in(&LogKey::new(10)));
    assert_rejected(&verdict, Step::Proof, Reason::CheckpointNotTrusted);
    let mut elsewhere = House::new();
    elsewhere.fill(0, 2);
    let mut lost = device;
    lost.newest.index = 3;
    assert_rejected(
        &judge(&elsewhere, &lost, &house.trust()),
        Step::Proof,
        Reason::NotInLog,
    );
}

#[test]
fn a_witness_that_is_asked_for_must_have_cosigned() {
    let (house, device) = delivered();
    let witness = "witness.example/w1+e0cd2864+BKCapfR6Z1mAL/lV+NwtKhSlyZ0jvpf4ZBJ/+Tg0VaTw";
    let policy = format!(
        "log {}\nwitness w1 {witness}\nquorum w1\n",
        house.log_key.public
    );
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let trust = Trust::new(
        house.trust().root().clone(),
        house.trust().issuing().to_vec(),
        policy,
    )
    .unwrap();
    assert_rejected(
        &judge(&house, &device, &trust),
        Step::Proof,
        Reason::CheckpointNotTrusted,
    );
}

#[test]
fn a_voided_device_is_refused() {
    let mut house = House::new();
    let mut device = house.bind(0);
    house.void(&mut device);
    let verdict = judge(&house, &device, &house.trust());
    assert_rejected(&verdict, Step::Leaf, Reason::Voided);
    assert_eq!(verdict.level, Some(Level::Voided));
    assert_eq!(verdict.check(Step::Proof).unwrap().state, State::Held);
    house.confirm(&mut device);
    let verdict = judge(&house, &device, &house.trust());
    assert_rejected(&verdict, Step::Leaf, Reason::ImpossibleHistory);
    assert_eq!(verdict.level, Some(Level::Voided));
}

#[test]
fn a_history_must_be_linked_and_whole() {
    let (house, device) = delivered();
    let mut headless = device.clone();
    headless.history.remove(0);
    assert_rejected(
        &judge(&house, &headless, &house.trust()),
        Step::Leaf,
        Reason::HistoryBroken,
    );
    let mut cut = device.clone();
    cut.history.pop();
    assert_rejected(
        &judge(&house, &cut, &house.trust()),
        Step::Proof,
        Reason::NotInLog,
    );
    let mut none = device;
    none.history.clear();
    assert_rejected(
        &judge(&house, &none, &house.trust()),
        Step::Leaf,
        Reason::HistoryBroken,
    );
}

#[test]
fn another_read_back_certificate_is_refused() {
    let mut house = House::new();
    let mut device = house.bind(0);
    house.confirm_as(&mut device, CertificateHash([0; 32]));
    assert_rejected(
        &judge(&house, &device, &house.trust()),
        Step::Leaf,
        Reason::OtherReadback,
    );
}

#[test]
fn the_proof_of_another_device_is_refused() {
    let mut house = House::new();
    let (one, other) = (house.bind(0), house.bind(1));
    let mixed = Device {
        certificate: one.certificate.clone(),
        ..other.clone()
    };
    assert_rejected(
        &judge(&house, &mixed, &house.trust()),
        Step::Leaf,
        Reason::OtherSerial,
    );
    let openings = Device {
        openings: other.openings,
        ..one.clone()
    };
    assert_rejected(
        &judge(&house, &openings, &house.trust()),
        Step::Openings,
        Reason::OtherOpenings,
    );
    let evidence = Device {
        evidence: other.evidence,
        ..one
    };
    assert_rejected(
        &judge(&house, &evidence, &house.trust()),
        Step::Evidence,
        Reason::OtherEvidence,
    );
}

#[test]
fn redacted_openings_are_accepted() {
    let (house, device) = delivered();
    for keep in [&[Tag::DeviceSerial][..], &[]] {
        // The profile names the part, so that the evidence can be judged without the openings.
        let redacted = Device {
            openings: device.openings.disclose(keep),
            ..device.clone()
        };
        let verdict = judge(&house, &redacted, &house.trust());
        assert!(verdict.accepted, "{verdict:#?}");
        assert_eq!(verdict.check(Step::Evidence).unwrap().state, State::Held);
    }
}

#[test]
fn evidence_is_judged_as_far_as_possible() {
    let (house, mut device) = delivered();
    let bare = trust_in(&house.log_key);
    let state = |device: &Device, trust: &Trust| {
        let verdict = judge(&house, device, trust);
        let check = verdict.check(Step::Evidence).unwrap();
        (verdict.accepted, check.state, check.code)
    };
    assert_eq!(
        state(&device, &bare),
        (true, State::NotChecked, Some(Reason::NoVendors))
    );
    let stranger = trust_in(&house.log_key).with_vendors(vec![public(50)]);
    assert_eq!(
        state(&device, &stranger),
        (false, State::Failed, Some(Reason::EvidenceFails))
    );
    let vendors = trust_in(&house.log_key).with_vendors(house.trust().vendors().to_vec());
    assert_eq!(state(&device, &vendors), (true, State::Held, None));
    device.openings = device.openings.disclose(&[]);
    assert_eq!(
        state(&device, &vendors),
        (false, State::Failed, Some(Reason::PartUnknown))
    );
}

#[test]
fn evidence_left_out_spares_nobody_who_can_judge_it() {
    let (house, mut device) = delivered();
    device.evidence = None;
    for trust in [
        house.trust(),
        trust_in(&house.log_key).with_vendors(vec![public(VENDOR)]),
        trust_in(&house.log_key).with_profiles(vec![profile()]),
    ] {
        assert_rejected(
            &judge(&house, &device, &trust),
            Step::Evidence,
            Reason::EvidenceAbsent,
        );
    }
    // Without any vendor's key the log's word is all there is, and the verdict says so.
    let verdict = judge(&house, &device, &trust_in(&house.log_key));
    assert!(verdict.accepted, "{verdict:#?}");
    assert_eq!(
        (verdict.recorded_grade, verdict.proved_grade),
        (Some("chip-attested"), None)
    );
}

#[test]
fn a_form_of_evidence_stands_for_one_grade_whoever_judges_it() {
    let mut house = House::new();
    let (bare, full) = (trust_in(&house.log_key), house.trust());
    for grade in [Grade::HsmAttested, Grade::ChipAttested] {
        let device = house.bind_with(0, Some(injected(&uid(0))), grade);
        for trust in [&bare, &full] {
            assert_rejected(
                &judge(&house, &device, trust),
                Step::Evidence,
                Reason::OtherGrade,
            );
        }
    }
    for grade in [Grade::StationAsserted, Grade::HsmAttested] {
        let device = house.bind_with(1, Some(on_chip(&uid(1), &public(101))), grade);
        assert_rejected(
            &judge(&house, &device, &bare),
            Step::Evidence,
            Reason::OtherGrade,
        );
    }
}

#[test]
fn evidence_of_another_key_or_grade_is_refused() {
    let mut house = House::new();
    let foreign = house.bind_with(0, Some(on_chip(&uid(0), &public(50))), Grade::ChipAttested);
    assert_rejected(
        &judge(&house, &foreign, &house.trust()),
        Step::Evidence,
        Reason::EvidenceFails,
    );
    let lower = house.bind_with(
        1,
        Some(on_chip(&uid(1), &public(101))),
        Grade::StationAsserted,
    );
    assert_rejected(
        &judge(&house, &lower, &house.trust()),
        Step::Evidence,
        Reason::OtherGrade,
    );
    let higher = house.bind_with(2, Some(injected(&uid(2))), Grade::ChipAttested);
    assert_rejected(
        &judge(&house, &higher, &house.trust()),
        Step::Evidence,
        Reason::OtherGrade,
    );
    let other_chip = house.bind_with(3, Some(injected(&uid(2))), Grade::StationAsserted);
    assert_rejected(
        &judge(&house, &other_chip, &house.trust()),
        Step::Evidence,
        Reason::EvidenceFails,
    );
}

#[test]
fn an_injected_key_stays_the_stations_word() {
    let mut house = House::new();
    let device = house.bind_with(0, Some(injected(&uid(0))), Grade::StationAsserted);
    let verdict = judge(&house, &device, &house.trust());
    let check = verdict.check(Step::Evidence).unwrap();
    assert_eq!(
        (check.state, check.code),
        (State::NotChecked, Some(Reason::StationAsserted))
    );
    assert_eq!(
        (verdict.recorded_grade, verdict.proved_grade),
        (Some("station-asserted"), None)
    );
    assert!(
        verdict.accepted
            && check
                .note
                .starts_with("station-asserted, as recorded by the log")
    );
    let strict = Profile {
        grade: Grade::ChipAttested,
        ..profile()
    };
    let strict = trust_in(&house.log_key).with_profiles(vec![strict]);
    assert_rejected(
        &judge(&house, &device, &strict),
        Step::Evidence,
        Reason::GradeTooLow,
    );
}

#[test]
fn a_product_has_its_profile() {
    let (house, device) = delivered();
    let other = Profile {
        crl: "http://crl.example/".to_owned(),
        ..profile()
    };
    let trust = trust_in(&house.log_key).with_profiles(vec![other]);
    assert_rejected(
        &judge(&house, &device, &trust),
        Step::Profile,
        Reason::ProductProfile,
    );
    let elsewhere = Profile {
        hardware_type: "1.3.6.1.4.1.32473.1.2".parse().unwrap(),
        ..profile()
    };
    let trust = trust_in(&house.log_key).with_profiles(vec![elsewhere]);
    assert!(judge(&house, &device, &trust).accepted);
}

#[test]
fn what_cannot_be_read_is_told_apart() {
    let (house, device) = delivered();
    let (trust, proof) = (house.trust(), house.proof(&device));
    for (certificate, proof, reason) in [
        (&b"\x30\x00"[..], proof.as_bytes(), Reason::CertificateForm),
        (
            &device.certificate,
            b"c2sp.org/tlog-proof@v2\n",
            Reason::ProofForm,
        ),
        (
            &device.certificate,
            without_extra(&proof).as_bytes(),
            Reason::HistoryForm,
        ),
    ] {
        let verdict = verify_device(certificate, proof, &trust, NOW);
        assert_rejected(&verdict, Step::Form, reason);
        assert!(verdict.is_malformed());
    }
    let root = ROOT_CA.der();
    let verdict = verify_device(&root, proof.as_bytes(), &trust, NOW);
    assert_rejected(&verdict, Step::Profile, Reason::NotIdevid);
    assert!(!verdict.is_malformed());
}

#[test]
fn a_log_of_another_name_is_refused() {
    let (house, device) = delivered();
    let key = house.log_key.public.clone();
    assert_eq!(key.name().as_str(), ORIGIN);
    let log = TrustedLog::new("log.example/other", vec![key]).unwrap();
    let trust = house.trust();
    let trust = Trust::new(
        trust.root().clone(),
        trust.issuing().to_vec(),
        Policy::without_witnesses(log),
    )
    .unwrap();
    assert_rejected(
        &judge(&house, &device, &trust),
        Step::Proof,
        Reason::CheckpointNotTrusted,
    );
}

fn without_extra(proof: &str) -> String {
    proof
        .lines()
        .filter(|line| !line.starts_with("extra "))
        .map(|line| format!("{line}\n"))
        .collect()
}
