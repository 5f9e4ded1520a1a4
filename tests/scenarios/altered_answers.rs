//! Somebody between CA and station alters what the CA answers. The station believes its own trust directory only.

use crate::floor::{FIRST, Floor};
use crate::support::Shop;
use acceptance::factory::SERVER_NAME;
use acceptance::hsm::Hsm;
use acceptance::insider::{self, Order};
use acceptance::lines::{CAMERAS, STATION};
use acceptance::proxy::{Alteration, Part, Proxy};
use acceptance::soft::{SoftChip, SoftKey, write_csr};
use acceptance::station::Ended;
use acceptance::tls::{self, Credentials};
use base64ct::{Base64, Encoding as _};
use identity::envelope::Purpose;
use identity::{DeviceSerial, Timestamp};
use koseki_verify::{Level, Trust, read_certificate, read_proof, verify_device};
use line_agent::sources::SystemClock;
use line_agent::station::inspect::{Expected, Inspect as _, Inspector};
use std::fs;
use std::path::PathBuf;
use tokio::runtime::Runtime;

/// A shop whose station speaks to somebody else than the server.
pub(crate) struct Between {
    pub(crate) shop: Shop,
    pub(crate) proxy: Proxy,
    runtime: Runtime,
}

impl Between {
    pub(crate) fn open() -> Self {
        let shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
        let runtime = Runtime::new().unwrap();
        let (certificate, key) = take_name(&shop);
        let own = Credentials {
            certificate: &certificate,
            key: &key,
        };
        let upstream = runtime.block_on(async { tls::channel(&shop.factory, own).unwrap() });
        Self {
            proxy: Proxy::new(upstream),
            shop,
            runtime,
        }
    }

    /// Takes the server's place under this certificate.
    fn stand(&mut self, certificate: &std::path::Path, key: &SoftKey, patience: u16) {
        let own = Credentials { certificate, key };
        let address = self.runtime.block_on(self.proxy.listen(own)).unwrap();
        self.shop.station.dial(&address.to_string(), patience);
    }

    pub(crate) fn stand_trusted(&mut self) {
        let key = SoftKey::generate().unwrap();
        let certificate = certify(&self.shop, &key, &format!("DNS:{SERVER_NAME}"), true);
        self.stand(&certificate, &key, 60);
    }
}

/// The station is enrolled anew with a TLS key of ours: whoever stands between must speak in its name. Its request key
/// stays in its own token.
fn take_name(shop: &Shop) -> (PathBuf, SoftKey) {
    let (key, home) = (SoftKey::generate().unwrap(), shop.factory.path("between"));
    let request = shop.factory.path("stations").join(STATION).join("request");
    let request = fs::read_to_string(request.join("station-request.toml")).unwrap();
    let ours = format!(
        "tls = {:?}",
        Base64::encode_string(&key.public().unwrap().spki())
    );
    let own = request
        .lines()
        .find(|line| line.starts_with("tls = "))
        .unwrap();
    fs::create_dir_all(&home).unwrap();
    fs::write(
        home.join("station-request.toml"),
        request.replace(own, &ours),
    )
    .unwrap();
    write_csr(&home, &key).unwrap();
    fs::remove_dir_all(shop.factory.path("approvals")).unwrap();
    let certificate = home.join("station.cert.pem");
    shop.factory
        .enroll_station(STATION, &home, &certificate)
        .unwrap();
    (certificate, key)
}

fn certify(shop: &Shop, key: &SoftKey, name: &str, server: bool) -> PathBuf {
    let order = Order {
        name,
        server,
        days: (-1, 9),
    };
    insider::certify(&shop.factory, key, &order).unwrap()
}

