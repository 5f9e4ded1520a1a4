//! The chip's end: executes questions and keeps the last answer.

use crate::answer::{
    ChipState, Confirmed, Identification, MadeKey, Origin, Signature, TransportKey,
};
use crate::frame::{self, ACK_LEN, Frame, FrameBuffer, Header};
use crate::key;
use crate::memory::{Lock, Memory, MemoryError};
use crate::refusal::Refusal;
use crate::request::{Injection, Kind, MAX_CERTIFICATE_PART, Proof, Request};
use crate::transport::Pending;
use crate::wire::Writer;
use core::fmt;
use identity::hash::{Sink as _, sha256_of};
use identity::message::{Confirmation, KeyOrigin, Message as _, Possession, Transport};
use identity::{CertificateHash, Entropy, LeafHash, P256Key, SpkiHash};
use p256::SecretKey;
use zeroize::Zeroizing;

/// The chip's end below the framing: frames in, answers out.
pub struct Chip<M, E> {
    core: Core<M, E>,
    last: Option<Last>,
    reply: FrameBuffer,
    short: ShortReply,
}

/// The question that was executed last.
#[derive(PartialEq, Eq)]
struct Last {
    session: u32,
    sequence: u16,
    ack: [u8; ACK_LEN],
}

impl<M: Memory, E: Entropy> Chip<M, E> {
    /// Wakes up with this memory; RAM is empty.
    ///
    /// # Errors
    /// [`Refusal::MemoryFault`], or [`Refusal::AttestationFault`] if the attestation key is no key.
    pub fn power_on(memory: M, entropy: E) -> Result<Self, Refusal> {
        let core = Core::power_on(memory, entropy)?;
        Ok(Self {
            core,
            last: None,
            reply: FrameBuffer::new(),
            short: ShortReply::default(),
        })
    }

    /// The memory.
    pub const fn memory(&self) -> &M {
        &self.core.memory
    }

    /// Answers one frame with one whole frame; none if it is not for a chip, or older than the last question.
    pub fn answer(&mut self, frame: &Frame<'_>) -> Option<&[u8]> {
        if !Kind::is_for_chip(frame.header.kind) {
            return None;
        }
        let (session, sequence) = (frame.header.session, frame.header.sequence);
        let now = Last {
            session,
            sequence,
            ack: frame.ack(),
        };
        match &self.last {
            Some(last) if *last == now => return Some(self.reply.as_bytes()),
            Some(last) if last.session == session && last.sequence == sequence => {
                return Some(self.short.refuse(frame, Refusal::SequenceReused));
            }
            Some(last) if last.session == session && last.sequence > sequence => return None,
            Some(last) if last.session == session => {}
            _ if frame.header.kind == Kind::Identify.code() => self.core.forget(),
            _ => return Some(self.short.refuse(frame, Refusal::NoSession)),
        }
        self.execute(frame, &now.ack);
        self.last = Some(now);
        Some(self.reply.as_bytes())
    }

    fn execute(&mut self, frame: &Frame<'_>, ack: &[u8; ACK_LEN]) {
        let mut out = self.reply.payload();
        out.put(ack);
        out.put(&[0, 0]);
        let done = Kind::from_code(frame.header.kind)
            .ok_or(Refusal::UnknownCommand)
            .and_then(|kind| Ok(Request::read(kind, frame.payload)?))
            .and_then(|request| self.core.execute(&request, &mut out));
        if let Err(refusal) = done {
            out.truncate(ACK_LEN);
            out.put(&refusal.code().to_be_bytes());
        }
        let len = out.written().unwrap_or_default();
        self.reply.seal(frame.header.answer(), len);
    }
}

impl<M, E> fmt::Debug for Chip<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Chip({}, {:?})",
            self.core.identification.uid, self.core.identification.state
        )
    }
}

/// Refusals that must not displace the last answer have a small buffer of their own.
#[derive(Default)]
struct ShortReply {
    bytes: [u8; Self::LEN],
}

impl ShortReply {
    const LEN: usize = frame::OVERHEAD + ACK_LEN + 2;

