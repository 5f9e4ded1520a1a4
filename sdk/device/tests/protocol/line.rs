//! A bad line: altered, lost, doubled, late, and noise between.

use crate::common::{Bench, LEAF, NONCE, Wire, injection, pkcs8, proof, wrap};
use identity::P256Key;
use identity::hash::Sink as _;
use koseki_device::{
    AnswerError, ChipState, Decoder, Derivation, DriverError, Frame, FrameBuffer, Header, Kind,
    Received, Refusal, Request, Station, Tick,
};

/// Every message once; the key that was burnt.
fn everything(wire: &Wire, session: u32) -> P256Key {
    let mut driver = wire.driver(session);
    let chip = driver.identify().unwrap();
    driver.make_key(&NONCE).unwrap();
    let transport = driver.transport(&NONCE).unwrap();
    let (module, wrapped) = wrap(&transport, Derivation::Hkdf, &chip.uid, &pkcs8(&[0x66; 32]));
    let key = driver
        .inject(&injection(module, Derivation::Hkdf, &wrapped))
        .unwrap();
    driver.burn(&key.spki_hash()).unwrap();
    driver.prove(&proof(key.spki_hash())).unwrap();
    driver.write_certificate(&[0xAB; 1_500]).unwrap();
    assert_eq!(driver.read_certificate().unwrap(), [0xAB; 1_500]);
    driver.confirm(&NONCE, &LEAF).unwrap();
    driver.read_key().unwrap_err();
    key
}

#[test]
fn no_flipped_byte_of_any_message_is_accepted() {
    let wire = Wire::new(&Bench::new());
    everything(&wire, 1);
    let questions = wire.0.borrow().questions.clone();
    assert!(questions.len() >= 12);
    let fresh = Bench::new();
    for question in &questions {
        for at in 0..question.len() {
            let mut altered = question.clone();
            altered[at] ^= 0xFF;
            let mut device = fresh.power_on(0);
            device.receive(&altered, |_| {
                panic!("byte {at} of kind {} was altered and accepted", question[3])
            });
            device.idle(|_| panic!("byte {at} of kind {} was altered and accepted", question[3]));
        }
    }
    assert_eq!(fresh.0.borrow().writes, 0);
}

/// Somebody on the line alters the payload and puts the CRC right: the chip's answer names what it acted on.
#[test]
fn the_station_notices_what_a_right_crc_hides() {
    let wire = Wire::new(&Bench::new());
    let mut station = Station::new(1, 1);
    let identify = station.ask(&Request::Identify).unwrap().to_vec();
    assert_eq!(station.receive(&wire.raw(&identify)), Received::Answer);
    let question = station
        .ask(&Request::MakeKey { nonce: NONCE })
        .unwrap()
        .to_vec();
    let mut altered = FrameBuffer::new();
    Decoder::new().feed(&question, |frame| {
        altered.payload().put(&[0x12; 32]);
        altered.seal(frame.header, 32);
    });
    assert_eq!(
        station.receive(&wire.raw(altered.as_bytes())),
        Received::Failed(AnswerError::Altered)
    );
}

#[test]
fn lost_doubled_and_noisy_frames_change_nothing() {
    for noise in [
        &b""[..],
        b"\r\nbooting...\r\n",
        b"KS\x01\x05KS\x01\x80\0\0\0\0\0\0\x06\x40KKKS\x01K",
    ] {
        let bench = Bench::new();
        let wire = Wire::new(&bench);
        wire.0.borrow_mut().bend.noise = noise.to_vec();
        wire.0.borrow_mut().bend.repeats = 1;
        everything(&wire, 1);
        assert_eq!(bench.0.borrow().writes, 6, "nothing was executed twice");
    }
}

#[test]
fn a_lost_question_is_asked_again_and_a_lost_answer_is_given_again() {
    let bench = Bench::new();
    let wire = Wire::new(&bench);
    let mut driver = wire.driver(1);
    wire.0.borrow_mut().bend.lose_questions = 3;
    driver.identify().unwrap();
    wire.0.borrow_mut().bend.lose_answers = 3;
    let made = driver.make_key(&NONCE).unwrap();
    wire.0.borrow_mut().bend.lose_answers = 3;
    assert_eq!(driver.burn(&made.key.spki_hash()).unwrap(), made.key);
    assert_eq!(bench.0.borrow().writes, 2);
}

