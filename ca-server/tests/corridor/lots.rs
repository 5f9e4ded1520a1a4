//! How units and lots end: scrapped within the allowance, superseded in their serial, and closed for good.

use crate::child::run;
use crate::steps::{go_on, keep_going};
use crate::world::{Places, World, approval, fault, id, profile, request, seal, tell};
use ca_server::issuance::{ClosedLot, GrantName, LotAlarm, LotEnd, Refusal, UnitName};
use identity::document::{Document as _, Grant, LotOrder, SerialRange};
use identity::fault::Fault;
use identity::leaf::{Body, Leaf};
use identity::lot::{LotCloseRequest, LotCounts, LotSeen, LotTally, ScrapRequest};
use identity::{ChipUid, Clock as _, DeviceSerial, Id, RequestId, SubjectId};

/// Scraps a board that is bound, or a chip that never had a key.
async fn scrap(world: &World, number: u8, unit: Result<u16, [u8; 4]>) -> Result<u64, Refusal> {
    scrap_serial(world, number, unit, None).await
}

async fn scrap_serial(
    world: &World,
    number: u8,
    unit: Result<u16, [u8; 4]>,
    serial: Option<&str>,
) -> Result<u64, Refusal> {
    let (der, signature) = seal(&ScrapRequest {
        version: identity::envelope::Version1,
        station: id("st-1"),
        time: world.now(),
        id: RequestId([number; 16]),
        grant: world.grant_hash(),
        lot: id("lot-1"),
        request: unit.ok().map(request),
        uid: unit.err().map(|uid| ChipUid::new(&uid).unwrap()),
        serial: serial.map(|serial| DeviceSerial::new(serial).unwrap()),
        reason: id("LINE-0105"),
    });
    let receipt = world.corridor.scrap(&id("st-1"), der, signature).await;
    receipt.map(|receipt| receipt.index)
}

/// Closes the lot as a station does that says nothing of what it saw.
async fn close(world: &World, counts: LotCounts) -> Result<ClosedLot, Refusal> {
    close_with(world, counts, None).await
}

async fn close_with(
    world: &World,
    counts: LotCounts,
    seen: Option<LotSeen>,
) -> Result<ClosedLot, Refusal> {
    let (der, signature) = seal(&LotCloseRequest {
        version: identity::envelope::Version1,
        station: id("st-1"),
        time: world.now(),
        grant: world.grant_hash(),
        lot: id("lot-1"),
        counts,
        shares: None,
        seen,
    });
    let signed = (der, signature);
    world
        .corridor
        .close_lot(&id("st-1"), signed, Vec::new())
        .await
}

fn body(world: &World, index: u64) -> Body {
    let (leaf, _) = world.corridor.entry(index).unwrap();
    Leaf::from_bytes(&leaf).unwrap().body
}

fn subject(world: &World, index: u64) -> SubjectId {
    body(world, index).subject().unwrap()
}

/// What a station sees that looks now.
fn seen(world: &World) -> LotSeen {
    let lot = world.corridor.grants().unwrap()[0].lots.remove(0);
    LotSeen {
        closed: lot.closed.is_some(),
        ..LotSeen::open(&lot.order, lot.tally)
    }
}

fn end(world: &World) -> Option<LotEnd> {
    world.corridor.grants().unwrap()[0].lots[0].closed
}

#[test]
fn a_swapped_board_keeps_its_serial_and_names_the_one_before() {
    run(
        concat!(
            module_path!(),
            "::a_swapped_board_keeps_its_serial_and_names_the_one_before"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                let again = world.provision_for(2, 1, None).await;
                assert_eq!(fault(again), Fault::SerialSeen);
                world.void(1).await.unwrap();
                // The station may know nothing of it, or something wrong.
                let other = Some(SubjectId([9; 32]));
                let wrong = world.provision_for(2, 1, other).await;
                assert_eq!(fault(wrong), Fault::OtherSuperseded);
                let second = world.provision_for(2, 1, None).await.unwrap();
                let Body::Bind(bind) = body(&world, second.index) else {
                    panic!("a bind")
                };
                assert_eq!(bind.supersedes, Some(subject(&world, first.index)));
                scrap(&world, 1, Ok(2)).await.unwrap();
                // One that knows says so, and its word is in the leaf.
                let known = subject(&world, second.index);
                let third = world.provision_for(3, 1, Some(known)).await.unwrap();
                let Body::Bind(bind) = body(&world, third.index) else {
                    panic!("a bind")
                };
                assert_eq!(bind.supersedes, Some(known));
                // Nobody is the first board of a fresh serial's second.
                let none = world.provision_for(4, 4, Some(known)).await;
                assert_eq!(fault(none), Fault::OtherSuperseded);
            });
        },
    );
}

