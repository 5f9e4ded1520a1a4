//! The whole dialogue, at any loss of power.

use crate::common::{
    Bench, Counter, LEAF, NONCE, Wire, injection, pkcs8, proof, public, vendor, wrap,
};
use identity::message::{Confirmation, Message as _, Possession};
use identity::{CertificateHash, P256Key, PortableVerifier, VerifyP256 as _};
use koseki_device::{
    ChipState, Derivation, Device, Driver, DriverError, Identification, Origin, Refusal,
};
use p256::SecretKey;

type Failure = DriverError<std::io::Error>;

fn certificate() -> Vec<u8> {
    (0..2_500_u32).map(|at| at.to_be_bytes()[3]).collect()
}

/// As a station works: what the chip says decides what comes next.
fn complete(driver: &mut Driver<Wire>) -> Result<P256Key, Failure> {
    let chip = driver.identify()?;
    let key = match chip.state {
        ChipState::Burnt { key, .. } => key,
        ChipState::Blank | ChipState::Torn => {
            let made = driver.make_key(&NONCE)?;
            assert!(made.is_attested_by(&chip, &NONCE, &PortableVerifier));
            driver.burn(&made.key.spki_hash())?
        }
    };
    prove_and_store(driver, &chip, &key)?;
    Ok(key)
}

fn prove_and_store(
    driver: &mut Driver<Wire>,
    chip: &Identification,
    key: &P256Key,
) -> Result<(), Failure> {
    let asked = proof(key.spki_hash());
    let signature = driver.prove(&asked)?;
    let message = Possession {
        challenge: asked.challenge,
        request: &asked.request,
        uid: &chip.uid,
        serial: &asked.serial,
        spki: &asked.spki,
        grant: &asked.grant,
        station: &asked.station,
    };
    assert!(PortableVerifier.verify(key, &message.digest(), &signature));
    driver.write_certificate(&certificate())?;
    assert_eq!(driver.read_certificate()?, certificate());
    let confirmed = driver.confirm(&NONCE, &LEAF)?;
    assert_eq!(confirmed.certificate, CertificateHash::of(&certificate()));
    let message = Confirmation {
        nonce: &NONCE,
        certificate: &confirmed.certificate,
        leaf: &LEAF,
    };
    assert!(PortableVerifier.verify(key, &message.digest(), &confirmed.signature));
    Ok(())
}

fn refusal<T>(answer: Result<T, Failure>) -> Option<Refusal> {
    answer.err().and_then(|error| error.refusal())
}

#[test]
fn a_key_made_on_the_chip() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    let blank = driver.identify().unwrap();
    assert!(blank.is_endorsed_by(&vendor(), &PortableVerifier));
    assert_eq!(blank.state, ChipState::Blank);
    let key = complete(&mut driver).unwrap();
    wire.power_cycle(9);
    let burnt = driver.identify().unwrap();
    assert_eq!(
        burnt.state,
        ChipState::Burnt {
            key,
            origin: Origin::Made
        }
    );
    let again = driver.attest(&[9; 32]).unwrap();
    assert!(again.key == key && again.is_attested_by(&burnt, &[9; 32], &PortableVerifier));
    assert!(!again.is_attested_by(&burnt, &NONCE, &PortableVerifier));
}

#[test]
fn a_key_injected() {
    for derivation in [Derivation::Hkdf, Derivation::RawX] {
        let wire = Wire::new(&Bench::new());
        let mut driver = wire.driver(1);
        let chip = driver.identify().unwrap();
        let transport = driver.transport(&NONCE).unwrap();
        assert!(transport.is_attested_by(&chip, &NONCE, &PortableVerifier));
        let (module, wrapped) = wrap(&transport, derivation, &chip.uid, &pkcs8(&[0x66; 32]));
        let key = driver
            .inject(&injection(module, derivation, &wrapped))
            .unwrap();
        assert_eq!(key, public(&SecretKey::from_slice(&[0x66; 32]).unwrap()));
        assert_eq!(driver.burn(&key.spki_hash()).unwrap(), key);
        assert_eq!(
            driver.identify().unwrap().state,
            ChipState::Burnt {
                key,
                origin: Origin::Injected
            }
        );
        assert_eq!(refusal(driver.attest(&NONCE)), Some(Refusal::NotMadeHere));
        prove_and_store(&mut driver, &chip, &key).unwrap();
    }
}

