//! The steps of one unit. Each state holds just what that moment knows, and only the step before can make it.

use super::checks::{check_genuine, check_unused, endorsed};
use super::floor::{Floor, Queue};
use super::inspect::Expected;
use super::journal::{Event, IssuedFacts, Keyed as KeyedEntry, OpenUnit, SignedRequest};
use super::spool::is_fresh;
use super::{Failure, Step};
use crate::ca_link::{Answer, CaError};
use crate::injector::{Original, Target, WrappedKey};
use crate::lot::LotUnit;
use crate::orders::Order;
use crate::programmer::{Programmer, ProgrammerError};
use crate::records::{Shipment, Trail};
use der::asn1::OctetString;
use identity::document::KeyOriginRule;
use identity::envelope::{
    ConfirmRequest, Envelope, Observation, Purpose, StationRequest as _, Unit, Version1,
};
use identity::evidence::{Bytes32, Evidence, Injected, OnChip, Signature};
use identity::fault::Fault;
use identity::field::Tag;
use identity::key::AwsLcVerifier;
use identity::message::{Confirmation, Message as _, Possession};
use identity::{
    CertificateHash, ChipUid, DeviceSerial, Id, LeafHash, P256Key, PartNumber, RequestId,
    Timestamp, VerifyP256 as _,
};
use koseki_device::{ChipState, Identification, Injection, Proof, Refusal};

/// What is to be made in which socket.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Grant and profile.
    pub order: &'a Order,
    /// Lot.
    pub lot: Id,
    /// Serial the device will carry.
    pub serial: DeviceSerial,
    /// Label, for people.
    pub label: String,
    /// Which attempt at this serial, from 1.
    pub attempt: u32,
    /// Units with this serial that failed since it was last scrapped.
    pub failures: u32,
    /// Socket.
    pub socket: Id,
    /// Position in the socket's tray.
    pub position: u32,
}

impl Task<'_> {
    /// The lot file's row.
    #[must_use]
    pub fn row(&self) -> LotUnit {
        LotUnit {
            serial: self.serial,
            label: self.label.clone(),
        }
    }
}

/// A socket with a task.
pub struct Bench<'a> {
    /// What all sockets share.
    pub floor: Floor<'a>,
    /// The socket.
    pub programmer: &'a mut dyn Programmer,
    /// Units of the lot that nobody works on.
    pub queue: &'a Queue,
    /// The task.
    pub task: Task<'a>,
    /// The unit's request.
    pub request: RequestId,
    /// Steps and facts for the record.
    pub trail: Trail,
    /// What ships with the device, when it is confirmed.
    pub shipment: Option<Shipment>,
}

impl Bench<'_> {
    /// Asks the chip who it is.
    ///
    /// # Errors
    /// [`Fault::NoChip`] if nobody answers.
    pub fn identify(&mut self) -> Step<Identification> {
        self.floor.stop.check()?;
        let chip = self
            .programmer
            .identify()
            .map_err(|error| Failure::of_chip(&error, Fault::NoChip))?;
        self.trail.facts.uid = Some(chip.uid);
        self.trail.facts.part = Some(chip.part);
        self.trail.measure("chip_state", state_name(&chip.state));
        self.done("identify");
        Ok(chip)
    }

    /// Writes to the journal.
    ///
    /// # Errors
    /// [`Fault::Journal`]
    pub fn journal(&self, event: Event) -> Step<()> {
        self.floor.enter(self.request, event)
    }

    /// Notes a step as done.
    pub(super) fn done(&mut self, step: &'static str) {
        tracing::debug!(socket = %self.task.socket, serial = %self.task.serial, step, "done");
        self.trail.mark(step, self.floor.clock);
    }
}

impl Bench<'_> {
    /// A challenge for the chip in the socket, under the grant of its unit; for its lot, if it has no key yet.
    fn challenge(&self, uid: &ChipUid, lot: Option<&Id>) -> Step<Vec<u8>> {
        let grant = &self.task.order.grant_hash;
        Ok(self.floor.ca.challenge(uid, Some(grant), lot)?)
    }
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

