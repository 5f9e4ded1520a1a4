//! Room for connections. Who has not shown a certificate takes no place of those who have, and nobody takes the places of
//! all others.

use crate::auth::Peer;
use crate::config::Limits;
use crate::policy::Role;
use crate::shares::{Share, Shares};
use identity::Id;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All the room there is.
#[derive(Clone, Debug)]
pub(super) struct Places {
    handshakes: Arc<Semaphore>,
    addresses: Shares<IpAddr>,
    connections: Arc<Semaphore>,
    peers: Shares<(Role, Id)>,
}

/// Room for one handshake.
#[derive(Debug)]
pub(super) struct HandshakePlace {
    _address: Share<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

/// Room for one named connection.
#[derive(Debug)]
pub(super) struct Place {
    _peer: Share<(Role, Id)>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            handshakes: Arc::new(Semaphore::new(limits.handshakes.into())),
            addresses: Shares::new(limits.handshakes_per_address.into()),
            connections: Arc::new(Semaphore::new(limits.connections.into())),
            peers: Shares::new(limits.connections_per_peer.into()),
        }
    }

    /// Waits until another handshake may begin. `None` never happens: the semaphore is never closed.
    pub(super) async fn next_handshake(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.handshakes).acquire_owned().await.ok()
    }

    /// Room for a handshake with this address.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn handshake(
        &self,
        address: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> Result<HandshakePlace, &'static str> {
        let share = self.addresses.take(address, 1);
        Ok(HandshakePlace {
            _address: share.ok_or("too many handshakes with this address")?,
            _permit: permit,
        })
    }

    /// Room for a connection of this peer.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn connection(&self, peer: &Peer) -> Result<Place, &'static str> {
        let share = self.peers.take((peer.role, peer.id), 1);
        let share = share.ok_or("too many connections of this peer")?;
        let permit = Arc::clone(&self.connections).try_acquire_owned();
        Ok(Place {
            _peer: share,
            _permit: permit.map_err(|_full| "too many connections")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str) -> Peer {
        Peer {
            role: Role::Station,
            id: Id::new(id).unwrap(),
            key: None,
        }
    }

    fn places() -> Places {
        Places::new(Limits {
            connections: 3,
            connections_per_peer: 2,
            handshakes: 3,
            handshakes_per_address: 2,
            ..Limits::default()
        })
    }

    #[test]
    fn one_peer_leaves_room_for_another() {
        let places = places();
        let mut held = vec![places.connection(&peer("a")).unwrap()];
        held.push(places.connection(&peer("a")).unwrap());
        let refused = places.connection(&peer("a")).unwrap_err();
        assert_eq!(refused, "too many connections of this peer");
        held.push(places.connection(&peer("b")).unwrap());
        let refused = places.connection(&peer("c")).unwrap_err();
        assert_eq!(refused, "too many connections");
        held.clear();
        places.connection(&peer("c")).unwrap();
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_another_and_for_those_connected() {
        let places = places();
        let mut held = Vec::new();
        for host in [1, 1, 2] {
            let permit = places.next_handshake().await.unwrap();
            held.push(places.handshake([10, 0, 0, host].into(), permit).unwrap());
        }
        // All places for handshakes are taken, none for connections.
        assert_eq!(places.handshakes.available_permits(), 0);
        places.connection(&peer("a")).unwrap();
        held.pop();
        let permit = places.next_handshake().await.unwrap();
        let refused = places.handshake([10, 0, 0, 1].into(), permit).unwrap_err();
        assert_eq!(refused, "too many handshakes with this address");
        assert_eq!(places.handshakes.available_permits(), 1);
    }
}