/// What is altered, and how the unit then ends. A station that is lied to can no longer be relied on (50); a nonce
/// that is not the CA's makes the chip sign for nothing, which only the CA can see (30).
const ALTERATIONS: [(Part, &[usize], i32); 5] = [
    (Part::Certificate, &[0, 40, 333, usize::MAX], 50),
    (Part::Proof, &[0, 99, 1_000, usize::MAX], 50),
    (Part::Leaf, &[0, 31], 50),
    (Part::Index, &[7], 50),
    (Part::Receipt, &[0, 77, 1_500, usize::MAX], 50),
];

#[test]
fn no_altered_answer_passes_a_unit() {
    let mut between = Between::open();
    between.stand_trusted();
    let mut tray = between.shop.tray();
    tray.put(&between.shop.factory.vendor, CAMERAS.part, 1, 2)
        .unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = between.shop.lot(CAMERAS, 1, 1);
    let run = |between: &Between| between.shop.station.run(&lot, &programmer.sockets).unwrap();
    let mut fired = 0;
    for (part, places, wanted) in ALTERATIONS {
        for at in places {
            let flip = 0x01;
            between.proxy.alter(Some(Alteration {
                part,
                at: *at,
                flip,
            }));
            let ended = run(&between);
            assert!(
                between.proxy.fired() > fired,
                "{part:?} {at} was not altered: {}",
                ended.said
            );
            fired = between.proxy.fired();
            assert_eq!(ended.code, Some(wanted), "{part:?} {at}: {}", ended.said);
            assert!(
                ended.said.contains("LINE-0204"),
                "{part:?} {at}: {}",
                ended.said
            );
            assert!(between.shop.station.devices().unwrap().is_empty());
            let held = certificate_in_chip(&between.shop);
            let may_hold = part == Part::Receipt;
            assert_eq!(!held.is_empty(), may_hold, "{part:?} {at} reached the chip");
        }
    }
    between.proxy.alter(None);
    let ended = run(&between);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let device = between.shop.station.devices().unwrap().remove(0);
    assert_eq!(
        certificate_in_chip(&between.shop),
        read_certificate(&device).unwrap()
    );
    // The chip signs whatever nonce it is given; the CA takes its own only.
    let part = Part::Nonce;
    between.proxy.alter(Some(Alteration {
        part,
        at: 0,
        flip: 0x80,
    }));
    let lot = between.shop.lot(CAMERAS, 2, 1);
    let ended: Ended = between.shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(30), "{}", ended.said);
    assert!(ended.said.contains("CA-0502"), "{}", ended.said);
    assert_eq!(between.proxy.fired(), fired + 1);
    assert_eq!(between.shop.station.devices().unwrap().len(), 1);
}

/// What the agent asks before it burns a key: for the lot's serials and for a challenge.
#[test]
fn an_altered_order_or_challenge_makes_no_unit() {
    let mut between = Between::open();
    between.stand_trusted();
    // One digit less or more than the order has, a digit that is none, and a challenge that is not the CA's.
    let cases = [
        (Part::FirstSerial, usize::MAX, 0x08),
        (Part::LastSerial, 0, 0x03),
        (Part::LastSerial, 4, 0x10),
        (Part::Challenge, 0, 0x01),
    ];
    for (number, (part, at, flip)) in (1..).zip(cases) {
        let mut tray = between.shop.tray();
        tray.put(&between.shop.factory.vendor, CAMERAS.part, number, 1)
            .unwrap();
        let programmer = tray.present(1).unwrap();
        let lot = between.shop.lot(CAMERAS, u64::from(number) - 1, 1);
        between.proxy.alter(Some(Alteration { part, at, flip }));
        let fired = between.proxy.fired();
        let ended = between.shop.station.run(&lot, &programmer.sockets).unwrap();
        assert!(
            between.proxy.fired() > fired,
            "{part:?} {at}: nothing was altered"
        );
        assert!(
            matches!(ended.code, Some(20..=50)),
            "{part:?} {at}: {ended:?}"
        );
        assert!(between.shop.station.devices().unwrap().is_empty());
        // An order that excludes the unit costs no chip.
        let slot = &fs::read(chip_file(&between.shop, number)).unwrap()[512..544];
        if part != Part::Challenge {
            assert!(
                slot.iter().all(|byte| *byte == 0xFF),
                "{part:?} {at}: burnt"
            );
        }
    }
}

