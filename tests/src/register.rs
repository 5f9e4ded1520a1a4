//! The register's leaves as an operator at the server's local socket reads them.

use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use hyper_util::rt::TokioIo;
use identity::leaf::Leaf;
use proto::audit::{AuditServiceClient, ListEntriesRequest};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Leaves from a place on, as they come.
#[derive(Clone, Debug)]
pub struct Register {
    client: AuditServiceClient<Channel>,
    next: u64,
}

impl Register {
    /// From the newest leaf on.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn open(factory: &Factory) -> Outcome<Self> {
        let mut register = Self::from_start(factory);
        register.news().await?;
        Ok(register)
    }

    /// From the first leaf on.
    #[must_use]
    pub fn from_start(factory: &Factory) -> Self {
        Self {
            client: AuditServiceClient::new(Self::channel(factory))
                .max_decoding_message_size(proto::MAX_RESPONSE_MESSAGE),
            next: 0,
        }
    }

    /// The operator's line to the server.
    #[must_use]
    pub fn channel(factory: &Factory) -> Channel {
        let socket = factory.path("ca/admin.sock");
        let connect = tower::service_fn(move |_uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://local").connect_with_connector_lazy(connect)
    }

    /// What was published since the last call.
    ///
    /// # Errors
    /// [`Failure`] of the call, or of a leaf's form.
    pub async fn news(&mut self) -> Outcome<Vec<Leaf>> {
        let mut news = Vec::new();
        loop {
            let page = ListEntriesRequest {
                start: self.next,
                count: proto::MAX_ENTRIES,
            };
            let answer = self.client.list_entries(page).await.map_err(Failure::new)?;
            let leaves = answer.into_inner().leaves;
            if leaves.is_empty() {
                return Ok(news);
            }
            self.next += u64::try_from(leaves.len()).map_err(Failure::new)?;
            for leaf in leaves {
                news.push(Leaf::from_bytes(&leaf).map_err(Failure::new)?);
            }
        }
    }
}
