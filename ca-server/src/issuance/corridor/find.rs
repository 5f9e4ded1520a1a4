//! What was issued before, for a station that asks again.

use super::{Corridor, blocking, internal};
use crate::issuance::{Issued, Receipt, Refusal, release};
use crate::store::{ClaimKey, StoredBinding};
use identity::fault::Fault;
use identity::rules::Stage;
use identity::{ChipUid, Id, RequestId};

/// How a station names the unit it asks for.
#[derive(Clone, Copy, Debug)]
pub enum Sought {
    /// By a request of its own.
    Request(RequestId),
    /// By the chip in its hand, whichever station bound it.
    Chip(ChipUid),
}

impl Sought {
    fn claim(&self) -> ClaimKey {
        match self {
            Self::Request(request) => ClaimKey::request(request),
            Self::Chip(uid) => ClaimKey::uid(uid),
        }
    }
}

impl Corridor {
    /// The certificate that was issued for a unit, and once it is confirmed the receipt of that.
    ///
    /// # Errors
    /// [`Refusal`]: voided, or nothing is bound that this station may know of.
    pub async fn find(
        &self,
        peer: &Id,
        sought: Sought,
    ) -> Result<(Issued, Option<Receipt>), Refusal> {
        self.shared.admission.station(peer)?;
        let (this, station) = (self.clone(), *peer);
        blocking(move || {
            let binding = this.sought(&sought)?;
            if !this.may_know(&station, &sought, &binding)? {
                return Err(Fault::NotBound.into());
            }
            this.with_releaser(|releaser| {
                let issued = releaser.issued(binding.bind)?;
                let confirmed = (binding.stage == Stage::Confirmed)
                    .then(|| releaser.receipt(binding.last, Some(binding.bind)))
                    .transpose()?;
                Ok((issued, confirmed))
            })
        })
        .await?
    }

    fn sought(&self, sought: &Sought) -> Result<StoredBinding, Refusal> {
        self.with_reader(|reader| {
            let bind = reader.owner(&sought.claim()).map_err(internal)?;
            let bind = bind.ok_or(Fault::NotBound)?;
            let binding = reader.binding(bind).map_err(internal)?;
            binding.ok_or_else(|| Fault::NotBound.into())
        })
    }

    /// Its own units by request; by chip those of its own grants.
    fn may_know(
        &self,
        station: &Id,
        sought: &Sought,
        binding: &StoredBinding,
    ) -> Result<bool, Refusal> {
        match sought {
            Sought::Request(_) => Ok(binding.holder == station.as_str()),
            Sought::Chip(_) => {
                let asked = self.with_reader(|reader| {
                    release::envelope_of(binding, reader).map_err(internal)
                })?;
                let grant = self.shared.admission.directory.grant(&asked.grant);
                Ok(grant.is_some_and(|entry| entry.grant.stations.contains(station)))
            }
        }
    }
}
