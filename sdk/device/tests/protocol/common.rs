//! A chip on a bench: memory that survives its owner, power that can be cut before any write, a line that can be bent.

use aes_kw::{KeyInit as _, KwpAes256};
use identity::message::{Endorsement, KekInfo, Message as _};
use identity::sources::EntropyError;
use identity::{
    ChipUid, DeviceSerial, DocumentHash, Entropy, Id, LeafHash, P256Key, PartNumber, RequestId,
    SpkiHash,
};
use koseki_device::{
    Derivation, Device, Driver, Injection, Link, Memory, MemoryError, Patience, Proof, TransportKey,
};
use p256::SecretKey;
use p256::ecdsa::{SigningKey, signature::hazmat::PrehashSigner as _};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const NONCE: [u8; 32] = [0x11; 32];
pub(crate) const LEAF: LeafHash = LeafHash([0x22; 32]);

/// Different bytes at every call, the same in every run.
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn new(start: u64) -> Self {
        Self(AtomicU64::new(start))
    }
}

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for piece in out.chunks_mut(32) {
            let next = self.0.fetch_add(1, Ordering::Relaxed);
            piece.copy_from_slice(&identity::hash::sha256(&next.to_be_bytes())[..piece.len()]);
        }
        Ok(())
    }
}

pub(crate) struct Flash {
    pub(crate) slot: [u8; 32],
    pub(crate) lock: [u8; 4],
    pub(crate) certificate: Vec<u8>,
    pub(crate) certificate_len: u16,
    /// Writes until the power goes; the write that meets 0 does not happen.
    pub(crate) power: Option<u32>,
    /// What a write that meets 0 leaves behind, when it is the lock word.
    pub(crate) tears: bool,
    /// Writes that were done.
    pub(crate) writes: u32,
    /// Reads of the key slot that fail, after this many that succeed.
    pub(crate) slot_read_fault: Option<u32>,
    /// Reads of the slot that failed.
    pub(crate) faults: u32,
}

#[derive(Clone)]
pub(crate) struct Bench(pub(crate) Rc<RefCell<Flash>>);

impl Bench {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(Flash {
            slot: [0xFF; 32],
            lock: [0xFF; 4],
            certificate: vec![0xFF; 4096],
            certificate_len: 0,
            power: None,
            tears: false,
            writes: 0,
            slot_read_fault: None,
            faults: 0,
        })))
    }

    pub(crate) fn power_on(&self, entropy: u64) -> Device<Self, Counter> {
        Device::power_on(self.clone(), Counter::new(entropy)).unwrap()
    }

    fn write(&self, change: impl FnOnce(&mut Flash)) -> Result<(), MemoryError> {
        let mut flash = self.0.borrow_mut();
        match &mut flash.power {
            Some(0) => return Err(MemoryError),
            Some(left) => *left -= 1,
            None => {}
        }
        flash.writes += 1;
        change(&mut flash);
        Ok(())
    }
}

impl Memory for Bench {
    fn uid(&self) -> ChipUid {
        ChipUid::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap()
    }

    fn part(&self) -> PartNumber {
        PartNumber::new("sim-se-a1").unwrap()
    }

    fn endorsement(&self) -> [u8; 64] {
        let attestation = public(&SecretKey::from_slice(&[0x33; 32]).unwrap()).spki_hash();
        let message = Endorsement {
            uid: &self.uid(),
            part: &self.part(),
            attestation: &attestation,
        };
        let signature: p256::ecdsa::Signature = SigningKey::from_slice(&[0x44; 32])
            .unwrap()
            .sign_prehash(&message.digest())
            .unwrap();
        signature.to_bytes().into()
    }

    fn read_attestation_key(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        *out = [0x33; 32];
        Ok(())
    }

