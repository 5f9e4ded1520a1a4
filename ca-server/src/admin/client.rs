//! The operator's side of the local socket.

use super::TO_DO;
use proto::admin::{
    AdminServiceClient, CloseGrantRequest, ConfirmClockRequest, EnrollStationRequest,
    EnrollStationResponse, GetStatusRequest, GetStatusResponse, ListRefusalsRequest,
    LoadGrantRequest, LoadGrantResponse, MakeBackupRequest, MakeBackupResponse, OpenLotRequest,
    RefusalSummary, RetryUnitRequest, SetAside, VoidUnitRequest,
};
use proto::common::Fault;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the running server.
#[derive(Debug)]
pub struct Client(AdminServiceClient<Channel>);

/// The server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("{}: {error}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the transport says.
        error: String,
    },
    /// The server refused.
    #[error("{}: {}", .0.code, .0.text_en)]
    Refused(Box<Fault>),
    /// The server said why not, and what to do; no fault code stands for it.
    #[error("{what}")]
    NotDone {
        /// What is wrong.
        what: String,
        /// What to do next.
        next: String,
    },
    /// The call failed.
    #[error("{}", .0.message())]
    Failed(Box<Status>),
}

impl Client {
    /// Connects to the socket.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let refuse = |error: tonic::transport::Error| ClientError::Connect {
            path: path.to_owned(),
            error: cause(&error),
        };
        let endpoint =
            Endpoint::from_shared(format!("unix://{}", path.display())).map_err(refuse)?;
        let channel = endpoint.timeout(PATIENCE).connect().await.map_err(refuse)?;
        Ok(Self(
            AdminServiceClient::new(channel).max_decoding_message_size(proto::MAX_RESPONSE_MESSAGE),
        ))
    }

    /// Enters a station and gets its TLS certificate.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enroll(
        &mut self,
        request: EnrollStationRequest,
    ) -> Result<EnrollStationResponse, ClientError> {
        answer(self.0.enroll_station(request).await)
    }

    /// Puts a grant into force.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn load_grant(
        &mut self,
        request: LoadGrantRequest,
    ) -> Result<LoadGrantResponse, ClientError> {
        answer(self.0.load_grant(request).await)
    }

    /// Closes a grant before its time and gives the index of the leaf.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn close_grant(
        &mut self,
        grant_id: String,
        reason: String,
    ) -> Result<u64, ClientError> {
        let request = CloseGrantRequest { grant_id, reason };
        answer(self.0.close_grant(request).await).map(|it| it.index)
    }

    /// Opens a lot and gives the index of its leaf.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open_lot(&mut self, lot_order: Vec<u8>) -> Result<u64, ClientError> {
        let request = OpenLotRequest { lot_order };
        answer(self.0.open_lot(request).await).map(|it| it.index)
    }

    /// Voids a unit and gives the index of its leaf.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn void(&mut self, id: [u8; 16], reason: String) -> Result<u64, ClientError> {
        let request = VoidUnitRequest {
            request_id: id.to_vec(),
            reason,
        };
        answer(self.0.void_unit(request).await).map(|it| it.index)
    }

    /// Has the signer asked again about a unit that it set aside; gives the unit if it is set aside still.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn retry(&mut self, id: [u8; 16]) -> Result<Option<SetAside>, ClientError> {
        let request = RetryUnitRequest {
            request_id: id.to_vec(),
        };
        answer(self.0.retry_unit(request).await).map(|it| it.set_aside)
    }

    /// The newest refusals, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn refusals(&mut self, count: u32) -> Result<Vec<RefusalSummary>, ClientError> {
        let request = ListRefusalsRequest { count, below: None };
        answer(self.0.list_refusals(request).await).map(|it| it.refusals)
    }

    /// Confirms the server's clock by the operator's watch, and gives the server's time; both in milliseconds.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn confirm_clock(&mut self, watch_ms: u64) -> Result<u64, ClientError> {
        let request = ConfirmClockRequest { watch_ms };
        answer(self.0.confirm_clock(request).await).map(|it| it.server_time_ms)
    }

    /// Makes a backup; waits as long as it takes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn back_up(&mut self, directory: String) -> Result<MakeBackupResponse, ClientError> {
        let request = MakeBackupRequest { directory };
        let mut answers = answer(self.0.make_backup(request).await)?;
        let made = answers.message().await.map_err(refused)?;
        let ended = || Status::unavailable("the server ended before the backup was whole");
        made.ok_or_else(|| ClientError::Failed(Box::new(ended())))
    }

    /// How the server is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&mut self) -> Result<GetStatusResponse, ClientError> {
        answer(self.0.get_status(GetStatusRequest {}).await)
    }
}

fn answer<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, ClientError> {
    answer.map(tonic::Response::into_inner).map_err(refused)
}

fn refused(status: Status) -> ClientError {
    if let Some(fault) = proto::fault::fault_from_status(&status) {
        return ClientError::Refused(Box::new(fault));
    }
    match status.message().split_once(TO_DO) {
        Some((what, next)) if status.code() == Code::FailedPrecondition => ClientError::NotDone {
            what: what.to_owned(),
            next: next.to_owned(),
        },
        Some(_) | None => ClientError::Failed(Box::new(status)),
    }
}

/// The innermost cause, which says more than "transport error".
fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => cause(source),
        None => error.to_string(),
    }
}