#[test]
fn the_scrap_allowance_holds_for_boards_and_for_chips_without_a_key() {
    run(
        concat!(
            module_path!(),
            "::the_scrap_allowance_holds_for_boards_and_for_chips_without_a_key"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let issued = world.provision(1).await.unwrap();
                let leaf = scrap(&world, 1, Ok(1)).await.unwrap();
                // The same scrapping, and the same unit under another id, are the same leaf.
                assert_eq!(scrap(&world, 1, Ok(1)).await, Ok(leaf));
                assert_eq!(scrap(&world, 2, Ok(1)).await, Ok(leaf));
                let shown = world
                    .corridor
                    .receipts(None, UnitName::Index(issued.index))
                    .await
                    .unwrap();
                assert_eq!((shown.issued, shown.voided.unwrap().index), (None, leaf));
                // It is as good as void: nobody voids it again.
                assert_eq!(world.void(1).await, Ok(leaf));
                // A confirmed unit ships: it is not scrapped.
                let good = world.provision(3).await.unwrap();
                world.confirm(3, &good).await.unwrap();
                assert_eq!(
                    fault(scrap(&world, 30, Ok(3)).await),
                    Fault::ConfirmMismatch
                );
                let chip = |last| Err([0xc0, 0, 1, last]);
                for last in 1..=4 {
                    scrap(&world, 10 + last, chip(last)).await.unwrap();
                }
                assert_eq!(fault(scrap(&world, 20, chip(1)).await), Fault::ChipScrapped);
                assert_eq!(fault(scrap(&world, 21, chip(5)).await), Fault::ScrapUsedUp);
                // A chip that was scrapped without a key never gets one.
                let used = world.provision(0x0101).await;
                assert_eq!(fault(used), Fault::ChipScrapped);
                let views = world.corridor.grants().unwrap();
                assert_eq!((views[0].scrapped, views[0].issued), (5, 2));
            });
        },
    );
}

#[test]
fn a_serial_of_another_lot_is_not_scrapped_in_this_one() {
    run(
        concat!(
            module_path!(),
            "::a_serial_of_another_lot_is_not_scrapped_in_this_one"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let chip = Err([0xc0, 0, 2, 1]);
                let asked = scrap_serial(&world, 1, chip, Some("SN001000")).await;
                assert_eq!(fault(asked), Fault::SerialOutsideLot);
                scrap_serial(&world, 2, chip, Some("SN000999"))
                    .await
                    .unwrap();
            });
        },
    );
}

fn counted(pass: u32) -> LotCounts {
    LotCounts {
        planned: 1000,
        pass,
        unused: 1000 - pass,
        ..LotCounts::default()
    }
}