#[test]
fn a_wrapped_key_is_good_for_one_transport_key_and_one_derivation() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    let chip = driver.identify().unwrap();
    let transport = driver.transport(&NONCE).unwrap();
    let (module, wrapped) = wrap(&transport, Derivation::Hkdf, &chip.uid, &pkcs8(&[0x66; 32]));
    assert_eq!(
        refusal(driver.inject(&injection(module, Derivation::RawX, &wrapped))),
        Some(Refusal::Unwrap)
    );
    assert_eq!(
        refusal(driver.inject(&injection(module, Derivation::Hkdf, &wrapped))),
        Some(Refusal::NoTransport)
    );
    driver.transport(&NONCE).unwrap();
    assert_eq!(
        refusal(driver.inject(&injection(module, Derivation::Hkdf, &wrapped))),
        Some(Refusal::Unwrap)
    );
    let transport = driver.transport(&NONCE).unwrap();
    let (module, wrapped) = wrap(
        &transport,
        Derivation::Hkdf,
        &chip.uid,
        b"not a key but of a fitting length, really",
    );
    assert_eq!(
        refusal(driver.inject(&injection(module, Derivation::Hkdf, &wrapped))),
        Some(Refusal::NotAKey)
    );
    assert_eq!(
        refusal(driver.burn(&chip.attestation.spki_hash())),
        Some(Refusal::NoKey)
    );
}

#[test]
fn no_altered_byte_of_a_wrapped_key_passes() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    let chip = driver.identify().unwrap();
    for at in 0..80 {
        let transport = driver.transport(&NONCE).unwrap();
        let (module, mut wrapped) =
            wrap(&transport, Derivation::Hkdf, &chip.uid, &pkcs8(&[0x66; 32]));
        assert_eq!(wrapped.len(), 80);
        wrapped[at] ^= 1;
        assert_eq!(
            refusal(driver.inject(&injection(module, Derivation::Hkdf, &wrapped))),
            Some(Refusal::Unwrap)
        );
    }
}

#[test]
fn a_burnt_chip_takes_no_other_key() {
    let bench = Bench::new();
    let wire = Wire::new(&bench);
    let mut driver = wire.driver(1);
    let key = complete(&mut driver).unwrap();
    let (slot, writes) = (bench.0.borrow().slot, bench.0.borrow().writes);
    assert_eq!(
        refusal(driver.make_key(&NONCE)),
        Some(Refusal::AlreadyBurnt)
    );
    assert_eq!(
        refusal(driver.transport(&NONCE)),
        Some(Refusal::AlreadyBurnt)
    );
    assert_eq!(
        refusal(driver.burn(&key.spki_hash())),
        Some(Refusal::AlreadyBurnt)
    );
    assert_eq!(
        (bench.0.borrow().slot, bench.0.borrow().writes),
        (slot, writes)
    );
}

#[test]
fn the_fixed_key_is_never_read_back() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    driver.identify().unwrap();
    assert_eq!(refusal(driver.read_key()), Some(Refusal::KeyReadDenied));
    complete(&mut driver).unwrap();
    assert_eq!(refusal(driver.read_key()), Some(Refusal::KeyReadDenied));
}

#[test]
fn only_the_key_that_was_named_is_burnt() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    driver.identify().unwrap();
    let first = driver.make_key(&NONCE).unwrap().key;
    let second = driver.make_key(&NONCE).unwrap().key;
    assert_ne!(first, second);
    assert_eq!(
        refusal(driver.burn(&first.spki_hash())),
        Some(Refusal::WrongKey)
    );
    assert_eq!(driver.burn(&second.spki_hash()).unwrap(), second);
    assert_eq!(
        refusal(driver.prove(&proof(first.spki_hash()))),
        Some(Refusal::WrongKey)
    );
}

#[test]
fn a_blank_chip_proves_nothing_and_stores_nothing() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    let chip = driver.identify().unwrap();
    let made = driver.make_key(&NONCE).unwrap();
    assert_eq!(
        refusal(driver.prove(&proof(made.key.spki_hash()))),
        Some(Refusal::NotBurnt)
    );
    assert_eq!(
        refusal(driver.write_certificate(&certificate())),
        Some(Refusal::NotBurnt)
    );
    assert_eq!(
        refusal(driver.confirm(&NONCE, &LEAF)),
        Some(Refusal::NotBurnt)
    );
    assert_eq!(refusal(driver.attest(&NONCE)), Some(Refusal::NotBurnt));
    driver.burn(&made.key.spki_hash()).unwrap();
    assert_eq!(
        refusal(driver.confirm(&NONCE, &LEAF)),
        Some(Refusal::NoCertificate)
    );
    assert_eq!(
        refusal(driver.write_certificate(&[0; 5_000])),
        Some(Refusal::CertificateRange)
    );
    assert_eq!(
        refusal(driver.read_certificate()),
        Some(Refusal::NoCertificate)
    );
    assert_eq!(chip.state, ChipState::Blank);
}

