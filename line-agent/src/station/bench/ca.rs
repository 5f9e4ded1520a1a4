//! A CA that keeps a register in memory, and an inspector that believes it.

use super::{Fuse, STATION, STATION_ANEW, public};
use crate::ca_link::{Answer, Ca, CaError, ClosedLot, Found, LeafProof, Quota};
use crate::orders::Order;
use crate::station::floor::lock;
use crate::station::inspect::{Expected, Inspect, LotEnd, index_of};
use crate::station::journal::{HexHash, SignedRequest};
use crate::station::{Failure, Step};
use identity::document::SerialRange;
use identity::envelope::{
    ConfirmRequest, Envelope, Observation, Purpose, StationRequest, VoidRequest, signed_by,
};
use identity::evidence::{Evidence, EvidenceFacts, Grade};
use identity::fault::Fault;
use identity::field::Tag;
use identity::key::PortableVerifier;
use identity::leaf::EntryRef;
use identity::lot::{Compared, Difference, LotCloseRequest, LotSeen, LotTally, ScrapRequest};
use identity::message::{Confirmation, Message as _, Possession};
use identity::{
    CertificateHash, ChipUid, DeviceSerial, DocumentHash, Id, LeafHash, P256Key, RequestId,
    Timestamp, VerifyP256 as _,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A bound unit in the register.
#[derive(Clone, Debug)]
pub(in crate::station) struct Bound {
    pub(in crate::station) uid: ChipUid,
    pub(in crate::station) serial: DeviceSerial,
    pub(in crate::station) key: P256Key,
    pub(super) answer: Answer,
    pub(in crate::station) confirmed: Option<CertificateHash>,
    pub(in crate::station) voided: Option<Id>,
}

/// How often the station was enrolled.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::station) enum Enrolled {
    #[default]
    First,
    Anew,
}

/// What the CA keeps, and how it behaves.
#[derive(Debug, Default)]
pub(in crate::station) struct Register {
    pub(in crate::station) bound: BTreeMap<RequestId, Bound>,
    /// Nobody can reach the CA.
    pub(in crate::station) is_down: bool,
    /// Challenges made before this time are stale, as after a long pause.
    pub(in crate::station) stale_below: u64,
    /// Envelopes with challenges made before this time are of a program that is not approved any more.
    pub(in crate::station) unapproved_below: u64,
    challenges: u64,
    /// Units that changed hands.
    pub(in crate::station) adopted: usize,
    /// Which of its request keys the station has; no other is taken.
    pub(in crate::station) enrolled: Enrolled,
    /// Requests that were refused for their signature.
    pub(in crate::station) refused_signatures: usize,
    /// What every confirmation is refused with.
    pub(in crate::station) refuses_confirm: Option<Fault>,
    /// The CA is away for so many questions, from the one on that is asked after as many others.
    pub(in crate::station) cut: Option<(usize, usize)>,
    asked: usize,
    /// Only this chip's confirmation is refused.
    pub(in crate::station) refuses_only: Option<ChipUid>,
    /// The void of this request is refused.
    pub(in crate::station) refuses_void: Option<RequestId>,
    /// Scrappings that were taken.
    pub(in crate::station) scrapped: usize,
    /// What a challenge for a chip without key is refused with.
    pub(in crate::station) has_no_room: Option<Fault>,
    /// What every new binding is refused with.
    pub(in crate::station) refuses_bind: Option<Fault>,
    /// What every void and scrapping is refused with.
    pub(in crate::station) refuses_ends: Option<Fault>,
    /// What was signed before this time is a day off the CA's clock.
    pub(in crate::station) day_off_below: u64,
}

/// Serials of the lot's order.
fn serials() -> SerialRange {
    let serial = |text| DeviceSerial::new(text).unwrap();
    SerialRange {
        first: serial("26480000"),
        last: serial("26487999"),
    }
}

impl Register {
    /// The station's request key as it was last enrolled.
    pub(super) const fn request_key(&self) -> [u8; 32] {
        match self.enrolled {
            Enrolled::First => STATION,
            Enrolled::Anew => STATION_ANEW,
        }
    }

    /// The lot as it is shown.
    fn seen(&self) -> LotSeen {
        LotSeen {
            quantity: 8_000,
            serials: serials(),
            tally: self.tally(),
            closed: false,
        }
    }

    /// What the log holds.
    fn tally(&self) -> LotTally {
        let count = |is: fn(&Bound) -> bool| {
            let those = self.bound.values().filter(|it| is(it));
            u32::try_from(those.count()).unwrap()
        };
        LotTally {
            bound: count(|_| true),
            confirmed: count(|it| it.confirmed.is_some()),
            voided: count(|it| it.voided.is_some()),
            ..LotTally::default()
        }
    }