    fn refuse(&mut self, question: &Frame<'_>, refusal: Refusal) -> &[u8] {
        let mut payload = [0; ACK_LEN + 2];
        let mut out = Writer::new(&mut payload);
        out.put(&question.ack());
        out.put(&refusal.code().to_be_bytes());
        let header: Header = question.header.answer();
        let len = frame::seal_into(&mut self.bytes, header, &payload);
        self.bytes.get(..len).unwrap_or_default()
    }
}

/// A key in RAM, to be burnt.
struct Candidate {
    secret: SecretKey,
    public: P256Key,
    origin: Origin,
}

/// Where the writing of a certificate stands.
struct Upload {
    total: u16,
    written: u16,
}

/// Memory, keys and what they say.
struct Core<M, E> {
    memory: M,
    entropy: E,
    identification: Identification,
    transport: Option<Pending>,
    candidate: Option<Candidate>,
    upload: Option<Upload>,
}

impl<M: Memory, E: Entropy> Core<M, E> {
    fn power_on(memory: M, entropy: E) -> Result<Self, Refusal> {
        let identification = Identification {
            version: frame::VERSION,
            uid: memory.uid(),
            part: memory.part(),
            state: read_state(&memory)?,
            attestation: key::public(&read_attestation(&memory)?)?,
            endorsement: memory.endorsement(),
        };
        Ok(Self {
            memory,
            entropy,
            identification,
            transport: None,
            candidate: None,
            upload: None,
        })
    }

    /// A new session begins with nothing in hand.
    fn forget(&mut self) {
        self.transport = None;
        self.candidate = None;
        self.upload = None;
    }

    fn execute(&mut self, request: &Request<'_>, out: &mut Writer<'_>) -> Result<(), Refusal> {
        match request {
            Request::Identify => self.identification.write(out),
            Request::MakeKey { nonce } => self.make_key(nonce)?.write(out),
            Request::Attest { nonce } => self.attest(nonce)?.write(out),
            Request::Transport { nonce } => self.transport(*nonce)?.write(out),
            Request::Inject(injection) => out.put(self.inject(injection)?.sec1()),
            Request::Burn { spki } => out.put(self.burn(spki)?.sec1()),
            Request::Prove(proof) => out.put(&self.prove(proof)?),
            Request::WriteCertificate {
                offset,
                total,
                bytes,
            } => {
                out.put(
                    &self
                        .write_certificate(*offset, *total, bytes)?
                        .to_be_bytes(),
                );
            }
            Request::ReadCertificate { offset } => self.read_certificate(*offset, out)?,
            Request::Confirm { nonce, leaf } => self.confirm(nonce, leaf)?.write(out),
            Request::ReadKey => return Err(Refusal::KeyReadDenied),
            Request::Look | Request::Next { .. } => return Err(Refusal::UnknownCommand),
        }
        Ok(())
    }

    fn make_key(&mut self, nonce: &[u8; 32]) -> Result<MadeKey, Refusal> {
        self.require_blank()?;
        self.forget();
        let secret = key::generate(&self.entropy)?;
        let public = key::public(&secret)?;
        let made = self.sign_origin(public, nonce)?;
        self.candidate = Some(Candidate {
            secret,
            public,
            origin: Origin::Made,
        });
        Ok(made)
    }

    fn attest(&self, nonce: &[u8; 32]) -> Result<MadeKey, Refusal> {
        match self.require_burnt()? {
            (key, Origin::Made) => self.sign_origin(key, nonce),
            (_, Origin::Injected) => Err(Refusal::NotMadeHere),
        }
    }

    fn sign_origin(&self, key: P256Key, nonce: &[u8; 32]) -> Result<MadeKey, Refusal> {
        let Identification { uid, part, .. } = &self.identification;
        let digest = KeyOrigin {
            uid,
            part,
            spki: &key.spki_hash(),
            nonce,
        }
        .digest();
        Ok(MadeKey {
            key,
            origin: key::sign(&read_attestation(&self.memory)?, &digest)?,
        })
    }

