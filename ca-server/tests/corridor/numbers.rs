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
