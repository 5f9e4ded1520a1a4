//! Backups for the operator: made on a thread of their own, one at a time.

use super::TO_DO;
use crate::backup::{self, BackupError, Made};
use crate::config::Config;
use crate::issuance::{Corridor, Refusal};
use crate::rpc::status::status;
use identity::Clock;
use identity::fault::Fault;
use proto::admin as wire;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use translog::checkpoint::TrustedLog;

/// One answer, when it is there.
pub type BackupStream = ReceiverStream<Result<wire::MakeBackupResponse, Status>>;

/// What backups are made of and held against.
#[derive(Clone)]
pub struct Backups {
    config: Arc<Config>,
    trusted: Arc<TrustedLog>,
    clock: Arc<dyn Clock>,
    free: Arc<Semaphore>,
}

impl Backups {
    /// Of the server with this configuration and log.
    #[must_use]
    pub fn new(config: Config, trusted: TrustedLog, clock: Arc<dyn Clock>) -> Self {
        Self {
            config: Arc::new(config),
            trusted: Arc::new(trusted),
            clock,
            free: Arc::new(Semaphore::new(1)),
        }
    }

    /// Begins a backup. It goes on when whoever asked hangs up.
    pub(super) fn make(&self, corridor: Corridor, out: PathBuf) -> BackupStream {
        let (answer, answers) = mpsc::channel(1);
        let this = self.clone();
        drop(tokio::spawn(async move {
            let made = this.wait_and_make(corridor, out).await;
            if answer.send(made).await.is_err() {
                tracing::info!("whoever asked for a backup is gone");
            }
        }));
        ReceiverStream::new(answers)
    }

    async fn wait_and_make(
        self,
        corridor: Corridor,
        out: PathBuf,
    ) -> Result<wire::MakeBackupResponse, Status> {
        let internal =
            |error: &dyn std::fmt::Display| status(&Refusal::new(Fault::Internal, error));
        let place = self
            .free
            .acquire()
            .await
            .map_err(|error| internal(&error))?;
        let (config, trusted, clock) = (
            Arc::clone(&self.config),
            Arc::clone(&self.trusted),
            Arc::clone(&self.clock),
        );
        let shown = out.display().to_string();
        let made = tokio::task::spawn_blocking(move || {
            backup::make(&corridor, &config, (&trusted, clock.as_ref()), &out)
        });
        let made = made.await.map_err(|error| internal(&error))?;
        drop(place);
        match made {
            Ok(made) => {
                tracing::info!(directory = shown, leaves = made.size, "backup made");
                Ok(response(&made))
            }
            Err(error) => {
                tracing::error!(directory = shown, %error, "no backup was made");
                Err(refused(&error))
            }
        }
    }
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").finish_non_exhaustive()
    }
}

fn response(made: &Made) -> wire::MakeBackupResponse {
    wire::MakeBackupResponse {
        log_size: made.size,
        manifest_hash: made.manifest.to_vec(),
        size_bytes: made.bytes,
        time_ms: made.at.0,
    }
}

/// The operator is told everything; no fault code stands for a path that cannot be written.
fn refused(error: &BackupError) -> Status {
    if let BackupError::Refused(refusal) = error {
        return status(refusal);
    }
    let text = format!("{error}{TO_DO}{}", error.remedy());
    Status::new(Code::FailedPrecondition, text)
}
