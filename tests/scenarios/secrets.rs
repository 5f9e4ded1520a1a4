//! Canary keys and PINs are searched for where none may be: files, logs, environments and command lines.

use crate::support::Shop;
use acceptance::canaries::Canaries;
use acceptance::factory::Factory;
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, SENSORS};
use acceptance::patience::until;
use base64ct::{Base64, Encoding as _};
use p256::SecretKey;
use p256::pkcs8::EncodePrivateKey as _;
use std::fs;

#[test]
fn no_secret_is_in_a_file_a_log_or_a_process() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[SENSORS, CAMERAS]);
    for line in [SENSORS, CAMERAS] {
        let made = shop.make(line, 1, 2);
        assert_eq!(made.code, Some(0), "{}", made.said);
    }
    let canaries = Canaries::of(&shop.factory).unwrap();
    assert!(canaries.count() > 80, "only {} canaries", canaries.count());
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, SENSORS.part, 10, 8).unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(SENSORS, 10, 8);
    let before = shop.station.journalled("keyed");
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    until("the agent's first key", || {
        Ok((shop.station.journalled("keyed") > before || agent.ended()?.is_some()).then_some(()))
    })
    .unwrap();
    assert!(agent.ended().unwrap().is_none(), "{}", agent.said());
    for process in [agent.id(), shop.factory.server_id().unwrap()] {
        canaries.search_process(process).unwrap();
    }
    agent.wait().unwrap();
    // Also while the server holds its files open, write-ahead log and all.
    let searched = canaries.search(&shop.factory.path("")).unwrap();
    assert!(searched > 60, "only {searched} files were searched");
    shop.factory.stop_server().unwrap();
    canaries.search(&shop.factory.path("")).unwrap();
}

#[test]
fn a_planted_secret_is_found_in_every_dress() {
    let mut canaries = Canaries::default();
    let scalar: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7 + 1).unwrap());
    canaries.add_key("planted", &scalar).unwrap();
    let pkcs8 = SecretKey::from_slice(&scalar)
        .unwrap()
        .to_pkcs8_der()
        .unwrap();
    let hex: String = scalar.iter().map(|byte| format!("{byte:02X}")).collect();
    let mut planted = vec![
        [b"..", &scalar[..], b".."].concat(),
        [b"..", pkcs8.as_bytes()].concat(),
        format!("key={hex}").into_bytes(),
        format!("SecretKey({scalar:?})").into_bytes(),
    ];
    planted.extend((0..3).map(|before| {
        let text = [&[0x55; 3][..before], &scalar, &[0x55; 3]].concat();
        Base64::encode_string(&text).into_bytes()
    }));
    for bytes in planted {
        assert!(canaries.found_in(&bytes).is_some(), "{bytes:02x?}");
    }
}

/// A key that nobody knows, because an HSM made it, is found by its form.
#[test]
fn a_planted_key_in_the_factorys_directory_or_in_a_process_is_found() {
    let home = tempfile::tempdir().unwrap();
    let factory = Factory::prepare(home.path(), Hsm::of_this_run()).unwrap();
    let mut canaries = Canaries::of(&factory).unwrap();
    canaries.search(home.path()).unwrap();
    let unknown = SecretKey::from_slice(&[0x5A; 32]).unwrap();
    let der = unknown.to_pkcs8_der().unwrap();
    let sec1 = [b"\x30\x77\x02\x01\x01\x04\x20", &[0x5A; 32][..]].concat();
    let planted = factory.path("ca/state/log/planted");
    fs::create_dir_all(planted.parent().unwrap()).unwrap();
    for bytes in [
        der.as_bytes().to_vec(),
        Base64::encode_string(der.as_bytes()).into_bytes(),
        sec1,
        b"-----BEGIN PRIVATE KEY-----".to_vec(),
    ] {
        fs::write(&planted, [b"log line ", &bytes[..]].concat()).unwrap();
        let found = canaries.search(home.path()).unwrap_err().to_string();
        assert!(
            found.starts_with("I7: ") && found.ends_with("planted"),
            "{found}"
        );
    }
    fs::remove_file(&planted).unwrap();
    canaries.search(home.path()).unwrap();
    canaries.search_process(std::process::id()).unwrap();
    let own = std::env::args().next().unwrap();
    canaries
        .add("a word of the command line", own.as_bytes())
        .unwrap();
    let found = canaries.search_process(std::process::id()).unwrap_err();
    assert!(found.to_string().starts_with("I7: "), "{found}");
}
