use crate::child::run;
use crate::world::{Places, SetClock, World, fault, id, request, tell};
use ca_server::auth::Peer;
use ca_server::challenge::ChallengeKey;
use ca_server::issuance::release::Releaser;
use ca_server::issuance::{Receipts, UnitName};
use ca_server::ledger::{LogFiles, LogTiles};
use ca_server::policy::Role;
use ca_server::rpc::{Chain, Factory};
use ca_server::store::Reader;
use identity::fault::Fault;
use proto::factory::get_receipt_request::Unit;
use proto::factory::{FactoryService as _, GetReceiptRequest};
use std::sync::Arc;
use tonic::{Code, Request};
use translog::checkpoint::Checkpoint;
use translog::proof::verify_inclusion;
use translog::receipt::TlogProof;
use translog::tree::Hash;
use zeroize::Zeroizing;

#[test]
fn a_station_reads_its_own_units_and_an_auditor_all() {
    run(
        concat!(
            module_path!(),
            "::a_station_reads_its_own_units_and_an_auditor_all"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                let second = world.provision(2).await.unwrap();
                let confirm = world.confirm(1, &first).await.unwrap();
                let void = world.void(2).await.unwrap();
                for reader in [Some(id("st-1")), None] {
                    for unit in [UnitName::Index(first.index), UnitName::Request(request(1))] {
                        let shown = world.corridor.receipts(reader, unit).await.unwrap();
                        let issued = shown.issued.unwrap();
                        assert_eq!(
                            (issued.index, &issued.certificate, issued.nonce),
                            (first.index, &first.certificate, first.nonce)
                        );
                        assert_eq!(shown.confirmed.unwrap().index, confirm);
                        assert_eq!(shown.voided, None);
                    }
                    // A void unit's certificate is released no more; that it is void is shown.
                    let shown = world
                        .corridor
                        .receipts(reader, UnitName::Index(second.index));
                    let Receipts {
                        issued,
                        confirmed,
                        voided,
                    } = shown.await.unwrap();
                    assert_eq!((issued, confirmed), (None, None));
                    assert_eq!(voided.unwrap().index, void);
                    // The ceremony's leaf, and one that is not there.
                    for index in [0, 1_000_000, u64::MAX] {
                        let shown = world.corridor.receipts(reader, UnitName::Index(index));
                        assert_eq!(fault(shown.await), Fault::NotBound, "{index}");
                    }
                }
                let strange = world
                    .corridor
                    .receipts(Some(id("st-2")), UnitName::Index(first.index));
                assert_eq!(fault(strange.await), Fault::StationUnknown);
                // A station looks as often as it may, an auditor as often as it likes.
                world.corridor.set_pace(1, 1);
                let unit = UnitName::Index(first.index);
                for (station, seen) in [(Some(id("st-1")), 1), (None, 3)] {
                    for look in 0..3 {
                        match world.corridor.receipts(station, unit).await {
                            Ok(_) => assert!(look < seen, "{station:?} {look}"),
                            refused => {
                                assert!(look >= seen, "{station:?} {look}");
                                assert_eq!(fault(refused), Fault::Overloaded);
                            }
                        }
                    }
                }
            });
        },
    );
}

/// The factory service as the station `st-1` meets it behind the gate.
fn ask(request: GetReceiptRequest) -> Request<GetReceiptRequest> {
    let mut request = Request::new(request);
    request.extensions_mut().insert(Peer {
        role: Role::Station,
        id: id("st-1"),
        key: None,
    });
    request
}

#[test]
fn a_station_that_looks_too_often_is_counted_like_one_that_makes_too_much() {
    run(
        concat!(
            module_path!(),
            "::a_station_that_looks_too_often_is_counted_like_one_that_makes_too_much"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                let chain = Chain {
                    issuing: Vec::new(),
                    root: Vec::new(),
                    log_vkey: String::new(),
                };
                let corridor = world.corridor.clone();
                let factory = Factory::new(corridor, chain, Arc::<SetClock>::clone(&world.clock));
                world.corridor.set_pace(1, 1);
                let unit = Some(Unit::Index(first.index));
                factory
                    .get_receipt(ask(GetReceiptRequest { unit: unit.clone() }))
                    .await
                    .unwrap();
                let sent_away = factory.get_receipt(ask(GetReceiptRequest { unit })).await;
                assert_eq!(sent_away.unwrap_err().code(), Code::ResourceExhausted);
                let text = world.corridor.meters().text();
                assert!(
                    text.contains("koseki_refused_total{code=\"CA-0108\"} 1"),
                    "{text}"
                );
            });
        },
    );
}

/// Whoever took the checkpoint and comes to the tiles late finds the partial ones gone, because the log filled them up.
#[test]
fn a_proof_under_an_older_checkpoint_is_made_from_tiles_that_grew_meanwhile() {
    run(
        concat!(
            module_path!(),
            "::a_proof_under_an_older_checkpoint_is_made_from_tiles_that_grew_meanwhile"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                let older = world.corridor.checkpoint().unwrap();
                let size = first.index + 1;
                for device in 2..=256 {
                    world.provision(device).await.unwrap();
                }
                let places = Places::below(room);
                assert!(!places.log.join(format!("tile/0/000.p/{size}")).exists());
                let (reader, files) = (
                    Reader::open(&places.store).unwrap(),
                    LogFiles::open(&places.log).unwrap(),
                );
                let challenge = ChallengeKey::new(Zeroizing::new([9; 32]));
                let tiles = LogTiles::new(files, Vec::new());
                let releaser = Releaser::new(&reader, &tiles, &challenge, &older).unwrap();
                let proof = releaser.proof(first.index, None).unwrap();
                let proof = TlogProof::parse(proof.as_bytes()).unwrap();
                let checkpoint: Checkpoint = proof.note().text().parse().unwrap();
                assert_eq!(checkpoint.size(), size);
                let leaf = Hash::new(first.leaf.0);
                verify_inclusion(leaf, first.index, size, proof.hashes(), checkpoint.root())
                    .unwrap();
                // What was bound since then is proved under a newer checkpoint only.
                assert_eq!(fault(releaser.issued(size)), Fault::HsmUnavailable);
                world.corridor.stop();
            });
        },
    );
}
