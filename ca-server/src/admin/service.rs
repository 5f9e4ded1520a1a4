//! The operator's service: convert, call the corridor, map the answer.

use super::backups::{BackupStream, Backups};
use super::enroll::{EnrollError, Registrar};
use crate::hsm_health::{HsmHealth, HsmProbe};
use crate::issuance::{Corridor, Ends, GrantView, LotAlarm, Receipt, Refusal, Stop};
use crate::rpc::blocking;
use crate::rpc::status::{fault, malformed, status};
use crate::store::{SetAside, StoredRefusal};
use identity::approval::Approval;
use identity::document::{Document, Grant, LotOrder, Profile, StationStatement};
use identity::fault::Fault;
use identity::leaf::Leaf;
use identity::{DocumentHash, Id, RequestId, Timestamp};
use proto::admin as wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Leaves read at once when a document's leaf is looked for.
const PAGE: u64 = 1000;

/// The operator's service.
#[derive(Clone, Debug)]
pub struct Admin {
    corridor: Corridor,
    registrar: Arc<Registrar>,
    probe: HsmProbe,
    backups: Backups,
}

impl Admin {
    /// Over a running corridor.
    #[must_use]
    pub fn new(
        corridor: Corridor,
        registrar: Registrar,
        probe: HsmProbe,
        backups: Backups,
    ) -> Self {
        Self {
            corridor,
            registrar: Arc::new(registrar),
            probe,
            backups,
        }
    }

    /// Index of the leaf that a document was entered with. The corridor checks approvals before it says that a
    /// document was entered before, so an answer that was lost is given again here.
    async fn entered(
        &self,
        document: DocumentHash,
        outcome: Result<Receipt, Refusal>,
    ) -> Result<u64, Status> {
        let refusal = match outcome {
            Ok(receipt) => return Ok(receipt.index),
            Err(refusal) => refusal,
        };
        if refusal.fault != Fault::DocumentConflict {
            return Err(status(&refusal));
        }
        let corridor = self.corridor.clone();
        let found = blocking(move || leaf_of(&corridor, &document)).await?;
        found.ok_or_else(|| status(&refusal))
    }
}

#[tonic::async_trait]
impl wire::AdminService for Admin {
    type MakeBackupStream = BackupStream;

    async fn enroll_station(
        &self,
        request: Request<wire::EnrollStationRequest>,
    ) -> Result<Response<wire::EnrollStationResponse>, Status> {
        let request = request.into_inner();
        if request.csr_pem.len() > proto::MAX_REQUEST {
            return Err(status(&Fault::TooLarge.into()));
        }
        let statement: StationStatement = document(&request.statement)?;
        let approvals = approvals(&request.approvals)?;
        let registrar = &self.registrar;
        let key = registrar
            .check(&statement, &request.csr_pem)
            .map_err(|error| refused(&error))?;
        let entered = self
            .corridor
            .enter_station(statement.clone(), approvals)
            .await;
        let index = self.entered(statement.hash(), entered).await?;
        let (id, registrar) = (statement.id, Arc::clone(registrar));
        // The HSM signs on a thread that may wait for it.
        let certified = tokio::task::spawn_blocking(move || registrar.certify(&statement, &key));
        let certificate_pem = certified
            .await
            .map_err(|error| status(&Refusal::new(Fault::Internal, error)))?
            .map_err(|error| refused(&error))?;
        tracing::info!(station = %id, index, "station enrolled");
        Ok(Response::new(wire::EnrollStationResponse {
            certificate_pem,
            index,
        }))
    }

    async fn load_grant(
        &self,
        request: Request<wire::LoadGrantRequest>,
    ) -> Result<Response<wire::LoadGrantResponse>, Status> {
        let request = request.into_inner();
        let grant: Grant = document(&request.grant)?;
        let profile: Profile = document(&request.profile)?;
        let approvals = approvals(&request.approvals)?;
        let hash = grant.hash();
        let entered = self.corridor.enter_grant(grant, profile, approvals).await;
        let index = self.entered(hash, entered).await?;
        tracing::info!(grant = %hash, index, "grant loaded");
        Ok(Response::new(wire::LoadGrantResponse {
            grant_hash: hash.as_bytes().to_vec(),
            index,
        }))
    }

