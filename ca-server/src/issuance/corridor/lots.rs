//! Scrapping units and closing lots, for stations.

use super::{Corridor, internal};
use crate::issuance::admit::Job;
use crate::issuance::{LotEnd, Receipt, Refusal};
use crate::store::Reader;
use crate::store::StoreError;
use identity::Id;
use identity::document::LotOrder;
use identity::envelope::request_hash;
use identity::leaf::{Body, Leaf, LotClose};
use identity::lot::{Difference, LotCloseRequest, ScrapRequest, differences};

/// A document's canonical DER, and its station's signature.
pub type Signed = (Vec<u8>, Vec<u8>);

/// A lot that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedLot {
    /// Its `lot-close` leaf.
    pub receipt: Receipt,
    /// What that leaf says.
    pub close: LotClose,
    /// The order that it names.
    pub order: LotOrder,
    /// Where the station's counts differ; none if the lot is reconciled.
    pub differences: Vec<Difference>,
}

/// A lot that closed with a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotAlarm {
    /// Name of its grant.
    pub grant: Id,
    /// Name of the lot.
    pub lot: Id,
    /// Index of its `lot-close` leaf.
    pub entry: u64,
    /// Where the numbers differ.
    pub differences: Vec<Difference>,
}

impl Corridor {
    /// Scraps a unit for its station.
    ///
    /// # Errors
    /// [`Refusal`], recorded if the station is known.
    pub async fn scrap(
        &self,
        peer: &Id,
        request: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Receipt, Refusal> {
        let name = request_hash::<ScrapRequest>(&request);
        self.move_on(peer, name, move |this, station| {
            let admission = &this.shared.admission;
            let job =
                this.with_reader(|reader| admission.scrap(station, (request, signature), reader))?;
            Ok(Job::Scrap(Box::new(job)))
        })
        .await
    }

    /// Closes a lot with what its station counted, and with the shares of others that it counted in. A difference from
    /// what the log holds never prevents that; it stands in the leaf and in the answer.
    ///
    /// # Errors
    /// [`Refusal`], recorded if the station is known.
    pub async fn close_lot(
        &self,
        peer: &Id,
        signed: Signed,
        shares: Vec<Signed>,
    ) -> Result<ClosedLot, Refusal> {
        let name = request_hash::<LotCloseRequest>(&signed.0);
        let receipt = self
            .move_on(peer, name, move |this, station| {
                let admission = &this.shared.admission;
                let job = admission.close_lot(station, signed, &shares)?;
                Ok(Job::CloseLot(Box::new(job)))
            })
            .await?;
        let (close, differences) = self.with_reader(|reader| closing(reader, receipt.index))?;
        let directory = &self.shared.admission.directory;
        let lot = directory.lot_of_hash(&close.lot);
        let lot = lot.ok_or_else(|| internal("a lot that is in no directory"))?;
        Ok(ClosedLot {
            order: lot.order.clone(),
            differences,
            receipt,
            close,
        })
    }

    /// The lots that closed with a difference, each with its grant.
    ///
    /// # Errors
    /// [`Refusal`] if the store cannot be read.
    pub fn lot_alarms(&self) -> Result<Vec<LotAlarm>, Refusal> {
        let mut alarms = Vec::new();
        for view in self.grants()? {
            for lot in &view.lots {
                let Some(LotEnd {
                    entry,
                    differs: true,
                }) = lot.closed
                else {
                    continue;
                };
                let (_, differences) = self.with_reader(|reader| closing(reader, entry))?;
                alarms.push(LotAlarm {
                    grant: view.grant.id,
                    lot: lot.order.id,
                    entry,
                    differences,
                });
            }
        }
        Ok(alarms)
    }
}

/// What a `lot-close` leaf says, and where its numbers differ.
fn closing(reader: &Reader, entry: u64) -> Result<(LotClose, Vec<Difference>), Refusal> {
    let leaf = reader.leaf(entry).map_err(Refusal::unread)?;
    let leaf = leaf.and_then(|(_, bytes)| Leaf::from_bytes(&bytes).ok());
    let Some(Leaf {
        body: Body::LotClose(close),
        ..
    }) = leaf
    else {
        let damaged = StoreError::Damaged("a lot is closed by another leaf");
        return Err(internal(damaged));
    };
    let state = reader.lot_state(&close.lot).map_err(Refusal::unread)?;
    let state = state.ok_or_else(|| internal("a lot that is not counted"))?;
    let differences = differences(state.quantity, &close.counts, &close.tally).collect();
    Ok((close, differences))
}
