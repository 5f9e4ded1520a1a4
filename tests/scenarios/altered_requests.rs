//! Somebody between station and CA alters what stations send: every byte of provisionings, adoptions, confirmations,
//! voids, scrappings and ends of lots, of their signatures, and of the newest checkpoint that goes with each of them.

use crate::floor::{FIRST, Floor, SECOND, code};
use acceptance::failure::Failure;
use acceptance::lines::CAMERAS;
use acceptance::register::Register;
use acceptance::soft::{Order, Signed, SoftChip, SoftStation};
use identity::document::SerialRange;
use identity::envelope::{Purpose, Version1};
use identity::leaf::Body;
use identity::lot::{LotCloseRequest, LotCounts, LotSeen, LotTally, ScrapRequest};
use identity::{DeviceSerial, Id, RequestId};
use proto::factory::{GetChallengesRequest, GetLotRequest};
use std::future::Future;
use tokio::task::JoinSet;

/// One bit, the highest bit, all bits.
const FLIPS: [u8; 3] = [0x01, 0x80, 0xFF];

#[tokio::test]
async fn no_altered_byte_of_a_request_is_accepted() {
    let floor = Floor::open(10);
    let station = floor.station(FIRST);
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let draft = station.draft(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let envelope = draft.await.unwrap();
    let provision = station.seal(&envelope).unwrap();
    let mut register = Register::open(&floor.factory).await.unwrap();
    let tried = alter(&station, &provision, |station, sent| async move {
        code(station.provision(&sent).await)
    });
    assert_eq!(tried.await, FLIPS.len() * (provision.envelope.len() + 64));
    assert_only_refusals(&mut register).await;
    assert!(floor.factory.status().unwrap().contains(" 0 of 10 "));

    let issued = station.issue(&provision).await.unwrap().unwrap();
    let request = envelope.units[0].request;
    let confirm = station.confirmation(&chip, request, &issued).unwrap();
    let confirm = station.seal(&confirm).unwrap();
    let void = station.seal(&station.verdict(request).unwrap()).unwrap();
    register.news().await.unwrap();
    let tried = alter(&station, &confirm, |station, sent| async move {
        code(station.confirm(&sent).await)
    });
    assert_eq!(tried.await, FLIPS.len() * (confirm.envelope.len() + 64));
    let tried = alter(&station, &void, |station, sent| async move {
        code(station.void(&sent).await)
    });
    assert_eq!(tried.await, FLIPS.len() * (void.envelope.len() + 64));
    assert_only_refusals(&mut register).await;
    assert!(station.confirm(&confirm).await.unwrap().is_ok());
    floor.assert_sound();
}

/// The lot as it is shown to a station.
async fn look(station: &SoftStation, order: Order) -> LotSeen {
    let request = GetLotRequest {
        lot_id: order.lot.to_string(),
        grant_hash: order.grant.as_bytes().to_vec(),
    };
    let lot = station.client().get_lot(request).await;
    let lot = lot.unwrap().into_inner();
    let serial = |text: &str| DeviceSerial::new(text).unwrap();
    LotSeen {
        quantity: u32::try_from(lot.lot.unwrap().planned).unwrap(),
        serials: SerialRange {
            first: serial(&lot.first_serial),
            last: serial(&lot.last_serial),
        },
        tally: LotTally::default(),
        closed: false,
    }
}

#[tokio::test]
async fn no_altered_byte_of_what_takes_over_or_ends_is_accepted() {
    let floor = Floor::open(10);
    let (first, second) = (floor.station(FIRST), floor.station(SECOND));
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let provision = first.prepare(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let provision = provision.await.unwrap();
    first.provision(&provision).await.unwrap().unwrap();
    let draft = second.draft(Purpose::Adopt, floor.order, &chip, CAMERAS.first);
    let draft = draft.await.unwrap();
    let adopt = second.seal(&draft).unwrap();
    let scrap = ScrapRequest {
        version: Version1,
        station: second.id,
        time: draft.time,
        id: RequestId([5; 16]),
        grant: floor.order.grant,
        lot: floor.order.lot,
        request: Some(draft.units[0].request),
        uid: None,
        serial: Some(draft.units[0].serial),
        reason: Id::new("board-broken").unwrap(),
    };
    let scrap = second.seal(&scrap).unwrap();
    let close = LotCloseRequest {
        version: Version1,
        station: second.id,
        time: draft.time,
        grant: floor.order.grant,
        lot: floor.order.lot,
        counts: LotCounts {
            planned: 10,
            unused: 9,
            scrapped: 1,
            boards_scrapped: 1,
            ..LotCounts::default()
        },
        shares: None,
        seen: Some(LotSeen {
            // What is scrapped by then.
            tally: LotTally {
                bound: 1,
                scrapped: 1,
                ..LotTally::default()
            },
            ..look(&second, floor.order).await
        }),
    };
    let close = second.seal(&close).unwrap();
    let mut register = Register::open(&floor.factory).await.unwrap();
    let tried = alter(&second, &adopt, |station, sent| async move {
        code(station.adopt(&sent).await)
    });
    assert_eq!(tried.await, FLIPS.len() * (adopt.envelope.len() + 64));
    assert_only_refusals(&mut register).await;
    second.adopt(&adopt).await.unwrap().unwrap();
    register.news().await.unwrap();
    let tried = alter(&second, &scrap, |station, sent| async move {
        code(station.scrap(&sent).await)
    });
    assert_eq!(tried.await, FLIPS.len() * (scrap.envelope.len() + 64));
    let tried = alter(&second, &close, |station, sent| async move {
        code(station.close_lot(&sent).await)
    });
    assert_eq!(tried.await, FLIPS.len() * (close.envelope.len() + 64));
    assert_only_refusals(&mut register).await;
    second.scrap(&scrap).await.unwrap().unwrap();
    second.close_lot(&close).await.unwrap().unwrap();
    floor.assert_sound();
}

/// The newest checkpoint that a station has seen stands beside the request, under the log's own signature and not the
/// station's: every altered byte is refused, whatever is asked, and a part of it too. Who takes it away altogether takes
/// away one of two warnings: the checkpoint inside a signed envelope still stops a CA whose log went back
/// (`planted.rs`), and nothing else depends on it.
#[tokio::test]
async fn no_altered_byte_of_the_checkpoint_beside_a_request_is_accepted() {
    let floor = Floor::open(10);
    let station = floor.station(FIRST);
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let note = station.checkpoint().await.unwrap();
    let mut register = Register::open(&floor.factory).await.unwrap();
    let uid = chip.uid.as_bytes().to_vec();
    let ask = |beside: Option<Vec<u8>>| {
        let uids = vec![uid.clone()];
        let mut asked = tonic::Request::new(GetChallengesRequest {
            uids,
            ..GetChallengesRequest::default()
        });
        if let Some(beside) = beside {
            let beside = tonic::metadata::MetadataValue::from_bytes(&beside);
            asked.metadata_mut().insert_bin(proto::SEEN, beside);
        }
        let mut client = station.client();
        async move {
            let answer = client.get_challenges(asked).await;
            let fault = |status| proto::fault::fault_from_status(&status).map(|it| it.code);
            answer.map(drop).map_err(fault)
        }
    };
    assert_eq!(ask(Some(note.clone())).await, Ok(()));
    let refused = Err(Some("CA-0101".to_owned()));
    for at in 0..note.len() {
        for flip in FLIPS {
            let mut altered = note.clone();
            altered[at] ^= flip;
            assert_eq!(ask(Some(altered)).await, refused, "byte {at} ^ {flip:02x}");
        }
        let part = note[..at].to_vec();
        assert_eq!(ask(Some(part)).await, refused, "cut at byte {at}");
    }
    assert_eq!(ask(None).await, Ok(()));
    assert_only_refusals(&mut register).await;
    // The CA goes on, and certifies.
    let good = station.prepare(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let good = good.await.unwrap();
    station.provision(&good).await.unwrap().unwrap();
    floor.assert_sound();
}

/// Sends a request with each byte altered in each way; gives how many were refused, which must be all.
async fn alter<F: Future<Output = Option<String>> + Send + 'static>(
    station: &SoftStation,
    good: &Signed,
    send: fn(SoftStation, Signed) -> F,
) -> usize {
    let mut calls = JoinSet::new();
    for flip in FLIPS {
        for at in 0..good.envelope.len() + good.signature.len() {
            let mut altered = good.clone();
            match at.checked_sub(good.envelope.len()) {
                Some(at) => altered.signature[at] ^= flip,
                None => altered.envelope[at] ^= flip,
            }
            let answer = send(station.clone(), altered);
            calls.spawn(async move { (at, flip, answer.await) });
        }
    }
    let answers = calls.join_all().await;
    for (at, flip, answer) in &answers {
        let wanted = ["CA-0101", "CA-0102", "CA-0105"].map(Some);
        assert!(
            wanted.contains(&answer.as_deref()),
            "byte {at} ^ {flip:02x}: {answer:?}"
        );
    }
    answers.len()
}

async fn assert_only_refusals(register: &mut Register) {
    // Beyond the first of a minute refusals are counted, and get a common leaf when the minute is over.
    let news = register.news().await.unwrap();
    assert!(news.iter().all(|leaf| matches!(leaf.body, Body::Refuse(_))));
}

/// The same message with its signature's other form: s and n − s verify alike (SEC 1 §4.1.4).
fn twin(signature: &mut [u8; 64]) -> Result<(), Failure> {
    let good = p256::ecdsa::Signature::from_slice(signature).map_err(Failure::new)?;
    let (r, s) = good.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r, -s).map_err(Failure::new)?;
    assert_ne!(good, other);
    *signature = other.to_bytes().into();
    Ok(())
}

/// docs/decisions/0006: both forms are taken, because nothing is identified by a signature's bytes.
#[tokio::test]
async fn a_signatures_other_form_makes_nothing_new() {
    let floor = Floor::open(10);
    let station = floor.station(FIRST);
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let draft = station.draft(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let envelope = draft.await.unwrap();
    let good = station.seal(&envelope).unwrap();
    let issued = station.issue(&good).await.unwrap().unwrap();
    let mut register = Register::open(&floor.factory).await.unwrap();
    assert_eq!(
        station.issue(&with_twin(&good)).await.unwrap().unwrap(),
        issued
    );
    let mut inside = envelope.clone();
    twin(&mut inside.units[0].possession.0).unwrap();
    if let identity::evidence::Evidence::OnChip(evidence) = &mut inside.units[0].evidence {
        twin(&mut evidence.origin.0).unwrap();
        twin(&mut evidence.chip.endorsement.0).unwrap();
    }
    let inside = station.seal(&inside).unwrap();
    assert_eq!(station.issue(&inside).await.unwrap().unwrap(), issued);
    // Under a new request id it is a second binding of the same key, whatever its signatures look like.
    let again = station.prepare(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let again = with_twin(&again.await.unwrap());
    assert_eq!(
        code(station.provision(&again).await).as_deref(),
        Some("CA-0402")
    );
    let request = envelope.units[0].request;
    let confirm = station.confirmation(&chip, request, &issued).unwrap();
    let mut certificate = confirm.clone();
    certificate.certificate = identity::CertificateHash::of(&twin_certificate(&issued.certificate));
    let certificate = station.seal(&certificate).unwrap();
    assert_eq!(
        code(station.confirm(&certificate).await).as_deref(),
        Some("CA-0501")
    );
    let mut other = confirm.clone();
    twin(&mut other.signature.0).unwrap();
    let (confirm, other) = (
        station.seal(&confirm).unwrap(),
        station.seal(&other).unwrap(),
    );
    let leaf = station
        .confirm(&with_twin(&confirm))
        .await
        .unwrap()
        .unwrap();
    for again in [&confirm, &other, &with_twin(&other)] {
        assert_eq!(station.confirm(again).await.unwrap(), Ok(leaf));
    }
    let news = register.news().await.unwrap();
    let others = news
        .iter()
        .filter(|leaf| !matches!(leaf.body, Body::Refuse(_)));
    assert_eq!(others.count(), 1, "only the confirmation is new: {news:?}");
    assert!(floor.factory.status().unwrap().contains(" 1 of 10 "));
}

#[test]
fn an_approval_and_its_other_form_are_one_approval() {
    let floor = Floor::open(10);
    let (factory, grant) = (&floor.factory, acceptance::lines::SENSORS.grant);
    let approval = factory.approve("grant", grant, "vet-01", None).unwrap();
    let (label, der) = {
        let text = std::fs::read(&approval).unwrap();
        let (label, der) = der::pem::decode_vec(&text).unwrap();
        (label.to_owned(), der)
    };
    let mut other = identity::approval::Approval::from_bytes(&der).unwrap();
    twin(&mut other.signature.0).unwrap();
    let other = der::pem::encode_string(&label, der::pem::LineEnding::LF, &other.to_bytes());
    let twin_file = factory.path("approvals/twin.pem");
    std::fs::write(&twin_file, other.unwrap()).unwrap();
    let qa = factory.approve("grant", grant, "qa-03", None).unwrap();
    let load = |approvals: [&std::path::Path; 2]| {
        let [policies, file] = [
            factory.policies.dir().to_owned(),
            factory.policies.file("grants", grant),
        ];
        let [policies, file, one, two] = [&policies, &file, approvals[0], approvals[1]]
            .map(|path: &std::path::Path| path.to_str().unwrap());
        let args = [
            "grant",
            "load",
            "--policies",
            policies,
            "--grant",
            file,
            "--approval",
            one,
            "--approval",
            two,
        ];
        factory.try_ca_server(&args).unwrap().status.success()
    };
    assert!(!load([&approval, &twin_file]), "one approver counted twice");
    // The other form itself is as good as the first.
    assert!(load([&twin_file, &qa]));
}

fn with_twin(signed: &Signed) -> Signed {
    let mut signature = <[u8; 64]>::try_from(signed.signature.as_slice()).unwrap();
    twin(&mut signature).unwrap();
    Signed {
        envelope: signed.envelope.clone(),
        signature: signature.to_vec(),
    }
}

/// The certificate with its signature's other form: another file, the same certificate.
fn twin_certificate(certificate: &[u8]) -> Vec<u8> {
    use der::{Decode as _, Encode as _};
    let mut certificate = Vec::<der::Any>::from_der(certificate).unwrap();
    let bits: der::asn1::BitString = certificate[2].decode_as().unwrap();
    let good = p256::ecdsa::Signature::from_der(bits.raw_bytes()).unwrap();
    let mut raw = good.to_bytes().into();
    twin(&mut raw).unwrap();
    let other = p256::ecdsa::Signature::from_slice(&raw).unwrap().to_der();
    let bits = der::asn1::BitString::from_bytes(other.as_bytes()).unwrap();
    certificate[2] = der::Any::from_der(&bits.to_der().unwrap()).unwrap();
    certificate.to_der().unwrap()
}
