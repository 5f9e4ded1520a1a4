//! Door 1: who asks, for what, within which limits, with which proofs. Everything the signer will check is checked
//! here first, so that a refusal at door 4 is an alarm.

use super::Refusal;
use super::confirm::{ConfirmJob, VoidJob};
use super::enter::DocumentJob;
use super::lots::{CloseJob, ScrapJob};
use super::session::check_signed_agent;
use crate::challenge::{ChallengeError, ChallengeKey};
use crate::directory::{Directory, GrantEntry, LotEntry};
use crate::policy::rfc3339;
use identity::document::{Grant, KeyOriginRule, StationStatement};
use identity::envelope::{Envelope, Purpose, StationRequest, Unit, request_hash, signed_by};
use identity::evidence::{Evidence, EvidenceFacts, Grade};
use identity::fault::Fault;
use identity::field::{Openings, Tag};
use identity::hash::{DocumentHash, RequestHash, Sink as _, sha256_of};
use identity::idevid::{CertificateSerial, Facts, build_tbs};
use identity::key::AwsLcVerifier;
use identity::message::{Message as _, Possession};
use identity::{
    ChipUid, Clock, Day, DeviceSerial, Entropy, Id, P256Key, SpkiHash, SubjectId, Timestamp,
    VerifyP256,
};
use signer::Checks;
use std::sync::Arc;

/// Most that a station's clock may be off.
const CLOCK_TOLERANCE_MS: u64 = 24 * 60 * 60 * 1000;

/// What may pass to door 2.
#[derive(Debug)]
pub enum Job {
    /// Certify a unit.
    Bind(Box<Admitted>),
    /// A unit whose request id is known; its proofs were judged the first time, and are not now.
    Repeat(Box<Admitted>),
    /// Take over a bound unit.
    Adopt(Box<Admitted>),
    /// The certificate is in the chip.
    Confirm(Box<ConfirmJob>),
    /// The unit will never ship.
    Void(Box<VoidJob>),
    /// Ask the signer again about this binding, which it set aside.
    Retry(u64),
    /// A unit is scrapped.
    Scrap(Box<ScrapJob>),
    /// A lot is closed.
    CloseLot(Box<CloseJob>),
    /// Close a grant before its time, and why.
    CloseGrant(DocumentHash, Id),
    /// A document that people approved.
    Enter(Box<DocumentJob>),
    /// A request of a known station was refused.
    Refuse(Box<RefusedJob>),
}

/// What door 1 makes of a unit: what may pass, or a refusal that is said and not recorded.
pub type Judged = Result<Job, Refusal>;

/// A station's envelope, shared by its units.
#[derive(Debug)]
pub struct SignedEnvelope {
    /// Canonical DER.
    pub der: Vec<u8>,
    /// The station's signature.
    pub signature: Vec<u8>,
    /// Its name in the log.
    pub hash: RequestHash,
    /// The day that the station's clock showed.
    pub day: Day,
}

/// One unit that passed door 1.
#[derive(Debug)]
pub struct Admitted {
    pub(super) envelope: Arc<SignedEnvelope>,
    pub(super) position: u32,
    pub(super) unit: Unit,
    pub(super) key: P256Key,
    pub(super) grade: Grade,
    /// Why the evidence does not hold by itself; a unit that is taken over may bring what it was bound with.
    pub(super) doubt: Option<Refusal>,
    pub(super) station: Arc<StationStatement>,
    pub(super) grant: Arc<GrantEntry>,
    pub(super) lot: Arc<LotEntry>,
    pub(super) issuer_key: SpkiHash,
    pub(super) certificate_serial: CertificateSerial,
    pub(super) tbs: Vec<u8>,
    pub(super) openings: Openings,
}