    async fn close_grant(
        &self,
        request: Request<wire::CloseGrantRequest>,
    ) -> Result<Response<wire::CloseGrantResponse>, Status> {
        let request = request.into_inner();
        let id = Id::new(&request.grant_id);
        let id = id.map_err(|error| malformed(&format!("the grant's name: {error}")))?;
        let closed = self
            .corridor
            .close_grant(&id, reason(&request.reason)?)
            .await;
        let index = closed.map_err(|refusal| status(&refusal))?.index;
        tracing::warn!(grant = %id, index, "grant closed");
        Ok(Response::new(wire::CloseGrantResponse { index }))
    }

    async fn open_lot(
        &self,
        request: Request<wire::OpenLotRequest>,
    ) -> Result<Response<wire::OpenLotResponse>, Status> {
        let order: LotOrder = document(&request.into_inner().lot_order)?;
        let (hash, id) = (order.hash(), order.id);
        let entered = self.corridor.open_lot(order).await;
        let index = self.entered(hash, entered).await?;
        tracing::info!(lot = %id, index, "lot opened");
        Ok(Response::new(wire::OpenLotResponse { index }))
    }

    async fn void_unit(
        &self,
        request: Request<wire::VoidUnitRequest>,
    ) -> Result<Response<wire::VoidUnitResponse>, Status> {
        let request = request.into_inner();
        let id = request_id(request.request_id)?;
        let reason = reason(&request.reason)?;
        let receipt = self
            .corridor
            .void_by_operator(id, reason)
            .await
            .map_err(|refusal| status(&refusal))?;
        tracing::warn!(request = %id, index = receipt.index, "unit voided by the operator");
        Ok(Response::new(wire::VoidUnitResponse {
            index: receipt.index,
        }))
    }

    async fn retry_unit(
        &self,
        request: Request<wire::RetryUnitRequest>,
    ) -> Result<Response<wire::RetryUnitResponse>, Status> {
        let id = request_id(request.into_inner().request_id)?;
        let left = self.corridor.retry(id).await;
        let left = left.map_err(|refusal| status(&refusal))?;
        tracing::warn!(request = %id, signed = left.is_none(), "the signer was asked again");
        Ok(Response::new(wire::RetryUnitResponse {
            set_aside: left.map(set_aside),
        }))
    }

    async fn get_status(
        &self,
        _request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        let corridor = self.corridor.clone();
        let (now, grants, alarms) = blocking(move || {
            let alarms = corridor.lot_alarms()?;
            Ok((corridor.status()?, corridor.grants()?, alarms))
        })
        .await?;
        let hsm = match self.probe.health().await {
            HsmHealth::Ready => wire::HsmHealth::Ready,
            HsmHealth::Failing => wire::HsmHealth::Failing,
            HsmHealth::Absent => wire::HsmHealth::Absent,
        };
        Ok(Response::new(wire::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log_size: now.log_size,
            root: now.root.to_vec(),
            in_flight: now.in_flight,
            hsm: hsm.into(),
            grants: grants.iter().map(grant_summary).collect(),
            stop: now.stopped.as_ref().map(stop_message),
            lot_alarms: alarms.iter().map(lot_alarm).collect(),
            set_aside: now.set_aside.into_iter().map(set_aside).collect(),
        }))
    }

    async fn list_refusals(
        &self,
        request: Request<wire::ListRefusalsRequest>,
    ) -> Result<Response<wire::ListRefusalsResponse>, Status> {
        let wire::ListRefusalsRequest { count, below } = request.into_inner();
        if count == 0 {
            return Err(malformed("a page has at least one refusal"));
        }
        let (corridor, count) = (self.corridor.clone(), count.min(proto::MAX_ENTRIES));
        let found = blocking(move || corridor.refusals(below.unwrap_or(u64::MAX), count)).await?;
        Ok(Response::new(wire::ListRefusalsResponse {
            refusals: found.into_iter().map(refusal_summary).collect(),
        }))
    }

    async fn confirm_clock(
        &self,
        request: Request<wire::ConfirmClockRequest>,
    ) -> Result<Response<wire::ConfirmClockResponse>, Status> {
        let (corridor, watch) = (
            self.corridor.clone(),
            Timestamp(request.into_inner().watch_ms),
        );
        let now = blocking(move || corridor.confirm_clock(watch)).await?;
        tracing::warn!(server_time_ms = now.0, "the operator confirmed the clock");
        Ok(Response::new(wire::ConfirmClockResponse {
            server_time_ms: now.0,
        }))
    }

    async fn make_backup(
        &self,
        request: Request<wire::MakeBackupRequest>,
    ) -> Result<Response<BackupStream>, Status> {
        let directory = request.into_inner().directory;
        // The head of the answer leaves at once: a deadline holds for it, and not for a copy that takes its time.
        let made = self.backups.make(self.corridor.clone(), directory.into());
        Ok(Response::new(made))
    }
}

