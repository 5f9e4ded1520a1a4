use crate::child::run;
use crate::world::{Places, World, fault, request, tell};
use identity::fault::Fault;

/// From now on what is stored beside a binding is not what its leaf commits to; the truth is kept aside.
const SPOIL: &str = "CREATE TABLE truth (idx INTEGER PRIMARY KEY, openings BLOB);
    CREATE TRIGGER spoil AFTER INSERT ON binding BEGIN
        INSERT INTO truth VALUES (new.idx, new.openings);
        UPDATE binding SET openings = x'3000' WHERE idx = new.idx;
    END";
const MEND: &str = "DROP TRIGGER spoil;
    UPDATE binding SET openings = (SELECT openings FROM truth WHERE truth.idx = binding.idx)
        WHERE idx IN (SELECT idx FROM truth)";

#[test]
fn a_unit_that_the_signer_set_aside_is_shown_and_signed_once_what_was_wrong_is_mended() {
    run(
        concat!(
            module_path!(),
            "::a_unit_that_the_signer_set_aside_is_shown_and_signed_once_what_was_wrong_is_mended"
        ),
        |room| {
            tell(async {
                let places = Places::below(room);
                let store = places.store.clone();
                let world = World::open(room, places).await;
                world.provision(1).await.unwrap();
                let hand = pages::open(&store).unwrap();
                hand.execute_batch(SPOIL).unwrap();
                assert_eq!(fault(world.provision(2).await), Fault::Alarmed);
                let status = world.corridor.status().unwrap();
                assert_eq!(
                    (status.in_flight, status.stopped),
                    (0, None),
                    "the batch goes on"
                );
                let [unit] = status.set_aside.as_slice() else {
                    panic!("{:?}", status.set_aside);
                };
                assert_eq!((unit.request, unit.holder.as_str()), (request(2), "st-1"));
                assert!(unit.reason.starts_with("SIGN-"), "{}", unit.reason);

                let again = world.corridor.retry(request(2)).await.unwrap();
                assert_eq!(again.as_ref(), Some(unit), "nothing was mended");
                hand.execute_batch(MEND).unwrap();
                assert_eq!(
                    fault(world.provision(2).await),
                    Fault::Alarmed,
                    "nobody asked"
                );
                assert_eq!(world.corridor.retry(request(2)).await.unwrap(), None);
                assert_eq!(world.corridor.status().unwrap().set_aside, []);
                let issued = world.provision(2).await.unwrap();
                assert_eq!(issued.index, unit.bind);
                for not_set_aside in [1, 2, 3] {
                    let retried = world.corridor.retry(request(not_set_aside)).await;
                    assert_eq!(fault(retried), Fault::NotBound);
                }
            });
        },
    );
}