#[test]
fn a_reconciled_lot_closes_once_and_takes_no_more_units() {
    run(
        concat!(
            module_path!(),
            "::a_reconciled_lot_closes_once_and_takes_no_more_units"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                world.confirm(1, &first).await.unwrap();
                let held = world.provision(2).await.unwrap();
                let counts = LotCounts {
                    hold: 1,
                    unused: 998,
                    open: 1,
                    ..counted(1)
                };
                let closed = close(&world, counts).await.unwrap();
                assert_eq!(closed.differences, []);
                let tally = LotTally {
                    bound: 2,
                    confirmed: 1,
                    ..LotTally::default()
                };
                assert_eq!((closed.close.tally, closed.close.reason), (tally, None));
                // Again is the same leaf; other counts are refused.
                let again = close(&world, counts).await.unwrap();
                assert_eq!(again.receipt.index, closed.receipt.index);
                assert_eq!(fault(close(&world, counted(1)).await), Fault::LotClosed);
                assert_eq!(fault(world.provision(3).await), Fault::LotClosed);
                let world = world.restart();
                assert_eq!(fault(world.provision(3).await), Fault::LotClosed);
                assert_eq!(
                    fault(scrap(&world, 1, Err([0xc0, 0, 2, 1])).await),
                    Fault::LotClosed
                );
                // A retry gets what it got, and what was put aside may still be decided.
                assert_eq!(world.provision(2).await.unwrap().index, held.index);
                world.confirm(2, &held).await.unwrap();
                let entry = closed.receipt.index;
                let differs = false;
                assert_eq!(end(&world), Some(LotEnd { entry, differs }));
                assert_eq!(world.corridor.lot_alarms(), Ok(Vec::new()));
            });
        },
    );
}

/// The station says that it made two; the CA knows of thirty more.
#[test]
fn thirty_ghosts_are_an_alarm_and_no_obstacle() {
    run(
        concat!(
            module_path!(),
            "::thirty_ghosts_are_an_alarm_and_no_obstacle"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                for device in 0..32 {
                    let issued = world.provision(device).await.unwrap();
                    world.confirm(device, &issued).await.unwrap();
                }
                let closed = close(&world, counted(2)).await.unwrap();
                let named: Vec<_> = closed.differences.iter().map(ToString::to_string).collect();
                assert_eq!(named, ["pass: 2 stated, 32 in the log"]);
                assert_eq!(closed.close.reason, Some(id("CA-0214")));
                let world = world.restart();
                let (entry, differs) = (closed.receipt.index, true);
                assert_eq!(end(&world), Some(LotEnd { entry, differs }));
                let alarm = LotAlarm {
                    grant: id("grant-1"),
                    lot: id("lot-1"),
                    entry,
                    differences: closed.differences,
                };
                assert_eq!(world.corridor.lot_alarms(), Ok(vec![alarm]));
            });
        },
    );
}

/// A unit is bound and another confirmed between the look and the end: the lot stays open, the refusal is on record, and who
/// looks again closes it. What it closed with is nobody's question afterwards: a retry gets the same leaf.
#[test]
fn a_lot_that_moved_since_its_station_looked_stays_open() {
    run(
        concat!(
            module_path!(),
            "::a_lot_that_moved_since_its_station_looked_stays_open"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                // With every number that the log holds one moves on, whatever the station counted.
                let mut looks = vec![seen(&world)];
                world.confirm(1, &first).await.unwrap();
                looks.push(seen(&world));
                world.provision(2).await.unwrap();
                looks.push(seen(&world));
                world.void(2).await.unwrap();
                looks.push(seen(&world));
                scrap(&world, 2, Ok(2)).await.unwrap();
                looks.push(seen(&world));
                scrap(&world, 3, Err([0xc0, 0, 3, 1])).await.unwrap();
                let counts = LotCounts {
                    boards_scrapped: 2,
                    ..counted(1)
                };
                for look in looks {
                    let before = world.corridor.status().unwrap().log_size;
                    let refused = close_with(&world, counts, Some(look)).await;
                    assert_eq!(fault(refused), Fault::LotMoved, "{look:?}");
                    assert_eq!(end(&world), None);
                    assert_eq!(world.corridor.status().unwrap().log_size, before + 1);
                    let Body::Refuse(refusal) = body(&world, before) else {
                        panic!("the refusal is on record")
                    };
                    assert_eq!(refusal.reason, id("CA-0216"));
                    assert!(refusal.request.is_some());
                }
                let look = seen(&world);
                let closed = close_with(&world, counts, Some(look)).await.unwrap();
                let found = (closed.close.tally, closed.differences.len());
                assert_eq!(found, (look.tally, 0));
                for seen in [Some(look), Some(seen(&world)), None] {
                    let again = close_with(&world, counts, seen).await.unwrap();
                    assert_eq!(again.receipt.index, closed.receipt.index);
                    assert_eq!(again.close, closed.close);
                }
            });
        },
    );
}