    fn transport(&mut self, nonce: [u8; 32]) -> Result<TransportKey, Refusal> {
        self.require_blank()?;
        self.forget();
        let pending = Pending::generate(&self.entropy, nonce)?;
        let Identification { uid, part, .. } = &self.identification;
        let digest = Transport {
            uid,
            part,
            ephemeral: pending.public().sec1(),
            nonce: &nonce,
        }
        .digest();
        let signature = key::sign(&read_attestation(&self.memory)?, &digest)?;
        let ephemeral = *pending.public();
        self.transport = Some(pending);
        Ok(TransportKey {
            ephemeral,
            signature,
        })
    }

    fn inject(&mut self, injection: &Injection<'_>) -> Result<P256Key, Refusal> {
        self.require_blank()?;
        let pending = self.transport.take().ok_or(Refusal::NoTransport)?;
        let secret = pending.unwrap(&self.identification.uid, injection)?;
        let public = key::public(&secret)?;
        self.candidate = Some(Candidate {
            secret,
            public,
            origin: Origin::Injected,
        });
        Ok(public)
    }

    /// Slot, read back, lock word, read back. The station names the key, so a key that it does not expect (another
    /// session's, a repeated command's) is never burnt.
    fn burn(&mut self, spki: &SpkiHash) -> Result<P256Key, Refusal> {
        // Asked of the memory itself: the slot is never written once the lock word is.
        self.identification.state = read_state(&self.memory)?;
        self.require_blank()?;
        let candidate = self.candidate.take().ok_or(Refusal::NoKey)?;
        if candidate.public.spki_hash() != *spki {
            self.candidate = Some(candidate);
            return Err(Refusal::WrongKey);
        }
        let written = self.write_slot_and_lock(&candidate);
        // Whatever the writes said, what counts is what the memory says now. If it says nothing, no key is taken again
        // before the power was off.
        let state = read_state(&self.memory);
        self.identification.state = state.unwrap_or(ChipState::Torn);
        written?;
        state?;
        Ok(self.require_burnt()?.0)
    }

    fn write_slot_and_lock(&mut self, candidate: &Candidate) -> Result<(), Refusal> {
        let scalar = key::to_scalar(&candidate.secret);
        self.memory.write_slot(&scalar)?;
        let mut back = Zeroizing::new([0; 32]);
        self.memory.read_slot(&mut back)?;
        if key::from_scalar(&back).is_none_or(|secret| secret != candidate.secret) {
            return Err(Refusal::MemoryFault);
        }
        self.memory.write_lock(&Lock::word(candidate.origin))?;
        match Lock::from_word(self.memory.read_lock()?) {
            Lock::Locked(origin) if origin == candidate.origin => Ok(()),
            Lock::Locked(_) | Lock::Erased | Lock::Torn => Err(Refusal::MemoryFault),
        }
    }

    fn prove(&self, proof: &Proof<'_>) -> Result<Signature, Refusal> {
        let (key, _) = self.require_burnt()?;
        if key.spki_hash() != proof.spki {
            return Err(Refusal::WrongKey);
        }
        let message = Possession {
            challenge: proof.challenge,
            request: &proof.request,
            uid: &self.identification.uid,
            serial: &proof.serial,
            spki: &proof.spki,
            grant: &proof.grant,
            station: &proof.station,
        };
        key::sign(&read_slot(&self.memory)?, &message.digest())
    }

    fn write_certificate(&mut self, offset: u16, total: u16, bytes: &[u8]) -> Result<u16, Refusal> {
        self.require_burnt()?;
        let len = u16::try_from(bytes.len()).or(Err(Refusal::CertificateRange))?;
        let end = offset.checked_add(len).ok_or(Refusal::CertificateRange)?;
        let expected = match &self.upload {
            Some(upload) if offset != 0 && upload.total == total => upload.written,
            _ => 0,
        };
        if len == 0
            || offset != expected
            || end > total
            || total > self.memory.certificate_capacity()
        {
            return Err(Refusal::CertificateRange);
        }
        if offset == 0 {
            self.memory.set_certificate_len(0)?;
        }
        self.upload = None;
        self.memory.write_certificate(offset, bytes)?;
        if end == total {
            self.memory.set_certificate_len(total)?;
        } else {
            self.upload = Some(Upload {
                total,
                written: end,
            });
        }
        Ok(end)
    }

