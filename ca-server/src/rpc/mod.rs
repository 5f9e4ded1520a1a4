//! The services on the network: mutual TLS 1.3, and thin: convert, call the corridor, map the answer.

mod audit;
mod factory;
mod gate;
mod incoming;
mod places;
pub mod status;
mod tls;
mod weight;

pub use audit::Audit;
pub(crate) use factory::blocking;
pub use factory::{Chain, Factory};
pub use gate::Gate;
pub use incoming::TlsIncoming;
pub use tls::{TlsError, server_config};
pub use weight::Weights;
use weight::{PAGE_UNDER_WAY, UNIT_UNDER_WAY};

use crate::config::Limits;
use proto::audit::AuditServiceServer;
use proto::factory::FactoryServiceServer;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;

/// Bytes of all headers of a call.
const MOST_HEADER_BYTES: u32 = 16 * 1024;

/// Bytes that a connection may send ahead of what is read, in all its calls together.
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Bytes that one call may send ahead: its envelope, and no more.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Calls that a connection may break off before they are answered; one that goes on is closed.
const MOST_RESETS: usize = 64;

/// How often a silent connection is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long it has to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How much later than the gate the transport ends a call, so that the gate's answer goes out.
const TIMEOUT_SLACK: Duration = Duration::from_secs(1);

/// How often the health service looks at the corridor.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// The services on the network ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors of the services cannot be read.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves stations and auditors until `stop` is ready, then lets calls under way end.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    listener: TcpListener,
    tls: TlsIncoming,
    services: (Factory, Audit),
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (factory, audit) = services;
    let corridor = factory.corridor().clone();
    let (reporter, health) = tonic_health::server::health_reporter();
    let watch = tokio::spawn(report_health(reporter, factory.clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .with_service_name("koseki.factory.v1.FactoryService")
        .with_service_name("koseki.audit.v1.AuditService")
        .build_v1()?;
    let (weights, answers) = (Weights::default(), Weights::of_unread());
    let served = builder(limits)
        .add_service(
            Gate::for_enrolled(
                FactoryServiceServer::new(factory)
                    .max_decoding_message_size(proto::MAX_REQUEST_MESSAGE)
                    .max_encoding_message_size(proto::MAX_RESPONSE_MESSAGE),
                corridor.clone(),
            )
            .within(limits.call())
            .weighing(weights.clone())
            .holding(answers.clone(), UNIT_UNDER_WAY),
        )
        .add_service(
            audit_service(audit)
                .counting(corridor.meters())
                .within(limits.call())
                .weighing(weights.clone())
                .holding(answers, PAGE_UNDER_WAY),
        )
        .add_service(Gate::for_enrolled(health, corridor.clone()).weighing(weights.clone()))
        .add_service(Gate::for_enrolled(reflection, corridor).weighing(weights))
        .serve_with_incoming_shutdown(tls.connections(listener), stop)
        .await;
    watch.abort();
    Ok(served?)
}

/// The audit service behind its gate, for the network and for the operator's socket.
#[must_use]
pub fn audit_service(audit: Audit) -> Gate<AuditServiceServer<Audit>> {
    Gate::new(
        AuditServiceServer::new(audit)
            .max_decoding_message_size(proto::MAX_REQUEST_MESSAGE)
            .max_encoding_message_size(proto::MAX_RESPONSE_MESSAGE),
    )
}

/// A server with its limits. A caller's `grpc-timeout` shortens `call_seconds`, never lengthens it.
#[must_use]
pub fn builder(limits: Limits) -> Server {
    let calls = limits.calls_per_connection;
    Server::builder()
        .timeout(limits.call().saturating_add(TIMEOUT_SLACK))
        .concurrency_limit_per_connection(calls.into())
        .max_concurrent_streams(u32::from(calls))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_max_pending_accept_reset_streams(Some(MOST_RESETS))
        .http2_max_header_list_size(MOST_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// The factory service is healthy as long as certificates are issued.
async fn report_health(reporter: HealthReporter, factory: Factory) {
    let mut interval = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        interval.tick().await;
        if factory.issues() {
            reporter
                .set_serving::<FactoryServiceServer<Factory>>()
                .await;
        } else {
            reporter
                .set_not_serving::<FactoryServiceServer<Factory>>()
                .await;
        }
    }
}