impl Admitted {
    /// The subject of the fixed key.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        SubjectId::of_p256(&self.key.spki_hash())
    }

    /// Hash of what a retry must repeat: grant, lot, serial, UID, key and profile; never proof or challenge.
    #[must_use]
    pub fn facts(&self) -> [u8; 32] {
        sha256_of(|h| {
            h.put(b"koseki/facts/v1\n");
            h.put(&self.grant.hash.0);
            h.put(&self.lot.hash.0);
            h.put_prefixed(self.unit.serial.as_bytes());
            h.put_prefixed(self.unit.uid.as_bytes());
            h.put(&self.key.spki_hash().0);
            h.put(&self.grant.grant.profile.0);
        })
    }
}

/// A refusal to be recorded.
#[derive(Debug)]
pub struct RefusedJob {
    pub(super) station: Id,
    pub(super) refusal: Refusal,
    /// The request, where one was signed.
    pub(super) request: Option<RequestHash>,
    /// The unit it was about, as far as that is known.
    pub(super) unit: Option<(ChipUid, DeviceSerial)>,
}

/// What door 1 needs to decide.
#[derive(Clone, Debug)]
pub struct Admission {
    pub(super) directory: Arc<Directory>,
    pub(super) challenge: Arc<ChallengeKey>,
    pub(super) clock: Arc<dyn DebugClock>,
    pub(super) entropy: Arc<dyn DebugEntropy>,
    /// The signer's: what holds at door 1 is known again at door 4.
    pub(super) checks: Arc<Checks>,
}

/// A clock that can stand in a struct with `Debug`.
pub trait DebugClock: Clock + std::fmt::Debug {}
impl<T: Clock + std::fmt::Debug> DebugClock for T {}
/// Entropy that can stand in a struct with `Debug`.
pub trait DebugEntropy: Entropy + std::fmt::Debug {}
impl<T: Entropy + std::fmt::Debug> DebugEntropy for T {}

/// An envelope whose sender and common limits hold.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) request: Envelope,
    envelope: Arc<SignedEnvelope>,
    station: Arc<StationStatement>,
    grant: Arc<GrantEntry>,
    lot: Arc<LotEntry>,
    /// When it came. One time for all that is decided about it: a grant that ends in between would be in force at one
    /// check and not at the next.
    now: Timestamp,
}