/// Who a keyed unit is.
#[derive(Clone, Debug)]
pub struct UnitFacts {
    /// Its request.
    pub request: RequestId,
    /// Whether it is new to the CA or taken over.
    pub purpose: Purpose,
    /// The chip.
    pub uid: ChipUid,
    /// Its part number.
    pub part: PartNumber,
    /// The fixed key.
    pub key: P256Key,
    /// Where the key came from.
    pub evidence: Evidence,
}

impl From<&OpenUnit> for UnitFacts {
    fn from(open: &OpenUnit) -> Self {
        let keyed = &open.keyed;
        Self {
            request: open.request,
            purpose: if keyed.adopts {
                Purpose::Adopt
            } else {
                Purpose::Provision
            },
            uid: keyed.uid,
            part: keyed.part,
            key: keyed.key,
            evidence: keyed.evidence.clone(),
        }
    }
}

impl UnitFacts {
    /// As it goes into the journal.
    #[must_use]
    pub fn entry(&self, task: &Task<'_>) -> KeyedEntry {
        KeyedEntry {
            socket: task.socket,
            lot: task.lot,
            serial: task.serial,
            label: task.label.clone(),
            attempt: task.attempt,
            grant: task.order.grant_hash,
            uid: self.uid,
            part: self.part,
            key: self.key,
            evidence: self.evidence.clone(),
            adopts: self.purpose == Purpose::Adopt,
        }
    }
}

/// A genuine, blank chip.
#[derive(Debug)]
pub struct Checked(Identification);

/// A fixed key exists, in the chip's RAM or wrapped for it, and is in the journal.
#[derive(Debug)]
pub struct Keyed {
    unit: UnitFacts,
    challenge: Vec<u8>,
    /// The wrapped key that the chip does not have yet.
    load: Option<WrappedKey>,
}

/// The fixed key is burnt.
#[derive(Debug)]
pub struct Burnt {
    unit: UnitFacts,
    /// None when the session began behind the burning.
    challenge: Option<Vec<u8>>,
    /// The original of an injected key.
    original: Option<Original>,
}

/// The envelope is in the journal and may be sent, also again.
#[derive(Debug)]
pub struct Sent {
    unit: UnitFacts,
    envelope: SignedRequest,
    /// What the CA answered in an earlier session.
    before: Option<IssuedFacts>,
    confirming: Option<SignedRequest>,
}

/// The CA's answer was verified.
#[derive(Debug)]
pub struct Issued {
    unit: UnitFacts,
    certificate: Vec<u8>,
    leaf: LeafHash,
    nonce: [u8; 32],
    confirming: Option<SignedRequest>,
}

/// The chip holds the certificate.
#[derive(Debug)]
pub struct Written(Issued);

/// The confirmation is in the journal and may be sent, also again.
#[derive(Debug)]
pub struct Confirming {
    certificate: Vec<u8>,
    request: SignedRequest,
}

/// Certificate and receipt are there for shipment.
#[derive(Debug)]
pub struct Confirmed(());

impl Checked {
    /// Checks the serial against the lot's order, then the chip.
    ///
    /// # Errors
    /// [`Fault::SerialOutsideLot`], what the CA says, and see [`super::checks`].
    pub fn new(chip: Identification, bench: &mut Bench<'_>) -> Step<Self> {
        let Bench { floor, task, .. } = &*bench;
        let lot = (task.order.grant_hash, task.lot);
        floor.serials.check(floor.ca, lot, &task.serial)?;
        check_genuine(&chip, &bench.task.order.profile)?;
        check_unused(&chip, &bench.floor)?;
        bench.done("check");
        Ok(Self(chip))
    }