    fn read_slot(&self, out: &mut [u8; 32]) -> Result<(), MemoryError> {
        let mut flash = self.0.borrow_mut();
        match &mut flash.slot_read_fault {
            Some(0) => {
                flash.faults += 1;
                return Err(MemoryError);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        *out = flash.slot;
        Ok(())
    }

    fn write_slot(&mut self, secret: &[u8; 32]) -> Result<(), MemoryError> {
        assert_eq!(
            self.0.borrow().lock,
            [0xFF; 4],
            "the slot is written after the lock word"
        );
        self.write(|flash| flash.slot = *secret)
    }

    fn read_lock(&self) -> Result<[u8; 4], MemoryError> {
        Ok(self.0.borrow().lock)
    }

    fn write_lock(&mut self, word: &[u8; 4]) -> Result<(), MemoryError> {
        assert_eq!(
            self.0.borrow().lock,
            [0xFF; 4],
            "the lock word is written twice"
        );
        let outcome = self.write(|flash| flash.lock = *word);
        let mut flash = self.0.borrow_mut();
        if outcome.is_err() && flash.tears {
            flash.lock[..2].copy_from_slice(&word[..2]);
        }
        outcome
    }

    fn certificate_capacity(&self) -> u16 {
        4096
    }

    fn certificate_len(&self) -> Result<u16, MemoryError> {
        Ok(self.0.borrow().certificate_len)
    }

    fn set_certificate_len(&mut self, len: u16) -> Result<(), MemoryError> {
        self.write(|flash| flash.certificate_len = len)
    }

    fn read_certificate(&self, offset: u16, out: &mut [u8]) -> Result<(), MemoryError> {
        let offset = usize::from(offset);
        out.copy_from_slice(&self.0.borrow().certificate[offset..offset + out.len()]);
        Ok(())
    }

    fn write_certificate(&mut self, offset: u16, bytes: &[u8]) -> Result<(), MemoryError> {
        let offset = usize::from(offset);
        self.write(|flash| flash.certificate[offset..offset + bytes.len()].copy_from_slice(bytes))
    }
}

/// What happens to the next frames on the line.
#[derive(Clone, Default)]
pub(crate) struct Bend {
    /// Questions that get lost.
    pub(crate) lose_questions: u32,
    /// Answers that get lost.
    pub(crate) lose_answers: u32,
    /// How often each question is delivered again.
    pub(crate) repeats: usize,
    /// Put before everything, both ways.
    pub(crate) noise: Vec<u8>,
    /// The chip and the line are dead.
    pub(crate) dead: bool,
    /// One byte of one answer that is altered.
    pub(crate) forgery: Option<Forgery>,
}

/// One byte of one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forgery {
    /// Number of the answer, from 0.
    pub(crate) answer: usize,
    /// The byte, counted over the whole frame.
    pub(crate) at: usize,
    /// What it is changed with.
    pub(crate) flip: u8,
    /// Whether the checksum is put right afterwards.
    pub(crate) mended: bool,
}

impl Forgery {
    fn commit(self, answer: &mut [u8]) {
        answer[self.at] ^= self.flip;
        if self.mended {
            mend(answer);
        }
    }
}

/// Puts a frame's checksum right: CRC-32 of IEEE 802.3, written anew so that an error in the product's own is seen.
pub(crate) fn mend(frame: &mut [u8]) {
    let end = frame.len() - 4;
    let mut crc = u32::MAX;
    for byte in &frame[2..end] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    frame[end..].copy_from_slice(&(!crc).to_be_bytes());
}

pub(crate) struct Line {
    pub(crate) device: Device<Bench, Counter>,
    pub(crate) bench: Bench,
    pub(crate) bend: Bend,
    /// Every question that was delivered.
    pub(crate) questions: Vec<Vec<u8>>,
    /// Every answer of the chip, as it was before anybody altered it.
    pub(crate) answers: Vec<Vec<u8>>,
    back: VecDeque<u8>,
}

/// A line with the chip at its other end.
#[derive(Clone)]
pub(crate) struct Wire(pub(crate) Rc<RefCell<Line>>);

impl Wire {
    pub(crate) fn new(bench: &Bench) -> Self {
        let (device, bench) = (bench.power_on(0), bench.clone());
        let bend = Bend::default();
        Self(Rc::new(RefCell::new(Line {
            device,
            bench,
            bend,
            questions: Vec::new(),
            answers: Vec::new(),
            back: VecDeque::new(),
        })))
    }

    /// RAM is lost, the memory stays.
    pub(crate) fn power_cycle(&self, entropy: u64) {
        let mut line = self.0.borrow_mut();
        line.bench.0.borrow_mut().power = None;
        line.device = line.bench.power_on(entropy);
        line.bend.dead = false;
        line.back.clear();
    }

    pub(crate) fn driver(&self, session: u32) -> Driver<Self> {
        Driver::new(
            self.clone(),
            Patience {
                timeout_ms: 0,
                attempts: 4,
            },
            session,
        )
    }