    fn check_signature<R: StationRequest>(
        &mut self,
        request: &SignedRequest,
    ) -> Result<(), CaError> {
        let key = public(&self.request_key());
        if signed_by::<R>(&request.der, &request.signature, &key, &PortableVerifier) {
            return Ok(());
        }
        self.refused_signatures += 1;
        let refused = "refused".to_owned();
        Err(CaError::Refused(Fault::EnvelopeSignature, refused))
    }

    /// Why nothing new is bound for this envelope.
    fn refuses_new(&self, envelope: &Envelope) -> Option<Fault> {
        let challenge = envelope.units[0].challenge.as_bytes();
        let made = u64::from_be_bytes(challenge.try_into().unwrap());
        let reasons = [
            (envelope.time.0 < self.day_off_below, Fault::StationClock),
            (made < self.stale_below, Fault::ChallengeStale),
            (made < self.unapproved_below, Fault::AgentNotApproved),
        ];
        let mut reasons = reasons.iter().filter(|(is, _)| *is);
        self.refuses_bind
            .or_else(|| reasons.next().map(|(_, fault)| *fault))
    }

    /// Whether a void or a scrapping is looked at now.
    fn check_end(&self, signed: Timestamp) -> Result<(), CaError> {
        let is_off = signed.0 < self.day_off_below;
        let refused = self
            .refuses_ends
            .or_else(|| is_off.then_some(Fault::StationClock));
        refused.map_or(Ok(()), |fault| {
            Err(CaError::Refused(fault, "refused".to_owned()))
        })
    }
}

#[derive(Debug)]
pub(in crate::station) struct FakeCa {
    pub(in crate::station) register: Arc<Mutex<Register>>,
    pub(super) fuse: Arc<Fuse>,
    pub(super) order: Order,
}

impl FakeCa {
    fn reach<T>(
        &self,
        act: impl FnOnce(&mut Register) -> Result<T, CaError>,
    ) -> Result<T, CaError> {
        self.fuse.touch();
        let mut register = lock(&self.register);
        register.asked += 1;
        let asked = register.asked;
        let is_cut = |(from, len): (usize, usize)| (from..from + len).contains(&asked);
        let answer = match register.is_down || register.cut.is_some_and(is_cut) {
            true => Err(CaError::Unreachable("down".to_owned())),
            false => act(&mut register),
        };
        drop(register);
        self.fuse.touch();
        answer
    }

    fn bind(&self, register: &mut Register, der: &[u8]) -> Result<Answer, CaError> {
        let envelope = Envelope::from_bytes(der).unwrap();
        let unit = &envelope.units[0];
        if let Some(bound) = register.bound.get(&unit.request) {
            assert_eq!(
                (bound.uid, bound.serial),
                (unit.uid, unit.serial),
                "a request id is used for one unit"
            );
            return Ok(bound.answer.clone());
        }
        let refused = |fault| Err(CaError::Refused(fault, "refused".to_owned()));
        if let Some(fault) = register.refuses_new(&envelope) {
            return refused(fault);
        }
        let key = unit.fixed_key().unwrap();
        if register
            .bound
            .values()
            .any(|bound| bound.uid == unit.uid || bound.key == key)
        {
            return refused(Fault::UidSeen);
        }
        if register
            .bound
            .values()
            .any(|bound| bound.serial == unit.serial)
        {
            return refused(Fault::SerialSeen);
        }
        self.check_proofs(&envelope);
        let says_program = |it: &Observation| {
            it.tag == Tag::AgentDigest && it.value.as_bytes() == [b'a', b'9'].repeat(32)
        };
        assert!(unit.observations.iter().any(says_program));
        let certificate = [b"certificate of ".as_slice(), unit.serial.as_bytes()].concat();
        let leaf = LeafHash::of(&certificate);
        let index = u64::try_from(register.bound.len()).unwrap();
        let answer = Answer {
            index,
            leaf,
            certificate,
            proof: format!("bind\nindex {index}\n\norigin\n1\n").into_bytes(),
            nonce: [8; 32],
        };
        let bound = Bound {
            uid: unit.uid,
            serial: unit.serial,
            key,
            answer: answer.clone(),
            confirmed: None,
            voided: None,
        };
        register.bound.insert(unit.request, bound);
        Ok(answer)
    }

    fn check_proofs(&self, envelope: &Envelope) {
        let (unit, key) = (&envelope.units[0], envelope.units[0].fixed_key().unwrap());
        let spki = key.spki_hash();
        let possession = Possession {
            challenge: unit.challenge.as_bytes(),
            request: &unit.request,
            uid: &unit.uid,
            serial: &unit.serial,
            spki: &spki,
            grant: &envelope.grant,
            station: &envelope.station,
        };
        assert!(PortableVerifier.verify(&key, &possession.digest(), &unit.possession.0));
        let facts = EvidenceFacts {
            request: &unit.request,
            uid: &unit.uid,
            part: &unit.part,
            spki: &spki,
            vendors: &self.order.profile.vendors,
            receipt_key: &key,
        };
        assert_eq!(
            unit.evidence.judge(&facts, &PortableVerifier),
            Ok(Grade::ChipAttested)
        );
    }
}