impl Admission {
    /// Opens a request of any kind: form, sender, signature. Time is not looked at: a station that was switched off over
    /// the holidays must still get what it was promised before.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn open_request<R: StationRequest>(
        &self,
        peer: &Id,
        der: &[u8],
        signature: &[u8],
    ) -> Result<(R, Arc<StationStatement>), Refusal> {
        self.open_by(&AwsLcVerifier, peer, (der, signature))
    }

    fn open_by<R: StationRequest>(
        &self,
        verifier: &impl VerifyP256,
        peer: &Id,
        (der, signature): (&[u8], &[u8]),
    ) -> Result<(R, Arc<StationStatement>), Refusal> {
        if der.len() > R::LIMIT {
            return Err(Fault::TooLarge.into());
        }
        let request =
            R::from_bytes(der).map_err(|error| Refusal::new(Fault::EnvelopeMalformed, error))?;
        if request.station() != peer {
            return Err(Refusal::new(
                Fault::StationMismatch,
                format!("TLS {peer}, envelope {}", request.station()),
            ));
        }
        let station = self.station(peer)?;
        match signed_by::<R>(der, signature, &station.request_key, verifier) {
            true => Ok((request, station)),
            false => Err(Fault::EnvelopeSignature.into()),
        }
    }

    /// A station's time must be near ours for anything that is new.
    pub(super) fn check_time(&self, time: Timestamp) -> Result<(), Refusal> {
        let off = time.0.abs_diff(self.clock.now().0);
        match off <= CLOCK_TOLERANCE_MS {
            true => Ok(()),
            false => Err(Refusal::new(
                Fault::StationClock,
                format!("{} s off", off / 1000),
            )),
        }
    }

    /// A station that may act now.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn station(&self, id: &Id) -> Result<Arc<StationStatement>, Refusal> {
        let station = self
            .directory
            .station(id)
            .ok_or_else(|| Refusal::new(Fault::StationUnknown, id))?;
        match station.valid_at(self.clock.now()) {
            true => Ok(station),
            false => Err(Refusal::new(Fault::StationExpired, id)),
        }
    }

    /// Opens an envelope and checks what its units have in common. What its station has seen of the log is looked at before
    /// anything is refused: a refusal on record is a leaf, and a log that is behind must not grow.
    ///
    /// # Errors
    /// [`Refusal`] of the whole envelope.
    pub(super) fn open(
        &self,
        peer: &Id,
        der: Vec<u8>,
        signature: Vec<u8>,
        seen: impl FnOnce(&Envelope) -> Result<(), Refusal>,
    ) -> Result<Opened, Refusal> {
        let now = self.clock.now();
        let (request, station) =
            self.open_by::<Envelope>(self.checks.as_ref(), peer, (&der, &signature))?;
        seen(&request)?;
        let hash = request_hash::<Envelope>(&der);
        let grant = self.granted(&station, &request.grant)?;
        let unknown = || Refusal::new(Fault::LotUnknown, request.lot);
        let lot = self
            .directory
            .lot(&grant.hash, &request.lot)
            .ok_or_else(unknown)?;
        let envelope = Arc::new(SignedEnvelope {
            der,
            signature,
            hash,
            day: request.time.day(),
        });
        Ok(Opened {
            request,
            envelope,
            station,
            grant,
            lot,
            now,
        })
    }

    /// What a unit must meet that was not asked for before: the station's clock is right and the grant is in force.
    ///
    /// # Errors
    /// [`Refusal`] of all new units of the envelope.
    pub(super) fn check_now(&self, opened: &Opened) -> Result<(), Refusal> {
        self.check_time(opened.request.time)
            .map_err(|refusal| self.waited(opened).unwrap_or(refusal))?;
        if !opened.station.valid_at(opened.request.time) {
            return Err(Refusal::new(
                Fault::StationExpired,
                "by the station's own clock",
            ));
        }
        if opened.request.purpose == Purpose::Provision
            && self.directory.is_closed(&opened.lot.hash)
        {
            return Err(Refusal::new(Fault::LotClosed, opened.request.lot));
        }
        match opened.request.purpose {
            // What was bound in time is finished, by whichever station.
            Purpose::Adopt => Ok(()),
            Purpose::Provision => check_days(&opened.grant.grant, opened.now),
        }
    }

    /// That an envelope is old, and not its station's clock wrong: it was proved with a challenge of ours that has
    /// expired since. It is proved anew, and then its time tells.
    fn waited(&self, opened: &Opened) -> Option<Refusal> {
        let mut units = opened.request.units.iter();
        units.find_map(|unit| {
            let refusal = self.check_challenge(opened, unit).err()?;
            (refusal.fault == Fault::ChallengeStale).then_some(refusal)
        })
    }

    /// A grant that names this station and its line.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn granted(
        &self,
        station: &StationStatement,
        hash: &DocumentHash,
    ) -> Result<Arc<GrantEntry>, Refusal> {
        let unknown = || Refusal::new(Fault::GrantUnknown, hash);
        let entry = self.directory.grant(hash).ok_or_else(unknown)?;
        let grant = &entry.grant;
        if !grant.stations.contains(&station.id) {
            return Err(unknown());
        }
        if !grant.lines.contains(&station.line) || grant.site != station.site {
            return Err(Refusal::new(
                Fault::WrongLine,
                format!("{} at {}", station.line, station.site),
            ));
        }
        Ok(entry)
    }

    /// The job for one unit: to bind or adopt it, or to record why not.
    pub(super) fn unit(&self, opened: &Opened, position: usize, unit: &Unit) -> Job {
        match self.admit(opened, position, unit) {
            Ok(admitted) => match opened.request.purpose {
                Purpose::Provision => Job::Bind(Box::new(admitted)),
                Purpose::Adopt => Job::Adopt(Box::new(admitted)),
            },
            Err(refusal) => self.refuse_unit(opened, refusal, unit),
        }
    }

    /// The job for a unit whose request id is known: form and sender hold, proofs were judged the first time. Its
    /// certificate fields are never used, because what is stored goes out.
    pub(super) fn known_unit(&self, opened: &Opened, position: usize, unit: &Unit) -> Job {
        let repeated = check_form(opened, unit).and_then(|key| {
            self.assemble(
                opened,
                position,
                unit,
                (key, Ok(opened.grant.profile.grade)),
            )
        });
        match repeated {
            Ok(admitted) => Job::Repeat(Box::new(admitted)),
            Err(refusal) => self.refuse_unit(opened, refusal, unit),
        }
    }

    /// The job that records the refusal of one unit.
    pub(super) fn refuse_unit(&self, opened: &Opened, refusal: Refusal, unit: &Unit) -> Job {
        Self::refuse(
            &opened.station.id,
            refusal,
            Some(opened.envelope.hash),
            Some((unit.uid, unit.serial)),
        )
    }

    /// The job that records a refusal.
    pub(super) fn refuse(
        station: &Id,
        refusal: Refusal,
        request: Option<RequestHash>,
        unit: Option<(ChipUid, DeviceSerial)>,
    ) -> Job {
        Job::Refuse(Box::new(RefusedJob {
            station: *station,
            refusal,
            request,
            unit,
        }))
    }

    fn admit(&self, opened: &Opened, position: usize, unit: &Unit) -> Result<Admitted, Refusal> {
        let key = check_form(opened, unit)?;
        self.check_challenge(opened, unit)?;
        check_possession(opened, unit, &key, self.checks.as_ref())?;
        check_signed_agent(&opened.station, unit)?;
        let judged = judge_evidence(opened, unit, &key, self.checks.as_ref());
        match (judged, opened.request.purpose) {
            (Err(refusal), Purpose::Provision) => Err(refusal),
            (judged, Purpose::Provision | Purpose::Adopt) => {
                self.assemble(opened, position, unit, (key, judged))
            }
        }
    }

    fn assemble(
        &self,
        opened: &Opened,
        position: usize,
        unit: &Unit,
        (key, judged): (P256Key, Result<Grade, Refusal>),
    ) -> Result<Admitted, Refusal> {
        let (grade, doubt) = match judged {
            Ok(grade) => (grade, None),
            Err(refusal) => (opened.grant.profile.grade, Some(refusal)),
        };
        let now = opened.now;
        let openings = seal_fields(opened, unit, self.entropy.as_ref())?;
        let issuer_key = self.directory.issuer().key().spki_hash();
        let certificate_serial = CertificateSerial::of_key(&issuer_key, &key.spki_hash());
        let facts = Facts {
            profile: &opened.grant.profile,
            serial: &unit.serial,
            uid: &unit.uid,
            key: &key,
            certificate_serial: &certificate_serial,
            not_before: Timestamp(now.seconds() * 1000),
        };
        let tbs = build_tbs(self.directory.issuer(), &facts)
            .map_err(|error| Refusal::new(Fault::Internal, error))?;
        Ok(Admitted {
            envelope: Arc::clone(&opened.envelope),
            position: u32::try_from(position).unwrap_or(u32::MAX),
            unit: unit.clone(),
            key,
            grade,
            doubt,
            station: Arc::clone(&opened.station),
            grant: Arc::clone(&opened.grant),
            lot: Arc::clone(&opened.lot),
            issuer_key,
            certificate_serial,
            tbs,
            openings,
        })
    }

    fn check_challenge(&self, opened: &Opened, unit: &Unit) -> Result<(), Refusal> {
        let checked = self.challenge.check(
            unit.challenge.as_bytes(),
            &opened.station.id,
            &unit.uid,
            self.clock.now(),
        );
        checked.map_err(|error| match error {
            ChallengeError::Foreign => Fault::ChallengeInvalid.into(),
            ChallengeError::Stale => Fault::ChallengeStale.into(),
        })
    }
}