    /// Puts raw bytes on the line; the answers.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        self.0
            .borrow_mut()
            .device
            .receive(bytes, |answer| answers.extend_from_slice(answer));
        answers
    }
}

impl Link for Wire {
    type Error = std::io::Error;

    fn send(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        let line = &mut *self.0.borrow_mut();
        if line.bend.lose_questions > 0 {
            line.bend.lose_questions -= 1;
            return Ok(());
        }
        line.questions.push(bytes.to_vec());
        let mut stream = [line.bend.noise.as_slice(), bytes].concat();
        stream.extend(bytes.repeat(line.bend.repeats));
        let mut answers = Vec::new();
        for piece in stream.chunks(7) {
            line.device
                .receive(piece, |answer| answers.push(answer.to_vec()));
        }
        // A chip whose power went while it worked says nothing any more.
        line.bend.dead |= line.bench.0.borrow().power == Some(0);
        for answer in answers.iter_mut().filter(|_| !line.bend.dead) {
            line.answers.push(answer.clone());
            if let Some(forgery) = line.bend.forgery
                && forgery.answer + 1 == line.answers.len()
            {
                forgery.commit(answer);
            }
            if line.bend.lose_answers > 0 {
                line.bend.lose_answers -= 1;
            } else {
                line.back.extend(line.bend.noise.iter().chain(&*answer));
            }
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8], _: u32) -> Result<usize, Self::Error> {
        let line = &mut *self.0.borrow_mut();
        if line.back.is_empty() && !line.bend.dead {
            line.device.idle(|answer| line.back.extend(answer));
        }
        let len = into.len().min(line.back.len()).min(5);
        for (place, byte) in into.iter_mut().zip(line.back.drain(..len)) {
            *place = byte;
        }
        Ok(len)
    }
}

pub(crate) fn public(secret: &SecretKey) -> P256Key {
    P256Key::from_sec1(secret.public_key().to_sec1_point(false).as_bytes()).unwrap()
}

/// The vendor of the bench's chips.
pub(crate) fn vendor() -> P256Key {
    public(&SecretKey::from_slice(&[0x44; 32]).unwrap())
}

pub(crate) fn proof(spki: SpkiHash) -> Proof<'static> {
    Proof {
        challenge: b"a challenge",
        request: RequestId([5; 16]),
        serial: DeviceSerial::new("26480001000").unwrap(),
        spki,
        grant: DocumentHash([6; 32]),
        station: Id::new("station-1").unwrap(),
    }
}

/// PKCS#8 as `SoftHSM2` writes it: no public key.
pub(crate) fn pkcs8(scalar: &[u8; 32]) -> Vec<u8> {
    const HEAD: &str = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
    let digits = HEAD
        .as_bytes()
        .chunks(2)
        .map(|pair| str::from_utf8(pair).unwrap());
    let head = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap());
    head.chain(*scalar).collect()
}

/// What the line's module does: agrees with the transport key, derives, wraps.
pub(crate) fn wrap(
    transport: &TransportKey,
    derivation: Derivation,
    uid: &ChipUid,
    plain: &[u8],
) -> (P256Key, Vec<u8>) {
    let ephemeral = SecretKey::from_slice(&[0x55; 32]).unwrap();
    let module = public(&ephemeral);
    let chip = p256::PublicKey::from_sec1_bytes(transport.ephemeral.sec1()).unwrap();
    let shared = ephemeral.diffie_hellman(&chip);
    let mut kek = [0; 32];
    match derivation {
        Derivation::RawX => kek.copy_from_slice(shared.raw_secret_bytes()),
        Derivation::Hkdf => {
            let mut info = [0; 512];
            let mut writer = koseki_device::Writer::new(&mut info);
            KekInfo {
                chip: transport.ephemeral.sec1(),
                module: module.sec1(),
                uid,
                nonce: &NONCE,
            }
            .write(&mut writer);
            hkdf::Hkdf::<sha2::Sha256>::new(None, shared.raw_secret_bytes())
                .expand(writer.as_bytes(), &mut kek)
                .unwrap();
        }
    }
    let mut wrapped = [0; 512];
    let wrapped = KwpAes256::new((&kek).into())
        .wrap_key(plain, &mut wrapped)
        .unwrap()
        .to_vec();
    (module, wrapped)
}

pub(crate) const fn injection(
    module: P256Key,
    derivation: Derivation,
    wrapped: &[u8],
) -> Injection<'_> {
    Injection {
        module,
        derivation,
        wrapped,
    }
}
