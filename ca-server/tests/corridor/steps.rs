//! The corridor without threads: what fails, and when, is decided here and by no schedule.

use crate::child::{run, run_with_file_limits};
use crate::world::{HOUR, NOW, Places, World, counts, fault, id, signed, tell};
use ca_server::issuance::{Ends, Pending, Steps};
use identity::Clock as _;
use identity::fault::Fault;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;

/// Fault and end of the stop, if issuing is stopped.
fn stop(world: &World) -> Option<(Fault, Ends)> {
    let stop = world.corridor.status().unwrap().stopped;
    stop.map(|stop| (stop.refusal.fault, stop.ends))
}

/// What a request was refused with; it must be answered by now.
fn refused(mut pending: Pending) -> Fault {
    pending.try_recv().unwrap().unwrap_err().fault
}

/// All steps, as often as there is something to do.
pub(crate) fn go_on(steps: &mut Steps) {
    while steps.admit() | steps.reserve() | steps.finish() {}
}

/// Files of this process may be so long from now on, and no longer; any length if none is said.
fn limit_files(bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

fn length(file: &Path) -> u64 {
    file.metadata().unwrap().len()
}

/// A batch is committed, its files cannot be written, and before that the clock went back. What stands is the stop that is
/// harder to end; when an operator has ended it, nobody need ask for anything.
#[test]
fn what_failed_while_the_clock_was_doubted_is_finished_by_itself() {
    run(
        concat!(
            module_path!(),
            "::what_failed_while_the_clock_was_doubted_is_finished_by_itself"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise();
                let first = world.submit(1).unwrap();
                assert!(steps.reserve());
                let second = world.submit(2).unwrap();
                world.clock.set(NOW - HOUR);
                assert!(steps.reserve());
                assert_eq!(refused(second), Fault::ClockBackward);

                // Where the log's directory was, there is a file.
                let (log, aside) = (&world.places.log, room.join("aside"));
                std::fs::rename(log, &aside).unwrap();
                std::fs::write(log, "").unwrap();
                assert!(steps.finish());
                assert_eq!(refused(first), Fault::StoreUnavailable);
                assert_eq!(stop(&world), Some((Fault::ClockBackward, Ends::ByOperator)));
                std::fs::remove_file(log).unwrap();
                std::fs::rename(&aside, log).unwrap();

                // As long as nobody has confirmed the clock, nothing is tried.
                let before = signed();
                steps.look_after();
                assert!(!steps.finish());
                assert_eq!(signed(), before);

                world.clock.set(NOW);
                world.corridor.confirm_clock(world.clock.now()).unwrap();
                assert_eq!(stop(&world), None);
                assert_eq!(world.corridor.status().unwrap().in_flight, 1);
                steps.look_after();
                assert!(steps.finish());
                let status = world.corridor.status().unwrap();
                assert_eq!((status.in_flight, status.stopped), (0, None));
                assert_eq!(signed(), before + 1);

                // Once: there is nothing behind any more.
                steps.look_after();
                assert!(!steps.finish());
                let mut again = world.submit(1).unwrap();
                go_on(&mut steps);
                again.try_recv().unwrap().unwrap();
                assert_eq!((counts(&world).0, signed()), (1, before + 1));
            });
        },
    );
}

/// Batches were reserved behind one that failed. The first of them finishes all that is open, and who waits in the others is
/// answered from that.
#[test]
fn what_was_finished_with_others_is_only_answered() {
    run(
        concat!(
            module_path!(),
            "::what_was_finished_with_others_is_only_answered"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise_ahead(4);
                let before = signed();
                let mut pending: Vec<_> = (1..5)
                    .map(|chip| {
                        let pending = world.submit(chip).unwrap();
                        assert!(steps.reserve());
                        pending
                    })
                    .collect();
                let (log, aside) = (&world.places.log, room.join("aside"));
                std::fs::rename(log, &aside).unwrap();
                std::fs::write(log, "").unwrap();
                assert!(steps.finish());
                assert_eq!(refused(pending.remove(0)), Fault::StoreUnavailable);
                std::fs::remove_file(log).unwrap();
                std::fs::rename(&aside, log).unwrap();

                for mut pending in pending {
                    assert!(steps.finish());
                    pending.try_recv().unwrap().unwrap();
                }
                assert_eq!(signed(), before + 4);
                let by_itself = Some((Fault::StoreUnavailable, Ends::ByItself));
                assert_eq!(stop(&world), by_itself);
                steps.look_after();
                assert!(steps.finish());
                assert_eq!(stop(&world), None);
                assert_eq!(signed(), before + 4);
            });
        },
    );
}

