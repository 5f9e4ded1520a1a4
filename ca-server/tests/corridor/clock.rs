use crate::child::run;
use crate::world::{DAY, HOUR, NOW, Places, World, approval, fault, station, tell};
use ca_server::issuance::{Ends, Issued};
use identity::fault::Fault;
use identity::leaf::Leaf;
use identity::{Clock as _, Timestamp};

/// Fault and end of the stop, if issuing is stopped.
fn stop(world: &World) -> Option<(Fault, Ends)> {
    let stop = world.corridor.status().unwrap().stopped;
    stop.map(|stop| (stop.refusal.fault, stop.ends))
}

fn size(world: &World) -> u64 {
    world.corridor.status().unwrap().log_size
}

/// Day of the newest leaf.
fn newest_day(world: &World) -> u64 {
    let leaf = world
        .corridor
        .entries(size(world) - 1, 1)
        .unwrap()
        .remove(0);
    u64::from(Leaf::from_bytes(&leaf).unwrap().day.0)
}

#[test]
fn a_clock_that_goes_back_stops_issuing_until_an_operator_confirms() {
    run(
        concat!(
            module_path!(),
            "::a_clock_that_goes_back_stops_issuing_until_an_operator_confirms"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                world.clock.set(NOW + 10 * HOUR);
                world.provision(1).await.unwrap();
                let before = size(&world);
                world.clock.set(NOW);
                assert_eq!(fault(world.provision(2).await), Fault::ClockBackward);
                assert_eq!(stop(&world), Some((Fault::ClockBackward, Ends::ByOperator)));
                // Set right, but nobody has said so.
                world.clock.set(NOW + 11 * HOUR);
                assert_eq!(fault(world.provision(2).await), Fault::ClockBackward);
                assert_eq!(size(&world), before, "a refused request changed the log");
                // The operator's watch says otherwise, then the same.
                let off = world.corridor.confirm_clock(Timestamp(NOW + 13 * HOUR));
                assert_eq!(fault(off), Fault::ClockBackward);
                assert!(stop(&world).is_some());
                let watch = Timestamp(NOW + 11 * HOUR + 60_000);
                world.corridor.confirm_clock(watch).unwrap();
                assert_eq!(stop(&world), None);
                world.provision(2).await.unwrap();
            });
        },
    );
}

#[test]
fn a_leaf_dated_ahead_does_not_freeze_the_log() {
    run(
        concat!(
            module_path!(),
            "::a_leaf_dated_ahead_does_not_freeze_the_log"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                // The server and its station are 20 days ahead, and nobody notices.
                world.clock.set(NOW + 20 * DAY);
                world.provision(1).await.unwrap();
                let ahead = newest_day(&world);
                assert_eq!(ahead, (NOW + 20 * DAY) / DAY);
                world.clock.set(NOW);
                assert_eq!(fault(world.provision(2).await), Fault::ClockBackward);
                world.corridor.confirm_clock(Timestamp(NOW)).unwrap();
                let issued = world.provision(2).await.unwrap();
                assert_eq!(
                    newest_day(&world),
                    ahead,
                    "days of the log never run backward"
                );
                world.confirm(2, &issued).await.unwrap();
                // What was confirmed is still believed after a restart, and time goes on from there.
                let world = world.restart();
                world.clock.set(NOW + HOUR);
                world.provision(3).await.unwrap();
                assert_eq!(stop(&world), None);
            });
        },
    );
}

#[test]
fn a_slip_far_ahead_writes_no_leaf() {
    run(
        concat!(module_path!(), "::a_slip_far_ahead_writes_no_leaf"),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let before = size(&world);
                for (server, station) in [
                    // Two months: even the grant is over. The station may agree or not.
                    (NOW + 60 * DAY, NOW),
                    (NOW + 60 * DAY, NOW + 60 * DAY),
                    // Two days, and the station says otherwise: nobody can tell who is right.
                    (NOW + 2 * DAY, NOW),
                ] {
                    world.clock.set(server);
                    let unit = world.provision_at(station, 1);
                    assert_eq!(fault(unit.await), Fault::ClockForward, "{server} {station}");
                    assert_eq!(stop(&world), Some((Fault::ClockForward, Ends::ByOperator)));
                    assert_eq!(size(&world), before);
                    world.clock.set(NOW);
                    world.corridor.confirm_clock(Timestamp(NOW)).unwrap();
                }
                world.provision(1).await.unwrap();
            });
        },
    );
}

#[test]
fn between_a_fresh_log_and_a_station_the_log_is_believed() {
    run(
        concat!(
            module_path!(),
            "::between_a_fresh_log_and_a_station_the_log_is_believed"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let before = size(&world);
                let asked = world.provision_at(NOW - 700 * DAY, 1);
                assert_eq!(fault(asked.await), Fault::StationClock);
                assert_eq!(stop(&world), None);
                assert_eq!(size(&world), before + 1, "its refusal is in the log");
                world.provision(1).await.unwrap();
            });
        },
    );
}

