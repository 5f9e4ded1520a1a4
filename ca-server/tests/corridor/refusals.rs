use crate::child::run;
use crate::world::{
    NOW, Places, World, approval, counts, fault, id, profile, station, tell, until,
};
use ca_server::issuance::Session;
use identity::fault::Fault;
use identity::field::{Openings, Tag};
use identity::leaf::{Body, Leaf, Refuse};
use identity::{ChipUid, Clock as _};

/// Says nothing of itself.
const SILENT: Session = Session {
    agent: None,
    grant: None,
    lot: None,
};

/// The refuse leaf at an index.
fn leaf(world: &World, index: u64) -> Refuse {
    let bytes = world.corridor.entries(index, 1).unwrap().remove(0);
    let Body::Refuse(body) = Leaf::from_bytes(&bytes).unwrap().body else {
        panic!("leaf {index} is no refusal");
    };
    body
}

#[test]
fn a_refused_confirmation_is_a_leaf_that_its_openings_explain() {
    run(
        concat!(
            module_path!(),
            "::a_refused_confirmation_is_a_leaf_that_its_openings_explain"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let issued = world.provision(1).await.unwrap();
                world.void(1).await.unwrap();
                let before = world.corridor.status().unwrap().log_size;
                // Decided inside the transaction: the unit was voided meanwhile.
                assert_eq!(fault(world.confirm(1, &issued).await), Fault::Voided);
                assert_eq!(world.corridor.status().unwrap().log_size, before + 1);
                let refusal = world.corridor.refusals(u64::MAX, 1).unwrap().remove(0);
                assert_eq!(
                    (refusal.index, refusal.at_ms, refusal.station.as_str()),
                    (before, NOW, "st-1")
                );
                assert_eq!((refusal.reason.as_str(), refusal.count), ("CA-0405", 1));
                let leaf = leaf(&world, before);
                let openings = Openings::from_bytes(&refusal.openings).unwrap();
                assert_eq!(leaf.fields, openings.root());
                assert_eq!(leaf.reason.as_str(), "CA-0405");
                assert!(leaf.request.is_some());
                for (tag, value) in [
                    (Tag::Station, b"st-1".as_slice()),
                    (Tag::DeviceSerial, b"SN000001"),
                    (Tag::ChipUid, &[0xc0, 0, 0, 1]),
                    (Tag::Time, NOW.to_string().as_bytes()),
                ] {
                    assert_eq!(openings.value(tag), Some(value), "{tag:?}");
                }
            });
        },
    );
}

#[test]
fn a_flood_of_refusals_is_one_leaf_a_minute_that_names_station_and_window() {
    run(
        concat!(
            module_path!(),
            "::a_flood_of_refusals_is_one_leaf_a_minute_that_names_station_and_window"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let before = world.corridor.status().unwrap().log_size;
                world.provision(1).await.unwrap();
                world.void(1).await.unwrap();
                for _ in 0..30 {
                    assert_eq!(fault(world.provision(1).await), Fault::Voided);
                }
                let flooded = world.corridor.status().unwrap().log_size;
                assert_eq!(flooded, before + 2 + 20, "20 leaves a minute");
                // Nobody asks for anything any more: the window is closed all the same.
                world.clock.set(NOW + 60_000);
                until("the window's leaf", || {
                    world.corridor.status().unwrap().log_size > flooded
                })
                .await;
                let refusal = world.corridor.refusals(u64::MAX, 1).unwrap().remove(0);
                let leaf = leaf(&world, flooded);
                assert_eq!((leaf.count, leaf.request), (10, None));
                let openings = Openings::from_bytes(&refusal.openings).unwrap();
                assert_eq!(leaf.fields, openings.root());
                let began = (NOW / 60_000 * 60_000).to_string();
                assert_eq!(openings.value(Tag::Station), Some(b"st-1".as_slice()));
                assert_eq!(openings.value(Tag::Time), Some(began.as_bytes()));
                assert_eq!((refusal.count, refusal.index), (10, flooded));
            });
        },
    );
}

