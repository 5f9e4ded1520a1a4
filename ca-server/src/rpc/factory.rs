//! The factory service: convert, call the corridor, map the answer. The station is the peer of the connection.

use super::status::{self, malformed};
use crate::auth::Peer;
use crate::issuance::{
    Corridor, GrantName, GrantView, Issued, LotEnd, LotView, Receipt, Refusal, Session, UnitName,
};
use crate::policy::Role;
use identity::document::{Bytes32, Document as _};
use identity::fault::Fault;
use identity::{ChipUid, Clock, DocumentHash, Id, RequestId};
use proto::factory as wire;
use proto::factory::get_grant_request::Grant as Asked;
use proto::factory::{confirm_response, scrap_unit_response, unit_result, void_response};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What never changes while the server runs.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The issuing CA's certificate, DER.
    pub issuing: Vec<u8>,
    /// The device root certificate, DER.
    pub root: Vec<u8>,
    /// The log's verifier key.
    pub log_vkey: String,
}

/// The factory service.
#[derive(Clone)]
pub struct Factory {
    corridor: Corridor,
    chain: Arc<Chain>,
    clock: Arc<dyn Clock>,
}

impl Factory {
    /// Over a running corridor.
    #[must_use]
    pub fn new(corridor: Corridor, chain: Chain, clock: Arc<dyn Clock>) -> Self {
        Self {
            corridor,
            chain: Arc::new(chain),
            clock,
        }
    }

    /// What it is a face of.
    pub(super) const fn corridor(&self) -> &Corridor {
        &self.corridor
    }

    /// Whether certificates are issued now.
    pub(super) fn issues(&self) -> bool {
        self.corridor
            .status()
            .is_ok_and(|status| status.stopped.is_none())
    }

    async fn units(
        &self,
        station: &Id,
        envelope: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Vec<wire::UnitResult>, Status> {
        let answers = self.corridor.provision(station, envelope, signature).await;
        let answers = answers.map_err(|refusal| self.refused(&refusal))?;
        let meters = self.corridor.meters();
        for answer in &answers {
            match answer {
                Ok(_) => {
                    meters.issued.inc();
                }
                Err(refusal) => meters.refuse(refusal.fault),
            }
        }
        Ok(answers.into_iter().map(unit_result).collect())
    }

    /// The refusal of a whole call, counted.
    fn refused(&self, refusal: &Refusal) -> Status {
        self.corridor.meters().refuse(refusal.fault);
        status::status(refusal)
    }
}

impl std::fmt::Debug for Factory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factory").finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl wire::FactoryService for Factory {
    async fn get_challenges(
        &self,
        request: Request<wire::GetChallengesRequest>,
    ) -> Result<Response<wire::GetChallengesResponse>, Status> {
        let station = station(&request)?;
        let wire::GetChallengesRequest {
            uids,
            agent_sha256,
            grant_hash,
            lot_id,
        } = request.into_inner();
        let session = Session {
            agent: said(agent_sha256)?.map(Bytes32),
            grant: said(grant_hash)?.map(DocumentHash),
            lot: (!lot_id.is_empty()).then(|| named(&lot_id)).transpose()?,
        };
        if uids.is_empty() || uids.len() > proto::MAX_UNITS {
            return Err(malformed("1 to 64 chips"));
        }
        let uids: Result<Vec<_>, _> = uids.iter().map(|uid| ChipUid::new(uid)).collect();
        let uids = uids.map_err(|error| malformed(&format!("UID: {error}")))?;
        let challenges = self
            .corridor
            .challenges(&station, &session, &uids)
            .await
            .map_err(|refusal| self.refused(&refusal))?;
        Ok(Response::new(wire::GetChallengesResponse {
            expiry_ms: challenges
                .iter()
                .map(|challenge| challenge.expires.0)
                .min()
                .unwrap_or_default(),
            challenges: challenges.into_iter().map(|it| it.bytes).collect(),
            server_time_ms: self.clock.now().0,
            agents_named: self.corridor.names_agents(&station),
        }))
    }