    /// Gets a challenge, so that nothing is burnt while the CA cannot be reached or grant and lot have no room, and a key. When this returns, the
    /// journal knows request, chip, key and evidence; the key is in no place that outlives a power cut.
    ///
    /// # Errors
    /// [`Fault::CaUnreachable`], [`Fault::TransportInvalid`], [`Fault::ChipNotGenuine`], [`Fault::LineHsm`],
    /// [`Fault::Journal`], or the chip's.
    pub fn make_key(self, bench: &mut Bench<'_>) -> Step<Keyed> {
        bench.floor.stop.check()?;
        let challenge = bench.challenge(&self.0.uid, Some(&bench.task.lot))?;
        let (key, evidence, load) = match bench.task.order.profile.origin {
            KeyOriginRule::OnChip => self.make_on_chip(bench)?,
            KeyOriginRule::Injected => self.make_in_hsm(bench)?,
        };
        let unit = UnitFacts {
            request: bench.request,
            purpose: Purpose::Provision,
            uid: self.0.uid,
            part: self.0.part,
            key,
            evidence,
        };
        bench.journal(Event::Keyed(Box::new(unit.entry(&bench.task))))?;
        bench.done("key");
        Ok(Keyed {
            unit,
            challenge,
            load,
        })
    }

    fn make_on_chip(&self, bench: &mut Bench<'_>) -> Step<(P256Key, Evidence, Option<WrappedKey>)> {
        let nonce = bench.floor.random()?;
        let made = bench.programmer.make_key(&nonce)?;
        if !made.is_attested_by(&self.0, &nonce, &AwsLcVerifier) {
            return Err(Failure::new(
                Fault::ChipNotGenuine,
                "the chip did not attest the key as its own",
            ));
        }
        let evidence = OnChip {
            chip: endorsed(&self.0),
            nonce: Bytes32(nonce),
            origin: Signature(made.origin),
        };
        Ok((made.key, Evidence::OnChip(evidence), None))
    }

    fn make_in_hsm(&self, bench: &mut Bench<'_>) -> Step<(P256Key, Evidence, Option<WrappedKey>)> {
        let nonce = bench.floor.random()?;
        let transport = bench.programmer.transport(&nonce)?;
        if !transport.is_attested_by(&self.0, &nonce, &AwsLcVerifier) {
            return Err(Failure::new(
                Fault::TransportInvalid,
                "the chip did not sign its transport key",
            ));
        }
        let ephemeral = transport.ephemeral;
        let target = Target {
            request: &bench.request,
            uid: &self.0.uid,
            ephemeral: &ephemeral,
            nonce: &nonce,
        };
        let wrapped = bench.floor.hsm.make_key(&target)?;
        let evidence = Injected {
            chip: endorsed(&self.0),
            nonce: Bytes32(nonce),
            ephemeral,
            transport: Signature(transport.signature),
            wrapped: Bytes32(identity::hash::sha256(&wrapped.wrapped)),
            receipt: Signature(wrapped.receipt),
        };
        Ok((wrapped.key, Evidence::Injected(evidence), Some(wrapped)))
    }
}

impl Keyed {
    /// Burns the key. If the power goes inside, the chip says on the next start whether it is blank, burnt or torn.
    ///
    /// # Errors
    /// [`Fault::BurnFailed`], [`Fault::ChipTorn`], [`Fault::NoChip`].
    pub fn burn(self, bench: &mut Bench<'_>) -> Step<Burnt> {
        bench.floor.stop.check()?;
        let failed = |error: ProgrammerError| Failure::of_chip(&error, Fault::BurnFailed);
        let expect = |key: P256Key, what: &str| {
            if key == self.unit.key {
                Ok(())
            } else {
                Err(Failure::new(
                    Fault::BurnFailed,
                    format!("the chip {what} another key"),
                ))
            }
        };
        if let Some(load) = &self.load {
            let injection = Injection {
                module: load.module,
                derivation: load.derivation,
                wrapped: &load.wrapped,
            };
            expect(
                bench.programmer.inject(&injection).map_err(failed)?,
                "unwrapped",
            )?;
        }
        expect(
            bench
                .programmer
                .burn(&self.unit.key.spki_hash())
                .map_err(failed)?,
            "burnt",
        )?;
        bench.done("burn");
        Ok(Burnt {
            unit: self.unit,
            challenge: Some(self.challenge),
            original: self.load.map(|load| load.original),
        })
    }
}

