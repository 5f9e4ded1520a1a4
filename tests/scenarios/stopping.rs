//! Calls that take long: one that the server is told to stop in, and one whose time is over while the disk hangs.

use crate::services::{connection, health};
use acceptance::factory::Factory;
use acceptance::faults::{Deed, Kind, Plan};
use acceptance::ground::{Ground, answered};
use acceptance::hsm::Hsm;
use acceptance::patience::{pause, until};
use acceptance::soft::SoftChip;
use proto::factory::ProvisionRequest;
use std::fs;
use std::time::Duration;
use tonic::Code;

/// Everything that is to become durable below this path waits.
fn stall(factory: &Factory, path: &str) {
    let plan = Plan {
        kinds: vec![Kind::Sync],
        path: path.to_owned(),
        count: u64::MAX,
        ..Plan::at(1, Deed::Stall)
    };
    factory.faults().unwrap().arm(&plan).unwrap();
}

fn stalled(factory: &Factory) {
    let fired = || Ok((factory.faults()?.fired()? > 0).then_some(()));
    until("the server to wait for its disk", fired).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_way_is_answered_before_the_server_stops() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let mut factory = ground.governed_copy(&ground.home("stopping")).unwrap();
    let station = ground.station.reconnected(&factory).unwrap();
    let chip = SoftChip::make(&factory.vendor, 2).unwrap();
    let signed = ground.prepare(&station, &chip, 1).await.unwrap();
    stall(&factory, "ca/state");
    let call = tokio::spawn({
        let (station, signed) = (station.clone(), signed.clone());
        async move { station.certify(&signed).await }
    });
    stalled(&factory);
    factory.tell_server_to_stop().unwrap();
    let draining = || {
        let said = factory.server_log();
        Ok(said.contains("calls under way may end").then_some(()))
    };
    until("the server to stop", draining).unwrap();
    assert!(!call.is_finished());
    // The listener closes at the same time: from then on nobody new is let in, to ask for its health for instance.
    let late = station.reconnected(&factory).unwrap();
    let mut asked = 0;
    while health(connection(&factory, &late)).await.is_ok() {
        asked += 1;
        assert!(asked < 500, "the server still lets others in");
        pause(Duration::from_millis(10));
    }
    assert!(!call.is_finished());
    factory.faults().unwrap().disarm().unwrap();
    let given = call.await.unwrap().unwrap();
    factory.await_end().unwrap();
    assert!(factory.server_log().contains("stopped"));
    factory.start_server().unwrap();
    let again = answered(|| station.certify(&signed)).await.unwrap();
    assert_eq!(again, given);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_time_is_over_is_finished_all_the_same() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let mut factory = ground.governed_copy(&ground.home("late")).unwrap();
    factory.stop_server().unwrap();
    let settings = factory.path("ca-server.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text + "\n[limits]\ncall_seconds = 1\n").unwrap();
    factory.start_server().unwrap();
    let station = ground.station.reconnected(&factory).unwrap();
    // The signer has the leaf and cannot write down that it will sign; the ledger cannot commit a reservation.
    for (number, path) in [(2, "ca/signer"), (3, "ca/state")] {
        let chip = SoftChip::make(&factory.vendor, number).unwrap();
        let serial = u64::from(number) - 1;
        let signed = ground.prepare(&station, &chip, serial).await.unwrap();
        stall(&factory, path);
        let request = ProvisionRequest {
            envelope: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        // The caller sets no time: it is the server's own that is over.
        let late = station.client().provision(request).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{path}: {late}");
        stalled(&factory);
        factory.faults().unwrap().disarm().unwrap();
        let given = answered(|| station.certify(&signed)).await.unwrap();
        assert_eq!(station.certify(&signed).await.unwrap(), given, "{path}");
        let bound = format!(" {number} of ");
        assert!(factory.status().unwrap().contains(&bound), "{path}");
    }
}
