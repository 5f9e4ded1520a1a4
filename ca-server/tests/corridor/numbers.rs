use crate::child::run;
use crate::world::{Places, World, counts, fault, id, request, tell};
use identity::fault::Fault;

#[test]
fn a_lot_is_shown_in_true_numbers() {
    run(
        concat!(module_path!(), "::a_lot_is_shown_in_true_numbers"),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let mut issued = Vec::new();
                for device in 0..4 {
                    issued.push(world.provision(device).await.unwrap());
                }
                assert_eq!(counts(&world), (4, 0, 0));
                for device in [0, 1] {
                    let certificate = &issued[usize::from(device)];
                    let leaf = world.confirm(device, certificate).await.unwrap();
                    // The same again is the same leaf, and counts once.
                    assert_eq!(world.confirm(device, certificate).await, Ok(leaf));
                }
                assert_eq!(counts(&world), (4, 2, 0));
                // One by its station, one by the operator; a confirmed one stays confirmed.
                world.void(2).await.unwrap();
                let by_operator = world.corridor.void_by_operator(request(3), id("recall"));
                by_operator.await.unwrap();
                assert_eq!(fault(world.void(1).await), Fault::ConfirmMismatch);
                assert_eq!(counts(&world), (4, 2, 2));
                assert_eq!(fault(world.confirm(2, &issued[2]).await), Fault::Voided);
                let world = world.restart();
                assert_eq!(counts(&world), (4, 2, 2));
                assert_eq!(world.corridor.status().unwrap().in_flight, 0);
            });
        },
    );
}

#[test]
fn under_a_closed_grant_nothing_more_is_bound_and_what_is_bound_is_finished() {
    run(
        concat!(
            module_path!(),
            "::under_a_closed_grant_nothing_more_is_bound_and_what_is_bound_is_finished"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let grant = world.grant.id;
                let issued = world.provision(1).await.unwrap();
                let other = id("other");
                let nobodys = world.corridor.close_grant(&other, id("recall"));
                assert_eq!(fault(nobodys.await), Fault::GrantUnknown);
                world
                    .corridor
                    .close_grant(&grant, id("recall"))
                    .await
                    .unwrap();
                let again = world.corridor.close_grant(&grant, id("recall"));
                assert_eq!(fault(again.await), Fault::GrantClosed);

                assert_eq!(fault(world.provision(2).await), Fault::GrantClosed);
                let refusal = world.corridor.refusals(u64::MAX, 1).unwrap().remove(0);
                assert_eq!(refusal.reason, "CA-0215");
                let lot = world.corridor.open_lot(world.lot("lot-2"));
                assert_eq!(fault(lot.await), Fault::GrantClosed);
                assert_eq!(
                    world.provision(1).await.unwrap().certificate,
                    issued.certificate
                );
                world.confirm(1, &issued).await.unwrap();

                let world = world.restart();
                assert_eq!(fault(world.provision(2).await), Fault::GrantClosed);
                assert!(world.corridor.grants().unwrap()[0].closed);
            });
        },
    );
}
