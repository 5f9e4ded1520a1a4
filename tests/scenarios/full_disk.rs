//! The disk under the server is full from some write on. Nothing is signed past it, refusals say so, what is there can
//! be read, and once there is room and the server is started again the unit is finished: one certificate.

use acceptance::factory::{Factory, copy_all};
use acceptance::faults::{Deed, ENOSPC, Kind, Plan};
use acceptance::ground::{Ground, answered};
use acceptance::hsm::Hsm;
use acceptance::process::succeed;
use acceptance::soft::SoftChip;
use std::collections::BTreeSet;
use std::process::Command;

/// What the CA writes: store, log, head file, signer.
const CA_FILES: &str = "ca/";
/// Calls for which a full disk has no room.
const FILLING: [Kind; 2] = [Kind::Write, Kind::Truncate];
/// Of the files that are written on the way to a certificate, and whether the CA key was used by then.
const MOMENTS: [(&str, bool); 6] = [
    ("ca.sqlite-wal", false),
    ("ca/head/head", false),
    ("log/tile/", false),
    ("log/checkpoint", false),
    ("signer.sqlite-wal", false),
    ("ca.sqlite-wal", true),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_disk_stops_issuing_before_anything_is_signed() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let calls = ground.watch_one_unit().await.unwrap().calls;
    let writes: Vec<_> = calls
        .iter()
        .filter(|call| call.name.contains("write") || call.name == "ftruncate")
        .collect();
    let mut from = 0;
    for (number, (file, used)) in MOMENTS.into_iter().enumerate() {
        // Each moment is the first write to its file after the moment before.
        let other = writes[from..]
            .iter()
            .position(|call| !call.path.contains(MOMENTS[number.saturating_sub(1)].0));
        let start = if number == 0 {
            0
        } else {
            from + other.unwrap()
        };
        from = start
            + writes[start..]
                .iter()
                .position(|call| call.path.contains(file))
                .unwrap();
        full_from(&ground, from as u64 + 1, used).await;
    }
}

async fn full_from(ground: &Ground, first: u64, used: bool) {
    let home = ground.home(&format!("full-{first}"));
    let mut factory = ground.governed_copy(&home).unwrap();
    let station = ground.station.reconnected(&factory).unwrap();
    let (mut ledger, chip) = (
        ground.ledger.clone(),
        SoftChip::make(&factory.vendor, 2).unwrap(),
    );
    let signed = ground.prepare(&station, &chip, 1).await.unwrap();
    let before = signatures(&ground.factory);
    let plan = Plan {
        kinds: FILLING.to_vec(),
        path: CA_FILES.to_owned(),
        first,
        count: u64::MAX,
        deed: Deed::Fail(ENOSPC),
    };
    factory.faults().unwrap().arm(&plan).unwrap();
    for _again in 0..2 {
        let refused = answered(|| station.certify(&signed)).await.unwrap_err();
        assert_eq!(
            refused.code.as_deref(),
            Some("CA-0903"),
            "full from write {first}: {refused}"
        );
        assert!(
            refused.retry_after_ms.is_some(),
            "no hint when to come again"
        );
    }
    assert!(factory.faults().unwrap().fired().unwrap() > 0);
    // Reads go on: the unit made before, the newest checkpoint, what operators ask, and the log's files.
    station
        .look_up(ground.made.as_ref().unwrap())
        .await
        .unwrap();
    ledger
        .checkpoint(&station.checkpoint().await.unwrap())
        .unwrap();
    factory.status().unwrap();
    let told = audit(&factory, ground);
    assert_eq!(told["findings"].as_array().unwrap().len(), 0, "{told}");
    factory.stop_server().unwrap();
    let signed_meanwhile = signatures(&factory) - before;
    assert_eq!(
        signed_meanwhile,
        usize::from(used),
        "full from write {first}"
    );
    let attempts = attempts(&factory)
        .difference(&attempts(&ground.factory))
        .count();
    assert_eq!(attempts, usize::from(used), "full from write {first}");

    factory.faults().unwrap().disarm().unwrap();
    factory.start_server().unwrap();
    let given = answered(|| station.certify(&signed)).await.unwrap();
    ledger.certificate(&signed, &given).unwrap();
    let confirmation = station.sealed_confirmation(&signed, &chip, &given).unwrap();
    let receipt = station.hand_in(&confirmation).await.unwrap();
    ledger.receipt(&signed, &receipt).unwrap();
    factory.kill_server().unwrap();
    ledger
        .hold_against(&factory.log_dir(), &ground.trust())
        .unwrap();
}

fn audit(factory: &Factory, ground: &Ground) -> serde_json::Value {
    let mut audit = Command::new(acceptance::process::program("koseki-verify").unwrap());
    audit.arg("log").arg(factory.log_dir()).arg("--json");
    let told = succeed(audit.arg("--trust").arg(ground.trust())).unwrap();
    serde_json::from_str(&told).unwrap()
}

/// Signatures in the signer's store, counted by a program that is not ours. The server must not be running.
fn signatures(factory: &Factory) -> usize {
    rows(
        factory,
        "SELECT entry FROM attempt WHERE signature IS NOT NULL",
    )
    .len()
}

/// Leaves for which the CA key may have been used.
fn attempts(factory: &Factory) -> BTreeSet<String> {
    rows(factory, "SELECT entry FROM attempt")
}

fn rows(factory: &Factory, query: &str) -> BTreeSet<String> {
    let copy = tempfile::tempdir().unwrap();
    copy_all(&factory.path("ca/signer"), copy.path()).unwrap();
    let program = "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(*row)";
    let mut python = Command::new("python3");
    python
        .args(["-c", program])
        .arg(copy.path().join("signer.sqlite"))
        .arg(query);
    succeed(&mut python)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}
