//! Threads that end badly.

use crate::child::run;
use crate::world::{Places, World, counts, end_whoever_signs, fault, signed, tell};
use ca_server::issuance::Ends;
use identity::fault::Fault;

/// Nobody needs to ask for anything more: the server ends by itself, and the next one finishes what this one had in hand.
#[test]
fn a_finisher_that_ends_badly_is_told_of_at_once() {
    run(
        concat!(
            module_path!(),
            "::a_finisher_that_ends_badly_is_told_of_at_once"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let before = signed();
                end_whoever_signs();
                assert_eq!(fault(world.provision(1).await), Fault::Stopped);
                let refusal = world.corridor.ending().await;
                assert_eq!(refusal.detail, "the finisher is gone");
                let stop = world.corridor.status().unwrap().stopped.unwrap();
                assert_eq!((stop.refusal, stop.ends), (refusal, Ends::ByRestart));
                assert_eq!(signed(), before);

                let world = world.restart();
                world.provision(1).await.unwrap();
                assert_eq!((counts(&world).0, signed()), (1, before + 1));
            });
        },
    );
}
