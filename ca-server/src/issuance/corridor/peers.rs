use super::Corridor;
use crate::auth::Peer;
use crate::issuance::Refusal;
use crate::policy::Role;
use identity::fault::Fault;

impl Corridor {
    /// Whether a station's connection is one of the enrolment in force. A statement that replaces another, as after a
    /// theft, shuts out the TLS key of the one before at once, open connections too.
    ///
    /// # Errors
    /// [`Refusal`] if the statement in force names another TLS key. Whoever has no statement is told by the call.
    pub fn in_force(&self, peer: &Peer) -> Result<(), Refusal> {
        match peer.role {
            Role::Station => {}
            Role::Auditor | Role::Operator => return Ok(()),
        }
        let statement = self.shared.admission.directory.station(&peer.id);
        let superseded = statement.is_some_and(|it| peer.key != Some(it.tls_key.spki_hash()));
        if superseded {
            return Err(Refusal::new(
                Fault::StationExpired,
                "another TLS key is enrolled since",
            ));
        }
        Ok(())
    }
}