/// A station has seen more of the log than is here. What was reserved before that is neither published nor signed: if a
/// backup was restored, its places are others' already.
#[test]
fn what_is_reserved_when_somebody_is_ahead_is_not_signed_before_a_restart() {
    run(
        concat!(
            module_path!(),
            "::what_is_reserved_when_somebody_is_ahead_is_not_signed_before_a_restart"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise_ahead(2);
                let before = (signed(), world.corridor.checkpoint().unwrap());
                let now = |world: &World| (signed(), world.corridor.checkpoint().unwrap());
                let waiting = [1, 2].map(|chip| {
                    let pending = world.submit(chip).unwrap();
                    assert!(steps.reserve());
                    pending
                });
                assert_eq!(fault(world.submit_seen(3, 1000)), Fault::LogAhead);
                let ahead = Some((Fault::LogAhead, Ends::ByRepair));
                assert_eq!(stop(&world), ahead);
                for pending in waiting {
                    assert!(steps.finish());
                    assert_eq!(refused(pending), Fault::LogAhead);
                    assert_eq!(now(&world), before);
                }
                steps.look_after();
                assert!(!steps.finish());
                assert_eq!((stop(&world), now(&world)), (ahead, before.clone()));
                assert_eq!(world.corridor.status().unwrap().in_flight, 2);
                drop(steps);

                let world = world.restart();
                assert_eq!(signed(), before.0 + 2, "what was durable is finished");
                let size = world.corridor.status().unwrap().log_size;
                for chip in [1, 2] {
                    assert!(world.provision(chip).await.unwrap().index < size);
                }
                assert_eq!((counts(&world).0, signed()), (2, before.0 + 2));
            });
        },
    );
}

/// The disk has room again, and the finisher is about to look for what is open; before it does, somebody is found to be
/// ahead.
#[test]
fn what_a_full_disk_left_open_is_not_signed_either_once_somebody_is_ahead() {
    run(
        concat!(
            module_path!(),
            "::what_a_full_disk_left_open_is_not_signed_either_once_somebody_is_ahead"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise();
                let before = signed();
                let first = world.submit(1).unwrap();
                assert!(steps.reserve());
                let (log, aside) = (&world.places.log, room.join("aside"));
                std::fs::rename(log, &aside).unwrap();
                std::fs::write(log, "").unwrap();
                assert!(steps.finish());
                assert_eq!(refused(first), Fault::StoreUnavailable);
                std::fs::remove_file(log).unwrap();
                std::fs::rename(&aside, log).unwrap();

                steps.look_after();
                assert_eq!(fault(world.submit_seen(2, 1000)), Fault::LogAhead);
                assert!(steps.finish());
                steps.look_after();
                assert!(!steps.finish());
                assert_eq!(stop(&world), Some((Fault::LogAhead, Ends::ByRepair)));
                assert_eq!(signed(), before);
                drop(steps);

                let world = world.restart();
                world.provision(1).await.unwrap();
                assert_eq!((counts(&world).0, signed()), (1, before + 1));
            });
        },
    );
}

/// The store's write-ahead log may not grow: COMMIT fails, and what became durable is not known.
fn fail_commits(world: &World) {
    let wal = world.places.store.with_extension("sqlite-wal");
    limit_files(Some(length(&wal)));
}

/// Whoever asks is refused, whatever is tried, and the CA's key is not used.
fn assert_ended(world: &World, steps: &mut Steps) {
    let unknown = Some((Fault::StoreUnavailable, Ends::ByRestart));
    let before = signed();
    assert_eq!(stop(world), unknown);
    for _ in 0..2 {
        assert_eq!(fault(world.submit(1)), Fault::StoreUnavailable);
        assert_eq!(fault(world.submit(9)), Fault::StoreUnavailable);
        steps.look_after();
        go_on(steps);
    }
    // The operator's word is about the clock, and ends nothing else.
    assert_eq!(stop(world), unknown);
    assert_eq!(signed(), before);
}

#[test]
fn after_a_commit_of_unknown_outcome_nothing_is_bound_or_signed_until_a_restart() {
    run_with_file_limits(
        concat!(
            module_path!(),
            "::after_a_commit_of_unknown_outcome_nothing_is_bound_or_signed_until_a_restart"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise();
                // One batch is on its way already when the next cannot be committed.
                let first = world.submit(1).unwrap();
                assert!(steps.reserve());
                let second = world.submit(2).unwrap();
                let before = signed();
                fail_commits(&world);
                assert!(steps.reserve());
                limit_files(None);
                assert_eq!(refused(second), Fault::StoreUnavailable);
                assert!(steps.finish());
                assert_eq!(refused(first), Fault::StoreUnavailable);
                assert_eq!(signed(), before, "signed on a store that is not known");
                assert_ended(&world, &mut steps);
                drop(steps);

                let world = world.restart();
                assert_eq!(signed(), before + 1, "what was durable is finished");
                let size = world.corridor.status().unwrap().log_size;
                let issued = world.provision(1).await.unwrap();
                assert!(issued.index < size, "it has been there since");
                world.provision(2).await.unwrap();
                assert_eq!((counts(&world).0, signed()), (2, before + 2));
            });
        },
    );
}

