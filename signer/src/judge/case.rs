//! One case, judged from what was found: no store, so that cases are judged beside one another.

use super::{Authority, Case};
use crate::checks::{Checks, Known};
use crate::code::Code;
use crate::error::{Fault, ensure};
use crate::pinned::Pinned;
use identity::document::{Grant, KeyOriginRule, LotOrder, StationStatement};
use identity::envelope::Envelope;
use identity::evidence::{Evidence, EvidenceFacts};
use identity::field::{Opening, Openings, Tag};
use identity::idevid::{CertificateSerial, Facts, Field, IdevidError, parse_tbs};
use identity::leaf::Bind;
use identity::message::{Message as _, Possession};
use identity::{P256Key, SubjectId, TbsHash, Timestamp, VerifyP256 as _};

/// Gives the TBS that may be signed.
pub(super) fn judge(case: &Case<'_>, pinned: &Pinned, checks: &Checks) -> Result<TbsHash, Fault> {
    let (envelope, authority) = (&case.signed.envelope, &case.authority);
    ensure!(envelope.time.day().fits_leaf(case.day), Code::EnvelopeTime);
    check_grant(envelope, &authority.grant, &case.bind, &case.station)?;
    let fits = |lot: &LotOrder| lot.quantity <= authority.grant.per_lot;
    ensure!(case.lot.as_deref().is_none_or(fits), Code::LotSize);
    let unit = usize::try_from(case.item.unit)
        .ok()
        .and_then(|at| envelope.units.get(at));
    let unit = Unit {
        unit: unit.ok_or_else(|| Fault::bare(Code::Unit))?,
        case,
        pinned,
        known: checks.known(),
    };
    unit.judge()
}

/// A unit of an envelope with everything that it is judged by.
struct Unit<'a> {
    unit: &'a identity::envelope::Unit,
    case: &'a Case<'a>,
    pinned: &'a Pinned,
    known: Known<'a>,
}

impl Unit<'_> {
    fn judge(&self) -> Result<TbsHash, Fault> {
        let key = self
            .unit
            .fixed_key()
            .map_err(|error| Fault::new(Code::Key, error))?;
        self.check_key(&key)?;
        self.check_serial()?;
        self.check_evidence()?;
        self.check_certificate(&key)?;
        self.check_fields()?;
        self.check_superseded()?;
        Ok(self.case.bind.certificate.tbs)
    }

    fn check_key(&self, key: &P256Key) -> Result<(), Fault> {
        let (bind, unit) = (&self.case.bind, self.unit);
        let profile = &self.case.authority.profile;
        let spki = key.spki_hash();
        ensure!(bind.certificate.spki == spki, Code::Spki);
        ensure!(bind.subject == SubjectId::of_p256(&spki), Code::Subject);
        ensure!(unit.part == profile.part, Code::Part);
        ensure!(profile.uid.allows(&unit.uid), Code::Uid);
        let possession = Possession {
            challenge: unit.challenge.as_bytes(),
            request: &unit.request,
            uid: &unit.uid,
            serial: &unit.serial,
            spki: &spki,
            grant: &bind.grant.grant,
            station: &self.case.station.id,
        };
        let held = self
            .known
            .verify(key, &possession.digest(), &unit.possession.0);
        ensure!(held, Code::Possession);
        Ok(())
    }

    /// The serial has the profile's form, and is one that the lot order names.
    fn check_serial(&self) -> Result<(), Fault> {
        let (serial, lot) = (&self.unit.serial, &self.case.lot);
        ensure!(self.case.authority.serials.allows(serial), Code::Serial);
        let ordered = lot.as_ref().is_none_or(|lot| lot.serials().holds(serial));
        ensure!(ordered, Code::Serial);
        Ok(())
    }

    /// What a station says of the board before this one stands in the leaf. Where it says nothing, it may have lost its
    /// journal, and the CA knows.
    fn check_superseded(&self) -> Result<(), Fault> {
        let stated = self.unit.supersedes();
        ensure!(
            stated.is_none() || stated == self.case.bind.supersedes,
            Code::Supersedes
        );
        Ok(())
    }

    fn check_evidence(&self) -> Result<(), Fault> {
        let (bind, unit) = (&self.case.bind, self.unit);
        let profile = &self.case.authority.profile;
        ensure!(
            bind.evidence.hash == unit.evidence.hash(),
            Code::EvidenceHash,
        );
        let origin = match unit.evidence {
            Evidence::OnChip(_) => KeyOriginRule::OnChip,
            Evidence::Injected(_) => KeyOriginRule::Injected,
        };
        ensure!(origin == profile.origin, Code::Origin);
        let facts = EvidenceFacts {
            request: &unit.request,
            uid: &unit.uid,
            part: &unit.part,
            spki: &bind.certificate.spki,
            vendors: &profile.vendors,
            receipt_key: &self.case.station.receipt_key,
        };
        let grade = unit
            .evidence
            .judge(&facts, &self.known)
            .map_err(|error| Fault::new(Code::Evidence, error))?;
        ensure!(grade == bind.evidence.grade, Code::Grade);
        ensure!(grade >= profile.grade, Code::GradeTooLow);
        Ok(())
    }

    fn check_certificate(&self, key: &P256Key) -> Result<(), Fault> {
        let Authority { grant, profile, .. } = self.case.authority.as_ref();
        let certificate = &self.case.bind.certificate;
        let serial = CertificateSerial::of_key(&certificate.issuer, &certificate.spki);
        ensure!(*serial.as_bytes() == certificate.serial.0, Code::TbsSerial);
        let parsed = parse_tbs(self.case.item.tbs.as_bytes()).map_err(tbs_fault)?;
        let not_before = parsed.not_before;
        let facts = Facts {
            profile,
            serial: &self.unit.serial,
            uid: &self.unit.uid,
            key,
            certificate_serial: &serial,
            not_before,
        };
        parsed
            .check(&self.pinned.issuer, &facts)
            .map_err(tbs_fault)?;
        ensure!(begins_within(not_before, grant), Code::TbsValidity);
        Ok(())
    }

    /// The leaf's fields are open to the signer, and say what envelope and grant say.
    fn check_fields(&self) -> Result<(), Fault> {
        let (unit, grant) = (self.unit, &self.case.authority.grant);
        let openings = Openings::from_bytes(self.case.item.openings.as_bytes())
            .map_err(|error| Fault::new(Code::Fields, error))?;
        ensure!(openings.root() == self.case.bind.fields, Code::Fields);
        let expected = [
            (Tag::DeviceSerial, unit.serial.as_bytes()),
            (Tag::ChipUid, unit.uid.as_bytes()),
            (Tag::ChipPart, unit.part.as_bytes()),
            (Tag::Station, self.case.station.id.as_bytes()),
            (Tag::Line, self.case.station.line.as_bytes()),
            (Tag::Lot, self.case.signed.envelope.lot.as_bytes()),
            (Tag::Factory, grant.factory.as_bytes()),
            (Tag::Model, grant.product.as_bytes()),
            (Tag::BrandOwner, grant.maker.as_bytes()),
        ];
        let observed = unit.observations.iter();
        let observed = observed.map(|it| (it.tag, it.value.as_bytes()));
        let known: Vec<_> = expected.into_iter().chain(observed).collect();
        let differs = known
            .iter()
            .find(|(tag, value)| openings.value(*tag) != Some(*value));
        let differs = differs.map(|(tag, _)| *tag);
        // What the server alone knows: the order that the lot came with, and when it took the request.
        let may_be = |tag: Tag| {
            let mut known = known.iter().map(|(known, _)| *known);
            matches!(tag, Tag::WorkOrder | Tag::Time) || known.any(|known| known == tag)
        };
        let mut tags = openings.fields().iter().map(Opening::tag);
        match differs.or_else(|| tags.find(|tag| !may_be(*tag))) {
            None => Ok(()),
            Some(tag) => Err(Fault::new(Code::FieldValue, format_args!("{tag:?}"))),
        }
    }
}

