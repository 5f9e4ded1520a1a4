//! Canary keys and PINs are searched for where none may be: files, logs, environments and command lines.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, SENSORS};
use acceptance::patience::until;
use base64ct::{Base64, Encoding as _};
use p256::SecretKey;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Places in a chip's memory: the vendor's attestation key, and the key slot.
const CHIP_SECRETS: [usize; 2] = [106, 512];

/// Files that hold a secret by their purpose: PIN files their PIN, chips' memories their keys, the vendor's test key.
const MAY_HOLD: [&str; 4] = [".pin", ".so-pin", ".chip", "vendor-TEST-KEY.pem"];

/// What is searched for, by its first eight bytes.
#[derive(Default)]
struct Canaries(BTreeMap<[u8; 8], Vec<(String, Vec<u8>)>>);

impl Canaries {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        let head = *bytes.first_chunk().unwrap();
        let known = self.0.entry(head).or_default();
        known.push((name.to_owned(), bytes.to_vec()));
    }

    /// A private scalar in every dress in which programs write keys.
    fn add_key(&mut self, name: &str, scalar: &[u8; 32]) {
        let key = SecretKey::from_slice(scalar).unwrap();
        let pkcs8 = key.to_pkcs8_der().unwrap();
        self.add(name, scalar);
        self.add(&format!("{name}, PKCS #8"), pkcs8.as_bytes());
        let hex: String = scalar.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(&format!("{name}, hex"), hex.as_bytes());
        self.add(&format!("{name}, HEX"), hex.to_uppercase().as_bytes());
        let list: Vec<_> = scalar.iter().map(u8::to_string).collect();
        self.add(&format!("{name}, as a list"), list.join(", ").as_bytes());
        // Inside a longer text base64 looks one of three ways.
        for skip in 0..3 {
            let inner = &scalar[skip..skip + 30 - 3 * (skip / 2)];
            let text = Base64::encode_string(inner);
            self.add(&format!("{name}, base64 from byte {skip}"), text.as_bytes());
        }
    }

    fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        bytes.windows(8).enumerate().find_map(|(at, head)| {
            let possible = self.0.get(head)?;
            let here = |(_, canary): &&(String, Vec<u8>)| bytes[at..].starts_with(canary);
            possible.iter().find(here).map(|(name, _)| name.as_str())
        })
    }

    fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

#[test]
fn no_secret_is_in_a_file_a_log_or_a_process() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[SENSORS, CAMERAS]);
    for line in [SENSORS, CAMERAS] {
        let made = shop.make(line, 1, 2);
        assert_eq!(made.code, Some(0), "{}", made.said);
    }
    let canaries = canaries(&shop);
    assert!(canaries.len() > 80, "only {} canaries", canaries.len());
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
        for told in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{process}/{told}")).unwrap();
            assert!(bytes.len() > 10, "{process}/{told} is empty");
            assert_eq!(canaries.found_in(&bytes), None, "{process}/{told}");
        }
    }
    agent.wait().unwrap();
    // Also while the server holds its files open, write-ahead log and all.
    let searched = search(&shop.factory.path(""), &canaries);
    assert!(searched > 60, "only {searched} files were searched");
    shop.factory.stop_server().unwrap();
    search(&shop.factory.path(""), &canaries);
}

#[test]
fn a_planted_secret_is_found_in_every_dress() {
    let mut canaries = Canaries::default();
    let scalar: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7 + 1).unwrap());
    canaries.add_key("planted", &scalar);
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

/// PINs of all tokens, keys of all chips and of their vendor.
fn canaries(shop: &Shop) -> Canaries {
    let mut canaries = Canaries::default();
    for path in files(&shop.factory.path("")) {
        let (name, bytes) = (path.display().to_string(), fs::read(&path).unwrap());
        if name.ends_with("pin") {
            canaries.add(&name, bytes.trim_ascii());
        } else if name.ends_with(".chip") {
            for at in CHIP_SECRETS {
                let scalar = bytes[at..at + 32].try_into().unwrap();
                canaries.add_key(&format!("{name} at {at}"), &scalar);
            }
        }
    }
    let vendor = fs::read_to_string(shop.factory.vendor.private()).unwrap();
    let vendor = SecretKey::from_pkcs8_pem(&vendor).unwrap();
    canaries.add_key("the vendor's key", &vendor.to_bytes().into());
    canaries
}

fn search(dir: &Path, canaries: &Canaries) -> usize {
    let mut searched = 0;
    for path in files(dir) {
        let name = path.display().to_string();
        if !MAY_HOLD.iter().any(|end| name.ends_with(end)) {
            searched += 1;
            let bytes = fs::read(&path).unwrap();
            assert_eq!(canaries.found_in(&bytes), None, "in {name}");
        }
    }
    searched
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.is_file() => found.push(path),
                false => {}
            }
        }
    }
    found
}
