//! Who may call what. The peer is the one of the TLS client certificate or of the local socket, never what a message
//! says; the table below is the only place where a call is allowed.

mod peer;
mod stream;
mod table;

pub use peer::{Peer, PeerError, TrustDomain};
pub(crate) use stream::PeerStream;
pub use table::{Common, allows, allows_path};
