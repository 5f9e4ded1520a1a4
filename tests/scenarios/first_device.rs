//! The walk-through of docs/first-device.md, block by block as it stands there.

use acceptance::hsm::{Hsm, Module};
use acceptance::metadata::root;
use acceptance::policies::Policies;
use acceptance::process::{programs, said};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

/// Nothing of it outlives a step that failed.
const FRAME: &str = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n";

#[test]
fn the_walk_through_leads_to_a_confirmed_device() {
    let home = tempfile::tempdir().unwrap();
    // A checkout with what the text needs of one; its policies are valid today.
    let checkout = home.path().join("checkout");
    fs::create_dir_all(checkout.join("target")).unwrap();
    symlink(programs().unwrap(), checkout.join("target/release")).unwrap();
    Policies::copy(&checkout.join("policies"), jiff::Timestamp::now()).unwrap();
    let work = home.path().join("work");
    fs::create_dir(&work).unwrap();
    let module = Module::prepare(Hsm::of_this_run(), &home.path().join("hsm")).unwrap();
    let script = blocks()
        .replace("127.0.0.1:8443", &free_address())
        .replace("127.0.0.1:7401", &free_address())
        .replace(
            "$KOSEKI/target/release/libhsm_sim.so",
            &module.path().to_string_lossy(),
        );
    let mut bash = Command::new("bash");
    module.tell(bash.arg("-c").arg(format!("{FRAME}{script}")));
    let output = bash
        .current_dir(&work)
        .env("KOSEKI", &checkout)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (told, complained) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{told}\n{complained}");
    for claim in [
        "\"verdict\":\"PASS\",\"lot\":\"26W48-A\",\"serial\":\"26480001000\"",
        "LINE-0211",
        "planned 1000 = pass 1 + hold 0 + fail 0 + scrapped 0 + unused 999",
        "accepted confirmed",
        "clean log.mihon-denki.example/ota-2",
        "entries   bind 1, ceremony 1, confirm 1, grant 1, lot-close 1, lot-open 1, station 1",
        "1 of 50000 issued",
    ] {
        assert!(told.contains(claim), "{claim}: {told}\n{complained}");
    }
}

/// All blocks of shell in the text.
fn blocks() -> String {
    let text = fs::read_to_string(root().join("docs/first-device.md")).unwrap();
    let blocks: Vec<_> = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .collect();
    assert!(blocks.len() > 5, "only {} blocks", blocks.len());
    blocks.concat()
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
