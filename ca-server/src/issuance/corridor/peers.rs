use super::{Corridor, Ends, blocking};
use crate::auth::Peer;
use crate::issuance::Refusal;
use crate::policy::Role;
use identity::Id;
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

    /// Whether a station's statement names the line agents that may work there.
    pub(crate) fn names_agents(&self, station: &Id) -> bool {
        let statement = self.shared.admission.directory.station(station);
        statement.is_some_and(|it| it.agents.is_some())
    }

    /// Holds the newest checkpoint that a station saw against the log, before its request is looked at.
    ///
    /// # Errors
    /// [`Fault::LogAhead`] if it is newer than ours or another, signed by our key; issuing stops then.
    pub(crate) async fn saw(&self, note: Vec<u8>) -> Result<(), Refusal> {
        if self.shared.state.is_recent(&note) {
            return Ok(());
        }
        let this = self.clone();
        blocking(move || this.check_seen(&note)).await?
    }

    /// A station that saw a newer or other log than ours, signed by our key, stops us.
    pub(super) fn check_seen(&self, note: &[u8]) -> Result<(), Refusal> {
        if self.shared.state.is_recent(note) {
            return Ok(());
        }
        let opened = self.shared.trusted.open(note).map_err(|error| {
            let why = format!("the checkpoint seen: {error}");
            Refusal::new(Fault::EnvelopeMalformed, why)
        })?;
        let seen = opened.checkpoint();
        let (size, root) = (seen.size(), *seen.root().as_bytes());
        let ours = self.with_reader(|reader| reader.past_root(size).map_err(Refusal::unread))?;
        if ours == Some(root) {
            return Ok(());
        }
        let refusal = Refusal::new(
            Fault::LogAhead,
            format!("a station saw a head of {size} leaves"),
        );
        self.shared.state.stop(&refusal, Ends::ByRepair);
        Err(refusal)
    }
}
