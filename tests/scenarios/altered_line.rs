//! Somebody on the lines between station and chips alters frames: as noise does, or so that the checksum holds. No
//! unit passes with wrong data, and the register knows no key that is not in a chip.

use crate::support::Shop;
use acceptance::chips::Programmer;
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, Line, SENSORS};
use acceptance::process::{program, succeed};
use acceptance::register::Register;
use acceptance::station::{Ended, files};
use acceptance::tap::{Tap, mend};
use identity::leaf::Body;
use identity::{P256Key, SpkiHash};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// Sockets, each with one chip and its own alterations.
const SOCKETS: u32 = 24;

/// Every eighth frame of a line is hit, on each line others and at other bytes.
#[test]
fn noise_on_the_line_is_asked_again() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let (ended, taps, _programmer) = make(&mut shop, CAMERAS, |line| {
        let mut seen = BTreeSet::new();
        Box::new(move |number, frame| {
            // A repeated frame is let through: what is asked for again may arrive.
            let is_hit = number % 8 == line % 8 && seen.insert(frame.clone());
            if is_hit {
                let at = (number * 31 + line * 7) % frame.len();
                frame[at] ^= 1 << (line % 8);
            }
            is_hit
        })
    });
    let fired: usize = taps.iter().map(Tap::fired).sum();
    assert!(fired >= 40, "only {fired} frames were altered");
    assert_eq!(ended.code, Some(0), "{fired} altered: {}", ended.said);
    assert_eq!(assert_true(&shop), usize::try_from(SOCKETS).unwrap());
}

#[test]
fn a_forger_on_the_line_of_keys_made_on_the_chip_gets_nothing() {
    forge(CAMERAS);
}

#[test]
fn a_forger_on_the_line_of_injected_keys_gets_nothing() {
    forge(SENSORS);
}

/// One frame of each line is altered under a good checksum, over the lines at every place of the dialogue.
fn forge(kind: Line) {
    let mut shop = Shop::open(Hsm::of_this_run(), &[kind]);
    let (ended, taps, _programmer) = make(&mut shop, kind, |line| {
        Box::new(move |number, frame| {
            // Behind the header, where there is a payload; else the session that it is about.
            let (start, end) = (12, frame.len() - 4);
            let is_hit = number == line;
            if is_hit {
                let at = match end > start {
                    true => start + (line * 13) % (end - start),
                    false => 4 + line % 4,
                };
                frame[at] ^= 1 << (line % 8);
                mend(frame);
            }
            is_hit
        })
    });
    let fired: usize = taps.iter().map(Tap::fired).sum();
    assert!(fired >= 16, "only {fired} frames were altered");
    assert_ne!(
        ended.code,
        Some(0),
        "{fired} altered, and nobody noticed: {}",
        ended.said
    );
    let passed = assert_true(&shop);
    assert!(passed < taps.len(), "every forgery passed");
    // The lines as they should be: what was held goes on, what was put aside stays there.
    drop(taps);
}

/// Makes one unit on each line, with these alterations.
fn make(
    shop: &mut Shop,
    kind: Line,
    alter: impl Fn(usize) -> acceptance::tap::Alter,
) -> (Ended, Vec<Tap>, Programmer) {
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, kind.part, 1, SOCKETS)
        .unwrap();
    let programmer = tray.present(usize::try_from(SOCKETS).unwrap()).unwrap();
    let lines = programmer.sockets.iter().enumerate();
    let taps: Vec<Tap> = lines
        .map(|(line, socket)| Tap::on(socket, alter(line)).unwrap())
        .collect();
    let sockets: Vec<String> = taps.iter().map(|tap| tap.address.to_string()).collect();
    let lot = shop.lot(kind, 1, SOCKETS);
    let ended = shop.station.run(&lot, &sockets).unwrap();
    (ended, taps, programmer)
}

/// Every device verifies, and every key in the register is burnt in one chip. Gives the number of devices.
fn assert_true(shop: &Shop) -> usize {
    let devices = shop.station.devices().unwrap();
    for device in &devices {
        let mut verify = Command::new(program("koseki-verify").unwrap());
        verify.arg(device).arg("--trust").arg(shop.station.trust());
        verify
            .arg("--proof")
            .arg(device.with_extension("tlog-proof"));
        succeed(verify.args(["--require", "confirmed"])).unwrap();
    }
    let burnt = keys_in_chips(shop);
    let bound: BTreeSet<SpkiHash> = bound(shop).into_iter().collect();
    assert!(bound.len() >= devices.len());
    assert!(bound.is_subset(&burnt), "a certified key is in no chip");
    let passes = shop.station.records().unwrap();
    let passes = passes.iter().filter(|record| record["outcome"] == "PASS");
    assert_eq!(passes.count(), devices.len());
    devices.len()
}

fn bound(shop: &Shop) -> Vec<SpkiHash> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let leaves =
        runtime.block_on(async { Register::from_start(&shop.factory).news().await.unwrap() });
    let spki = |body| match body {
        Body::Bind(bind) => Some(bind.certificate.spki),
        _ => None,
    };
    leaves
        .into_iter()
        .filter_map(|leaf| spki(leaf.body))
        .collect()
}

/// Public halves of what lies in the chips' key slots (hsm-sim, a chip's memory).
fn keys_in_chips(shop: &Shop) -> BTreeSet<SpkiHash> {
    let chips = files(&shop.factory.path("tray-1"), "chip").unwrap();
    let key = |path: &std::path::PathBuf| {
        let memory = fs::read(path).unwrap();
        let secret = p256::SecretKey::from_slice(&memory[512..544]).ok()?;
        let point = secret.public_key().to_sec1_point(false);
        Some(P256Key::from_sec1(point.as_bytes()).unwrap().spki_hash())
    };
    chips.iter().filter_map(key).collect()
}