/// Nobody on the way to a station hides what differs from it: not by an order that fits its lot file, and not by saying
/// that there is nothing left to close.
#[test]
fn a_lot_whose_station_was_shown_another_stays_open() {
    run(
        concat!(
            module_path!(),
            "::a_lot_whose_station_was_shown_another_stays_open"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let truth = seen(&world);
                let serials = |first, last| SerialRange { first, last };
                let SerialRange { first, last } = truth.serials;
                for shown in [
                    LotSeen {
                        closed: true,
                        ..truth
                    },
                    LotSeen {
                        quantity: truth.quantity - 1,
                        ..truth
                    },
                    LotSeen {
                        serials: serials(first, first),
                        ..truth
                    },
                    LotSeen {
                        serials: serials(last, last),
                        ..truth
                    },
                ] {
                    let refused = close_with(&world, counted(0), Some(shown)).await;
                    assert_eq!(fault(refused), Fault::LotMoved, "{shown:?}");
                    assert_eq!(end(&world), None);
                }
                let closed = close_with(&world, counted(0), Some(truth)).await;
                assert!(closed.is_ok(), "{closed:?}");
            });
        },
    );
}

/// What counts is what the transaction finds, not what door 1 could have seen: the unit is in the queue before the lot's
/// end, and in no store yet.
#[test]
fn a_unit_that_is_queued_before_the_end_of_its_lot_is_seen_by_it() {
    run(
        concat!(
            module_path!(),
            "::a_unit_that_is_queued_before_the_end_of_its_lot_is_seen_by_it"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (world, mut steps) = world.stepwise();
                let look = seen(&world);
                let mut unit = world.submit(1).unwrap();
                assert_eq!(seen(&world), look, "nothing is bound yet");
                tokio::select! {
                    refused = close_with(&world, counted(0), Some(look)) => {
                        assert_eq!(fault(refused), Fault::LotMoved);
                    }
                    () = keep_going(&mut steps) => {}
                }
                go_on(&mut steps);
                unit.try_recv().unwrap().unwrap();
                assert_eq!((end(&world), seen(&world).tally.bound), (None, 1));
            });
        },
    );
}

#[test]
fn a_station_sees_its_own_grants_and_lots_as_often_as_it_may_ask() {
    run(
        concat!(
            module_path!(),
            "::a_station_sees_its_own_grants_and_lots_as_often_as_it_may_ask"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                world.provision(1).await.unwrap();
                close(&world, counted(0)).await.unwrap();
                let (corridor, lot) = (&world.corridor, id("lot-1"));
                let view = corridor.grants().unwrap().remove(0);
                let (own, stranger) = (id("st-1"), id("st-2"));
                let hash = world.grant_hash();
                for grant in [None, Some(hash)] {
                    let seen = corridor.own_lot(own, grant, lot).await;
                    assert_eq!(seen.as_ref(), Ok(&view.lots[0]));
                    let others = corridor.own_lot(stranger, grant, lot).await;
                    assert_eq!(fault(others), Fault::LotUnknown);
                    let none = corridor.own_lot(own, grant, id("lot-2")).await;
                    assert_eq!(fault(none), Fault::LotUnknown);
                }
                for name in [GrantName::Hash(hash), GrantName::Id(view.grant.id)] {
                    assert_eq!(corridor.own_grant(own, name).await.as_ref(), Ok(&view));
                    let others = corridor.own_grant(stranger, name).await;
                    assert_eq!(fault(others), Fault::GrantUnknown);
                }
                corridor.set_pace(1, 2);
                let name = GrantName::Hash(hash);
                corridor.own_grant(own, name).await.unwrap();
                corridor.own_lot(own, None, lot).await.unwrap();
                let fast = corridor.own_grant(own, name).await;
                assert_eq!(fault(fast), Fault::Overloaded);
                let fast = corridor.own_lot(own, None, lot).await;
                assert_eq!(fault(fast), Fault::Overloaded);
                // Another's haste is not its own.
                let others = corridor.own_lot(stranger, None, lot).await;
                assert_eq!(fault(others), Fault::LotUnknown);
                world.clock.set(world.clock.now().0 + 1_000);
                corridor.own_lot(own, None, lot).await.unwrap();
            });
        },
    );
}