/// The grant is in force.
pub(super) fn check_days(grant: &Grant, now: Timestamp) -> Result<(), Refusal> {
    match grant.valid_at(now) {
        true => Ok(()),
        false => {
            let [from, until] = [grant.not_before, grant.not_after].map(rfc3339);
            let detail = format!("{} holds from {from} to {until}", grant.id);
            Err(Refusal::new(Fault::GrantExpired, detail))
        }
    }
}

/// Serial, part and UID have the product's form; the key is a point of the curve.
fn check_form(opened: &Opened, unit: &Unit) -> Result<P256Key, Refusal> {
    let (grant, profile) = (&opened.grant, &opened.grant.profile);
    if !grant.serials.allows(&unit.serial) {
        return Err(Refusal::new(Fault::SerialMalformed, unit.serial));
    }
    if !opened.lot.order.serials().holds(&unit.serial) {
        return Err(Refusal::new(
            Fault::SerialOutsideLot,
            format!("{} is not in {}", unit.serial, opened.request.lot),
        ));
    }
    if unit.part != profile.part {
        return Err(Refusal::new(
            Fault::WrongPart,
            format!("{} instead of {}", unit.part, profile.part),
        ));
    }
    if !profile.uid.allows(&unit.uid) {
        return Err(Refusal::new(Fault::UidMalformed, unit.uid));
    }
    unit.fixed_key()
        .map_err(|error| Refusal::new(Fault::KeyMalformed, error))
}

