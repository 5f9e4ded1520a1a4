//! Who may come in: room in the queue, and the pace of a station.

use super::queue::QUEUE;
use super::{Corridor, QUEUE_SHARE, overloaded};
use crate::issuance::Refusal;
use crate::shares::Share;
use identity::Id;
use identity::fault::Fault;

/// A unit takes less in an envelope.
const BYTES_OF_A_UNIT: usize = 4096;

/// Room for one envelope in the queue: of all that there is, and of its station's share.
#[derive(Debug)]
pub(super) struct Room {
    taken: usize,
    own: Share<Id>,
    all: Share<()>,
}

impl Room {
    /// Room for all units of the envelope; some of them have it already.
    pub(super) fn grow(&mut self, units: usize) -> Result<(), Refusal> {
        let more = units.saturating_sub(self.taken);
        if !self.own.grow(more, QUEUE_SHARE) {
            return Err(overloaded("the station has its share of the queue"));
        }
        match self.all.grow(more, QUEUE) {
            true => Ok(()),
            false => Err(overloaded("the queue is full")),
        }
    }
}

impl Corridor {
    /// Room for one envelope more, before anything of it is parsed or verified: who comes when all is full, or faster
    /// than it may, costs nothing. A longer one takes more, so that what waits is bounded in bytes, too.
    pub(super) fn room(&self, peer: &Id, bytes: usize) -> Result<Room, Refusal> {
        if let Some(stopped) = self.shared.state.stopped() {
            return Err(stopped.refusal);
        }
        self.keep_pace(peer)?;
        let taken = 1 + bytes / BYTES_OF_A_UNIT;
        let all = self.shared.inside.take((), taken);
        let all = all.ok_or_else(|| overloaded("the queue is full"))?;
        let own = self.shared.shares.take(*peer, taken);
        let own = own.ok_or_else(|| overloaded("the station has its share of the queue"))?;
        Ok(Room { taken, own, all })
    }

    /// One piece of a station's work. A station that asks faster than it may is told when to come again.
    pub(super) fn keep_pace(&self, peer: &Id) -> Result<(), Refusal> {
        let now = self.shared.admission.clock.now();
        let taken = self.shared.rates.take(*peer, now);
        taken.map_err(|wait_ms| {
            let detail = "the station asks faster than it may";
            Refusal::passing(Fault::Overloaded, detail, wait_ms)
        })
    }

    /// More pieces of work that was let in with one: how many units an envelope has is known when it is verified, and then
    /// it passes with all of them. What that is more than the station may, it waits for before it comes in again.
    pub(super) fn owe_pace(&self, peer: &Id, pieces: usize) {
        let now = self.shared.admission.clock.now();
        self.shared.rates.owe(*peer, pieces, now);
    }
}
