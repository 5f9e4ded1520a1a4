//! Judging one certificate: leaf, envelope, evidence and TBS must say the same, and a station must have asked for it
//! under an approved grant.

use crate::code::Code;
use crate::error::{Fault, ensure};
use crate::message::Item;
use crate::pinned::Pinned;
use crate::store::{attempt, damaged, document, leaf, state};
use identity::document::{Grant, KeyOriginRule, Profile, StationStatement};
use identity::envelope::{Envelope, Purpose, StationRequest as _, Unit, request_hash};
use identity::evidence::{Evidence, EvidenceFacts};
use identity::idevid::{CertificateSerial, Facts, Field, IdevidError, check_tbs, parse_tbs};
use identity::leaf::Bind;
use identity::message::{Message as _, Possession};
use identity::rules::Stage;
use identity::{
    DocumentHash, P256Key, RequestHash, SubjectId, TbsHash, Timestamp, VerifyP256 as _,
};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What is to be done about an item that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer with the signature that was made before.
    Stored([u8; 64]),
    /// Make the attempt durable, then sign.
    Sign(TbsHash),
}

/// Judges the items of one exchange. Documents and envelopes are read once each.
pub(crate) struct Judge<'a> {
    connection: &'a Connection,
    pinned: &'a Pinned,
    authorities: BTreeMap<DocumentHash, Rc<Authority>>,
    stations: BTreeMap<DocumentHash, Rc<StationStatement>>,
    envelope: Option<Rc<Signed<'a>>>,
    /// The statement under whose key the signature of `envelope` was found good.
    signer: Option<DocumentHash>,
}

/// An approved grant and its profile.
struct Authority {
    grant: Grant,
    profile: Profile,
}

/// An envelope that was read.
struct Signed<'a> {
    bytes: &'a [u8],
    signature: &'a [u8],
    hash: RequestHash,
    envelope: Envelope,
}

/// Everything a unit is judged by.
struct Case<'a> {
    bind: &'a Bind,
    authority: &'a Authority,
    station: &'a StationStatement,
    unit: &'a Unit,
    key: P256Key,
}

impl<'a> Judge<'a> {
    pub(crate) const fn new(connection: &'a Connection, pinned: &'a Pinned) -> Self {
        Self {
            connection,
            pinned,
            authorities: BTreeMap::new(),
            stations: BTreeMap::new(),
            envelope: None,
            signer: None,
        }
    }

    /// # Errors
    /// Why this item is not signed; only a fault that is not of an item concerns its neighbours.
    pub(crate) fn judge(&mut self, item: &'a Item) -> Result<Verdict, Fault> {
        let bind = self.live_bind(item.index)?;
        let tbs = TbsHash::of(item.tbs.as_bytes());
        if let Some(attempt) = attempt::get(self.connection, item.index)? {
            ensure!(attempt.tbs == tbs, Code::OtherTbs);
            if let Some(signature) = attempt.signature {
                return self.stored(&tbs, signature);
            }
        }
        ensure!(bind.certificate.tbs == tbs, Code::TbsHash);
        ensure!(
            bind.certificate.issuer == self.pinned.issuing_key,
            Code::Issuer,
        );
        let signed = self.envelope(item)?;
        ensure!(signed.hash == bind.request, Code::RequestHash);
        ensure!(signed.envelope.purpose == Purpose::Provision, Code::Purpose);
        let station = self.asking_station(&signed, item.index)?;
        let authority = self.authority(&bind.grant.grant)?;
        check_grant(&signed.envelope, &authority.grant, &bind, &station)?;
        let unit = usize::try_from(item.unit)
            .ok()
            .and_then(|at| signed.envelope.units.get(at));
        let unit = unit.ok_or_else(|| Fault::bare(Code::Unit))?;
        let key = unit
            .fixed_key()
            .map_err(|error| Fault::new(Code::Key, error))?;
        let case = Case {
            bind: &bind,
            authority: &authority,
            station: &station,
            unit,
            key,
        };
        self.check_unit(&case)?;
        self.check_evidence(&case)?;
        self.check_certificate(&case, item.tbs.as_bytes())?;
        Ok(Verdict::Sign(tbs))
    }

    /// The `bind` leaf at this index, if its unit may still get a certificate.
    fn live_bind(&self, index: u64) -> Result<Bind, Fault> {
        let bind =
            leaf::bind(self.connection, index)?.ok_or_else(|| Fault::bare(Code::NotBound))?;
        let state = state::subject_state(self.connection, &bind.subject)?;
        let state = state
            .filter(|state| state.bind == index)
            .ok_or_else(|| damaged(format_args!("no subject of bind {index}")))?;
        match state.stage {
            Stage::Bound | Stage::Confirmed => Ok(bind),
            Stage::Voided | Stage::Scrapped => Err(Fault::bare(Code::Voided)),
        }
    }