#[test]
fn a_signature_whose_record_is_of_unknown_outcome_goes_out_after_a_restart_and_is_made_once() {
    run_with_file_limits(
        concat!(
            module_path!(),
            "::a_signature_whose_record_is_of_unknown_outcome_goes_out_after_a_restart_and_is_made_once"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise();
                let signers = world.places.signer.with_extension("sqlite-wal");
                let stores = world.places.store.with_extension("sqlite-wal");
                // The signer's own store is to have room below the limit.
                let mut made = 0;
                while length(&stores) < length(&signers) + 100_000 {
                    made += 1;
                    let mut unit = world.submit(100 + made).unwrap();
                    go_on(&mut steps);
                    unit.try_recv().unwrap().unwrap();
                }
                let first = world.submit(1).unwrap();
                assert!(steps.reserve());
                let before = signed();
                fail_commits(&world);
                assert!(steps.finish());
                limit_files(None);
                assert_eq!(refused(first), Fault::StoreUnavailable);
                assert_eq!(
                    signed(),
                    before + 1,
                    "the record failed behind the signature"
                );
                assert_ended(&world, &mut steps);
                drop(steps);

                let world = world.restart();
                let issued = world.provision(1).await.unwrap();
                assert_eq!(world.provision(1).await.unwrap(), issued);
                assert_eq!(counts(&world).0, u32::from(made) + 1);
                assert_eq!(signed(), before + 1);
            });
        },
    );
}

/// A unit is asked for, and voided before its answer is given: the batches are recorded one after the other, and answered
/// so.
#[test]
fn what_was_voided_before_its_answer_was_given_gets_no_certificate() {
    run(
        concat!(
            module_path!(),
            "::what_was_voided_before_its_answer_was_given_gets_no_certificate"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise();
                let mut asked = world.submit(1).unwrap();
                assert!(steps.reserve() && steps.record());
                asked.try_recv().unwrap_err();
                let mut voided = std::pin::pin!(world.void(1));
                while !steps.reserve() {
                    assert!(begun(voided.as_mut()).await.is_none());
                    tokio::task::yield_now().await;
                    steps.admit();
                }
                assert!(steps.record());
                assert!(begun(voided.as_mut()).await.is_none());
                assert!(steps.release());
                assert_eq!(refused(asked), Fault::Voided);
                tokio::task::yield_now().await;
                assert!(begun(voided.as_mut()).await.is_none());
                assert!(steps.release());
                let index = voided.await.unwrap();
                assert_eq!(world.corridor.entries(index, 1).unwrap().len(), 1);
                assert!(!steps.release() && !steps.finish());
            });
        },
    );
}

/// Lets a future begin; what it came to, if it did not have to wait.
async fn begun<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|context| {
        Poll::Ready(match work.as_mut().poll(context) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        })
    })
    .await
}

/// Takes steps until somebody has what it wants.
pub(crate) async fn keep_going(steps: &mut Steps) {
    loop {
        go_on(steps);
        tokio::task::yield_now().await;
    }
}

/// Bytes of a request that take as much room as this many units.
fn as_long_as(units: usize) -> Vec<u8> {
    vec![0; units * 4096 - 1]
}

#[test]
fn a_long_request_takes_the_room_of_many_units_before_it_is_read() {
    run(
        concat!(
            module_path!(),
            "::a_long_request_takes_the_room_of_many_units_before_it_is_read"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise();
                let station = id("st-1");
                let ask = |bytes| world.corridor.provision(&station, bytes, vec![0; 64]);
                // A unit waits, and takes the room of one.
                let waiting = world.provision(1);
                let mut waiting = std::pin::pin!(waiting);
                assert!(begun(waiting.as_mut()).await.is_none());
                // 1,024 is a station's share: one unit more than is left is not even looked at.
                let refusal = ask(as_long_as(1024)).await.unwrap_err();
                assert_eq!(refusal.fault, Fault::Overloaded);
                assert!(refusal.retry_after_ms.is_some());
                // What just fits is, and is found to be too long to be an envelope.
                let fits = ask(as_long_as(1023));
                let mut fits = std::pin::pin!(fits);
                assert!(begun(fits.as_mut()).await.is_none());
                assert_eq!(fault(ask(as_long_as(1)).await), Fault::Overloaded);
                tokio::select! {
                    (made, refused) = async { tokio::join!(waiting, fits) } => {
                        made.unwrap();
                        assert_eq!(refused.unwrap_err().fault, Fault::TooLarge);
                    }
                    () = keep_going(&mut steps) => {}
                }
            });
        },
    );
}
