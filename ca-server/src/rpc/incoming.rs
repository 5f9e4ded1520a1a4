//! Connections: accepted, shaken hands with, named, and only then handed to the services.

use super::places::{Place, Places};
use crate::auth::{PeerStream, TrustDomain};
use crate::config::Limits;
use crate::metrics::{Connected, Meters};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

/// Pause after the system refused to accept, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections come in.
#[derive(Clone)]
pub struct TlsIncoming {
    acceptor: TlsAcceptor,
    domain: TrustDomain,
    limits: Limits,
    meters: Arc<Meters>,
}

/// A connection of a station or an auditor, and its place among those at once.
type TlsPeer = PeerStream<TlsStream<TcpStream>, (Place, Connected)>;

impl TlsIncoming {
    /// Connections under this TLS configuration, from peers of this domain.
    #[must_use]
    pub fn new(
        tls: Arc<rustls::ServerConfig>,
        domain: TrustDomain,
        limits: Limits,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            acceptor: TlsAcceptor::from(tls),
            domain,
            limits,
            meters,
        }
    }

    /// Named connections, until the receiver is dropped. A slow handshake delays nobody else.
    pub(super) fn connections(
        self,
        listener: TcpListener,
    ) -> ReceiverStream<Result<TlsPeer, io::Error>> {
        let (ready, connections) = mpsc::channel(16);
        tokio::spawn(async move {
            tokio::select! {
                () = self.accept(&listener, &ready) => {}
                () = ready.closed() => {}
            }
        });
        ReceiverStream::new(connections)
    }

    async fn accept(
        &self,
        listener: &TcpListener,
        ready: &mpsc::Sender<Result<TlsPeer, io::Error>>,
    ) {
        let places = Places::new(self.limits);
        while let Some(permit) = places.next_handshake().await {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let place = match places.handshake(address.ip(), permit) {
                        Ok(place) => place,
                        Err(reason) => {
                            self.meters.turn_away("address");
                            tracing::info!(%address, reason, "connection refused");
                            continue;
                        }
                    };
                    let (this, ready, places) = (self.clone(), ready.clone(), places.clone());
                    tokio::spawn(async move {
                        let named = this.shake_hands(stream, &places).await;
                        drop(place);
                        match named {
                            Ok(named) => drop(ready.send(Ok(named)).await),
                            Err(reason) => tracing::info!(%address, reason, "connection refused"),
                        }
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn shake_hands(&self, stream: TcpStream, places: &Places) -> Result<TlsPeer, String> {
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let away = |reason| self.meters.turn_away(reason);
        let shaken = self.handshake(stream).await;
        let stream = shaken.inspect_err(|_| away("handshake"))?;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or_else(|| "no client certificate".to_owned())
            .inspect_err(|_| away("name"))?;
        let named = self.domain.peer(certificate);
        let peer = named
            .inspect_err(|_| away("name"))
            .map_err(|error| error.to_string())?;
        let place = places.connection(&peer).inspect_err(|_| away("full"))?;
        tracing::debug!(%peer, "connected");
        let counted = self.meters.connect(peer.kind());
        Ok(TlsPeer::new(stream, peer, (place, counted)))
    }
}

impl TlsIncoming {
    /// The server's key signs in the HSM, which may take its time: no thread that serves connections waits for it.
    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let (acceptor, limit) = (self.acceptor.clone(), self.limits.handshake());
        let runtime = tokio::runtime::Handle::current();
        let shaken = tokio::task::spawn_blocking(move || {
            runtime.block_on(tokio::time::timeout(limit, acceptor.accept(stream)))
        });
        // The limit within ends the wait for the client, the one around it the wait for the HSM.
        let too_long = |_elapsed| "handshake took too long".to_owned();
        tokio::time::timeout(limit, shaken)
            .await
            .map_err(too_long)?
            .map_err(|error| error.to_string())?
            .map_err(too_long)?
            .map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for TlsIncoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIncoming")
            .field("domain", &self.domain)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
