use crate::child::run;
use crate::world::{Places, World, fault, id, request, tell};
use ca_server::issuance::{Receipts, UnitName};
use identity::fault::Fault;

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
            });
        },
    );
}