impl Burnt {
    /// Goes on with a burnt chip whose envelope was never sent.
    #[must_use]
    pub fn resume(open: &OpenUnit) -> Self {
        Self {
            unit: open.into(),
            challenge: None,
            original: None,
        }
    }

    /// Goes on with a chip that another station burnt.
    pub(super) const fn adopted(unit: UnitFacts) -> Self {
        Self {
            unit,
            challenge: None,
            original: None,
        }
    }

    /// Makes sure that the key cannot be read, has the chip prove possession, and seals the envelope. When this
    /// returns, the envelope's bytes are in the journal; nothing was sent.
    ///
    /// # Errors
    /// [`Fault::ReadbackPossible`], [`Fault::PossessionInvalid`], [`Fault::CaUnreachable`], [`Fault::Journal`].
    pub fn prove(self, bench: &mut Bench<'_>) -> Step<Sent> {
        bench.floor.stop.check()?;
        check_readback(bench.programmer)?;
        bench.trail.measure("key_readback", "denied");
        let challenge = self
            .challenge
            .map_or_else(|| bench.challenge(&self.unit.uid, None), Ok)?;
        let possession = prove_possession(&self.unit, &challenge, bench)?;
        if let Some(original) = self.original {
            original.destroy()?;
        }
        let envelope = bench
            .floor
            .sign(&envelope(&self.unit, &challenge, possession, bench)?)?;
        bench.journal(Event::Sent(envelope.clone()))?;
        bench.done("prove");
        Ok(Sent {
            unit: self.unit,
            envelope,
            before: None,
            confirming: None,
        })
    }
}

impl Sent {
    /// Goes on with a unit whose envelope may have been sent. `None` if none was sealed.
    #[must_use]
    pub fn resume(open: &OpenUnit) -> Option<Self> {
        let envelope = open.sent.clone()?;
        Some(Self {
            unit: open.into(),
            envelope,
            before: open.issued,
            confirming: open.confirming.clone(),
        })
    }

    /// The unit before its envelope was sealed, for a new proof when the challenge went stale.
    #[must_use]
    pub fn before_proof(&self) -> Burnt {
        Burnt {
            unit: self.unit.clone(),
            challenge: None,
            original: None,
        }
    }

    /// Whether the envelope was sealed not long ago, by the clock that is there now.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        let sealed = Envelope::from_bytes(&self.envelope.der);
        sealed.is_ok_and(|envelope| is_fresh(envelope.time, now))
    }

    /// Sends the envelope and verifies the answer; the same envelope gets the same answer for ever.
    ///
    /// # Errors
    /// [`Fault::CaUnreachable`], the CA's refusal, [`Fault::ProofInvalid`], [`Fault::Journal`].
    pub fn provision(self, bench: &mut Bench<'_>) -> Step<Issued> {
        bench.floor.stop.check()?;
        let answer = match self.unit.purpose {
            Purpose::Provision => bench.floor.ca.provision(&self.envelope)?,
            Purpose::Adopt => bench.floor.ca.adopt(&self.envelope)?,
        };
        let facts = self.verify(&answer, bench)?;
        bench.floor.seen.note(&answer.proof);
        if self.before.is_none() {
            // The same envelope gets the same answer: what is lost with the power is learnt anew.
            bench
                .floor
                .enter_with_seen(bench.request, Event::Issued(facts))?;
        }
        note(facts, bench);
        bench.done("provision");
        let Answer {
            certificate, nonce, ..
        } = answer;
        Ok(Issued {
            unit: self.unit,
            certificate,
            leaf: facts.leaf,
            nonce,
            confirming: self.confirming,
        })
    }

    fn verify(&self, answer: &Answer, bench: &Bench<'_>) -> Step<IssuedFacts> {
        let expected = Expected {
            serial: &bench.task.serial,
            uid: &self.unit.uid,
            key: &self.unit.key,
            index: answer.index,
        };
        let bind =
            bench
                .floor
                .inspector
                .inspect_bind(&answer.certificate, &answer.proof, &expected)?;
        let facts = IssuedFacts {
            certificate: CertificateHash::of(&answer.certificate),
            index: bind.index,
            leaf: bind.hash,
        };
        let is_named = (bind.index, bind.hash) == (answer.index, answer.leaf);
        let is_same = self.before.is_none_or(|before| before == facts);
        match (is_named, is_same) {
            (true, true) => Ok(facts),
            (false, _) => Err(Failure::new(
                Fault::ProofInvalid,
                "the proof is of another leaf than the answer names",
            )),
            (_, false) => Err(Failure::new(
                Fault::ProofInvalid,
                "the same request got another answer than before",
            )),
        }
    }
}