    /// A signature from the store goes out only if it still is one.
    fn stored(&self, tbs: &TbsHash, signature: [u8; 64]) -> Result<Verdict, Fault> {
        match self
            .pinned
            .verifier
            .verify(self.pinned.issuer.key(), tbs.as_bytes(), &signature)
        {
            true => Ok(Verdict::Stored(signature)),
            false => Err(damaged("a stored signature does not verify")),
        }
    }

    /// The item's envelope; the one before is taken again if it is the same.
    fn envelope(&mut self, item: &'a Item) -> Result<Rc<Signed<'a>>, Fault> {
        let (bytes, signature) = (item.envelope.as_bytes(), item.signature.as_bytes());
        if let Some(last) = self
            .envelope
            .as_ref()
            .filter(|last| last.bytes == bytes && last.signature == signature)
        {
            return Ok(Rc::clone(last));
        }
        let envelope =
            Envelope::from_bytes(bytes).map_err(|error| Fault::new(Code::Envelope, error))?;
        let signed = Rc::new(Signed {
            bytes,
            signature,
            hash: request_hash::<Envelope>(bytes),
            envelope,
        });
        self.envelope = Some(Rc::clone(&signed));
        self.signer = None;
        Ok(signed)
    }

    /// The statement of the station that signed the envelope, in force for this leaf and valid when it asked.
    fn asking_station(
        &mut self,
        signed: &Signed<'_>,
        index: u64,
    ) -> Result<Rc<StationStatement>, Fault> {
        let hash = document::station_before(self.connection, &signed.envelope.station, index)?;
        let hash = hash.ok_or_else(|| Fault::bare(Code::StationUnknown))?;
        let station = self.station(&hash)?;
        ensure!(station.valid_at(signed.envelope.time), Code::StationExpired);
        if self.signer != Some(hash) {
            let held =
                self.pinned
                    .verifier
                    .verify(&station.request_key, &signed.hash.0, signed.signature);
            ensure!(held, Code::StationSignature);
            self.signer = Some(hash);
        }
        Ok(station)
    }

    fn station(&mut self, hash: &DocumentHash) -> Result<Rc<StationStatement>, Fault> {
        if let Some(station) = self.stations.get(hash) {
            return Ok(Rc::clone(station));
        }
        let station: Rc<StationStatement> = Rc::new(document::get(self.connection, hash)?);
        self.stations.insert(*hash, Rc::clone(&station));
        Ok(station)
    }

    fn authority(&mut self, hash: &DocumentHash) -> Result<Rc<Authority>, Fault> {
        if let Some(authority) = self.authorities.get(hash) {
            return Ok(Rc::clone(authority));
        }
        let grant: Grant = document::get(self.connection, hash)?;
        let profile = document::get(self.connection, &grant.profile)?;
        let authority = Rc::new(Authority { grant, profile });
        self.authorities.insert(*hash, Rc::clone(&authority));
        Ok(authority)
    }

    fn check_unit(&self, case: &Case<'_>) -> Result<(), Fault> {
        let Case {
            bind,
            unit,
            authority: Authority { profile, .. },
            ..
        } = case;
        let spki = case.key.spki_hash();
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
            station: &case.station.id,
        };
        ensure!(
            self.pinned
                .verifier
                .verify(&case.key, &possession.digest(), &unit.possession.0),
            Code::Possession,
        );
        Ok(())
    }

    fn check_evidence(&self, case: &Case<'_>) -> Result<(), Fault> {
        let Case {
            bind,
            unit,
            station,
            authority: Authority { profile, .. },
            ..
        } = case;
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
            receipt_key: &station.receipt_key,
        };
        let grade = unit
            .evidence
            .judge(&facts, &self.pinned.verifier)
            .map_err(|error| Fault::new(Code::Evidence, error))?;
        ensure!(grade == bind.evidence.grade, Code::Grade);
        ensure!(grade >= profile.grade, Code::GradeTooLow);
        Ok(())
    }

    fn check_certificate(&self, case: &Case<'_>, tbs: &[u8]) -> Result<(), Fault> {
        let Authority { grant, profile } = case.authority;
        let serial =
            CertificateSerial::from_octets(&case.bind.certificate.serial.0).map_err(tbs_fault)?;
        let not_before = parse_tbs(tbs).map_err(tbs_fault)?.not_before;
        let facts = Facts {
            profile,
            serial: &case.unit.serial,
            uid: &case.unit.uid,
            key: &case.key,
            certificate_serial: &serial,
            not_before,
        };
        check_tbs(tbs, &self.pinned.issuer, &facts).map_err(tbs_fault)?;
        ensure!(begins_within(not_before, grant), Code::TbsValidity);
        Ok(())
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