    async fn provision(
        &self,
        request: Request<wire::ProvisionRequest>,
    ) -> Result<Response<wire::ProvisionResponse>, Status> {
        let station = station(&request)?;
        let wire::ProvisionRequest {
            envelope,
            signature,
        } = request.into_inner();
        let results = self.units(&station, envelope, signature).await?;
        Ok(Response::new(wire::ProvisionResponse { results }))
    }

    async fn confirm(
        &self,
        request: Request<wire::ConfirmRequest>,
    ) -> Result<Response<wire::ConfirmResponse>, Status> {
        let station = station(&request)?;
        let wire::ConfirmRequest { request, signature } = request.into_inner();
        let outcome = match self.corridor.confirm(&station, request, signature).await {
            Ok(receipt) => {
                self.corridor.meters().confirmed.inc();
                confirm_response::Outcome::Receipt(leaf_receipt(receipt))
            }
            Err(refusal) => {
                self.corridor.meters().refuse(refusal.fault);
                confirm_response::Outcome::Refused(verdict(&refusal)?)
            }
        };
        Ok(Response::new(wire::ConfirmResponse {
            outcome: Some(outcome),
        }))
    }

    async fn void(
        &self,
        request: Request<wire::VoidRequest>,
    ) -> Result<Response<wire::VoidResponse>, Status> {
        let station = station(&request)?;
        let wire::VoidRequest { request, signature } = request.into_inner();
        let outcome = match self.corridor.void(&station, request, signature).await {
            Ok(receipt) => {
                self.corridor.meters().voided.inc();
                void_response::Outcome::Receipt(leaf_receipt(receipt))
            }
            Err(refusal) => {
                self.corridor.meters().refuse(refusal.fault);
                void_response::Outcome::Refused(verdict(&refusal)?)
            }
        };
        Ok(Response::new(wire::VoidResponse {
            outcome: Some(outcome),
        }))
    }

    async fn scrap_unit(
        &self,
        request: Request<wire::ScrapUnitRequest>,
    ) -> Result<Response<wire::ScrapUnitResponse>, Status> {
        let station = station(&request)?;
        let wire::ScrapUnitRequest { request, signature } = request.into_inner();
        let outcome = match self.corridor.scrap(&station, request, signature).await {
            Ok(receipt) => scrap_unit_response::Outcome::Receipt(leaf_receipt(receipt)),
            Err(refusal) => {
                self.corridor.meters().refuse(refusal.fault);
                scrap_unit_response::Outcome::Refused(verdict(&refusal)?)
            }
        };
        Ok(Response::new(wire::ScrapUnitResponse {
            outcome: Some(outcome),
        }))
    }

    async fn close_lot(
        &self,
        request: Request<wire::CloseLotRequest>,
    ) -> Result<Response<wire::CloseLotResponse>, Status> {
        let station = station(&request)?;
        let wire::CloseLotRequest {
            request,
            signature,
            shares,
        } = request.into_inner();
        let shares = shares.into_iter().map(|it| (it.share, it.signature));
        let signed = (request, signature);
        let closed = self.corridor.close_lot(&station, signed, shares.collect());
        let closed = closed.await;
        let closed = closed.map_err(|refusal| self.refused(&refusal))?;
        let differences = closed.differences.iter().map(|it| wire::LotDifference {
            what: it.what.name().to_owned(),
            stated: it.stated,
            found: it.found,
        });
        Ok(Response::new(wire::CloseLotResponse {
            differences: differences.collect(),
            order: closed.order.to_bytes(),
            receipt: Some(leaf_receipt(closed.receipt)),
        }))
    }

    async fn adopt(
        &self,
        request: Request<wire::AdoptRequest>,
    ) -> Result<Response<wire::AdoptResponse>, Status> {
        let station = station(&request)?;
        let wire::AdoptRequest {
            envelope,
            signature,
        } = request.into_inner();
        // The signed envelope says what it is for; the corridor goes by that alone.
        let results = self.units(&station, envelope, signature).await?;
        Ok(Response::new(wire::AdoptResponse { results }))
    }