#[test]
fn a_station_whose_statement_has_ended_is_refused_its_challenges_on_record() {
    run(
        concat!(
            module_path!(),
            "::a_station_whose_statement_has_ended_is_refused_its_challenges_on_record"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let uid = [ChipUid::new(&[0xc0, 0, 0, 1]).unwrap()];
                let asked = |name| world.corridor.challenges(name, &SILENT, &uid);
                let (known, stranger) = (id("st-1"), id("st-9"));
                asked(&known).await.unwrap();
                let before = world.corridor.status().unwrap().log_size;
                assert_eq!(fault(asked(&stranger).await), Fault::StationUnknown);
                assert_eq!(world.corridor.status().unwrap().log_size, before);

                world.clock.set(station().not_after.0 + 1);
                world.corridor.confirm_clock(world.clock.now()).unwrap();
                assert_eq!(fault(asked(&known).await), Fault::StationExpired);
                let refusal = world.corridor.refusals(u64::MAX, 1).unwrap().remove(0);
                assert_eq!((refusal.index, refusal.station.as_str()), (before, "st-1"));
                assert_eq!((refusal.reason.as_str(), refusal.count), ("CA-0104", 1));
                assert_eq!(leaf(&world, before).request, None, "nothing was signed");
            });
        },
    );
}

#[test]
fn challenges_refused_faster_than_a_station_may_ask_are_not_recorded() {
    run(
        concat!(
            module_path!(),
            "::challenges_refused_faster_than_a_station_may_ask_are_not_recorded"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                world.corridor.set_pace(1, 3);
                let (known, uid) = (id("st-1"), [ChipUid::new(&[0xc0, 0, 0, 1]).unwrap()]);
                let asked = || world.corridor.challenges(&known, &SILENT, &uid);
                // A challenge that is given costs nothing durable, and is not counted.
                for _ in 0..10 {
                    asked().await.unwrap();
                }
                let ended = station().not_after.0 + 1;
                world.clock.set(ended);
                world.corridor.confirm_clock(world.clock.now()).unwrap();
                let before = world.corridor.status().unwrap().log_size;
                let recorded = || world.corridor.status().unwrap().log_size - before;
                for _ in 0..3 {
                    assert_eq!(fault(asked().await), Fault::StationExpired);
                }
                for _ in 0..10 {
                    assert_eq!(fault(asked().await), Fault::Overloaded);
                }
                assert_eq!(recorded(), 3);
                world.clock.set(ended + 1_000);
                assert_eq!(fault(asked().await), Fault::StationExpired);
                assert_eq!(fault(asked().await), Fault::Overloaded);
                assert_eq!(recorded(), 4);
            });
        },
    );
}

#[test]
fn an_envelope_is_paced_by_its_units() {
    run(
        concat!(module_path!(), "::an_envelope_is_paced_by_its_units"),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                // Eight units are more than a station may have made at once. They pass, and what is too much is owed.
                world.corridor.set_pace(1, 4);
                let made = world.provision_gang(&[1, 2, 3, 4, 5, 6, 7, 8]).await;
                assert!(made.unwrap().iter().all(Result::is_ok));
                let refused = async |units: &[u16]| {
                    let refusal = world.provision_gang(units).await.unwrap_err();
                    assert_eq!(refusal.fault, Fault::Overloaded);
                    refusal.retry_after_ms.unwrap()
                };
                assert_eq!(refused(&[9, 10]).await, 5_000);
                assert_eq!(counts(&world).0, 8, "nothing of it is bound");
                let told = world.clock.now().0 + 5_000;
                world.clock.set(told - 1);
                assert_eq!(refused(&[9, 10]).await, 1);
                // Who waits exactly as long as it was told passes, each time.
                let mut at = told;
                for units in [&[9, 10][..], &[11], &[12, 13, 14]] {
                    world.clock.set(at);
                    let made = world.provision_gang(units).await.unwrap();
                    assert!(made.iter().all(Result::is_ok));
                    at += refused(&[20]).await;
                }
                let units = u64::from(counts(&world).0);
                assert_eq!(at - NOW, (units + 1 - 4) * 1_000, "one a second");
            });
        },
    );
}

#[test]
fn of_two_lots_of_one_name_opened_at_once_one_is_in_force() {
    run(
        concat!(
            module_path!(),
            "::of_two_lots_of_one_name_opened_at_once_one_is_in_force"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (small, large) = (world.lot("lot-2"), world.lot("lot-2"));
                let small = identity::document::LotOrder {
                    quantity: 10,
                    ..small
                };
                let (one, other) = tokio::join!(
                    world.corridor.open_lot(small),
                    world.corridor.open_lot(large)
                );
                let refused: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
                assert_eq!(refused.len(), 1);
                assert_eq!(refused[0].fault, Fault::DocumentConflict);

                // Another grant of the same name is not entered either.
                let twin = identity::document::Grant {
                    limit: world.grant.limit + 1,
                    ..world.grant.clone()
                };
                let approvals = ["anna", "bert"].map(|name| approval(&twin, name));
                let entered = world
                    .corridor
                    .enter_grant(twin, profile(), approvals.to_vec());
                assert_eq!(fault(entered.await), Fault::DocumentConflict);
            });
        },
    );
}