/// Power goes before the first write, the second, and so on; each time the chip wakes up and the station resumes.
#[test]
fn power_may_go_between_any_two_writes() {
    let whole = Bench::new();
    complete(&mut Wire::new(&whole).driver(1)).unwrap();
    let writes = whole.0.borrow().writes;
    assert!(
        writes >= 7,
        "slot, lock word, and the certificate's length twice and three parts"
    );
    for cut in 0..writes {
        let bench = Bench::new();
        let wire = Wire::new(&bench);
        bench.0.borrow_mut().power = Some(cut);
        complete(&mut wire.driver(1)).unwrap_err();
        wire.power_cycle(u64::from(cut) + 50);
        let mut driver = wire.driver(2);
        let state = driver.identify().unwrap().state;
        match (cut, state) {
            (0 | 1, ChipState::Blank) | (2.., ChipState::Burnt { .. }) => {}
            other => panic!("after {cut} writes: {other:?}"),
        }
        assert!(
            refusal(driver.confirm(&NONCE, &LEAF)).is_some(),
            "no certificate is whole yet"
        );
        let key = complete(&mut driver).unwrap();
        if let ChipState::Burnt { key: before, .. } = state {
            assert_eq!(before, key);
        }
    }
}

#[test]
fn a_torn_lock_word_is_scrap() {
    let bench = Bench::new();
    let wire = Wire::new(&bench);
    bench.0.borrow_mut().power = Some(1);
    bench.0.borrow_mut().tears = true;
    complete(&mut wire.driver(1)).unwrap_err();
    wire.power_cycle(3);
    let mut driver = wire.driver(2);
    assert_eq!(driver.identify().unwrap().state, ChipState::Torn);
    assert_eq!(refusal(driver.make_key(&NONCE)), Some(Refusal::Torn));
    assert_eq!(refusal(driver.transport(&NONCE)), Some(Refusal::Torn));
    assert_eq!(refusal(driver.attest(&NONCE)), Some(Refusal::Torn));
}

#[test]
fn a_slot_that_cannot_be_read_after_the_lock_word_is_never_written_again() {
    let bench = Bench::new();
    let wire = Wire::new(&bench);
    let mut driver = wire.driver(1);
    driver.identify().unwrap();
    let made = driver.make_key(&NONCE).unwrap();
    // The read back succeeds, the read behind the lock word fails.
    bench.0.borrow_mut().slot_read_fault = Some(1);
    let burnt = driver.burn(&made.key.spki_hash());
    assert_eq!(refusal(burnt), Some(Refusal::MemoryFault));
    assert_eq!(bench.0.borrow().faults, 1);
    bench.0.borrow_mut().slot_read_fault = None;
    // The memory itself panics when its slot is written behind the lock word.
    assert_eq!(refusal(driver.make_key(&NONCE)), Some(Refusal::Torn));
    let again = driver.burn(&made.key.spki_hash());
    assert_eq!(refusal(again), Some(Refusal::AlreadyBurnt));
    wire.power_cycle(3);
    let burnt = wire.driver(2).identify().unwrap();
    let origin = Origin::Made;
    assert_eq!(
        burnt.state,
        ChipState::Burnt {
            key: made.key,
            origin
        }
    );
}

#[test]
fn a_lock_word_over_no_key_is_scrap() {
    let bench = Bench::new();
    bench.0.borrow_mut().lock = *b"MADE";
    assert_eq!(
        Wire::new(&bench).driver(1).identify().unwrap().state,
        ChipState::Torn
    );
}

#[test]
fn a_chip_that_lost_power_says_so() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    driver.identify().unwrap();
    let made = driver.make_key(&NONCE).unwrap();
    wire.power_cycle(4);
    assert_eq!(
        refusal(driver.burn(&made.key.spki_hash())),
        Some(Refusal::NoSession)
    );
    driver.identify().unwrap();
    assert_eq!(
        refusal(driver.burn(&made.key.spki_hash())),
        Some(Refusal::NoKey)
    );
}

#[test]
fn a_new_session_forgets_the_key_in_ram() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    driver.identify().unwrap();
    let made = driver.make_key(&NONCE).unwrap();
    let mut other = wire.driver(100);
    other.identify().unwrap();
    assert_eq!(
        refusal(other.burn(&made.key.spki_hash())),
        Some(Refusal::NoKey)
    );
    assert_eq!(
        refusal(driver.burn(&made.key.spki_hash())),
        Some(Refusal::NoSession)
    );
}

#[test]
fn the_device_is_as_small_as_promised() {
    let given = size_of::<Bench>() + size_of::<Counter>();
    let own = size_of::<Device<Bench, Counter>>() - given;
    assert!(own < 4_000, "{own} bytes");
}