    async fn get_chain(
        &self,
        _request: Request<wire::GetChainRequest>,
    ) -> Result<Response<wire::GetChainResponse>, Status> {
        Ok(Response::new(wire::GetChainResponse {
            issuing_certificate: self.chain.issuing.clone(),
            root_certificate: self.chain.root.clone(),
            log_vkey: self.chain.log_vkey.clone(),
        }))
    }

    async fn get_grant(
        &self,
        request: Request<wire::GetGrantRequest>,
    ) -> Result<Response<wire::GetGrantResponse>, Status> {
        let station = station(&request)?;
        let name = match request.into_inner().grant {
            Some(Asked::GrantHash(bytes)) => GrantName::Hash(DocumentHash(hash(bytes)?)),
            Some(Asked::GrantId(id)) => GrantName::Id(named(&id)?),
            None => return Err(malformed("no grant is named")),
        };
        let view = self.corridor.own_grant(station, name).await;
        let view = view.map_err(|refusal| self.refused(&refusal))?;
        Ok(Response::new(grant_response(&view)))
    }

    async fn get_lot(
        &self,
        request: Request<wire::GetLotRequest>,
    ) -> Result<Response<wire::GetLotResponse>, Status> {
        let station = station(&request)?;
        let wire::GetLotRequest { lot_id, grant_hash } = request.into_inner();
        let (grant, lot) = (said(grant_hash)?.map(DocumentHash), named(&lot_id)?);
        let lot = self.corridor.own_lot(station, grant, lot).await;
        let lot = lot.map_err(|refusal| self.refused(&refusal))?;
        Ok(Response::new(wire::GetLotResponse {
            lot: Some(lot_summary(&lot)),
            grant_hash: hash_bytes(&lot.order.grant),
            first_serial: lot.order.first_serial.to_string(),
            last_serial: lot.order.last_serial.to_string(),
            tally: Some(lot_tally(&lot)),
        }))
    }

    async fn get_receipt(
        &self,
        request: Request<wire::GetReceiptRequest>,
    ) -> Result<Response<wire::GetReceiptResponse>, Status> {
        use wire::get_receipt_request::Unit;
        let peer = peer(&request)?;
        let station = (peer.role == Role::Station).then_some(peer.id);
        let unit = match request.into_inner().unit {
            Some(Unit::RequestId(id)) => {
                let id = id.try_into().map(RequestId);
                let id = id.map_err(|_length| malformed("a request id has 16 bytes"))?;
                UnitName::Request(id)
            }
            Some(Unit::ChipUid(uid)) => ChipUid::new(&uid)
                .map(UnitName::Chip)
                .map_err(|error| malformed(&format!("UID: {error}")))?,
            Some(Unit::Index(index)) => UnitName::Index(index),
            None => return Err(malformed("no unit is named")),
        };
        let receipts = self.corridor.receipts(station, unit).await;
        let receipts = receipts.map_err(|refusal| self.refused(&refusal))?;
        Ok(Response::new(wire::GetReceiptResponse {
            issued: receipts.issued.map(issued_message),
            confirmed: receipts.confirmed.map(leaf_receipt),
            voided: receipts.voided.map(leaf_receipt),
        }))
    }

    async fn get_checkpoint(
        &self,
        _request: Request<wire::GetCheckpointRequest>,
    ) -> Result<Response<wire::GetCheckpointResponse>, Status> {
        let checkpoint = self.corridor.checkpoint();
        let checkpoint = checkpoint.map_err(|refusal| self.refused(&refusal))?;
        Ok(Response::new(wire::GetCheckpointResponse {
            checkpoint: checkpoint.into_bytes(),
        }))
    }
}

/// Reads the store off the threads that serve connections.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Status> {
    let outcome = tokio::task::spawn_blocking(read).await;
    outcome
        .map_err(|error| status::status(&Refusal::new(Fault::Internal, error)))?
        .map_err(|refusal| status::status(&refusal))
}