fn chip_file(shop: &Shop, tray: u32) -> PathBuf {
    let tray = shop.factory.path(&format!("tray-{tray}"));
    acceptance::station::files(&tray, "chip").unwrap().remove(0)
}

/// A station that lost its journal finds a burnt chip, and asks the CA what it was bound as.
#[test]
fn altered_papers_of_a_bound_chip_are_not_adopted() {
    let mut between = Between::open();
    between.stand_trusted();
    let mut tray = between.shop.tray();
    tray.put(&between.shop.factory.vendor, CAMERAS.part, 1, 1)
        .unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = between.shop.lot(CAMERAS, 0, 1);
    let run = |between: &Between, alteration| {
        between.proxy.alter(alteration);
        between.shop.station.run(&lot, &programmer.sockets).unwrap()
    };
    let altered = |part, at| {
        let flip = 0x01;
        Some(Alteration { part, at, flip })
    };
    let bound = run(&between, altered(Part::Certificate, 0));
    assert_eq!(bound.code, Some(50), "{}", bound.said);
    fs::remove_dir_all(between.shop.station.home().join("state")).unwrap();
    for (part, at) in [
        (Part::FoundCertificate, 0),
        (Part::FoundCertificate, 333),
        (Part::FoundCertificate, usize::MAX),
        (Part::FoundProof, 0),
        (Part::FoundProof, 99),
        (Part::FoundProof, usize::MAX),
    ] {
        let fired = between.proxy.fired();
        let ended = run(&between, altered(part, at));
        assert_eq!(between.proxy.fired(), fired + 1, "{part:?} {at}");
        assert_eq!(ended.code, Some(50), "{part:?} {at}: {}", ended.said);
        assert!(ended.said.contains("LINE-0204"), "{}", ended.said);
        assert_eq!(between.shop.station.journalled("keyed"), 0);
    }
    let adopted = run(&between, None);
    assert_eq!(adopted.code, Some(0), "{}", adopted.said);
    assert_eq!(between.shop.station.devices().unwrap().len(), 1);
}

/// What the first chip stores as its certificate (hsm-sim, a chip's memory).
fn certificate_in_chip(shop: &Shop) -> Vec<u8> {
    let tray = shop.factory.path("tray-1");
    let chips = acceptance::station::files(&tray, "chip").unwrap();
    let memory = fs::read(&chips[0]).unwrap();
    match u16::from_be_bytes([memory[1_536], memory[1_537]]) {
        u16::MAX => Vec::new(),
        length => memory[2_048..2_048 + usize::from(length)].to_vec(),
    }
}

#[test]
fn a_server_of_another_root_is_not_spoken_to() {
    let mut between = Between::open();
    let key = SoftKey::generate().unwrap();
    let pkcs8 = rustls::pki_types::PrivatePkcs8KeyDer::from(key.pkcs8().unwrap());
    let pair = rcgen::KeyPair::try_from(&pkcs8).unwrap();
    let own = rcgen::CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
    let foreign = between.shop.factory.path("foreign.pem");
    fs::write(&foreign, own.self_signed(&pair).unwrap().pem()).unwrap();
    // Of the right root, but of another host; and a station's, of the right root.
    let misnamed = certify(&between.shop, &key, "DNS:ca.other.example", true);
    let misnamed = keep(&between.shop, &misnamed, "misnamed.pem");
    let station = certify(&between.shop, &key, &format!("DNS:{SERVER_NAME}"), false);
    let mut tray = between.shop.tray();
    tray.put(&between.shop.factory.vendor, CAMERAS.part, 1, 1)
        .unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = between.shop.lot(CAMERAS, 1, 1);
    for certificate in [foreign, misnamed, station] {
        // One that is not believed is not waited for.
        between.stand(&certificate, &key, 1);
        let ended = between.shop.station.run(&lot, &programmer.sockets).unwrap();
        assert_ne!(ended.code, Some(0), "{}", ended.said);
        assert!(ended.said.contains("LINE-0203"), "{}", ended.said);
    }
    assert_eq!(between.proxy.fired(), 0);
    assert!(between.shop.factory.status().unwrap().contains(" 0 of "));
    assert!(certificate_in_chip(&between.shop).is_empty());
}