/// A lot of ten under a grant, with these serials.
fn lot_of(grant: &Grant, name: &str, (first, last): (&str, &str)) -> LotOrder {
    LotOrder {
        version: identity::document::Version1,
        id: id(name),
        grant: grant.hash(),
        work_order: id("wo-2"),
        quantity: 10,
        first_serial: DeviceSerial::new(first).unwrap(),
        last_serial: DeviceSerial::new(last).unwrap(),
    }
}

/// Another grant, for this maker.
async fn granted(world: &World, name: &str, maker: Id) -> Grant {
    let mut profile = profile();
    profile.maker = maker;
    let grant = Grant {
        id: id(name),
        maker,
        profile: profile.hash(),
        ..world.grant.clone()
    };
    let approvals = ["anna", "bert"].map(|name| approval(&grant, name));
    let entered = world
        .corridor
        .enter_grant(grant.clone(), profile, approvals.to_vec());
    entered.await.unwrap();
    grant
}

#[test]
fn no_two_lots_of_a_maker_share_a_serial() {
    run(
        concat!(module_path!(), "::no_two_lots_of_a_maker_share_a_serial"),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let own = world.grant.clone();
                let second = granted(&world, "grant-2", own.maker).await;
                let others = granted(&world, "grant-3", id("maker-2")).await;
                let size = world.corridor.status().unwrap().log_size;
                let shared = [
                    ("SN000999", "SN001998"),
                    ("SN000500", "SN000509"),
                    ("SN000000", "SN009999"),
                ];
                // Also not one of its name under another grant: it goes on there with its own serials, or not at all.
                let cases = [(&own, "lot-2"), (&second, "lot-2"), (&second, "lot-1")];
                for ((grant, name), serials) in cases
                    .into_iter()
                    .flat_map(|case| shared.map(|serials| (case, serials)))
                {
                    let lot = lot_of(grant, name, serials);
                    let refusal = world.corridor.open_lot(lot).await.unwrap_err();
                    assert_eq!(refusal.fault, Fault::DocumentConflict);
                    let named = "lot-1 under grant-1, SN000000 to SN000999";
                    assert!(refusal.detail.contains(named), "{refusal}");
                }
                // Those that were opened stay as they are, and say so.
                let again = world.corridor.open_lot(world.lot("lot-1")).await;
                let again = again.unwrap_err().detail;
                assert_eq!(again, "this document was entered before");
                assert_eq!(world.corridor.status().unwrap().log_size, size);

                // Of two at once one is in force; a closed lot has had its serials, also for the next start.
                let (one, other) = tokio::join!(
                    world
                        .corridor
                        .open_lot(lot_of(&own, "lot-2", ("SN001000", "SN001019"))),
                    world
                        .corridor
                        .open_lot(lot_of(&second, "lot-3", ("SN001010", "SN001029")))
                );
                let refused: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
                assert_eq!(refused.len(), 1);
                assert_eq!(refused[0].fault, Fault::DocumentConflict);
                close(&world, counted(0)).await.unwrap();
                let world = world.restart();
                let lot = || lot_of(&second, "lot-4", shared[1]);
                let closed = world.corridor.open_lot(lot()).await;
                assert_eq!(fault(closed), Fault::DocumentConflict);

                // The next serial is free, one of another length is another, and so is another maker's. A lot goes on
                // under the grant that follows.
                for (grant, name, serials) in [
                    (&own, "lot-5", ("SN001030", "SN001039")),
                    (&own, "lot-6", ("SN0000500", "SN0000509")),
                    (&others, "lot-7", shared[1]),
                    (&second, "lot-1", ("SN000000", "SN000999")),
                ] {
                    let lot = lot_of(grant, name, serials);
                    world.corridor.open_lot(lot).await.unwrap();
                }
            });
        },
    );
}