/// The station of the connection; the gate has checked its role.
fn station<T>(request: &Request<T>) -> Result<Id, Status> {
    peer(request).map(|peer| peer.id)
}

fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().copied();
    peer.ok_or_else(|| status::status(&Fault::NotAuthorized.into()))
}

/// A hash that may be left out.
fn said(bytes: Vec<u8>) -> Result<Option<[u8; 32]>, Status> {
    (!bytes.is_empty()).then(|| hash(bytes)).transpose()
}

fn hash(bytes: Vec<u8>) -> Result<[u8; 32], Status> {
    let hash = bytes.try_into();
    hash.map_err(|_length| malformed("a hash has 32 bytes"))
}

fn named(text: &str) -> Result<Id, Status> {
    Id::new(text).map_err(|error| malformed(&format!("a name: {error}")))
}

/// A verdict against the unit is an answer; whatever else refused is a failure of the call.
fn verdict(refusal: &Refusal) -> Result<proto::common::Fault, Status> {
    use identity::fault::Blame;
    let against_unit = matches!(refusal.fault.blame(), Blame::Unit)
        || matches!(refusal.fault, Fault::NotBound | Fault::NotHolder);
    if against_unit {
        Ok(status::fault(refusal))
    } else {
        Err(status::status(refusal))
    }
}

fn unit_result(answer: Result<Issued, Refusal>) -> wire::UnitResult {
    let outcome = match answer {
        Ok(issued) => unit_result::Outcome::Issued(issued_message(issued)),
        Err(refusal) => unit_result::Outcome::Refused(status::fault(&refusal)),
    };
    wire::UnitResult {
        outcome: Some(outcome),
    }
}

fn issued_message(issued: Issued) -> wire::Issued {
    wire::Issued {
        index: issued.index,
        certificate: issued.certificate,
        tlog_proof: issued.proof.into_bytes(),
        confirm_nonce: issued.nonce.to_vec(),
        leaf_hash: issued.leaf.as_bytes().to_vec(),
        grant: hash_bytes(&issued.grant),
        ordinal: issued.ordinal.into(),
    }
}

fn leaf_receipt(receipt: Receipt) -> wire::LeafReceipt {
    wire::LeafReceipt {
        index: receipt.index,
        tlog_proof: receipt.proof.into_bytes(),
        leaf: receipt.bytes.unwrap_or_default(),
    }
}

fn grant_response(view: &GrantView) -> wire::GetGrantResponse {
    let (limit, issued) = (view.grant.limit, view.issued);
    wire::GetGrantResponse {
        grant_hash: hash_bytes(&view.grant.hash()),
        grant_id: view.grant.id.to_string(),
        limit: limit.into(),
        issued: issued.into(),
        remaining: limit.saturating_sub(issued).into(),
        lots: view.lots.iter().map(lot_summary).collect(),
    }
}

fn lot_summary(lot: &LotView) -> wire::LotSummary {
    wire::LotSummary {
        lot_id: lot.order.id.to_string(),
        planned: lot.order.quantity.into(),
        issued: lot.counts.issued.into(),
        confirmed: lot.counts.confirmed.into(),
        voided: lot.counts.voided.into(),
        scrapped: lot.counts.scrapped.into(),
        state: lot_state(lot).into(),
    }
}

fn lot_tally(lot: &LotView) -> wire::LotTally {
    let tally = &lot.tally;
    wire::LotTally {
        bound: tally.bound.into(),
        confirmed: tally.confirmed.into(),
        voided: tally.voided.into(),
        scrapped: tally.scrapped.into(),
        keyless: tally.keyless.into(),
    }
}

const fn lot_state(lot: &LotView) -> wire::LotState {
    match lot.closed {
        None => wire::LotState::Open,
        Some(LotEnd { differs: false, .. }) => wire::LotState::Closed,
        Some(LotEnd { differs: true, .. }) => wire::LotState::Differs,
    }
}

fn hash_bytes(hash: &DocumentHash) -> Vec<u8> {
    hash.as_bytes().to_vec()
}