#[test]
fn a_request_that_waited_over_a_weekend_says_nothing_of_its_stations_clock() {
    run(
        concat!(
            module_path!(),
            "::a_request_that_waited_over_a_weekend_says_nothing_of_its_stations_clock"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                // Sealed on Friday evening, and the line to the CA was cut before it arrived.
                let friday = world.clock.now();
                let waiting = world.sealed_one(1);
                world.clock.set(friday.0 + 3 * DAY);
                let before = size(&world);
                let asked = world.send(&waiting).await;
                assert_eq!(fault(asked), Fault::ChallengeStale);
                assert_eq!(stop(&world), None, "nobody's clock is in doubt");
                assert_eq!(size(&world), before, "if it is wrong no leaf has its date");
                // Proved anew under the same request it is made.
                let issued = world.provision(1).await.unwrap();
                // And the old bytes get what is bound, however old they are.
                let again = world.send(&waiting).await.unwrap();
                assert_eq!(again.certificate, issued.certificate);
            });
        },
    );
}

/// Units that were asked for before travel with others that were not: those get their bytes, and of these nothing is dated.
#[test]
fn what_is_known_beside_it_does_not_settle_a_doubt_of_the_clock() {
    run(
        concat!(
            module_path!(),
            "::what_is_known_beside_it_does_not_settle_a_doubt_of_the_clock"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                let friday = world.clock.now().0;
                let waiting = world.sealed_gang(friday, &[2, 1, 3]);
                world.clock.set(friday + 3 * DAY);
                let before = size(&world);
                let [second, known, third] =
                    <[_; 3]>::try_from(world.send_gang(&waiting).await.unwrap()).unwrap();
                assert_eq!(known.unwrap().certificate, first.certificate);
                assert_eq!(fault(second), Fault::ChallengeStale);
                assert_eq!(fault(third), Fault::ChallengeStale);
                assert_eq!((stop(&world), size(&world)), (None, before));
                // A challenge of today beside a date of Friday: a clock is wrong, and nobody can tell whose.
                let doubtful = world.sealed_gang(friday, &[1, 2]);
                let refused = world.send_gang(&doubtful).await;
                assert_eq!(fault(refused), Fault::ClockForward);
                assert_eq!(stop(&world), Some((Fault::ClockForward, Ends::ByOperator)));
                assert_eq!(size(&world), before);
            });
        },
    );
}

#[test]
fn a_log_that_an_operator_had_dated_ahead_costs_no_unit() {
    run(
        concat!(
            module_path!(),
            "::a_log_that_an_operator_had_dated_ahead_costs_no_unit"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                // Clock and operator's watch are 40 days ahead, and somebody enters something.
                world.clock.set(NOW + 40 * DAY);
                world
                    .corridor
                    .confirm_clock(Timestamp(NOW + 40 * DAY))
                    .unwrap();
                world.corridor.open_lot(world.lot("lot-2")).await.unwrap();
                world.clock.set(NOW);
                world.corridor.confirm_clock(Timestamp(NOW)).unwrap();
                // The signer would never sign for a leaf so far ahead: nothing is bound.
                assert_eq!(fault(world.provision(1).await), Fault::ClockBackward);
                assert_eq!(stop(&world), None, "only new units wait");
                // The same chip is made once the log is no more than a month ahead.
                world.clock.set(NOW + 10 * DAY);
                world.provision(1).await.unwrap();
            });
        },
    );
}

#[test]
fn a_station_whose_own_clock_is_past_its_statement_is_refused_before_anything_is_bound() {
    run(
        concat!(
            module_path!(),
            "::a_station_whose_own_clock_is_past_its_statement_is_refused_before_anything_is_bound"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                // Its statement ends in twenty minutes, and its clock is an hour ahead.
                let mut statement = station();
                statement.not_after = Timestamp(NOW + HOUR / 3);
                let approvals = ["anna", "bert"].map(|name| approval(&statement, name));
                let entered = world.corridor.enter_station(statement, approvals.to_vec());
                entered.await.unwrap();
                let ahead = world.provision_at(NOW + HOUR, 1).await;
                assert_eq!(fault(ahead), Fault::StationExpired);
                world.provision(1).await.unwrap();
            });
        },
    );
}

/// A station that was switched off for two months has its answers coming; what is new is judged by today.
#[test]
fn an_old_request_gets_its_bytes_after_its_date_and_its_grant() {
    run(
        concat!(
            module_path!(),
            "::an_old_request_gets_its_bytes_after_its_date_and_its_grant"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                let same = |again: Issued| {
                    assert_eq!(
                        (again.index, &again.certificate),
                        (first.index, &first.certificate)
                    );
                };
                world.clock.set(NOW + 2 * DAY);
                same(world.provision_at(NOW, 1).await.unwrap());
                world.provision(2).await.unwrap();
                same(world.provision_at(NOW, 1).await.unwrap());
                assert_eq!(fault(world.provision_at(NOW, 3).await), Fault::StationClock);
                world.clock.set(NOW + 30 * DAY);
                world.provision(3).await.unwrap();
                // The grant ends after 50 days, the station's statement after 100.
                world.clock.set(NOW + 60 * DAY);
                assert_eq!(fault(world.provision(4).await), Fault::GrantExpired);
                same(world.provision_at(NOW, 1).await.unwrap());
                let confirmed = world.confirm(1, &first).await.unwrap();
                assert_eq!(world.confirm(1, &first).await.unwrap(), confirmed);
            });
        },
    );
}
