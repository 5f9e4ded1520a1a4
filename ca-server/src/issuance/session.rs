//! What a station says of itself when it asks for challenges: which line agent it runs, and under which grant it is about
//! to work. Told before anything is burnt, so that what would be refused behind the chip is refused in front of it.
//!
//! Of the agent this is the station's own word, here and in the signed envelope: it keeps mistakes and old programs out,
//! not a station that lies (`docs/decisions/0016-agent-hash.md`).

use super::Refusal;
use super::admit::Admission;
use identity::Id;
use identity::document::StationStatement;
use identity::envelope::{Bytes32, Unit};
use identity::fault::Fault;
use identity::field::Tag;
use identity::hash::DocumentHash;

/// A station's word at the beginning of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the line agent that runs there.
    pub agent: Option<Bytes32>,
    /// The grant that it is about to work under.
    pub grant: Option<DocumentHash>,
}

impl Admission {
    /// Whether a station may begin a session like this. How much is left of the grant is not asked: what is bound is
    /// finished after its end.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn begin(&self, station: &Id, session: &Session) -> Result<(), Refusal> {
        let station = self.station(station)?;
        check_agent(&station, session.agent.as_ref())?;
        match &session.grant {
            Some(grant) => self.granted(&station, grant).map(drop),
            None => Ok(()),
        }
    }
}

/// What the envelope says of the program that made it, under the station's signature.
pub(super) fn check_signed_agent(station: &StationStatement, unit: &Unit) -> Result<(), Refusal> {
    let mut observed = unit.observations.iter();
    let stated = observed.find(|observed| observed.tag == Tag::AgentDigest);
    let stated = stated.and_then(|it| {
        let mut hash = [0; 32];
        let decoded = hex::decode_to_slice(it.value.as_bytes(), &mut hash);
        decoded.ok().map(|()| Bytes32(hash))
    });
    check_agent(station, stated.as_ref())
}

fn check_agent(station: &StationStatement, agent: Option<&Bytes32>) -> Result<(), Refusal> {
    if station.approves(agent) {
        return Ok(());
    }
    let said = agent.map_or_else(
        || "the station does not say which it runs".to_owned(),
        |agent| format!("SHA-256 {}", hex::encode(agent.0)),
    );
    Err(Refusal::new(Fault::AgentNotApproved, said))
}