impl Issued {
    /// Writes the certificate, unless the chip holds it already, and compares what is read back.
    ///
    /// # Errors
    /// [`Fault::CertificateReadback`] or the chip's.
    pub fn write(self, bench: &mut Bench<'_>) -> Step<Written> {
        bench.floor.stop.check()?;
        let len = u64::try_from(self.certificate.len()).unwrap_or(u64::MAX);
        bench.trail.measure("certificate_bytes", len);
        let held = match bench.programmer.read_certificate() {
            Ok(held) => Some(held),
            Err(ProgrammerError::Refused(Refusal::NoCertificate)) => None,
            Err(error) => return Err(error.into()),
        };
        if held.as_ref() != Some(&self.certificate) {
            bench.programmer.write_certificate(&self.certificate)?;
            if bench.programmer.read_certificate()? != self.certificate {
                return Err(Failure::new(
                    Fault::CertificateReadback,
                    "the chip gave other bytes back",
                ));
            }
        }
        bench.done("write");
        Ok(Written(self))
    }
}

impl Written {
    /// Has the chip sign for what it holds. When this returns, the confirmation's bytes are in the journal.
    ///
    /// # Errors
    /// [`Fault::ConfirmMismatch`], [`Fault::ConfirmSignature`], [`Fault::Journal`] or the chip's.
    pub fn confirm(self, bench: &mut Bench<'_>) -> Step<Confirming> {
        bench.floor.stop.check()?;
        let Issued {
            unit,
            certificate,
            leaf,
            nonce,
            confirming,
        } = self.0;
        if let Some(request) = confirming {
            return Ok(Confirming {
                certificate,
                request,
            });
        }
        let hash = CertificateHash::of(&certificate);
        let confirmed = bench.programmer.confirm(&nonce, &leaf)?;
        if confirmed.certificate != hash {
            return Err(Failure::new(
                Fault::ConfirmMismatch,
                "the chip signed for another certificate",
            ));
        }
        let digest = Confirmation {
            nonce: &nonce,
            certificate: &hash,
            leaf: &leaf,
        }
        .digest();
        if !AwsLcVerifier.verify(&unit.key, &digest, &confirmed.signature) {
            return Err(Failure::new(
                Fault::ConfirmSignature,
                "the signature does not verify",
            ));
        }
        let request = bench.floor.sign(&ConfirmRequest {
            version: Version1,
            station: bench.floor.station.id,
            time: bench.floor.clock.now(),
            request: unit.request,
            leaf,
            certificate: hash,
            signature: Signature(confirmed.signature),
        })?;
        bench.journal(Event::Confirming(request.clone()))?;
        bench.done("confirm");
        Ok(Confirming {
            certificate,
            request,
        })
    }
}

impl Confirming {
    /// Sends the confirmation and verifies the receipt. Certificate and receipt are stored for shipment with the record.
    ///
    /// # Errors
    /// [`Fault::CaUnreachable`], the CA's refusal ([`Fault::Voided`] among them), [`Fault::ProofInvalid`],
    /// [`Fault::Journal`].
    pub fn settle(self, bench: &mut Bench<'_>) -> Step<Confirmed> {
        bench.floor.stop.check()?;
        let receipt = self.send(bench)?;
        bench
            .floor
            .inspector
            .inspect_confirm(&self.certificate, &receipt)?;
        bench.floor.seen.note(&receipt);
        bench.shipment = Some(Shipment {
            certificate: self.certificate,
            receipt,
        });
        bench.done("settle");
        Ok(Confirmed(()))
    }

