use crate::child::run;
use crate::world::{Places, World, approval, fault, id, station, tell};
use ca_server::issuance::Session;
use identity::document::{Bytes32, LotOrder, StationStatement};
use identity::fault::Fault;
use identity::hash::DocumentHash;
use identity::{ChipUid, Clock as _};

const APPROVED: Bytes32 = Bytes32([0x11; 32]);
const OTHER: Bytes32 = Bytes32([0x22; 32]);

/// Has a statement approved that names one program.
async fn approve_one(world: &World) {
    let statement = StationStatement {
        agents: Some(vec![APPROVED]),
        ..station()
    };
    let approvals = ["anna", "bert"].map(|name| approval(&statement, name));
    let entered = world.corridor.enter_station(statement, approvals.to_vec());
    entered.await.unwrap();
}

fn running(agent: Bytes32) -> Session {
    Session {
        agent: Some(agent),
        ..Session::default()
    }
}

#[test]
fn only_an_agent_that_the_statement_names_begins_and_binds() {
    run(
        concat!(
            module_path!(),
            "::only_an_agent_that_the_statement_names_begins_and_binds"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let issued = world.provision(1).await.unwrap();
                approve_one(&world).await;
                let (known, uid) = (id("st-1"), [ChipUid::new(&[0xc0, 0, 0, 9]).unwrap()]);
                for session in [running(OTHER), Session::default()] {
                    let asked = world.corridor.challenges(&known, &session, &uid);
                    assert_eq!(fault(asked.await), Fault::AgentNotApproved);
                    let last = world.corridor.refusals(u64::MAX, 1).unwrap().remove(0);
                    assert_eq!((last.reason.as_str(), last.count), ("CA-0111", 1));
                }
                let approved = running(APPROVED);
                let asked = world.corridor.challenges(&known, &approved, &uid);
                asked.await.unwrap();
                // A challenge is of no use to a program that signs its envelope under its own name.
                let made = world.provision_by(2, &approved, &OTHER).await;
                assert_eq!(fault(made), Fault::AgentNotApproved);
                world.provision_by(2, &approved, &APPROVED).await.unwrap();
                // What was bound before is finished by whichever program holds it.
                world.confirm(1, &issued).await.unwrap();
            });
        },
    );
}

#[test]
fn an_adoption_is_asked_for_its_agent_and_what_is_given_out_again_is_not() {
    run(
        concat!(
            module_path!(),
            "::an_adoption_is_asked_for_its_agent_and_what_is_given_out_again_is_not"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let issued = world.provision(1).await.unwrap();
                approve_one(&world).await;
                let approved = running(APPROVED);
                let adopted = world.adopt_by(1, &approved, &OTHER).await;
                assert_eq!(fault(adopted), Fault::AgentNotApproved);
                let last = world.corridor.refusals(u64::MAX, 1).unwrap().remove(0);
                assert_eq!((last.reason.as_str(), last.count), ("CA-0111", 1));
                // Under its own request it is still whose it was, whatever program asks.
                let again = world.provision_by(1, &approved, &OTHER).await.unwrap();
                assert_eq!(again.certificate, issued.certificate);
                let adopted = world.adopt_by(1, &approved, &APPROVED).await.unwrap();
                assert_eq!(adopted.certificate, issued.certificate);
                let late = world.provision_by(1, &approved, &APPROVED).await;
                assert_eq!(fault(late), Fault::NotHolder);
            });
        },
    );
}

#[test]
fn a_session_under_a_grant_of_others_gets_no_challenge() {
    run(
        concat!(
            module_path!(),
            "::a_session_under_a_grant_of_others_gets_no_challenge"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let (known, uid) = (id("st-1"), [ChipUid::new(&[0xc0, 0, 0, 9]).unwrap()]);
                let under = |grant| Session {
                    grant: Some(grant),
                    ..Session::default()
                };
                let (own, others) = (under(world.grant_hash()), under(DocumentHash([9; 32])));
                let asked = |session| world.corridor.challenges(&known, session, &uid);
                asked(&own).await.unwrap();
                assert_eq!(fault(asked(&others).await), Fault::GrantUnknown);
                let last = world.corridor.refusals(u64::MAX, 1).unwrap().remove(0);
                assert_eq!(last.reason.as_str(), "CA-0201");
                // After its end what is bound must be finished, and a new proof needs a challenge.
                world.clock.set(world.grant.not_after.0 + 1);
                world.corridor.confirm_clock(world.clock.now()).unwrap();
                asked(&own).await.unwrap();
            });
        },
    );
}

#[test]
fn a_chip_without_key_gets_no_challenge_where_there_is_no_room_for_it() {
    run(
        concat!(
            module_path!(),
            "::a_chip_without_key_gets_no_challenge_where_there_is_no_room_for_it"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let small = LotOrder {
                    quantity: 3,
                    ..world.lot("lot-2")
                };
                world.corridor.open_lot(small).await.unwrap();
                let uids = |count: u8| -> Vec<_> {
                    let uid = |n| ChipUid::new(&[0xc0, 0, 1, n]).unwrap();
                    (0..count).map(uid).collect()
                };
                let (grant, known) = (world.grant_hash(), id("st-1"));
                let asked = |lot: &str, count: u8| {
                    let session = Session {
                        grant: Some(grant),
                        lot: Some(id(lot)),
                        ..Session::default()
                    };
                    let (known, uids) = (&known, uids(count));
                    let corridor = &world.corridor;
                    async move { corridor.challenges(known, &session, &uids).await }
                };
                asked("lot-2", 3).await.unwrap();
                assert_eq!(fault(asked("lot-2", 4).await), Fault::LotFull);
                assert_eq!(fault(asked("lot-9", 1).await), Fault::LotUnknown);
                let last = world.corridor.refusals(u64::MAX, 2).unwrap();
                let reasons: Vec<_> = last.iter().map(|it| it.reason.as_str()).collect();
                assert_eq!(reasons, ["CA-0205", "CA-0206"]);
                // A chip that has its key is finished, whatever is left.
                let bare = Session {
                    grant: Some(grant),
                    ..Session::default()
                };
                let reason = id("LINE-0220");
                world
                    .corridor
                    .close_grant(&world.grant.id, reason)
                    .await
                    .unwrap();
                assert_eq!(fault(asked("lot-1", 1).await), Fault::GrantClosed);
                let one = uids(1);
                let again = world.corridor.challenges(&known, &bare, &one);
                again.await.unwrap();
                // Past its days.
                world.clock.set(world.grant.not_after.0 + 1);
                world.corridor.confirm_clock(world.clock.now()).unwrap();
                assert_eq!(fault(asked("lot-1", 1).await), Fault::GrantExpired);
            });
        },
    );
}