/// Envelope, leaf and grant agree, and the grant names station and line.
fn check_grant(
    envelope: &Envelope,
    grant: &Grant,
    bind: &Bind,
    station: &StationStatement,
) -> Result<(), Fault> {
    ensure!(envelope.grant == bind.grant.grant, Code::GrantDiffers);
    ensure!(
        grant.stations.contains(&station.id),
        Code::StationNotGranted,
    );
    ensure!(grant.site == station.site, Code::SiteNotGranted);
    ensure!(grant.lines.contains(&station.line), Code::LineNotGranted);
    Ok(())
}

/// In whole seconds, as certificates count.
fn begins_within(not_before: Timestamp, grant: &Grant) -> bool {
    (grant.not_before.seconds()..=grant.not_after.seconds()).contains(&not_before.seconds())
}

/// Which of the codes a wrong certificate gets.
fn tbs_fault(error: IdevidError) -> Fault {
    let code = match &error {
        IdevidError::Field(field) => match field {
            Field::SerialNumber => Code::TbsSerial,
            Field::SubjectPublicKey => Code::TbsKey,
            Field::Issuer | Field::AuthorityKeyIdentifier => Code::TbsIssuer,
            Field::SubjectAttribute(_)
            | Field::DeviceSerial
            | Field::ChipUid
            | Field::InstanceUri => Code::TbsDevice,
            Field::NotBefore => Code::TbsValidity,
            Field::Version
            | Field::SignatureAlgorithm
            | Field::NotAfter
            | Field::SubjectLength
            | Field::UniqueIdentifier
            | Field::Extensions
            | Field::KeyUsage
            | Field::SubjectAltName
            | Field::HardwareType
            | Field::CrlDistributionPoint => Code::TbsProfile,
        },
        IdevidError::TooLong { .. }
        | IdevidError::Der(_)
        | IdevidError::NotCanonical
        | IdevidError::Issuer(_)
        | IdevidError::Signature
        | IdevidError::Builder(_) => Code::Tbs,
    };
    Fault::new(code, error)
}
