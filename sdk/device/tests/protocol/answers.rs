//! Every byte of every answer of a chip altered, as noise does and as somebody does who puts the checksum right: no
//! altered dialogue ends in a unit that the station and the CA accept.

use crate::common::{Bench, Forgery, LEAF, NONCE, Wire, injection, pkcs8, proof, vendor, wrap};
use identity::message::{Confirmation, Message as _, Possession};
use identity::{CertificateHash, ChipUid, P256Key, PartNumber, PortableVerifier, VerifyP256 as _};
use koseki_device::{
    ChipState, Derivation, Driver, Identification, Kind, Origin, Patience, Refusal,
};

/// Bytes before a frame's payload and behind it; of the payload, the acknowledgement and the code.
const CRC: usize = 4;
const BODY: usize = 12 + 8 + 2;

/// What may be altered under a good checksum and changes nothing: kind of answer, where, why.
const HARMLESS: [(Kind, usize, &str); 1] = [(
    Kind::Identify,
    BODY,
    "the version of the messages: the frame's own version is what both ends go by",
)];

/// How a key comes into a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Made,
    Injected,
}

/// What is entered into the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepted {
    uid: ChipUid,
    part: PartNumber,
    key: P256Key,
}

/// A certificate that is short enough to have each of its bytes altered.
fn certificate() -> Vec<u8> {
    (0..60).collect()
}

/// The dialogue of one unit with everything that station and CA hold an answer against; the first check that fails.
fn dialogue(driver: &mut Driver<Wire>, way: Way) -> Result<Accepted, String> {
    let chip = driver.identify().map_err(|error| error.to_string())?;
    hold(
        chip.is_endorsed_by(&vendor(), &PortableVerifier),
        "endorsement",
    )?;
    hold(chip.state == ChipState::Blank, "a blank chip")?;
    let key = load(driver, &chip, way)?;
    let burnt = driver
        .burn(&key.spki_hash())
        .map_err(|error| error.to_string())?;
    hold(burnt == key, "the burnt key")?;
    let (uid, part) = (chip.uid, chip.part);
    prove(driver, &uid, &key)?;
    store(driver, &key)?;
    let denied = driver.read_key().err().and_then(|error| error.refusal());
    hold(
        denied == Some(Refusal::KeyReadDenied),
        "a key that stays inside",
    )?;
    let again = driver.identify().map_err(|error| error.to_string())?;
    hold(
        again.is_endorsed_by(&vendor(), &PortableVerifier),
        "endorsement",
    )?;
    let origin = match way {
        Way::Made => Origin::Made,
        Way::Injected => Origin::Injected,
    };
    let state = ChipState::Burnt { key, origin };
    hold(
        again.uid == uid && again.state == state,
        "the same chip, burnt",
    )?;
    Ok(Accepted { uid, part, key })
}

fn load(driver: &mut Driver<Wire>, chip: &Identification, way: Way) -> Result<P256Key, String> {
    match way {
        Way::Made => {
            let made = driver.make_key(&NONCE).map_err(|error| error.to_string())?;
            hold(
                made.is_attested_by(chip, &NONCE, &PortableVerifier),
                "attestation of the key",
            )?;
            Ok(made.key)
        }
        Way::Injected => {
            let transport = driver
                .transport(&NONCE)
                .map_err(|error| error.to_string())?;
            hold(
                transport.is_attested_by(chip, &NONCE, &PortableVerifier),
                "attestation of the transport key",
            )?;
            let plain = pkcs8(&[0x66; 32]);
            let (module, wrapped) = wrap(&transport, Derivation::Hkdf, &chip.uid, &plain);
            let asked = injection(module, Derivation::Hkdf, &wrapped);
            let key = driver.inject(&asked).map_err(|error| error.to_string())?;
            let original = p256::SecretKey::from_slice(&[0x66; 32]).unwrap();
            hold(key == crate::common::public(&original), "the injected key")?;
            Ok(key)
        }
    }
}

fn prove(driver: &mut Driver<Wire>, uid: &ChipUid, key: &P256Key) -> Result<(), String> {
    let asked = proof(key.spki_hash());
    let signature = driver.prove(&asked).map_err(|error| error.to_string())?;
    let message = Possession {
        challenge: asked.challenge,
        request: &asked.request,
        uid,
        serial: &asked.serial,
        spki: &asked.spki,
        grant: &asked.grant,
        station: &asked.station,
    };
    hold(
        PortableVerifier.verify(key, &message.digest(), &signature),
        "possession",
    )
}

