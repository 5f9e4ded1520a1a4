//! What an operator does: a local socket of the running server, and what is prepared away from it.

pub mod approval;
mod backups;
mod client;
mod enroll;
mod service;
mod socket;
mod station_request;

pub use backups::{BackupStream, Backups};
pub use client::{Client, ClientError};
pub use enroll::{EnrollError, Registrar};
pub use service::Admin;
pub use socket::AdminSocket;
pub use station_request::{StationRequest, StationRequestError};

use crate::config::Limits;
use crate::rpc::{Audit, Gate, ServeError, audit_service, builder};
use proto::admin::AdminServiceServer;
use std::future::Future;

/// Between what is wrong and what to do, in a status that no fault code stands for.
const TO_DO: &str = "\nTo do: ";

/// Serves the operator until `stop` is ready, then lets calls under way end.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    socket: AdminSocket,
    services: (Admin, Audit),
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (admin, audit) = services;
    let admin = AdminServiceServer::new(admin)
        .max_decoding_message_size(proto::MAX_REQUEST_MESSAGE)
        .max_encoding_message_size(proto::MAX_RESPONSE_MESSAGE);
    let served = builder(limits)
        .add_service(Gate::new(admin))
        .add_service(audit_service(audit))
        .serve_with_incoming_shutdown(socket.connections(), stop);
    Ok(served.await?)
}