#[test]
fn attempts_are_bounded_and_identify_tells_what_happened() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(1);
    driver.identify().unwrap();
    let made = driver.make_key(&NONCE).unwrap();
    wire.0.borrow_mut().bend.lose_answers = 4;
    assert!(matches!(
        driver.burn(&made.key.spki_hash()),
        Err(DriverError::NoAnswer)
    ));
    assert!(
        matches!(driver.identify().unwrap().state, ChipState::Burnt { key, .. } if key == made.key)
    );
    wire.0.borrow_mut().bend.lose_questions = u32::MAX;
    let before = wire.0.borrow().bend.lose_questions;
    assert!(matches!(driver.identify(), Err(DriverError::NoAnswer)));
    assert_eq!(before - wire.0.borrow().bend.lose_questions, 4);
}

/// A question that was held up on the line arrives after younger ones: it is not executed.
#[test]
fn a_late_question_is_not_executed() {
    let bench = Bench::new();
    let wire = Wire::new(&bench);
    let mut driver = wire.driver(1);
    driver.identify().unwrap();
    driver.make_key(&NONCE).unwrap();
    let late = wire.0.borrow().questions.last().cloned().unwrap();
    let made = driver.make_key(&[3; 32]).unwrap();
    assert_eq!(wire.raw(&late), []);
    assert_eq!(driver.burn(&made.key.spki_hash()).unwrap(), made.key);
}

#[test]
fn a_sequence_number_is_not_used_for_two_questions() {
    let wire = Wire::new(&Bench::new());
    let mut driver = wire.driver(0);
    driver.identify().unwrap();
    driver.make_key(&NONCE).unwrap();
    let first = wire.0.borrow().questions.last().cloned().unwrap();
    let kept = wire.raw(&first);
    let mut other = FrameBuffer::new();
    let header = Header {
        kind: Kind::ReadKey.code(),
        session: 1,
        sequence: 2,
    };
    other.seal(header, 0);
    assert_eq!(
        refusal_in(&wire.raw(other.as_bytes())),
        Refusal::SequenceReused
    );
    assert_eq!(
        wire.raw(&first),
        kept,
        "the refusal has not displaced the answer"
    );
}

#[test]
fn unknown_and_malformed_questions_are_refused_by_name() {
    let wire = Wire::new(&Bench::new());
    wire.driver(0).identify().unwrap();
    let ask = |kind: u8, sequence: u16, payload: &[u8]| {
        let mut frame = FrameBuffer::new();
        frame.payload().put(payload);
        wire.raw(frame.seal(
            Header {
                kind,
                session: 1,
                sequence,
            },
            payload.len(),
        ))
    };
    assert_eq!(refusal_in(&ask(0x3F, 2, &[])), Refusal::UnknownCommand);
    assert_eq!(
        refusal_in(&ask(Kind::MakeKey.code(), 3, &[0; 31])),
        Refusal::Malformed
    );
    assert_eq!(
        refusal_in(&ask(Kind::MakeKey.code(), 4, &[0; 33])),
        Refusal::Malformed
    );
    assert_eq!(
        ask(Kind::Look.code(), 5, &[]),
        [],
        "the handler's question is not the chip's"
    );
    assert_eq!(ask(0x82, 6, &[0; 32]), [], "answers are not questions");
}

#[test]
fn a_tick_without_a_question_is_quiet() {
    assert_eq!(Station::new(1, 3).tick(), (Received::Nothing, Tick::Quiet));
}

fn refusal_in(answer: &[u8]) -> Refusal {
    let mut found = None;
    Decoder::new().feed(answer, |Frame { payload, .. }| {
        found = Some(Refusal::from_code(u16::from_be_bytes([
            payload[8], payload[9],
        ])));
    });
    found.unwrap()
}
