//! The audit service: the newest checkpoint, and leaves below it.

use super::factory::blocking;
use super::status;
use crate::issuance::{Corridor, Refusal};
use identity::fault::Fault;
use proto::audit as wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use translog::checkpoint::TrustedLog;

/// The audit service.
#[derive(Clone, Debug)]
pub struct Audit {
    corridor: Corridor,
    log: Arc<TrustedLog>,
}

impl Audit {
    /// Over a running corridor and its own log's key.
    #[must_use]
    pub fn new(corridor: Corridor, log: TrustedLog) -> Self {
        Self {
            corridor,
            log: Arc::new(log),
        }
    }

    /// The newest checkpoint and its size. What is committed above it is not shown: nobody could prove it.
    fn newest(&self) -> Result<(String, u64), Refusal> {
        let note = self.corridor.checkpoint()?;
        let opened = self.log.open(note.as_bytes());
        let size = opened
            .map_err(|error| Refusal::new(Fault::Internal, error))?
            .checkpoint()
            .size();
        Ok((note, size))
    }
}

#[tonic::async_trait]
impl wire::AuditService for Audit {
    async fn get_checkpoint(
        &self,
        _request: Request<wire::GetCheckpointRequest>,
    ) -> Result<Response<wire::GetCheckpointResponse>, Status> {
        let (note, _) = self.newest().map_err(|refusal| status::status(&refusal))?;
        Ok(Response::new(wire::GetCheckpointResponse {
            checkpoint: note.into_bytes(),
        }))
    }

    async fn get_entry(
        &self,
        request: Request<wire::GetEntryRequest>,
    ) -> Result<Response<wire::GetEntryResponse>, Status> {
        let (this, index) = (self.clone(), request.into_inner().index);
        let (leaf, proof) = blocking(move || match this.newest()? {
            (_, size) if index < size => this.corridor.entry(index),
            _ => Err(Refusal::new(Fault::NotBound, "no such leaf yet")),
        })
        .await?;
        Ok(Response::new(wire::GetEntryResponse {
            leaf,
            tlog_proof: proof.into_bytes(),
        }))
    }

    async fn list_entries(
        &self,
        request: Request<wire::ListEntriesRequest>,
    ) -> Result<Response<wire::ListEntriesResponse>, Status> {
        let wire::ListEntriesRequest { start, count } = request.into_inner();
        if count == 0 {
            return Err(status::malformed("a page has at least one leaf"));
        }
        let this = self.clone();
        let answer = blocking(move || {
            let (note, size) = this.newest()?;
            let end = start
                .saturating_add(count.min(proto::MAX_ENTRIES).into())
                .min(size);
            let leaves = match end.saturating_sub(start) {
                0 => Vec::new(),
                wanted => this.corridor.entries(start, wanted)?,
            };
            Ok(wire::ListEntriesResponse {
                leaves,
                checkpoint: note.into_bytes(),
                next: (end < size).then_some(end),
            })
        });
        Ok(Response::new(answer.await?))
    }
}