fn leaf_proof(kind: &str) -> LeafProof {
    LeafProof {
        proof: kind.as_bytes().to_vec(),
        leaf: None,
    }
}

impl Ca for FakeCa {
    fn quota(&self, _grant: &DocumentHash) -> Result<Quota, CaError> {
        self.reach(|register| {
            let (limit, used) = (100, u64::try_from(register.bound.len()).unwrap());
            let remaining = limit - used;
            Ok(Quota { limit, remaining })
        })
    }

    fn serials(&self, _grant: &DocumentHash, _lot: &Id) -> Result<SerialRange, CaError> {
        self.reach(|_register| Ok(serials()))
    }

    fn lot(&self, _grant: &DocumentHash, _lot: &Id) -> Result<LotSeen, CaError> {
        self.reach(|register| Ok(register.seen()))
    }

    fn challenge(
        &self,
        _uid: &ChipUid,
        _grant: Option<&DocumentHash>,
        lot: Option<&Id>,
    ) -> Result<Vec<u8>, CaError> {
        self.reach(|register| {
            if let Some(fault) = register.has_no_room.filter(|_| lot.is_some()) {
                return Err(CaError::Refused(fault, "refused".to_owned()));
            }
            register.challenges += 1;
            Ok(register.challenges.to_be_bytes().to_vec())
        })
    }

    fn provision(&self, envelope: &SignedRequest) -> Result<Answer, CaError> {
        self.reach(|register| {
            register.check_signature::<Envelope>(envelope)?;
            self.bind(register, &envelope.der)
        })
    }

    fn adopt(&self, envelope: &SignedRequest) -> Result<Answer, CaError> {
        self.reach(|register| {
            register.check_signature::<Envelope>(envelope)?;
            let envelope = Envelope::from_bytes(&envelope.der).unwrap();
            assert_eq!(envelope.purpose, Purpose::Adopt);
            let unit = &envelope.units[0];
            if let Some(bound) = register.bound.get(&unit.request) {
                return Ok(bound.answer.clone());
            }
            self.check_proofs(&envelope);
            let key = unit.fixed_key().unwrap();
            let (request, bound) = register
                .bound
                .iter()
                .find(|(_, bound)| bound.uid == unit.uid)
                .map(|(request, bound)| (*request, bound.clone()))
                .unwrap();
            assert_eq!((bound.serial, bound.key), (unit.serial, key));
            assert_eq!((bound.confirmed, bound.voided), (None, None));
            register.bound.remove(&request);
            register.adopted += 1;
            let answer = bound.answer.clone();
            register.bound.insert(unit.request, bound);
            Ok(answer)
        })
    }

    fn scrap(&self, request: &SignedRequest) -> Result<LeafProof, CaError> {
        self.reach(|register| {
            register.check_signature::<ScrapRequest>(request)?;
            let scrap = ScrapRequest::from_bytes(&request.der).unwrap();
            register.check_end(scrap.time)?;
            register.scrapped += 1;
            let Some(unit) = scrap.request else {
                return Ok(leaf_proof("scrap"));
            };
            let bound = register.bound.get_mut(&unit);
            let bound =
                bound.ok_or_else(|| CaError::Refused(Fault::NotBound, "refused".to_owned()))?;
            bound.voided = Some(scrap.reason);
            Ok(leaf_proof("scrap"))
        })
    }

    fn close_lot(
        &self,
        request: &SignedRequest,
        _shares: &[SignedRequest],
    ) -> Result<ClosedLot, CaError> {
        self.reach(|register| {
            let asked = LotCloseRequest::from_bytes(&request.der).unwrap();
            let seen = register.seen();
            if asked.seen != Some(seen) {
                return Err(CaError::Refused(Fault::LotMoved, "refused".to_owned()));
            }
            let found = u64::from(seen.tally.confirmed);
            // What the inspector is to find.
            Ok(ClosedLot {
                entry: leaf_proof("close"),
                order: found.to_be_bytes().to_vec(),
            })
        })
    }

    fn void(&self, request: &SignedRequest) -> Result<LeafProof, CaError> {
        self.reach(|register| {
            register.check_signature::<VoidRequest>(request)?;
            let void = VoidRequest::from_bytes(&request.der).unwrap();
            register.check_end(void.time)?;
            if register.refuses_void == Some(void.request) {
                return Err(CaError::Refused(Fault::Internal, "refused".to_owned()));
            }
            let Some(bound) = register.bound.get_mut(&void.request) else {
                return Err(CaError::Refused(Fault::NotBound, "refused".to_owned()));
            };
            if bound.confirmed.is_some() {
                return Err(CaError::Refused(
                    Fault::ConfirmMismatch,
                    "refused".to_owned(),
                ));
            }
            bound.voided.get_or_insert(void.reason);
            Ok(leaf_proof("void"))
        })
    }

