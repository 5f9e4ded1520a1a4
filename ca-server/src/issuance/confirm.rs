//! Door 7: the chip holds the certificate, or the unit will never ship. Between the two the first committed wins.

use super::Refusal;
use super::admit::Admission;
use super::reserve::{Due, Round, refusal_of};
use crate::store::{BindingState, ClaimKey, Reader, StoreError, StoredBinding};
use identity::envelope::{ConfirmRequest, Unit, VoidRequest, request_hash};
use identity::fault::Fault;
use identity::hash::{CertificateHash, DocumentHash, RequestHash, sha256};
use identity::key::{AwsLcVerifier, VerifyP256 as _};
use identity::leaf::{Body, Bytes32, Confirm, EntryRef, Leaf, Void};
use identity::message::{Confirmation, Message as _};
use identity::rules::Stage;
use identity::{ChipUid, DeviceSerial, Id, RequestId, SubjectId};

/// A confirmation that passed door 1.
#[derive(Debug)]
pub struct ConfirmJob {
    pub(super) station: Id,
    request: RequestId,
    pub(super) hash: RequestHash,
    pub(super) unit: (ChipUid, DeviceSerial),
    subject: SubjectId,
    certificate: CertificateHash,
    signature: [u8; 32],
}

/// A void that passed door 1.
#[derive(Debug)]
pub struct VoidJob {
    /// The station that decided and its request; none for an operator.
    pub(super) asked: Option<(Id, RequestHash)>,
    pub(super) unit: (ChipUid, DeviceSerial),
    request: RequestId,
    reason: Id,
    subject: SubjectId,
}

/// A leaf that moved a subject on, new or from before.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    entry: EntryRef,
    bind: u64,
}

impl Moved {
    pub(super) const fn into_due(self) -> Due {
        Due::Leaf(self.entry, Some(self.bind))
    }
}

impl Admission {
    /// Checks a confirmation against what was issued.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn confirm(
        &self,
        peer: &Id,
        der: &[u8],
        signature: &[u8],
        reader: &Reader,
    ) -> Result<ConfirmJob, Refusal> {
        let (request, _) = self.open_request::<ConfirmRequest>(peer, der, signature)?;
        let (binding, unit) = bound(&request.request, reader)?;
        let stored = binding.signature.ok_or(Fault::NotBound)?;
        let certificate = identity::idevid::assemble(&binding.tbs, &stored).map_err(internal)?;
        let (leaf, _) = reader
            .leaf(binding.bind)
            .map_err(Refusal::unread)?
            .ok_or(Fault::NotBound)?;
        let issued = CertificateHash::of(&certificate);
        if request.certificate != issued || request.leaf != leaf {
            return Err(Fault::ConfirmMismatch.into());
        }
        let nonce = self.challenge.confirm_nonce(&leaf);
        let key = unit.fixed_key().map_err(internal)?;
        let digest = Confirmation {
            nonce: &nonce,
            certificate: &issued,
            leaf: &leaf,
        }
        .digest();
        if !AwsLcVerifier.verify(&key, &digest, &request.signature.0) {
            return Err(Fault::ConfirmSignature.into());
        }
        Ok(ConfirmJob {
            station: request.station,
            request: request.request,
            hash: request_hash::<ConfirmRequest>(der),
            unit: (unit.uid, unit.serial),
            subject: SubjectId::of_p256(&key.spki_hash()),
            certificate: issued,
            signature: sha256(&request.signature.0),
        })
    }

    /// Checks a station's void.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn void(
        &self,
        peer: &Id,
        der: &[u8],
        signature: &[u8],
        reader: &Reader,
    ) -> Result<VoidJob, Refusal> {
        let (request, _) = self.open_request::<VoidRequest>(peer, der, signature)?;
        self.check_time(request.time)?;
        let asked = (request.station, request_hash::<VoidRequest>(der));
        void_job(Some(asked), request.request, request.reason, reader)
    }

    /// An operator's void, from the local admin socket.
    ///
    /// # Errors
    /// [`Refusal`] if nothing is bound under the request.
    pub(super) fn void_by_operator(
        request: RequestId,
        reason: Id,
        reader: &Reader,
    ) -> Result<VoidJob, Refusal> {
        void_job(None, request, reason, reader)
    }
}

