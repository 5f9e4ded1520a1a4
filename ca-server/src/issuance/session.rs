//! What a station says of itself when it asks for challenges: which line agent it runs, and under which grant it is about
//! to work. Told before anything is burnt, so that what would be refused behind the chip is refused in front of it.
//!
//! Of the agent this is the station's own word, here and in the signed envelope: it keeps mistakes and old programs out,
//! not a station that lies (`docs/decisions/0016-agent-hash.md`).

use super::Refusal;
use super::admit::{Admission, check_days};
use super::reserve::refusal_of;
use crate::store::Reader;
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
    /// The lot of that grant for which chips are about to get their keys.
    pub lot: Option<Id>,
}

impl Admission {
    /// Whether a station may begin a session like this. How much is left of the grant is asked only for chips that have no
    /// key yet ([`Self::has_room`]): what is bound is finished after its end.
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

impl Admission {
    /// Whether chips may get keys for a lot: what their binding would be refused for is told before anything is burnt.
    /// Another station may take the room meanwhile.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn has_room(
        &self,
        station: &Id,
        (grant, lot): (&DocumentHash, &Id),
        chips: usize,
        reader: &Reader,
    ) -> Result<(), Refusal> {
        let grant = self.granted(&*self.station(station)?, grant)?;
        check_days(&grant.grant, self.clock.now())?;
        let entry = self.directory.lot(&grant.hash, lot);
        let entry = entry.ok_or_else(|| Refusal::new(Fault::LotUnknown, lot))?;
        let states = (
            reader.grant(&grant.hash).map_err(Refusal::unread)?,
            reader.lot_state(&entry.hash).map_err(Refusal::unread)?,
        );
        let (Some(of_grant), Some(of_lot)) = states else {
            let detail = "a grant or lot that is not counted";
            return Err(Refusal::new(Fault::Internal, detail));
        };
        let chips = u32::try_from(chips).unwrap_or(u32::MAX);
        for (left, fault) in [
            (of_grant.left(), Fault::GrantUsedUp),
            (of_lot.left(), Fault::LotFull),
        ] {
            let left = left.map_err(refusal_of)?;
            if left < chips {
                return Err(Refusal::new(
                    fault,
                    format!("{left} left for {chips} chips"),
                ));
            }
        }
        Ok(())
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