/// Certificates of one key have one place; this keeps one of them.
fn keep(shop: &Shop, certificate: &std::path::Path, name: &str) -> PathBuf {
    let kept = shop.factory.path(name);
    fs::rename(certificate, &kept).unwrap();
    kept
}

/// What the agent asks of a certificate and the proof of its binding, for every byte of both.
#[tokio::test]
async fn no_altered_byte_of_certificate_or_bind_proof_is_accepted() {
    let floor = Floor::open(1);
    let station = floor.station(FIRST);
    let trust = floor.factory.path("trust");
    floor
        .factory
        .publish_trust(&trust, &[CAMERAS.grant])
        .unwrap();
    let trust = Trust::load(&trust).unwrap();
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let signed = station.prepare(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let issued = station
        .issue(&signed.await.unwrap())
        .await
        .unwrap()
        .unwrap();
    let serial = DeviceSerial::new(&CAMERAS.first.to_string()).unwrap();
    let key = chip.key.public().unwrap();
    let accepted = |certificate: &[u8], proof: &[u8], index| {
        let expected = Expected {
            serial: &serial,
            uid: &chip.uid,
            key: &key,
            index,
        };
        let inspector = Inspector::new(&trust, &SystemClock);
        let entry = inspector.inspect_bind(certificate, proof, &expected);
        entry.is_ok_and(|entry| entry.hash.0.as_slice() == issued.leaf_hash)
    };
    let (certificate, proof) = (&issued.certificate, &issued.tlog_proof);
    assert!(accepted(certificate, proof, issued.index));
    assert!(!accepted(certificate, proof, issued.index + 1));
    for flip in [0x01, 0x80] {
        for at in 0..certificate.len() {
            let mut altered = certificate.clone();
            altered[at] ^= flip;
            assert!(
                !accepted(&altered, proof, issued.index),
                "byte {at} of the certificate"
            );
        }
        for at in 0..proof.len() {
            let mut altered = proof.clone();
            altered[at] ^= flip;
            assert!(
                !accepted(certificate, &altered, issued.index),
                "byte {at} of the proof"
            );
        }
    }
    assert!(certificate.len() + proof.len() > 1_500);
}

/// What the agent asks of certificate and receipt, for every byte of both.
#[test]
fn no_altered_byte_of_certificate_or_receipt_is_accepted() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let made = shop.make(CAMERAS, 1, 1);
    assert_eq!(made.code, Some(0), "{}", made.said);
    let device = shop.station.devices().unwrap().remove(0);
    let trust = Trust::load(&shop.station.trust()).unwrap();
    let certificate = read_certificate(&device).unwrap();
    let proof = read_proof(&device.with_extension("tlog-proof")).unwrap();
    let at = Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap() + 60_000);
    let accepted = |certificate: &[u8], proof: &[u8]| {
        let verdict = verify_device(certificate, proof, &trust, at);
        verdict.accepted && verdict.level == Some(Level::Confirmed)
    };
    assert!(accepted(&certificate, &proof));
    let mut altered = certificate.clone();
    for at in 0..certificate.len() {
        altered[at] ^= 1;
        assert!(!accepted(&altered, &proof), "byte {at} of the certificate");
        altered[at] ^= 1;
    }
    let mut altered = proof.clone();
    for at in 0..proof.len() {
        altered[at] ^= 1;
        assert!(
            !accepted(&certificate, &altered),
            "byte {at} of the receipt"
        );
        altered[at] ^= 1;
    }
    assert!(certificate.len() + proof.len() > 2_000);
}