fn void_job(
    asked: Option<(Id, RequestHash)>,
    request: RequestId,
    reason: Id,
    reader: &Reader,
) -> Result<VoidJob, Refusal> {
    let of = subject_of(&request, reader)?;
    Ok(VoidJob {
        asked,
        unit: of.unit,
        request,
        reason,
        subject: of.subject,
    })
}

/// Who a bound unit is.
#[derive(Debug)]
pub(super) struct SubjectOf {
    pub(super) bind: u64,
    pub(super) subject: SubjectId,
    pub(super) unit: (ChipUid, DeviceSerial),
    pub(super) lot: DocumentHash,
}

/// Who the unit under a request is.
///
/// # Errors
/// [`Refusal`] if nothing is bound under it.
pub(super) fn subject_of(request: &RequestId, reader: &Reader) -> Result<SubjectOf, Refusal> {
    let (binding, unit) = bound(request, reader)?;
    let key = unit.fixed_key().map_err(internal)?;
    Ok(SubjectOf {
        bind: binding.bind,
        subject: SubjectId::of_p256(&key.spki_hash()),
        unit: (unit.uid, unit.serial),
        lot: binding.lot,
    })
}

/// The binding under a request and the unit it came with.
fn bound(request: &RequestId, reader: &Reader) -> Result<(StoredBinding, Unit), Refusal> {
    let bind = reader
        .owner(&ClaimKey::request(request))
        .map_err(Refusal::unread)?
        .ok_or(Fault::NotBound)?;
    let binding = reader
        .binding(bind)
        .map_err(Refusal::unread)?
        .ok_or(Fault::NotBound)?;
    let unit = super::release::unit_of(&binding, reader)?;
    Ok((binding, unit))
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Fault::Internal, error)
}

type Decided = Result<Result<Moved, Refusal>, StoreError>;

/// Confirms inside the transaction. The same confirmation again gets the same leaf.
pub(super) fn confirm(round: &mut Round<'_, '_>, job: &ConfirmJob) -> Decided {
    let known = match held(round, &job.request, Some(&job.station))? {
        Ok(known) => known,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if known.state.stage == Stage::Confirmed {
        return Ok(Ok(Moved {
            entry: known.state.last,
            bind: known.state.bind,
        }));
    }
    let body = Confirm {
        subject: job.subject,
        previous: known.state.last,
        request: job.hash,
        certificate: job.certificate,
        signature: Bytes32(job.signature),
    };
    append(round, Body::Confirm(body), &known)
}

/// Voids inside the transaction. A void again gets the same leaf.
pub(super) fn void(round: &mut Round<'_, '_>, job: &VoidJob) -> Decided {
    let station = job.asked.as_ref().map(|(station, _)| station);
    let known = match held(round, &job.request, station)? {
        Err(refusal) if refusal.fault == Fault::Voided => {
            let bind = round.transaction.owner(&ClaimKey::request(&job.request))?;
            let bind = bind.ok_or(StoreError::Damaged("a claim that was there"))?;
            let entry = round.transaction.binding(bind)?.state.last;
            return Ok(Ok(Moved { entry, bind }));
        }
        Err(refusal) => return Ok(Err(refusal)),
        Ok(known) => known,
    };
    let body = Void {
        subject: job.subject,
        previous: known.state.last,
        request: job.asked.map(|(_, request)| request),
        reason: job.reason,
    };
    append(round, Body::Void(body), &known)
}

/// The binding under a request, if this station holds it and it is not voided.
fn held(
    round: &Round<'_, '_>,
    request: &RequestId,
    station: Option<&Id>,
) -> Result<Result<BindingState, Refusal>, StoreError> {
    let Some(bind) = round.transaction.owner(&ClaimKey::request(request))? else {
        return Ok(Err(Fault::NotBound.into()));
    };
    let known = round.transaction.binding(bind)?;
    if let Some(station) = station
        && (known.request != *request || known.holder != station.as_str())
    {
        return Ok(Err(Refusal::new(Fault::NotHolder, &known.holder)));
    }
    Ok(match known.state.stage {
        Stage::Bound | Stage::Confirmed => Ok(known),
        Stage::Voided | Stage::Scrapped => Err(Fault::Voided.into()),
    })
}

fn append(round: &mut Round<'_, '_>, body: Body, known: &BindingState) -> Decided {
    let day = round.day;
    let appended = round.append(&Leaf { day, body }, None)?;
    Ok(appended
        .map(|entry| Moved {
            entry,
            bind: known.state.bind,
        })
        .map_err(refusal_of))
}