fn store(driver: &mut Driver<Wire>, key: &P256Key) -> Result<(), String> {
    let written = driver.write_certificate(&certificate());
    written.map_err(|error| error.to_string())?;
    let read = driver
        .read_certificate()
        .map_err(|error| error.to_string())?;
    hold(read == certificate(), "the certificate that was written")?;
    let confirmed = driver
        .confirm(&NONCE, &LEAF)
        .map_err(|error| error.to_string())?;
    let hash = CertificateHash::of(&certificate());
    hold(confirmed.certificate == hash, "the hash of the certificate")?;
    let message = Confirmation {
        nonce: &NONCE,
        certificate: &hash,
        leaf: &LEAF,
    };
    hold(
        PortableVerifier.verify(key, &message.digest(), &confirmed.signature),
        "confirmation",
    )
}

#[expect(clippy::fn_params_excessive_bools, reason = "the outcome of a check")]
fn hold(holds: bool, what: &str) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| what.to_owned())
}

/// A whole dialogue with a fresh chip; each question is put so many times at most.
fn told(way: Way, attempts: u8, forgery: Option<Forgery>) -> (Result<Accepted, String>, Wire) {
    let wire = Wire::new(&Bench::new());
    wire.0.borrow_mut().bend.forgery = forgery;
    let patience = Patience {
        timeout_ms: 0,
        attempts,
    };
    let mut driver = Driver::new(wire.clone(), patience, 1);
    (dialogue(&mut driver, way), wire)
}

/// Calls `each` with every byte of every answer of the dialogue: its forgery, to be completed, and the frame.
fn every_byte(way: Way, mut each: impl FnMut(Forgery, &[u8], Accepted)) -> usize {
    let (accepted, wire) = told(way, 1, None);
    let accepted = accepted.unwrap();
    let answers = wire.0.borrow().answers.clone();
    assert!(answers.len() >= 9, "{} answers", answers.len());
    for (answer, frame) in answers.iter().enumerate() {
        for at in 0..frame.len() {
            let forgery = Forgery {
                answer,
                at,
                flip: 0xFF,
                mended: false,
            };
            each(forgery, frame, accepted);
        }
    }
    answers.iter().map(Vec::len).sum()
}

#[test]
fn an_altered_answer_is_not_heard_and_asked_for_again() {
    for way in [Way::Made, Way::Injected] {
        let bytes = every_byte(way, |forgery, _, accepted| {
            let (heard, _) = told(way, 1, Some(forgery));
            assert_eq!(heard.ok(), None, "{way:?} {forgery:?}");
            // A second answer is the same; nothing of the first has stayed.
            if forgery.at % 16 == 3 {
                let (heard, _) = told(way, 2, Some(forgery));
                assert_eq!(heard, Ok(accepted), "{way:?} {forgery:?}");
            }
        });
        assert!(bytes > 900, "{bytes}");
    }
}

#[test]
fn no_altered_answer_under_a_good_checksum_makes_a_unit() {
    let mut harmless = [0; HARMLESS.len()];
    for way in [Way::Made, Way::Injected] {
        every_byte(way, |forgery, frame, accepted| {
            // Of an altered checksum that is put right nothing is left.
            if forgery.at >= frame.len() - CRC {
                return;
            }
            let forgery = Forgery {
                flip: 0x01,
                mended: true,
                ..forgery
            };
            let (heard, _) = told(way, 1, Some(forgery));
            let place = HARMLESS.iter().position(|(kind, there, _)| {
                kind.code() | 0x80 == frame[3] && *there == forgery.at
            });
            match (heard, place) {
                // Even there the register gets the truth.
                (Ok(heard), Some(place)) => {
                    assert_eq!(heard, accepted);
                    harmless[place] += 1;
                }
                (Ok(_), None) => panic!("{way:?} {forgery:?} of kind {:02x}", frame[3]),
                (Err(_), _) => {}
            }
        });
    }
    assert!(harmless.iter().all(|hits| *hits > 0), "{harmless:?}");
}
