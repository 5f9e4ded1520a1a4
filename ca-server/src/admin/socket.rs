//! The local socket: made for the server's own user alone, and each connection's user is asked of the kernel.

use crate::auth::{Peer, PeerStream};
use crate::policy::Role;
use identity::Id;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A listening socket of mode 0600; removed when dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
    operator: Peer,
}

/// A connection of the server's own user.
type AdminStream = PeerStream<UnixStream, ()>;

impl AdminSocket {
    /// Listens at `path`. What an ended server left there is removed; the store's lock has shown that none is running.
    ///
    /// # Errors
    /// What the system says, or that something else than a socket is there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::other("something else than a socket is there")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            // We made it: its owner is our user.
            owner: std::fs::symlink_metadata(path)?.uid(),
            path: path.to_owned(),
            operator: Peer {
                role: Role::Operator,
                id: Id::new("local-operator").map_err(io::Error::other)?,
                key: None,
            },
        })
    }

    /// Connections of our own user, until the receiver is dropped. Between bind and chmod others could connect, which
    /// is why the kernel is asked for each.
    pub(super) fn connections(self) -> ReceiverStream<Result<AdminStream, io::Error>> {
        let (ready, connections) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = self.listener.accept() => accepted,
                    () = ready.closed() => return,
                };
                match accepted.and_then(|(stream, _)| self.admit(stream)) {
                    Ok(stream) => drop(ready.send(Ok(stream)).await),
                    Err(error) => tracing::warn!(%error, "operator's connection refused"),
                }
            }
        });
        ReceiverStream::new(connections)
    }

    fn admit(&self, stream: UnixStream) -> io::Result<AdminStream> {
        let user = stream.peer_cred()?.uid();
        if user != self.owner {
            return Err(io::Error::other(format!("user {user} is not the server's")));
        }
        Ok(AdminStream::new(stream, self.operator, ()))
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "socket not removed");
        }
    }
}
