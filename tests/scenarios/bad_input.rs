//! What is wrong is refused under its own code, and changes nothing else.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, SENSORS, STATION};
use acceptance::process::{program, said, succeed};
use std::process::Command;

#[test]
fn a_corrupt_lot_file_is_refused_by_line_and_column() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let tray = {
        let mut tray = shop.tray();
        tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
        tray.present(1).unwrap()
    };
    for (text, place) in [
        (
            "lot,serial,label\n26W48-A,26480001000\n",
            "line 2, column 3",
        ),
        (
            "lot,serial,label\r\n26W48-A,シリアル,x\r\n",
            "line 2, column 2 (serial)",
        ),
        (
            "lot,serial,label\n26W48-A,26480001000,x\n26W48-A,26480001000,y\n",
            "line 3, column 2 (serial)",
        ),
        ("lot,serial,colour\n", "line 1, column 3"),
    ] {
        let lot = shop
            .station
            .lot_file("corrupt.csv", text.as_bytes())
            .unwrap();
        let ended = shop.station.run(&lot, &tray.sockets).unwrap();
        assert_eq!(ended.code, Some(65), "{}", ended.said);
        assert!(ended.said.contains(place), "{text:?}: {}", ended.said);
    }
    assert!(shop.station.records().unwrap().is_empty());
}

#[test]
fn a_unit_beyond_the_quota_gets_no_certificate() {
    let mut shop = Shop::open_with(Hsm::of_this_run(), &[SENSORS], |factory| {
        factory.policies.limit_grant(SENSORS.grant, 3).unwrap();
        factory.policies.size_lot(SENSORS.lot, 3).unwrap();
    });
    let made = shop.make(SENSORS, 1, 3);
    assert_eq!(made.code, Some(0), "{}", made.said);
    let (before, keys) = (leaves(&shop), shop.station.journalled("keyed"));
    let more = shop.make(SENSORS, 10, 1);
    assert_eq!(more.code, Some(20), "{}", more.said);
    assert!(
        more.said.contains("CA-0206") || more.said.contains("CA-0203"),
        "{}",
        more.said
    );
    assert_eq!(shop.station.devices().unwrap().len(), 3);
    let more = shop.station.journalled("keyed");
    assert_eq!(more, keys, "a chip got a key for nothing");
    let after = leaves(&shop);
    assert_eq!(after["kinds"]["bind"], before["kinds"]["bind"]);
    assert!(
        after["size"].as_u64() > before["size"].as_u64(),
        "the refusal is not in the log"
    );
    assert_eq!(
        after["size"].as_u64().unwrap() - before["size"].as_u64().unwrap(),
        after["kinds"]["refuse"].as_u64().unwrap()
    );
}

#[test]
fn a_grant_without_enough_approvals_is_not_loaded() {
    let shop = Shop::open(Hsm::of_this_run(), &[]);
    let before = shop.factory.status().unwrap();
    let approval = shop
        .factory
        .approve("grant", CAMERAS.grant, "vet-01", None)
        .unwrap();
    let policies = shop.factory.policies.dir().to_string_lossy().into_owned();
    let grant = shop.factory.policies.file("grants", CAMERAS.grant);
    let (grant, approval) = (grant.to_string_lossy(), approval.to_string_lossy());
    for approvals in [vec![&*approval], vec![&*approval, &*approval]] {
        let mut args = vec!["grant", "load", "--policies", &policies, "--grant", &grant];
        args.extend(
            approvals
                .iter()
                .flat_map(|approval| ["--approval", approval]),
        );
        let output = shop.factory.try_ca_server(&args).unwrap();
        assert!(!output.status.success(), "{}", said(&output.stdout));
    }
    assert_eq!(shop.factory.status().unwrap(), before);
}

#[test]
fn a_closed_grant_binds_nothing_more_and_the_auditor_sees_it_closed() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[SENSORS]);
    let made = shop.make(SENSORS, 1, 1);
    assert_eq!(made.code, Some(0), "{}", made.said);
    let close = [
        "grant",
        "close",
        "--grant",
        SENSORS.grant,
        "--reason",
        "recall",
    ];
    let closed = shop.factory.try_ca_server(&close).unwrap();
    assert!(closed.status.success(), "{}", said(&closed.stderr));
    let again = shop.factory.try_ca_server(&close).unwrap();
    assert!(
        said(&again.stderr).contains("CA-0215"),
        "{}",
        said(&again.stderr)
    );
    let status = shop.factory.try_ca_server(&["status"]).unwrap();
    assert!(
        said(&status.stdout).contains("issued, closed"),
        "{}",
        said(&status.stdout)
    );

    let before = leaves(&shop);
    let more = shop.make(SENSORS, 10, 1);
    assert_eq!(more.code, Some(20), "{}", more.said);
    assert!(more.said.contains("CA-0215"), "{}", more.said);
    assert_eq!(shop.station.devices().unwrap().len(), 1);
    let after = leaves(&shop);
    assert_eq!(after["kinds"]["bind"], before["kinds"]["bind"]);
    assert_eq!(after["kinds"]["policy"], 1);
    let closed = |grant: &serde_json::Value| grant["closed"].as_u64().is_some();
    assert!(
        after["grants"].as_array().unwrap().iter().any(closed),
        "{after}"
    );
}

#[test]
fn unknown_keys_in_policies_are_refused() {
    let shop = Shop::open(Hsm::of_this_run(), &[]);
    let file = shop.factory.policies.file("grants", CAMERAS.grant);
    let policies = shop.factory.policies.dir().to_string_lossy().into_owned();
    shop.factory
        .policies
        .edit(&file, "[quota]", "[quota]\nunlimited = true")
        .unwrap();
    let output = shop
        .factory
        .try_ca_server(&["check", "--policies", &policies])
        .unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", said(&output.stdout));
    assert!(
        said(&output.stderr).contains("unlimited"),
        "{}",
        said(&output.stderr)
    );
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[]);
    shop.factory.stop_server().unwrap();
    let store = pages::open(&shop.factory.path("ca/state/ca.sqlite")).unwrap();
    store.pragma_update(None, "user_version", 9_999).unwrap();
    drop(store);
    let refused = shop.factory.start_server().unwrap_err().to_string();
    assert!(refused.contains("version"), "{refused}");
}

/// The audit of the published log, which must be clean.
fn leaves(shop: &Shop) -> serde_json::Value {
    let mut audit = Command::new(program("koseki-verify").unwrap());
    shop.factory.settle().unwrap();
    audit.arg("log").arg(shop.factory.log_dir()).arg("--json");
    let told = succeed(audit.arg("--trust").arg(shop.station.trust())).unwrap();
    serde_json::from_str(&told).unwrap()
}

#[test]
fn a_second_server_on_the_same_store_is_refused() {
    let shop = Shop::open(Hsm::of_this_run(), &[]);
    let output = shop.factory.try_ca_server(&["serve"]).unwrap();
    assert!(
        !output.status.success(),
        "{STATION}: {}",
        said(&output.stdout)
    );
    shop.factory.status().unwrap();
}