    fn find_chip(&self, uid: &ChipUid) -> Result<Option<Found>, CaError> {
        self.reach(|register| {
            let bound = register.bound.values().find(|bound| bound.uid == *uid);
            let Some(bound) = bound else {
                return Ok(None);
            };
            match bound.voided {
                Some(_) => Err(CaError::Refused(Fault::Voided, "refused".to_owned())),
                None => Ok(Some(Found {
                    certificate: bound.answer.certificate.clone(),
                    proof: bound.answer.proof.clone(),
                    confirmed: bound.confirmed.is_some(),
                })),
            }
        })
    }

    fn confirm(&self, request: &SignedRequest) -> Result<Vec<u8>, CaError> {
        self.reach(|register| {
            register.check_signature::<ConfirmRequest>(request)?;
            let confirm = ConfirmRequest::from_bytes(&request.der).unwrap();
            let uid = register.bound[&confirm.request].uid;
            let is_meant = register.refuses_only.is_none_or(|only| only == uid);
            if let Some(fault) = register.refuses_confirm.filter(|_| is_meant) {
                return Err(CaError::Refused(fault, "refused".to_owned()));
            }
            let bound = register.bound.get_mut(&confirm.request).unwrap();
            let Answer { nonce, leaf, .. } = &bound.answer;
            let digest = Confirmation {
                nonce,
                certificate: &confirm.certificate,
                leaf,
            }
            .digest();
            assert!(PortableVerifier.verify(&bound.key, &digest, &confirm.signature.0));
            let first = *bound.confirmed.get_or_insert(confirm.certificate);
            assert_eq!(first, confirm.certificate);
            Ok(b"confirm\n\norigin\n2\n".to_vec())
        })
    }
}

/// Believes the proofs of [`FakeCa`], unless told not to.
#[derive(Debug, Default)]
pub(in crate::station) struct FakeInspector {
    pub(in crate::station) refuses: bool,
}

impl FakeInspector {
    fn believe(&self) -> Step<()> {
        match self.refuses {
            true => Err(Failure::new(Fault::ProofInvalid, "not believed")),
            false => Ok(()),
        }
    }
}

impl Inspect for FakeInspector {
    fn inspect_bind(
        &self,
        certificate: &[u8],
        proof: &[u8],
        expected: &Expected<'_>,
    ) -> Step<EntryRef> {
        let is_good =
            proof.starts_with(b"bind") && certificate.ends_with(expected.serial.as_bytes());
        match is_good && !self.refuses {
            true => Ok(EntryRef {
                index: index_of(proof)?,
                hash: LeafHash::of(certificate),
            }),
            false => Err(Failure::new(Fault::ProofInvalid, "not believed")),
        }
    }
    fn inspect_orphan(
        &self,
        certificate: &[u8],
        proof: &[u8],
        _uid: &ChipUid,
        _key: &P256Key,
    ) -> Step<(DeviceSerial, Option<Evidence>)> {
        assert!(proof.starts_with(b"bind"));
        let serial = certificate.strip_prefix(b"certificate of ").unwrap();
        let serial = DeviceSerial::new(std::str::from_utf8(serial).unwrap());
        Ok((serial.unwrap(), None))
    }
    fn inspect_confirm(&self, _certificate: &[u8], receipt: &[u8]) -> Step<()> {
        assert!(receipt.starts_with(b"confirm"));
        Ok(())
    }
    fn inspect_void(
        &self,
        given: &LeafProof,
        _void: &SignedRequest,
        uid: Option<&ChipUid>,
    ) -> Step<()> {
        assert!(given.proof.starts_with(b"void") && uid.is_some());
        self.believe()
    }
    fn inspect_scrap(
        &self,
        given: &LeafProof,
        _scrap: &SignedRequest,
        _earlier: &[HexHash],
        _uid: Option<&ChipUid>,
    ) -> Step<()> {
        assert!(given.proof.starts_with(b"scrap"));
        self.believe()
    }
    fn inspect_close(&self, given: &ClosedLot, asked: &LotCloseRequest) -> Step<LotEnd> {
        assert!(given.entry.proof.starts_with(b"close"));
        self.believe()?;
        let stated = u64::from(asked.counts.pass);
        let found = u64::from_be_bytes(given.order.as_slice().try_into().unwrap());
        let differs = (stated != found).then_some(Difference {
            what: Compared::Pass,
            stated,
            found,
        });
        Ok(LotEnd {
            index: 0,
            differences: differs.into_iter().collect(),
        })
    }
}