fn document<D: Document>(bytes: &[u8]) -> Result<D, Status> {
    D::from_bytes(bytes).map_err(|error| malformed(&format!("{}: {error}", D::KIND)))
}

fn approvals(encoded: &[Vec<u8>]) -> Result<Vec<Approval>, Status> {
    if encoded.len() > proto::MAX_APPROVALS {
        return Err(status(&Fault::TooLarge.into()));
    }
    let approvals = encoded.iter().map(|bytes| Approval::from_bytes(bytes));
    approvals
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(&format!("approval: {error}")))
}

fn refused(error: &EnrollError) -> Status {
    match error {
        EnrollError::Request(_) | EnrollError::OtherKey | EnrollError::TooLong => {
            malformed(&error.to_string())
        }
        EnrollError::Sign(_) | EnrollError::Encoding(_) => {
            status(&Refusal::new(Fault::HsmUnavailable, error))
        }
    }
}

/// Index of the leaf that entered a document.
fn leaf_of(corridor: &Corridor, document: &DocumentHash) -> Result<Option<u64>, Refusal> {
    let mut first = 0;
    loop {
        let page = corridor.entries(first, PAGE)?;
        if page.is_empty() {
            return Ok(None);
        }
        for (index, bytes) in (first..).zip(&page) {
            let leaf =
                Leaf::from_bytes(bytes).map_err(|error| Refusal::new(Fault::Internal, error))?;
            if leaf
                .body
                .document()
                .is_some_and(|(named, _)| named == *document)
            {
                return Ok(Some(index));
            }
        }
        first = first.saturating_add(PAGE);
    }
}

fn refusal_summary(refusal: StoredRefusal) -> wire::RefusalSummary {
    wire::RefusalSummary {
        index: refusal.index,
        time_ms: refusal.at_ms,
        station: refusal.station,
        code: refusal.reason,
        count: refusal.count,
        openings: refusal.openings,
    }
}

fn request_id(bytes: Vec<u8>) -> Result<RequestId, Status> {
    let id = bytes.try_into().map(RequestId);
    id.map_err(|_length| malformed("a request id has 16 bytes"))
}

fn reason(word: &str) -> Result<Id, Status> {
    Id::new(word).map_err(|error| malformed(&format!("the reason is one word: {error}")))
}

fn set_aside(unit: SetAside) -> wire::SetAside {
    wire::SetAside {
        index: unit.bind,
        request_id: unit.request.0.to_vec(),
        station: unit.holder,
        reason: unit.reason,
    }
}

fn stop_message(stop: &Stop) -> wire::Stop {
    let ends = match stop.ends {
        Ends::ByItself => wire::StopEnd::Itself,
        Ends::ByOperator => wire::StopEnd::ClockConfirmed,
        Ends::ByRepair => wire::StopEnd::Repair,
        Ends::ByRestart => wire::StopEnd::Restart,
    };
    wire::Stop {
        fault: Some(fault(&stop.refusal)),
        detail: stop.refusal.detail.clone(),
        since_ms: stop.since.0,
        ends: ends.into(),
    }
}

fn lot_alarm(alarm: &LotAlarm) -> wire::LotAlarm {
    wire::LotAlarm {
        grant_id: alarm.grant.to_string(),
        lot_id: alarm.lot.to_string(),
        index: alarm.entry,
        differences: alarm.differences.iter().map(ToString::to_string).collect(),
    }
}

fn grant_summary(view: &GrantView) -> wire::GrantSummary {
    wire::GrantSummary {
        grant_id: view.grant.id.to_string(),
        grant_hash: view.grant.hash().as_bytes().to_vec(),
        limit: view.grant.limit.into(),
        issued: view.issued.into(),
        closed: view.closed,
    }
}