fn check_possession(
    opened: &Opened,
    unit: &Unit,
    key: &P256Key,
    checks: &Checks,
) -> Result<(), Refusal> {
    let spki = key.spki_hash();
    let possession = Possession {
        challenge: unit.challenge.as_bytes(),
        request: &unit.request,
        uid: &unit.uid,
        serial: &unit.serial,
        spki: &spki,
        grant: &opened.grant.hash,
        station: &opened.station.id,
    };
    match checks.verify(key, &possession.digest(), &unit.possession.0) {
        true => Ok(()),
        false => Err(Fault::PossessionInvalid.into()),
    }
}

fn judge_evidence(
    opened: &Opened,
    unit: &Unit,
    key: &P256Key,
    checks: &Checks,
) -> Result<Grade, Refusal> {
    let profile = &opened.grant.profile;
    let spki = key.spki_hash();
    let facts = EvidenceFacts {
        request: &unit.request,
        uid: &unit.uid,
        part: &unit.part,
        spki: &spki,
        vendors: &profile.vendors,
        receipt_key: &opened.station.receipt_key,
    };
    let origin = match &unit.evidence {
        Evidence::OnChip(_) => KeyOriginRule::OnChip,
        Evidence::Injected(_) => KeyOriginRule::Injected,
    };
    let grade = unit
        .evidence
        .judge(&facts, checks)
        .map_err(|error| Refusal::new(Fault::EvidenceInvalid, error))?;
    match origin == profile.origin && grade >= profile.grade {
        true => Ok(grade),
        false => Err(Refusal::new(
            Fault::GradeTooLow,
            format!(
                "{} where {} is demanded",
                grade.name(),
                profile.grade.name()
            ),
        )),
    }
}

fn seal_fields(opened: &Opened, unit: &Unit, entropy: &dyn Entropy) -> Result<Openings, Refusal> {
    let time = opened.now.0.to_string();
    let grant = &opened.grant.grant;
    let mut fields: Vec<(Tag, &[u8])> = vec![
        (Tag::DeviceSerial, unit.serial.as_bytes()),
        (Tag::Model, grant.product.as_bytes()),
        (Tag::Lot, opened.request.lot.as_bytes()),
        (Tag::WorkOrder, opened.lot.order.work_order.as_bytes()),
        (Tag::Factory, grant.factory.as_bytes()),
        (Tag::Line, opened.station.line.as_bytes()),
        (Tag::Station, opened.station.id.as_bytes()),
        (Tag::ChipUid, unit.uid.as_bytes()),
        (Tag::ChipPart, unit.part.as_bytes()),
        (Tag::BrandOwner, grant.maker.as_bytes()),
        (Tag::Time, time.as_bytes()),
    ];
    fields.extend(
        unit.observations
            .iter()
            .map(|observed| (observed.tag, observed.value.as_bytes())),
    );
    Openings::seal(&fields, entropy).map_err(|error| Refusal::new(Fault::Internal, error))
}
