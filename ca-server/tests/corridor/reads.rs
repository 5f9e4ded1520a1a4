//! What is stored and cannot be read just now: the process has as many files open as it may.

use crate::child::run;
use crate::steps::go_on;
use crate::world::{Places, World, counts, tell};
use ca_server::issuance::{Outcome, Pending, Refusal};
use identity::fault::Fault;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Does something while no file can be opened.
fn without_handles<T>(act: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..before
    };
    setrlimit(Resource::Nofile, none).unwrap();
    let outcome = act();
    setrlimit(Resource::Nofile, before).unwrap();
    outcome
}

/// What a request was refused with; it must be answered by now. It is worth sending again.
fn passes(mut pending: Pending) -> Refusal {
    let refusal = pending.try_recv().unwrap().unwrap_err();
    assert_eq!(refusal.fault, Fault::StoreUnavailable, "{refusal}");
    assert!(refusal.retry_after_ms.is_some(), "{refusal}");
    refusal
}

#[test]
fn a_request_that_cannot_be_looked_up_is_worth_sending_again() {
    run(
        concat!(
            module_path!(),
            "::a_request_that_cannot_be_looked_up_is_worth_sending_again"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise();
                // Nobody has read the store yet: a connection must be opened.
                let refused = without_handles(|| world.submit(1)).unwrap();
                go_on(&mut steps);
                passes(refused);
                assert_eq!(counts(&world).0, 0);
                let mut again = world.submit(1).unwrap();
                go_on(&mut steps);
                again.try_recv().unwrap().unwrap();
                assert_eq!(world.corridor.status().unwrap().stopped, None);
            });
        },
    );
}

#[test]
fn what_is_bound_is_given_out_as_soon_as_it_can_be_read_again() {
    run(
        concat!(
            module_path!(),
            "::what_is_bound_is_given_out_as_soon_as_it_can_be_read_again"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                // The first tile is full: it is read from its file.
                let devices: Vec<_> = (1..=256).collect();
                for gang in devices.chunks(64) {
                    let made = world.provision_gang(gang).await.unwrap();
                    assert!(made.iter().all(Result::is_ok));
                }
                let first = world.provision(1).await.unwrap();
                let (world, mut steps) = world.stepwise();
                // First the store is what cannot be opened, then the tile alone.
                for what in ["unable to open database file", "tile/0/000"] {
                    let refused = world.submit(1).unwrap();
                    assert!(steps.reserve() && steps.record());
                    assert!(without_handles(|| steps.release()));
                    let said = passes(refused).detail;
                    assert!(said.contains(what), "{said}");
                    let mut again = world.submit(1).unwrap();
                    go_on(&mut steps);
                    let outcome = again.try_recv().unwrap().unwrap();
                    let Outcome::Issued(issued) = outcome else {
                        panic!("{outcome:?}");
                    };
                    assert_eq!(issued.certificate, first.certificate);
                }
                assert_eq!(counts(&world).0, 256);
                assert_eq!(world.corridor.status().unwrap().stopped, None);
            });
        },
    );
}