    fn read_certificate(&self, offset: u16, out: &mut Writer<'_>) -> Result<(), Refusal> {
        let total = self.require_certificate()?;
        let left = total
            .checked_sub(offset)
            .filter(|left| *left > 0)
            .ok_or(Refusal::CertificateRange)?;
        out.put(&total.to_be_bytes());
        let part = out
            .space(usize::from(left).min(MAX_CERTIFICATE_PART))
            .ok_or(Refusal::CertificateRange)?;
        Ok(self.memory.read_certificate(offset, part)?)
    }

    fn confirm(&self, nonce: &[u8; 32], leaf: &LeafHash) -> Result<Confirmed, Refusal> {
        self.require_burnt()?;
        let certificate = self.hash_certificate(self.require_certificate()?)?;
        let digest = Confirmation {
            nonce,
            certificate: &certificate,
            leaf,
        }
        .digest();
        Ok(Confirmed {
            certificate,
            signature: key::sign(&read_slot(&self.memory)?, &digest)?,
        })
    }

    fn hash_certificate(&self, total: u16) -> Result<CertificateHash, MemoryError> {
        const STEP: u16 = 64;
        let mut result = Ok(());
        let hash = sha256_of(|hasher| {
            let mut offset = 0;
            while offset < total && result.is_ok() {
                let mut piece = [0; 64];
                let len = STEP.min(total - offset);
                let piece = piece.get_mut(..usize::from(len)).unwrap_or_default();
                result = self.memory.read_certificate(offset, piece);
                hasher.put(piece);
                offset += len;
            }
        });
        result.map(|()| CertificateHash(hash))
    }

    const fn require_blank(&self) -> Result<(), Refusal> {
        match self.identification.state {
            ChipState::Blank => Ok(()),
            ChipState::Burnt { .. } => Err(Refusal::AlreadyBurnt),
            ChipState::Torn => Err(Refusal::Torn),
        }
    }

    const fn require_burnt(&self) -> Result<(P256Key, Origin), Refusal> {
        match self.identification.state {
            ChipState::Burnt { key, origin } => Ok((key, origin)),
            ChipState::Blank => Err(Refusal::NotBurnt),
            ChipState::Torn => Err(Refusal::Torn),
        }
    }

    fn require_certificate(&self) -> Result<u16, Refusal> {
        match self.memory.certificate_len()? {
            0 => Err(Refusal::NoCertificate),
            len if len > self.memory.certificate_capacity() => Err(Refusal::MemoryFault),
            len => Ok(len),
        }
    }
}

/// What slot and lock word say together. A whole lock word over a slot that holds no key is scrap as well.
fn read_state(memory: &impl Memory) -> Result<ChipState, Refusal> {
    match Lock::from_word(memory.read_lock()?) {
        Lock::Erased => Ok(ChipState::Blank),
        Lock::Torn => Ok(ChipState::Torn),
        Lock::Locked(origin) => match read_slot(memory) {
            Ok(secret) => Ok(ChipState::Burnt {
                key: key::public(&secret)?,
                origin,
            }),
            Err(Refusal::Torn) => Ok(ChipState::Torn),
            Err(refusal) => Err(refusal),
        },
    }
}

fn read_slot(memory: &impl Memory) -> Result<SecretKey, Refusal> {
    let mut scalar = Zeroizing::new([0; 32]);
    memory.read_slot(&mut scalar)?;
    key::from_scalar(&scalar).ok_or(Refusal::Torn)
}

fn read_attestation(memory: &impl Memory) -> Result<SecretKey, Refusal> {
    let mut scalar = Zeroizing::new([0; 32]);
    memory.read_attestation_key(&mut scalar)?;
    key::from_scalar(&scalar).ok_or(Refusal::AttestationFault)
}