    /// What was signed with a request key that the station had before it was enrolled anew is signed again, the same
    /// bytes, and in the journal before it is sent.
    fn send(&self, bench: &Bench<'_>) -> Step<Vec<u8>> {
        let floor = &bench.floor;
        match floor.ca.confirm(&self.request) {
            Err(CaError::Refused(Fault::EnvelopeSignature, _)) => {
                let again = floor.sign_bytes::<ConfirmRequest>(self.request.der.clone())?;
                bench.journal(Event::Confirming(again.clone()))?;
                Ok(floor.ca.confirm(&again)?)
            }
            answer => Ok(answer?),
        }
    }
}

const fn state_name(state: &ChipState) -> &'static str {
    match state {
        ChipState::Blank => "blank",
        ChipState::Burnt { .. } => "burnt",
        ChipState::Torn => "torn",
    }
}

fn check_readback(programmer: &mut dyn Programmer) -> Step<()> {
    match programmer.read_key() {
        Err(ProgrammerError::Refused(Refusal::KeyReadDenied)) => Ok(()),
        Ok(()) => Err(Failure::new(
            Fault::ReadbackPossible,
            "the chip answered a question for its key",
        )),
        Err(error) => Err(error.into()),
    }
}

fn prove_possession(unit: &UnitFacts, challenge: &[u8], bench: &mut Bench<'_>) -> Step<Signature> {
    let (spki, grant) = (unit.key.spki_hash(), bench.task.order.grant_hash);
    let (request, serial, station) = (unit.request, bench.task.serial, bench.floor.station.id);
    let signature = bench.programmer.prove(&Proof {
        challenge,
        request,
        serial,
        spki,
        grant,
        station,
    })?;
    let message = Possession {
        challenge,
        request: &request,
        uid: &unit.uid,
        serial: &serial,
        spki: &spki,
        grant: &grant,
        station: &station,
    };
    if AwsLcVerifier.verify(&unit.key, &message.digest(), &signature) {
        Ok(Signature(signature))
    } else {
        Err(Failure::new(
            Fault::PossessionInvalid,
            "the chip's proof does not verify",
        ))
    }
}

fn envelope(
    unit: &UnitFacts,
    challenge: &[u8],
    possession: Signature,
    bench: &Bench<'_>,
) -> Step<Envelope> {
    let task = &bench.task;
    let octets = |bytes: &[u8]| {
        OctetString::new(bytes).map_err(|error| Failure::new(Fault::EnvelopeMalformed, error))
    };
    let placement = format!("socket {} position {}", task.socket, task.position);
    let observe = |tag, value: &str| {
        Ok::<_, Failure>(Observation {
            tag,
            value: octets(value.as_bytes())?,
        })
    };
    Ok(Envelope {
        version: Version1,
        purpose: unit.purpose,
        station: bench.floor.station.id,
        time: bench.floor.clock.now(),
        grant: task.order.grant_hash,
        lot: task.lot,
        seen: bench
            .floor
            .seen
            .newest()
            .as_deref()
            .map(octets)
            .transpose()?,
        units: vec![Unit {
            request: unit.request,
            uid: unit.uid,
            part: unit.part,
            serial: task.serial,
            key: octets(&unit.key.spki())?,
            challenge: octets(challenge)?,
            possession,
            evidence: unit.evidence.clone(),
            observations: vec![
                observe(Tag::Placement, &placement)?,
                observe(Tag::Attempt, &task.attempt.to_string())?,
                observe(Tag::AgentDigest, &bench.floor.agent.to_string())?,
            ],
        }],
    })
}

fn note(facts: IssuedFacts, bench: &mut Bench<'_>) {
    bench.trail.facts.certificate_sha256 = Some(facts.certificate);
    bench.trail.facts.bind_index = Some(facts.index);
    bench.trail.facts.bind_leaf = Some(facts.leaf);
}
